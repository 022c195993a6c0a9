/** What the area chart draws, as numbers and paths: pure functions of an answer and a size. */
import { isMissing } from '../lib/losses.js';
import { drawnParts, layersOf, ratesOf } from './layers.js';
import { inkOn, sentOpacity, textWidth } from './paint.js';
import { agoTicks, byteStep, timeTicks } from './scale.js';

/** @import { Box, Heights, Layer, Model, ModelOptions, Part, SeriesAnswer, Side } from './types.js' */

/** Height of the band between received and sent. */
export const SPINE = 24;
/** A drawn part is not narrower than this. */
const NARROWEST = 4;
/** What was moved is seen, however little. */
const LEAST = 1;

/**
 * Sizes of the parts of the chart.
 * @param {number} width
 * @param {number} height
 * @param {boolean} hasMarks
 * @param {number} peakReceived
 * @param {number} peakSent
 * @param {boolean} ownScale
 * @returns {Box}
 */
function geometry(width, height, hasMarks, peakReceived, peakSent, ownScale) {
  const narrow = width < 560;
  const left = narrow ? 0 : 72;
  const right = width - (narrow ? 0 : 8);
  const top = hasMarks ? (narrow ? 24 : 40) : 8;
  const plot = Math.max(40, height - SPINE - top - 4);
  const sum = peakReceived + peakSent;
  const share = ownScale || sum === 0 ? 0.64 : Math.min(0.78, Math.max(0.3, peakReceived / sum));
  const up = Math.round(plot * share);
  const down = plot - up;
  // The highest step stays a little below the edge.
  const upScale = peakReceived > 0 ? up / (peakReceived * 1.04) : Number.POSITIVE_INFINITY;
  const downScale = peakSent > 0 ? down / (peakSent * 1.04) : Number.POSITIVE_INFINITY;
  const one = Math.min(upScale, downScale);
  const finite = (/** @type {number} */ scale) => (Number.isFinite(scale) ? scale : 0);
  return {
    width,
    height,
    narrow,
    left,
    right,
    top,
    up,
    down,
    bottom: height - 4,
    upperAxis: top + up,
    lowerAxis: top + up + SPINE,
    receivedScale: finite(ownScale ? upScale : one),
    sentScale: finite(ownScale ? downScale : one),
  };
}

/**
 * Heights in pixels: `floor[i]` below a layer and `size[i]` of it, for every layer.
 * @param {Layer[]} layers
 * @param {Side} side
 * @param {number} scale
 * @param {number} count
 */
function stacked(layers, side, scale, count) {
  const floor = new Float64Array(count);
  const sums = new Float64Array(count);
  const largest = new Int32Array(count).fill(-1);
  layers.forEach((layer, j) => {
    for (let i = 0; i < count; i += 1) {
      const rate = layer[side][i];
      sums[i] += rate * scale;
      if (rate > 0 && (largest[i] < 0 || rate > layers[largest[i]][side][i])) {
        largest[i] = j;
      }
    }
  });
  return layers.map((layer, j) => {
    const below = Float64Array.from(floor);
    const size = new Float64Array(count);
    for (let i = 0; i < count; i += 1) {
      const small = largest[i] >= 0 && sums[i] < LEAST;
      size[i] = small ? (largest[i] === j ? LEAST : 0) : layer[side][i] * scale;
      floor[i] += size[i];
    }
    return { floor: below, size };
  });
}

/**
 * A stepped outline; stretches without anything are left out.
 * @param {number[]} xs edges of the drawn parts in pixels
 * @param {Heights} heights
 * @param {number} axis
 * @param {1 | -1} direction 1 is upwards
 */
function outline(xs, { floor, size }, axis, direction) {
  let path = '';
  let outer = '';
  /** @type {string[]} */
  let inner = [];
  const close = () => {
    if (outer) {
      path += `M${outer.slice(1)}${inner.reverse().join('')}Z`;
      outer = '';
      inner = [];
    }
  };
  for (let i = 0; i < size.length; i += 1) {
    if (size[i] < 0.05) {
      close();
    } else {
      const from = xs[i].toFixed(1);
      const to = xs[i + 1].toFixed(1);
      const far = (axis - direction * (floor[i] + size[i])).toFixed(1);
      const near = (axis - direction * floor[i]).toFixed(1);
      outer += `L${from} ${far}L${to} ${far}`;
      inner.push(`L${to} ${near}L${from} ${near}`);
    }
  }
  close();
  return path;
}

/**
 * Where a layer is high enough over the width of its name.
 * @param {Layer} layer
 * @param {Heights} heights
 * @param {number[]} xs
 */
function nameSpot(layer, { floor, size }, xs) {
  const need = textWidth(layer.name, 11, 600) + 14;
  const each = xs[1] - xs[0];
  const wide = Math.ceil(need / each);
  // A name of any length covers few parts, because none is narrower than four pixels.
  if (!layer.name || wide > size.length || need > 220) {
    return null;
  }
  let best = { room: 15, x: 0, offset: 0 };
  for (let i = 0; i + wide <= size.length; i += 1) {
    if (size[i] > best.room) {
      let low = 0;
      let high = Number.POSITIVE_INFINITY;
      for (let j = i; j < i + wide && high - low > best.room; j += 1) {
        low = Math.max(low, floor[j]);
        high = Math.min(high, floor[j] + size[j]);
      }
      if (high - low > best.room) {
        best = { room: high - low, x: (xs[i] + xs[i + wide]) / 2, offset: (low + high) / 2 };
      }
    }
  }
  return best.x > 0 ? best : null;
}

/**
 * @param {{received: number[], sent: number[]}} before
 * @param {number[]} xs
 * @param {Box} box
 */
function linesBefore(before, xs, box) {
  const line = (
    /** @type {number[]} */ values,
    /** @type {number} */ axis,
    /** @type {number} */ scale,
    limit = 0,
  ) =>
    values
      .map((value, i) => {
        const y = (axis - Math.sign(limit) * Math.min(value * scale, Math.abs(limit))).toFixed(1);
        return `${i ? 'L' : 'M'}${xs[i].toFixed(1)} ${y}L${xs[i + 1].toFixed(1)} ${y}`;
      })
      .join('');
  return [
    line(before.received, box.upperAxis, box.receivedScale, box.up),
    line(before.sent, box.lowerAxis, box.sentScale, -box.down),
  ];
}

/**
 * The lines of the rates, with y and the rate.
 * @param {Box} box
 * @param {import('../lib/format.js').Units} unit
 */
function rateTicks(box, unit) {
  const ticks = [];
  for (const [scale, height, axis, direction] of [
    [box.receivedScale, box.up, box.upperAxis, -1],
    [box.sentScale, box.down, box.lowerAxis, 1],
  ]) {
    if (scale > 0) {
      const step = byteStep(Math.max(box.up / 4.4, 34) / scale, unit);
      for (let rate = step; rate * scale < height - 2; rate += step) {
        const distance = rate * scale;
        ticks.push({
          value: rate,
          y: Math.round(axis + direction * distance) + 0.5,
          named: box.narrow || distance > 34,
        });
      }
    }
  }
  return ticks;
}

/** @param {ModelOptions} options */
export function buildModel({
  answer,
  dimension,
  width,
  height,
  hasMarks,
  ownScale,
  unit,
  colorOf,
  nameOf,
  ago,
}) {
  const { edges } = answer;
  const since = edges[0];
  const until = edges[edges.length - 1];
  const parts = drawnParts(edges, Math.floor((width - (width < 560 ? 0 : 80)) / NARROWEST));
  const layers = layersOf(answer, dimension, parts, colorOf, nameOf);
  const total = ratesOf(answer.total, parts);
  const peakReceived = total.received.reduce((a, b) => Math.max(a, b), 0);
  const peakSent = total.sent.reduce((a, b) => Math.max(a, b), 0);
  const box = geometry(width, height, hasMarks, peakReceived, peakSent, ownScale);
  const x = (/** @type {number} */ time) =>
    box.left + ((time - since) / Math.max(1, until - since)) * (box.right - box.left);
  const xs = [...parts.map((part) => x(part.begin)), x(until)];
  const upward = stacked(layers, 'received', box.receivedScale, parts.length);
  const downward = stacked(layers, 'sent', box.sentScale, parts.length);
  const opacity = sentOpacity();
  const shapes = layers.map((layer, j) => {
    const received = nameSpot(layer, upward[j], xs);
    const sent = nameSpot(layer, downward[j], xs);
    const names = [];
    if (received) {
      names.push({ x: received.x, y: box.upperAxis - received.offset + 4, ink: inkOn(layer.colour, 1) });
    }
    // Once is enough if the layer is as good as invisible on the other side; both are named if both are large.
    if (sent) {
      names.push({ x: sent.x, y: box.lowerAxis + sent.offset + 4, ink: inkOn(layer.colour, opacity) });
    }
    return {
      layer,
      names,
      received: outline(xs, upward[j], box.upperAxis, 1),
      sent: outline(xs, downward[j], box.lowerAxis, -1),
    };
  });
  return {
    box,
    since,
    until,
    now: answer.now,
    ago: Boolean(ago),
    earliest: answer.extent ? answer.extent[0] : since,
    parts,
    layers,
    total,
    peakReceived,
    peakSent,
    xs,
    x,
    shapes,
    before: answer.before ? linesBefore(ratesOf(answer.before, parts), xs, box) : [],
    rateTicks: rateTicks(box, unit),
    timeTicks: ago
      ? agoTicks(since, until)
      : timeTicks(since, until, (box.right - box.left) / (box.narrow ? 76 : 104)),
    losses: lossesByPart(answer, parts),
    away: answer.away ?? [],
  };
}

/**
 * What each drawn part has lost, by kind.
 * @param {SeriesAnswer} answer
 * @param {Part[]} parts
 */
function lossesByPart(answer, parts) {
  /** @type {Map<number, {part: Part, kinds: Map<string, number>, sentences: Set<string>}>} */
  const found = new Map();
  const fold = parts.length > 0 ? parts[0].last - parts[0].first + 1 : 1;
  for (const loss of answer.losses ?? []) {
    const index = Math.floor(loss.part / fold);
    const part = parts[index];
    if (part && isMissing(loss)) {
      const entry = found.get(index) ?? { part, kinds: new Map(), sentences: new Set() };
      entry.kinds.set(loss.kind, (entry.kinds.get(loss.kind) ?? 0) + loss.count);
      entry.sentences.add(loss.text);
      found.set(index, entry);
    }
  }
  return [...found.values()];
}

/**
 * The drawn part under an x in pixels.
 * @param {Model} model
 * @param {number} x
 */
export function partAt(model, x) {
  let low = 0;
  let high = model.parts.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (model.xs[middle] <= x) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

/**
 * The layer under a point, `null` outside of all.
 * @param {Model} model
 * @param {number} index of the drawn part
 * @param {number} y
 */
export function layerAt(model, index, y) {
  const { box } = model;
  const isAbove = y < box.upperAxis;
  if (!isAbove && y < box.lowerAxis) {
    return null;
  }
  let distance = isAbove ? (box.upperAxis - y) / box.receivedScale : (y - box.lowerAxis) / box.sentScale;
  for (const layer of model.layers) {
    distance -= (isAbove ? layer.received : layer.sent)[index];
    if (distance < 0) {
      return layer;
    }
  }
  return null;
}
