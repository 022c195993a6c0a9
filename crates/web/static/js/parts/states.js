/** What is shown when there are no figures: loading, empty, filtered to nothing, error, stopped, log replaced, not allowed. */

import { askAgain, logNow, logOpened, takeNewLog } from '../lib/answer.js';
import { allowed, logIn, session } from '../lib/api.js';
import { dayAndTime, hourMinute } from '../lib/format.js';
import { cls, html, useEffect, useState, visible } from '../lib/html.js';
import { daemonState, stoppedText } from '../lib/live.js';
import { isServer } from '../lib/source.js';
import { change, filters, find, here, link, page, scope } from '../lib/state.js';
import { health, isStopped } from '../lib/watch.js';

/** A line of the height that a row will have. @param {{widths?: string[], rows?: number}} props */
export const SkeletonRows = ({ widths = ['70%', '48px', '48px'], rows = 8 }) => html`
  <ul class="skels" aria-hidden="true">
    ${Array.from(
      { length: rows },
      (_, row) => html`
      <li class="lrow prow" key=${row}>
        ${widths.map((width, i) => html`<span class="skel" key=${i} style=${{ width: i ? width : `${82 - ((row * 17) % 40)}%` }}></span>`)}
      </li>
    `,
    )}
  </ul>
`;

/**
 * Rows that are there, rows to come, or nothing for the first 300 ms; the height stays.
 * @param {{answer: import('../lib/answer.js').Answer, rows?: number, children?: unknown}} props
 */
export function Figures({ answer, rows = 8, children }) {
  if (answer.data) return html`<div class=${cls(answer.stale && 'stale')}>${children}</div>`;
  if (answer.error) return html`<p class="note nothing" title=${answer.error.text}>Could not be read.</p>`;
  return answer.slow
    ? html`<${SkeletonRows} rows=${rows} />`
    : html`<div class="hold" style=${{ '--rows': rows }}></div>`;
}

/** A sentence when a request failed: what it was, how old the figures are, what to do. @param {{answer: import('../lib/answer.js').Answer}} props */
export function Problem({ answer }) {
  const { error, data, time } = answer;
  if (!error) return null;
  return html`
    <p class=${cls('note', 'problem', data && 'kept')} role="alert">
      <b class="t-wrong"><${Said} text=${error.text} /></b>
      ${data && ` Figures are those of ${hourMinute(time / 1000)}.`}
      ${error.kind !== 'no_log' && error.kind !== 'no_rights' && error.status !== 400 && ' Recording is not affected.'}${' '}
      <button type="button" class="lnk" onClick=${askAgain}>Try again</button>
    </p>
  `;
}

/** @param {{since: number, until: number}} range */
const between = (range) => `between ${dayAndTime(range.since)} and ${dayAndTime(range.until)}`;

/**
 * Why there is nothing: filters, or no traffic.
 * @param {{range: {since: number | null, until: number | null}, extent?: [number, number] | null, what?: string}} props
 */
export function Nothing({ range, extent, what = 'traffic' }) {
  const [first, last] = extent ?? [];
  const where =
    range.since && range.until ? between({ since: range.since, until: range.until }) : 'in the log';
  const all = html`<a class="lnk" href=${here({ range: 'all', since: null, until: null, offset: null })}>Look in all of history</a>`;
  if (filters.value.length || find.value || scope.value)
    return html`
      <p class="note nothing">
        No ${what} ${where} that the ${find.value ? `text “${find.value}” and the filters leave` : 'filters leave'}. ${all}
        ${' or '}<button type="button" class="lnk"
          onClick=${() => change({ where: null, exclude: null, find: null, scope: null })}>remove the filters</button>.
      </p>
    `;
  return html`
    <p class="note nothing">
      No ${what} ${where}.${first && range.until && range.until < first && ` The log begins ${dayAndTime(first)}.`}
      ${
        last && range.since && last < range.since
          ? html`${' '}<a class="lnk" href=${here({ range: null, since: String(last - 86400), until: String(last) })}>Last
            traffic was ${dayAndTime(last)}</a>.`
          : html`${' '}${all}.`
      }
    </p>
  `;
}

/** A sentence of the server; what is between backticks is a command. @param {{text: string}} props */
export const Said = ({ text }) =>
  text.split('`').map((part, i) => (i % 2 ? html`<code key=${i}>${part}</code>` : visible(part)));

/** On every page, at the foot of the window so that nothing moves: the daemon does not run, or the log is another one. */
export function Banners() {
  const known = health.value;
  // Health says it itself.
  const stopped = isStopped.value && page.value !== 'health';
  const why = (daemonState.value === 'stopped' && stoppedText.value) || known?.daemon_problem;
  const replaced = logOpened.value && logNow.value !== logOpened.value;
  if (!stopped && !replaced) return null;
  return html`
    <div class="banners">
    ${
      stopped &&
      html`
      <p class="banner wrong" role="status">
        <b>Nothing is recorded now.</b>${' '}
        <a class="lnk phone-only" href=${link('health')}>What to do</a>
        <span class="wide-only">${why ? html`<${Said} text=${why} />` : 'The daemon does not run.'}</span>
      </p>
    `
    }
    ${
      replaced &&
      html`
      <p class="banner" role="status">
        The log is not the one this page was opened on<span class="wide-only">: it was restored or begun anew</span>.
        ${' '}<button type="button" class="lnk" onClick=${takeNewLog}>Load the new one</button><span class="wide-only">; filters are kept</span>.
      </p>
    `
    }
    </div>
  `;
}

function LogInForm() {
  const [error, setError] = useState('');
  /** @param {SubmitEvent} event */
  const onSubmit = (event) => {
    event.preventDefault();
    const form = /** @type {HTMLFormElement} */ (event.currentTarget);
    const field = /** @type {HTMLInputElement} */ (form.elements.namedItem('password'));
    logIn(field.value).then(askAgain, (problem) =>
      setError(problem.status === 401 ? 'That is not the password.' : problem.text),
    );
  };
  return html`
    <form class="login" onSubmit=${onSubmit}>
      <label>Password <input type="password" name="password" autocomplete="current-password" required /></label>
      <button class="btn" type="submit">Log in</button>
      ${error && html`<p class="t-wrong" role="alert">${error}</p>`}
    </form>
  `;
}

/** In place of any figure when the server does not let this browser in. */
export function NotAllowed() {
  const [auth, setAuth] = useState('');
  useEffect(() => {
    session().then(
      (answer) => setAuth(answer.auth),
      () => setAuth('token'),
    );
  }, [allowed.value]);
  if (auth === 'password') return html`<div class="alone"><h1>picosnitch</h1><${LogInForm} /></div>`;
  return html`
    <div class="alone">
      <h1>This browser is not let in</h1>
      <p class="note">
        The address that picosnitch prints has a token in it, and this page was opened without one or with that of an earlier
        run. Open it again with <code>picosnitch dash</code>, or where it runs as a service with
        ${' '}<code>picosnitch dash --open</code>.
      </p>
    </div>
  `;
}

/** In place of any figure when there is no log, or it may not be read. @param {{error: import('../lib/api.js').ApiError}} props */
export const NoLog = ({ error }) => html`
  <div class="alone">
    <h1>${error.kind !== 'no_log' ? 'The log cannot be read' : isServer ? 'The server has no copies of logs' : 'There is no log yet'}</h1>
    <p class="note"><${Said} text=${error.text} /></p>
    <button type="button" class="btn" onClick=${askAgain}>Try again</button>
  </div>
`;
