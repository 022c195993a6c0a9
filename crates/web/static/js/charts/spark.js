/** A stand-in until the charts are merged. */
import { html } from '../lib/html.js';

/** @param {{received: number[], sent: number[], width: number, height: number, color: string}} props */
export const Spark = ({ width, height }) => html`<svg class="spark" width=${width} height=${height}></svg>`;
