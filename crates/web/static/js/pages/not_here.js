/** In place of a page that belongs to something else than what is shown: live traffic and Health to one machine, Fleet to a server. */
import { html } from '../lib/html.js';
import { source } from '../lib/source.js';
import { page } from '../lib/state.js';

export default function NotHere() {
  const name = page.value;
  return html`
  <div class="alone">
    <h1>${name === 'fleet' ? 'There is one host only' : `${name === 'live' ? 'Live traffic' : 'Health'} is not here`}</h1>
    ${
      name === 'fleet'
        ? html`<p class="note">
            Questions about all hosts are asked of a server that has the copies of their logs:
            ${' '}<code>picosnitch dash --source SERVER</code>.
          </p>`
        : html`<p class="note">
            It belongs to the machine that records, and this page shows ${source.value?.name ?? 'something else'}: what is copied are records and
            events, after they were recorded. Run <code>picosnitch dash</code> without <code>--source</code> on the machine itself.
          </p>`
    }
  </div>
`;
}
