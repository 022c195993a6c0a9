/** The last line of every page: zone, units, keyboard, version. */
import { setUnits, units, zoneName } from '../lib/format.js';
import { html } from '../lib/html.js';
import { source } from '../lib/source.js';
import { ZONE } from '../lib/state.js';
import { health } from '../lib/watch.js';
import { helpOpen } from './help.js';

/** @type {[import('../lib/format.js').Units, string, string][]} */
const UNITS = [
  ['kB', 'kB', 'Thousands: 1 kB is 1000 bytes'],
  ['KiB', 'KiB', 'Binary: 1 KiB is 1024 bytes'],
  ['bit', 'bit/s', 'Rates in bits, amounts in kB'],
];

export const Footer = () => html`
  <footer class="foot wrap">
    <span>Times in ${ZONE} (${zoneName()})</span>
    <span class="units" role="group" aria-label="Units">
      ${UNITS.map(
        ([word, text, title]) => html`
          <button type="button" key=${word} title=${title} aria-pressed=${String(units.value === word)}
            onClick=${() => setUnits(word)}>${text}</button>
        `,
      )}
    </span>
    <button type="button" onClick=${() => {
      helpOpen.value = true;
    }}>Keyboard <kbd>?</kbd></button>
    <span class="grow"></span>
    ${source.value && html`<span class="ell" title=${source.value.name}>${source.value.name} · picosnitch ${source.value.version}</span>`}
    ${health.value && html`<span class="ell">${health.value.hostname} · picosnitch ${health.value.version}</span>`}
  </footer>
`;
