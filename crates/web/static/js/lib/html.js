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

/** Characters that a reader cannot see, or that turn the line around: those of the crate `model`, in `text::sanitize`. */
const HOSTILE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;

/** Text as it is shown: what cannot be seen is written as `\x1b` or `\u{202e}`. @param {string} text */
export const visible = (text) =>
  text.replace(HOSTILE, (one) => {
    const code = /** @type {number} */ (one.codePointAt(0));
    return code < 128 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`;
  });

/** For each template, which of its values are shown: text, and what is read aloud or shown on hover. @type {WeakMap<TemplateStringsArray, boolean[]>} */
const shown = new WeakMap();

/**
 * Text in a template is always a text node or an attribute, never markup, and always visible; values in other attributes, as
 * links and keys, stay exact.
 * @type {(strings: TemplateStringsArray, ...values: any[]) => any}
 */
export const html = (strings, ...values) => {
  let which = shown.get(strings);
  if (!which) {
    which = strings.map((before) => !before.endsWith('=') || /\b(title|aria-label)=$/.test(before));
    shown.set(strings, which);
  }
  for (let i = 0; i < values.length; i++)
    if (which[i] && typeof values[i] === 'string') values[i] = visible(values[i]);
  return template(strings, ...values);
};
/** Elements without values are made anew each time: one that htm kept would keep the tree that it was first drawn in, and all later ones. */
const template = htm.bind(
  /** @this {number[]} @param {any[]} args */
  function (...args) {
    this[0] = 3;
    return /** @type {any} */ (h)(...args);
  },
);

/**
 * Joins the class names that apply.
 * @param {...(string | false | null | undefined)} names
 * @returns {string | undefined}
 */
export const cls = (...names) => names.filter(Boolean).join(' ') || undefined;
