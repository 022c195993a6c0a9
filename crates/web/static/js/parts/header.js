/** The header: pages with the number of unseen alerts and the state of picosnitch, search, the rate now, the theme. */

import { Spark } from '../charts/spark.js';
import { unseenAlerts as unseen, unseenWrong } from '../lib/alerts.js';
import { rateParts } from '../lib/format.js';
import { cls, html } from '../lib/html.js';
import { daemonState, rate } from '../lib/live.js';
import { hasPage, isOwn } from '../lib/source.js';
import { link, page } from '../lib/state.js';
import { theme, toggleTheme } from '../lib/theme.js';
import { troubles } from '../lib/watch.js';
import { Brand, Icon } from './icons.js';
import { Search } from './search.js';

/** Name, title, and the key after `g` if it is not the first letter. @type {[string, string, string?][]} */
const ALL = [
  ['overview', 'Overview'],
  ['explore', 'Explore'],
  ['flows', 'Flows'],
  ['live', 'Live'],
  ['fleet', 'Fleet', 'h'],
  ['alerts', 'Alerts'],
  ['health', 'Health'],
];
/** The pages that there are. */
export const NAV = ALL.filter(([name]) => hasPage(name));

/** @param {{name: string}} props */
function NavMark({ name }) {
  if (name === 'alerts' && unseen.value)
    return html`<span class=${cls('count', !unseenWrong.value && 'new')} title=${`${unseen.value} not seen yet`}>${unseen.value > 99 ? '99+' : unseen.value}</span>`;
  if (name === 'health' && troubles.value.length)
    return html`<span class="hdot" role="img" aria-label="something to look at" title=${troubles.value.join(' · ')}></span>`;
  return null;
}

function RateNow() {
  const { received, sent, history } = rate.value;
  const state = daemonState.value;
  const [down, downUnit] = rateParts(received);
  const [up, upUnit] = rateParts(sent);
  if (state === 'stopped')
    return html`<a class="rate" href=${link('health')}><span class="t-wrong">not recording</span></a>`;
  return html`
    <a class="rate" href=${link('live')} title="Right now, all programs">
      <span class="spark-host">
        ${history.received.length > 1 && html`<${Spark} received=${history.received} sent=${history.sent} width=${80} height=${20} color="var(--ink-2)" />`}
      </span>
      <span class="now"><span class="vh">Right now received </span>↓${'\u2009'}<b>${down}</b><u> ${downUnit}</u></span>
      <span class="now"><span class="vh">sent </span>↑${'\u2009'}<b>${up}</b><u> ${upUnit}</u></span>
    </a>
  `;
}

export function Header() {
  const current = page.value;
  return html`
    <a class="skip" href="#main" onClick=${(/** @type {Event} */ event) => {
      event.preventDefault();
      document.getElementById('main')?.focus();
    }}>Skip to content</a>
    <header class="top">
      <div class="wrap">
        <a class="brand" href=${link('overview')}><${Brand} /><span>picosnitch</span></a>
        <nav aria-label="Pages">
          ${NAV.map(
            ([name, text]) => html`
              <a key=${name} href=${link(name)} aria-current=${name === current ? 'page' : undefined}>${text}<${NavMark} name=${name} /></a>
            `,
          )}
        </nav>
        <span class="grow"></span>
        <${Search} />
        ${isOwn && html`<${RateNow} />`}
        <button class="iconb" type="button" aria-label=${theme.value === 'dark' ? 'Use light colours' : 'Use dark colours'}
          title="Light or dark  t" onClick=${toggleTheme}><${Icon} name="theme" /></button>
      </div>
    </header>
  `;
}
