/** The last 24 hours window by window: recorded, not recorded, something lost, not over yet. */

import { textWidth, useWidth } from '../charts/paint.js';
import { timeTicks } from '../charts/scale.js';
import { useAnswer } from '../lib/answer.js';
import { dayAndTime, duration } from '../lib/format.js';
import { cls, html, useRef } from '../lib/html.js';
import { isMissing, lossAmount } from '../lib/losses.js';
import { awayText, secondsAway, unrecorded } from '../lib/recorded.js';
import { ZONE } from '../lib/state.js';
import { health } from '../lib/watch.js';
import { Problem } from './states.js';

/** @param {any} data of /series @returns {{name: string, title: string}[]} */
function cells(data) {
  const spans = unrecorded(data, health.value);
  /** @type {Map<number, string[]>} */
  const lost = new Map();
  for (const loss of data.losses) {
    if (isMissing(loss))
      lost.set(loss.part, [...(lost.get(loss.part) ?? []), lossAmount(loss.kind, loss.count)]);
  }
  return data.edges.slice(0, -1).map((/** @type {number} */ begin, /** @type {number} */ i) => {
    const end = data.edges[i + 1];
    const when = dayAndTime(begin);
    // More than half of a window without picosnitch counts as a window without it.
    const away = spans.find(
      (one) => (Math.min(end, one.end) - Math.max(begin, one.begin)) * 2 > Math.min(end, data.now) - begin,
    );
    if (lost.has(i)) return { name: 'bad', title: `${when}: ${lost.get(i)?.join(', ')} lost` };
    if (away) return { name: 'away', title: `${when}: ${awayText(away)}` };
    if (end > data.now) return { name: 'open', title: `${when}: not over yet` };
    const seconds = secondsAway(spans, begin, end);
    return {
      name: 'good',
      title: `${when}: ${seconds ? `not recorded for ${duration(seconds)}` : 'nothing lost'}`,
    };
  });
}

export function WindowStrip() {
  const host = useRef(/** @type {HTMLElement | null} */ (null));
  const width = useWidth(host);
  const answer = useAnswer('series', { range: '1d', zone: ZONE, parts: width < 560 ? 72 : 144 });
  const { data } = answer;
  const list = data ? cells(data) : [];
  const each = width / Math.max(1, list.length);
  const number = (/** @type {string} */ name) => list.filter((cell) => cell.name === name).length;
  const [since, until] = data ? [data.edges[0], data.edges[data.edges.length - 1]] : [0, 1];
  return html`
    <div class=${cls('strip', answer.stale && 'stale')} ref=${host}>
      <${Problem} answer=${answer} />
      ${
        width > 0 &&
        data &&
        html`
        <svg width=${width} height="56" viewBox=${`0 0 ${width} 56`} role="img"
          aria-label=${`${list.length} windows of the last 24 hours: ${number('bad')} with a loss, ${number('away')} not recorded`}>
          ${list.map((cell, i) => {
            const tall = cell.name === 'bad';
            return html`<rect key=${i} class=${cell.name} x=${(i * each).toFixed(2)} y=${tall ? 0 : cell.name === 'away' ? 22 : 6}
              width=${Math.max(1, each - 1.5).toFixed(2)} height=${tall ? 24 : cell.name === 'away' ? 2 : 18} rx="1"><title>${cell.title}</title></rect>`;
          })}
          <g class="tlab">
            ${timeTicks(since, until, width / 110).map(({ time, text, strong }) => {
              const x = ((time - since) / (until - since)) * width;
              return (
                x + textWidth(text, 11, 600) < width &&
                html`<text key=${time} class=${strong ? 'day' : undefined} x=${x} y="46">${text}</text>`
              );
            })}
          </g>
        </svg>
      `
      }
    </div>
  `;
}
