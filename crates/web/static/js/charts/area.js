/** A stand-in until the charts are merged. */
import { html } from '../lib/html.js';

/** @param {any} props */
export function AreaChart({ answer, height = 300, label }) {
  const n = answer.total.received.length;
  const max = Math.max(1, ...answer.total.received);
  return html`<svg class="area" role="img" aria-label=${label} viewBox=${`0 0 ${n} ${height}`} width="100%" height=${height} preserveAspectRatio="none">
    ${answer.total.received.map((/** @type {number} */ v, /** @type {number} */ i) => html`<rect x=${i} width="1" y=${height * (1 - v / max)} height=${(height * v) / max} fill="var(--p1)" />`)}
  </svg>`;
}
