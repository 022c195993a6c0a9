/** The flows of a Sankey: the largest programs, destinations and ports, and everything else, so that every sum is exact. */
import { REST } from '../charts/sankey_model.js';
import { dataOf, useAnswer } from './answer.js';
import { countryName, valueText } from './dimensions.js';
import { useMemo, useRef } from './html.js';
import { differingDirectories } from './same_names.js';
import { filterText } from './state.js';

/** @import { End, Flow } from '../charts/types.js' */
/** @typedef {Record<string, any>} Row of an answer */

export const TOP_PROGRAMS = 9;
/** How many nodes a column has besides everything else. */
const MOST = [TOP_PROGRAMS, 11, 7];
const OTHERS = ['other programs', 'other destinations', 'other ports'];

/** What the log has for addresses that belong to no country. @type {Record<string, string>} */
const PLACES = {
  loopback: 'This machine',
  private: 'Private network',
  'link-local': 'Local link',
  'carrier NAT': 'Network of the provider',
  multicast: 'Multicast',
  broadcast: 'Broadcast',
};

/** @param {string | null} country */
export const isCountry = (country) => /^[A-Z]{2}$/.test(country ?? '');

/** A country, or the words for addresses that belong to none. @param {string | null} country */
export function placeName(country) {
  if (!country) return 'Unknown country';
  return isCountry(country)
    ? countryName(country)
    : (PLACES[country] ?? country[0].toUpperCase() + country.slice(1));
}

/** The key of a value; null has a key of its own, which is not that of everything else. @param {unknown} value */
export const flowKey = (value) => `=${value ?? ''}`;
/** What is sent in a filter for a key. @param {string} key */
export const keyValue = (key) => key.slice(1);

/** @param {string} dimension @param {any[]} rows */
const filtersOf = (dimension, rows) => rows.map((row) => filterText(dimension, row[dimension]));

/**
 * A question about only these values; a filter that is set already leaves fewer.
 * @param {import('./api.js').Params} asked
 * @param {Record<string, any[]>} only by dimension
 */
function narrowed(asked, only) {
  const where = [asked.where]
    .flat()
    .filter((one) => !Object.keys(only).some((name) => String(one ?? '').startsWith(`${name}=`)));
  for (const [dimension, rows] of Object.entries(only)) where.push(...filtersOf(dimension, rows));
  return { ...asked, where };
}

/** The columns that are grouped by in the second questions; the first ones are about one column each. */
const PAIRS = [
  [0, 1],
  [0, 2],
  [1, 2],
  [0, 1, 2],
];

/**
 * The answers of which flows are made: the largest of each column, then what these have with each other.
 * @param {import('./api.js').Params} asked
 * @param {string[]} dimensions program, destination, port
 */
export function useFlows(asked, dimensions) {
  const top = dimensions.map((dimension, i) =>
    useAnswer('query', { ...asked, group_by: dimension, limit: MOST[i] }),
  );
  // Sums of different questions do not fit each other, and the second questions are about the answers to these.
  const rows = top.map((answer) => dataOf(answer)?.rows);
  const isThere = rows.every((found) => found && found.length > 0);
  const together = PAIRS.map((columns) => {
    const only = Object.fromEntries(columns.map((column) => [dimensions[column], rows[column] ?? []]));
    return useAnswer(isThere ? 'query' : null, {
      ...narrowed(asked, only),
      group_by: Object.keys(only),
      limit: 5000,
    });
  });
  const answers = [...top, ...together];
  const last = useRef(/** @type {Flow[] | null} */ (null));
  const flows = useMemo(() => {
    if (rows.some((found) => found?.length === 0)) return [];
    if (!isThere || !together.every(dataOf)) return null;
    /** @type {[number[], Row[]][]} */
    const tables = [
      [[], [top[0].data?.total]],
      ...rows.map((found, i) => /** @type {[number[], Row[]]} */ ([[i], found])),
      ...together.map(({ data }, i) => /** @type {[number[], Row[]]} */ ([PAIRS[i], data?.rows])),
    ];
    const labels = { ...top[1].data?.labels, ...top[2].data?.labels };
    return flowsOf(dimensions, /** @type {Row[][]} */ (rows), tables, labels, top[0].data?.slots ?? {});
  }, answers.map(dataOf));
  const error = answers.find((answer) => answer.error) ?? null;
  // The picture before stays, faded, while the next one is awaited.
  if (flows || error) last.current = flows;
  return {
    flows: last.current,
    error,
    stale: !flows && answers.some((answer) => answer.slow),
    range: dataOf(top[0])?.range,
  };
}

/**
 * @param {string[]} dimensions
 * @param {Row[][]} tops the largest values of each column
 * @param {[number[], Row[]][]} tables sums of the largest values of some columns, over all values of the others
 * @param {any} labels
 * @param {Record<string, number>} slots
 * @returns {Flow[]}
 */
export function flowsOf(dimensions, tops, tables, labels, slots) {
  /** @type {Map<string, {keys: string[], received: number, sent: number}>} */
  const sums = new Map();
  // What a program has with others is what it has in all, less what it has with those that are shown: each sum is added
  // where it belongs, and taken from where "everything else" would have it twice.
  for (const [columns, rows] of tables) {
    for (const row of rows) {
      for (let without = 0; without < 1 << columns.length; without++) {
        const keys = [REST, REST, REST];
        let sign = 1;
        columns.forEach((column, bit) => {
          if (without & (1 << bit)) sign = -sign;
          else keys[column] = flowKey(row[dimensions[column]]);
        });
        const name = keys.join('\n');
        const sum = sums.get(name) ?? { keys, received: 0, sent: 0 };
        sum.received += sign * row.received;
        sum.sent += sign * row.sent;
        sums.set(name, sum);
      }
    }
  }
  const names = dimensions.map(
    (dimension, i) => new Map(tops[i].map((row) => [flowKey(row[dimension]), row[dimension]])),
  );
  const directories = differingDirectories(tops[0].map((row) => row[dimensions[0]] ?? ''));
  const end = (/** @type {string} */ found, /** @type {number} */ column) => {
    if (found === REST) return { key: REST, text: OTHERS[column], color: 'var(--p0)' };
    const value = names[column].get(found) ?? null;
    const said = valueText(dimensions[column], value, labels);
    const directory = column === 0 && directories.get(value);
    const beside = dimensions[column] === 'port' ? said.aside : directory ? `(${directory})` : '';
    const text = beside ? `${said.text} ${beside}` : said.text;
    const color = column === 0 ? `var(--p${slots[value] ?? 0})` : 'var(--ink-3)';
    return { key: found, text: dimensions[column] === 'country' ? placeName(value) : text, color };
  };
  // The answers may be of moments that are seconds apart, so a difference may be a little below nothing.
  const flows = [...sums.values()]
    .map(({ keys, received, sent }) => ({
      ends: /** @type {[End, End, End]} */ (keys.map(end)),
      received: Math.max(0, received),
      sent: Math.max(0, sent),
    }))
    .filter((flow) => flow.received + flow.sent > 0);
  colourDestinations(flows);
  return flows;
}

/** A destination has the colour of the program that uses it most. @param {Flow[]} flows */
function colourDestinations(flows) {
  /** @type {Map<string, {size: number, color: string}>} */
  const most = new Map();
  for (const { ends, received, sent } of flows) {
    const old = most.get(ends[1].key);
    if (!old || received + sent > old.size)
      most.set(ends[1].key, { size: received + sent, color: ends[0].color });
  }
  for (const { ends } of flows) {
    if (ends[1].key !== REST) ends[1].color = most.get(ends[1].key)?.color ?? 'var(--p0)';
  }
}
