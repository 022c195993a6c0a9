/** The page Destination. */
import { html } from '../lib/html.js';

export default function Destination() {
  return html`<h1>Destination</h1>`;
}
