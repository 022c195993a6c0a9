/** The page Alerts. */
import { html } from '../lib/html.js';

export default function Alerts() {
  return html`<h1>Alerts</h1>`;
}
