/** The chart of traffic over time with its line of reading: used by the pages Overview, Explore, Program and Destination. */
import { AreaChart } from '../charts/area.js';
import { useAnswer } from '../lib/answer.js';
import { dimensionPlural, isProgram, valueText } from '../lib/dimensions.js';
import { dayAndTime, duration, hourMinute, rate } from '../lib/format.js';
import { cls, html, useState } from '../lib/html.js';
import { change, compare, param, question, setMoments } from '../lib/state.js';
import { Swatch, slotColor } from './identity.js';
import { beforeName } from './rangebar.js';
import { Nothing, Problem } from './states.js';

/** @param {number} until the part that this moment is in is not over @param {number} now */
const unfinished = (until, now) => until > now;

/** What is under the pointer, or the highest part. @param {{answer: any, dimension: string | null, point: number | null, colorOf: (value: any) => string}} props */
function Readout({ answer, dimension, point, colorOf }) {
  const { edges, total } = answer;
  const length = edges[1] - edges[0];
  /** @param {number} i */
  const both = (i) => total.received[i] + total.sent[i];
  if (point === null || point >= total.received.length) {
    let top = 0;
    for (let i = 1; i < total.received.length; i++) if (both(i) > both(top)) top = i;
    return html`
      <span>mean of ${duration(length)}</span>
      ${both(top) > 0 && html`<span>peak <b>${rate(both(top) / (edges[top + 1] - edges[top]))}</b> at ${length < 86400 ? hourMinute(edges[top]) : dayAndTime(edges[top])}</span>`}
      ${compare.value && answer.before && html`<span class="pv"><svg width="24" height="8" aria-hidden="true"><path class="prev" d="M0 4.5H24" /></svg> ${beforeName()}</span>`}
    `;
  }
  const seconds = Math.min(edges[point + 1], answer.now) - edges[point] || 1;
  const parts = dimension
    ? answer.groups
        .map((/** @type {any} */ group) => ({
          value: group[dimension],
          size: group.received[point] + group.sent[point],
        }))
        .filter((/** @type {any} */ group) => group.size)
        .sort((/** @type {any} */ a, /** @type {any} */ b) => b.size - a.size)
        .slice(0, 3)
    : [];
  const end = length < 86400 ? hourMinute(edges[point + 1]) : dayAndTime(edges[point + 1]);
  return html`
    <span><b>${dayAndTime(edges[point], answer.now)} – ${end}</b>${unfinished(edges[point + 1], answer.now) && ' not over yet'}</span>
    <span>↓${'\u2009'}<b>${rate(total.received[point] / seconds)}</b></span>
    <span>↑${'\u2009'}<b>${rate(total.sent[point] / seconds)}</b></span>
    ${parts.map(
      (/** @type {any} */ part) => html`
        <span key=${String(part.value)}><${Swatch} color=${colorOf(part.value)} />${valueText(dimension ?? '', part.value, answer.labels).text}${' '}
          <b>${rate(part.size / seconds)}</b></span>
      `,
    )}
  `;
}

/**
 * @param {{title: unknown, dimension?: string | null, params?: import('../lib/api.js').Params, marks?: any[], height?: number,
 *   lifted?: string | null, colorOf?: (value: any, slot?: number) => string, extra?: unknown, label: string, top?: number}} props
 */
export function Traffic({
  title,
  dimension = null,
  params = {},
  marks = [],
  height,
  lifted,
  colorOf,
  extra,
  label,
  top = 8,
}) {
  const [point, setPoint] = useState(/** @type {number | null} */ (null));
  const answer = useAnswer('series', {
    ...question.value,
    ...params,
    group_by: dimension,
    top,
    parts: 144,
    compare: compare.value ? 'previous' : null,
  });
  const { data } = answer;
  const ownScale = param('scale') === 'own';
  const total = data ? [...data.total.received, ...data.total.sent].some((value) => value > 0) : true;
  /** @param {any} value */
  const color = (value) => {
    const slot = data?.slots?.[value];
    return colorOf ? colorOf(value, slot) : slotColor(slot);
  };
  return html`
    <section aria-label=${typeof title === 'string' ? title : 'Traffic over time'}>
      <div class="chead">
        <h2>${title}</h2>${extra}
        <div class="readout" aria-live="off">
          ${data && total && html`<${Readout} answer=${data} dimension=${dimension} point=${point} colorOf=${color} />`}
        </div>
        <span class="grow"></span>
        <button class="scale" type="button" aria-pressed=${String(ownScale)}
          title="Received and sent on one scale, or each on its own so that a small sender is seen"
          onClick=${() => change({ scale: ownScale ? null : 'own' })}>${ownScale ? 'own scales' : 'one scale'}</button>
      </div>
      <div class=${cls('chart', 'bleed', answer.error && 'stale')} style=${{ '--chart': `${height ?? 360}px` }}>
        ${
          data &&
          html`
            <${AreaChart} answer=${data} dimension=${dimension} marks=${marks} height=${height} lifted=${lifted}
              ownScale=${ownScale} label=${label} onPoint=${setPoint} colorOf=${colorOf}
              onZoom=${(/** @type {number} */ since, /** @type {number} */ until) => setMoments(since, until - 1)} />
          `
        }
      </div>
      <${Problem} answer=${answer} />
      ${data && !total && html`<${Nothing} range=${data.range} last=${data.extent?.[1]} />`}
    </section>
  `;
}

/** The sentence that a chart is for a screen reader. @param {string} what @param {string} dimension @param {string} range */
export const chartLabel = (what, dimension, range) =>
  `${what} ${range}, by ${dimensionPlural(dimension, 1)}: received above the axis, sent below it. The same figures are in the table below.`;
export const dimensionHasColor = isProgram;
