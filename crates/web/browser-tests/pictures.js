/**
 * Pictures of every page, in light, dark and on a phone, of traffic that a daemon of its own recorded.
 *
 *     node pictures.js BINARY DIRECTORY     as root; scripts/page-pictures says where the tools are
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeBase, Process, startDaemon, startDash } from './lib/lab.js';
import { Scene } from './lib/scene.js';

const [binary, directory] = process.argv.slice(2);
const began = Date.now();
const say = (/** @type {string} */ text) =>
  console.log(`# ${((Date.now() - began) / 1000).toFixed(0)} s: ${text}`);
const STATIC = process.env.PICOSNITCH_PAGE_STATIC ? ['--static-dir', process.env.PICOSNITCH_PAGE_STATIC] : [];

/** @type {[string, import('playwright-core').BrowserContextOptions][]} */
const LOOKS = [
  ['light', { viewport: { width: 1440, height: 960 }, colorScheme: 'light' }],
  ['dark', { viewport: { width: 1440, height: 960 }, colorScheme: 'dark' }],
  [
    'phone',
    {
      viewport: { width: 390, height: 844 },
      colorScheme: 'light',
      deviceScaleFactor: 2,
      isMobile: true,
      hasTouch: true,
    },
  ],
];

/** @param {string} origin @param {string} token @param {Record<string, string>} pages */
async function take(origin, token, pages) {
  process.env.PICOSNITCH_PAGE_LAB = JSON.stringify({ origin, token });
  const { browser, Tab } = await import('./lib/browser.js');
  for (const [look, options] of LOOKS) {
    const context = await (await browser()).newContext({
      ...options,
      timezoneId: 'Europe/Berlin',
      locale: 'en-GB',
    });
    await context.addInitScript((value) => sessionStorage.setItem('picosnitch-token', value), token);
    const tab = new Tab(await context.newPage(), {});
    for (const [name, path] of Object.entries(pages)) {
      await tab.open(path);
      if (path.startsWith('/live')) await sleep(5000);
      const file = join(directory, `${name}-${look}.png`);
      await tab.page.screenshot({ path: file });
      // Few colours are enough for flat areas and text, and a third of the size.
      execFileSync('convert', [
        file,
        '-strip',
        '-dither',
        'None',
        '-colors',
        '96',
        '-define',
        'png:compression-level=9',
        `PNG8:${file}`,
      ]);
    }
    if (tab.problems.length) console.error(tab.problems.join('\n'));
    await context.close();
  }
}

const base = makeBase('ignore = ["127.0.0.0/8", "192.168.1.0/24", "::1"]\n');
const scene = new Scene();
mkdirSync(directory, { recursive: true });
/** @type {Process[]} */
const started = [];
try {
  await scene.start();
  started.push(await startDaemon(binary, base));
  say('recording');
  const since = Math.floor(Date.now() / 1000) - 4;
  await scene.play(say);
  await sleep(2500);
  const until = Math.floor(Date.now() / 1000);
  // The names of users are those of the lab.
  const passwd = join(scene.lab.directory, 'etc/passwd');
  const within = ['unshare', '--mount', 'sh', '-c', 'mount --bind "$0" /etc/passwd && exec "$@"', passwd];
  const { dash, origin, address } = await startDash(binary, base, STATIC, within);
  started.push(dash);
  scene.linger();
  const range = `since=${since}&until=${until}`;
  const middle = Math.round((since + until) / 2);
  const token = address.split('token=')[1];
  await take(origin, token, {
    overview: `/?${range}`,
    explore: `/explore?since=${middle}&until=${until}&compare=previous`,
    program: `/program?${range}&exe=${encodeURIComponent('/opt/Signal/signal-desktop')}`,
    destination: `/destination?${range}&domain=media.example.net`,
    flows: `/flows?${range}`,
    live: '/live?scope=internet',
    alerts: `/alerts?${range}`,
    health: '/health',
  });
  say('done');
} finally {
  for (const one of started.reverse()) await one.stop();
  await scene.lab.stop();
  rmSync(base, { recursive: true, force: true });
}
process.exit(0);
