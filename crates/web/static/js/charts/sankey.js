/** The Sankey: which program moves bytes with whom, and over which port. */
import { bytes } from '../lib/format.js';
import { cls, html, useMemo, useRef, useState } from '../lib/html.js';
import { shortened, textWidth, useWidth } from './paint.js';
import { nodeName, REST, sankeyLayout } from './sankey_model.js';

/** @import { Band, Flow, Node } from './types.js' */

const BAR = 8;
const HEAD = 28;
const NARROW = 640;

/**
 * Where bars and labels stand.
 * @param {number} width
 */
function frame(width) {
  if (width < NARROW) {
    // Labels lie on the bands here: the columns of names need all there is.
    const second = Math.round(width * 0.33);
    return {
      narrow: true,
      into: [0, second, width - BAR],
      out: [0, second, width - BAR],
      labels: [BAR + 6, second + BAR + 6, width - BAR - 6],
      rooms: [second - BAR - 12, width * 0.36, width * 0.22],
    };
  }
  const side = Math.min(230, width * 0.17);
  const gap = Math.min(260, width * 0.22);
  const second = Math.round((width - gap) * 0.46);
  return {
    narrow: false,
    into: [side, second, width - side],
    out: [side, second + gap, width - side],
    labels: [side - 10, second + BAR + 10, width - side + BAR + 10],
    rooms: [side - 12, gap - BAR - 16, side - BAR - 12],
  };
}

/**
 * @param {Band} band
 * @param {ReturnType<typeof frame>} box
 * @param {number} scale
 */
function bandPath(band, box, scale) {
  const x0 = box.out[band.from.column] + BAR;
  const x1 = box.into[band.to.column];
  const half = (band.size * scale) / 2;
  const y0 = (band.y0 + half).toFixed(1);
  const y1 = (band.y1 + half).toFixed(1);
  const middle = ((x0 + x1) / 2).toFixed(1);
  return `M${x0} ${y0}C${middle} ${y0} ${middle} ${y1} ${x1} ${y1}`;
}

/**
 * The label of a node: name, and its bytes where there is room.
 * @param {{node: Node, box: ReturnType<typeof frame>, fresh: boolean}} props
 */
function Label({ node, box, fresh }) {
  const amount = bytes(node.size);
  const room = box.rooms[node.column];
  const beside = box.narrow ? 0 : textWidth(amount, 12) + 10 + (fresh ? 30 : 0);
  const size = box.narrow ? 12 : 13;
  const text = box.narrow && node.key === REST ? 'others' : node.text;
  const name = shortened(text, Math.max(40, room - beside), size, 600);
  const toLeft = box.narrow ? node.column === 2 : node.column === 0;
  return html`
    <text x=${box.labels[node.column]} y=${(node.y + node.height / 2 + 4).toFixed(1)} text-anchor=${toLeft ? 'end' : 'start'} aria-hidden="true">
      <tspan class="nm">${name}</tspan>
      ${!box.narrow && html`<tspan class="v" dx="8">${amount}</tspan>`}
      ${!box.narrow && fresh && html`<tspan class="flag" dx="8">new</tspan>`}
    </text>
  `;
}

/**
 * @param {{node: Node, box: ReturnType<typeof frame>, fresh: boolean, onLift: (name: string | null) => void,
 *   onChoose: (column: number, key: string) => void}} props
 */
function NodeMark({ node, box, fresh, onLift, onChoose }) {
  const name = nodeName(node.column, node.key);
  const isRest = node.key === REST;
  const choose = isRest ? undefined : () => onChoose(node.column, node.key);
  const lift = () => onLift(name);
  const drop = () => onLift(null);
  const bars = [...new Set([box.into[node.column], box.out[node.column]])].map(
    (x) => html`
      <rect key=${x} x=${x} y=${node.y.toFixed(1)} width=${BAR} height=${node.height.toFixed(1)} rx="1" style=${{ fill: node.color }} />
    `,
  );
  // The button is the bar, and its name has what the label beside it may have to shorten.
  return html`
    <g class=${cls('node', box.narrow && 'thin', isRest && 'rest')} onPointerEnter=${lift} onPointerLeave=${drop} onClick=${choose}>
      <title>${`${node.text}: ${bytes(node.received)} received, ${bytes(node.sent)} sent`}</title>
      ${
        isRest
          ? bars
          : html`
            <g role="button" tabindex="0" aria-label=${`${node.text}, ${bytes(node.received)} received, ${bytes(node.sent)} sent: filter by it`}
              onFocus=${lift} onBlur=${drop}
              onKeyDown=${(/** @type {KeyboardEvent} */ event) => {
                if (event.key !== 'Enter' && event.key !== ' ') return;
                event.preventDefault();
                event.stopPropagation();
                choose?.();
              }}>${bars}</g>
          `
      }
      <${Label} node=${node} box=${box} fresh=${fresh} />
    </g>
  `;
}

/**
 * @param {{flows: Flow[], heads: string[], label: string, fresh?: Set<string>, onChoose: (column: number, key: string) => void}} props
 *   `fresh` has nodes that are new, as `nodeName`
 */
export function Sankey({ flows, heads, label, fresh = new Set(), onChoose }) {
  const host = useRef(/** @type {HTMLElement | null} */ (null));
  const width = useWidth(host);
  const [lifted, setLifted] = useState(/** @type {string | null} */ (null));
  const most = useMemo(
    () => Math.max(1, ...[0, 1, 2].map((column) => new Set(flows.map((flow) => flow.ends[column].key)).size)),
    [flows],
  );
  const height = Math.max(width < NARROW ? 460 : 420, most * 34);
  const layout = useMemo(() => sankeyLayout(flows, height), [flows, height]);
  const box = frame(width);
  const bands = useMemo(
    () => layout.bands.map((band) => ({ band, d: width > 0 ? bandPath(band, box, layout.scale) : '' })),
    [layout, width],
  );
  return html`
    <div class="chart" ref=${host} style=${{ minHeight: `${height + HEAD}px` }}>
      ${
        width > 0 &&
        html`
        <svg class=${cls('sankey', lifted !== null && 'dim', box.narrow && 'narrow')} viewBox=${`0 0 ${width} ${height + HEAD}`} width=${width}
          height=${height + HEAD} role="group" aria-label=${label}>
          ${heads.map(
            (head, i) => html`
              <text class="shead" key=${i} x=${box.narrow && i < 2 ? box.into[i] : box.labels[i]} y="12"
                text-anchor=${(box.narrow ? i === 2 : i === 0) ? 'end' : 'start'}>${head}</text>
            `,
          )}
          <g transform=${`translate(0 ${HEAD})`}>
            <g class="links">
              ${bands.map(
                ({ band, d }) => html`
                  <path key=${`${nodeName(0, band.program)}\n${nodeName(band.from.column, band.from.key)}\n${band.to.key}`} d=${d}
                    class=${lifted !== null && band.nodes.has(lifted) ? 'on' : undefined}
                    stroke-width=${Math.max(0.5, band.size * layout.scale).toFixed(1)} style=${{ stroke: band.color }}>
                    <title>${`${band.from.text} → ${band.to.text}: ${bytes(band.size)}`}</title>
                  </path>
                `,
              )}
            </g>
            ${layout.columns.flat().map((node) => {
              const name = nodeName(node.column, node.key);
              return html`<${NodeMark} key=${name} node=${node} box=${box} fresh=${fresh.has(name)} onLift=${setLifted} onChoose=${onChoose} />`;
            })}
          </g>
        </svg>
      `
      }
    </div>
  `;
}
