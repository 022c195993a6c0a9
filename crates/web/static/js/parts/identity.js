/** Identity is a line of text: swatch, name in weight, path dimmed and shortened in the middle, badges if they say something. */
import { valueLink, valueText } from '../lib/dimensions.js';
import { cls, html } from '../lib/html.js';

/** @param {number | undefined} slot @returns {string} */
export const slotColor = (slot) => `var(--p${slot && slot >= 1 && slot <= 8 ? slot : 0})`;

/** @param {{color: string, big?: boolean}} props */
export const Swatch = ({ color, big }) =>
  html`<span class=${cls('sw', big && 'big')} style=${{ background: color }} aria-hidden="true"></span>`;

/** A path whose last part stays when there is no room. @param {{path: string}} props */
export function Path({ path }) {
  const at = path.lastIndexOf('/');
  if (at < 1) return html`<span class="path" title=${path}><span class="tail">${path}</span></span>`;
  return html`
    <span class="path" title=${path}>
      <span class="head">${path.slice(0, at)}</span><span class="tail">${path.slice(at)}</span>
    </span>
  `;
}

/** @param {{kind?: 'new' | 'wrong' | '', children?: unknown}} props */
export const Badge = ({ kind, children }) => html`<span class=${cls('badge', kind)}>${children}</span>`;

/**
 * A value of any dimension as one line.
 * @param {{dimension: string, value: import('../lib/dimensions.js').DimValue, color?: string | null,
 *   labels?: import('../lib/dimensions.js').Labels, badge?: {kind: 'new' | 'wrong' | '', text: string} | null,
 *   aside?: string, href?: string}} props
 */
export function Ident({ dimension, value, color, labels, badge, aside, href }) {
  const said = valueText(dimension, value, labels);
  const beside = aside ?? said.aside;
  const path = beside.startsWith('/');
  return html`
    <span class="ident">
      ${color && html`<${Swatch} color=${color} />`}
      <a class=${cls('name', (value === null || value === '') && 'none')} href=${href ?? valueLink(dimension, value)}
        title=${value === null || value === '' ? undefined : String(value)}>${said.text}</a>
      ${path ? html`<${Path} path=${beside} />` : beside && html`<span class="cc">${beside}</span>`}
      ${badge && html`<${Badge} kind=${badge.kind}>${badge.text}<//>`}
    </span>
  `;
}

/**
 * The hairline under a row is its axis: received lies on it, sent hangs below it.
 * @param {{received: number, sent: number, max: number, color: string}} props
 */
export function MirrorBar({ received, sent, max, color }) {
  /** @param {number} value */
  const width = (value) => (value && max ? `${Math.max(0.6, (value / max) * 100)}%` : '0');
  return html`
    <span class="mbar" aria-hidden="true">
      <span style=${{ width: width(received), background: color }}></span>
      <span style=${{ width: width(sent), background: color }}></span>
    </span>
  `;
}
