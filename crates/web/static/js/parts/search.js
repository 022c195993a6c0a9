/** The search of the header: over all values of the last 30 days, grouped by what they are; the keyboard goes through them. */
import { get } from '../lib/api.js';
import { dimensionPlural, valueLink, valueText } from '../lib/dimensions.js';
import { bytes } from '../lib/format.js';
import { cls, html, signal, useEffect, useRef, useState } from '../lib/html.js';
import { useShortcuts } from '../lib/keys.js';
import { link, navigate, ZONE } from '../lib/state.js';
import { Icon } from './icons.js';
import { Swatch, slotColor } from './identity.js';

/** On a narrow screen the field is an icon until it is wanted. */
export const searching = signal(false);

/** @param {string} text */
function useResults(text) {
  const [answer, setAnswer] = useState(/** @type {any} */ (null));
  useEffect(() => {
    if (!text) {
      setAnswer(null);
      return undefined;
    }
    const abort = new AbortController();
    const timer = setTimeout(() => {
      get('search', { q: text, range: '30d', zone: ZONE }, abort.signal).then(
        (data) => setAnswer({ ...data, text }),
        () => {},
      );
    }, 120);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [text]);
  return answer;
}

/** @param {any} answer @returns {{dimension: string, value: any, row: any, href: string}[]} */
const flat = (answer) =>
  (answer?.results ?? []).flatMap((/** @type {any} */ part) =>
    part.rows.map((/** @type {any} */ row) => ({
      dimension: part.dimension,
      value: row[part.dimension],
      row,
      href: valueLink(part.dimension, row[part.dimension], false),
    })),
  );

/** @param {{answer: any, items: ReturnType<typeof flat>, active: number, id: string, onTake: (href: string) => void}} props */
function Results({ answer, items, active, id, onTake }) {
  let last = '';
  return html`
    <div class="popup results" role="listbox" id=${id} aria-label="Found">
      ${!items.length && html`<p class="dim-t none">Nothing of the last 30 days contains “${answer.text}”.</p>`}
      ${items.map((item, i) => {
        const said = valueText(item.dimension, item.value, answer.labels);
        const head = item.dimension !== last && dimensionPlural(item.dimension);
        const number = answer.results.find(
          (/** @type {any} */ part) => part.dimension === item.dimension,
        ).row_count;
        last = item.dimension;
        return html`
          ${head && html`<div class="famh" role="presentation" key=${`h${head}`}>${head}${number > 5 && ` · ${number}`}</div>`}
          <a key=${item.href} id=${`${id}-${i}`} role="option" aria-selected=${String(i === active)} class=${cls('found', i === active && 'on')}
            href=${item.href} tabindex="-1" onClick=${(/** @type {MouseEvent} */ event) => {
              if (event.ctrlKey || event.metaKey || event.shiftKey) return;
              event.preventDefault();
              onTake(item.href);
            }}>
            ${item.dimension === 'exe' && html`<${Swatch} color=${slotColor(answer.slots[item.value])} />`}
            <b class="ell">${said.text}</b><span class="dim-t ell">${said.aside}</span>
            <span class="grow"></span><span class="dim-t">${bytes(item.row.received + item.row.sent)}</span>
          </a>
        `;
      })}
    </div>
  `;
}

export function Search() {
  const [text, setText] = useState('');
  const [active, setActive] = useState(0);
  const [open, setOpen] = useState(false);
  const field = useRef(/** @type {HTMLInputElement | null} */ (null));
  const answer = useResults(text.trim());
  const items = flat(answer);
  useShortcuts([{ key: '/', text: 'Search', run: () => focus() }], []);
  const focus = () => {
    searching.value = true;
    // At once, so that what is typed next is not taken for shortcuts; on a narrow screen the field is only drawn now.
    field.current?.focus();
    if (document.activeElement !== field.current) requestAnimationFrame(() => field.current?.focus());
  };
  const close = () => {
    setOpen(false);
    searching.value = false;
    field.current?.blur();
  };
  /** @param {string} href */
  const take = (href) => {
    setText('');
    close();
    navigate(href);
  };
  /** @param {KeyboardEvent} event */
  const onKey = (event) => {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (step && items.length) {
      event.preventDefault();
      setActive((old) => (old + step + items.length) % items.length);
    } else if (event.key === 'Enter' && text.trim()) {
      event.preventDefault();
      take(
        answer?.text === text.trim() && items[active]
          ? items[active].href
          : link('explore', { where: null, exclude: null, find: text.trim() }),
      );
    } else if (event.key === 'Escape') {
      event.preventDefault();
      if (text) setText('');
      else close();
    }
  };
  return html`
    <button class="iconb search-open" type="button" aria-label="Search" title="Search  /" onClick=${focus}><${Icon} name="search" /></button>
    <div class=${cls('search-host', searching.value && 'open')} role="search"
      onFocusOut=${(/** @type {FocusEvent} */ event) => {
        const host = /** @type {HTMLElement} */ (event.currentTarget);
        if (!host.contains(/** @type {Node | null} */ (event.relatedTarget))) close();
      }}>
      <label class="search">
        <${Icon} name="search" />
        <input type="search" ref=${field} placeholder="Program, peer or port" aria-label="Search everything" value=${text}
          role="combobox" aria-expanded=${String(open && Boolean(answer))} aria-controls="found" aria-autocomplete="list" autocomplete="off"
          aria-activedescendant=${open && items[active] ? `found-${active}` : undefined} spellcheck="false"
          onFocus=${() => setOpen(true)} onKeyDown=${onKey}
          onInput=${(/** @type {Event} */ event) => {
            setText(/** @type {HTMLInputElement} */ (event.currentTarget).value);
            setActive(0);
            setOpen(true);
          }} />
        <kbd aria-hidden="true">/</kbd>
      </label>
      ${open && answer && html`<${Results} answer=${answer} items=${items} active=${active} id="found" onTake=${take} />`}
    </div>
  `;
}
