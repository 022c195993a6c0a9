/** Small controls: tabs, switches, a menu that opens below its button. */
import { cls, html, useEffect, useLayoutEffect, useRef, useState } from '../lib/html.js';
import { change, compare, scope } from '../lib/state.js';
import { Icon } from './icons.js';

/**
 * Tabs; arrows move between them.
 * @param {{label: string, tabs: [string, string][], current: string, onChoose: (key: string) => void, scroll?: boolean}} props
 */
export function Tabs({ label, tabs, current, onChoose, scroll }) {
  const list = useRef(/** @type {HTMLElement | null} */ (null));
  const [over, setOver] = useState(false);
  // Tabs that do not fit fade at the edge, so that it is seen that there are more.
  useLayoutEffect(() => {
    const element = list.current;
    if (!element) return undefined;
    const measure = () => setOver(element.scrollWidth > element.clientWidth + element.scrollLeft + 1);
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    element.addEventListener('scroll', measure);
    return () => observer.disconnect();
  }, []);
  /** @param {KeyboardEvent} event */
  const onKey = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const at = tabs.findIndex(([key]) => key === current);
    const next = (at + step + tabs.length) % tabs.length;
    onChoose(tabs[next][0]);
    requestAnimationFrame(() =>
      /** @type {HTMLElement | undefined} */ (list.current?.children[next])?.focus(),
    );
  };
  return html`
    <div ref=${list} class=${cls('tabs', scroll && 'scroll', over && 'over')} role="tablist" aria-label=${label} onKeyDown=${onKey}>
      ${tabs.map(
        ([key, text]) => html`
          <button type="button" role="tab" key=${key} aria-selected=${String(key === current)}
            tabindex=${key === current ? 0 : -1} onClick=${() => onChoose(key)}>${text}</button>
        `,
      )}
    </div>
  `;
}

/** @param {{on: boolean, onChange: (on: boolean) => void, title?: string, children?: unknown}} props */
export const Switch = ({ on, onChange, title, children }) => html`
  <button class="switch" type="button" role="switch" aria-checked=${String(on)} title=${title}
    onClick=${() => onChange(!on)}>
    <span class="knob"></span>${children}
  </button>
`;

export const toggleCompare = () =>
  change({ compare: compare.value ? null : 'previous', sort: null, reverse: null });
export const toggleInternet = () => change({ scope: scope.value === 'internet' ? null : 'internet' });

export const CompareSwitch = () => html`
  <${Switch} on=${compare.value} onChange=${toggleCompare} title="Beside the same length of time before  c">
    <span>Compare<span class="wide"> with the period before</span></span>
  <//>
`;
export const InternetSwitch = () => html`
  <${Switch} on=${scope.value === 'internet'} onChange=${toggleInternet}
    title="Leave out this machine, the local network and multicast  i">Internet only<//>
`;

/**
 * Opens something below a button; Esc and a click elsewhere close it.
 * @returns {{open: boolean, setOpen: (open: boolean) => void, host: {current: HTMLElement | null}}}
 */
export function usePopup() {
  const [open, setOpen] = useState(false);
  const host = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    if (!open) return undefined;
    /** @param {Event} event */
    const outside = (event) => {
      if (event.target instanceof Node && !host.current?.contains(event.target)) setOpen(false);
    };
    /** @param {KeyboardEvent} event */
    const onEscape = (event) => {
      if (event.key !== 'Escape') return;
      event.preventDefault();
      setOpen(false);
      host.current?.querySelector('button')?.focus();
    };
    document.addEventListener('pointerdown', outside);
    document.addEventListener('focusin', outside);
    document.addEventListener('keydown', onEscape, true);
    return () => {
      document.removeEventListener('pointerdown', outside);
      document.removeEventListener('focusin', outside);
      document.removeEventListener('keydown', onEscape, true);
    };
  }, [open]);
  return { open, setOpen, host };
}

/**
 * A button with a list of things to do or choose.
 * @param {{label: unknown, title?: string, quiet?: boolean, items: {text: string, note?: string, current?: boolean, run: () => void}[]}} props
 */
export function Menu({ label, title, quiet, items }) {
  const { open, setOpen, host } = usePopup();
  /** @param {KeyboardEvent} event */
  const onKey = (event) => {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!step || !open) return;
    event.preventDefault();
    const list = [...(host.current?.querySelectorAll('[role^=menuitem]') ?? [])];
    const at = list.indexOf(/** @type {Element} */ (document.activeElement));
    /** @type {HTMLElement | undefined} */ (list[(at + step + list.length) % list.length])?.focus();
  };
  return html`
    <span class="popup-host" ref=${host} onKeyDown=${onKey}>
      <button class=${cls('btn', quiet && 'quiet')} type="button" title=${title} aria-haspopup="menu"
        aria-expanded=${String(open)} onClick=${() => setOpen(!open)}>${label}<${Icon} name="down" /></button>
      ${
        open &&
        html`
          <div class="popup menu" role="menu">
            ${items.map(
              (item) => html`
                <button type="button" key=${item.text} role=${item.current === undefined ? 'menuitem' : 'menuitemradio'}
                  aria-checked=${item.current === undefined ? undefined : String(item.current)}
                  onClick=${() => {
                    setOpen(false);
                    item.run();
                  }}>
                  <span>${item.text}</span>${item.note && html`<span class="dim-t">${item.note}</span>`}
                </button>
              `,
            )}
          </div>
        `
      }
    </span>
  `;
}
