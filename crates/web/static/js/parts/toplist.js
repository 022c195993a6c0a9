/** A list of the largest values of a dimension, as the columns of the overview and of the pages of a program have them. */
import { useAnswer } from '../lib/answer.js';
import { dimensionPlural, isProgram } from '../lib/dimensions.js';
import { grouped } from '../lib/format.js';
import { html, useMemo } from '../lib/html.js';
import { filterText, otherFilters, question } from '../lib/state.js';
import { Bytes } from './figures.js';
import { Ident, MirrorBar, slotColor } from './identity.js';
import { Figures } from './states.js';

/** Dimensions of the other side: coloured by the program that uses them most. */
const OTHER_SIDE = new Set(['domain', 'address', 'country', 'port', 'network', 'asn']);

/** @typedef {{slot: number, country: string | null, countries: number}} Dominant */

/**
 * The program that uses each value most, and the country of a domain: a second question, only about the rows that are shown.
 * @param {string} dimension @param {any[]} rows @param {import('../lib/api.js').Params} params
 * @returns {Map<any, Dominant>}
 */
export function useDominant(dimension, rows, params) {
  const wanted = OTHER_SIDE.has(dimension) && rows.length > 0;
  const country = dimension === 'domain' || dimension === 'address';
  const others = otherFilters(params.where, dimension);
  const { data } = useAnswer(wanted ? 'query' : null, {
    ...params,
    where: [...others, ...rows.map((row) => filterText(dimension, row[dimension]))],
    group_by: country ? [dimension, 'exe', 'country'] : [dimension, 'exe'],
    limit: 1000,
  });
  return useMemo(() => {
    /** @type {Map<any, Dominant>} */
    const found = new Map();
    for (const row of data?.rows ?? []) {
      const old = found.get(row[dimension]);
      if (!old)
        found.set(row[dimension], {
          slot: data?.slots[row.exe] ?? 0,
          country: row.country ?? null,
          countries: 1,
        });
      else if (row.country && row.country !== old.country) old.countries++;
    }
    return found;
  }, [data, dimension]);
}

/**
 * One line of a list.
 * @param {{dimension: string, row: any, max: number, color: string, labels: any, badge?: any, aside?: string, dominant?: boolean,
 *   onLift?: (value: string | null) => void}} props
 */
export function ListRow({ dimension, row, max, color, labels, badge, aside, onLift }) {
  const value = row[dimension];
  return html`
    <li class="lrow prow" data-dimension=${dimension} data-value=${value ?? ''}
      onPointerEnter=${onLift && (() => onLift(String(value ?? '')))} onPointerLeave=${onLift && (() => onLift(null))}>
      <${Ident} dimension=${dimension} value=${value} color=${color} labels=${labels} badge=${badge} aside=${aside} />
      <${Bytes} value=${row.received} />
      <${Bytes} value=${row.sent} />
      <${MirrorBar} received=${row.received} sent=${row.sent} max=${max} color=${color} />
    </li>
  `;
}

/**
 * @param {{dimension: string, second?: string, sort?: string | null, params?: import('../lib/api.js').Params, limit?: number, more?: string,
 *   badgeOf?: (value: any) => any, colorOf?: (value: any) => string | null, onLift?: (value: string | null) => void}} props
 */
export function TopList({
  dimension,
  second,
  sort,
  params = {},
  limit = 10,
  more,
  badgeOf,
  colorOf,
  onLift,
}) {
  const asked = { ...question.value, ...params };
  const answer = useAnswer('query', {
    ...asked,
    group_by: second ? [dimension, second] : dimension,
    sort,
    limit,
  });
  const { data } = answer;
  const rows = data?.rows ?? [];
  const dominant = useDominant(dimension, colorOf ? [] : rows, asked);
  const max = Math.max(1, ...rows.map((row) => Math.max(row.received, row.sent)));
  /** What is dimmed beside the value; undefined is the usual. @param {any} row */
  const asideOf = (row) => {
    if (second) return [data?.labels?.[dimension]?.[row[dimension]], row[second]].filter(Boolean).join(' ');
    if (dimension !== 'domain' && dimension !== 'address') return undefined;
    return (row[dimension] && dominant.get(row[dimension])?.country) || '';
  };
  /** @param {any} value */
  const color = (value) =>
    colorOf?.(value) ?? slotColor(isProgram(dimension) ? data?.slots[value] : dominant.get(value)?.slot);
  return html`
    <${Figures} answer=${answer} rows=${limit}>
      <ul>
        ${rows.map(
          (row) => html`
            <${ListRow} key=${`${row[dimension]} ${second ? row[second] : ''}`} dimension=${dimension} row=${row} max=${max} color=${color(row[dimension])}
              labels=${data?.labels} badge=${badgeOf?.(row[dimension])} onLift=${onLift} aside=${asideOf(row)} />
          `,
        )}
      </ul>
      ${data && !data.row_count && html`<p class="note nothing">None in the range.</p>`}
    <//>
    ${
      more &&
      data &&
      data.row_count > rows.length &&
      html`<a class="more" href=${more}>All ${grouped(data.row_count)} ${dimensionPlural(dimension)}</a>`
    }
  `;
}
