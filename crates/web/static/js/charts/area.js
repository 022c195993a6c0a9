/** The area chart of all pages: received stacked above the spine, sent below it, in steps, because a window is a sum. */

import { hourMinute, rate, units, weekday, zoneName } from '../lib/format.js';
import { cls, html, useId, useMemo, useRef } from '../lib/html.js';
import { awayText } from '../lib/recorded.js';
import { useGestures } from './area_gestures.js';
import { placedMarks } from './area_marks.js';
import { buildModel, SPINE } from './area_model.js';
import { layerKey, OTHER } from './layers.js';
import { textWidth, useThemeVersion, useWidth } from './paint.js';

export { layerKey, OTHER };

/** @import { AreaProps, Model, PlacedMark, Range, Selection } from './types.js' */

/** @param {AreaProps} props */
export function AreaChart(props) {
  const {
    answer,
    dimension,
    marks,
    ownScale = false,
    lifted,
    colorOf,
    nameOf,
    label,
    onZoom,
    onPoint,
    ago,
  } = props;
  const host = useRef(/** @type {HTMLElement | null} */ (null));
  const svg = useRef(/** @type {SVGSVGElement | null} */ (null));
  const id = useId();
  const width = useWidth(host);
  const theme = useThemeVersion();
  const given = props.height ?? ((/** @type {boolean} */ narrow) => (narrow ? 280 : 356));
  const height = typeof given === 'function' ? given(width < 560) : given;
  const unit = units.value;
  const hasMarks = (marks?.length ?? 0) + (answer?.losses?.length ?? 0) > 0;
  // The theme is among them because it changes what the colours mean.
  const model = useMemo(
    () =>
      answer && answer.edges.length > 1 && width > 0
        ? buildModel({ answer, dimension, width, height, hasMarks, ownScale, unit, colorOf, nameOf, ago })
        : null,
    [answer, dimension, width, height, hasMarks, ownScale, unit, colorOf, nameOf, ago, theme],
  );
  const placed = useMemo(() => (model ? placedMarks(model, marks ?? []) : []), [model, marks]);
  const drawn = useMemo(
    () =>
      model
        ? html`<${Picture} model=${model} marks=${placed} lifted=${lifted ?? null} ownScale=${ownScale} id=${id} />`
        : null,
    [model, placed, lifted, ownScale, id],
  );
  const { cursor, selection, preview, handlers } = useGestures(model, svg, { onZoom, onPoint });
  const at = model && cursor !== null ? Math.min(cursor, model.parts.length - 1) : null;
  const words = model && at !== null ? spoken(model, at) : 'No part is chosen.';
  return html`<div class="chart" ref=${host} style=${{ height: `${height}px` }}>
    <svg
      class=${cls('area', lifted !== null && lifted !== undefined && 'dim')}
      ref=${svg}
      viewBox=${`0 0 ${Math.max(1, width)} ${height}`}
      width=${Math.max(1, width)}
      height=${height}
      role="slider"
      tabindex="0"
      aria-label=${label}
      aria-roledescription="chart"
      aria-valuemin="0"
      aria-valuemax=${Math.max(0, (model?.parts.length ?? 1) - 1)}
      aria-valuenow=${at ?? Math.max(0, (model?.parts.length ?? 1) - 1)}
      aria-valuetext=${words}
      ...${handlers}
    >
      ${drawn}
      ${model && html`<${Cursor} model=${model} at=${at} selection=${selection} preview=${preview} />`}
    </svg>
  </div>`;
}

/**
 * @param {Model} model
 * @param {number} index
 */
function spoken(model, index) {
  const part = model.parts[index];
  const seconds = part.end - part.begin;
  const open = part.end > model.now && part.begin <= model.now ? ', not over yet' : '';
  const time = seconds >= 72000 ? weekday(part.begin) : `${weekday(part.begin)} ${hourMinute(part.begin)}`;
  return `${time}: received ${rate(model.total.received[index])}, sent ${rate(model.total.sent[index])}${open}`;
}

/**
 * The parts of the picture that do not move with the pointer.
 * @param {{model: Model, marks: PlacedMark[], lifted: string | null, ownScale: boolean, id: string}} props
 */
function Picture({ model, marks, lifted, ownScale, id }) {
  const { box } = model;
  return html`
    <defs>
      <pattern id=${`${id}h`} width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
        <rect class="hatch" width="1.5" height="6" />
      </pattern>
      <pattern id=${`${id}l`} width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(-45)">
        <rect class="hatch-lost" width="1.5" height="6" />
      </pattern>
    </defs>
    <g class="grid">
      ${model.rateTicks.map(({ y }) => html`<line x1=${box.left} x2=${box.right} y1=${y} y2=${y} />`)}
    </g>
    <g class="layers">
      ${model.shapes.map(
        ({ layer, received, sent }) => html`
          <path key=${`${layer.key}r`} class=${layer.key === lifted ? 'on' : undefined} d=${received} style=${{ fill: layer.colour }} />
          <path key=${`${layer.key}s`} class=${layer.key === lifted ? 'dn on' : 'dn'} d=${sent} style=${{ fill: layer.colour }} />
        `,
      )}
    </g>
    <g class="ylab">
      ${model.rateTicks.map(
        ({ value, y, named }) =>
          named &&
          html`<text
            class=${box.narrow ? 'in' : undefined}
            x=${box.narrow ? 4 : box.left - 12}
            y=${box.narrow ? y - 4 : y + 4}
            text-anchor=${box.narrow ? 'start' : 'end'}
          >${rate(value)}</text>`,
      )}
    </g>
    <g class="lnames">
      ${model.shapes.flatMap(({ layer, names }) =>
        names.map(
          ({ x, y, ink }) =>
            html`<text class=${layer.key === lifted ? 'lname on' : 'lname'} x=${x.toFixed(1)} y=${y.toFixed(1)} text-anchor="middle" style=${{ fill: ink }}>${layer.name}</text>`,
        ),
      )}
    </g>
    ${model.before.map((d) => html`<path class="prev" d=${d} />`)}
    <${Spine} model=${model} marks=${marks} ownScale=${ownScale} />
    <${Hatching} model=${model} id=${id} />
    <${Marks} model=${model} marks=${marks} />
  `;
}

/**
 * The band between the directions: axes, times, zone.
 * @param {{model: Model, marks: PlacedMark[], ownScale: boolean}} props
 */
function Spine({ model, marks, ownScale }) {
  const { box } = model;
  const { left, right, upperAxis, lowerAxis } = box;
  const end = left - 12;
  const side = (/** @type {number} */ y, /** @type {string} */ text) =>
    html`<text class="side" x=${end} y=${y} text-anchor="end">${text}</text>`;
  const isFree = (/** @type {number} */ from, /** @type {number} */ to) =>
    from > left && to < right && !marks.some((mark) => mark.x > from - 8 && mark.x < to + 8);
  /** Labels with where they begin and end. @type {{x: number, end: number, text: string, strong: boolean}[]} */
  const labels = [];
  // A time stands to the right of its line; an important one may stand to the left of it, in place of the time there.
  for (const { time, text, strong } of model.timeTicks) {
    const x = model.x(time);
    const room = textWidth(text, 11, strong ? 600 : 400) + 6;
    const at = isFree(x + 2, x + room) ? x + 4 : strong && isFree(x - room, x - 2) ? x + 2 - room : null;
    const before = labels[labels.length - 1];
    const isTouching = before && at !== null && at < before.end + 6;
    if (at === null || (isTouching && before.strong)) continue;
    if (isTouching) labels.pop();
    labels.push({ x: at, end: at + room - 6, text, strong });
  }
  return html`
    ${
      !box.narrow &&
      html`${side(upperAxis - 8, 'received')} ${side(lowerAxis + 16, 'sent')} ${!model.ago && side(upperAxis + 16, zoneName(model.until))}
      ${ownScale && side(lowerAxis + 30, 'own scale')}`
    }
    <line class="axis" x1=${left} x2=${right} y1=${upperAxis + 0.5} y2=${upperAxis + 0.5} />
    <line class="axis" x1=${left} x2=${right} y1=${lowerAxis - 0.5} y2=${lowerAxis - 0.5} />
    <g class="tlab">
      ${model.timeTicks.map(({ time }) => {
        const x = Math.round(model.x(time)) + 0.5;
        return html`<line key=${time} x1=${x} x2=${x} y1=${upperAxis} y2=${upperAxis + 5} />`;
      })}
      ${labels.map(({ x, text, strong }) => html`<text key=${text} class=${strong ? 'day' : undefined} x=${x.toFixed(1)} y=${upperAxis + 16}>${text}</text>`)}
    </g>
  `;
}

/**
 * Honest edges: what is not over, what was not recorded, what was lost.
 * @param {{model: Model, id: string}} props
 */
function Hatching({ model, id }) {
  const { box } = model;
  const plot = (
    /** @type {number} */ from,
    /** @type {number} */ to,
    /** @type {string} */ fill,
    /** @type {string} */ title,
  ) => {
    const x = Math.max(box.left, from);
    const width = Math.min(box.right, to) - x;
    return (
      width > 0.5 &&
      html`<g>
        <title>${title}</title>
        <rect x=${x} y=${box.top} width=${width} height=${box.up} fill=${fill} />
        <rect x=${x} y=${box.lowerAxis} width=${width} height=${box.down} fill=${fill} />
      </g>`
    );
  };
  const [first, second] = model.parts;
  // A day of 23 hours is not cut.
  const day = second && second.end - second.begin;
  const cut =
    day >= 72000 &&
    first.end - first.begin < day - 4000 &&
    !model.away.some((one) => one.why === 'before') &&
    first;
  const last = model.parts.find((part) => part.begin <= model.now && part.end > model.now);
  return html`
    <g class="edges">
      ${model.away.map((one) => {
        const from = model.x(one.begin);
        const to = Math.max(model.x(one.end), from + 2);
        const words = awayText(one);
        return html`
          ${plot(from, to, `url(#${id}h)`, words)}
          ${to - from > textWidth(words, 11, 600) + 16 && html`<text class="away" x=${((from + to) / 2).toFixed(1)} y=${box.top + 20} text-anchor="middle">${words}</text>`}
        `;
      })}
      ${last && !model.away.some((one) => one.why === 'stopped') && plot(model.x(last.begin), model.x(last.end), `url(#${id}h)`, 'Not over yet')}
      ${cut && plot(model.x(cut.begin), model.x(cut.end), `url(#${id}h)`, 'Begins before the range')}
      ${model.losses.map(({ part }) => {
        const x = model.x(part.begin);
        const width = Math.max(6, model.x(part.end) - x);
        return html`
          ${plot(x, x + width, `url(#${id}l)`, 'Something was lost')}
          <rect class="lostbar" x=${x} y=${box.upperAxis} width=${width} height=${SPINE} />
        `;
      })}
    </g>
  `;
}

/** @param {{model: Model, marks: PlacedMark[]}} props */
function Marks({ model, marks }) {
  const y = model.box.upperAxis;
  return marks.map(
    (mark) => html`<g class=${`mark ${mark.kind}`}>
      <title>${mark.title}</title>
      ${mark.text && html`<line x1=${mark.x} x2=${mark.x} y1=${mark.labelY + 4} y2=${mark.lineTo} />`}
      <rect
        x=${mark.x - 4}
        y=${y + 8}
        width="8"
        height="8"
        transform=${mark.kind === 'new' ? `rotate(45 ${mark.x} ${y + 12})` : undefined}
      />
      ${mark.text && html`<text x=${mark.labelX} y=${mark.labelY} text-anchor=${mark.anchor}>${mark.text}</text>`}
    </g>`,
  );
}

/**
 * What moves with the pointer and the keys.
 * @param {{model: Model, at: number | null, selection: Selection | null, preview: Range | null}} props
 */
function Cursor({ model, at, selection, preview }) {
  const { box, xs } = model;
  const height = box.bottom - box.top;
  const from = selection && Math.min(selection.from, selection.to);
  const to = selection && Math.max(selection.from, selection.to) + 1;
  const band =
    from !== null && to !== null
      ? [xs[from], xs[to]]
      : preview && [Math.max(box.left, model.x(preview.since)), Math.min(box.right, model.x(preview.until))];
  return html`
    <g class="cursor">
      ${at !== null && html`<rect x=${xs[at]} y=${box.top} width=${Math.max(1, xs[at + 1] - xs[at])} height=${height} />`}
    </g>
    ${band && html`<rect class="selr" x=${band[0]} y=${box.top} width=${Math.max(1, band[1] - band[0])} height=${height} />`}
  `;
}
