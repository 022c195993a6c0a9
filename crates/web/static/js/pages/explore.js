/** The page Explore. */
import { html } from '../lib/html.js';

export default function Explore() {
  return html`<h1>Explore</h1>`;
}
