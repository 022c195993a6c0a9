/** The page Flows: where it goes (map and countries), and who talks to whom (Sankey, or the same as a table). */
import { MapLegend, stepsOf, WorldMap } from '../charts/map.js';
import { Sankey } from '../charts/sankey.js';
import { nodeName } from '../charts/sankey_model.js';
import { useAnswer, useNew } from '../lib/answer.js';
import { dimensionName, dimensionPlural, valueLink } from '../lib/dimensions.js';
import { flowKey, isCountry, keyValue, placeName, TOP_PROGRAMS, useFlows } from '../lib/flows.js';
import { bytes, grouped, plural } from '../lib/format.js';
import { cls, html, useMemo, useState } from '../lib/html.js';
import {
  addFilter,
  change,
  exact,
  filters,
  link,
  otherFilters,
  param,
  question,
  removeFilter,
} from '../lib/state.js';
import { Chips } from '../parts/chips.js';
import { InternetSwitch, Tabs } from '../parts/controls.js';
import { Bytes } from '../parts/figures.js';
import { Badge, Ident, MirrorBar } from '../parts/identity.js';
import { RangeBar } from '../parts/rangebar.js';
import { Figures, NoLog, Nothing, Problem } from '../parts/states.js';

/** What may stand in the middle of the Sankey. */
const MIDDLES = ['domain', 'country', 'network'];
const LISTED = 11;
const TABLE_ROWS = 60;

/** Filters by a value, or takes that filter away. @param {string} dimension @param {string | null} value */
function toggle(dimension, value) {
  const text = exact(value);
  const old = filters.value.find((one) => one.dimension === dimension && one.value === text && !one.exclude);
  if (old) removeFilter(old);
  else addFilter(dimension, text);
}

/** The parameters without filters of a dimension, so that what was not chosen can still be. @param {string} dimension */
const without = (dimension) => ({
  ...question.value,
  where: otherFilters(question.value.where, dimension),
  exclude: otherFilters(question.value.exclude, dimension),
});

/** Values that the range saw first. @param {string} dimension @param {any} range @returns {Set<string>} */
function useFresh(dimension, range) {
  const data = useNew(dimension, without(dimension), range);
  return useMemo(
    () => new Set((data?.rows ?? []).map((/** @type {any} */ row) => row[dimension]).filter(Boolean)),
    [data, dimension],
  );
}

/** @param {{row: any, max: number, fresh: boolean, chosen: boolean, onPoint: (code: string | null) => void}} props */
function CountryRow({ row, max, fresh, chosen, onPoint }) {
  const { country } = row;
  const name = placeName(country);
  return html`
    <li class=${cls('lrow', 'crow', chosen && 'sel')} onPointerEnter=${() => onPoint(country)} onPointerLeave=${() => onPoint(null)}>
      <span class="ident">
        <span class="cc w2">${isCountry(country) ? country : ''}</span>
        <button type="button" class="name" aria-pressed=${String(chosen)}
          title=${chosen ? 'Show all countries again' : `Only traffic with ${name}`} onClick=${() => toggle('country', country)}>${name}</button>
        ${fresh && html`<${Badge} kind="new">new<//>`}
      </span>
      ${country === null ? html`<span></span>` : html`<a class="acts" href=${valueLink('country', country)} aria-label=${`Page of ${name}`}>page</a>`}
      <${Bytes} value=${row.received} />
      <${Bytes} value=${row.sent} />
      <${MirrorBar} received=${row.received} sent=${row.sent} max=${max} color=${isCountry(country) ? 'var(--m4)' : 'var(--p0)'} />
    </li>
  `;
}

/** What is under the pointer. @param {{code: string | null, rows: any[], count: number, fresh: number}} props */
function Readout({ code, rows, count, fresh }) {
  const row = rows.find((one) => one.country === code);
  if (code)
    return html`
      <span><b>${placeName(code)}</b></span>
      ${
        row
          ? html`<span>↓${'\u2009'}<b>${bytes(row.received)}</b></span><span>↑${'\u2009'}<b>${bytes(row.sent)}</b></span>
              <span>${plural(row.conns, 'connection')}</span>`
          : html`<span>nothing</span>`
      }
    `;
  return html`<span><b>${grouped(count)}</b> ${count === 1 ? 'country' : 'countries'}${fresh > 0 && html`, <b>${fresh}</b> of them new`}</span>`;
}

function Countries() {
  const [pointed, setPointed] = useState(/** @type {string | null} */ (null));
  const answer = useAnswer('query', { ...without('country'), group_by: 'country', limit: 300 });
  const { data } = answer;
  const fresh = useFresh('country', data?.range);
  /** @type {any[]} */
  const rows = data?.rows ?? [];
  const chosen = new Set(
    filters.value.filter((one) => one.dimension === 'country' && !one.exclude).map((one) => one.value),
  );
  const known = rows.filter((row) => isCountry(row.country));
  const max = Math.max(1, ...rows.map((row) => Math.max(row.received, row.sent)));
  return html`
    <div class=${cls('geo', answer.stale && 'stale')}>
      <section class="mapcol" aria-label="Map">
        <div class="chead"><h2>Where it goes</h2><div class="readout">
          ${data && html`<${Readout} code=${pointed} rows=${rows} count=${known.length} fresh=${known.filter((row) => fresh.has(row.country)).length} />`}
        </div></div>
        <${WorldMap} rows=${known} fresh=${fresh} chosen=${chosen} nameOf=${placeName} onPoint=${setPointed}
          onChoose=${(/** @type {string} */ code) => toggle('country', code)}
          label=${`World map: ${plural(known.length, 'country', 'countries')} shaded by traffic. The same figures are in the list beside it.`} />
        ${(!data || known.length > 0) && html`<${MapLegend} limits=${stepsOf(known).limits} />`}
      </section>
      <section aria-label="Countries">
        <div class="lhead crow"><h2>Countries</h2><span></span><span class="num">received</span><span class="num">sent</span></div>
        <${Figures} answer=${answer} rows=${LISTED}>
          <ul>
            ${rows.slice(0, LISTED).map(
              (row) => html`
                <${CountryRow} key=${String(row.country)} row=${row} max=${max} fresh=${fresh.has(row.country)}
                  chosen=${chosen.has(row.country ?? '')} onPoint=${setPointed} />
              `,
            )}
          </ul>
          ${data && !rows.length && html`<p class="note nothing">No traffic in the range.</p>`}
        <//>
        ${
          rows.length > LISTED &&
          html`<a class="more" href=${link('explore', { group_by: 'country' })}>All ${grouped(data?.row_count ?? 0)} ${dimensionPlural('country')}, as a table</a>`
        }
      </section>
    </div>
    <${Problem} answer=${answer} />
  `;
}

/** The figures of the picture, and smaller ones. @param {{dimensions: string[]}} props */
function FlowTable({ dimensions }) {
  const answer = useAnswer('query', { ...question.value, group_by: dimensions, limit: TABLE_ROWS });
  const { data } = answer;
  const rows = data?.rows ?? [];
  return html`
    <${Figures} answer=${answer} rows=${12}>
      <div class="tablewrap">
        <table class="flowt">
          <thead><tr>
            ${dimensions.map((dimension) => html`<th scope="col" key=${dimension} class=${dimension === 'port' ? 'w-c' : undefined}>${dimensionName(dimension)}</th>`)}
            <th scope="col" class="w-n num">Received</th><th scope="col" class="w-n num">Sent</th>
          </tr></thead>
          <tbody>
            ${rows.map(
              (row) => html`
                <tr key=${dimensions.map((dimension) => row[dimension]).join('\n')}>
                  ${dimensions.map(
                    (
                      dimension,
                    ) => html`<td key=${dimension}><${Ident} dimension=${dimension} value=${row[dimension]} labels=${data?.labels}
                      color=${dimension === 'exe' ? `var(--p${data?.slots[row.exe] ?? 0})` : null} /></td>`,
                  )}
                  <td class="num"><${Bytes} value=${row.received} /></td><td class="num"><${Bytes} value=${row.sent} /></td>
                </tr>
              `,
            )}
          </tbody>
        </table>
      </div>
    <//>
    ${
      data &&
      data.row_count > rows.length &&
      html`<a class="more" href=${link('explore', { group_by: dimensions })}>All ${grouped(data.row_count)} in Explore</a>`
    }
    <${Problem} answer=${answer} />
  `;
}

/** @param {{middle: string, dimensions: string[]}} props */
function FlowPicture({ middle, dimensions }) {
  const { flows, error, stale, range } = useFlows(question.value, dimensions);
  // After the picture, which is waited for.
  const freshValues = useFresh(middle, flows ? range : undefined);
  const fresh = useMemo(
    () => new Set([...freshValues].map((value) => nodeName(1, flowKey(value)))),
    [freshValues],
  );
  return html`
    ${
      flows &&
      flows.length > 0 &&
      html`
        <div class=${cls((error || stale) && 'stale')}>
          <${Sankey} flows=${flows} heads=${['Program', dimensionName(middle), 'Port']} fresh=${fresh}
            label=${`Flows from program to ${dimensionName(middle).toLowerCase()} to port; a table has the same figures.`}
            onChoose=${(/** @type {number} */ column, /** @type {string} */ key) => toggle(dimensions[column], keyValue(key))} />
        </div>
      `
    }
    ${flows?.length === 0 && range && html`<${Nothing} range=${range} />`}
    ${error && html`<${Problem} answer=${error} />`}
  `;
}

function WhoWithWhom() {
  const middle = MIDDLES.includes(param('middle')) ? param('middle') : MIDDLES[0];
  const view = param('view') === 'table' ? 'table' : 'picture';
  const dimensions = useMemo(() => ['exe', middle, 'port'], [middle]);
  return html`
    <section class="sec" aria-label="Who talks to whom">
      <div class="chead">
        <h2>Who talks to whom</h2>
        <span class="wide">received and sent together; click to filter</span>
        <span class="grow"></span>
        <${Tabs} label="Destination by" tabs=${MIDDLES.map((name) => [name, `${dimensionName(name)}`])} current=${middle}
          onChoose=${(/** @type {string} */ name) => change({ middle: name === MIDDLES[0] ? null : name })} />
        <span class="sep" aria-hidden="true"></span>
        <${Tabs} label="Show as" tabs=${[['picture', 'Picture'], ['table', 'Table']]} current=${view}
          onChoose=${(/** @type {string} */ name) => change({ view: name === 'table' ? name : null })} />
      </div>
      <div class="flowplace">
        ${
          view === 'table'
            ? html`<${FlowTable} dimensions=${dimensions} />`
            : html`<${FlowPicture} key=${middle} middle=${middle} dimensions=${dimensions} />`
        }
      </div>
    </section>
  `;
}

export default function Flows() {
  // The same question as that of the first column of the picture, so that it is asked once.
  const { data, error } = useAnswer('query', { ...question.value, group_by: 'exe', limit: TOP_PROGRAMS });
  if (error && !data && (error.kind === 'no_log' || error.kind === 'no_rights'))
    return html`<${NoLog} error=${error} />`;
  return html`
    <h1 class="vh">Flows</h1>
    <${RangeBar} answered=${data?.range}><${InternetSwitch} /><//>
    ${filters.value.length > 0 && html`<div class="ctl"><${Chips} labels=${data?.labels} /></div>`}
    <${Countries} />
    <${WhoWithWhom} />
  `;
}
