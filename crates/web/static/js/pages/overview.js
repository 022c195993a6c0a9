/** The page Overview. */
import { html } from '../lib/html.js';

export default function Overview() {
  return html`<h1>Overview</h1>`;
}
