/** The page Health. */
import { html } from '../lib/html.js';

export default function Health() {
  return html`<h1>Health</h1>`;
}
