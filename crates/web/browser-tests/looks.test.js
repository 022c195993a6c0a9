/** How the page looks and is used: themes, sizes, motion, keyboard, and what axe-core finds. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { AXE, lab, PHONE, RANGE, visit } from './lib/browser.js';

const axe = readFileSync(AXE, 'utf8');
const PAGES = {
  overview: `/?${RANGE}`,
  explore: `/explore?${RANGE}`,
  compared: `/explore?since=${lab.middle}&until=${lab.until}&compare=previous`,
  program: `/program?${RANGE}&exe=${encodeURIComponent(lab.programs.updated)}`,
  destination: `/destination?${RANGE}&domain=cdn.example.net`,
  flows: `/flows?${RANGE}&scope=internet`,
  table: `/flows?${RANGE}&scope=internet&view=table`,
  live: '/live',
  alerts: `/alerts?${RANGE}`,
  health: '/health',
};

/** @param {import('./lib/browser.js').Tab} tab @param {string} where */
async function assertAccessible(tab, where) {
  // The policy of the page forbids a script of others in it: this one comes through the debugger.
  await tab.page.evaluate(axe);
  const violations = await tab.page.evaluate(
    async () =>
      (await /** @type {any} */ (globalThis).axe.run(document, { resultTypes: ['violations'] })).violations,
  );
  const serious = violations
    .filter((/** @type {any} */ one) => one.impact === 'serious' || one.impact === 'critical')
    .map(
      (/** @type {any} */ one) =>
        `${one.id}: ${one.nodes
          .slice(0, 3)
          .map((/** @type {any} */ node) => `${node.target} ${node.failureSummary}`)
          .join('\n')}`,
    );
  assert.deepEqual(serious, [], where);
}

/** @type {[string, import('./lib/browser.js').Options][]} */
const LOOKS = [
  ['light', { theme: 'light' }],
  ['dark', { theme: 'dark' }],
  ['phone', { size: PHONE, touch: true }],
];
for (const [name, options] of LOOKS) {
  test(`axe-core finds nothing serious: ${name}`, { timeout: 120_000 }, () =>
    visit(options, async (tab) => {
      for (const [page, path] of Object.entries(PAGES)) {
        await tab.open(path);
        await assertAccessible(tab, `${page}, ${name}`);
      }
      await tab.open(PAGES.explore);
      await tab.page.locator('button.when').click();
      await assertAccessible(tab, `calendar, ${name}`);
      await tab.page.keyboard.press('Escape');
      await tab.page.keyboard.press('?');
      await assertAccessible(tab, `help, ${name}`);
    }),
  );
}

test('no page scrolls sideways on a phone, nor on a very large screen', { timeout: 120_000 }, async () => {
  for (const size of [
    PHONE,
    { width: 360, height: 740 },
    { width: 768, height: 1024 },
    { width: 3840, height: 2160 },
  ]) {
    await visit({ size, touch: size.width < 800 }, async (tab) => {
      for (const [page, path] of Object.entries(PAGES)) {
        await tab.open(path);
        const [inner, client] = await tab.page.evaluate(() => [
          document.documentElement.scrollWidth,
          document.documentElement.clientWidth,
        ]);
        const wide = await tab.page.evaluate(() => {
          const own = document.documentElement.clientWidth;
          return [...document.querySelectorAll('main *, header *')]
            .filter((one) => one.getBoundingClientRect().right > own + 1)
            .slice(0, 3)
            .map((one) => one.outerHTML.slice(0, 100));
        });
        assert.ok(inner <= client, `${page} at ${size.width}: ${inner} > ${client}: ${wide.join('\n')}`);
      }
    });
  }
});

test('on a phone one can search, choose a range and go to a page', () =>
  visit({ size: PHONE, touch: true }, async (tab) => {
    await tab.open(PAGES.overview);
    await tab.page.getByRole('button', { name: 'Search' }).click();
    await tab.page.keyboard.type('firefox');
    // Another program of this machine may have the same name.
    await tab.page.locator(`#found a[href*="${encodeURIComponent(lab.programs.browser)}"]`).click();
    await tab.settled();
    assert.equal(tab.params().get('exe'), lab.programs.browser);
    await tab.page.locator('.toolbar .phone-only button').first().click();
    await tab.page.getByRole('menuitemradio', { name: '7 d' }).click();
    await tab.settled();
    assert.equal(tab.params().get('range'), '7d');
    await tab.page
      .getByRole('navigation')
      .getByRole('link', { name: /Alerts/ })
      .click();
    await tab.settled();
    await tab.page.locator('button.arow').first().click();
    await tab.page.locator('aside h2').waitFor();
  }));

const paper = (/** @type {import('./lib/browser.js').Tab} */ tab) =>
  tab.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
/** @param {string} color */
const isDark = (color) =>
  (color.match(/[\d.]+/g) ?? []).slice(0, 3).reduce((sum, part) => sum + Number(part), 0) < 384;

test('dark by the system, and by choice, which is kept', async () => {
  await visit({ theme: 'dark' }, async (tab) => {
    await tab.open(PAGES.overview);
    assert.ok(isDark(await paper(tab)));
    await tab.page.emulateMedia({ colorScheme: 'light' });
    assert.ok(!isDark(await paper(tab)));
    await tab.press('t');
    assert.ok(isDark(await paper(tab)));
    await tab.page.reload();
    await tab.settled();
    assert.ok(isDark(await paper(tab)));
    await tab.page.getByRole('button', { name: 'Use light colours' }).click();
    assert.ok(!isDark(await paper(tab)));
  });
});

test('with reduced motion nothing moves by itself', () =>
  visit({ reduced: true }, async (tab) => {
    for (const path of [PAGES.overview, PAGES.live]) {
      await tab.open(path);
      const moving = await tab.page.evaluate(() =>
        document
          .getAnimations()
          .filter(
            (one) => one.playState === 'running' && Number(one.effect?.getComputedTiming().duration) > 10,
          )
          .map((one) => {
            const effect = /** @type {KeyframeEffect} */ (one.effect);
            return `${effect.target?.className} ${JSON.stringify(effect.getKeyframes())}`;
          }),
      );
      assert.deepEqual(moving, [], path);
    }
  }));

test('every page by keys; help; tabs; the chart', () =>
  visit({}, async (tab) => {
    await tab.open(PAGES.overview);
    for (const [key, path] of [
      ['e', '/explore'],
      ['f', '/flows'],
      ['l', '/live'],
      ['a', '/alerts'],
      ['h', '/health'],
      ['o', '/'],
    ]) {
      await tab.press(`g ${key}`);
      assert.equal(new URL(tab.page.url()).pathname, path);
      assert.equal((await tab.texts('nav [aria-current=page]')).length, 1);
    }
    assert.equal(tab.params().get('since'), String(lab.since));
    await tab.press('?');
    assert.match(
      await tab.page.getByRole('dialog', { name: 'Keyboard' }).innerText(),
      /Earlier[\s\S]*Move through the chart/,
    );
    await tab.press('Escape');
    assert.equal(await tab.page.locator('dialog[open]').count(), 0);
    await tab.page.getByRole('tablist', { name: 'Destinations' }).locator('[aria-selected=true]').focus();
    await tab.press('ArrowRight');
    assert.equal(tab.params().get('right'), 'country');
    await tab.open(PAGES.overview);
    // From the top: the first stop skips the header, and every stop is seen.
    await tab.page.keyboard.press('Tab');
    assert.equal(await tab.page.evaluate(() => document.activeElement?.textContent), 'Skip to content');
    await tab.page.keyboard.press('Enter');
    assert.equal(await tab.page.evaluate(() => document.activeElement?.id), 'main');
    for (let i = 0; i < 12; i++) {
      await tab.page.keyboard.press('Tab');
      const seen = await tab.page.evaluate(() => {
        const style = getComputedStyle(/** @type {Element} */ (document.activeElement));
        return style.outlineStyle !== 'none' && Number.parseFloat(style.outlineWidth) > 0;
      });
      assert.ok(seen, await tab.page.evaluate(() => document.activeElement?.outerHTML.slice(0, 200)));
    }
  }));
