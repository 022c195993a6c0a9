/** Requests to the server: the token, errors as one class, and an answer that a component can wait for. */
import { signal } from './html.js';

/** @typedef {string | number | boolean | null | undefined} Value */
/** @typedef {Record<string, Value | Value[]>} Params */

const KEY = 'picosnitch-token';
/** Kept for pages whose browser has no session storage. */
let memory = '';

/** Whether the server took the token of the last request: false shows the state "not allowed". */
export const allowed = signal(true);

/** What went wrong, said as the server said it. */
export class ApiError extends Error {
  /**
   * @param {string} kind a kind of the contract, or `network`
   * @param {string} text
   * @param {number} status
   * @param {string | null} [parameter]
   */
  constructor(kind, text, status, parameter = null) {
    super(text);
    this.kind = kind;
    // Terminals have it after "picosnitch: ".
    this.text = text.replace(/^[a-z]/, (letter) => letter.toUpperCase()).replace(/[^.?!]$/, '$&.');
    this.status = status;
    this.parameter = parameter;
  }
}

/** @returns {string} */
function token() {
  try {
    return sessionStorage.getItem(KEY) ?? memory;
  } catch {
    return memory;
  }
}

/** @param {string} value */
export function setToken(value) {
  memory = value;
  try {
    sessionStorage.setItem(KEY, value);
  } catch {
    // Private browsing: the token lasts as long as the page.
  }
  allowed.value = true;
}

/** Takes the token out of the address, where it would be seen, copied and kept in the history. @returns {boolean} there was one */
export function takeToken() {
  const found = /(?:^#|&)token=([0-9A-Za-z_-]+)/.exec(location.hash);
  if (!found) return false;
  setToken(found[1]);
  history.replaceState(history.state, '', location.href.replace(/#.*/, ''));
  return true;
}

/**
 * The address of a question; its parameters are in a fixed order, so equal questions have equal addresses.
 * @param {string} path below /api/v1/
 * @param {Params} [params]
 */
export function url(path, params = {}) {
  const query = new URLSearchParams();
  for (const name of Object.keys(params).sort()) {
    for (const value of [params[name]].flat()) {
      if (value === null || value === undefined || value === false) continue;
      query.append(name, value === true ? '1' : String(value));
    }
  }
  const text = query.toString();
  return `/api/v1/${path}${text ? `?${text}` : ''}`;
}

/**
 * @param {string} path below /api/v1/
 * @param {Params} [params]
 * @param {AbortSignal} [abort]
 * @param {RequestInit} [init]
 * @returns {Promise<Response>}
 */
export async function request(path, params, abort, init = {}) {
  const headers = new Headers(init.headers);
  const sent = token();
  if (sent) headers.set('Authorization', `Bearer ${sent}`);
  let response;
  try {
    response = await fetch(url(path, params), { ...init, headers, signal: abort, cache: 'no-store' });
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    throw new ApiError('network', 'picosnitch dash does not answer. Is it still running?', 0);
  }
  if (response.ok) return response;
  let said;
  try {
    said = (await response.json()).error;
  } catch {
    // Not an answer of ours: the status is all there is.
  }
  // A late answer to an old token says nothing of the one that was taken since.
  if (response.status === 401 && sent === token()) allowed.value = false;
  throw new ApiError(
    said?.kind ?? 'network',
    said?.text ?? `The server answered with status ${response.status}.`,
    response.status,
    said?.parameter ?? null,
  );
}

/**
 * Asks and takes the answer as JSON.
 * @param {string} path below /api/v1/, as `query`
 * @param {Params} [params]
 * @param {AbortSignal} [abort]
 * @returns {Promise<any>}
 */
export async function get(path, params, abort) {
  const response = await request(path, params, abort);
  try {
    return await response.json();
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    throw new ApiError('network', 'The answer of picosnitch dash was cut off.', 0);
  }
}

/** How this server lets people in; needs no token. @returns {Promise<{auth: string, version: string}>} */
export const session = () => get('session');

/** @param {string} password */
export async function logIn(password) {
  const response = await request('login', {}, undefined, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ password }),
  });
  setToken((await response.json()).token);
}
