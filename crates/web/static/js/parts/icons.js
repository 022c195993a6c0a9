/** The icons of the page, drawn on 16 by 16, and the mark of picosnitch. */
import { html } from '../lib/html.js';

const PATHS = {
  search: 'M7 2.5a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9Zm3.4 7.9 3.1 3.1',
  theme: 'M8 2.2a5.8 5.8 0 1 0 0 11.6 5.8 5.8 0 0 0 0-11.6Z',
  prev: 'M10 3 5 8l5 5',
  next: 'M6 3l5 5-5 5',
  x: 'm4.5 4.5 7 7m0-7-7 7',
  down: 'm4 6.2 4 4 4-4',
  plus: 'M8 3v10M3 8h10',
  minus: 'M3 8h10',
  pause: 'M5.5 3.5v9m5-9v9',
  play: 'M5 3.2 12.5 8 5 12.8Z',
  calendar: 'M2.5 4h11v9.5h-11ZM2.5 7h11M5.5 2.2V4m5-1.8V4',
  go: 'M3 8h9.5M9 4.5 12.5 8 9 11.5',
  ok: 'm3.5 8.4 3 3 6-6.6',
  copy: 'M5.5 5.5h8v8h-8ZM10.5 5.5v-3h-8v8h3',
  filter: 'M2.5 4h11M4.5 8h7M6.5 12h3',
};

/** @typedef {keyof typeof PATHS} IconName */

/** @param {{name: IconName}} props */
export const Icon = ({ name }) => html`
  <svg class="ic" viewBox="0 0 16 16" aria-hidden="true">
    <path d=${PATHS[name]} fill="none" />
    ${name === 'theme' && html`<path d="M8 2.2a5.8 5.8 0 0 1 0 11.6Z" />`}
  </svg>
`;

const BARS = [
  [3, 5, 3],
  [8, 9, 5],
  [13, 6, 8],
  [18, 3, 4],
];

export const Brand = () => html`
  <svg class="brand-mark" viewBox="0 0 24 24" aria-hidden="true">
    ${BARS.map(
      ([x, up, down]) => html`
        <rect x=${x} y=${11 - up} width="3" height=${up} />
        <rect class="dn" x=${x} y="13" width="3" height=${down} />
      `,
    )}
  </svg>
`;
