/** Colours and widths as they are really painted, so that lettering on a layer can be read; the size and theme of a chart. */
import { useEffect, useLayoutEffect, useState, visible } from '../lib/html.js';

/** @type {CanvasRenderingContext2D | null | undefined} */
let context;
/** @type {Map<string, number[]>} */
const colours = new Map();
/** @type {Map<string, number>} */
const widths = new Map();
/** @type {Set<(version: number) => void>} */
const listeners = new Set();
let themeVersion = 0;

function canvas() {
  if (context === undefined) {
    const element = document.createElement('canvas');
    element.width = 1;
    element.height = 1;
    context = element.getContext('2d', { willReadFrequently: true });
  }
  return context;
}

/**
 * Red, green, blue of a CSS colour, which may use variables and mixtures.
 * @param {string} css
 * @returns {number[]} three numbers of 0 to 255
 */
export function rgbOf(css) {
  const known = colours.get(css);
  if (known) {
    return known;
  }
  const probe = document.createElement('span');
  probe.style.color = css;
  probe.hidden = true;
  document.body.append(probe);
  const computed = getComputedStyle(probe).color;
  probe.remove();
  const drawing = canvas();
  let rgb = [128, 128, 128];
  if (drawing) {
    // A canvas understands every notation that the browser computes, such as oklab().
    drawing.clearRect(0, 0, 1, 1);
    drawing.fillStyle = computed;
    drawing.fillRect(0, 0, 1, 1);
    rgb = [...drawing.getImageData(0, 0, 1, 1).data.slice(0, 3)];
  }
  if (colours.size > 500) {
    colours.clear();
  }
  colours.set(css, rgb);
  return rgb;
}

/** @param {number[]} rgb */
function luminance(rgb) {
  const [red, green, blue] = rgb.map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

/**
 * Black or white, whichever reads better on a colour that lies on the paper.
 * @param {string} css
 * @param {number} opacity
 */
export function inkOn(css, opacity) {
  const paper = rgbOf('var(--paper)');
  const light = luminance(rgbOf(css).map((value, i) => value * opacity + paper[i] * (1 - opacity)));
  return 1.05 / (light + 0.05) > (light + 0.05) / 0.056 ? '#ffffff' : '#0e1113';
}

/** The opacity of the layers of sent bytes. */
export function sentOpacity() {
  const value = getComputedStyle(document.documentElement).getPropertyValue('--sent-opacity');
  return Number.parseFloat(value) || 0.62;
}

/**
 * Width of a text in pixels.
 * @param {string} text
 * @param {number} size in pixels
 * @param {number} weight
 */
export function textWidth(text, size = 11, weight = 400) {
  const key = `${weight} ${size} ${text}`;
  const known = widths.get(key);
  if (known !== undefined) {
    return known;
  }
  const drawing = canvas();
  let width = text.length * size * 0.58;
  if (drawing) {
    drawing.font = `${weight} ${size}px ${getComputedStyle(document.body).fontFamily}`;
    width = drawing.measureText(text).width;
  }
  if (widths.size > 2000) {
    widths.clear();
  }
  // What another program chose may be long.
  if (text.length < 200) {
    widths.set(key, width);
  }
  return width;
}

/**
 * A text as it is shown, not wider than `room`: its middle is left out.
 * @param {string} raw
 * @param {number} room
 * @param {number} size
 * @param {number} weight
 */
export function shortened(raw, room, size = 11, weight = 400) {
  const text = visible(raw);
  if (textWidth(text, size, weight) <= room) {
    return text;
  }
  let low = 0;
  let high = text.length;
  const cut = (/** @type {number} */ kept) =>
    `${text.slice(0, Math.ceil(kept / 2))}…${kept > 1 ? text.slice(-Math.floor(kept / 2)) : ''}`;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (textWidth(cut(middle), size, weight) <= room) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low === 0 ? '' : cut(low);
}

function themeChanged() {
  themeVersion += 1;
  colours.clear();
  for (const listener of listeners) {
    listener(themeVersion);
  }
}
new MutationObserver(themeChanged).observe(document.documentElement, {
  attributes: true,
  attributeFilter: ['data-theme'],
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', themeChanged);

/** A number that changes with the theme. */
export function useThemeVersion() {
  const [version, setVersion] = useState(themeVersion);
  useEffect(() => {
    listeners.add(setVersion);
    setVersion(themeVersion);
    return () => {
      listeners.delete(setVersion);
    };
  }, []);
  return version;
}

/**
 * The width of an element, 0 until it is on the page.
 * @param {{current: Element | null}} element
 */
export function useWidth(element) {
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const watched = element.current;
    if (!watched) {
      return undefined;
    }
    const measure = () => setWidth(Math.floor(watched.getBoundingClientRect().width));
    measure();
    // Drawing inside of the callback could change the size again, so it waits for the next frame.
    const observer = new ResizeObserver(() => requestAnimationFrame(measure));
    observer.observe(watched);
    return () => observer.disconnect();
  }, []);
  return width;
}
