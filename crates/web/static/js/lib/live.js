/** A stand-in until the stream of live data is merged. */
import { signal } from './html.js';

export const rate = signal({
  received: 0,
  sent: 0,
  history: /** @type {{received: number[], sent: number[]}} */ ({ received: [], sent: [] }),
});
export const daemonState = signal('connecting');
export const connections = signal([]);
export function startLive() {}
