/** The rows of a question by program, destination and port as flows of a Sankey whose sums are those of the answer. */
import { REST } from '../charts/sankey_model.js';
import { valueText } from './dimensions.js';

/** @import { End, Flow } from '../charts/types.js' */

/** How many nodes a column has besides everything else. */
const MOST = [9, 11, 7];
const OTHERS = ['other programs', 'other destinations', 'other ports'];

/** The key of a value; a value that is null has a key of its own, which is not that of everything else. @param {unknown} value */
export const flowKey = (value) => `=${value ?? ''}`;
/** What is sent in a filter for a key. @param {string} key */
export const keyValue = (key) => key.slice(1);

/**
 * The keys with most bytes of a dimension.
 * @param {any[]} rows
 * @param {string} dimension
 * @param {number} most
 */
function largest(rows, dimension, most) {
  /** @type {Map<string, number>} */
  const sums = new Map();
  for (const row of rows) {
    const key = flowKey(row[dimension]);
    sums.set(key, (sums.get(key) ?? 0) + row.received + row.sent);
  }
  const sorted = [...sums].filter(([, sum]) => sum > 0).sort((a, b) => b[1] - a[1]);
  // One node more is better than "everything else" with one member.
  return new Set(sorted.slice(0, sorted.length === most + 1 ? most + 1 : most).map(([key]) => key));
}

/**
 * @param {any} answer of /query, grouped by `dimensions`
 * @param {string[]} dimensions program, destination, port
 * @returns {Flow[]}
 */
export function flowsOf(answer, dimensions) {
  const tops = dimensions.map((dimension, i) => largest(answer.rows, dimension, MOST[i]));
  /** @type {Map<string, Flow>} */
  const flows = new Map();
  const add = (/** @type {End[]} */ ends, /** @type {number} */ received, /** @type {number} */ sent) => {
    const key = ends.map((end) => end.key).join('\n');
    const old = flows.get(key);
    if (old) {
      old.received += received;
      old.sent += sent;
    } else if (received + sent > 0) {
      flows.set(key, { ends: /** @type {[End, End, End]} */ (ends), received, sent });
    }
  };
  const rest = (/** @type {number} */ column) => ({ key: REST, text: OTHERS[column], color: 'var(--p0)' });
  let received = 0;
  let sent = 0;
  for (const row of answer.rows) {
    received += row.received;
    sent += row.sent;
    const ends = dimensions.map((dimension, column) => {
      const key = flowKey(row[dimension]);
      if (!tops[column].has(key)) return rest(column);
      const said = valueText(dimension, row[dimension], answer.labels);
      const text = dimension === 'port' && said.aside ? `${said.text} ${said.aside}` : said.text;
      const slot = column === 0 ? answer.slots[row[dimension]] : 0;
      return { key, text, color: column === 0 ? `var(--p${slot ?? 0})` : 'var(--ink-3)' };
    });
    add(ends, row.received, row.sent);
  }
  // Rows beyond the limit of the answer.
  add([rest(0), rest(1), rest(2)], answer.total.received - received, answer.total.sent - sent);
  colourDestinations(flows);
  return [...flows.values()];
}

/** A destination has the colour of the program that uses it most. @param {Map<string, Flow>} flows */
function colourDestinations(flows) {
  /** @type {Map<string, {size: number, color: string}>} */
  const most = new Map();
  for (const { ends, received, sent } of flows.values()) {
    const old = most.get(ends[1].key);
    if (!old || received + sent > old.size)
      most.set(ends[1].key, { size: received + sent, color: ends[0].color });
  }
  for (const { ends } of flows.values()) {
    if (ends[1].key !== REST) ends[1].color = most.get(ends[1].key)?.color ?? 'var(--p0)';
  }
}
