/** What the live stream says, as rates and open connections. Everything here has a bound: the page may stay open for a month. */

/** @import { History, Line, LiveConnection, LiveContext } from './live_types.js' */

/** Seconds of history. */
export const SECONDS = 120;
/** Ended connections are shown this long. */
export const ENDED_SECONDS = 30;
const MAX_CONNECTIONS = 50_000;
const MAX_ENDED = 2000;
const MAX_CONTEXTS = 10_000;
const MAX_PROGRAMS = 2000;
const MAX_ALERTS = 100;
/** Rates are of this time at least: the kernel's counters are read twice a second. */
const MEASURED = 0.9;
const NO_CONTEXT = { path: '', name: '', command: '', uid: -1, unit: '', container: '', app: '' };

/** @returns {History} */
const emptyHistory = () => ({ received: Array(SECONDS).fill(0), sent: Array(SECONDS).fill(0) });

/** @param {unknown} value */
const text = (value) => (typeof value === 'string' ? value.slice(0, 4096) : '');
/** @param {unknown} value */
const number = (value) => (typeof value === 'number' && Number.isFinite(value) ? value : 0);

export class LiveModel {
  /** @type {Map<number, LiveConnection>} */
  connections = new Map();
  /** @type {Map<number, LiveContext>} */
  contexts = new Map();
  /** Ids of ended connections, the oldest first. @type {{id: number, time: number}[]} */
  ended = [];
  /** Connections that have a rate, or moved something since the last measurement. @type {Set<number>} */
  moving = new Set();
  received = 0;
  sent = 0;
  omitted = 0;
  ownOmitted = 0;
  sweepAt = MAX_CONTEXTS;
  /** Whether the list of what was open at the start is complete. */
  listed = false;
  /** @type {Record<string, any> | null} */
  hello = null;
  history = emptyHistory();
  /** By path. @type {Map<string, History>} */
  programs = new Map();
  /** Time of the last tick, and up to which the history reaches. */
  time = 0;
  measured = 0;
  /** Alerts, errors and losses, the newest first. @type {Line[]} */
  alerts = [];

  /** Forgets what is open: the daemon ended, or another one begins. */
  clear() {
    const { history, programs, time, measured, alerts } = this;
    Object.assign(this, new LiveModel(), { history, programs, time, measured, alerts });
  }

  /** @param {number} id */
  contextOf(id) {
    return this.contexts.get(id) ?? NO_CONTEXT;
  }

  /**
   * @param {Line} line
   * @returns {boolean} whether there are new rates
   */
  apply(line) {
    switch (line.event) {
      case 'hello':
        this.clear();
        this.hello = line;
        return false;
      case 'context':
        this.takeContext(line);
        return false;
      case 'connection':
      case 'listening':
        this.takeConnection(line);
        return false;
      case 'traffic':
        this.takeTraffic(line);
        return false;
      case 'tick':
        return this.tick(number(line.time), number(line.omitted));
      case 'alert':
      case 'alerts_folded':
      case 'error':
      case 'loss':
        this.alerts = [line, ...this.alerts].slice(0, MAX_ALERTS);
        return false;
      default:
        return false;
    }
  }

  /** @param {Line} line */
  takeContext(line) {
    if (this.contexts.size >= this.sweepAt) {
      const used = new Set([...this.connections.values()].map((connection) => connection.context));
      for (const id of this.contexts.keys()) {
        if (!used.has(id)) this.contexts.delete(id);
      }
      this.sweepAt = Math.max(MAX_CONTEXTS, this.contexts.size * 2);
    }
    this.contexts.set(number(line.id), {
      path: text(line.path),
      name: text(line.name),
      command: text(line.command_line).slice(0, 400),
      uid: number(line.uid),
      unit: text(line.unit),
      container: text(line.container),
      app: text(line.app),
    });
  }

  /** @param {Line} line */
  takeConnection(line) {
    const id = number(line.id);
    const old = this.connections.get(id);
    if (!old && this.connections.size >= MAX_CONNECTIONS) {
      this.ownOmitted++;
      return;
    }
    const received = number(line.received);
    const sent = number(line.sent);
    const began = typeof line.began === 'number' ? line.began : null;
    // What was open before us has moved its bytes before us; what began since then moved them now.
    const isNew = this.listed && began !== null && began >= this.measured - 1;
    this.connections.set(id, {
      id,
      context: number(line.context),
      process: number(line.process),
      listening: line.event === 'listening',
      opened: line.opened === true,
      family: number(line.family),
      protocol: number(line.protocol),
      address: typeof line.remote_address === 'string' ? line.remote_address : null,
      port: number(line.remote_port),
      localPort: number(line.local_port),
      domain: text(line.domain),
      began,
      received,
      sent,
      baseReceived: old ? old.baseReceived : isNew ? 0 : received,
      baseSent: old ? old.baseSent : isNew ? 0 : sent,
      rateReceived: old ? old.rateReceived : 0,
      rateSent: old ? old.rateSent : 0,
      ended: null,
    });
    if (isNew || old) this.moving.add(id);
  }

  /** @param {Line} line */
  takeTraffic(line) {
    for (const [id, sent, received] of line.connections ?? []) {
      const connection = this.connections.get(id);
      if (connection) {
        connection.sent = number(sent);
        connection.received = number(received);
        connection.began ??= this.time;
        this.moving.add(id);
      }
    }
    for (const id of line.ended ?? []) {
      const connection = this.connections.get(id);
      if (connection && connection.ended === null) {
        connection.ended = this.time || Date.now() / 1000;
        if (connection.listening) {
          this.forget(id);
        } else {
          this.ended.push({ id, time: connection.ended });
        }
      }
    }
  }

  /** @param {number} id */
  forget(id) {
    this.connections.delete(id);
    this.moving.delete(id);
  }

  /**
   * @param {number} time
   * @param {number} omitted
   */
  tick(time, omitted) {
    this.time = time;
    this.omitted = omitted + this.ownOmitted;
    const seconds = time - this.measured;
    // The list begins anew, or the clock was set back.
    if (!this.listed || seconds < 0) {
      // While nothing was heard time went on.
      if (this.measured > 0 && seconds > 0) this.remember(new Map(), seconds);
      this.listed = true;
      this.measured = time;
      return true;
    }
    if (seconds < MEASURED) return false;
    this.measure(time, seconds);
    const kept = this.ended.findIndex(
      (one, i) => one.time >= time - ENDED_SECONDS && i >= this.ended.length - MAX_ENDED,
    );
    for (const one of this.ended.splice(0, kept < 0 ? this.ended.length : kept)) this.forget(one.id);
    return true;
  }

  /**
   * @param {number} time
   * @param {number} seconds since the last measurement
   */
  measure(time, seconds) {
    /** @type {Map<string, [number, number]>} */
    const byProgram = new Map();
    let received = 0;
    let sent = 0;
    for (const id of this.moving) {
      const one = this.connections.get(id);
      if (!one) continue;
      const down = Math.max(0, one.received - one.baseReceived);
      const up = Math.max(0, one.sent - one.baseSent);
      one.baseReceived = one.received;
      one.baseSent = one.sent;
      one.rateReceived = one.ended === null ? down / seconds : 0;
      one.rateSent = one.ended === null ? up / seconds : 0;
      if (down + up === 0 || one.ended !== null) this.moving.delete(id);
      if (down + up > 0) {
        received += down;
        sent += up;
        const path = this.contextOf(one.context).path;
        const sum = byProgram.get(path) ?? [0, 0];
        byProgram.set(path, [sum[0] + down, sum[1] + up]);
      }
    }
    this.received = received / seconds;
    this.sent = sent / seconds;
    this.measured = time;
    this.remember(byProgram, seconds);
  }

  /**
   * @param {Map<string, [number, number]>} byProgram bytes
   * @param {number} seconds
   */
  remember(byProgram, seconds) {
    const steps = Math.min(SECONDS, Math.max(1, Math.round(seconds)));
    const push = (/** @type {History} */ history, down = 0, up = 0) => {
      for (let i = 0; i < steps; i++) {
        history.received.push(down);
        history.sent.push(up);
      }
      history.received.splice(0, history.received.length - SECONDS);
      history.sent.splice(0, history.sent.length - SECONDS);
    };
    push(this.history, this.received, this.sent);
    for (const [path, history] of this.programs) {
      const sum = byProgram.get(path);
      push(history, (sum?.[0] ?? 0) / seconds, (sum?.[1] ?? 0) / seconds);
      byProgram.delete(path);
      if (!sum && history.received.every((rate) => rate === 0) && history.sent.every((rate) => rate === 0)) {
        this.programs.delete(path);
      }
    }
    for (const [path, sum] of byProgram) {
      if (this.programs.size < MAX_PROGRAMS) {
        const history = emptyHistory();
        push(history, sum[0] / seconds, sum[1] / seconds);
        this.programs.set(path, history);
      }
    }
  }

  /** Everything, for a tab that comes later. */
  snapshot() {
    return {
      connections: [...this.connections.values()],
      contexts: [...this.contexts],
      ended: this.ended,
      moving: [...this.moving],
      history: this.history,
      programs: [...this.programs],
      alerts: this.alerts,
      hello: this.hello,
      numbers: [this.received, this.sent, this.time, this.measured, this.omitted, this.ownOmitted],
      listed: this.listed,
    };
  }

  /** @param {ReturnType<LiveModel['snapshot']>} from */
  restore(from) {
    this.clear();
    this.connections = new Map(from.connections.map((connection) => [connection.id, connection]));
    this.contexts = new Map(from.contexts);
    this.ended = from.ended;
    this.moving = new Set(from.moving);
    this.history = from.history;
    this.programs = new Map(from.programs);
    this.alerts = from.alerts;
    this.hello = from.hello;
    [this.received, this.sent, this.time, this.measured, this.omitted, this.ownOmitted] = from.numbers;
    this.listed = from.listed;
  }
}
