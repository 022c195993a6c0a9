/** Events over time: a bar for each part of the range, wrong nearest to the axis, then new, then harmless. */

import { textWidth, useWidth } from '../charts/paint.js';
import { timeTicks } from '../charts/scale.js';
import { eventKind } from '../lib/events.js';
import { plural } from '../lib/format.js';
import { html, useMemo, useRef } from '../lib/html.js';

const AXIS = 34;
/** @type {['wrong', 'new', '']} */
const KINDS = ['wrong', 'new', ''];

/** @param {any[]} rows @param {number} since @param {number} until @param {number} count */
function bins(rows, since, until, count) {
  const list = Array.from({ length: count }, () => ({
    wrong: 0,
    new: 0,
    '': 0,
    row: /** @type {any} */ (null),
  }));
  for (const row of rows) {
    const bin = list[Math.floor(((row.time - since) / Math.max(1, until - since)) * count)];
    if (bin) {
      bin[eventKind(row)]++;
      if (!bin.row || (eventKind(row) === 'wrong' && eventKind(bin.row) !== 'wrong')) bin.row = row;
    }
  }
  return list;
}

/** @param {{rows: any[], since: number, until: number, onChoose: (row: any) => void}} props */
export function EventStrip({ rows, since, until, onChoose }) {
  const host = useRef(/** @type {HTMLElement | null} */ (null));
  const width = useWidth(host);
  const count = Math.max(1, Math.floor(width / 8));
  const list = useMemo(() => bins(rows, since, until, count), [rows, since, until, count]);
  const most = list.reduce((all, bin) => Math.max(all, bin.wrong + bin.new + bin['']), 1);
  // Few events are blocks of a fixed height, many share the room.
  const unit = Math.min(8, AXIS / most);
  const each = width / count;
  const ticks = timeTicks(since, until, width / 92);
  return html`
    <div class="strip" ref=${host}>
      ${
        width > 0 &&
        html`
        <svg width=${width} height="56" viewBox=${`0 0 ${width} 56`} role="img" aria-label=${`${plural(rows.length, 'event')} over the range; the list below has them`}>
          ${list.map((bin, i) => {
            let y = AXIS;
            return html`
              ${KINDS.map((kind) => {
                const height = bin[kind] * unit;
                y -= height;
                return (
                  height > 0 &&
                  html`<rect key=${`${i} ${kind}`} class=${`ev ${kind}`} x=${(i * each + 0.5).toFixed(1)} y=${y.toFixed(1)} width=${Math.max(2, each - 1.5).toFixed(1)}
                    height=${Math.max(1, height - (unit > 3 ? 1 : 0)).toFixed(1)} onClick=${() => onChoose(bin.row)} />`
                );
              })}
            `;
          })}
          <line class="axis" x1="0" x2=${width} y1=${AXIS + 0.5} y2=${AXIS + 0.5} />
          <g class="tlab">
            ${ticks.map(({ time, text, strong }) => {
              const x = ((time - since) / Math.max(1, until - since)) * width;
              return html`
                <line key=${time} x1=${x} x2=${x} y1=${AXIS} y2=${AXIS + 5} />
                ${x + textWidth(text, 11, 600) + 6 < width && html`<text class=${strong ? 'day' : undefined} x=${x + 4} y=${AXIS + 15}>${text}</text>`}
              `;
            })}
          </g>
        </svg>
      `
      }
    </div>
  `;
}
