/** The page over a server with the copies of several hosts: hosts as a dimension, the page Fleet, and what is not there. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, test } from 'node:test';
import { figures, lab, PHONE, STATIC, visit, wanted } from './lib/browser.js';
import { Fleet, HOSTILE, HOSTILE_SHOWN, PASSWORD } from './lib/fleet.js';
import { makeBase, startDash } from './lib/lab.js';

const fleet = new Fleet(40_000 + (process.pid % 20_000));
const base = makeBase();
fleet.directories.push(base);
/** @type {Awaited<ReturnType<typeof startDash>>} */
let dash;

before(
  async () => {
    await fleet.start(lab.binary);
    dash = await startDash(lab.binary, base, [...fleet.options(), ...STATIC]);
  },
  { timeout: 120_000 },
);
after(async () => {
  await dash?.dash.stop();
  await fleet.stop();
});

/** What a command prints. @param {string[]} args */
function asked(...args) {
  const [command, ...rest] = args;
  const options = ['--base-dir', base, command, ...fleet.options(), ...rest, '--json'];
  return JSON.parse(
    execFileSync(lab.binary, options, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }),
  );
}
/** @param {(tab: import('./lib/browser.js').Tab) => Promise<unknown>} work @param {RegExp} [expected] @param {{width: number, height: number}} [size] */
const look = (work, expected, size) =>
  visit({ origin: dash.origin, token: dash.address.split('token=')[1], expected, size }, work);

/** Nothing of a stranger's name acts. @param {import('./lib/browser.js').Tab} tab */
async function assertHarmless(tab) {
  const found = await tab.page.evaluate(() => ({
    images: document.querySelectorAll('img, iframe, object, embed').length,
    text:
      document.body.innerText +
      [...document.querySelectorAll('[title],[aria-label]')]
        .map((one) => one.getAttribute('title') ?? '')
        .join(' '),
  }));
  assert.equal(found.images, 0);
  assert.doesNotMatch(found.text, /(?![\t\n\r])[\p{Cc}\p{Cf}]/u);
  return found.text;
}

test('hosts are a dimension, and a filter', { timeout: 60_000 }, () =>
  look(async (tab) => {
    await tab.open('/explore?group_by=host&range=1d');
    const { rows } = asked('query', '-g', 'host', '--range', '1d');
    assert.equal(rows.length, 2);
    const shown = await figures(tab, 'table.explore');
    assert.deepEqual(shown.map((row) => row.value).sort(), [fleet.host, HOSTILE].sort());
    const amounts = (/** @type {any} */ row) => [row.received, row.sent, row.received + row.sent];
    const expected = wanted(rows, 'host', amounts);
    assert.deepEqual(
      new Set(shown.map((row) => row.exact.join())),
      new Set(expected.map((row) => row.exact.join())),
    );
    assert.match(await assertHarmless(tab), new RegExp(HOSTILE_SHOWN.replace(/[\\[\]<>(){}.]/g, '\\$&')));
    assert.ok((await tab.texts('[role=tab]')).includes('Host'));
    // Its link is the filter.
    await tab.page.click(`tr[data-value^="evil"] .name`);
    await tab.settled();
    assert.equal(tab.params().get('where'), `host=${HOSTILE}`);
    const programs = asked('query', '-g', 'exe', '-w', 'host=evil*', '--range', '1d');
    assert.equal((await figures(tab, 'table.explore')).length, Math.min(20, programs.row_count));
    assert.equal((await tab.texts('.chips .val')).length, 1);
    await assertHarmless(tab);
  }),
);

test('questions about all hosts are answered as by the command', { timeout: 60_000 }, () =>
  look(async (tab) => {
    await tab.open('/fleet');
    assert.deepEqual(await tab.texts('table.fleet tbody .name'), [HOSTILE_SHOWN]);
    await assertHarmless(tab);
    await tab.page.fill('.fleet-form input', '1000');
    await tab.page.press('.fleet-form input', 'Enter');
    await tab.settled();
    assert.match((await tab.texts('.nothing')).join(), /No host has been silent for so long/);
    // Where a program appeared first.
    await tab.page.click('[role=tab]:has-text("First seen")');
    await tab.settled();
    assert.match((await tab.texts('.nothing')).join(), /Type what is looked for/);
    await tab.page.fill('.fleet-form input', 'curl');
    await tab.page.click('.fleet-form .btn');
    await tab.settled();
    const first = asked('fleet', 'first', 'curl');
    assert.deepEqual(await tab.texts('table.fleet td.w-id .name'), [HOSTILE_SHOWN, fleet.host]);
    assert.deepEqual(
      await tab.page.$$eval('table.fleet td.w-id2 .name', (list) =>
        list.map((one) => one.getAttribute('title')),
      ),
      first.map((/** @type {any} */ row) => row.sha256),
    );
    assert.deepEqual(
      (await figures(tab, 'table.fleet')).map((row) => row.exact),
      wanted(first, 'host').map((row) => row.exact),
    );
    // Of a range the other host, which sent that an hour before, is left out.
    await tab.page.click('[role=switch]:has-text("Only in a range")');
    await tab.settled();
    await tab.page.click('.seg button:has-text("15 min")');
    await tab.settled();
    assert.deepEqual(await tab.texts('table.fleet td.w-id .name'), [fleet.host]);
    // Which hosts run this digest.
    await tab.open(`/fleet?question=digest&value=${first[0].sha256.slice(0, 12)}`);
    assert.equal(
      (await figures(tab, 'table.fleet')).length,
      asked('fleet', 'digest', first[0].sha256).length,
    );
    // Of one host only: none, since the other is a copy.
    await tab.open('/fleet?question=unique');
    assert.match((await tab.texts('.nothing')).join(), /Every program is on several hosts/);
    await tab.open('/fleet?question=domain&value=nowhere.example');
    assert.match((await tab.texts('.nothing')).join(), /No host talks to this domain/);
  }),
);

test('on a phone nothing scrolls sideways', { timeout: 60_000 }, () =>
  look(
    async (tab) => {
      for (const path of ['/fleet', '/fleet?question=first&value=curl', '/live', '/explore?group_by=host']) {
        await tab.open(path);
        const [width, scrolled] = await tab.page.evaluate(() => [
          innerWidth,
          document.documentElement.scrollWidth,
        ]);
        assert.ok(scrolled <= width, `${path}: ${scrolled} > ${width}`);
      }
    },
    undefined,
    PHONE,
  ),
);

test('a value that cannot be is said', () =>
  look(async (tab) => {
    await tab.open('/fleet?question=digest&value=xyz');
    assert.match((await tab.texts('.problem')).join(), /sha256/i);
  }, /400/));

test('what belongs to a machine is not there, and why', { timeout: 60_000 }, () =>
  look(async (tab) => {
    await tab.open('/');
    const pages = (await tab.texts('nav[aria-label=Pages] a')).map((text) => text.replace(/\d+$/, ''));
    assert.deepEqual(pages, ['Overview', 'Explore', 'Flows', 'Fleet', 'Alerts']);
    assert.equal(await tab.page.$('.rate'), null);
    assert.match((await tab.texts('footer')).join(), /PostgreSQL at 127\.0\.0\.1/);
    for (const [path, title] of [
      ['/live', 'Live traffic is not here'],
      ['/health', 'Health is not here'],
    ]) {
      await tab.open(path);
      assert.deepEqual(await tab.texts('h1'), [title]);
      assert.match((await tab.texts('main .note')).join(), /belongs to the machine that records/);
    }
    // The log of this machine has no such page.
    await visit({}, async (own) => {
      await own.open('/fleet');
      assert.deepEqual(await own.texts('h1'), ['There is one host only']);
    });
  }),
);

test('events have their host', { timeout: 60_000 }, () =>
  look(async (tab) => {
    for (const path of ['/', '/alerts', '/flows', `/program?exe=${encodeURIComponent('/usr/bin/curl')}`]) {
      await tab.open(path);
      await assertHarmless(tab);
    }
    await tab.open('/alerts');
    await tab.page.click('button.arow >> nth=0');
    await tab.settled();
    const facts = (await tab.texts('aside dl div')).join(' ');
    assert.match(facts, /Host/);
  }),
);

test('the password stays in the process', { timeout: 60_000 }, () =>
  look(async (tab) => {
    /** @type {string[]} */
    const heard = [];
    /** @type {Promise<unknown>[]} */
    const reading = [];
    tab.page.on('response', (response) => {
      heard.push(response.url());
      reading.push(
        response.text().then(
          (text) => heard.push(text),
          () => {},
        ),
      );
    });
    for (const path of ['/', '/fleet', '/explore?group_by=host']) await tab.open(path);
    await Promise.all(reading);
    assert.ok(heard.length > 20);
    for (const text of heard)
      assert.ok(
        !text.includes(PASSWORD) && !text.includes(encodeURIComponent(PASSWORD)) && !text.includes('reader@'),
      );
  }),
);

test('a server that goes is said, and comes back', { timeout: 90_000 }, () =>
  look(async (tab) => {
    await tab.open('/explore?group_by=host&range=1d');
    await fleet.server?.stop('SIGKILL');
    await tab.open('/explore?group_by=host&range=7d');
    assert.match((await tab.texts('.problem')).join(), /nothing listens there/);
    await fleet.startServer();
    await tab.page.click('.problem button');
    await tab.settled();
    assert.equal((await figures(tab, 'table.explore')).length, 2);
  }, /502/),
);
