/** The state of the page is its address: range, filters, grouping, sort, comparison. Back and forward of the browser work. */
import { batch, computed, signal } from './html.js';

/** @typedef {{dimension: string, value: string, exclude: boolean}} Filter */
/** @typedef {Record<string, string | string[] | null | undefined>} Changes */

export const PAGES = [
  'overview',
  'explore',
  'flows',
  'live',
  'fleet',
  'alerts',
  'health',
  'program',
  'destination',
];
/** The ranges that have a button, with their seconds. @type {Record<string, number>} */
export const LENGTHS = {
  '15m': 900,
  '1h': 3600,
  '6h': 21600,
  '1d': 86400,
  '7d': 604800,
  '30d': 2592000,
  '1y': 31536000,
};
export const PRESETS = Object.keys(LENGTHS);
/** When the log begins, null is not known yet: a day would be mostly empty on the first day. @type {import('../vendor/signals.js').Signal<number | null>} */
export const logBegin = signal(null);
/** The range of an address that has none: a day, or less if that holds the whole log. */
const defaultPreset = computed(() => {
  const age = logBegin.value === null ? Number.POSITIVE_INFINITY : Date.now() / 1000 - logBegin.value;
  return PRESETS.find((name) => LENGTHS[name] >= age || name === '1d') ?? '1d';
});
/** What stays when another page is opened. */
const KEPT = ['range', 'since', 'until', 'where', 'exclude', 'scope', 'compare'];

export const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC';

const path = signal(location.pathname);
/** All parameters of the address; pages read their own words from it. */
export const params = signal(new URLSearchParams(location.search));

export const page = computed(() => {
  const name = path.value.replace(/^\/+|\/+$/g, '') || 'overview';
  return PAGES.includes(name) ? name : 'overview';
});

/**
 * A parameter of the address, '' if it is not there.
 * @param {string} name
 */
export const param = (name) => params.value.get(name) ?? '';

/** Whether the address says which range. */
export const hasRange = computed(() => ['range', 'since', 'until'].some((word) => param(word) !== ''));
/** The range as it is asked for: one of the words of the API, or two moments (unix seconds, as text). */
export const range = computed(() => {
  const [since, until] = [param('since'), param('until')];
  if (since || until) return { preset: null, since, until };
  return { preset: param('range') || defaultPreset.value, since: '', until: '' };
});

/** Whether the range is a day or less, as far as the address says. */
export const isShortRange = computed(() => {
  const { preset, since, until } = range.value;
  if (preset)
    return (LENGTHS[preset] ?? 0) <= 86400 && !/^(this-|last-|all$|\d{4}(-\d\d)?$)|\.\./.test(preset);
  return (Number(until) || Date.now() / 1000) - Number(since) <= 86400;
});

/** @returns {Filter[]} */
const readFilters = () =>
  ['where', 'exclude'].flatMap((word) =>
    params.value.getAll(word).map((text) => {
      const at = text.indexOf('=');
      return { dimension: text.slice(0, at), value: text.slice(at + 1), exclude: word === 'exclude' };
    }),
  );
export const filters = computed(readFilters);
/** @type {{readonly value: 'internet' | 'local' | ''}} */
export const scope = computed(() => {
  const word = param('scope');
  return word === 'internet' || word === 'local' ? word : '';
});
export const compare = computed(() => param('compare') !== '');
export const groupBy = computed(() => params.value.getAll('group_by'));
export const sort = computed(() => ({ by: param('sort'), reverse: param('reverse') === '1' }));
export const find = computed(() => param('find'));
export const offset = computed(() => Math.max(0, Number.parseInt(param('offset'), 10) || 0));

/** The parameters that every question about traffic has: range, zone, filters, scope. */
export const question = computed(() => {
  /** @type {import('./api.js').Params} */
  const asked = { zone: ZONE };
  const { preset, since, until } = range.value;
  if (preset) asked.range = preset;
  if (since) asked.since = since;
  if (until) asked.until = until;
  asked.where = params.value.getAll('where');
  asked.exclude = params.value.getAll('exclude');
  if (scope.value) asked.scope = scope.value;
  return asked;
});

/**
 * @param {URLSearchParams} old
 * @param {Changes} changes null, undefined and '' remove
 */
function changed(old, changes) {
  const next = new URLSearchParams(old);
  for (const [name, value] of Object.entries(changes)) {
    next.delete(name);
    for (const one of [value].flat()) if (one) next.append(name, one);
  }
  return next;
}

/** @param {string} name of a page */
const pathOf = (name) => (name === 'overview' ? '/' : `/${name}`);

/** @param {string} where @param {URLSearchParams} query */
const address = (where, query) => {
  const text = query.toString();
  return where + (text ? `?${text}` : '');
};

/**
 * The address of a page: range, filters and comparison are kept, the rest is what is given.
 * @param {string} name of the page
 * @param {Changes} [changes]
 */
export function link(name, changes = {}) {
  const kept = new URLSearchParams();
  for (const word of KEPT) for (const value of params.value.getAll(word)) kept.append(word, value);
  return address(pathOf(name), changed(kept, changes));
}

/** The address of this page with changes; of its name, because a path that begins with two slashes is another host. @param {Changes} changes */
export const here = (changes) => address(pathOf(page.value), changed(params.value, changes));

/** @param {string} target */
function take(target) {
  const to = new URL(target, location.origin);
  batch(() => {
    path.value = to.pathname;
    params.value = to.searchParams;
  });
}

const RANGE = ['range', 'since', 'until'];
/** The ranges that zooming left for that of this entry of the history, the last one last. @returns {Record<string, string>[]} */
const zooms = () => history.state?.zooms ?? [];

/** Opens an address of ours as a new entry of the history. @param {string} target @param {Record<string, string>[]} [left] ranges that zooming left */
export function navigate(target, left) {
  if (target === location.pathname + location.search) return;
  const to = new URL(target, location.origin);
  const other = to.pathname !== location.pathname;
  const isSame = RANGE.every((word) => (to.searchParams.get(word) ?? '') === param(word));
  history.pushState({ zooms: left ?? (isSame ? zooms() : []) }, '', target);
  take(target);
  if (other) scrollTo(0, 0);
}

/** Changes parameters of this page as a new entry of the history. @param {Changes} changes */
export const change = (changes) => navigate(here({ offset: null, ...changes }));

/** Changes parameters without an entry: while typing. @param {Changes} changes */
export function replace(changes) {
  const target = here({ offset: null, ...changes });
  history.replaceState(history.state, '', target);
  take(target);
}

/** @param {Filter} filter @param {Filter} other */
const same = (filter, other) =>
  filter.dimension === other.dimension && filter.value === other.value && filter.exclude === other.exclude;

/** Filters as they are sent, without those of a dimension. @param {import('./api.js').Params[string]} list @param {string} dimension */
export const otherFilters = (list, dimension) =>
  [list].flat().filter((one) => one && !String(one).startsWith(`${dimension}=`));

/** A value of an answer as filters have it: a star of them stands for anything. @param {string | number | null | undefined} value */
export const exact = (value) => String(value ?? '').replaceAll('*', '\\x2a');
/** The filter of a value of an answer; null is the value "none" of the API. @param {string} dimension @param {string | number | null | undefined} value */
export const filterText = (dimension, value) => `${dimension}=${exact(value)}`;

/** @param {Filter[]} list @returns {Changes} */
export const filterChanges = (list) => ({
  where: list.filter((one) => !one.exclude).map((one) => `${one.dimension}=${one.value}`),
  exclude: list.filter((one) => one.exclude).map((one) => `${one.dimension}=${one.value}`),
});

/**
 * Adds a filter.
 * @param {string} dimension @param {string} value as filters have it @param {boolean} [exclude]
 */
export function addFilter(dimension, value, exclude = false) {
  const one = { dimension, value, exclude };
  if (!filters.value.some((other) => same(one, other))) change(filterChanges([...filters.value, one]));
}

/** @param {Filter} filter */
export const removeFilter = (filter) =>
  change(filterChanges(filters.value.filter((other) => !same(filter, other))));

/** Sets the range to two moments. @param {number} since @param {number} until unix seconds */
export const setMoments = (since, until) => change(fromTo(since, until));
/** @param {number} since @param {number} until */
const fromTo = (since, until) => ({
  range: null,
  since: String(Math.round(Math.max(0, since))),
  until: String(Math.round(until)),
});

/**
 * Zooms a chart; null is out: back to where the zoom began, or to twice the length.
 * @param {number | null} since @param {number} [until] unix seconds, both included
 * @param {{since: number | null, until: number}} [shown]
 */
export function zoom(since, until, shown) {
  const list = zooms();
  const last = list.at(-1);
  if (since !== null && until !== undefined) {
    const left = Object.fromEntries(RANGE.map((word) => [word, param(word)]));
    navigate(here({ offset: null, ...fromTo(since, until) }), [...list.slice(-50), left]);
  } else if (last) {
    navigate(here({ offset: null, ...last }), list.slice(0, -1));
  } else if (shown) {
    const begin = shown.since ?? logBegin.value ?? 0;
    const half = (shown.until - begin) / 2;
    setMoments(begin - half, Math.min(shown.until + half, Date.now() / 1000));
  }
}

/** @param {string} preset */
export const setPreset = (preset) =>
  change({
    range: preset === '1d' && defaultPreset.value === '1d' ? null : preset,
    since: null,
    until: null,
  });

/** Follows links within the page and the browser's back and forward. */
export function startRouting() {
  addEventListener('popstate', () => take(location.pathname + location.search));
  document.addEventListener('click', (event) => {
    if (
      event.defaultPrevented ||
      event.button ||
      event.metaKey ||
      event.ctrlKey ||
      event.shiftKey ||
      event.altKey
    )
      return;
    const anchor = event.target instanceof Element ? event.target.closest('a[href]') : null;
    if (!(anchor instanceof HTMLAnchorElement) || anchor.target || anchor.hasAttribute('download')) return;
    if (anchor.origin !== location.origin || anchor.hash || anchor.pathname.startsWith('/static/')) return;
    event.preventDefault();
    navigate(anchor.pathname + anchor.search);
  });
}
