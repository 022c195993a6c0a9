/** Which live connections are shown and in which order: rows keep their place while someone reads them. */
import { baseName } from './format.js';

/** @import { LiveModel } from './live_model.js' */
/** @import { History, LiveConnection, Row } from './live_types.js' */

/** Rows are sorted again after this, in milliseconds. */
const SETTLED = 5000;

/** @type {Record<number, string>} */
const PROTOCOLS = {
  1: 'icmp',
  6: 'tcp',
  17: 'udp',
  33: 'dccp',
  58: 'icmp',
  132: 'sctp',
  136: 'udp-lite',
  262: 'mptcp',
};

/** @param {LiveConnection} connection */
export const protocolName = (connection) =>
  PROTOCOLS[connection.protocol] ?? String(connection.protocol || '');

/**
 * Whether an address is of this machine, its network, or a group: what "internet only" leaves out.
 * @param {string | null} address
 */
export function isLocal(address) {
  if (address === null) return true;
  const text = address.toLowerCase().replace(/^::ffff:(?=\d)/, '');
  if (text.includes(':')) return /^(::1?$|fe[89ab]|f[cd]|ff)/.test(text);
  const [a, b] = text.split('.').map(Number);
  return (
    a === 10 ||
    a === 127 ||
    a === 0 ||
    a >= 224 ||
    (a === 192 && b === 168) ||
    (a === 169 && b === 254) ||
    (a === 172 && b >= 16 && b < 32) ||
    (a === 100 && b >= 64 && b < 128)
  );
}

/**
 * A row of a connection; names are looked up now, because the model forgets programs that have nothing open.
 * @param {LiveModel} model
 * @param {LiveConnection} connection
 * @returns {Row}
 */
export function rowOf(model, connection) {
  const context = model.contextOf(connection.context);
  const name = context.path ? baseName(context.path) : context.name || 'unknown program';
  const peer = connection.domain || connection.address || '';
  return { ...connection, path: context.path, name, peer };
}

/**
 * What a search looks at.
 * @param {LiveModel} model
 * @param {LiveConnection} connection
 */
function searchText(model, connection) {
  const { path, name, command, unit, container, app } = model.contextOf(connection.context);
  const port = connection.listening ? connection.localPort : connection.port;
  return `${path} ${name} ${command} ${unit} ${container} ${app} ${connection.domain} ${connection.address ?? ''} ${port}`.toLowerCase();
}

/** What is moved counts, then what has just ended, then what was moved before. @param {LiveConnection} one */
function weight(one) {
  const rate = one.rateReceived + one.rateSent;
  return rate > 0 ? 2 + rate : one.ended !== null ? 1 : 1 - 1 / (1 + one.received + one.sent);
}

/** The order of rows, kept between two drawings. */
export class RowOrder {
  constructor() {
    /** @type {number[]} */
    this.ids = [];
    this.sorted = 0;
    this.question = '';
  }

  /**
   * @param {LiveModel} model
   * @param {{find: string, program: string | null, internet: boolean, held: boolean}} wanted `held`: rows keep their place
   * @returns {LiveConnection[]}
   */
  choose(model, { find, program, internet, held }) {
    const words = find.toLowerCase().split(/\s+/).filter(Boolean);
    /** @type {Map<number, LiveConnection>} */
    const left = new Map();
    for (const one of model.connections.values()) {
      if (one.listening) continue;
      if (program !== null && model.contextOf(one.context).path !== program) continue;
      if (internet && isLocal(one.address)) continue;
      if (words.length > 0) {
        const text = searchText(model, one);
        if (!words.every((word) => text.includes(word))) continue;
      }
      left.set(one.id, one);
    }
    const question = `${words.join(' ')}\n${program}\n${internet}`;
    const now = Date.now();
    if (question !== this.question || (!held && now - this.sorted >= SETTLED)) {
      this.sorted = now;
      this.question = question;
      const sorted = [...left.values()].sort((a, b) => weight(b) - weight(a) || a.id - b.id);
      this.ids = sorted.map((one) => one.id);
      return sorted;
    }
    const rows = [];
    for (const id of this.ids) {
      const one = left.get(id);
      if (one) {
        rows.push(one);
        left.delete(id);
      }
    }
    rows.push(...left.values());
    this.ids = rows.map((one) => one.id);
    return rows;
  }
}

/** @param {number[]} rates */
const sum = (rates) => rates.reduce((all, rate) => all + rate, 0);

/**
 * Programs with what they move now, the busiest of the last ten seconds first.
 * @param {LiveModel} model
 */
export function busyPrograms(model) {
  return [...model.programs]
    .map(([path, history]) => ({
      path,
      received: history.received[history.received.length - 1],
      sent: history.sent[history.sent.length - 1],
      weight: sum(history.received.slice(-10)) + sum(history.sent.slice(-10)),
      history,
    }))
    .sort((a, b) => b.weight - a.weight || (a.path < b.path ? -1 : 1));
}

/**
 * The history as an answer that the area chart draws: the programs of the last two minutes, in an order that holds.
 * @param {LiveModel} model
 * @param {string[]} before the order of the drawing before
 * @param {Record<string, number>} slots
 * @param {number} seconds
 */
export function historyAnswer(model, before, slots, seconds) {
  const most = 8;
  const totals = new Map([...model.programs].map(([path, one]) => [path, sum(one.received) + sum(one.sent)]));
  const top = [...totals]
    .sort((a, b) => b[1] - a[1])
    .slice(0, most)
    .map(([path]) => path);
  const order = [
    ...before.filter((path) => top.includes(path)),
    ...top.filter((path) => !before.includes(path)),
  ];
  const end = Math.round(model.time);
  const counts = (/** @type {History} */ one) => ({
    conns: [],
    received: one.received.slice(-seconds),
    sent: one.sent.slice(-seconds),
  });
  const groups = order.map((path) => ({
    exe: path,
    ...counts(/** @type {History} */ (model.programs.get(path))),
  }));
  const total = counts(model.history);
  const rest = (/** @type {'received' | 'sent'} */ side) =>
    total[side].map((value, i) => {
      const left = value - groups.reduce((all, group) => all + group[side][i], 0);
      // Sums of fractions leave crumbs.
      return left > 1 ? left : 0;
    });
  return {
    order,
    answer: {
      now: end,
      edges: Array.from({ length: seconds + 1 }, (_, i) => end - seconds + i),
      total,
      groups,
      other: { conns: [], received: rest('received'), sent: rest('sent') },
      slots,
    },
  };
}
