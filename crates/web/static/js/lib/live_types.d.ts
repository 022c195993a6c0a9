// The types of live traffic, for the type checker only: declared here, so that the browser does not load them.

/** A program of live traffic. */
export type LiveContext = {
  path: string;
  name: string;
  command: string;
  uid: number;
  unit: string;
  container: string;
  app: string;
};
/** Sums are bytes since it began, bases the same at the start of the second that is measured, rates bytes a second. */
export type LiveConnection = {
  id: number;
  context: number;
  process: number;
  listening: boolean;
  opened: boolean;
  family: number;
  protocol: number;
  /** Of the peer. */
  address: string | null;
  port: number;
  localPort: number;
  domain: string;
  began: number | null;
  received: number;
  sent: number;
  baseReceived: number;
  baseSent: number;
  rateReceived: number;
  rateSent: number;
  /** When it ended. */
  ended: number | null;
};
/** The last two minutes, one number a second, the newest last. */
export type History = { received: number[]; sent: number[] };
// biome-ignore lint/suspicious/noExplicitAny: lines of the daemon are looked at one by one
export type Line = Record<string, any> & { event: string };
export type DaemonState = 'connecting' | 'recording' | 'stopped' | 'not allowed';
/** A connection as it is shown. */
export type Row = LiveConnection & { path: string; name: string; peer: string };
