/** The page Flows: the map, the list beside it, the Sankey and its table. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asked, exact, lab, RANGE, visit } from './lib/browser.js';

/** What is no country. @type {Record<string, string>} */
const NAMES = { loopback: 'This machine', private: 'Private network' };

test('countries of the list and the map are those of the query, and filter', () =>
  visit({}, async (tab) => {
    await tab.open(`/flows?${RANGE}`);
    const rows = asked(['-g', 'country']).rows;
    const listed = await tab.page.$$eval('section[aria-label=Countries] li', (list) =>
      list.map((row) => [
        row.querySelector('.cc')?.textContent || row.querySelector('.name')?.textContent,
        ...[...row.querySelectorAll('.n')].map((one) => one.getAttribute('title')),
      ]),
    );
    assert.deepEqual(
      listed,
      rows.map((/** @type {any} */ row) => [
        NAMES[row.country] ?? row.country ?? 'Local or unknown',
        exact(row.received),
        exact(row.sent),
      ]),
    );
    const codes = rows.filter((/** @type {any} */ row) => /^[A-Z]{2}$/.test(row.country ?? '')).length;
    assert.ok(codes >= 5);
    await tab.page.locator('svg.map path.on').first().waitFor();
    assert.equal((await tab.page.$$('svg.map path.on')).length, codes);
    await tab.page.getByRole('button', { name: 'France' }).click();
    await tab.settled();
    assert.deepEqual(tab.params().getAll('where'), ['country=FR']);
    assert.equal((await tab.page.$$('svg.map path.chosen')).length, 1);
    await tab.page.goBack();
    await tab.settled();
    await tab.page.locator('svg.map path.on').first().dispatchEvent('click');
    await tab.settled();
    assert.match(tab.params().getAll('where').join(), /^country=[A-Z]{2}$/);
  }));

test('the table of flows has the figures of the query', () =>
  visit({}, async (tab) => {
    await tab.open(`/flows?${RANGE}&scope=internet`);
    await tab.page.getByRole('tab', { name: 'Table' }).click();
    await tab.settled();
    const rows = asked(['--internet', '-g', 'exe', '-g', 'domain', '-g', 'port', '-l', '60']).rows;
    const cells = await tab.page.$$eval('table.flowt tbody tr', (list) =>
      list.map((row) => [
        ...[...row.querySelectorAll('.name')].map((one) => one.getAttribute('title')),
        ...[...row.querySelectorAll('.n')].map((one) => one.getAttribute('title')),
      ]),
    );
    assert.deepEqual(
      cells,
      rows.map((/** @type {any} */ row) => [
        row.exe.replaceAll('\u202e', '\\u{202e}'),
        row.domain || null,
        String(row.port),
        exact(row.received),
        exact(row.sent),
      ]),
    );
  }));

test('the Sankey has a node of each large program and filters by click and by key', () =>
  visit({}, async (tab) => {
    await tab.open(`/flows?${RANGE}&scope=internet`);
    const picture = tab.page.locator('section[aria-label="Who talks to whom"] svg').last();
    await picture.waitFor();
    assert.match(((await picture.textContent()) ?? '').toString(), /firefox.*restic|restic.*firefox/s);
    const nodes = picture.locator('[role=button]');
    assert.ok((await nodes.count()) >= 8, `${await nodes.count()} nodes`);
    await picture.getByRole('button', { name: /^mirror\.example\.org,/ }).focus();
    await tab.press('Enter');
    assert.deepEqual(tab.params().getAll('where'), ['domain=mirror.example.org']);
    await tab.page.goBack();
    await tab.settled();
    await picture
      .getByRole('button', { name: /^firefox,/ })
      .first()
      .click();
    await tab.settled();
    assert.deepEqual(tab.params().getAll('where'), [`exe=${lab.programs.browser}`]);
    await tab.page.getByRole('tab', { name: 'Country' }).click();
    await tab.settled();
    assert.equal(tab.params().get('middle'), 'country');
    assert.match((await picture.textContent()) ?? '', /FR|France/);
  }));
