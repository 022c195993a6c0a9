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

/**
 * Opens each page in each look, or leaves them open for what happens `meanwhile`, and takes pictures.
 * @param {Record<string, string>} pages @param {() => Promise<unknown>} [meanwhile]
 */
async function take(pages, meanwhile) {
  const { browser, lab, Tab } = await import('./lib/browser.js');
  const open = [];
  for (const [look, options] of LOOKS) {
    const context = await (await browser()).newContext({
      ...options,
      timezoneId: 'Europe/Berlin',
      locale: 'en-GB',
    });
    await context.addInitScript((value) => sessionStorage.setItem('picosnitch-token', value), lab.token);
    for (const [name, path] of Object.entries(pages)) {
      const tab = new Tab(await context.newPage(), {});
      await tab.open(path);
      const picture = async () => {
        // The header has the rate when the stream has begun.
        await tab.page.waitForFunction(() => /\d/.test(document.querySelector('a.rate')?.textContent ?? ''));
        const file = join(directory, `${name}-${look}.png`);
        await tab.page.screenshot({ path: file });
        // Few colours are enough for flat areas and text, and a third of the size.
        const few = ['-strip', '-dither', 'None', '-colors', '96', '-define', 'png:compression-level=9'];
        execFileSync('convert', [file, ...few, `PNG8:${file}`]);
        if (tab.problems.length) console.error(tab.problems.join('\n'));
        await tab.page.close();
      };
      if (meanwhile) open.push(picture);
      else await picture();
    }
  }
  await meanwhile?.();
  for (const picture of open) await picture();
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
  const first = Math.floor(Date.now() / 1000);
  await scene.warmUp();
  const since = Math.floor(Date.now() / 1000);
  await scene.play(say);
  await sleep(2500);
  const until = Math.floor(Date.now() / 1000);
  // The names of users are those of the lab.
  const passwd = join(scene.lab.directory, 'etc/passwd');
  const within = ['unshare', '--mount', 'sh', '-c', 'mount --bind "$0" /etc/passwd && exec "$@"', passwd];
  const { dash, origin, address } = await startDash(binary, base, STATIC, within);
  started.push(dash);
  process.env.PICOSNITCH_PAGE_LAB = JSON.stringify({ origin, token: address.split('token=')[1] });
  scene.linger();
  const range = `since=${since}&until=${until}`;
  const middle = Math.round((since + until) / 2);
  await take({
    overview: `/?${range}`,
    explore: `/explore?since=${middle}&until=${until}&compare=previous`,
    program: `/program?${range}&exe=${encodeURIComponent('/opt/Signal/signal-desktop')}&by=sha256`,
    destination: `/destination?${range}&domain=backup.example.org`,
    flows: `/flows?${range}`,
    alerts: `/alerts?since=${first}&until=${until}`,
    health: '/health',
  });
  await take({ live: '/live?scope=internet' }, () => scene.play(say, 100, 215));
  say('done');
} finally {
  for (const one of started.reverse()) await one.stop();
  await scene.lab.stop();
  rmSync(base, { recursive: true, force: true });
}
process.exit(0);
