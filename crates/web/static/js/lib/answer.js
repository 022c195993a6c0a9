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
/**
 * `isOther`: the data are those of the question before; `stale`: they are to be drawn as such, for longer than a blink.
 * @typedef {{data: Data | undefined, error: import('./api.js').ApiError | null, isOther: boolean, stale: boolean, slow: boolean, time: number}} Answer
 */

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

/** Questions whose answer is wanted and failed in a way that may pass: they are asked again soon. @type {Set<string>} */
export const failing = new Set();
/** `abort` while the answer is awaited, `time` of the last one. @typedef {{time: number, promise: Promise<any>, data: any, waiters: number, abort: AbortController | null}} Entry */
/** @type {Map<string, Entry>} */
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

/** @param {string} key @param {string} path @param {import('./api.js').Params} params @param {Entry | undefined} old */
function begin(key, path, params, old) {
  const abort = new AbortController();
  /** @type {Entry} */
  const entry = {
    data: old?.data,
    time: old?.time ?? 0,
    waiters: 0,
    abort,
    promise: get(path, params, abort.signal).then(
      (data) => {
        failing.delete(key);
        noticeLog(data);
        // A range without an end ends now.
        if (data?.range) data.range.until ??= data.now;
        return Object.assign(entry, { data, time: Date.now(), abort: null }).data;
      },
      (error) => {
        entry.abort = null;
        if (answers.get(key) === entry) answers.delete(key);
        if (error.status === 0 || error.status > 500) failing.add(key);
        throw error;
      },
    ),
  };
  answers.delete(key);
  answers.set(key, entry);
  if (answers.size > KEPT) answers.delete(/** @type {string} */ (answers.keys().next().value));
  return entry;
}

/**
 * One question, shared by all who ask it while its answer is awaited and for a few seconds more. The server stops its work when
 * nobody waits for it any longer.
 * @param {string} path
 * @param {import('./api.js').Params} params
 * @param {AbortSignal} [signal] that the one who asks does not wait any longer
 * @returns {Promise<any>}
 */
export function ask(path, params, signal) {
  const key = url(path, params);
  const old = answers.get(key);
  const entry = old && (old.abort || Date.now() - old.time < FRESH) ? old : begin(key, path, params, old);
  entry.waiters++;
  signal?.addEventListener('abort', () => {
    entry.waiters--;
    failing.delete(key);
    // Who asks the same again in this moment goes on with it.
    setTimeout(() => {
      if (entry.waiters > 0 || !entry.abort) return;
      if (answers.get(key) === entry) answers.delete(key);
      entry.abort.abort();
    });
  });
  return entry.promise;
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
  return dataOf(
    useAnswer(since ? 'query' : null, {
      ...asked,
      since,
      // The answer may still be of the range before: its ends belong together.
      until: asked.until && range?.until,
      group_by: dimension,
      [word]: since,
      limit: 200,
    }),
  );
}

/** @typedef {Answer & {key: string, shape: string}} State `key` of the question that it answers */
/** @type {State} */
const NOTHING = {
  data: undefined,
  error: null,
  isOther: false,
  stale: false,
  slow: false,
  time: 0,
  key: '',
  shape: '',
};

/**
 * Asks whenever the question changes, and again when `refresh` counts up.
 * While the answer is awaited, `data` is that of the question before (`isOther`) if it has the same columns. If the same question
 * fails when it is asked again, `data` is its last good answer, `time` the moment of that.
 * @param {string | null} path null asks nothing
 * @param {import('./api.js').Params} [params]
 * @returns {Answer}
 */
export function useAnswer(path, params = {}) {
  const key = path === null ? '' : url(path, params);
  const shape = `${path} ${params.group_by}`;
  const [state, setState] = useState(
    /** @returns {State} */ () => {
      const kept = answers.get(key);
      return kept?.data ? { ...NOTHING, key, shape, data: kept.data, time: kept.time } : NOTHING;
    },
  );
  const count = refresh.value;
  useEffect(() => {
    if (path === null) {
      setState(NOTHING);
      return undefined;
    }
    const abort = new AbortController();
    const { signal } = abort;
    const timer = setTimeout(() => setState((old) => ({ ...old, slow: true })), SLOW);
    ask(path, params, signal)
      .then(
        (data) => signal.aborted || setState({ ...NOTHING, key, shape, data, time: Date.now() }),
        (error) =>
          signal.aborted ||
          setState((old) => ({
            ...(old.key === key ? old : NOTHING),
            key,
            shape,
            error,
            stale: true,
            slow: false,
          })),
      )
      .finally(() => clearTimeout(timer));
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [key, count]);
  if (state.key === key) return state;
  if (!key) return NOTHING;
  const { data, time, slow } = state.shape === shape ? state : { ...NOTHING, slow: state.slow };
  return { data, time, slow, error: null, isOther: data !== undefined, stale: data !== undefined && slow };
}

/** The data of an answer, but not of the question before. @param {Answer} answer */
export const dataOf = (answer) => (answer.isOther ? undefined : answer.data);
