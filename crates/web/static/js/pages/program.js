/** The page Program. */
import { html } from '../lib/html.js';

export default function Program() {
  return html`<h1>Program</h1>`;
}
