/** Figures and times as text: three significant digits, the unit apart, zero is a dot. */
import { signal } from './html.js';
import { ZONE } from './state.js';

/** @typedef {'kB' | 'KiB' | 'bit'} Units */

const KEY = 'picosnitch-units';
export const DOT = '\u00b7';
const THIN = '\u202f';
const NARROW = '\u00a0';

/** @returns {Units} */
function storedUnits() {
  try {
    const word = localStorage.getItem(KEY);
    return word === 'KiB' || word === 'bit' ? word : 'kB';
  } catch {
    return 'kB';
  }
}
/** kB (thousands), KiB (1024) or bit: rates in bits, amounts in kB. */
export const units = signal(storedUnits());

/** @param {Units} word */
export function setUnits(word) {
  units.value = word;
  try {
    localStorage.setItem(KEY, word);
  } catch {
    // Private browsing: kept as long as the page.
  }
}

const THOUSANDS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
const BINARY = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
const BITS = ['bit/s', 'kbit/s', 'Mbit/s', 'Gbit/s', 'Tbit/s'];

/**
 * Three significant digits of a figure and its unit.
 * @param {number} figure
 * @param {readonly string[]} names
 * @param {number} base
 * @returns {[string, string]}
 */
function scaled(figure, names, base) {
  let value = figure;
  let step = 0;
  while (value >= base * 0.9995 && step < names.length - 1) {
    value /= base;
    step++;
  }
  if (step === 0) return [String(value > 0 && value < 1 ? '<1' : Math.round(value)), names[0]];
  return [
    value >= 99.95 ? value.toFixed(0) : value >= 9.995 ? value.toFixed(1) : value.toFixed(2),
    names[step],
  ];
}

/** Bytes as figure and unit. @param {number} count @returns {[string, string]} */
export function bytesParts(count) {
  if (!count) return [DOT, ''];
  return units.value === 'KiB' ? scaled(count, BINARY, 1024) : scaled(count, THOUSANDS, 1000);
}

/** Bytes per second as figure and unit. @param {number} rate @returns {[string, string]} */
export function rateParts(rate) {
  if (!rate) return [DOT, ''];
  if (units.value === 'bit') return scaled(rate * 8, BITS, 1000);
  const [figure, unit] = bytesParts(rate);
  return [figure, `${unit}/s`];
}

/** @param {[string, string]} parts */
const joined = ([figure, unit]) => (unit ? figure + NARROW + unit : figure);
/** @param {number} count */
export const bytes = (count) => joined(bytesParts(count));
/** @param {number} perSecond */
export const rate = (perSecond) => joined(rateParts(perSecond));

/** A count with its digits in groups; zero is a dot. @param {number | null | undefined} number */
export const count = (number) => (number ? grouped(number) : DOT);
/** @param {number} number */
export const grouped = (number) => Math.round(number).toLocaleString('en').replaceAll(',', THIN);
/** The exact figure, for hovering. @param {number} number */
export const exactBytes = (number) => (number === 1 ? '1 byte' : `${grouped(number)} bytes`);

/**
 * A word in the number that fits: `plural(3, 'program')`.
 * @param {number} number @param {string} one @param {string} [many]
 */
export const plural = (number, one, many = `${one}s`) =>
  `${number ? grouped(number) : 'no'} ${number === 1 ? one : many}`;

/**
 * How a figure changed: text, and the ratio for a bar (null: there was nothing before).
 * @param {number} now @param {number} before
 * @returns {[string, number | null]}
 */
export function delta(now, before) {
  if (!before) return [now ? 'new' : '', null];
  const ratio = now / before;
  if (ratio >= 10) return [`\u00d7${THIN}${grouped(ratio)}`, ratio];
  const percent = Math.round((ratio - 1) * 100);
  return [`${percent > 0 ? '+' : percent < 0 ? '\u2212' : ''}${Math.abs(percent)}${THIN}%`, ratio];
}

/** The difference of two counts. @param {number} now @param {number} before */
export const difference = (now, before) =>
  now === before ? '\u00b10' : `${now > before ? '+' : '\u2212'}${grouped(Math.abs(now - before))}`;

/** @param {Intl.DateTimeFormatOptions} options */
const formatter = (options) => new Intl.DateTimeFormat('en-GB', { timeZone: ZONE, ...options });
const HM = formatter({ hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
const HMS = formatter({ hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
const DAY = formatter({ day: 'numeric', month: 'short' });
const WEEKDAY = formatter({ weekday: 'short', day: 'numeric', month: 'short' });
const DATE = formatter({ day: 'numeric', month: 'short', year: 'numeric' });
const FULL = formatter({ weekday: 'short', day: 'numeric', month: 'short', year: 'numeric' });
const KEY_OF_DAY = formatter({ year: 'numeric', month: '2-digit', day: '2-digit' });
const NAME = formatter({ timeZoneName: 'short' });
const MONTHS = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split(' ');

/** British dates of some systems say "Sept": one form everywhere, and no comma after the weekday. @param {string} text */
const tidy = (text) => text.replace('Sept', 'Sep').replace(',', '');
/** @param {number} time unix seconds */
const at = (time) => new Date(time * 1000);

/** 14:37 @param {number} time unix seconds */
export const hourMinute = (time) => HM.format(at(time));
/** 14:37:20 @param {number} time unix seconds */
export const clock = (time) => HMS.format(at(time));
/** 26 Nov @param {number} time unix seconds */
export const dayMonth = (time) => tidy(DAY.format(at(time)));
/** Thu 26 Nov @param {number} time unix seconds */
export const weekday = (time) => tidy(WEEKDAY.format(at(time)));
/** 26 Nov 2026 @param {number} time unix seconds */
export const date = (time) => tidy(DATE.format(at(time)));
/** Thu 26 Nov 2026 14:37:20 CET @param {number} time unix seconds */
export const fullTime = (time) => `${tidy(FULL.format(at(time)))} ${clock(time)} ${zoneName(time)}`;
/** The name of the zone at a moment: CET or CEST, or UTC+5:30 where it has no letters. @param {number} [time] */
export const zoneName = (time = Date.now() / 1000) =>
  (NAME.formatToParts(at(time)).find((part) => part.type === 'timeZoneName')?.value ?? ZONE).replace(
    /^GMT(?=[+-])/,
    'UTC',
  );
/** Two moments of one calendar day have the same key. @param {number} time */
export const dayKey = (time) => KEY_OF_DAY.format(at(time));
/** The parts of a moment in the page's zone. @param {number} time */
export function calendarParts(time) {
  const [day, month, year] = KEY_OF_DAY.format(at(time)).split('/').map(Number);
  const [hour, minute, second] = clock(time).split(':').map(Number);
  return { year, month, day, hour, minute, second, monthName: MONTHS[month - 1] };
}

/** "today 14:37", "yesterday 09:12", "Wed 25 Nov 14:40", with the year if it is another. @param {number} time @param {number} [now] */
export function dayAndTime(time, now = Date.now() / 1000) {
  const key = dayKey(time);
  if (key === dayKey(now)) return `today ${hourMinute(time)}`;
  if (key === dayKey(now - 86400)) return `yesterday ${hourMinute(time)}`;
  if (calendarParts(time).year !== calendarParts(now).year) return `${date(time)} ${hourMinute(time)}`;
  return `${weekday(time)} ${hourMinute(time)}`;
}

/** "3 min ago". @param {number} time @param {number} [now] unix seconds */
export function ago(time, now = Date.now() / 1000) {
  const past = now - time;
  if (past < 0) return 'just now';
  return `${duration(past)} ago`;
}

/** "3 min", "17 days". @param {number} seconds */
export function duration(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3570) return `${Math.round(seconds / 60)} min`;
  if (seconds < 86400 * 1.5) return `${Math.round(seconds / 3600)} h`;
  if (seconds < 86400 * 60) return `${Math.round(seconds / 86400)} days`;
  if (seconds < 86400 * 700) return `${Math.round(seconds / 86400 / 30.44)} months`;
  return `${Math.round(seconds / 86400 / 365.25)} years`;
}

/** The last part of a path; a kernel thread or script name stays as it is. @param {string} path */
export const baseName = (path) => path.slice(path.lastIndexOf('/') + 1) || path;
