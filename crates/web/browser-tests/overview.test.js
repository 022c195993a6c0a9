/** The page Overview: figures, lists, ranges, the chart, and the way back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asked, exact, figures, lab, RANGE, visit, wanted } from './lib/browser.js';

test('totals and lists are those of the query', () =>
  visit({}, async (tab) => {
    await tab.open(`/?${RANGE}`);
    const { total, row_count: programs, rows } = asked(['-l', '10']);
    const titles = await tab.page.$$eval('.totals dd', (list) =>
      list.map((one) => one.getAttribute('title')),
    );
    assert.deepEqual(titles.slice(0, 2), [exact(total.received), exact(total.sent)]);
    assert.equal(await tab.page.textContent('.totals .tot:nth-child(3) dd'), String(programs));
    assert.deepEqual(await figures(tab, 'section[aria-label=Programs]'), wanted(rows, 'exe'));
    const domains = asked(['-g', 'domain', '-l', '10']);
    assert.deepEqual(await figures(tab, 'section[aria-label=Destinations]'), wanted(domains.rows, 'domain'));
    assert.equal(await tab.page.textContent('.totals .tot:nth-child(4) dd'), String(domains.row_count));
  }));

test('each tab of a list is another question', () =>
  visit({}, async (tab) => {
    for (const [word, dimension, section] of [
      ['left', 'uid', 'Programs'],
      ['left', 'unit', 'Programs'],
      ['right', 'country', 'Destinations'],
      ['right', 'port', 'Destinations'],
    ]) {
      await tab.open(`/?${RANGE}&scope=internet&${word}=${dimension}`);
      const { rows } = asked(['--internet', '-g', dimension, '-l', '10']);
      assert.deepEqual(
        await figures(tab, `section[aria-label=${section}]`),
        wanted(rows, dimension),
        dimension,
      );
    }
    await tab.page.getByRole('tab', { name: 'Countries' }).click();
    await tab.settled();
    assert.equal(tab.params().get('right'), 'country');
    assert.match((await tab.texts('section[aria-label=Destinations] li')).join(), /France/);
  }));

test('new and changed programs are named, with a badge in the list', () =>
  visit({}, async (tab) => {
    await tab.open(`/?${RANGE}&scope=internet`);
    const list = (await tab.texts('section[aria-label="New and changed"] li')).join('\n');
    assert.match(list, /updater\s*changed/);
    assert.match((await tab.texts('section[aria-label=Programs] li')).join('\n'), /updater\D*changed/);
    const { rows } = asked(['--internet', '--changed-since', String(lab.since), '-g', 'exe']);
    assert.deepEqual(
      rows.map((/** @type {any} */ row) => row.exe),
      [lab.programs.updated],
    );
    assert.match((await tab.texts('.totals')).join(), /changed on disk\s?1/);
  }));

test('a program of the list opens its page with the range, and back is back', () =>
  visit({}, async (tab) => {
    await tab.open(`/?${RANGE}`);
    await tab.page.click('section[aria-label=Programs] a[title$="/firefox"]');
    await tab.settled();
    assert.equal(new URL(tab.page.url()).pathname, '/program');
    assert.equal(tab.params().get('exe'), lab.programs.browser);
    assert.equal(tab.params().get('since'), String(lab.since));
    assert.equal(await tab.page.textContent('main h1'), 'firefox');
    await tab.page.goBack();
    await tab.settled();
    assert.equal(new URL(tab.page.url()).pathname, '/');
    assert.ok(await tab.page.isVisible('section[aria-label=Destinations]'));
    await tab.page.goForward();
    await tab.settled();
    assert.equal(await tab.page.textContent('main h1'), 'firefox');
  }));

test('ranges: presets by click and by key, earlier and later, words and days of the calendar', () =>
  visit({}, async (tab) => {
    await tab.open('/');
    await tab.page.getByRole('group', { name: 'Range' }).getByRole('button', { name: '1 h' }).click();
    await tab.settled();
    assert.equal(tab.params().get('range'), '1h');
    await tab.press('4');
    assert.equal(tab.params().get('range'), '7d');
    await tab.press('[');
    const [since, until] = [Number(tab.params().get('since')), Number(tab.params().get('until'))];
    assert.equal(until - since, 604_800);
    assert.ok(Math.abs(Date.now() / 1000 - 604_800 - until) < 30);
    await tab.page.click('button[aria-label=Later]');
    await tab.settled();
    assert.equal(tab.params().get('range'), '7d');
    await tab.page.click('button.when');
    await tab.page.getByRole('button', { name: 'All of the log' }).click();
    await tab.settled();
    assert.equal(tab.params().get('range'), 'all');
    await tab.page.click('button.when');
    const day = await tab.page.locator('.calendar td button:not([disabled]):not(.other)').last();
    const label = await day.getAttribute('aria-label');
    await day.click();
    await tab.page.getByRole('button', { name: 'Show' }).click();
    await tab.settled();
    // That day, in the zone of the browser.
    const format = new Intl.DateTimeFormat('en-GB', {
      timeZone: 'Europe/Berlin',
      day: 'numeric',
      month: 'long',
      year: 'numeric',
    });
    assert.equal(format.format(Number(tab.params().get('since')) * 1000), label);
    assert.ok(Number(tab.params().get('until')) - Number(tab.params().get('since')) >= 86_340);
    assert.match((await tab.texts('button.when .zone')).join(), /CES?T/);
  }));

/** @param {import('./lib/browser.js').Tab} tab */
async function chartBox(tab) {
  const box = await tab.page.locator('svg.area').boundingBox();
  assert.ok(box);
  return box;
}

test('the chart zooms by drag, by wheel and by keys, and back again', () =>
  visit({}, async (tab) => {
    await tab.open(`/?${RANGE}`);
    const { x, y, width } = await chartBox(tab);
    await tab.page.mouse.move(x + width * 0.4, y + 60);
    await tab.page.mouse.down();
    await tab.page.mouse.move(x + width * 0.5, y + 60, { steps: 4 });
    await tab.page.mouse.move(x + width * 0.8, y + 70, { steps: 4 });
    assert.ok(await tab.page.isVisible('svg.area .selr'));
    await tab.page.mouse.up();
    await tab.settled();
    let [since, until] = [Number(tab.params().get('since')), Number(tab.params().get('until'))];
    assert.ok(since > lab.since && until < lab.until && since < until, `${since} ${until}`);
    await tab.page.goBack();
    await tab.settled();
    assert.equal(tab.params().get('since'), String(lab.since));

    await tab.open('/?range=1h');
    const box = await chartBox(tab);
    await tab.page.mouse.move(box.x + box.width * 0.6, box.y + 80);
    await tab.page.waitForTimeout(500);
    await tab.page.mouse.wheel(0, -200);
    await tab.page.waitForFunction(() => location.search.includes('since='));
    await tab.settled();
    [since, until] = [Number(tab.params().get('since')), Number(tab.params().get('until'))];
    assert.ok(until - since < 2500 && until - since > 600, `${until - since} s`);

    await tab.open('/?range=1h');
    await tab.page.focus('svg.area');
    await tab.press('Home ArrowRight ArrowRight Shift+ArrowRight Shift+ArrowRight');
    assert.match((await tab.page.getAttribute('svg.area', 'aria-valuetext')) ?? '', /received .*, sent /);
    await tab.press('Enter');
    [since, until] = [Number(tab.params().get('since')), Number(tab.params().get('until'))];
    assert.ok(until - since > 20 && until - since < 400, `${until - since} s`);
    await tab.page.focus('svg.area');
    await tab.press('Backspace');
    assert.equal(tab.params().get('range'), '1h');
    // Also when the filters changed since, and after a reload.
    await tab.press('Home Shift+ArrowRight Enter');
    await tab.press('i');
    await tab.page.reload();
    await tab.settled();
    await tab.page.focus('svg.area');
    await tab.press('Backspace');
    assert.deepEqual(
      [...tab.params()],
      [
        ['scope', 'internet'],
        ['range', '1h'],
      ],
    );
  }));

test('all of the log begins with the log', () =>
  visit({}, async (tab) => {
    await tab.open('/?range=all');
    await tab.press('[');
    assert.ok(Number(tab.params().get('since')) > lab.since - 86_400, tab.page.url());
    await tab.open('/?range=all');
    await tab.page.focus('svg.area');
    await tab.press('Backspace');
    assert.ok(Number(tab.params().get('since')) > lab.since - 86_400, tab.page.url());
  }));

test('an address with two slashes has no link to another host', () =>
  visit({ expected: /status of 404/ }, async (tab) => {
    const answer = await tab.page.goto(`${tab.origin}//evil.example/x`);
    // There is no such page: the first one is shown.
    assert.equal(answer?.status(), 404);
    await tab.settled();
    const away = await tab.page.$$eval(
      'a[href]',
      (list) => list.filter((one) => /** @type {HTMLAnchorElement} */ (one).host !== location.host).length,
    );
    assert.equal(away, 0);
  }));

test('a point of the chart is read above it, and its sums are those of the query', () =>
  visit({}, async (tab) => {
    await tab.open(`/?${RANGE}`);
    const { total } = asked([]);
    const said = [];
    await tab.page.focus('svg.area');
    await tab.press('Home');
    const series = await tab.page.evaluate(
      async ([range, token]) =>
        (
          await fetch(`/api/v1/series?${range}&parts=144`, { headers: { Authorization: `Bearer ${token}` } })
        ).json(),
      [RANGE, lab.token],
    );
    const sum = (/** @type {number[]} */ list) => list.reduce((a, b) => a + b, 0);
    assert.equal(sum(series.total.received), total.received);
    assert.equal(sum(series.total.sent), total.sent);
    for (let i = 0; i < 60; i++) {
      said.push(await tab.page.getAttribute('svg.area', 'aria-valuetext'));
      await tab.page.keyboard.press('ArrowRight');
    }
    assert.ok(
      said.some((text) => /received [\d.]+.[kM]B\/s/.test(text ?? '')),
      said.join('\n'),
    );
    assert.match((await tab.texts('.readout')).join(), /firefox|web-server|↓/);
  }));

test('internet only and compare change the figures by click and by key', () =>
  visit({}, async (tab) => {
    await tab.open(`/?since=${lab.middle}&until=${lab.until}`);
    await tab.press('i');
    assert.equal(tab.params().get('scope'), 'internet');
    await tab.press('c');
    assert.equal(tab.params().get('compare'), 'previous');
    const { total } = asked(['--internet', '--since', String(lab.middle), '--compare', 'previous']);
    assert.equal(
      await tab.page.locator('.totals dd').first().getAttribute('title'),
      exact(total.now.received),
    );
    assert.match((await tab.texts('.totals .tot:first-child dt')).join(), /received, (new|[+−×])/);
    await tab.page.getByRole('switch', { name: 'Internet only' }).click();
    await tab.settled();
    assert.equal(tab.params().get('scope'), null);
  }));
