/** Figures and times on the page: the unit dimmed in a column of its own, the exact value on hover. */
import { ago, bytesParts, count, DOT, exactBytes, fullTime, rateParts } from '../lib/format.js';
import { html } from '../lib/html.js';

/** Bytes. @param {{value: number | null | undefined}} props */
export function Bytes({ value }) {
  const [figure, unit] = bytesParts(value ?? 0);
  return html`<span class="n" title=${value ? exactBytes(value) : 'none'}><i>${figure}</i><u>${unit}</u></span>`;
}

/** Bytes per second. @param {{value: number}} props */
export function Rate({ value }) {
  const [figure, unit] = rateParts(value);
  return html`<span class="n r"><i>${figure}</i><u>${unit}</u></span>`;
}

/** A count; zero is a dot. @param {{value: number | null | undefined}} props */
export const Count = ({ value }) => html`<span>${count(value)}</span>`;

/**
 * A moment: said by `as` (relative unless told), exact on hover.
 * @param {{time: number | null | undefined, as?: (time: number) => string}} props
 */
export const When = ({ time, as = ago }) =>
  time
    ? html`<time datetime=${new Date(time * 1000).toISOString()} title=${fullTime(time)}>${as(time)}</time>`
    : html`<span>${DOT}</span>`;
