/** `useAnswer`: a question as a hook. Equal questions of one moment are asked once, old figures stay until new ones are there. */
import { get, url } from './api.js';
import { signal, useEffect, useState } from './html.js';

/**
 * An answer of the server; which of these it has depends on the question.
 * @typedef {{log: any, range: {since: number, until: number}, compared_with: {since: number, until: number}, now: number,
 *   rows: any[], groups: any[], results: any[], row_count: number, total: any, labels: any, slots: Record<string, number>,
 *   losses: any[], edges: number[], other: any, before: any, gaps: [number, number][], extent: [number, number] | null,
 *   scope: string | null, notes: string[], daemon: any, losses_24h: any[], losses_30d: any[]}} Data
 */
/** @typedef {{data: Data | undefined, error: import('./api.js').ApiError | null, waiting: boolean, slow: boolean, time: number}} Answer */

/** Counts up when figures should be asked for again. */
export const refresh = signal(0);
/** The identity of the log this page was opened on, and of the one that answered last. */
export const logOpened = signal(/** @type {string | null} */ (null));
export const logNow = signal(/** @type {string | null} */ (null));

/** Under this nothing is shown, so that a quick answer does not flicker. */
const SLOW = 300;
/** An answer this young is taken again: going back and forth between pages asks nothing. */
const FRESH = 5000;
const KEPT = 60;

/** Whether the last question failed in a way that may pass: it is asked again soon. */
export let failed = false;
/** @type {Map<string, {time: number, promise: Promise<any>, data: any}>} */
const answers = new Map();

/** Forgets all answers and asks again. */
export function askAgain() {
  answers.clear();
  refresh.value++;
}

/** Takes the log that answers now as the one to show. */
export function takeNewLog() {
  logOpened.value = logNow.value;
  askAgain();
}

/** @param {any} data */
function noticeLog(data) {
  if (typeof data?.log !== 'string') return;
  logOpened.value ??= data.log;
  logNow.value = data.log;
}

/**
 * One question, shared by all who ask it within a few seconds.
 * @param {string} path
 * @param {import('./api.js').Params} params
 * @returns {Promise<any>}
 */
export function ask(path, params) {
  const key = url(path, params);
  const old = answers.get(key);
  if (old && Date.now() - old.time < FRESH) return old.promise;
  const promise = get(path, params).then((data) => {
    failed = false;
    noticeLog(data);
    // A range without an end ends now.
    if (data?.range) data.range.until ??= data.now;
    entry.data = data;
    return data;
  });
  const entry = { time: Date.now(), promise, data: old?.data };
  answers.delete(key);
  answers.set(key, entry);
  if (answers.size > KEPT) answers.delete(/** @type {string} */ (answers.keys().next().value));
  promise.catch((error) => {
    failed = error.status === 0 || error.status > 500;
    if (answers.get(key) === entry) answers.delete(key);
  });
  return promise;
}

/**
 * Values that a range saw first, or that changed in it.
 * @param {string} dimension
 * @param {import('./api.js').Params} params
 * @param {{since?: number | null, until?: number} | undefined} range of an answer, which knows the moments
 * @param {'new_since' | 'changed_since'} [word]
 */
export function useNew(dimension, params, range, word = 'new_since') {
  // To the minute, so that the figures of one minute are asked for once.
  const since = range?.since ? Math.floor(range.since / 60) * 60 : null;
  const { range: _, ...asked } = params;
  return useAnswer(since ? 'query' : null, {
    ...asked,
    since,
    // The answer may still be of the range before: its ends belong together.
    until: asked.until && range?.until,
    group_by: dimension,
    [word]: since,
    limit: 200,
  }).data;
}

/**
 * Asks whenever the question changes, and again when `refresh` counts up.
 * `data` is the last good answer, also while the next one is awaited or if that failed (`error`, `time` of the old one).
 * @param {string | null} path null asks nothing
 * @param {import('./api.js').Params} [params]
 * @returns {Answer}
 */
export function useAnswer(path, params = {}) {
  const key = path === null ? '' : url(path, params);
  const [state, setState] = useState(
    /** @returns {Answer & {key: string}} */ () => {
      const kept = key ? answers.get(key) : undefined;
      const data = kept?.data;
      return { key, data, error: null, waiting: Boolean(key), slow: false, time: kept?.time ?? 0 };
    },
  );
  const count = refresh.value;
  useEffect(() => {
    if (path === null) return undefined;
    let current = true;
    const timer = setTimeout(() => current && setState((old) => ({ ...old, slow: true })), SLOW);
    setState((old) => ({ ...old, key, waiting: true }));
    ask(path, params)
      .then(
        (data) =>
          current && setState({ key, data, error: null, waiting: false, slow: false, time: Date.now() }),
        (error) => current && setState((old) => ({ ...old, error, waiting: false, slow: false })),
      )
      .finally(() => clearTimeout(timer));
    return () => {
      current = false;
      clearTimeout(timer);
    };
  }, [key, count]);
  return state;
}
