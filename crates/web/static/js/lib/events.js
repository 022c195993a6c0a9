/** Events of the log as the page says them: shape and colour, few words, marks on a chart. */
import { baseName, duration, grouped } from './format.js';

/** Amber is new, red is wrong, '' is known and harmless. @param {any} row @returns {'new' | 'wrong' | ''} */
export function eventKind(row) {
  if (row.kind === 'loss' || row.kind === 'error' || row.kind === 'gap') return 'wrong';
  if (row.kind !== 'alert') return '';
  if (row.subject === 'new hash' || row.subject === 'suspicious') return 'wrong';
  return row.subject === 'clean' ? '' : 'new';
}

/** @param {any} row @param {string} subject */
const isAlert = (row, subject) => row.kind === 'alert' && (row.subject ?? '').includes(subject);
/** A program, or a name of one, that was never seen before. @param {any} row */
export const isNew = (row) => isAlert(row, 'new name') || isAlert(row, 'exe');
/** @param {any} row */
export const isChanged = (row) => isAlert(row, 'new hash');
/** @param {any} row */
export const isVerdict = (row) => isAlert(row, 'suspicious') || isAlert(row, 'clean');
/** How many programs some events are about. @param {any[]} rows */
export const programsOf = (rows) => new Set(rows.map((row) => row.exe ?? row.name)).size;

/** What happened, in few words beside the name of the program. @param {any} row @returns {string} */
export function eventWord(row) {
  if (row.kind === 'loss') return row.text || `${grouped(row.count ?? 1)} events lost`;
  if (row.kind === 'gap') return `not running for ${duration(row.time - row.begin)}`;
  if (row.kind !== 'alert') return row.sentence || row.text || row.kind;
  const subject = row.subject ?? '';
  if (subject === 'new hash') return row.writer?.name ? `changed by ${row.writer.name}` : 'changed on disk';
  if (/\bexe\b/.test(subject)) return 'first seen';
  if (subject === 'new name') return row.name ? `new name ${row.name}` : 'new name';
  return subject || row.sentence;
}

/**
 * The sentence of an event for a list, where all would begin alike: what differs comes first.
 * @param {any} row @returns {string}
 */
export function shortSentence(row) {
  const text = String(row.sentence || row.text || '');
  if (row.host) return `${row.host}: ${shortSentence({ ...row, host: null })}`;
  const found = /^A (?:(parent|grandparent) of a )?program on the network (.+)$/.exec(text);
  if (!found) return text;
  const rest = found[2].replace(/^has changed on disk: |^was |^is an? |^has an? /, '');
  return found[1] ? `As a ${found[1]}: ${rest}` : rest[0].toUpperCase() + rest.slice(1);
}

/** Events have only these. */
const KNOWN = /^(exe|name|uid|sha256|host)=/;
/** What is said where others are set. */
export const IGNORED =
  'Events have a program, a process name, a user and a digest: other filters do not apply here.';

/**
 * A question about traffic as one about events, and whether it has filters that events do not know.
 * @param {import('./api.js').Params} question
 */
export function eventQuestion({ scope, where, exclude, ...asked }) {
  const all = [where, exclude].map((list) => [list].flat().filter(Boolean));
  const known = all.map((list) => list.filter((one) => KNOWN.test(String(one))));
  const isIgnoring = Boolean(scope) || all.flat().length > known.flat().length;
  return { asked: { ...asked, where: known[0], exclude: known[1] }, isIgnoring };
}

/** Whose event it is: the program, or picosnitch itself. @param {any} row @returns {string} */
export const eventName = (row) => (row.exe ? baseName(row.exe) : (row.name ?? 'picosnitch'));

/**
 * The few events that are marked on a chart: what is wrong first, then what is new, the latest first. Losses are marked by the
 * chart itself, from the answer with the figures.
 * @param {any[]} rows
 * @param {number} most
 * @returns {{time: number, kind: 'new' | 'wrong', text: string, short: string}[]}
 */
export function eventMarks(rows, most = 6) {
  return rows
    .map((row) => ({ row, kind: row.kind === 'alert' ? eventKind(row) : '' }))
    .filter(({ kind }) => kind !== '')
    .sort((a, b) => Number(b.kind === 'wrong') - Number(a.kind === 'wrong') || b.row.time - a.row.time)
    .slice(0, most)
    .map(({ row, kind }) => ({
      time: row.time,
      kind: kind === 'new' ? 'new' : 'wrong',
      text: `${eventName(row)} ${eventWord(row)}`,
      short: eventName(row),
    }));
}
