/** Templates, hooks and signals: the one place from which the page takes its library. */

import htm from '../vendor/htm.js';
import { Fragment, h, render } from '../vendor/preact.js';

export {
  useCallback,
  useEffect,
  useErrorBoundary,
  useId,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
} from '../vendor/hooks.js';
export {
  batch,
  computed,
  effect,
  signal,
  untracked,
  useComputed,
  useSignal,
  useSignalEffect,
} from '../vendor/signals.js';
export { Fragment, h, render };

/** @typedef {import('../vendor/preact.js').VNode} VNode */
/** @typedef {import('../vendor/preact.js').Child} Child */

/** Text in a template is always a text node or an attribute, never markup. */
export const html = htm.bind(h);

/**
 * Joins the class names that apply.
 * @param {...(string | false | null | undefined)} names
 * @returns {string | undefined}
 */
export const cls = (...names) => names.filter(Boolean).join(' ') || undefined;
