/** The pages of a program and of a destination. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asked, figures, lab, RANGE, shown, visit, wanted } from './lib/browser.js';

const { browser, updated, fetcher } = lab.programs;
const page = (/** @type {string} */ exe, more = '') =>
  `/program?${RANGE}&exe=${encodeURIComponent(exe)}${more}`;

test('peers, ports and command lines of a program are those of the query', () =>
  visit({}, async (tab) => {
    await tab.open(page(browser));
    const is = ['-w', `exe=${browser}`];
    assert.deepEqual(
      await figures(tab, 'section[aria-label=Peers]'),
      wanted(asked(['-g', 'domain', ...is]).rows, 'domain'),
    );
    const ports = asked(['-g', 'port', '-g', 'protocol', ...is]).rows;
    assert.deepEqual(
      await figures(tab, 'section[aria-label="Ports and protocols"]'),
      wanted(ports.slice(0, 8), 'port'),
    );
    const lines = asked(['-g', 'cmdline', '-l', '6', ...is]).rows;
    assert.deepEqual(await figures(tab, 'section[aria-label="Command lines"]'), wanted(lines, 'cmdline'));
    const { total } = asked(is);
    const facts = (await tab.texts('.facts')).join();
    assert.ok(
      facts.replaceAll(/\s/g, '').includes(`${shown(total.received)}received,${shown(total.sent)}sent`),
      facts,
    );
    await tab.page.getByRole('tab', { name: 'Countries' }).click();
    await tab.settled();
    assert.deepEqual(
      await figures(tab, 'section[aria-label=Peers]'),
      wanted(asked(['-g', 'country', ...is]).rows, 'country'),
    );
  }));

test('a program that is not the file it was: its digests and what happened', () =>
  visit({}, async (tab) => {
    await tab.open(page(updated));
    const digests = asked(['-g', 'sha256', '-w', `exe=${updated}`]).rows;
    assert.equal(digests.length, 2);
    const text = await tab.page.innerText('main');
    for (const { sha256 } of digests) assert.ok(text.includes(sha256.slice(0, 12)), `${sha256} in ${text}`);
    assert.match(text, /Not the file it was/);
    assert.match((await tab.texts('section[aria-label=Events]')).join(), /changed/);
    await tab.page.getByRole('tab', { name: 'by digest' }).click();
    await tab.settled();
    assert.equal(tab.params().get('by'), 'sha256');
  }));

test('a program that is new says so, with its parent and user', () =>
  visit({}, async (tab) => {
    await tab.open(page(fetcher));
    assert.match((await tab.texts('.verdict')).join(), /New\. It was first seen/);
    assert.match((await tab.texts('section[aria-label=Family]')).join(), /Started by.*node.*Users.*root/i);
    await tab.page.getByRole('link', { name: 'Explore', exact: true }).last().click();
    await tab.settled();
    assert.deepEqual(tab.params().getAll('where'), [`exe=${fetcher}`]);
  }));

test('a program that is not in the log', () =>
  visit({}, async (tab) => {
    await tab.open(page('/nowhere/at-all'));
    assert.equal(await tab.page.textContent('main h1'), 'at-all');
    assert.match(await tab.page.innerText('main'), /No traffic/);
  }));

test('destinations: a domain, an address and a country from the other side', () =>
  visit({}, async (tab) => {
    const address = asked(['-g', 'address', '-w', 'domain=cdn.example.net']).rows[0].address;
    for (const [kind, value, title] of [
      ['domain', 'cdn.example.net', 'cdn.example.net'],
      ['address', address, address],
      ['country', 'FR', 'France'],
    ]) {
      await tab.open(`/destination?${RANGE}&${kind}=${value}`);
      assert.equal(await tab.page.textContent('main h1'), title);
      const { rows } = asked(['-g', 'exe', '-w', `${kind}=${value}`, '-l', '12']);
      assert.ok(rows.length);
      assert.deepEqual(await figures(tab, 'section[aria-label=Programs]'), wanted(rows, 'exe'), kind);
    }
    await tab.page.click('section[aria-label=Programs] a[title$="/firefox"]');
    await tab.settled();
    assert.equal(tab.params().get('exe'), browser);
  }));
