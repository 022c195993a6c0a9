/** Keyboard shortcuts: one listener; pages add their own while they are shown. */
import { useEffect } from './html.js';

/** @typedef {{key: string, text: string, run: (event: KeyboardEvent) => void, where?: string}} Shortcut */

/** Shortcuts in the order they were added; the last of a key wins. @type {Shortcut[]} */
const shortcuts = [];
/** A first key of two, as the g of "g o". */
let pending = '';
/** @type {ReturnType<typeof setTimeout> | undefined} */
let forget;

/** All shortcuts that work now, for the help. */
export const listShortcuts = () => [...shortcuts];

/** @param {EventTarget | null} target */
const typing = (target) =>
  target instanceof Element &&
  target.closest('input:not([type=checkbox]), textarea, select, [contenteditable]') !== null;

/** @param {KeyboardEvent} event */
function onKey(event) {
  if (event.defaultPrevented || event.metaKey || event.ctrlKey || event.altKey) return;
  // An open dialog has the keyboard for itself.
  if (document.querySelector('dialog[open]')) return;
  if (typing(event.target) && event.key !== 'Escape') return;
  const name = event.key === ' ' ? 'Space' : event.key;
  const wanted = pending ? `${pending} ${name}` : name;
  pending = '';
  clearTimeout(forget);
  const found = shortcuts.findLast((one) => one.key === wanted);
  if (found) {
    // Space and Enter do what they always do on a control that has the focus.
    const control = event.target instanceof Element && event.target.closest('button, a[href], summary');
    if (control && (name === 'Space' || name === 'Enter')) return;
    event.preventDefault();
    found.run(event);
    return;
  }
  if (shortcuts.some((one) => one.key.startsWith(`${name} `))) {
    pending = name;
    forget = setTimeout(() => {
      pending = '';
    }, 1500);
  }
}

/**
 * Adds shortcuts and returns how to remove them.
 * @param {Shortcut[]} list
 */
export function addShortcuts(list) {
  shortcuts.push(...list);
  return () => {
    for (const one of list) shortcuts.splice(shortcuts.indexOf(one), 1);
  };
}

/**
 * Shortcuts while a component is shown.
 * @param {Shortcut[]} list
 * @param {readonly unknown[]} inputs what the functions of the list depend on
 */
export function useShortcuts(list, inputs) {
  useEffect(() => addShortcuts(list), inputs);
}

export function startKeys() {
  addEventListener('keydown', onKey);
}
