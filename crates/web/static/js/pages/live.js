/** The page Live. */
import { html } from '../lib/html.js';

export default function Live() {
  return html`<h1>Live</h1>`;
}
