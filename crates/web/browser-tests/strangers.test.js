/** Names that strangers choose are text on every page, and cannot act or turn the line around. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asked, lab, RANGE, visit } from './lib/browser.js';

const { odd } = lab.programs;

/** What the answers call it, which has escapes for what must not act. */
function spelling() {
  const row = asked(['--internet', '-l', '1000']).rows.find((/** @type {any} */ one) =>
    one.exe.includes('<script>'),
  );
  assert.ok(row, 'the odd program is in the log');
  return row.exe;
}

/** @param {import('./lib/browser.js').Tab} tab @param {string} where */
async function assertHarmless(tab, where) {
  const found = await tab.page.evaluate(() => ({
    scripts: [...document.querySelectorAll('script')].filter((one) => !one.src.endsWith('/static/js/main.js'))
      .length,
    images: document.querySelectorAll('img, iframe, object, embed, base').length,
    handlers: [...document.querySelectorAll('*')].filter((one) =>
      [...one.attributes].some(({ name }) => name.startsWith('on')),
    ).length,
    links: [...document.querySelectorAll('a[href]')].filter(
      (one) => /** @type {HTMLAnchorElement} */ (one).origin !== location.origin,
    ).length,
    text:
      document.body.innerText +
      [...document.querySelectorAll('[title],[aria-label]')]
        .map((one) => `${one.getAttribute('title')} ${one.getAttribute('aria-label')}`)
        .join(' ') +
      document.title,
  }));
  const { text, ...elements } = found;
  assert.deepEqual(elements, { scripts: 0, images: 0, handlers: 0, links: 0 }, where);
  // Direction marks and control characters would act on what is beside them.
  assert.doesNotMatch(text, /(?![\t\n\r])[\p{Cc}\p{Cf}]/u, where);
  return text;
}

test('what cannot be seen is written out, as on a terminal', () =>
  visit({}, async (tab) => {
    await tab.open('/health');
    for (const [text, expected] of [
      ['/usr/bin/café \\n 日本 עברית', '/usr/bin/café \\n 日本 עברית'],
      ['a\n\t\x1b[31m\0\x7f', 'a\\x0a\\x09\\x1b[31m\\x00\\x7f'],
      ['\u009b\u202e\u200b\u2066\ufeff\u{e0041}', '\\u{9b}\\u{202e}\\u{200b}\\u{2066}\\u{feff}\\u{e0041}'],
    ]) {
      const shown = tab.page.evaluate(async (one) => {
        const module = '/static/js/lib/html.js';
        return (await import(module)).visible(one);
      }, text);
      assert.equal(await shown, expected);
    }
  }));

test('on every page', { timeout: 60_000 }, () =>
  visit({}, async (tab) => {
    const exe = spelling();
    const filter = `where=${encodeURIComponent(`exe=${exe}`)}`;
    for (const path of [
      `/?${RANGE}&${filter}`,
      `/explore?${RANGE}&${filter}`,
      `/explore?${RANGE}&${filter}&group_by=cmdline`,
      `/explore?${RANGE}&${filter}&group_by=name&group_by=exe`,
      `/program?${RANGE}&exe=${encodeURIComponent(exe)}`,
      `/destination?${RANGE}&domain=files.example.net`,
      `/flows?${RANGE}&${filter}`,
      `/flows?${RANGE}&${filter}&view=table`,
      `/alerts?${RANGE}&${filter}`,
    ]) {
      await tab.open(path);
      const text = await assertHarmless(tab, path);
      assert.ok(text.includes('<script>alert(1)') || path.includes('cmdline'), `${path}: ${text}`);
      if (path.includes('cmdline')) assert.ok(text.includes('<img src=x onerror=alert(2)>'), text);
    }
    assert.ok(odd.includes('\u202e'));
  }),
);

test('the row of it leads to its page and filters exactly it', () =>
  visit({}, async (tab) => {
    const exe = spelling();
    const { total } = asked(['--internet', '-w', `exe=${exe}`]);
    await tab.open(`/explore?${RANGE}&find=gpj&scope=internet`);
    const row = tab.page.locator('table.explore tbody tr');
    assert.equal(await row.count(), 1);
    await row.locator('a.name').click();
    await tab.settled();
    assert.equal(tab.params().get('exe'), exe);
    assert.match((await tab.texts('.facts')).join(), new RegExp(`${(total.received / 1000).toFixed(2)}.kB`));
  }));

test('in the search, in filters and in the export', () =>
  visit({}, async (tab) => {
    await tab.open(`/explore?${RANGE}`);
    await tab.press('/');
    await tab.page.keyboard.type('<script>');
    await tab.page.locator('#found [role=option]').first().waitFor();
    await assertHarmless(tab, 'search');
    await tab.page.keyboard.press('Escape');
    await tab.open(
      `/explore?${RANGE}&where=${encodeURIComponent('domain=<img src=x onerror=alert(3)>')}&find=${encodeURIComponent('<b>"\'')}`,
    );
    await assertHarmless(tab, 'a filter of the address');
    await tab.open(`/destination?domain=${encodeURIComponent('<svg onload=alert(4)>')}&${RANGE}`);
    await assertHarmless(tab, 'a destination of the address');
  }));

test('a star in a value is that character in filters; one that is typed stands for anything', () =>
  visit({}, async (tab, context) => {
    await context.route(/api\/v1\/query\?.*group_by=exe/, async (route) => {
      const response = await route.fetch();
      const data = await response.json();
      if (data.rows[0]?.exe) data.rows[0].exe = '/opt/a*b';
      await route.fulfill({ response, json: data });
    });
    await tab.open(`/explore?${RANGE}`);
    const asked = tab.page.waitForRequest(/query\?.*where=exe%3D%2Fopt%2Fa%5Cx2ab/);
    await tab.page.locator('table.explore tr[data-value="/opt/a*b"]').focus();
    await tab.press('Enter');
    await asked;
    assert.deepEqual(tab.params().getAll('where'), ['exe=/opt/a\\x2ab']);
    assert.deepEqual(await tab.texts('.chip .val'), ['a*b']);
    await tab.open(`/program?${RANGE}&exe=/opt/a*b`);
    const link = await tab.page
      .getByRole('link', { name: 'Explore', exact: true })
      .last()
      .getAttribute('href');
    assert.deepEqual(new URL(link ?? '', tab.origin).searchParams.getAll('where'), ['exe=/opt/a\\x2ab']);
    await tab.open(`/explore?${RANGE}&group_by=domain`);
    await tab.page.getByRole('button', { name: 'Filter', exact: true }).click();
    await tab.page.getByLabel('Dimension').selectOption('domain');
    await tab.page.getByLabel('Value', { exact: true }).fill('*.example.net');
    await tab.page.keyboard.press('Enter');
    await tab.settled();
    assert.deepEqual(tab.params().getAll('where'), ['domain=*.example.net']);
    assert.ok((await tab.texts('table.explore tbody tr')).length > 1);
  }));
