/** What every page shows about picosnitch itself: health and alerts not seen yet, asked for once a minute while the page is visible. */
import { ask, askAgain, failing, refresh } from './answer.js';
import { allowed, get } from './api.js';
import { hourMinute } from './format.js';
import { batch, computed, effect, signal } from './html.js';
import { daemonState } from './live.js';
import { isMissing } from './losses.js';
import { isOwn, source } from './source.js';
import { logBegin, param, question, ZONE } from './state.js';

/**
 * The answer of /health and the one before it, why it could not be had, and of when it is, in milliseconds.
 * @type {import('../vendor/signals.js').Signal<{data: any, before: any, error: import('./api.js').ApiError | null, time: number}>}
 */
export const healthAnswer = signal({ data: undefined, before: null, error: null, time: 0 });
/** The last answer, null until it is there. @type {{readonly value: any, peek: () => any}} */
export const health = computed(() => healthAnswer.value.data ?? null);
/** Why alerts could not be had. */
const alertsError = signal(/** @type {import('./api.js').ApiError | null} */ (null));
/** Alerts of the last 30 days, the latest first. @type {import('../vendor/signals.js').Signal<any[]>} */
export const recentAlerts = signal([]);

const KEY = 'picosnitch-alerts-seen';
/** @returns {number} */
function stored() {
  try {
    return Number(localStorage.getItem(KEY)) || 0;
  } catch {
    return 0;
  }
}
/** Alerts up to this moment (unix seconds) were looked at in this browser. */
export const seenUntil = signal(stored());
/** @param {number} time */
export function markSeen(time) {
  seenUntil.value = time;
  try {
    localStorage.setItem(KEY, String(time));
  } catch {
    // Private browsing: kept as long as the page.
  }
}

/** Whether the daemon does not run. */
export const isStopped = computed(
  () =>
    daemonState.value === 'stopped' ||
    Boolean(health.value && !health.value.daemon && !healthAnswer.value.error),
);

/** What is wrong with picosnitch itself, as sentences; empty is all right. */
export const troubles = computed(() => {
  const { data: known, error, time } = healthAnswer.value;
  /** @type {string[]} */
  const list = [];
  if (alertsError.value) list.push(`Alerts could not be read: ${alertsError.value.text}`);
  // What was hours ago is not so now.
  if (error)
    return [
      ...list,
      `How picosnitch is${time ? ` since ${hourMinute(time / 1000)}` : ''} is not known: ${error.text}`,
    ];
  if (!known) return list;
  if (!known.daemon) list.push(known.daemon_problem ?? 'picosnitch is not running: nothing is recorded.');
  if (known.log_problem) list.push(known.log_problem);
  for (const loss of (known.losses_24h ?? []).filter(isMissing)) list.push(loss.text);
  return list;
});

/** From when on there are records of what is no log of this machine. @returns {Promise<void>} */
const lookAtSource = () =>
  get('source').then(
    (data) =>
      batch(() => {
        source.value = data;
        logBegin.value = data.first;
      }),
    // What was asked for besides says why.
    () => {},
  );

/** @returns {Promise<void>} */
export function lookAtHealth() {
  if (!isOwn) return lookAtSource();
  return get('health').then(
    (data) => {
      const old = healthAnswer.peek();
      // What it costs now is the difference of two answers, which is nothing between those of one moment.
      const before = data.now - (old.data?.now ?? 0) > 4 ? old.data : old.before;
      batch(() => {
        healthAnswer.value = { data, before, error: null, time: Date.now() };
        logBegin.value = data.log?.first ?? data.daemon?.since ?? null;
      });
    },
    (error) => {
      healthAnswer.value = { ...healthAnswer.peek(), error };
    },
  );
}

/** What the first questions depend on is waited for, but not long. */
export const firstLook = () =>
  Promise.race([lookAtHealth(), new Promise((resolve) => setTimeout(resolve, 250))]);

function look() {
  lookAtHealth();
  ask('events', { kind: 'alert', range: '30d', limit: 200, zone: ZONE }).then(
    (data) => {
      recentAlerts.value = data.rows;
      alertsError.value = null;
    },
    (error) => {
      alertsError.value = error.kind === 'no_log' ? null : error;
    },
  );
}

/** A range that ends now is asked for again: this often, in seconds. */
function pace() {
  if (failing.size) return 10;
  if (param('until')) return 0;
  return { '15m': 10, '1h': 10, '6h': 30, '1d': 60, today: 60 }[String(question.value.range ?? '1d')] ?? 300;
}

/** A row that moves to another place when figures are new would lose the keyboard. */
function keepFocus() {
  let last = /** @type {EventTarget | null} */ (null);
  addEventListener('focusin', (event) => {
    last = event.target;
  });
  new MutationObserver((changes) => {
    const lost = last instanceof HTMLElement && last.isConnected && document.activeElement === document.body;
    for (const { removedNodes } of lost ? changes : [])
      for (const node of removedNodes)
        if (node.contains(/** @type {Node} */ (last)))
          /** @type {HTMLElement} */ (last).focus({ preventScroll: true });
  }).observe(document.body, { childList: true, subtree: true });
}

export function startWatch() {
  let looked = Date.now();
  let last = looked;
  // At once, and when the daemon went or came back.
  effect(() => {
    if (daemonState.value && allowed.value) look();
  });
  effect(() => {
    if (refresh.value) last = Date.now();
  });
  // Without this the figures of a page that is left open would be those of the morning.
  const turn = () => {
    if (document.visibilityState !== 'visible' || !allowed.peek()) return;
    const now = Date.now();
    if (now - looked >= 60_000) {
      looked = now;
      look();
    }
    const seconds = pace();
    if (seconds && now - last >= seconds * 1000) refresh.value++;
  };
  setInterval(turn, 5000);
  document.addEventListener('visibilitychange', turn);
  addEventListener('online', askAgain);
  keepFocus();
}
