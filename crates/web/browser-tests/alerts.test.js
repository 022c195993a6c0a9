/** The pages Alerts and Health. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asked, health, lab, RANGE, shown, visit } from './lib/browser.js';

test('alerts of new and changed programs are those of the log, by kind', () =>
  visit({}, async (tab) => {
    const events = asked(['--events', '--kind', 'alert']);
    await tab.open(`/alerts?${RANGE}`);
    assert.match((await tab.texts('button.arow')).join('\n'), /Changed on disk\s*updater/);
    const chips = await tab.texts('.chip.pick');
    const changed = events.filter((/** @type {any} */ row) => row.subject === 'new hash').length;
    assert.ok(
      changed > 0 && chips.some((one) => one.replaceAll(/\s/g, '') === `Changed${changed}`),
      chips.join(),
    );
    await tab.page.getByRole('button', { name: /^New \d/ }).click();
    await tab.settled();
    assert.equal(tab.params().get('kind'), 'new');
    const created = events.filter((/** @type {any} */ row) => /new name|exe/.test(row.subject ?? '')).length;
    assert.equal((await tab.texts('button.arow')).length, Math.min(150, created));
    await tab.page.getByRole('button', { name: /^Changed/ }).click();
    await tab.settled();
    assert.equal((await tab.texts('button.arow')).length, changed);
    await tab.page.goBack();
    await tab.settled();
    assert.equal(tab.params().get('kind'), 'new');
  }));

test('from an alert to the traffic around it', () =>
  visit({}, async (tab) => {
    await tab.open(`/alerts?${RANGE}&kind=changed`);
    await tab.page.locator('button.arow', { hasText: 'updater' }).first().click();
    await tab.settled();
    const detail = await tab.page.innerText('aside');
    assert.match(detail, /Before[\s\S]*After/);
    await tab.page.getByRole('link', { name: 'Traffic around it' }).click();
    await tab.settled();
    assert.equal(new URL(tab.page.url()).pathname, '/explore');
    assert.deepEqual(tab.params().getAll('where'), [`exe=${lab.programs.updated}`]);
    const row = tab.page.locator('table.explore tr[data-value="updates.example.com"]');
    await row.waitFor();
    const [{ received }] = asked([
      '-g',
      'domain',
      '-w',
      `exe=${lab.programs.updated}`,
      '-w',
      'domain=updates.example.com',
    ]).rows;
    assert.equal(await row.locator('.n').first().textContent(), shown(received));
  }));

test('what was seen stays seen after a reload', () =>
  visit({}, async (tab) => {
    await tab.open('/alerts');
    const count = async () => Number((await tab.texts('nav .count'))[0] ?? 0);
    assert.ok((await count()) > 3);
    // A wide screen shows one at once; the one that is clicked is another.
    await tab.page
      .locator('button.arow', { has: tab.page.locator('.unseen.on') })
      .nth(2)
      .click();
    await tab.settled();
    const unseen = async () => (await tab.page.$$('button.arow .unseen.on')).length;
    const after = await unseen();
    await tab.page.reload();
    await tab.settled();
    assert.equal(await unseen(), after);
    // Only what is listed is marked.
    await tab.page.getByRole('button', { name: /^Changed/ }).click();
    await tab.settled();
    const changed = await unseen();
    assert.ok(changed > 0);
    await tab.page.getByRole('button', { name: 'Mark all as seen' }).click();
    assert.equal(await unseen(), 0);
    await tab.page.goBack();
    await tab.settled();
    assert.equal(await unseen(), after - changed);
    await tab.page.getByRole('button', { name: 'Mark all as seen' }).click();
    assert.equal(await unseen(), 0);
    await tab.page.reload();
    await tab.settled();
    assert.equal(await unseen(), 0);
    assert.equal(await count(), 0);
  }));

test('arrows move through the list, and a program filters it', () =>
  visit({}, async (tab) => {
    await tab.open(`/alerts?${RANGE}`);
    await tab.page.locator('button.arow').first().focus();
    await tab.press('ArrowDown');
    assert.equal(await tab.page.evaluate(() => document.activeElement?.getAttribute('aria-pressed')), 'true');
    await tab.open(`/alerts?${RANGE}&where=${encodeURIComponent(`exe=${lab.programs.updated}`)}`);
    const events = asked(['--events', '-w', `exe=${lab.programs.updated}`]);
    assert.equal((await tab.texts('button.arow')).length, events.length);
  }));

test('health: the daemon, what it costs, the log', () =>
  visit({}, async (tab) => {
    await tab.open('/health');
    const answer = await health(tab.origin);
    const text = await tab.page.innerText('main');
    assert.equal(await tab.page.textContent('main h1'), answer.hostname);
    assert.match(text, /Recording\. Nothing was lost/);
    for (const process of answer.daemon.processes)
      assert.match(text, new RegExp(`${process.name}\\s+${process.pid}\\b`));
    assert.match(text, new RegExp(`dash\\)?\\s+${answer.dash.pid}\\b`));
    assert.ok(text.includes(answer.log.id), 'the identity of the log');
    for (const part of ['What was lost', 'What it costs', 'The log', 'Files'])
      assert.ok(text.includes(part), part);
    for (const sentence of answer.daemon.unseen)
      assert.ok(text.toLowerCase().includes(sentence.toLowerCase()), sentence);
  }));
