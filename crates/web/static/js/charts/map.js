/** The map: countries in five steps of one hue. The list beside it says the same and is its control for the keyboard. */
import { bytes } from '../lib/format.js';
import { cls, html, useEffect, useMemo, useState } from '../lib/html.js';

/** @import { CountryRow, Shape, World } from './types.js' */

/** @type {Promise<{shapes: Shape[], width: number, height: number}> | null} */
let loading = null;

/** @param {number[]} ring */
function ringPath(ring) {
  let path = `M${ring[0]} ${ring[1]}l`;
  for (let i = 2; i < ring.length; i += 2) path += `${i > 2 ? ' ' : ''}${ring[i]} ${ring[i + 1]}`;
  return `${path}z`;
}

/** The middle of the largest ring, where a label may point. @param {number[][]} rings */
function middle(rings) {
  let best = { x: 0, y: 0, size: -1 };
  for (const ring of rings) {
    let [x, y] = ring;
    let [left, right, top, bottom] = [x, x, y, y];
    for (let i = 2; i < ring.length; i += 2) {
      x += ring[i];
      y += ring[i + 1];
      left = Math.min(left, x);
      right = Math.max(right, x);
      top = Math.min(top, y);
      bottom = Math.max(bottom, y);
    }
    const size = (right - left) * (bottom - top);
    if (size > best.size) best = { x: (left + right) / 2, y: (top + bottom) / 2, size };
  }
  return best;
}

/** @param {World} world */
function shapesOf(world) {
  /** @type {Shape[]} */
  const shapes = world.outlines.map(([code, rings]) => ({
    code,
    path: rings.map(ringPath).join(''),
    ...middle(rings),
  }));
  for (const [code, x, y] of world.points) shapes.push({ code, path: '', x, y, size: 0 });
  return { shapes, width: world.width, height: world.height };
}

/** Fetched when a map is first drawn, not part of the page's code. */
function load() {
  loading ??= fetch('/static/world.json').then(async (response) => {
    if (!response.ok) throw new Error(`status ${response.status}`);
    return shapesOf(await response.json());
  });
  loading.catch(() => {
    loading = null;
  });
  return loading;
}

/** @param {CountryRow} row */
const total = (row) => row.received + row.sent;

/**
 * Five steps of ten: the largest country is in the last.
 * @param {CountryRow[]} rows
 */
export function stepsOf(rows) {
  const largest = rows.reduce((most, row) => Math.max(most, row.country ? total(row) : 0), 0);
  const top = 10 ** Math.max(4, Math.floor(Math.log10(Math.max(1, largest))));
  const limits = [top / 1000, top / 100, top / 10, top];
  return {
    limits,
    /** @param {number} amount */
    step: (amount) => 1 + limits.filter((limit) => amount >= limit).length,
  };
}

/** What the colours mean. @param {{limits: number[]}} props */
export const MapLegend = ({ limits }) => html`
  <div class="legend">
    <span>received and sent</span>
    ${[...limits, 0].map(
      (limit, i) => html`
        <span class="lg" key=${i}><i style=${{ background: `var(--m${i + 1})` }}></i>${limit ? `under ${bytes(limit).replace(/\.0+(?=\D)/, '')}` : 'more'}</span>
      `,
    )}
  </div>
`;

/**
 * @param {{rows: CountryRow[], fresh: Set<string>, chosen: Set<string>, nameOf: (code: string) => string, label: string,
 *   onChoose: (code: string) => void, onPoint: (code: string | null) => void}} props
 */
export function WorldMap({ rows, fresh, chosen, nameOf, label, onChoose, onPoint }) {
  const [world, setWorld] = useState(/** @type {Awaited<ReturnType<typeof load>> | null} */ (null));
  const [failed, setFailed] = useState(false);
  useEffect(() => {
    let current = true;
    load().then(
      (one) => current && setWorld(one),
      () => current && setFailed(true),
    );
    return () => {
      current = false;
    };
  }, []);
  const byCode = useMemo(() => new Map(rows.map((row) => [row.country, row])), [rows]);
  const { step } = useMemo(() => stepsOf(rows), [rows]);
  if (failed)
    return html`<p class="note map-place">The outlines of the map could not be loaded. The list has all figures.</p>`;
  const shapes = world?.shapes ?? [];
  /** @param {Shape} shape */
  const looks = (shape) => {
    const row = byCode.get(shape.code);
    return {
      class: cls(row && 'on', chosen.has(shape.code) && 'chosen'),
      style: row ? { fill: `var(--m${step(total(row))})` } : undefined,
      onClick: row && (() => onChoose(shape.code)),
      onPointerEnter: () => onPoint(shape.code),
      onPointerLeave: () => onPoint(null),
    };
  };
  /** Labels that would lie on each other are left out: the list names all. @type {Shape[]} */
  const pins = [];
  for (const shape of shapes) {
    const isFree = pins.every((pin) => Math.abs(pin.y - shape.y) > 48 || Math.abs(pin.x - shape.x) > 320);
    if (pins.length < 4 && fresh.has(shape.code) && byCode.has(shape.code) && isFree) pins.push(shape);
  }
  return html`
    <svg class="map" viewBox="112 0 1848 872" role="img" aria-label=${label}>
      ${shapes.map(
        (shape) =>
          (shape.path || byCode.has(shape.code)) &&
          (shape.path
            ? html`<path key=${shape.code} d=${shape.path} ...${looks(shape)} />`
            : html`<circle key=${shape.code} cx=${shape.x} cy=${shape.y} r="7" ...${looks(shape)} />`),
      )}
      ${pins.map((shape) => {
        const toLeft = shape.x > 1500;
        return html`
          <g class="pin" key=${`pin ${shape.code}`}>
            <path d=${`M${shape.x} ${shape.y}l${toLeft ? -28 : 28} -68h${toLeft ? -92 : 92}`} fill="none" />
            <rect x=${shape.x - 8} y=${shape.y - 8} width="16" height="16" transform=${`rotate(45 ${shape.x} ${shape.y})`} />
            <text x=${shape.x + (toLeft ? -36 : 36)} y=${shape.y - 78} text-anchor=${toLeft ? 'end' : 'start'}>${nameOf(shape.code)}, new</text>
          </g>
        `;
      })}
    </svg>
  `;
}
