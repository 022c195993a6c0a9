/** The files that Explore exports. They come from a server of their own: one that ends while it sends fails only here. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { asked, lab, RANGE, STATIC, visit } from './lib/browser.js';
import { query, startDash } from './lib/lab.js';

/** @param {Parameters<typeof visit>[1]} work */
async function serve(work) {
  const { dash, origin, address } = await startDash(lab.binary, lab.base, STATIC);
  try {
    await visit({ origin, token: address.split('token=')[1] }, work);
    assert.equal(dash.code, null, dash.text);
  } catch (error) {
    if (dash.code !== null) console.error(dash.text);
    throw error;
  } finally {
    await dash.stop();
  }
}

/** @param {import('./lib/browser.js').Tab} tab @param {string} item */
async function exported(tab, item) {
  await tab.page.getByRole('button', { name: 'Export' }).click();
  const [download] = await Promise.all([
    tab.page.waitForEvent('download'),
    tab.page.getByRole('menuitem', { name: item }).click(),
  ]);
  return { name: download.suggestedFilename(), data: readFileSync(await download.path()) };
}

test('exports: CSV and JSON of all rows are those of the query, the chart as SVG and PNG', () =>
  serve(async (tab) => {
    await tab.open(`/explore?${RANGE}&scope=internet`);
    const range = ['--since', String(lab.since), '--until', String(lab.until), '--internet'];
    const csv = await exported(tab, 'Table as CSV');
    assert.match(csv.name, /^picosnitch.*\.csv$/);
    assert.equal(csv.data.toString(), query(lab.binary, lab.base, ['--csv', ...range]));
    const json = JSON.parse((await exported(tab, 'Table as JSON')).data.toString());
    assert.deepEqual(json.rows ?? json, asked(['--internet']).rows);
    assert.match((await exported(tab, 'Figures of the chart as CSV')).data.toString(), /firefox/);
    const svg = (await exported(tab, 'Chart as SVG')).data.toString();
    assert.match(svg, /^<(\?xml|svg)/);
    assert.doesNotMatch(svg, /var\(|<script/);
    const wide = Number(/width="(\d+)/.exec(svg)?.[1]);
    const high = Number(/height="(\d+)/.exec(svg)?.[1]);
    const { data } = await exported(tab, 'Chart as PNG');
    assert.equal(data.subarray(1, 4).toString(), 'PNG');
    const [width, height] = [data.readUInt32BE(16), data.readUInt32BE(20)];
    assert.ok(
      width >= wide && Math.abs(width / height - wide / high) < 0.02,
      `${width}x${height}, ${wide}x${high}`,
    );
    assert.ok(data.length > 5000, `${data.length} bytes`);
  }));
