/** What the page shows when it may not, cannot, or has nothing to show; a daemon and a log of its own. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { lab, RANGE, STATIC, visit } from './lib/browser.js';
import { makeBase, startDaemon, startDash } from './lib/lab.js';

/** @type {(() => unknown)[]} */
const endings = [];
after(async () => {
  for (const end of endings.reverse()) await end();
});

/** @param {string} base */
async function serve(base) {
  const served = await startDash(lab.binary, base, STATIC);
  endings.push(() => served.dash.stop());
  return { ...served, token: served.address.split('token=')[1] };
}
function freshBase() {
  const base = makeBase();
  endings.push(() => rmSync(base, { recursive: true, force: true }));
  return base;
}

test('the token is taken out of the address and kept for the tab', () =>
  visit({ token: null }, async (tab, context) => {
    await tab.open(`/explore?${RANGE}#token=${lab.token}`);
    assert.equal(tab.page.url(), `${lab.origin}/explore?${RANGE}`);
    assert.ok((await tab.texts('table.explore tbody tr')).length);
    await tab.page.reload();
    await tab.settled();
    assert.ok((await tab.texts('table.explore tbody tr')).length);
    assert.equal(await tab.page.evaluate(() => JSON.stringify(localStorage).includes('token')), false);
    assert.equal(await tab.page.evaluate(() => document.cookie), '');
    assert.equal((await context.cookies()).length, 0);
    assert.equal(await tab.page.evaluate(() => history.length <= 2), true);
  }));

test('without the token, or with another: no figures, only what to do', async () => {
  for (const token of [null, '0'.repeat(64)]) {
    await visit({ token, expected: /status of 401/ }, async (tab) => {
      for (const path of ['/', '/explore', '/live', '/health']) {
        await tab.open(path);
        assert.equal(await tab.page.textContent('h1'), 'This browser is not let in');
        assert.match(await tab.page.innerText('body'), /picosnitch dash/);
        assert.doesNotMatch(await tab.page.innerText('body'), /firefox|kB|MB/);
      }
      await tab.page.goto(`${tab.origin}/health#token=${lab.token}`);
      await tab.page.getByText('What it costs').waitFor();
    });
  }
});

test('a late refusal of an old token leaves the session of the new one', () =>
  visit({ token: '0'.repeat(64), expected: /status of 401/ }, async (tab, context) => {
    /** @type {(value?: unknown) => void} */
    let answer = () => {};
    const later = new Promise((resolve) => {
      answer = resolve;
    });
    let isFirst = true;
    await context.route('**/api/v1/health', async (route) => {
      if (isFirst) {
        isFirst = false;
        await later;
      }
      await route.continue();
    });
    await tab.page.goto(`${tab.origin}/?${RANGE}`);
    await tab.page.getByText('This browser is not let in').waitFor();
    await tab.page.goto(`${tab.origin}/?${RANGE}#token=${lab.token}`);
    await tab.page.locator('section[aria-label=Programs] li').first().waitFor();
    const refused = tab.page.waitForResponse((response) => response.status() === 401);
    answer();
    await refused;
    await tab.settled();
    assert.ok((await tab.texts('section[aria-label=Programs] li')).length);
    assert.equal(await tab.page.getByText('This browser is not let in').count(), 0);
  }));

test('no log yet', async () => {
  const { origin, token } = await serve(freshBase());
  await visit({ origin, token, expected: /status of 503/ }, async (tab) => {
    for (const path of ['/', '/explore', '/flows', '/alerts', '/program?exe=/x', '/destination?domain=x']) {
      await tab.open(path);
      assert.match((await tab.texts('main h1, main [role=alert]')).join(), /There is no log yet/, path);
    }
  });
});

test('the daemon stops and comes back; the log is replaced', { timeout: 120_000 }, async () => {
  const base = freshBase();
  let daemon = await startDaemon(lab.binary, base);
  endings.push(() => daemon.stop('SIGKILL'));
  const { origin, token } = await serve(base);
  await visit({ origin, token, expected: /ERR_INCOMPLETE_CHUNKED_ENCODING|status of 503/ }, async (tab) => {
    await tab.open('/?range=1h');
    assert.equal((await tab.texts('.banner')).length, 0);
    const top = await tab.page.locator('main h2').first().boundingBox();
    await daemon.stop();
    await tab.page.getByText('Nothing is recorded now.').waitFor();
    assert.match(await tab.page.title(), /^not recording · /);
    assert.deepEqual(await tab.page.locator('main h2').first().boundingBox(), top, 'nothing moves');
    await tab.page.goto(`${origin}/live`);
    await tab.page.locator('[role=status]', { hasText: 'not recording' }).waitFor();
    await tab.page.goto(`${origin}/health`);
    await tab.page.getByText('Nothing is recorded now.').first().waitFor();
    await tab.open('/?range=1h');

    // Another log in its place, as after a restore.
    const log = join(base, 'snitch.db');
    const { uid, gid, mode } = statSync(log);
    for (const end of ['-wal', '-shm']) rmSync(log + end, { force: true });
    const other = join(base, 'other.db');
    execFileSync(lab.binary, ['--base-dir', lab.base, 'backup', other], { stdio: 'ignore' });
    chownSync(other, uid, gid);
    // A copy is for its owner only.
    chmodSync(other, mode & 0o777);
    renameSync(other, log);
    daemon = await startDaemon(lab.binary, base);
    await tab.page.getByText('Nothing is recorded now.').waitFor({ state: 'detached', timeout: 15_000 });
    const replaced = tab.page.getByText(/The log is not the one this page was opened on/);
    // Whatever is asked next says it.
    for (let i = 0; i < 20 && !(await replaced.isVisible()); i++) {
      await tab.press(i % 2 ? '2' : '3');
      await tab.page.waitForTimeout(500);
    }
    await replaced.waitFor();
    await tab.page.getByRole('button', { name: 'Load the new one' }).click();
    await replaced.waitFor({ state: 'detached' });
    await tab.settled();
    assert.match((await tab.texts('section[aria-label=Programs] li')).join(), /firefox/);
  });
});

test('nothing in the range, and filtered to nothing', () =>
  visit({}, async (tab) => {
    await tab.open('/?since=1000000000&until=1000003600');
    assert.match(await tab.page.innerText('main'), /No traffic between/);
    await tab.page.getByRole('link', { name: 'Look in all of history' }).first().waitFor();
    await tab.open(`/explore?${RANGE}&where=domain%3Dnowhere.invalid`);
    assert.match(await tab.page.innerText('main'), /No traffic .* that the filters leave/);
    await tab.page.getByRole('button', { name: 'remove the filters' }).click();
    await tab.settled();
    assert.deepEqual(tab.params().getAll('where'), []);
  }));

test('a server that is gone: old figures stay, faded, with their time; again when it is back', () =>
  visit({ expected: /ERR_|status of/ }, async (tab, context) => {
    await tab.open(`/explore?${RANGE}`);
    const before = await tab.texts('table.explore tbody tr');
    await context.route('**/api/**', (route) => route.abort());
    await tab.page.evaluate(() => dispatchEvent(new Event('online')));
    await tab.page.getByRole('alert').first().waitFor();
    assert.match(
      await tab.page.getByRole('alert').first().innerText(),
      /does not answer.*Figures are those of \d\d:\d\d/s,
    );
    assert.deepEqual(await tab.texts('table.explore tbody tr'), before);
    await context.unroute('**/api/**');
    await tab.page.getByRole('button', { name: 'Try again' }).first().click();
    await tab.page.getByRole('alert').first().waitFor({ state: 'detached' });
  }));

test('figures of another question: faded while the answer is awaited, gone when there is none', () =>
  visit({ expected: /ERR_|status of/ }, async (tab, context) => {
    await tab.open(`/explore?${RANGE}&group_by=domain`);
    const before = await tab.texts('table.explore tbody tr');
    const only = () =>
      tab.page.locator('table.explore tr[data-value="cdn.example.net"] .rowacts button').first();
    await context.route('**/api/**', async (route) => {
      await new Promise((resolve) => setTimeout(resolve, 1200));
      await route.continue();
    });
    await only().evaluate((button) => button.click());
    await tab.page.locator('.stale table.explore, .stale > table.explore').waitFor();
    assert.deepEqual(await tab.texts('table.explore tbody tr'), before);
    await tab.page.locator('.bleed.stale').waitFor();
    await tab.settled();
    assert.equal(await tab.page.locator('.stale').count(), 0);
    assert.equal((await tab.texts('table.explore tbody tr')).length, 1);
    // Rows of another grouping have other columns.
    await tab.page.getByRole('tab', { name: 'User', exact: true }).click();
    await tab.page.locator('.skel').first().waitFor();
    assert.equal(await tab.page.locator('table.explore').count(), 0);
    await tab.settled();
    await context.unroute('**/api/**');
    await context.route('**/api/**', (route) => route.abort());
    await tab.page.getByRole('button', { name: /Remove the filter/ }).click();
    await tab.page.getByRole('alert').first().waitFor();
    assert.doesNotMatch(await tab.page.innerText('main'), /Figures are those of/);
    assert.equal(await tab.page.locator('table.explore').count(), 0);
  }));
