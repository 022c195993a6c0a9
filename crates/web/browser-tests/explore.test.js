/** The page Explore: grouping, filters, order, pages, comparison and search. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asked, exact, figures, lab, RANGE, visit, wanted } from './lib/browser.js';

const TABLE = 'table.explore';
/** Received, sent, and both. @param {any} row */
const three = (row) => [row.received, row.sent, row.received + row.sent];

test('rows are those of the query for every grouping', () =>
  visit({}, async (tab) => {
    for (const dimension of [
      'exe',
      'domain',
      'address',
      'country',
      'port',
      'uid',
      'pexe',
      'sha256',
      'cmdline',
      'protocol',
      'laddress',
      'network',
    ]) {
      await tab.open(`/explore?${RANGE}&scope=internet&group_by=${dimension}`);
      const answer = asked(['--internet', '-g', dimension, '-l', '20']);
      assert.deepEqual(await figures(tab, TABLE), wanted(answer.rows, dimension, three), dimension);
      const sum = await tab.page.$$eval('.chead span[title]', (list) =>
        list.map((one) => one.getAttribute('title')),
      );
      assert.deepEqual(sum.slice(0, 2), [exact(answer.total.received), exact(answer.total.sent)]);
    }
  }));

test('two dimensions, and parts of time', () =>
  visit({}, async (tab) => {
    await tab.open(`/explore?${RANGE}&scope=internet&group_by=exe&group_by=port`);
    const { rows } = asked(['--internet', '-g', 'exe', '-g', 'port', '-l', '20']);
    assert.deepEqual(await figures(tab, TABLE), wanted(rows, 'exe', three));
    await tab.open(`/explore?${RANGE}&group_by=hour`);
    const hours = asked(['-g', 'hour']).rows;
    assert.equal((await tab.texts(`${TABLE} tbody tr`)).length, hours.length);
    await tab.page.getByRole('button', { name: /and by/ }).click();
    await tab.page.getByRole('menuitemradio', { name: 'Port', exact: true }).click();
    await tab.settled();
    assert.deepEqual(tab.params().getAll('group_by'), ['hour', 'port']);
  }));

test('filters and exclusions by click become chips, which remove them', () =>
  visit({}, async (tab) => {
    await tab.open(`/explore?${RANGE}&group_by=domain`);
    const row = tab.page.locator(`${TABLE} tr[data-value="cdn.example.net"]`);
    await row.hover();
    await row.getByRole('button', { name: 'Only this' }).click();
    await tab.settled();
    assert.deepEqual(tab.params().getAll('where'), ['domain=cdn.example.net']);
    let answer = asked(['-g', 'domain', '-w', 'domain=cdn.example.net']);
    assert.deepEqual(await figures(tab, TABLE), wanted(answer.rows, 'domain', three));
    await tab.page.getByRole('tab', { name: 'Program', exact: true }).click();
    await tab.settled();
    answer = asked(['-g', 'exe', '-w', 'domain=cdn.example.net', '-l', '20']);
    assert.deepEqual(await figures(tab, TABLE), wanted(answer.rows, 'exe', three));
    const other = tab.page.locator(`${TABLE} tr[data-value$="/firefox"]`);
    await other.hover();
    await other.getByRole('button', { name: 'Leave out' }).click();
    await tab.settled();
    answer = asked([
      '-g',
      'exe',
      '-w',
      'domain=cdn.example.net',
      '-x',
      `exe=${lab.programs.browser}`,
      '-l',
      '20',
    ]);
    assert.deepEqual(await figures(tab, TABLE), wanted(answer.rows, 'exe', three));
    assert.deepEqual(await tab.texts('.chip'), ['Domain =cdn.example.net', 'Program ≠firefox']);
    await tab.page.getByRole('button', { name: /Remove the filter Program/ }).click();
    await tab.settled();
    assert.deepEqual(tab.params().getAll('exclude'), []);
    await tab.page.goBack();
    await tab.settled();
    assert.equal((await tab.texts('.chip')).length, 2);
  }));

test('the same by keys: Enter, x, Backspace', () =>
  visit({}, async (tab) => {
    await tab.open(`/explore?${RANGE}&scope=internet`);
    await tab.page.locator(`${TABLE} tbody tr`).first().focus();
    await tab.press('ArrowDown Enter');
    const rows = asked(['--internet', '-l', '2']).rows;
    assert.deepEqual(tab.params().getAll('where'), [`exe=${rows[1].exe}`]);
    await tab.press('Backspace');
    assert.deepEqual(tab.params().getAll('where'), []);
    await tab.page.locator(`${TABLE} tbody tr`).first().focus();
    await tab.press('x');
    assert.deepEqual(tab.params().getAll('exclude'), [`exe=${rows[0].exe}`]);
  }));

test('the editor of filters suggests values of the log', () =>
  visit({}, async (tab) => {
    await tab.open(`/explore?${RANGE}`);
    await tab.page.getByRole('button', { name: 'Filter', exact: true }).click();
    await tab.page.getByLabel('Dimension').selectOption('domain');
    await tab.page.getByLabel('Value').fill('mirr');
    await tab.page
      .getByRole('button', { name: /mirror\.example\.org/ })
      .first()
      .click();
    await tab.settled();
    assert.deepEqual(tab.params().getAll('where'), ['domain=mirror.example.org']);
  }));

test('columns sort on the server, both ways', () =>
  visit({}, async (tab) => {
    await tab.open(`/explore?${RANGE}&scope=internet`);
    for (const [button, key] of [
      ['Sent', 'sent'],
      ['Connections', 'conns'],
      ['Received', 'received'],
    ]) {
      await tab.page.locator(`${TABLE} th`).getByRole('button', { name: button }).click();
      await tab.settled();
      const values = async () => (await figures(tab, TABLE)).map((row) => row.value);
      const expected = (/** @type {string[]} */ more) =>
        asked(['--internet', '-s', key, '-l', '20', ...more]).rows.map((/** @type {any} */ row) => row.exe);
      assert.deepEqual(await values(), expected([]));
      assert.equal(await tab.page.locator(`${TABLE} th[aria-sort]`).getAttribute('aria-sort'), 'descending');
      await tab.page.locator(`${TABLE} th`).getByRole('button', { name: button }).click();
      await tab.settled();
      assert.deepEqual(await values(), expected(['-r']));
    }
  }));

test('pages of the table are pages of the query', () =>
  visit({}, async (tab) => {
    await tab.open(`/explore?${RANGE}`);
    const { rows, row_count: count } = asked(['-l', '100']);
    assert.ok(count > 20);
    assert.match((await tab.texts('.pager')).join(), new RegExp(`1–20 of ${count}`));
    await tab.page.getByRole('button', { name: 'Next page' }).click();
    await tab.settled();
    assert.deepEqual(await figures(tab, TABLE), wanted(rows.slice(20, 40), 'exe', three));
    await tab.page.getByRole('button', { name: 'Page before' }).click();
    await tab.settled();
    assert.deepEqual(await figures(tab, TABLE), wanted(rows.slice(0, 20), 'exe', three));
  }));

test('the text that rows must contain', () =>
  visit({}, async (tab) => {
    await tab.open(`/explore?${RANGE}`);
    await tab.page.getByRole('searchbox', { name: 'Find in programs' }).fill('tool-1');
    await tab.page.waitForFunction(() => location.search.includes('find=tool-1'));
    await tab.settled();
    const answer = asked(['-f', 'tool-1']);
    assert.equal(answer.row_count, 10);
    assert.deepEqual(await figures(tab, TABLE), wanted(answer.rows, 'exe', three));
    await tab.page.getByRole('searchbox', { name: 'Find in programs' }).fill('nothing is called so');
    await tab.page.getByText(/that the text .* and the filters leave/).waitFor();
  }));

test('comparison with the period before', () =>
  visit({}, async (tab) => {
    await tab.open(
      `/explore?since=${lab.middle}&until=${lab.until}&scope=internet&compare=previous&sort=change`,
    );
    const { rows } = asked([
      '--internet',
      '--since',
      String(lab.middle),
      '--compare',
      'previous',
      '-l',
      '20',
    ]);
    const none = { received: 0, sent: 0 };
    const amounts = (/** @type {any} */ { now, before }) => {
      const [one, other] = [now ?? none, before ?? none];
      return [one.received, one.sent, one.received + one.sent, other.received + other.sent];
    };
    assert.deepEqual(await figures(tab, TABLE), wanted(rows, 'exe', amounts));
    const text = (await tab.texts(`${TABLE} tbody tr`)).join('\n');
    assert.match(text, /tool-24.*gone/);
    assert.match(text, /firefox.*−\d+.%/);
    await tab.page.locator(`${TABLE} th`).getByRole('button', { name: 'Total' }).click();
    await tab.settled();
    assert.match((await tab.texts(`${TABLE} tbody tr`))[0], /firefox/);
  }));

test('search over all values, with the keyboard', () =>
  visit({}, async (tab) => {
    await tab.open(`/?${RANGE}`);
    await tab.press('/');
    await tab.page.keyboard.type('backup');
    await tab.page.locator('#found [role=option]').first().waitFor();
    assert.match((await tab.texts('#found')).join(), /domains.*backup\.example\.org/);
    await tab.press('Enter');
    assert.equal(new URL(tab.page.url()).pathname, '/destination');
    assert.equal(tab.params().get('domain'), 'backup.example.org');
    await tab.press('/');
    await tab.page.keyboard.type('tool-07');
    await tab.page.locator('#found a[href*="tool-07"]').first().click();
    await tab.settled();
    assert.equal(tab.params().get('exe'), lab.programs.many[6]);
  }));
