/** The table of Explore: sorted and paged by the server; a row filters, excludes, or opens the page of its value. */
import { Spark } from '../charts/spark.js';
import { dimensionName, isCalendar, isTime, timeSpan } from '../lib/dimensions.js';
import { count, dayMonth, delta, grouped, hourMinute } from '../lib/format.js';
import { cls, html } from '../lib/html.js';
import { addFilter, change, exact, here, isShortRange, link, offset, sort } from '../lib/state.js';
import { Bytes, When } from './figures.js';
import { Icon } from './icons.js';
import { Ident, MirrorBar } from './identity.js';
import { beforeName } from './rangebar.js';

export const PAGE = 20;

/** @typedef {{key: string, text: string, className: string, ascending?: boolean}} Column */

/** @param {string[]} groups @param {{compared: boolean, seen: boolean, sparks: boolean}} has @returns {Column[]} */
function columns(groups, has) {
  /** @type {Column[]} */
  const list = groups.map((dimension, i) => ({
    key: dimension,
    text: dimensionName(dimension),
    className: i ? 'w-id2' : 'w-id',
    ascending: true,
  }));
  if (has.sparks) list.push({ key: '', text: 'Over time', className: 'w-sp' });
  list.push(
    { key: 'received', text: 'Received', className: 'w-n num' },
    { key: 'sent', text: 'Sent', className: 'w-n num' },
    { key: 'total', text: 'Total', className: 'w-n num opt' },
  );
  if (has.compared) {
    const before = beforeName();
    list.push(
      { key: '', text: before[0].toUpperCase() + before.slice(1), className: 'w-n num opt' },
      { key: 'change', text: 'Change', className: 'w-c num' },
    );
  }
  list.push({ key: 'conns', text: 'Connections', className: 'w-n num opt' });
  if (has.seen && !has.compared) {
    list.push({ key: 'first-seen', text: 'First seen', className: 'w-t num opt' });
    list.push({ key: 'last-seen', text: 'Last seen', className: 'w-t num opt' });
  }
  return list;
}

/** @param {Column} column @param {string} current */
function sortBy(column, current) {
  const { reverse } = sort.value;
  if (column.key === current) change({ reverse: reverse ? null : '1', sort: current });
  else change({ sort: column.key, reverse: null });
}

/** @param {{column: Column, current: string}} props */
function Heading({ column, current }) {
  const on = column.key && column.key === current;
  const up = Boolean(column.ascending) !== sort.value.reverse;
  return html`
    <th scope="col" class=${column.className} aria-sort=${on ? (up ? 'ascending' : 'descending') : undefined}>
      ${column.key ? html`<button type="button" onClick=${() => sortBy(column, current)}>${column.text}</button>` : column.text}
    </th>
  `;
}

/** Change from a middle line, logarithmic, full at four times; neutral, because more is not worse. @param {{now: number, before: number}} props */
function Change({ now, before }) {
  const [text, ratio] = delta(now, before);
  if (ratio === null)
    return html`<span class="chg"><span class="track"></span><span class=${before ? '' : 't-new'}>${text}</span></span>`;
  const width = `${(ratio > 0 ? Math.min(1, Math.abs(Math.log(ratio)) / Math.log(4)) : 1) * 50}%`;
  return html`
    <span class="chg">
      <span class="track"><i style=${ratio > 1 ? { left: '50%', width } : { right: '50%', width }}></i></span>
      <span>${now ? text : 'gone'}</span>
    </span>
  `;
}

/** With the keyboard the row itself has these. @param {{dimension: string, value: any}} props */
const Actions = ({ dimension, value }) => html`
  <span class="rowacts">
    <button type="button" class="iconb" tabindex="-1" title="Only this  Enter" aria-label="Only this" onClick=${() => addFilter(dimension, exact(value))}><${Icon} name="filter" /></button>
    <button type="button" class="iconb" tabindex="-1" title="Leave out  x" aria-label="Leave out" onClick=${() => addFilter(dimension, exact(value), true)}><${Icon} name="minus" /></button>
  </span>
`;

/** @param {string} dimension @param {any} value @returns {string | undefined} */
function timeLink(dimension, value) {
  const span = isTime(dimension) && typeof value === 'number' ? timeSpan(dimension, value) : null;
  if (!span) return undefined;
  return link('explore', { range: null, since: String(span[0]), until: String(span[1] - 1) });
}

/** What a part of time lacks: the range begins within it, or it is not over. @param {string} dimension @param {any} begin @param {any} data */
function cutText(dimension, begin, data) {
  const span = isTime(dimension) && typeof begin === 'number' ? timeSpan(dimension, begin) : null;
  if (!span) return undefined;
  const { since } = data.range;
  if (since > span[0] && since < span[1])
    return `from ${(dimension === 'hour' || dimension === 'day' ? hourMinute : dayMonth)(since)}`;
  return span[1] > data.now ? 'so far' : '';
}

/** Up and down move between rows. @param {KeyboardEvent} event */
function onRowKey(event) {
  if (event.target !== event.currentTarget) return;
  const row = /** @type {HTMLElement} */ (event.currentTarget);
  const next = { ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling }[event.key];
  if (!(next instanceof HTMLElement)) return;
  event.preventDefault();
  next.focus();
}

/**
 * @param {{row: any, groups: string[], data: any, max: number, sparks: Map<any, any> | null, seen: boolean, compared: boolean, begin: number, color: string,
 *   onLift: (value: string | null) => void}} props `begin` of the log: nothing can be compared with what was before it
 */
function Row({ row, groups, data, max, sparks, seen, compared, begin, color, onLift }) {
  const [first] = groups;
  const value = row[first];
  const now = compared ? (row.now ?? { received: 0, sent: 0, conns: 0 }) : row;
  const before = compared ? (row.before ?? { received: 0, sent: 0 }) : null;
  const spark = sparks?.get(value);
  return html`
    <tr tabindex="0" data-dimension=${first} data-value=${value ?? ''} onKeyDown=${onRowKey}
      onPointerEnter=${() => onLift(value === null ? '' : String(value))} onPointerLeave=${() => onLift(null)}
      onFocus=${() => onLift(value === null ? '' : String(value))} onBlur=${() => onLift(null)}>
      ${groups.map(
        (dimension, i) => html`
          <td key=${dimension} class=${i ? 'w-id2' : 'w-id'}>
            <span class="cell">
              <${Ident} dimension=${dimension} value=${row[dimension]} labels=${data.labels} color=${i ? null : color}
                href=${timeLink(dimension, row[dimension])} aside=${cutText(dimension, row[dimension], data)} />
              ${!isCalendar(dimension) && html`<${Actions} dimension=${dimension} value=${row[dimension]} />`}
            </span>
            ${!i && html`<${MirrorBar} received=${now.received} sent=${now.sent} max=${max} color=${color} />`}
          </td>
        `,
      )}
      ${
        sparks &&
        html`<td class="w-sp">${spark && html`<${Spark} received=${spark.received} sent=${spark.sent} width=${112} height=${22} color=${color} />`}</td>`
      }
      <td class="num"><${Bytes} value=${now.received} /></td>
      <td class="num"><${Bytes} value=${now.sent} /></td>
      <td class="num opt"><${Bytes} value=${now.received + now.sent} /></td>
      ${
        before &&
        html`
          <td class="num opt dim-t"><${Bytes} value=${before.received + before.sent} /></td>
          <td class="num">${!(begin > data.compared_with.until) && html`<${Change} now=${now.received + now.sent} before=${before.received + before.sent} />`}</td>
        `
      }
      <td class="num opt">${count(now.conns)}</td>
      ${
        seen &&
        !compared &&
        html`
          <td class="num opt dim-t"><${When} time=${row.first_seen} /></td>
          <td class="num opt dim-t"><${When} time=${row.last_seen} /></td>
        `
      }
    </tr>
  `;
}

/** @param {{from: number, shown: number, all: number}} props */
const Pager = ({ from, shown, all }) => html`
  <div class="pager">
    <span>${all ? `${grouped(from + 1)}–${grouped(from + shown)} of ${grouped(all)}` : ''}</span>
    <span class="grow"></span>
    <button class="iconb" type="button" aria-label="Page before" disabled=${from === 0}
      onClick=${() => change({ offset: from > PAGE ? String(from - PAGE) : null })}><${Icon} name="prev" /></button>
    <button class="iconb" type="button" aria-label="Next page" disabled=${from + shown >= all}
      onClick=${() => change({ offset: String(from + PAGE) })}><${Icon} name="next" /></button>
  </div>
`;

/**
 * @param {{data: any, groups: string[], sortedBy: string, sparks: Map<any, any> | null, seen: boolean, compared: boolean, begin: number, stale: boolean,
 *   colorOf: (value: any) => string, onLift: (value: string | null) => void}} props
 */
export function Table({ data, groups, sortedBy, sparks, seen, compared, begin, stale, colorOf, onLift }) {
  const { rows } = data;
  const list = columns(groups, { compared, seen, sparks: sparks !== null });
  /** @param {any} row */
  const now = (row) => (compared ? (row.now ?? { received: 0, sent: 0 }) : row);
  const max = Math.max(
    1,
    ...rows.map((/** @type {any} */ row) => Math.max(now(row).received ?? 0, now(row).sent ?? 0)),
  );
  return html`
    <div class=${cls('tablewrap', 'sec', stale && 'stale')}>
      <table class="explore" aria-label="Traffic">
        <thead><tr>${list.map((column) => html`<${Heading} key=${column.text} column=${column} current=${sortedBy} />`)}</tr></thead>
        <tbody>
          ${rows.map(
            (/** @type {any} */ row) => html`
              <${Row} key=${groups.map((dimension) => row[dimension]).join('\0')} row=${row} groups=${groups} data=${data} max=${max}
                sparks=${sparks} seen=${seen} compared=${compared} begin=${begin} color=${colorOf(row[groups[0]])} onLift=${onLift} />
            `,
          )}
        </tbody>
      </table>
    </div>
    <${Pager} from=${Math.min(offset.value, data.row_count)} shown=${rows.length} all=${data.row_count} />
  `;
}

/** The address of this page grouped by another dimension. @param {string | null} first @param {string | null} second */
export const groupedBy = (first, second) =>
  here({
    group_by:
      [first ?? 'exe', second].filter((one) => one !== null).length === 1 && first === 'exe'
        ? null
        : /** @type {string[]} */ ([first, second].filter(Boolean)),
    sort: null,
    reverse: null,
    offset: null,
    find: null,
    // One row would say nothing.
    ...(first === 'day' && isShortRange.value ? { range: '30d', since: null, until: null } : {}),
  });
