/** The start of the page: theme, token, keys, routes; each page is a module of its own, loaded when it is first opened. */
import { askAgain } from './lib/answer.js';
import { allowed, takeToken } from './lib/api.js';
import { baseName, rate as rateText } from './lib/format.js';
import { effect, html, render, useEffect, useErrorBoundary, useState, visible } from './lib/html.js';
import { startKeys } from './lib/keys.js';
import { daemonState, rate, startLive } from './lib/live.js';
import { hasPage, isOwn } from './lib/source.js';
import { hasRange, page, param, startRouting } from './lib/state.js';
import { startTheme } from './lib/theme.js';
import { firstLook, startWatch } from './lib/watch.js';
import { Footer } from './parts/footer.js';
import { Header } from './parts/header.js';
import { Help, useCommonShortcuts } from './parts/help.js';
import { Banners, NotAllowed } from './parts/states.js';

/** @type {Record<string, () => Promise<{default: unknown}>>} */
const MODULES = {
  overview: () => import('./pages/overview.js'),
  explore: () => import('./pages/explore.js'),
  program: () => import('./pages/program.js'),
  destination: () => import('./pages/destination.js'),
  flows: () => import('./pages/flows.js'),
  live: () => import('./pages/live.js'),
  fleet: () => import('./pages/fleet.js'),
  alerts: () => import('./pages/alerts.js'),
  health: () => import('./pages/health.js'),
};
/** @type {Map<string, unknown>} */
const loaded = new Map();

/** @param {string} name @returns {Promise<unknown>} */
async function load(name) {
  const module = hasPage(name) ? MODULES[name] : () => import('./pages/not_here.js');
  if (!loaded.has(name)) loaded.set(name, (await module()).default);
  return loaded.get(name);
}

/**
 * A mistake of ours in one page leaves the header and the other pages. The page is made here: as a child it would be kept as
 * it was first drawn, with all that was drawn since.
 * @param {{is: unknown}} props
 */
function Guarded({ is }) {
  const [error, again] = useErrorBoundary((problem) => console.error(problem));
  if (!error) return html`<${is} />`;
  return html`
    <div class="alone">
      <h1>This page could not be drawn</h1>
      <p class="note">Recording is not affected. What went wrong: ${String(error)}</p>
      <button type="button" class="btn" onClick=${again}>Try again</button>
    </div>
  `;
}

function App() {
  const name = page.value;
  const [, drawn] = useState('');
  useCommonShortcuts();
  useEffect(() => {
    load(name).then(() => drawn(name));
  }, [name]);
  const Page = loaded.get(name);
  // Another program is another page: figures of the one before are not shown under its name.
  const subject = ['exe', 'domain', 'address', 'country'].map(param).join(' ');
  if (!allowed.value) return html`<main id="main" tabindex="-1"><${NotAllowed} /></main>`;
  return html`
    <${Header} />
    <main id="main" tabindex="-1">
      ${Page && html`<${Guarded} key=${name + subject} is=${Page} />`}
      <${Banners} />
    </main>
    <${Footer} />
    <${Help} />
  `;
}

/** The title of the window: the rate first, so that it is seen in a narrow tab. */
function title() {
  const name = page.value;
  const subject = param('exe')
    ? baseName(param('exe'))
    : param('domain') || param('address') || param('country');
  const text =
    (name === 'program' || name === 'destination') && subject
      ? subject
      : name[0].toUpperCase() + name.slice(1);
  const state = daemonState.value;
  const { received } = rate.value;
  const now = state === 'stopped' ? 'not recording · ' : received ? `↓ ${rateText(received)} · ` : '';
  const title = visible(`${now}${text} · picosnitch`);
  if (document.title !== title) document.title = title;
}

takeToken();
// The printed address opened in a tab that has the page already changes only the fragment.
addEventListener('hashchange', () => takeToken() && askAgain());
startTheme();
startRouting();
startKeys();
effect(title);
Promise.all([load(page.value), hasRange.value ? null : firstLook()]).then(() => {
  const place = /** @type {Element} */ (document.getElementById('app'));
  // The header that index.html has only for the first moment.
  place.replaceChildren();
  render(html`<${App} />`, place);
  startWatch();
  if (isOwn) startLive();
});
