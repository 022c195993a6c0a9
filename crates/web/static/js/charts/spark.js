/** A small chart without figures: received above a line, sent below it, on one scale. */
import { html } from '../lib/html.js';

/**
 * @param {number[]} values
 * @param {number} axis
 * @param {number} scale downwards if it is negative
 * @param {number} each width of a part
 */
function steps(values, axis, scale, each) {
  const line = values.map((value, i) => {
    // What was moved is seen, however little.
    const height = value > 0 ? Math.sign(scale) * Math.max(0.75, value * Math.abs(scale)) : 0;
    const y = (axis - height).toFixed(1);
    return `L${(i * each).toFixed(1)} ${y}L${((i + 1) * each).toFixed(1)} ${y}`;
  });
  return `M0 ${axis}${line.join('')}L${(values.length * each).toFixed(1)} ${axis}Z`;
}

/**
 * @param {object} props
 * @param {number[]} props.received
 * @param {number[]} [props.sent]
 * @param {number} [props.width]
 * @param {number} [props.height]
 * @param {string} [props.color] a CSS colour
 * @param {boolean} [props.fluid] as wide as its place; `width` is then only its proportion
 */
export function Spark({
  received,
  sent = [],
  width = 96,
  height = 20,
  color = 'var(--ink-2)',
  fluid = false,
}) {
  const count = Math.max(1, received.length, sent.length);
  const up = received.reduce((a, b) => Math.max(a, b), 0);
  const down = sent.reduce((a, b) => Math.max(a, b), 0);
  const share = down > 0 ? Math.min(0.78, Math.max(0.3, up / (up + down))) : 1;
  const axis = Math.round((height - 1) * share);
  const scale = Math.min(
    axis / (up || 1e-9),
    down > 0 ? (height - axis - 1) / down : Number.POSITIVE_INFINITY,
  );
  const each = width / count;
  return html`<svg
    class="spark"
    viewBox=${`0 0 ${width} ${height}`}
    width=${fluid ? '100%' : width}
    height=${height}
    aria-hidden="true"
    preserveAspectRatio="none"
  >
    <path d=${steps(received, axis, scale, each)} style=${{ fill: color }} />
    <path class="dn" d=${steps(sent, axis + 1, -scale, each)} style=${{ fill: color }} />
    <rect class="ax" x="0" y=${axis} width=${width} height="1" />
  </svg>`;
}
