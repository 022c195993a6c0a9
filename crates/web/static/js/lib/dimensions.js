/** The dimensions of the log: what they are called, how a value is shown, and which page a value has. */
import { baseName, calendarParts, clock, date, dayMonth, hourMinute, weekday } from './format.js';
import { isServer } from './source.js';
import { filterText, hasRange, link } from './state.js';

/** @typedef {string | number | null} DimValue a value of an answer */
/** @typedef {Record<string, Record<string, string>>} Labels */

/** Name, plural, what an unknown value is called. @type {Record<string, [string, string, string]>} */
const NAMES = {
  ...(isServer && { host: ['Host', 'hosts', 'no name'] }),
  exe: ['Program', 'programs', 'unknown program'],
  domain: ['Domain', 'domains', 'addresses without a name'],
  address: ['Address', 'addresses', 'no address'],
  country: ['Country', 'countries', 'local or unknown'],
  port: ['Port', 'ports', 'no port'],
  uid: ['User', 'users', 'unknown user'],
  pexe: ['Parent', 'parents', 'unknown parent'],
  unit: ['Unit', 'units', 'not in a unit'],
  container: ['Container', 'containers', 'not in a container'],
  app: ['Application', 'applications', 'no application'],
  sha256: ['Digest', 'digests', 'digest unknown'],
  cmdline: ['Command line', 'command lines', 'unknown'],
  name: ['Process name', 'process names', 'unknown'],
  asn: ['AS number', 'AS numbers', 'local or unknown'],
  network: ['Network', 'networks', 'no network'],
  protocol: ['Protocol', 'protocols', 'unknown'],
  family: ['IP version', 'IP versions', 'unknown'],
  scope: ['Scope', 'scopes', 'no scope'],
  'domain-source': ['Source of the name', 'sources of names', 'no name'],
  laddress: ['Local address', 'local addresses', 'unknown'],
  lport: ['Local port', 'local ports', 'unknown'],
  netns: ['Network namespace', 'network namespaces', 'unknown'],
  cgroup: ['Control group', 'control groups', 'unknown'],
  pname: ["Parent's name", 'names of parents', 'unknown'],
  pcmdline: ["Parent's command line", 'command lines of parents', 'unknown'],
  psha256: ["Parent's digest", 'digests of parents', 'digest unknown'],
  gpexe: ['Grandparent', 'grandparents', 'unknown'],
  gpname: ["Grandparent's name", 'names of grandparents', 'unknown'],
  gpcmdline: ["Grandparent's command line", 'command lines of grandparents', 'unknown'],
  gpsha256: ["Grandparent's digest", 'digests of grandparents', 'digest unknown'],
  hour: ['Hour', 'hours', ''],
  day: ['Day', 'days', ''],
  week: ['Week', 'weeks', ''],
  month: ['Month', 'months', ''],
  year: ['Year', 'years', ''],
  weekday: ['Weekday', 'weekdays', ''],
  'hour-of-day': ['Hour of the day', 'hours of the day', ''],
  time: ['Window', 'windows', ''],
};

/** All dimensions, those most asked for first. */
export const DIMENSIONS = Object.keys(NAMES);
/** Those that have a tab of their own. */
export const TABS = [
  ...(isServer ? ['host'] : []),
  'exe',
  'domain',
  'address',
  'country',
  'port',
  'day',
  'uid',
  'pexe',
  'unit',
  'sha256',
  'cmdline',
];
const PROGRAMS = new Set(['exe', 'pexe', 'gpexe']);
const TIMES = new Set(['hour', 'day', 'week', 'month', 'year', 'time']);
const CALENDAR = new Set([...TIMES, 'weekday', 'hour-of-day']);
const DESTINATIONS = new Set(['domain', 'address', 'country']);
const LONG = new Set(['sha256', 'psha256', 'gpsha256']);

/** @param {string} dimension */
export const dimensionName = (dimension) => NAMES[dimension]?.[0] ?? dimension;
/** @param {string} dimension @param {number} [number] */
export const dimensionPlural = (dimension, number = 2) =>
  number === 1
    ? dimensionName(dimension).toLowerCase().replace('ip ', 'IP ').replace('as n', 'AS n')
    : (NAMES[dimension]?.[1] ?? dimension);
/** @param {string} dimension */
export const isProgram = (dimension) => PROGRAMS.has(dimension);
/** Parts of time: rows in their own order, without filters by click. @param {string} dimension */
export const isTime = (dimension) => TIMES.has(dimension);
/** @param {string} dimension */
export const isCalendar = (dimension) => CALENDAR.has(dimension);
/** @param {string} dimension */
export const isDestination = (dimension) => DESTINATIONS.has(dimension);
/** @param {string} dimension */
export const isDigest = (dimension) => LONG.has(dimension);

const REGIONS = new Intl.DisplayNames(['en'], { type: 'region' });
/** @param {string} code */
export function countryName(code) {
  try {
    return /^[A-Z]{2}$/.test(code) ? (REGIONS.of(code) ?? code) : code;
  } catch {
    return code;
  }
}

/** @param {string} dimension @param {number} time */
function timeText(dimension, time) {
  if (dimension === 'hour') return `${weekday(time)} ${hourMinute(time)}`;
  if (dimension === 'time') return `${weekday(time)} ${clock(time)}`;
  if (dimension === 'day') return `${weekday(time)}`;
  if (dimension === 'week') return `week of ${dayMonth(time)}`;
  const text = date(time).split(' ');
  return dimension === 'month' ? text.slice(1).join(' ') : text[2];
}

/**
 * A part of the calendar as two moments, the second not in it.
 * @param {string} dimension @param {number} begin unix seconds @returns {[number, number] | null}
 */
export function timeSpan(dimension, begin) {
  if (dimension === 'hour') return [begin, begin + 3600];
  const { year, month, day } = calendarParts(begin);
  const step = { day: [0, 0, 1], week: [0, 0, 7], month: [0, 1, 0], year: [1, 0, 0] }[dimension];
  if (!step) return null;
  return [begin, new Date(year + step[0], month - 1 + step[1], day + step[2]).getTime() / 1000];
}

/**
 * What stands for a value in a row: the word, and what is dimmed beside it.
 * @param {string} dimension @param {DimValue} value @param {Labels} [labels]
 * @returns {{text: string, aside: string}}
 */
export function valueText(dimension, value, labels = {}) {
  if (value === null || value === undefined || value === '')
    return { text: NAMES[dimension]?.[2] || 'unknown', aside: '' };
  const text = String(value);
  if (isTime(dimension) && typeof value === 'number') return { text: timeText(dimension, value), aside: '' };
  if (dimension === 'weekday') return { text: text[0].toUpperCase() + text.slice(1), aside: '' };
  if (dimension === 'asn') return { text: `AS${text}`, aside: '' };
  if (dimension === 'hour-of-day') return { text: `${text.padStart(2, '0')}:00`, aside: '' };
  if (dimension === 'country')
    return { text: countryName(text), aside: countryName(text) === text ? '' : text };
  const label = labels[dimension]?.[text];
  if (dimension === 'port')
    return text === '-1' ? { text: 'no traffic', aside: 'only run' } : { text, aside: label ?? '' };
  if (label) return { text: label, aside: text };
  if (isProgram(dimension)) return { text: baseName(text), aside: text };
  if (isDigest(dimension)) return { text: text.slice(0, 16), aside: '' };
  return { text, aside: '' };
}

/**
 * The page of a value: programs and destinations have their own, of anything else it is its traffic.
 * @param {string} dimension @param {DimValue} value
 * @param {boolean} [keep] the filters of this page; what is found by the search is shown without them, in the 30 days it is of
 */
export function valueLink(dimension, value, keep = true) {
  const text = value === null ? '' : String(value);
  /** @type {import('./state.js').Changes} */
  const changes = keep ? {} : { where: null, exclude: null, scope: null };
  if (!keep && !hasRange.value) changes.range = '30d';
  if (isProgram(dimension) && text.startsWith('/')) return link('program', { ...changes, exe: text });
  if (isDestination(dimension) && text) return link('destination', { ...changes, [dimension]: text });
  const filters = keep ? new URLSearchParams(location.search).getAll('where') : [];
  const by = dimension === 'domain' ? 'address' : dimension === 'exe' ? 'domain' : null;
  return link('explore', { ...changes, where: [...filters, filterText(dimension, value)], group_by: by });
}
