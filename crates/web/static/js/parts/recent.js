/** The last connections of a program that the log has: when, with whom, over which port, how much. */
import { useAnswer } from '../lib/answer.js';
import { valueLink } from '../lib/dimensions.js';
import { clock, dayAndTime, dayKey } from '../lib/format.js';
import { html } from '../lib/html.js';
import { Bytes, When } from './figures.js';
import { Figures } from './states.js';

const ROWS = 12;
/** Windows of a longer time are asked for slowly, and the last twelve are hardly older. */
const LONGEST = 86400;

/** @param {{params: import('../lib/api.js').Params, range: {since: number, until: number} | undefined, last: number}} props `last` time it was seen */
export function Recent({ params, range, last }) {
  const end = Math.min(range?.until ?? 0, last || Number.POSITIVE_INFINITY);
  // To the minute, so that it is asked once a minute.
  const since = Math.max(range?.since ?? 0, Math.floor((end - LONGEST) / 60) * 60);
  const answer = useAnswer(range ? 'query' : null, {
    ...params,
    range: null,
    since,
    group_by: ['time', 'domain', 'address', 'port'],
    sort: 'time',
    reverse: 1,
    limit: ROWS,
  });
  const { data } = answer;
  /** @type {any[]} */
  const rows = data?.rows ?? [];
  const when = (/** @type {number} */ time) =>
    dayKey(time) === dayKey(data?.now ?? time) ? clock(time) : dayAndTime(time);
  return html`
    <section class="sec" aria-label="Recent connections">
      <div class="lhead recrow"><h2>Recent connections</h2><span>peer</span><span class="num">port</span><span class="num">received</span><span class="num">sent</span></div>
      <${Figures} answer=${answer} rows=${4}>
        <ul>
          ${rows.map((row) => {
            const by = row.domain ? 'domain' : 'address';
            const port = row.port > 0 ? row.port : '';
            return html`
              <li class="lrow recrow" key=${`${row.time} ${row.domain} ${row.address} ${row.port}`} data-dimension=${by} data-value=${row[by] ?? ''}>
                <${When} time=${row.time} as=${when} />
                <span class="ident">
                  ${row[by] ? html`<a class="name" href=${valueLink(by, row[by])}>${row[by]}</a>` : html`<span class="dim-t">no address</span>`}
                  ${row.domain && row.address && html`<span class="cc ell">${row.address}</span>`}
                </span>
                <span class="num">${port}${' '}<span class="dim-t">${data?.labels?.port?.[port] ?? ''}</span></span>
                <${Bytes} value=${row.received} /><${Bytes} value=${row.sent} />
              </li>
            `;
          })}
        </ul>
        ${data && !rows.length && html`<p class="note nothing">None in the range.</p>`}
      <//>
    </section>
  `;
}
