/** What the pages of a program and of a destination share: facts, lists of the other side, family, colours that shade one program. */
import { useAnswer } from '../lib/answer.js';
import { dimensionPlural } from '../lib/dimensions.js';
import { bytes, count, grouped } from '../lib/format.js';
import { cls, html } from '../lib/html.js';
import { change, filterText, link, otherFilters, param, question } from '../lib/state.js';
import { Tabs } from './controls.js';
import { SortHeads, sortOf } from './heads.js';
import { Ident } from './identity.js';
import { Figures } from './states.js';
import { TopList } from './toplist.js';

/**
 * The question of a page about one value: the filters of the address, and this value.
 * @param {string} dimension @param {string} value
 * @returns {import('../lib/api.js').Params}
 */
export function about(dimension, value) {
  const others = otherFilters(question.value.where, dimension);
  return { ...question.value, where: [...others, filterText(dimension, value)] };
}

/** Explore with this value as a filter. @param {string} dimension @param {string} value @param {string | null} [by] @param {string | null} [sort] */
export const exploreLink = (dimension, value, by = null, sort = null) =>
  link('explore', {
    where: /** @type {string[]} */ ([about(dimension, value).where].flat()),
    group_by: by,
    sort,
  });

/** @param {{facts: ([string, unknown] | null | false | undefined)[], stale: boolean}} props */
export const Facts = ({ facts, stale }) => html`
  <dl class=${cls('facts', stale && 'stale')}>
    ${facts.map((fact) => fact && html`<div key=${fact[0]}><dt>${fact[0]}</dt><dd>${fact[1]}</dd></div>`)}
  </dl>
`;

/** Received and sent in words. @param {{received: number, sent: number}} total */
export const moved = ({ received, sent }) =>
  received || sent ? html`<b>${bytes(received)}</b> received, <b>${bytes(sent)}</b> sent` : 'nothing';

/** Shades of one colour by rank: the largest is the colour itself. @param {string} color @param {number} rank @param {number} of */
export function shade(color, rank, of) {
  if (rank < 0) return 'var(--p0)';
  const part = Math.round(100 - (rank * 64) / Math.max(1, of - 1));
  return `color-mix(in oklab, ${color} ${part}%, var(--tint))`;
}

/**
 * A list with tabs for its dimension, kept in the address.
 * @param {{label: string, word: string, list: string[], names?: Record<string, string>, params?: import('../lib/api.js').Params, second?: Record<string, string>,
 *   colorOf?: (dimension: string) => ((value: any) => string | null) | undefined, badgeOf?: (dimension: string) => ((value: any) => any) | undefined,
 *   more: (dimension: string, sort: string | null) => string, limit?: number, liftBy?: string, onLift?: (value: string | null) => void}} props
 *   `onLift` is told of rows of the dimension `liftBy`, which the chart has
 */
export function TabbedList({
  label,
  word,
  list,
  names = {},
  params,
  second = {},
  colorOf,
  badgeOf,
  more,
  limit = 8,
  liftBy,
  onLift,
}) {
  const current = list.includes(param(word)) ? param(word) : list[0];
  /** @param {string} dimension @returns {[string, string]} */
  const tab = (dimension) => {
    const text = names[dimension] ?? dimensionPlural(dimension);
    return [dimension, text[0].toUpperCase() + text.slice(1)];
  };
  return html`
    <section aria-label=${label}>
      <div class="lhead prow">
        <${Tabs} label=${label} tabs=${list.map(tab)} current=${current}
          onChoose=${(/** @type {string} */ key) => change({ [word]: key === list[0] ? null : key })} />
        <${SortHeads} word=${word} />
      </div>
      <${TopList} key=${current} dimension=${current} second=${second[current]} sort=${sortOf(word)} params=${params} limit=${limit} onLift=${current === liftBy ? onLift : undefined}
        colorOf=${colorOf?.(current)} badgeOf=${badgeOf?.(current)} more=${more(current, sortOf(word))} />
    </section>
  `;
}

/**
 * Names with how often they were: parents, children, users, units.
 * @param {{title: string, dimension: string, params: import('../lib/api.js').Params, limit?: number}} props
 */
export function Names({ title, dimension, params, limit = 5 }) {
  const answer = useAnswer('query', { ...params, group_by: dimension, sort: 'conns', limit });
  const { data } = answer;
  const rows = (data?.rows ?? []).filter((row) => row[dimension] !== null && row[dimension] !== '');
  if (data && !rows.length) return null;
  return html`
    <div class="famh">${title}</div>
    <${Figures} answer=${answer} rows=${2}>
      <ul>
        ${rows.map(
          (row) => html`
            <li class="lrow frow" key=${String(row[dimension])} data-dimension=${dimension} data-value=${row[dimension]}>
              <${Ident} dimension=${dimension} value=${row[dimension]} labels=${data?.labels} />
              <span class="num">${count(row.conns)}</span>
            </li>
          `,
        )}
      </ul>
      ${data && data.row_count > limit && html`<span class="dim-t small">and ${grouped(data.row_count - limit)} more ${dimensionPlural(dimension)}</span>`}
    <//>
  `;
}
