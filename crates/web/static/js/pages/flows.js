/** The page Flows. */
import { html } from '../lib/html.js';

export default function Flows() {
  return html`<h1>Flows</h1>`;
}
