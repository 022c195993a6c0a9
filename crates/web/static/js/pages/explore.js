/** Explore: how much, by anything, against the period before. */
import { dataOf, useAnswer } from '../lib/answer.js';
import {
  DIMENSIONS,
  dimensionName,
  dimensionPlural,
  isCalendar,
  isProgram,
  isTime,
  TABS,
} from '../lib/dimensions.js';
import { bytes, exactBytes, grouped } from '../lib/format.js';
import { cls, html, useEffect, useMemo, useRef, useState } from '../lib/html.js';
import {
  change,
  compare,
  filterText,
  find,
  groupBy,
  LENGTHS,
  navigate,
  offset,
  otherFilters,
  param,
  question,
  range,
  replace,
  sort,
} from '../lib/state.js';
import { Chips } from '../parts/chips.js';
import { CompareSwitch, InternetSwitch, Menu, Switch, Tabs } from '../parts/controls.js';
import { ExportMenu } from '../parts/exporting.js';
import { Icon } from '../parts/icons.js';
import { slotColor } from '../parts/identity.js';
import { RangeBar } from '../parts/rangebar.js';
import { NoLog, Nothing, Problem, SkeletonRows } from '../parts/states.js';
import { groupedBy, PAGE, Table } from '../parts/table.js';
import { useDominant } from '../parts/toplist.js';
import { groupColor, Traffic, useSeries } from '../parts/traffic.js';

/** Which order the server is asked for; a comparison is by its difference unless it is asked for that of now. @param {string[]} groups @param {boolean} compared */
function order(groups, compared) {
  const { by, reverse } = sort.value;
  if (compared && by === 'change') return { reverse: reverse || null };
  return {
    order: compared ? 'now' : null,
    sort: by || (isCalendar(groups[0]) ? groups[0] : 'total'),
    reverse: reverse || null,
  };
}

/** @param {{first: string, second: string | null}} props */
function GroupBy({ first, second }) {
  const others = DIMENSIONS.filter((name) => !TABS.includes(name));
  const tabs = TABS.includes(first) ? TABS : [...TABS, first];
  return html`
    <span class="phone-only">
      <${Menu} quiet label=${`By ${dimensionName(first).toLowerCase()}`}
        items=${DIMENSIONS.map((name) => ({ text: dimensionName(name), current: name === first, run: () => navigate(groupedBy(name, name === second ? null : second)) }))} />
    </span>
    <span class="lab">Group by</span>
    <span class="wide-only tabs-host">
    <${Tabs} label="Group by" scroll tabs=${tabs.map((name) => [name, dimensionName(name)])} current=${first}
      onChoose=${(/** @type {string} */ name) => navigate(groupedBy(name, name === second ? null : second))} />
    <${Menu} quiet label="More" title="All other dimensions"
      items=${others.map((name) => ({ text: dimensionName(name), current: name === first, run: () => navigate(groupedBy(name, name === second ? null : second)) }))} />
    </span>
    <${Menu} quiet label=${second ? `and by ${dimensionName(second).toLowerCase()}` : 'and by'} title="A second dimension"
      items=${[
        { text: 'Nothing', current: !second, run: () => navigate(groupedBy(first, null)) },
        ...['day', 'hour', ...DIMENSIONS.filter((name) => name !== 'day' && name !== 'hour')]
          .filter((name) => name !== first)
          .map((name) => ({
            text: dimensionName(name),
            current: name === second,
            run: () => navigate(groupedBy(first, name)),
          })),
      ]} />
  `;
}

/** The text that rows must contain; the address follows while it is typed. @param {{dimension: string}} props */
function Find({ dimension }) {
  const [text, setText] = useState(find.value);
  const timer = useRef(/** @type {any} */ (null));
  useEffect(() => setText(find.value), [find.value]);
  useEffect(() => () => clearTimeout(timer.current), []);
  /** @param {string} next */
  const type = (next) => {
    setText(next);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => replace({ find: next || null }), 180);
  };
  return html`
    <label class="search local find">
      <${Icon} name="search" />
      <input type="search" value=${text} placeholder=${`Find in ${dimensionPlural(dimension)}`} aria-label=${`Find in ${dimensionPlural(dimension)}`}
        onInput=${(/** @type {Event} */ event) => type(/** @type {HTMLInputElement} */ (event.currentTarget).value)}
        onKeyDown=${(/** @type {KeyboardEvent} */ event) => event.key === 'Escape' && type('')} />
    </label>
  `;
}

/** @param {{data: any, stale: boolean, dimension: string}} props */
function Sum({ data, stale, dimension }) {
  const total = data.total.now ?? data.total;
  return html`
    ${total.received > 0 && html`<span class=${cls(stale && 'stale')} title=${exactBytes(total.received)}><b>${bytes(total.received)}</b> received</span>`}
    ${total.sent > 0 && html`<span class=${cls(stale && 'stale')} title=${exactBytes(total.sent)}><b>${bytes(total.sent)}</b> sent</span>`}
    ${find.value && html`<span>containing “${find.value}” in ${dimensionName(dimension).toLowerCase()}</span>`}
  `;
}

/** Small charts of the rows on this page: a question only about them. @param {string} dimension @param {any[]} rows @param {boolean} on */
function useSparks(dimension, rows, on) {
  const others = otherFilters(question.value.where, dimension);
  const { data } = useAnswer(on && rows.length ? 'series' : null, {
    ...question.value,
    where: [...others, ...rows.map((row) => filterText(dimension, row[dimension]))],
    group_by: dimension,
    top: PAGE,
    parts: 48,
  });
  return useMemo(() => {
    if (!on) return null;
    return new Map((data?.groups ?? []).map((group) => [group[dimension], group]));
  }, [data, on, dimension]);
}

/** The colours of rows and layers are the same. @param {string} dimension @param {any[]} rows @param {any} series */
function useColors(dimension, rows, series) {
  const known = new Set(rows.map((row) => row[dimension]));
  const groups = (series?.groups ?? []).filter((/** @type {any} */ group) => !known.has(group[dimension]));
  const dominant = useDominant(dimension, [...rows, ...groups], question.value);
  return useMemo(() => {
    /** @param {any} value */
    const ofChart = (value) => (dominant.size ? slotColor(dominant.get(value)?.slot) : '');
    return { ofChart, dominant };
  }, [dominant]);
}

export default function Explore() {
  const [lifted, setLifted] = useState(/** @type {string | null} */ (null));
  const [first = 'exe', second = null] = groupBy.value;
  const groups = second ? [first, second] : [first];
  // Two ranges have no hour and no day in common.
  const compared = compare.value && !groups.some(isTime);
  const seen =
    param('seen') === '1' && !second && !isCalendar(first) && first !== 'lport' && first !== 'host';
  const asked = {
    ...question.value,
    group_by: groups,
    find: find.value || null,
    compare: compared ? 'previous' : null,
    seen: seen && !compared ? 1 : null,
    ...order(groups, compared),
  };
  const answer = useAnswer('query', { ...asked, limit: PAGE, offset: offset.value || null });
  const { data, error } = answer;
  const rows = data?.rows ?? [];
  // By day a bar is a day, as the rows are.
  const days = (LENGTHS[range.value.preset ?? ''] ?? 0) / 86400;
  const parts = first === 'day' && days >= 7 && days < 144 ? days + 3 : 144;
  const chartDimension = isCalendar(first) ? 'exe' : first;
  const chart = useSeries(chartDimension, question.value, parts);
  const { data: series } = chart;
  const sparks = useSparks(first, rows, !second && !isCalendar(first));
  const { ofChart } = useColors(first, rows, series);
  /** @param {any} value */
  const colorOf = (value) =>
    isProgram(first)
      ? slotColor(data?.slots[value])
      : isCalendar(first)
        ? slotColor(0)
        : ofChart(value) || groupColor(series, first, value);
  if (error && !data && (error.kind === 'no_log' || error.kind === 'no_rights'))
    return html`<${NoLog} error=${error} />`;
  const title = `${data ? grouped(data.row_count) : ''} ${second ? 'rows' : dimensionPlural(first, data?.row_count)}`;
  return html`
    <h1 class="vh">Explore</h1>
    <${RangeBar} answered=${data?.range} />
    <div class="ctl groups">
      <${GroupBy} first=${first} second=${second} /><span class="grow"></span>
      <${ExportMenu} params=${asked} series=${dataOf(chart)} dimension=${chartDimension} title=${`Traffic by ${dimensionName(chartDimension).toLowerCase()}`} range=${data?.range} />
    </div>
    <div class="ctl">
      <${Chips} labels=${data?.labels} /><span class="grow"></span>${!isCalendar(first) && html`<${Find} dimension=${first} />`}
      <span class="switches">
      ${
        !second &&
        !isTime(first) &&
        first !== 'host' &&
        html`<${Switch} on=${seen} title="When each was first and last seen, in the whole log" onChange=${() => change({ seen: seen ? null : '1', compare: null, sort: null, reverse: null })}>First seen<//>`
      }
      <${CompareSwitch} /><${InternetSwitch} />
      </span>
    </div>
    <${Traffic} title=${title} answer=${chart} dimension=${chartDimension} extra=${data && html`<${Sum} data=${data} stale=${answer.stale} dimension=${first} />`}
      height=${(/** @type {boolean} */ narrow) => (narrow ? 200 : 208)} lifted=${lifted}
      colorOf=${isProgram(first) || isCalendar(first) ? undefined : ofChart} />
    ${!chart.error && html`<${Problem} answer=${answer} />`}
    ${
      data
        ? html`
            <div aria-busy=${String(answer.isOther)}>
              <${Table} data=${data} groups=${groups} sortedBy=${sort.value.by || (isCalendar(first) ? first : 'total')}
                sparks=${sparks} seen=${seen} compared=${Boolean(data.compared_with)} begin=${series?.extent?.[0] ?? 0} stale=${answer.stale} colorOf=${colorOf} onLift=${first === chartDimension ? setLifted : () => {}} />
            </div>
            ${!data.row_count && find.value && html`<${Nothing} range=${data.range} what=${dimensionPlural(first)} />`}
          `
        : html`<div class="sec">${answer.slow && html`<${SkeletonRows} rows=${PAGE} />`}</div>`
    }
  `;
}
