/** Losses in few words; the server's own sentences say what each means. */
import { grouped } from './format.js';

/** What is counted, one and many. @type {Record<string, [string, string]>} */
const NOUNS = {
  flow_table_full: ['send, receive or connect', 'sends, receives or connects'],
  flow_table_bytes: ['byte', 'bytes'],
  skipped_calls: ['call of a hook', 'calls of hooks'],
  channel: ['flow', 'flows'],
  log: ['record', 'records'],
  uncountable_socket: ['socket', 'sockets'],
  process_events: ['process event', 'process events'],
  names: ['answer or handshake', 'answers or handshakes'],
  release_events: ['closed socket', 'closed sockets'],
};
/** @type {Record<string, string>} */
const CLAUSES = {
  traffic_missing: 'some traffic is in no record',
  program_unknown: 'some traffic may lack its program',
  domain_unknown: 'some connections may lack their domain',
  nothing_missing: 'nothing is missing',
};

/** @typedef {{kind: string, count: number, consequence: string, text: string}} Loss */

/** Whether the log lacks something because of it. @param {{consequence: string}} loss */
export const isMissing = (loss) => !/nothing.(is.)?missing/.test(loss.consequence);

/** @param {string} kind @param {number} count */
const noun = (kind, count) => NOUNS[kind]?.[count === 1 ? 0 : 1] ?? kind.replaceAll(/[_-]/g, ' ');

/**
 * What is missing as a figure and its label, null if nothing is: amounts of different things are not added.
 * @param {Loss[]} losses
 */
export function missing(losses) {
  const list = losses.filter(isMissing);
  const kinds = new Set(list.map((loss) => loss.kind));
  if (kinds.size === 0) return null;
  if (kinds.size > 1) return { list, value: String(kinds.size), label: 'kinds of losses' };
  const count = list.reduce((sum, loss) => sum + loss.count, 0);
  return { list, value: grouped(count), label: `${noun(list[0].kind, count)} lost` };
}

/** Such as `1 204 process events`. @param {string} kind @param {number} count */
export const lossAmount = (kind, count) => `${grouped(count)} ${noun(kind, count)}`;

/** What it means for the log. @param {Loss} loss */
export const lossClause = (loss) => CLAUSES[loss.consequence] ?? loss.consequence;
