/** Events of the log as the page says them: shape and colour, few words, marks on a chart. */
import { baseName, grouped } from './format.js';

/** Amber is new, red is wrong, '' is known and harmless. @param {any} row @returns {'new' | 'wrong' | ''} */
export function eventKind(row) {
  if (row.kind === 'loss' || row.kind === 'error' || row.kind === 'gap') return 'wrong';
  if (row.kind !== 'alert') return '';
  if (row.subject === 'new hash' || row.subject === 'suspicious') return 'wrong';
  return row.subject === 'clean' ? '' : 'new';
}

/** What happened, in few words beside the name of the program. @param {any} row @returns {string} */
export function eventWord(row) {
  if (row.kind === 'loss') return row.text || `${grouped(row.count ?? 1)} events lost`;
  if (row.kind !== 'alert') return row.sentence || row.text || row.kind;
  const subject = row.subject ?? '';
  if (subject === 'new hash') return row.writer?.name ? `changed by ${row.writer.name}` : 'changed on disk';
  if (subject.includes('new exe')) return 'first seen';
  if (subject === 'new name') return row.name ? `new name ${row.name}` : 'new name';
  return subject || row.sentence;
}

/** Whose event it is: the program, or picosnitch itself. @param {any} row @returns {string} */
export const eventName = (row) => (row.exe ? baseName(row.exe) : (row.name ?? 'picosnitch'));

/** @param {any} row @returns {'new' | 'wrong' | 'lost'} */
const markKind = (row) => (row.kind === 'loss' ? 'lost' : eventKind(row) === 'new' ? 'new' : 'wrong');

/**
 * The few events that are marked on a chart: what is wrong first, then what is new, the latest first.
 * @param {any[]} rows
 * @param {number} most
 * @returns {{time: number, kind: 'new' | 'wrong' | 'lost', text: string, short: string}[]}
 */
export function eventMarks(rows, most = 6) {
  const order = { lost: 0, wrong: 0, new: 1 };
  return rows
    .filter((row) => row.kind === 'loss' || (row.kind === 'alert' && eventKind(row)))
    .sort((a, b) => order[markKind(a)] - order[markKind(b)] || b.time - a.time)
    .slice(0, most)
    .map((row) => {
      const kind = markKind(row);
      if (kind === 'lost')
        return { time: row.time, kind, text: `${grouped(row.count ?? 1)} lost`, short: 'lost' };
      return { time: row.time, kind, text: `${eventName(row)} ${eventWord(row)}`, short: eventName(row) };
    });
}
