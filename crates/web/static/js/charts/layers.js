/** The layers of the area chart: windows summed until they are wide enough, order and colours of the stack. */

/** @import { ColorOf, Counts, Layer, NameOf, Part, SeriesAnswer, Value } from './types.js' */

/** The key of the layer of everything else; no value of an answer has a control character. */
export const OTHER = '\u0000other';

/**
 * The key of a group's layer: what `lifted` is compared with.
 * @param {Value | undefined} value
 */
export const layerKey = (value) => (value === null || value === undefined ? '' : String(value));

/**
 * Sums neighbouring parts until none is narrower than it may be.
 * @param {number[]} edges
 * @param {number} most how many parts have room
 * @returns {Part[]}
 */
export function drawnParts(edges, most) {
  const count = edges.length - 1;
  const fold = Math.max(1, Math.ceil(count / Math.max(1, most)));
  const parts = [];
  for (let first = 0; first < count; first += fold) {
    const last = Math.min(count, first + fold) - 1;
    parts.push({ begin: edges[first], end: edges[last + 1], first, last });
  }
  return parts;
}

/**
 * Bytes a second in each drawn part. A part that is not over is divided by its whole length: it is a sum so far.
 * @param {number[] | undefined} bytes
 * @param {Part[]} parts
 */
function rates(bytes, parts) {
  return parts.map((part) => {
    let sum = 0;
    for (let i = part.first; i <= part.last; i += 1) {
      sum += bytes?.[i] ?? 0;
    }
    return sum / Math.max(1, part.end - part.begin);
  });
}

/** @param {Counts | null | undefined} counts @param {Part[]} parts */
export const ratesOf = (counts, parts) => ({
  received: rates(counts?.received, parts),
  sent: rates(counts?.sent, parts),
});

/** @param {string} dimension */
const isProgram = (dimension) => /^g?p?exe$/.test(dimension);

/**
 * @param {string} dimension
 * @param {Value} value
 * @param {SeriesAnswer} answer
 */
function plainName(dimension, value, answer) {
  const label = answer.labels?.[dimension]?.[layerKey(value)];
  if (value === null || value === '') {
    return 'unknown';
  }
  const text = String(value);
  if (isProgram(dimension)) {
    return text.slice(text.lastIndexOf('/') + 1) || text;
  }
  return label ? `${text} ${label}` : text;
}

/**
 * Puts no two layers of one colour next to each other if another order avoids it; the largest stays at the axis.
 * @param {Layer[]} layers largest first
 */
function arranged(layers) {
  const left = [...layers];
  /** @type {Layer[]} */
  const result = [];
  while (left.length > 0) {
    const previous = result[result.length - 1];
    const index = previous ? left.findIndex((layer) => layer.colour !== previous.colour) : 0;
    result.push(...left.splice(Math.max(0, index), 1));
  }
  return result;
}

/** @param {Layer[]} layers @param {'received' | 'sent'} side @param {number} i */
const sumAt = (layers, side, i) => layers.reduce((sum, layer) => sum + layer[side][i], 0);

/**
 * Shades a layer that still touches one of its own colour somewhere, because those between them are empty there.
 * @param {Layer[]} layers in the order of the stack
 */
function shadeNeighbours(layers) {
  const shades = layers.map(() => 0);
  const count = layers[0]?.received.length ?? 0;
  // A layer that is thinner than about a pixel parts nothing.
  const peaks = Array.from({ length: count }, (_, i) =>
    Math.max(sumAt(layers, 'received', i), sumAt(layers, 'sent', i)),
  );
  const least = peaks.reduce((a, b) => Math.max(a, b), 0) / 240;
  for (let pass = 0; pass < 2; pass += 1) {
    for (const side of /** @type {const} */ (['received', 'sent'])) {
      for (let i = 0; i < count; i += 1) {
        let below = -1;
        for (let j = 0; j < layers.length; j += 1) {
          if (layers[j][side][i] > least) {
            if (below >= 0 && layers[j].colour === layers[below].colour && shades[j] === shades[below]) {
              shades[j] = (shades[j] + 1) % 3;
            }
            below = j;
          }
        }
      }
    }
  }
  const mixtures = ['', 'var(--ink) 34%', 'var(--paper) 38%'];
  return layers.map((layer, i) =>
    shades[i] ? { ...layer, colour: `color-mix(in oklab, ${layer.colour}, ${mixtures[shades[i]]})` } : layer,
  );
}

/**
 * The layers from the axis outwards.
 * @param {SeriesAnswer} answer
 * @param {string | null | undefined} dimension
 * @param {Part[]} parts
 * @param {ColorOf | undefined} colorOf
 * @param {NameOf | undefined} nameOf
 * @returns {Layer[]}
 */
export function layersOf(answer, dimension, parts, colorOf, nameOf) {
  const isGrouped = Boolean(dimension) && answer.groups.length > 0;
  const groups = answer.groups.map((group, i) => {
    const value = dimension ? (group[dimension] ?? null) : null;
    const slot =
      answer.slots?.[layerKey(value)] ?? (answer.slots && isProgram(dimension ?? '') ? 0 : (i % 8) + 1);
    return {
      value,
      key: layerKey(value),
      name: nameOf ? nameOf(value) : plainName(dimension ?? '', value, answer),
      colour: colorOf?.(value, slot) || `var(--p${slot})`,
      ...ratesOf(group, parts),
    };
  });
  const layers = shadeNeighbours(arranged(groups));
  const rest = ratesOf(isGrouped ? answer.other : answer.total, parts);
  if (rest.received.some((rate) => rate > 0) || rest.sent.some((rate) => rate > 0)) {
    const colour = isGrouped ? 'var(--p0)' : colorOf?.(null, 0) || 'var(--p0)';
    layers.push({ value: null, key: OTHER, name: isGrouped ? 'everything else' : '', colour, ...rest });
  }
  return layers;
}
