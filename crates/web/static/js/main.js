/** The start of the page: theme, token, keys, routes; each page is a module of its own, loaded when it is first opened. */
import { takeToken } from './lib/api.js';
import { html, render, useEffect, useState } from './lib/html.js';
import { startKeys } from './lib/keys.js';
import { page, startRouting } from './lib/state.js';
import { startTheme } from './lib/theme.js';

/** @type {Record<string, () => Promise<{default: unknown}>>} */
const MODULES = {
  overview: () => import('./pages/overview.js'),
  explore: () => import('./pages/explore.js'),
  program: () => import('./pages/program.js'),
  destination: () => import('./pages/destination.js'),
  flows: () => import('./pages/flows.js'),
  live: () => import('./pages/live.js'),
  alerts: () => import('./pages/alerts.js'),
  health: () => import('./pages/health.js'),
};
/** @type {Map<string, unknown>} */
const loaded = new Map();

function App() {
  const name = page.value;
  const [, loadedOne] = useState('');
  useEffect(() => {
    if (loaded.has(name)) return;
    MODULES[name]().then((module) => {
      loaded.set(name, module.default);
      loadedOne(name);
    });
  }, [name]);
  const Page = loaded.get(name);
  return html`<main id="main">${Page && html`<${Page} key=${name} />`}</main>`;
}

takeToken();
startTheme();
startRouting();
startKeys();
render(html`<${App} />`, /** @type {Element} */ (document.getElementById('app')));
