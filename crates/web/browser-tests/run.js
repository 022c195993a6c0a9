/**
 * Records real traffic of real programs with a daemon of its own, serves the page, and runs the tests in a browser on it.
 *
 *     node run.js BINARY [TEST...]     as root; scripts/test-page says where the tools are
 */
import { spawn } from 'node:child_process';
import { readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeBase, query, startDaemon, startDash, until } from './lib/lab.js';
import { makeLab, makePrograms, makeTraffic } from './lib/traffic.js';

const here = dirname(fileURLToPath(import.meta.url));
const [binary, ...names] = process.argv.slice(2);
const tests = readdirSync(here)
  .filter((name) => name.endsWith('.test.js'))
  .filter((name) => !names.length || names.some((one) => name.startsWith(one)))
  .sort();

/** @param {Record<string, unknown>} lab */
function run(lab) {
  const env = { ...process.env, PICOSNITCH_PAGE_LAB: JSON.stringify(lab) };
  // One file after the other: they share one daemon, and the tests of speed need the processor for themselves.
  const args = [
    '--test',
    '--test-reporter=spec',
    ...(process.version < 'v20' ? [] : ['--test-concurrency=1']),
    ...tests.map((name) => join(here, name)),
  ];
  return new Promise((resolve) => {
    const child = spawn(process.execPath, args, { env, stdio: 'inherit' });
    for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM']))
      process.on(signal, () => child.kill(signal));
    child.on('close', (code) => resolve(code ?? 1));
  });
}

const began = Date.now();
const say = (/** @type {string} */ text) =>
  console.log(`# ${((Date.now() - began) / 1000).toFixed(1)} s: ${text}`);
const base = makeBase();
const lab = await makeLab();
let code = 1;
for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM'])) {
  process.on(signal, () => lab.stop().finally(() => process.exit(1)));
}
try {
  const programs = await makePrograms(lab);
  lab.started.push(await startDaemon(binary, base));
  // Ten minutes: parts of a chart are not shorter than some seconds.
  const since = Math.floor(Date.now() / 1000) - 580;
  say('recording');
  const recorded = (/** @type {string} */ program, /** @type {number} */ received) =>
    until('the traffic in the log', () => {
      const args = ['--json', '--range', '1h', '-g', 'exe', '-w', `exe=${program}`];
      return JSON.parse(query(binary, base, args)).rows[0]?.received >= received;
    });
  const last = /** @type {string} */ (programs.many.at(-1));
  const middle = await makeTraffic(lab, programs, () => recorded(last, 12_000));
  await recorded(programs.browser, 5_590_000);
  const now = Math.floor(Date.now() / 1000);
  const { dash, address, origin } = await startDash(
    binary,
    base,
    process.env.PICOSNITCH_PAGE_STATIC ? ['--static-dir', process.env.PICOSNITCH_PAGE_STATIC] : [],
  );
  lab.started.push(dash);
  say('serving');
  const place = { directory: lab.directory, holder: lab.holder?.child.pid };
  code = await run({
    binary,
    base,
    origin,
    token: address.split('token=')[1],
    since,
    middle,
    until: now,
    programs,
    place,
  });
  say(code ? 'failed' : 'passed');
} finally {
  await lab.stop();
  if (!process.env.PICOSNITCH_PAGE_KEEP) rmSync(base, { recursive: true, force: true });
}
process.exit(code);
