/** What the figures are of: the log of this machine, another log, or a server with copies of the logs of several hosts. */
import { signal } from './html.js';

/** The document says it, so that it is known before anything is asked. */
const kind = document.documentElement.dataset.source ?? 'own';
export const isOwn = kind === 'own';
export const isServer = kind === 'server';
/** Its name and version, null until they are known. @type {import('../vendor/signals.js').Signal<{name: string, version: string} | null>} */
export const source = signal(null);

/** Live traffic and the state of picosnitch are of one machine, questions about all hosts of a server. @param {string} page */
export const hasPage = (page) =>
  page === 'fleet' ? isServer : isOwn || (page !== 'live' && page !== 'health');
