/** A browser on the page: what goes wrong in it without a failed assertion (console, policy, dialogs) fails the test, too. */
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after } from 'node:test';
import { query } from './lab.js';

const tools = createRequire(`${process.env.PICOSNITCH_PAGE_TOOLS}/`);
/** @type {typeof import('playwright-core')} */
const { chromium } = tools('playwright-core');
export const AXE = tools.resolve('axe-core/axe.min.js');

/** What the runner made. */
export const lab = JSON.parse(process.env.PICOSNITCH_PAGE_LAB ?? '{}');
/** The traffic of the runner, without that of the browser. */
export const RANGE = `since=${lab.since}&until=${lab.until}`;
/** Serves the files of the page as they are now, in place of those in the program. */
export const STATIC = process.env.PICOSNITCH_PAGE_STATIC
  ? ['--static-dir', process.env.PICOSNITCH_PAGE_STATIC]
  : [];
export const WIDE = { width: 1440, height: 900 };
export const PHONE = { width: 390, height: 844 };

let started = /** @type {Promise<import('playwright-core').Browser> | null} */ (null);
after(async () => (await started)?.close());

/** One browser for the tests of a file. */
export function browser() {
  if (!started) {
    started = chromium.launch({
      executablePath: process.env.PICOSNITCH_PAGE_BROWSER,
      // The tests are root, whom Chromium's sandbox does not serve; the page is ours.
      args: ['--no-sandbox', '--disable-dev-shm-usage'],
    });
  }
  return started;
}

/**
 * What the page asked for and has no answer to, but for streams.
 * @param {import('playwright-core').Page} page
 */
function watchRequests(page) {
  const open = new Set();
  let last = Date.now();
  let isLeaving = false;
  // The end of what the document before asked for is not always told.
  page.on('framenavigated', (frame) => {
    if (!isLeaving || frame !== page.mainFrame()) return;
    isLeaving = false;
    open.clear();
  });
  page.on('request', (request) => {
    if (request.isNavigationRequest()) isLeaving = true;
    if (!request.url().includes('/api/v1/live')) open.add(request);
    last = Date.now();
  });
  for (const event of /** @type {const} */ (['requestfinished', 'requestfailed'])) {
    page.on(/** @type {any} */ (event), (/** @type {any} */ request) => {
      open.delete(request);
      last = Date.now();
    });
  }
  return { isQuiet: () => open.size === 0 && Date.now() - last > 120, open };
}

/**
 * @typedef {object} Options
 * @property {{width: number, height: number}} [size]
 * @property {'light' | 'dark'} [theme] of the system
 * @property {boolean} [reduced] motion
 * @property {string} [origin]
 * @property {string | null} [token]
 * @property {RegExp} [expected] what may be said on the console
 * @property {boolean} [touch]
 */

/** Waits for frames, in the page. @param {number} count @returns {Promise<void>} */
const frames = (count) =>
  new Promise((resolve) => {
    const next = (/** @type {number} */ left) =>
      left ? requestAnimationFrame(() => next(left - 1)) : setTimeout(resolve);
    next(count);
  });

/** What is drawn while an answer is awaited. */
const WAITING = '.hold, .skel, .waiting, [aria-busy=true]';

/** A tab, and what went wrong in it. */
export class Tab {
  /** @param {import('playwright-core').Page} page @param {Options} options */
  constructor(page, options) {
    this.page = page;
    this.origin = options.origin ?? lab.origin;
    /** @type {string[]} */
    this.problems = [];
    this.requests = watchRequests(page);
    const problem = (/** @type {string} */ text) => {
      if (!options.expected?.test(text)) this.problems.push(text);
    };
    page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning')
        problem(`${message.type()}: ${message.text()} ${message.location().url}`);
    });
    page.on('pageerror', (error) => problem(`exception: ${error.stack}`));
    page.on('dialog', (dialog) => {
      problem(`dialog: ${dialog.message()}`);
      dialog.dismiss();
    });
  }

  /** Opens a path of the page and waits until it is complete. @param {string} path */
  async open(path) {
    await this.page.goto(this.origin + path);
    await this.settled();
  }

  /** Waits until nothing is asked for and nothing is held back. */
  async settled() {
    const end = Date.now() + 15_000;
    // What was done last is drawn in a frame, and asked for after it. A document that is being left may have no frames any more.
    const drawn = this.page.evaluate(frames, 4).catch(() => {});
    await Promise.race([drawn, this.page.waitForTimeout(1000)]);
    for (;;) {
      if (this.requests.isQuiet() && !(await this.page.$(WAITING))) return;
      if (Date.now() > end) {
        const open = [...this.requests.open].map((request) => request.url()).join(' ');
        throw new Error(
          `the page does not settle: ${this.page.url()}: ${open || (await this.page.$$eval(WAITING, (list) => list.map((one) => one.outerHTML.slice(0, 80)).join()))}`,
        );
      }
      await this.page.waitForTimeout(30);
    }
  }

  /** @param {string} selector */
  texts(selector) {
    return this.page.$$eval(selector, (list) =>
      list.map((element) => (element.textContent ?? '').replaceAll(/\s+/g, ' ').trim()),
    );
  }

  params() {
    return new URL(this.page.url()).searchParams;
  }

  /** Presses keys one after the other. @param {string} keys apart by spaces */
  async press(keys) {
    for (const key of keys.split(' ')) await this.page.keyboard.press(key);
    await this.settled();
  }
}

/**
 * Runs `work` on a new tab with the token, and fails if anything was said on its console.
 * @param {Options} options @param {(tab: Tab, context: import('playwright-core').BrowserContext) => Promise<unknown>} work
 */
export async function visit(options, work) {
  const context = await (await browser()).newContext({
    viewport: options.size ?? WIDE,
    colorScheme: options.theme ?? 'light',
    reducedMotion: options.reduced ? 'reduce' : 'no-preference',
    timezoneId: 'Europe/Berlin',
    locale: 'en-GB',
    acceptDownloads: true,
    hasTouch: options.touch ?? false,
  });
  context.setDefaultTimeout(10_000);
  const token = options.token === undefined ? lab.token : options.token;
  await context.addInitScript((value) => {
    if (value && !sessionStorage.getItem('picosnitch-token'))
      sessionStorage.setItem('picosnitch-token', value);
    addEventListener('securitypolicyviolation', (event) =>
      console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`),
    );
  }, token);
  const tab = new Tab(await context.newPage(), options);
  try {
    await work(tab, context);
    assert.deepEqual(tab.problems, [], 'said on the console');
  } catch (error) {
    const place = process.env.PICOSNITCH_PAGE_FAILURES;
    if (place) {
      mkdirSync(place, { recursive: true });
      const name = `${process.argv[1].replace(/.*\//, '').replace('.test.js', '')}-${Date.now()}.png`;
      await tab.page.screenshot({ path: join(place, name) }).catch(() => {});
      console.error(
        `picture of the failure: ${join(place, name)} ${tab.page.url()} ${tab.problems.join('; ')}`,
      );
    }
    throw error;
  } finally {
    await context.close();
  }
}

/**
 * The health as the server tells it. The smallest machines have no name `localhost` for Node.
 * @param {string} origin
 * @returns {Promise<any>}
 */
export async function health(origin) {
  const address = origin.replace('localhost', '127.0.0.1');
  const headers = { Authorization: `Bearer ${lab.token}` };
  return (await fetch(`${address}/api/v1/health`, { headers })).json();
}

/** The answer of `picosnitch query` about the traffic of the runner. @param {string[]} args */
export const asked = (args) =>
  JSON.parse(
    query(lab.binary, lab.base, [
      '--json',
      ...(args.includes('--since') ? [] : ['--since', String(lab.since)]),
      '--until',
      String(lab.until),
      ...args,
    ]),
  );

/** `1 234 bytes` as the page says it when pointed at. @param {number} bytes */
export const exact = (bytes) =>
  bytes ? `${bytes.toLocaleString('en').replaceAll(',', '\u202f')} bytes` : 'none';

/** Three digits and the unit, as the page shows an amount. @param {number} bytes */
export function shown(bytes) {
  if (!bytes) return '·';
  const names = ['B', 'kB', 'MB', 'GB'];
  let [value, step] = [bytes, 0];
  for (; value >= 999.5 && step < names.length - 1; step++) value /= 1000;
  if (!step) return `${bytes}B`;
  const digits = value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return `${value.toFixed(digits)}${names[step]}`;
}

/** Rows of a list or a table: the value, and received and sent as shown and exact. @param {Tab} tab @param {string} place */
export const figures = (tab, place) =>
  tab.page.$$eval(`${place} [data-dimension]`, (rows) =>
    rows.map((row) => ({
      value: row.getAttribute('data-value'),
      shown: [...row.querySelectorAll('.n')].map((one) => one.textContent),
      exact: [...row.querySelectorAll('.n')].map((one) => one.getAttribute('title')),
    })),
  );

/** The rows of an answer as [`figures`] gives them. @param {any[]} rows @param {string} dimension @param {(row: any) => number[]} amounts */
export const wanted = (rows, dimension, amounts = (row) => [row.received, row.sent]) =>
  rows.map((row) => ({
    value: row[dimension] === null ? '' : String(row[dimension]),
    shown: amounts(row).map(shown),
    exact: amounts(row).map(exact),
  }));
