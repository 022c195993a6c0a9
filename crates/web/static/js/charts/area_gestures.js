/** The ways into the area chart: pointer, wheel, touch and keys move a cursor and choose a range. */
import { useEffect, useRef, useState } from '../lib/html.js';
import { layerAt, partAt } from './area_model.js';
import { layerKey } from './layers.js';

/** @import { Hands, Model, Point, Range, Ref, Selection } from './types.js' */

/** A range is not made shorter than this by zooming, in seconds. */
const SHORTEST = 60;
/** A wheel that was already scrolling the page when the chart came under it goes on scrolling. */
const SCROLLING = 400;
/** Who zoomed with the wheel just now means the chart, also with a turn towards the reader; else that scrolls the page. */
const ZOOMING = 10_000;
/** The wheel has stopped after this. */
const WHEEL_REST = 160;
let scrolled = 0;
addEventListener(
  'scroll',
  () => {
    scrolled = performance.now();
  },
  { passive: true },
);

/**
 * @param {Model} model
 * @param {number} index
 * @param {number | null} y
 * @returns {Point}
 */
export function pointAt(model, index, y) {
  const part = model.parts[index];
  const layer = y === null ? null : layerAt(model, index, y);
  return {
    since: part.begin,
    until: part.end,
    seconds: part.end - part.begin,
    received: model.total.received[index],
    sent: model.total.sent[index],
    first: part.first,
    last: part.last,
    open: part.begin <= model.now && part.end > model.now,
    layer: layer && {
      key: layer.key ?? layerKey(layer.value),
      name: layer.name,
      received: layer.received[index],
      sent: layer.sent[index],
    },
  };
}

/**
 * The range after turning the wheel or pinching: the time at `x` stays where it is.
 * @param {Range} range
 * @param {number} share place of the fixed point in the range, 0 to 1
 * @param {number} factor below 1 is closer
 * @param {Model} model
 */
function scaled(range, share, factor, model) {
  const length = range.until - range.since;
  const wanted = Math.max(SHORTEST, length * factor);
  const fixed = range.since + share * length;
  const since = Math.max(fixed - share * wanted, Math.min(model.since, model.earliest));
  const until = Math.min(fixed + (1 - share) * wanted, Math.max(model.until, model.now));
  return { since: Math.round(since), until: Math.round(until) };
}

/**
 * @param {Ref<Model | null>} models
 * @param {Ref<SVGSVGElement | null>} svg
 * @param {Ref<Hands>} hands
 */
function useWheel(models, svg, hands) {
  const state = useRef(/** @type {{range: Range, timer: number} | null} */ (null));
  const zoomed = useRef(Number.NEGATIVE_INFINITY);
  const [preview, setPreview] = useState(/** @type {Range | null} */ (null));
  useEffect(() => () => clearTimeout(state.current?.timer), []);
  const onWheel = (/** @type {WheelEvent} */ event) => {
    const model = models.current;
    const isDeliberate = event.ctrlKey || event.metaKey || document.activeElement === svg.current;
    if (!model || !svg.current || !hands.current.onZoom || event.deltaY === 0 || event.shiftKey) {
      return;
    }
    const now = performance.now();
    if (
      !isDeliberate &&
      (now - scrolled < SCROLLING || (event.deltaY > 0 && now - zoomed.current > ZOOMING))
    ) {
      return;
    }
    const range = state.current?.range ?? { since: model.since, until: model.until };
    const x = event.clientX - svg.current.getBoundingClientRect().left;
    const share = Math.min(1, Math.max(0, (x - model.box.left) / (model.box.right - model.box.left)));
    // One notch is 100 pixels, or 3 lines; a touchpad sends many small ones.
    const pixels = event.deltaMode === 0 ? event.deltaY : event.deltaY * 33;
    const next = scaled(range, share, Math.exp(Math.max(-240, Math.min(240, pixels)) / 300), model);
    if (next.since === range.since && next.until === range.until) {
      // All there is is shown: the page may scroll on.
      return;
    }
    event.preventDefault();
    zoomed.current = now;
    clearTimeout(state.current?.timer);
    const timer = setTimeout(() => {
      state.current = null;
      setPreview(null);
      hands.current.onZoom?.(next.since, next.until - 1);
    }, WHEEL_REST);
    state.current = { range: next, timer: Number(timer) };
    setPreview(next);
  };
  return { onWheel, preview, setPreview };
}

/** @param {number} a @param {number} b */
const distance = (a, b) => Math.max(24, Math.abs(a - b));

/**
 * Two fingers: what was under them stays under them.
 * @param {Ref<Model | null>} models
 * @param {Ref<Hands>} hands
 * @param {(range: Range | null) => void} setPreview
 */
function usePinch(models, hands, setPreview) {
  const fingers = useRef(/** @type {Map<number, number>} */ (new Map())).current;
  const start = useRef(/** @type {{a: number, b: number, range: Range} | null} */ (null));
  return {
    /** Whether this finger is the second one. @param {PointerEvent} event @param {number} x */
    begin: (event, x) => {
      const now = models.current;
      fingers.set(event.pointerId, x);
      if (fingers.size !== 2 || !now) {
        return false;
      }
      const [a, b] = fingers.values();
      start.current = { a, b, range: { since: now.since, until: now.until } };
      return true;
    },
    /** Whether two fingers are down. @param {PointerEvent} event @param {number} x */
    move: (event, x) => {
      const now = models.current;
      if (fingers.has(event.pointerId)) {
        fingers.set(event.pointerId, x);
      }
      if (!now || !start.current || fingers.size < 2) {
        return start.current !== null;
      }
      const [a, b] = fingers.values();
      const from = start.current;
      const middle = ((from.a + from.b) / 2 - now.box.left) / (now.box.right - now.box.left);
      const factor = distance(from.a, from.b) / distance(a, b);
      from.range = scaled({ since: now.since, until: now.until }, middle, factor, now);
      setPreview(from.range);
      return true;
    },
    /** Whether two fingers were down. @param {PointerEvent} event */
    end: (event) => {
      fingers.delete(event.pointerId);
      const pinched = start.current;
      if (pinched && fingers.size === 0) {
        start.current = null;
      } else if (pinched && event.type === 'pointerup') {
        hands.current.onZoom?.(pinched.range.since, pinched.range.until - 1);
      }
      if (pinched) {
        setPreview(null);
      }
      return pinched !== null;
    },
  };
}

/**
 * @param {Model | null} model
 * @param {Ref<SVGSVGElement | null>} svg
 * @param {Hands} given
 */
export function useGestures(model, svg, given) {
  const hands = useRef(given);
  hands.current = given;
  const models = useRef(model);
  models.current = model;
  const [cursor, setCursor] = useState(/** @type {number | null} */ (null));
  const [selection, setSelection] = useState(/** @type {Selection | null} */ (null));
  const { onWheel, preview, setPreview } = useWheel(models, svg, hands);
  const drag = useRef(/** @type {{index: number, x: number} | null} */ (null));
  const pinch = usePinch(models, hands, setPreview);
  const last = useRef(/** @type {string} */ (''));

  const show = (/** @type {number | null} */ index, /** @type {number | null} */ y = null) => {
    const now = models.current;
    if (!now) {
      return;
    }
    const point = index === null ? null : pointAt(now, Math.min(index, now.parts.length - 1), y);
    const said = `${index} ${point?.layer?.key}`;
    setCursor(index);
    if (said !== last.current) {
      last.current = said;
      hands.current.onPoint?.(point ? point.first : null, point);
    }
  };
  const zoomTo = (/** @type {Selection} */ chosen) => {
    const now = models.current;
    setSelection(null);
    if (now) {
      const from = now.parts[Math.min(chosen.from, chosen.to)];
      const to = now.parts[Math.max(chosen.from, chosen.to)];
      // Both ends of a range are included.
      hands.current.onZoom?.(from.begin, to.end - 1);
    }
  };
  const place = (/** @type {PointerEvent} */ event) => {
    const rectangle = /** @type {SVGSVGElement} */ (svg.current).getBoundingClientRect();
    return { x: event.clientX - rectangle.left, y: event.clientY - rectangle.top };
  };
  const end = (/** @type {PointerEvent} */ event) => {
    const start = drag.current;
    drag.current = null;
    if (pinch.end(event)) {
      setSelection(null);
    } else if (event.type === 'pointerup' && start && selection && Math.abs(place(event).x - start.x) > 5) {
      zoomTo(selection);
    } else {
      setSelection(null);
    }
  };
  const handlers = {
    onWheel,
    onPointerDown: (/** @type {PointerEvent} */ event) => {
      if (!models.current || event.button !== 0) {
        return;
      }
      const { x } = place(event);
      svg.current?.setPointerCapture(event.pointerId);
      setSelection(null);
      drag.current = pinch.begin(event, x) ? null : { index: partAt(models.current, x), x };
    },
    onPointerMove: (/** @type {PointerEvent} */ event) => {
      if (!models.current) {
        return;
      }
      const { x, y } = place(event);
      if (pinch.move(event, x)) {
        return;
      }
      const index = partAt(models.current, x);
      show(index, y);
      if (drag.current && hands.current.onZoom && Math.abs(x - drag.current.x) > 5) {
        setSelection({ from: drag.current.index, to: index });
      }
    },
    onPointerUp: end,
    onPointerCancel: end,
    onPointerLeave: () => {
      if (!drag.current) {
        show(null);
      }
    },
    // A double click must not mark a word below the chart.
    onMouseDown: (/** @type {MouseEvent} */ event) => {
      if (event.detail > 1) {
        event.preventDefault();
      }
    },
    onDblClick: (/** @type {MouseEvent} */ event) => {
      if (models.current && svg.current) {
        const at = partAt(models.current, event.clientX - svg.current.getBoundingClientRect().left);
        zoomTo({ from: at, to: at });
      }
    },
    onBlur: () => {
      setSelection(null);
      show(null);
    },
    onKeyDown: (/** @type {KeyboardEvent} */ event) =>
      keyDown(event, { models, cursor, selection, show, setSelection, zoomTo, hands }),
  };
  return { cursor, selection, preview, handlers };
}

/**
 * @param {KeyboardEvent} event
 * @param {object} parts
 * @param {Ref<Model | null>} parts.models
 * @param {number | null} parts.cursor
 * @param {Selection | null} parts.selection
 * @param {(index: number | null) => void} parts.show
 * @param {(selection: Selection | null) => void} parts.setSelection
 * @param {(selection: Selection) => void} parts.zoomTo
 * @param {Ref<Hands>} parts.hands
 */
function keyDown(event, { models, cursor, selection, show, setSelection, zoomTo, hands }) {
  const count = models.current?.parts.length ?? 0;
  if (count === 0 || event.ctrlKey || event.metaKey || event.altKey) {
    return;
  }
  const at = cursor ?? count - 1;
  const big = Math.max(1, Math.round(count / 12));
  const steps = /** @type {Record<string, number>} */ ({
    ArrowLeft: at - (cursor === null ? 0 : 1),
    ArrowRight: at + (cursor === null ? 0 : 1),
    PageUp: at - big,
    PageDown: at + big,
    Home: 0,
    End: count - 1,
  });
  if (event.key in steps) {
    const next = Math.max(0, Math.min(count - 1, steps[event.key]));
    setSelection(event.shiftKey ? { from: selection?.from ?? at, to: next } : null);
    show(next);
  } else if (event.key === 'Enter') {
    zoomTo(selection ?? { from: at, to: at });
  } else if (event.key === 'Backspace') {
    setSelection(null);
    hands.current.onZoom?.(null);
  } else if (event.key === 'Escape' && (selection || cursor !== null)) {
    setSelection(null);
    show(null);
  } else {
    return;
  }
  // The page has keys of its own for some of these.
  event.preventDefault();
  event.stopPropagation();
}
