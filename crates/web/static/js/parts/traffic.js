/** The chart of traffic over time with its line of reading: used by the pages Overview, Explore, Program and Destination. */
import { AreaChart } from '../charts/area.js';
import { useAnswer } from '../lib/answer.js';
import { dimensionPlural, isProgram, valueText } from '../lib/dimensions.js';
import { dayAndTime, duration, hourMinute, rate, rateParts, weekday } from '../lib/format.js';
import { cls, html, useCallback, useMemo, useState } from '../lib/html.js';
import { unrecorded } from '../lib/recorded.js';
import { change, compare, param, question, zoom } from '../lib/state.js';
import { health, isStopped } from '../lib/watch.js';
import { Swatch, slotColor } from './identity.js';
import { beforeName, rangeName } from './rangebar.js';
import { Nothing, Problem } from './states.js';

/** The colour that the chart gives to a group. @param {any} answer @param {string | null} dimension @param {any} value */
export function groupColor(answer, dimension, value) {
  const slot = answer?.slots?.[value];
  if (slot !== undefined || !dimension || isProgram(dimension)) return slotColor(slot);
  const at = (answer?.groups ?? []).findIndex((/** @type {any} */ group) => group[dimension] === value);
  return slotColor(at < 0 ? 0 : (at % 8) + 1);
}

/** @param {number} begin @param {number} end @param {number} now */
function spanText(begin, end, now) {
  return `${dayAndTime(begin, now)} – ${end - begin < 86400 ? hourMinute(end) : dayAndTime(end, now)}`;
}

/** Received and sent of the highest part; a unit that both have is said once. @param {{received: number, sent: number}} props */
function Both({ received, sent }) {
  const [down, downUnit] = rateParts(received);
  const [up, upUnit] = rateParts(sent);
  const unit = upUnit || downUnit;
  const first = downUnit && downUnit !== unit ? `${down}\u00a0${downUnit}` : down;
  return html`
    <span class="vh">received </span>↓${'\u2009'}<b>${first}</b>
    <span class="vh"> sent</span> ↑${'\u2009'}<b>${`${up}\u00a0${unit}`}</b>
  `;
}

/** The mean length of a part and the highest one. @param {{answer: any}} props */
function Highest({ answer }) {
  const { edges, total, extent, sums_of_quarter_hours_before: sums } = answer;
  // The first part may be cut by the begin of the range.
  const length = edges.length > 2 ? edges[2] - edges[1] : edges[1] - edges[0];
  /** @param {number} i */
  const both = (i) => (total.received[i] + total.sent[i]) / (edges[i + 1] - edges[i]);
  let top = 0;
  for (let i = 1; i < total.received.length; i++) if (both(i) > both(top)) top = i;
  const near = edges[edges.length - 1] - edges[0] < 86400 * 1.5;
  const text = length < 86400 ? dayAndTime(edges[top], answer.now) : weekday(edges[top]);
  const when = near ? text.replace('today ', '') : text;
  return html`
    <span class="opt">each bar ${duration(length)}</span>
    ${
      both(top) > 0 &&
      html`<button type="button" class="peak" title="Zoom to it" onClick=${() => zoom(edges[top], edges[top + 1] - 1)}>peak${' '}
        <${Both} received=${total.received[top] / (edges[top + 1] - edges[top])} sent=${total.sent[top] / (edges[top + 1] - edges[top])} />
        ${/^\d\d:/.test(when) ? ' at ' : ', '}${when}</button>`
    }
    ${
      sums > edges[0] &&
      html`<span class="opt" title="The log has no single windows before it">quarter hours before ${dayAndTime(sums, answer.now).replace('today ', '')}</span>`
    }
    ${extent?.[0] > edges[0] && html`<span>${isStopped.value ? 'log begins' : 'recording since'} ${dayAndTime(extent[0], answer.now).replace('today ', '')}</span>`}
    ${
      compare.value &&
      answer.before &&
      (extent?.[0] > edges[0]
        ? html`<span class="opt">nothing to compare with</span>`
        : html`<span class="pv"><svg width="24" height="8" aria-hidden="true"><path class="prev" d="M0 4.5H24" /></svg> ${beforeName()}</span>`)
    }
  `;
}

/**
 * What is under the pointer.
 * @param {{answer: any, dimension: string | null, point: any, colorOf: (value: any) => string}} props
 */
function Reading({ answer, dimension, point, colorOf }) {
  /** @param {any} group */
  const sum = (group) => {
    let bytes = 0;
    for (let i = point.first; i <= point.last; i++) bytes += group.received[i] + group.sent[i];
    return bytes;
  };
  const largest = (dimension ? answer.groups : [])
    .map((/** @type {any} */ group) => ({ value: group[dimension ?? ''], size: sum(group) }))
    .filter((/** @type {any} */ group) => group.size)
    .sort((/** @type {any} */ a, /** @type {any} */ b) => b.size - a.size)
    .slice(0, 3);
  return html`
    <span><b>${spanText(point.since, point.until, answer.now)}</b>${point.open && ' not over yet'}</span>
    <span>↓${'\u2009'}<b>${rate(point.received)}</b></span>
    <span>↑${'\u2009'}<b>${rate(point.sent)}</b></span>
    ${largest.map(
      (/** @type {any} */ part) => html`
        <span class="opt" key=${String(part.value)}><${Swatch} color=${colorOf(part.value)} />${valueText(dimension ?? '', part.value, answer.labels).text}${' '}
          <b>${rate(part.size / point.seconds)}</b></span>
      `,
    )}
  `;
}

/** Whether a height means the same on both sides of the axis. @param {{own: boolean}} props */
const Scale = ({ own }) => html`
  <span class="scale" role="group" aria-label="Scale of received and sent">scale
    <button type="button" aria-pressed=${String(!own)} title="Received and sent on one scale" onClick=${() => change({ scale: null })}>shared</button>
    <button type="button" aria-pressed=${String(own)} title="Each on its own scale, so that a small sender is seen"
      onClick=${() => change({ scale: 'own' })}>separate</button>
  </span>
`;

/**
 * The question of a chart: traffic over time, its largest by a dimension.
 * @param {string} dimension @param {import('../lib/api.js').Params} [params] @param {number} [parts]
 */
export const useSeries = (dimension, params = question.value, parts = 144) =>
  useAnswer('series', {
    ...params,
    group_by: dimension,
    top: 8,
    parts,
    compare: compare.value ? 'previous' : null,
  });

/**
 * @param {{title: unknown, dimension: string, answer: import('../lib/answer.js').Answer, marks?: any[], height?: number | ((narrow: boolean) => number),
 *   lifted: string | null, colorOf?: (value: any) => string, extra?: unknown}} props
 */
export function Traffic({ title, dimension, answer, marks = [], height, lifted, colorOf, extra }) {
  const [point, setPoint] = useState(/** @type {any} */ (null));
  const onPoint = useCallback((/** @type {any} */ _, /** @type {any} */ there) => setPoint(there), []);
  const daemon = health.value?.daemon;
  const data = useMemo(
    () => answer.data && { ...answer.data, away: unrecorded(answer.data, health.peek()) },
    // The rest of what is known about the daemon does not change the picture.
    [answer.data, health.value === null, daemon?.since],
  );
  const ownScale = param('scale') === 'own';
  const total = data ? [...data.total.received, ...data.total.sent].some((value) => value > 0) : true;
  /** @param {any} value */
  const color = (value) => colorOf?.(value) || groupColor(data, dimension, value);
  const shown = data && total && point && point.last < data.total.received.length;
  return html`
    <section aria-label=${typeof title === 'string' ? title : 'Traffic over time'}>
      <div class="chead">
        <h2>${title}</h2>${extra}
        <div class="readout" aria-live="off">
          ${shown ? html`<${Reading} answer=${data} dimension=${dimension} point=${point} colorOf=${color} />` : data && total && html`<${Highest} answer=${data} />`}
        </div>
        <span class="grow"></span>
        <${Scale} own=${ownScale} />
      </div>
      <div class=${cls('bleed', answer.stale && 'stale')}>
        <${AreaChart} answer=${data} dimension=${dimension} marks=${marks} height=${height} lifted=${lifted}
          ownScale=${ownScale} label=${`Traffic ${rangeName()}, by ${dimensionPlural(dimension, 1)}: received above the axis, sent below it. The same figures are in the table below.`} onPoint=${onPoint} colorOf=${colorOf}
          onZoom=${(/** @type {number | null} */ since, /** @type {number | undefined} */ until) => zoom(since, until, data?.range)} />
      </div>
      <${Problem} answer=${answer} />
      ${data && !total && html`<${Nothing} range=${data.range} extent=${data.extent} />`}
    </section>
  `;
}
