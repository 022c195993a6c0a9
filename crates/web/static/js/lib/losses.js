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

/** Such as `1 204 process events`. @param {string} kind @param {number} count */
export function lossAmount(kind, count) {
  const noun = NOUNS[kind]?.[count === 1 ? 0 : 1] ?? kind.replaceAll('_', ' ');
  return `${grouped(count)} ${noun}`;
}

/** What it means for the log. @param {Loss} loss */
export const lossClause = (loss) => CLAUSES[loss.consequence] ?? loss.consequence;
