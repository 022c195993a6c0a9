/** The search of the header: over all values of the last 30 days, grouped by what they are; the keyboard goes through them. */
import { get } from '../lib/api.js';
import { dimensionPlural, valueLink, valueText } from '../lib/dimensions.js';
import { bytes } from '../lib/format.js';
import { cls, html, signal, useEffect, useMemo, useRef, useState } from '../lib/html.js';
import { useShortcuts } from '../lib/keys.js';
import { navigate, params, ZONE } from '../lib/state.js';
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
      const asked = { range: '30d', zone: ZONE };
      // The five largest that contain a number need not have the port itself.
      const port = /^\d{1,5}$/.test(text)
        ? get('query', { ...asked, where: `port=${text}`, group_by: 'port', limit: 1 }, abort.signal)
        : null;
      Promise.all([get('search', { ...asked, q: text }, abort.signal), port]).then(
        ([data, one]) => setAnswer({ ...withPort(data, one), text }),
        (error) => abort.signal.aborted || setAnswer({ text, error: error.text }),
      );
    }, 120);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [text]);
  return answer;
}

/** The answer with a port that is not among its largest. @param {any} data @param {any} one answer about this port */
function withPort(data, one) {
  const row = one?.rows?.[0];
  const ports = data.results.find((/** @type {any} */ part) => part.dimension === 'port');
  if (!row || ports?.rows.some((/** @type {any} */ other) => other.port === row.port)) return data;
  const part = { dimension: 'port', row_count: ports?.row_count ?? 1, rows: [row, ...(ports?.rows ?? [])] };
  const others = data.results.filter((/** @type {any} */ other) => other !== ports);
  return {
    ...data,
    results: [...others, part],
    labels: { ...data.labels, port: { ...data.labels?.port, ...one.labels?.port } },
  };
}

/** @typedef {{dimension: string, value: any, row: any, rank: number, size: number, href: string}} Item */

/** 0: it is what was typed, 1: it begins with it, 2: it contains it. @param {string[]} names @param {string} text */
function rankOf(names, text) {
  const wanted = text.toLowerCase();
  const words = names.map((name) => name.toLowerCase());
  if (words.includes(wanted)) return 0;
  return words.some((word) => word.startsWith(wanted)) ? 1 : 2;
}

/** @param {Item} a @param {Item} b */
const better = (a, b) => a.rank - b.rank || b.size - a.size;

/** What was found: exact matches first, then each dimension, that of the best match first. @param {any} answer @returns {Item[]} */
function flat(answer) {
  /** @type {Item[][]} */
  const parts = (answer?.results ?? []).map((/** @type {any} */ { dimension, rows }) =>
    rows
      .map((/** @type {any} */ row) => {
        const value = row[dimension];
        const said = valueText(dimension, value, answer.labels);
        return {
          dimension,
          value,
          row,
          rank: rankOf([String(value ?? ''), said.text, said.aside], answer.text),
          size: row.received + row.sent,
          href: valueLink(dimension, value, false),
        };
      })
      .sort(better),
  );
  // In the order of the answer: a program comes before its process name, which is moved the same.
  const exact = parts.flatMap((part) => part.filter((item) => item.rank === 0));
  const rest = parts.map((part) => part.filter((item) => item.rank > 0)).filter((part) => part.length > 0);
  return [...exact, ...rest.sort((a, b) => better(a[0], b[0])).flat()];
}

/** @param {{answer: any, items: ReturnType<typeof flat>, active: number, id: string, onTake: (href: string) => void}} props */
function Results({ answer, items, active, id, onTake }) {
  let last = '';
  return html`
    <div class="popup results" role="listbox" id=${id} aria-label="Found">
      ${!items.length && html`<p class="dim-t none" role="status">${answer.error ?? `Nothing of the last 30 days contains “${answer.text}”.`}</p>`}
      ${items.map((item, i) => {
        const said = valueText(item.dimension, item.value, answer.labels);
        const group = `${item.rank === 0 ? 'exact ' : ''}${item.dimension}`;
        const head = group !== last && dimensionPlural(item.dimension, item.rank === 0 ? 1 : 2);
        const number = answer.results.find(
          (/** @type {any} */ part) => part.dimension === item.dimension,
        ).row_count;
        last = group;
        return html`
          ${head && html`<div class="famh" role="presentation" key=${`h${head}`}>${head}${item.rank > 0 && number > 5 && ` · ${number}`}</div>`}
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
  /** Enter was faster than the answer: the text it was pressed for. */
  const hurried = useRef('');
  const field = useRef(/** @type {HTMLInputElement | null} */ (null));
  const answer = useResults(text.trim());
  const items = useMemo(() => flat(answer), [answer, params.value]);
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
  useEffect(() => {
    if (open && answer && hurried.current === answer.text && items[0]) take(items[0].href);
    hurried.current = '';
  }, [answer]);
  /** @param {KeyboardEvent} event */
  const onKey = (event) => {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (step && items.length) {
      event.preventDefault();
      setActive((old) => (old + step + items.length) % items.length);
    } else if (event.key === 'Enter' && text.trim()) {
      event.preventDefault();
      if (answer?.text !== text.trim()) hurried.current = text.trim();
      else if (items[active]) take(items[active].href);
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
