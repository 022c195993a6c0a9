/** When nothing was recorded: before the log, in gaps, and since the last window if picosnitch does not run. */

/** @typedef {{begin: number, end: number, why: 'before' | 'gap' | 'stopped'}} Away */

/** @type {Record<Away['why'], string>} */
const WORDS = { before: 'not recorded yet', gap: 'not recorded', stopped: 'not recorded' };
/** @param {Away} away */
export const awayText = (away) => WORDS[away.why];

/**
 * The spans of an answer of /series in which nothing was recorded, the earliest first.
 * @param {{edges: number[], now: number, extent?: [number, number] | null, gaps?: [number, number][]}} series
 * @param {any} health answer of /health; null is not known yet, which is taken as running
 * @returns {Away[]}
 */
export function unrecorded({ edges, now, extent, gaps = [] }, health) {
  const since = edges[0];
  const until = Math.min(edges[edges.length - 1], now);
  const daemon = health?.daemon;
  const isStopped = Boolean(health) && !daemon;
  const first = extent?.[0] ?? daemon?.since ?? (isStopped ? now : since);
  const last = isStopped ? (extent?.[1] ?? since) : now;
  /** @type {Away[]} */
  const all = [
    { begin: since, end: first, why: 'before' },
    ...gaps.map(([begin, end]) => /** @type {Away} */ ({ begin: Math.max(begin, first), end, why: 'gap' })),
    { begin: Math.max(first, last), end: now, why: 'stopped' },
  ];
  return all
    .map((one) => ({ ...one, begin: Math.max(one.begin, since), end: Math.min(one.end, until) }))
    .filter((one) => one.end > one.begin);
}

/** Seconds of a stretch without picosnitch; what was before the log is not missing from it. @param {Away[]} list @param {number} since @param {number} until */
export const secondsAway = (list, since, until) =>
  list.reduce(
    (sum, one) =>
      one.why === 'before' ? sum : sum + Math.max(0, Math.min(until, one.end) - Math.max(since, one.begin)),
    0,
  );
