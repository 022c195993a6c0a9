/** Charts and figures as files: an SVG that stands alone, the same as PNG, and text. */
import { visible } from '../lib/html.js';
import { rgbOf } from './paint.js';

const NAMESPACE = 'http://www.w3.org/2000/svg';
/** What the style sheets decide about an element of a chart. */
const PROPERTIES = [
  'fill',
  'fill-opacity',
  'stroke',
  'stroke-width',
  'stroke-opacity',
  'stroke-dasharray',
  'stroke-linejoin',
  'opacity',
  'font-size',
  'font-weight',
  'paint-order',
];
const USUAL = new Map([
  ['fill-opacity', '1'],
  ['stroke', 'none'],
  ['stroke-width', '1px'],
  ['stroke-opacity', '1'],
  ['stroke-dasharray', 'none'],
  ['stroke-linejoin', 'miter'],
  ['opacity', '1'],
  ['paint-order', 'normal'],
]);
const FONT = 'system-ui, "Noto Sans", "DejaVu Sans", sans-serif';
/** Space around the chart, and for its title and source. */
const MARGIN = 24;
const HEAD = 56;
const FOOT = 32;

/** @param {string} value a computed colour or paint */
function plainPaint(value) {
  if (value === 'none' || value.startsWith('url(')) {
    // Chromium writes references with the address of the page.
    return value.replace(/^url\("?[^#]*(#[^")]+)"?\)/, 'url($1)');
  }
  const [red, green, blue] = rgbOf(value);
  return `#${[red, green, blue].map((part) => part.toString(16).padStart(2, '0')).join('')}`;
}

/**
 * Copies what the style sheets give to an element into attributes of its copy, and so for all below it.
 * @param {Element} from
 * @param {Element} to
 */
function resolve(from, to) {
  const style = getComputedStyle(from);
  // What moves with the pointer is not part of the picture.
  if (style.display === 'none' || from.matches('.cursor, .selr')) {
    to.remove();
    return;
  }
  const isText = from.localName === 'text' || from.localName === 'tspan';
  for (const name of from.localName === 'g' ? ['opacity'] : PROPERTIES) {
    const value = style.getPropertyValue(name);
    if (value && value !== USUAL.get(name) && (isText || !name.startsWith('font'))) {
      to.setAttribute(name, name === 'fill' || name === 'stroke' ? plainPaint(value) : value);
    }
  }
  for (const name of ['class', 'style', 'role', 'tabindex']) {
    to.removeAttribute(name);
  }
  const copies = [...to.children];
  [...from.children].forEach((child, i) => {
    resolve(child, copies[i]);
  });
}

/**
 * @param {string} text
 * @param {number} x
 * @param {number} y
 * @param {number} size
 * @param {string} fill
 * @param {number} weight
 */
function line(text, x, y, size, fill, weight = 400) {
  const element = document.createElementNS(NAMESPACE, 'text');
  for (const [name, value] of Object.entries({ x, y, fill, 'font-size': size, 'font-weight': weight })) {
    element.setAttribute(name, String(value));
  }
  element.textContent = visible(text);
  return element;
}

/**
 * A chart as a picture of its own.
 * @param {SVGSVGElement} svg
 * @param {{title?: string, detail?: string, source?: string}} [words] title; range and filters; where the figures are from
 */
export function svgText(svg, { title = '', detail = '', source = '' } = {}) {
  const { width, height } = svg.viewBox.baseVal;
  const chart = /** @type {SVGSVGElement} */ (svg.cloneNode(true));
  resolve(svg, chart);
  const picture = document.createElementNS(NAMESPACE, 'svg');
  const wide = Math.ceil(width + 2 * MARGIN);
  const high = Math.ceil(height + HEAD + FOOT);
  picture.setAttribute('xmlns', NAMESPACE);
  picture.setAttribute('viewBox', `0 0 ${wide} ${high}`);
  picture.setAttribute('width', String(wide));
  picture.setAttribute('height', String(high));
  picture.setAttribute('font-family', FONT);
  const paper = document.createElementNS(NAMESPACE, 'rect');
  paper.setAttribute('width', '100%');
  paper.setAttribute('height', '100%');
  paper.setAttribute('fill', plainPaint('var(--paper)'));
  const group = document.createElementNS(NAMESPACE, 'g');
  group.setAttribute('transform', `translate(${MARGIN} ${HEAD})`);
  group.append(...chart.childNodes);
  picture.append(
    paper,
    line(title, MARGIN, 26, 15, plainPaint('var(--ink)'), 600),
    line(detail, MARGIN, 44, 11, plainPaint('var(--ink-2)')),
    group,
    line(source, MARGIN, high - 12, 11, plainPaint('var(--ink-3)')),
  );
  return new XMLSerializer().serializeToString(picture);
}

/**
 * @param {string} name of the file
 * @param {Blob} blob
 */
export function saveBlob(name, blob) {
  const address = URL.createObjectURL(blob);
  const anchor = document.createElement('a');
  anchor.href = address;
  anchor.download = name;
  anchor.click();
  // The browser reads the blob after the click.
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/**
 * @param {string} name of the file
 * @param {string} type for example `text/csv`
 * @param {string} text
 */
export function saveText(name, type, text) {
  saveBlob(name, new Blob([text], { type: `${type};charset=utf-8` }));
}

/**
 * Saves a chart as PNG, twice as fine as on a plain screen.
 * @param {SVGSVGElement} svg
 * @param {string} name of the file
 * @param {{title?: string, detail?: string, source?: string}} [words]
 * @returns {Promise<void>}
 */
export async function savePng(svg, name, words) {
  const address = URL.createObjectURL(new Blob([svgText(svg, words)], { type: 'image/svg+xml' }));
  try {
    const image = new Image();
    image.src = address;
    await image.decode();
    const canvas = document.createElement('canvas');
    canvas.width = image.naturalWidth * 2;
    canvas.height = image.naturalHeight * 2;
    canvas.getContext('2d')?.drawImage(image, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise((/** @type {BlobCallback} */ done) => canvas.toBlob(done, 'image/png'));
    if (!blob) {
      throw new Error('The browser could not draw the picture.');
    }
    saveBlob(name, blob);
  } finally {
    URL.revokeObjectURL(address);
  }
}
