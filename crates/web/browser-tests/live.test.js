/** The page Live: rates, filter, pause, connections that end; one stream for all tabs. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { health, lab, visit } from './lib/browser.js';

/** Starts a download that goes on until it is ended. @param {number} rate bytes per second */
function download(rate) {
  const place = `/proc/${lab.place.holder}/ns`;
  const url = `http://mirror.example.org:443/900000000/${rate}`;
  return spawn(
    'nsenter',
    [`--net=${place}/net`, `--mount=${place}/mnt`, lab.programs.browser, '-sS', '-o', '/dev/null', url],
    { stdio: 'ignore' },
  );
}
const ROW = 'table.livet tbody tr';

test('a connection appears with its rate, the filter finds it, pause holds it, and it fades when it ended', {
  timeout: 60_000,
}, async () => {
  const client = download(400_000);
  try {
    await visit({}, async (tab) => {
      const { page } = tab;
      await page.goto(`${tab.origin}/live`);
      const row = page.locator(`${ROW}:not(.ended)`, { hasText: 'mirror.example.org' });
      await row.waitFor();
      // Rates of a second or so: 400 kB/s, give or take what a loaded machine delays.
      await page.waitForFunction(
        (selector) =>
          [...document.querySelectorAll(selector)].some(
            (one) =>
              one.textContent?.includes('mirror.example.org') && /[345]\d\d\s*kB\/s/.test(one.textContent),
          ),
        ROW,
      );
      assert.match(await row.innerText(), /firefox[\s\S]*443/);
      assert.match(await page.title(), /^↓ [\d.]+.[kM]B\/s · Live · picosnitch$/);
      assert.match((await tab.texts('a.rate')).join(), /↓.?[\d.]+ ?[kM]B\/s/);

      await page.getByRole('searchbox', { name: 'Show only' }).fill('no such program');
      await page.getByText('No connection matches.').waitFor();
      for (const text of ['firefox', 'mirror.example']) {
        await page.getByRole('searchbox', { name: 'Show only' }).fill(text);
        await row.waitFor();
        const rows = await tab.texts(ROW);
        assert.ok(
          rows.every((one) => one.includes('firefox')),
          rows.join('\n'),
        );
      }
      await page.getByRole('searchbox', { name: 'Show only' }).fill('');
      await page
        .getByRole('button', { name: lab.programs.browser.split('/').at(-1) })
        .first()
        .click();
      await page.waitForFunction(() => location.search.includes('exe='));
      assert.ok((await tab.texts(ROW)).every((one) => one.includes('firefox')));

      await page.locator('h1').evaluate(() => /** @type {HTMLElement} */ (document.activeElement)?.blur());
      await page.keyboard.press('Space');
      await page.getByText(/^paused at/).waitFor();
      const before = await page.innerText('.livecols');
      await page.waitForTimeout(2200);
      assert.equal(await page.innerText('.livecols'), before);
      await page.keyboard.press('Space');
      await page.locator('[role=status]', { hasText: /^live$/ }).waitFor();

      client.kill('SIGKILL');
      const over = page.locator(`${ROW}.ended`, { hasText: 'mirror.example.org' });
      await over.waitFor();
      assert.match(await over.innerText(), /ended \d+ s ago/);
    });
  } finally {
    client.kill('SIGKILL');
  }
});

test('rates move', { timeout: 30_000 }, async () => {
  const client = download(300_000);
  try {
    await visit({}, async (tab) => {
      await tab.page.goto(`${tab.origin}/live?exe=${encodeURIComponent(lab.programs.browser)}`);
      await tab.page.locator(`${ROW}:not(.ended)`, { hasText: 'mirror.example.org' }).waitFor();
      const seen = new Set();
      for (let i = 0; i < 20 && seen.size < 3; i++) {
        seen.add((await tab.texts(ROW)).join());
        await tab.page.waitForTimeout(400);
      }
      assert.ok(seen.size >= 3, [...seen].join('\n'));
      const path = await tab.page.locator('svg.area path').count();
      assert.ok(path > 0);
    });
  } finally {
    client.kill('SIGKILL');
  }
});

test('two tabs share one stream, and the second goes on when the first is closed', { timeout: 60_000 }, () =>
  visit({}, async (tab, context) => {
    await tab.page.goto(`${tab.origin}/live`);
    const live = (/** @type {import('playwright-core').Page} */ page) =>
      page.locator('[role=status]', { hasText: /^live$/ }).waitFor();
    await live(tab.page);
    const other = await context.newPage();
    await other.goto(`${tab.origin}/live`);
    await live(other);
    const streams = async () => (await health(tab.origin)).dash.streams;
    // A stream of the test before may be about to end.
    for (let i = 0; i < 50 && (await streams()) !== 1; i++) await other.waitForTimeout(100);
    assert.equal(await streams(), 1);
    await tab.page.close();
    await live(other);
    await other.waitForTimeout(1500);
    assert.equal(await streams(), 1);
    await live(other);
  }),
);
