/** The live stream: one for all tabs of the browser. The tab that has the lock reads it, and tells the others. */
import { ApiError, allowed, request } from './api.js';
import { batch, effect, signal } from './html.js';
import { LiveModel, SECONDS } from './live_model.js';

/** @import { DaemonState, History, Line } from './live_types.js' */

const NAME = 'picosnitch-live';
/** Silence of the daemon is said after this, in milliseconds: it sends a tick each second. */
const SILENCE = 5000;
const SHORTEST_PAUSE = 1000;
const LONGEST_PAUSE = 30_000;
/** A line is not longer than this; a traffic line has thousands of connections. */
const LONGEST_LINE = 4_000_000;

const model = new LiveModel();

/** Bytes a second of all programs, and of the last minute. */
export const rate = signal(
  /** @type {{received: number, sent: number, history: History}} */ ({
    received: 0,
    sent: 0,
    history: { received: Array(SECONDS / 2).fill(0), sent: Array(SECONDS / 2).fill(0) },
  }),
);
export const daemonState = signal(/** @type {DaemonState} */ ('connecting'));
/** Why nothing is recorded or heard, in the server's words. */
export const stoppedText = signal('');
/** When the state last changed to something else than recording, in milliseconds. */
export const silentSince = signal(/** @type {number | null} */ (null));
/**
 * What is open: the model itself in a new wrapper after each measurement, because copying thousands of rows each second
 * would be waste. `time` is that of the daemon.
 */
export const connections = signal({ time: 0, model });
/** Alerts, errors and losses since the stream began, the newest first. */
export const alerts = signal(/** @type {Line[]} */ ([]));
export const hello = signal(/** @type {Record<string, any> | null} */ (null));

/** Whether the connections are shown somewhere; hidden tabs do not draw. */
const isShown = () => document.visibilityState === 'visible';

/** Tells the page what the model has now. */
function publish() {
  batch(() => {
    rate.value = {
      received: model.received,
      sent: model.sent,
      history: {
        received: model.history.received.slice(-SECONDS / 2),
        sent: model.history.sent.slice(-SECONDS / 2),
      },
    };
    if (hello.value !== model.hello) hello.value = model.hello;
    if (alerts.value !== model.alerts) alerts.value = model.alerts;
    if (isShown()) connections.value = { time: model.time, model };
  });
}

/**
 * @param {DaemonState} state
 * @param {string} [why]
 */
function setState(state, why = '') {
  batch(() => {
    if (daemonState.value === state && stoppedText.value === why) return;
    silentSince.value = state === 'recording' ? null : Date.now();
    // An old rate would be taken for the present one.
    if (state !== 'recording') rate.value = { ...rate.value, received: 0, sent: 0 };
    daemonState.value = state;
    stoppedText.value = why;
  });
}

let heard = 0;

/** @param {Line[]} lines */
function take(lines) {
  let isMeasured = false;
  heard = Date.now();
  for (const line of lines) {
    if (line.event === 'dash') {
      if (line.state === 'stopped') {
        model.clear();
        setState('stopped', typeof line.text === 'string' ? line.text : '');
        isMeasured = true;
      }
    } else {
      isMeasured = model.apply(line) || isMeasured;
      if (line.event === 'tick') setState('recording');
      if (
        line.event === 'hello' ||
        line.event === 'alert' ||
        line.event === 'error' ||
        line.event === 'loss'
      ) {
        isMeasured = true;
      }
    }
  }
  if (isMeasured) publish();
}

/**
 * Reads one stream to its end.
 * @param {(lines: Line[]) => void} onLines
 * @param {AbortSignal} abort
 */
async function read(onLines, abort) {
  const response = await request('live', {}, abort);
  const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
  const decoder = new TextDecoder();
  let rest = '';
  /** @type {Line[]} */
  let lines = [];
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const pieces = (rest + decoder.decode(value, { stream: true })).split('\n');
    rest = pieces.pop() ?? '';
    if (rest.length > LONGEST_LINE) {
      await reader.cancel();
      return;
    }
    for (const piece of pieces) {
      if (!piece) continue;
      let line;
      try {
        line = JSON.parse(piece);
      } catch {
        // Not a line of ours; the next one may be.
      }
      if (typeof line?.event === 'string') lines.push(line);
      // The lines of one tick are drawn together.
      if (line?.event === 'tick' || line?.event === 'dash' || lines.length > 5000) {
        onLines(lines);
        lines = [];
      }
    }
    if (lines.length > 0 && lines.every((line) => line.event !== 'connection' && line.event !== 'traffic')) {
      onLines(lines);
      lines = [];
    }
  }
}

/** @param {number} milliseconds @param {AbortSignal} abort */
const pause = (milliseconds, abort) =>
  new Promise((/** @type {(value?: unknown) => void} */ done) => {
    const end = () => {
      clearTimeout(timer);
      removeEventListener('online', end);
      document.removeEventListener('visibilitychange', end);
      abort.removeEventListener('abort', end);
      done();
    };
    const timer = setTimeout(end, milliseconds);
    // Whoever comes back to the page does not wait.
    addEventListener('online', end);
    document.addEventListener('visibilitychange', end);
    abort.addEventListener('abort', end);
  });

/**
 * Reads streams until it is not allowed.
 * @param {(lines: Line[]) => void} onLines
 * @param {AbortSignal} abort
 */
async function follow(onLines, abort) {
  let wait = SHORTEST_PAUSE;
  while (!abort.aborted) {
    const start = Date.now();
    try {
      await read(onLines, abort);
    } catch (error) {
      const status = error instanceof ApiError ? error.status : 0;
      const why = error instanceof ApiError && status > 0 ? error.text : '';
      if (status === 401 || status === 403) setState('not allowed', why);
      else if (why || daemonState.value === 'recording') setState('connecting', why);
      if (status === 401) return;
      if (status === 403) wait = LONGEST_PAUSE;
    }
    if (abort.aborted) return;
    // A stream that lasted was a good one: the server was restarted, or the machine slept.
    if (Date.now() - start > 20_000) wait = SHORTEST_PAUSE;
    if (daemonState.value === 'recording') setState('connecting');
    await pause(wait * (0.75 + Math.random() / 2), abort);
    wait = Math.min(LONGEST_PAUSE, wait * 2);
  }
}

/** Waits until a token was taken. */
const untilAllowed = () =>
  new Promise((/** @type {(value?: unknown) => void} */ done) => {
    /** @type {(() => void) | undefined} */
    let stop;
    stop = effect(() => {
      if (allowed.value) {
        done();
        stop?.();
      }
    });
    if (allowed.peek()) stop();
  });

/**
 * What tabs tell each other: `want` a snapshot, `snapshot` for one tab, `lines`, a new reader `leads`, a tab says `bye`.
 * @typedef {{want: string} | {snapshot: ReturnType<LiveModel['snapshot']>, to: string, state: DaemonState, why: string}
 *   | {lines: Line[]} | {leads: true} | {bye: string} | {state: DaemonState, why: string}} Message
 */

class Tabs {
  constructor() {
    this.me = crypto.randomUUID?.() ?? String(Math.random());
    this.channel = new BroadcastChannel(NAME);
    /** Tabs that want the lines. @type {Set<string>} */
    this.listeners = new Set();
    this.isLeading = false;
    /** Whether this tab has no snapshot yet. */
    this.isWaiting = true;
    /** When another tab was last heard. */
    this.heard = Date.now();
    /** Ends the wait for the lock. */
    this.turn = new AbortController();
    this.steals = false;
  }

  /** @param {Message} message */
  post(message) {
    this.channel.postMessage(message);
  }

  /** @param {any} data */
  hear(data) {
    this.heard = Date.now();
    if (this.isLeading) {
      if (data.want) {
        this.listeners.add(data.want);
        const said = { state: daemonState.value, why: stoppedText.value };
        this.post({ snapshot: model.snapshot(), to: data.want, ...said });
      } else if (data.bye) {
        this.listeners.delete(data.bye);
      }
    } else if (!allowed.peek()) {
      // A tab without a token shows nothing, also not what another tab may see.
      this.isWaiting = true;
    } else if (data.snapshot && data.to === this.me) {
      this.isWaiting = false;
      model.restore(data.snapshot);
      heard = Date.now();
      setState(data.state, data.why);
      publish();
    } else if (data.lines && !this.isWaiting) {
      take(data.lines);
    } else if (data.leads || (data.lines && this.isWaiting)) {
      this.post({ want: this.me });
    } else if (data.state && !data.snapshot && !this.isWaiting) {
      setState(data.state, data.why);
    }
  }

  /** Reads the stream for all tabs, until this one is not allowed to, or another took its place. @param {AbortSignal} abort */
  async lead(abort) {
    this.isLeading = true;
    model.clear();
    this.post({ leads: true });
    await follow((lines) => {
      if (abort.aborted) return;
      take(lines);
      if (this.listeners.size > 0) this.post({ lines });
    }, abort);
  }

  /** A tab that the browser has put to sleep keeps the lock; who looks at another one does not wait for it. */
  watch() {
    if (this.isLeading) {
      if (this.listeners.size > 0) this.post({ state: daemonState.value, why: stoppedText.value });
    } else if (isShown() && allowed.peek() && Date.now() - this.heard > 3 * SILENCE) {
      this.heard = Date.now();
      this.steals = true;
      this.turn.abort();
    }
  }
}

/** One stream for all tabs. */
async function share() {
  const tabs = new Tabs();
  tabs.channel.onmessage = ({ data }) => tabs.hear(data);
  addEventListener('pagehide', () => tabs.post({ bye: tabs.me }));
  setInterval(() => tabs.watch(), SILENCE);
  tabs.post({ want: tabs.me });
  for (;;) {
    await untilAllowed();
    const reading = new AbortController();
    const steal = tabs.steals;
    tabs.steals = false;
    tabs.turn = new AbortController();
    try {
      await navigator.locks.request(NAME, steal ? { steal } : { signal: tabs.turn.signal }, () =>
        tabs.lead(reading.signal),
      );
    } catch (error) {
      // The lock was stolen, or this tab is about to steal it; anything else means that there are no locks here.
      if (!(error instanceof DOMException && error.name === 'AbortError')) throw error;
    }
    reading.abort();
    tabs.isLeading = false;
    tabs.isWaiting = true;
    tabs.listeners.clear();
    if (allowed.peek()) tabs.post({ want: tabs.me });
  }
}

async function alone() {
  for (;;) {
    await untilAllowed();
    await follow(take, new AbortController().signal);
  }
}

let isStarted = false;

/** Begins to read; called once when the page starts. */
export function startLive() {
  if (isStarted) return;
  isStarted = true;
  setInterval(() => {
    if (daemonState.value === 'recording' && Date.now() - heard > SILENCE) setState('connecting');
  }, 2000);
  document.addEventListener('visibilitychange', () => {
    if (isShown()) publish();
  });
  const canShare = typeof BroadcastChannel === 'function' && 'locks' in navigator;
  (canShare ? share() : alone()).catch(() => alone());
}
