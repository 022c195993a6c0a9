/** The help: every key that works here, and the keys that every page has. */
import { html, signal, useEffect, useRef } from '../lib/html.js';
import { listShortcuts, useShortcuts } from '../lib/keys.js';
import {
  addFilter,
  change,
  exact,
  filters,
  link,
  navigate,
  PRESETS,
  removeFilter,
  setPreset,
} from '../lib/state.js';
import { toggleTheme } from '../lib/theme.js';
import { toggleCompare, toggleInternet } from './controls.js';
import { NAV } from './header.js';
import { Icon } from './icons.js';
import { move } from './rangebar.js';

export const helpOpen = signal(false);

/** The value of the row that has the focus, or holds it. */
function focusedRow() {
  const row = document.activeElement?.closest('[data-dimension]');
  if (!(row instanceof HTMLElement)) return null;
  return { dimension: row.dataset.dimension ?? '', value: row.dataset.value ?? '' };
}

/** @param {boolean} exclude */
function filterByFocus(exclude) {
  const row = focusedRow();
  if (row) addFilter(row.dimension, exact(row.value), exclude);
}

const CHART = [
  ['← →', 'Move through the chart'],
  ['Shift ← →', 'Mark a range in the chart'],
  ['Enter', 'Zoom into it'],
];

/** The shortcuts of every page. */
export function useCommonShortcuts() {
  useShortcuts(
    [
      ...NAV.map(([name, text, key]) => ({
        key: `g ${key ?? name[0]}`,
        text,
        run: () => navigate(link(name)),
      })),
      { key: '[', text: 'Earlier', run: () => move(-1) },
      { key: ']', text: 'Later', run: () => move(1) },
      ...PRESETS.map((preset, i) => ({
        key: String(i),
        text: `Range ${preset}`,
        run: () => setPreset(preset),
      })),
      {
        key: 'y',
        text: 'Yesterday',
        run: () => change({ range: 'yesterday', since: null, until: null }),
      },
      { key: 't', text: 'Light or dark', run: toggleTheme },
      { key: 'c', text: 'Compare with the period before', run: toggleCompare },
      { key: 'i', text: 'Internet only', run: toggleInternet },
      { key: 'x', text: 'Exclude the focused row', run: () => filterByFocus(true) },
      { key: 'Enter', text: 'Filter by the focused row', run: () => filterByFocus(false) },
      {
        key: 'Backspace',
        text: 'Remove the last filter',
        run: () => {
          const last = filters.value.at(-1);
          if (last) removeFilter(last);
        },
      },
      {
        key: 'Escape',
        text: 'Close, or clear the text that is looked for',
        run: () => {
          if (new URLSearchParams(location.search).has('find')) change({ find: null });
        },
      },
      {
        key: '?',
        text: 'This list',
        run: () => {
          helpOpen.value = true;
        },
      },
    ],
    [],
  );
}

/** @param {string} key */
const keyText = (key) => ({ Escape: 'Esc', Backspace: '⌫' })[key] ?? key;

export function Help() {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => {
    if (helpOpen.value) dialog.current?.showModal();
    else dialog.current?.close();
  }, [helpOpen.value]);
  const close = () => {
    helpOpen.value = false;
  };
  const ranges = listShortcuts().filter((one) => !/^[0-6]$/.test(one.key));
  return html`
    <dialog class="help" ref=${dialog} aria-label="Keyboard" onClose=${close}
      onClick=${(/** @type {Event} */ event) => event.target === dialog.current && close()}>
      <div class="helpbox">
        <div class="monthhead"><h2>Keyboard</h2><span class="grow"></span>
          <button class="iconb" type="button" aria-label="Close" onClick=${close}><${Icon} name="x" /></button></div>
        <dl>
          ${[
            ...ranges.map((one) => [keyText(one.key), one.text]),
            ['0 – 6', 'Range of 15 min to 1 y'],
            ...CHART,
          ].map(
            ([key, text]) =>
              html`<div key=${key + text}><dt>${key.split(' ').map((part) => html`<kbd>${part}</kbd> `)}</dt><dd>${text}</dd></div>`,
          )}
        </dl>
      </div>
    </dialog>
  `;
}
