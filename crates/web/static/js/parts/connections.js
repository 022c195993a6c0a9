/** The table of live connections, and the sockets that wait for peers. */
import { valueLink } from '../lib/dimensions.js';
import { duration, fullTime, grouped, plural } from '../lib/format.js';
import { cls, html } from '../lib/html.js';
import { protocolName } from '../lib/live_rows.js';
import { Bytes, Rate } from './figures.js';
import { MirrorBar, Path, Swatch } from './identity.js';
import { Said } from './states.js';

/** @import { Row } from '../lib/live_types.js' */

/** Heading, class, columns. @type {[string, string, number?][]} */
const HEADS = [
  ['Program', 'w-id'],
  ['Peer', 'w-peer opt'],
  ['Port', 'w-port num opt'],
  ['Protocol', 'w-proto opt'],
  ['Received', 'w-n num'],
  ['Sent', 'w-n num'],
  ['For', 'w-for num opt'],
  ['↓ ↑ since it opened', 'w-both num opt', 2],
];

/** @param {{row: Row, now: number, max: number, color: string, directory?: string}} props */
function ConnectionRow({ row, now, max, color, directory }) {
  const isOver = row.ended !== null;
  const port = row.port || row.localPort;
  const age = row.began ? Math.max(0, (row.ended ?? now) - row.began) : 0;
  const link = row.domain
    ? valueLink('domain', row.domain)
    : row.address
      ? valueLink('address', row.address)
      : null;
  return html`
    <tr class=${isOver ? 'ended' : undefined}>
      <td class="w-id">
        <span class="ident">
          <${Swatch} color=${color} />
          <a class="name" href=${valueLink('exe', row.path || null)} title=${row.path || undefined}>${row.name}</a>
          ${directory ? html`<span class="cc ell" title=${row.path}>${directory}</span>` : row.path && html`<${Path} path=${row.path} />`}
        </span>
        <span class="sub ell">${row.opened ? '→' : '←'} ${row.peer || 'no address'} ${port || ''}</span>
        ${!isOver && html`<${MirrorBar} received=${row.rateReceived} sent=${row.rateSent} max=${max} color=${color} />`}
      </td>
      <td class="opt"><span class="ident">
        <span class="dir" title=${row.opened ? 'opened by this program' : 'opened by the peer'}>${row.opened ? '→' : '←'}</span>
        ${
          link
            ? html`<a class="ell fit" href=${link} title=${`${row.domain ? `${row.domain}, ` : ''}${row.address ?? ''}`}>${row.peer}</a>`
            : html`<span class="ell fit dim-t">no address</span>`
        }
      </span></td>
      <td class="num opt">${port || ''}</td>
      <td class="opt dim-t">${row.domain && row.protocol === 17 && row.port === 443 ? 'quic' : protocolName(row)}</td>
      ${
        isOver
          ? html`<td class="num dim-t" colspan="2">ended ${Math.max(0, Math.round(now - (row.ended ?? now)))} s ago</td>`
          : html`<td class="num"><${Rate} value=${row.rateReceived} /></td><td class="num"><${Rate} value=${row.rateSent} /></td>`
      }
      <td class="num opt dim-t" title=${row.began ? `since ${fullTime(row.began)}` : undefined}>${row.began ? duration(age) : ''}</td>
      <td class="num opt dim-t"><${Bytes} value=${row.received} /></td>
      <td class="num opt dim-t"><${Bytes} value=${row.sent} /></td>
    </tr>
  `;
}

/**
 * @param {{rows: Row[], count: number, now: number, directories: Map<string, string>, colorOf: (path: string) => string, onHold: (held: boolean) => void, onMore: () => void, empty: string}} props
 *   `count` is the number of all rows, of which `rows` are drawn
 */
export function Connections({ rows, count, now, directories, colorOf, onHold, onMore, empty }) {
  let max = 1;
  for (const row of rows) max = Math.max(max, row.rateReceived, row.rateSent);
  return html`
    <div class="tablewrap" onPointerEnter=${() => onHold(true)} onPointerLeave=${() => onHold(false)}
      onFocusIn=${() => onHold(true)} onFocusOut=${() => onHold(false)}>
      <table class="livet">
        <thead><tr>${HEADS.map(([text, names, columns]) => html`<th scope="col" key=${text} class=${names} colspan=${columns}>${text}</th>`)}</tr></thead>
        <tbody>
          ${rows.map((row) => html`<${ConnectionRow} key=${row.id} row=${row} now=${now} max=${max} color=${colorOf(row.path)} directory=${directories.get(row.path)} />`)}
        </tbody>
      </table>
      ${rows.length === 0 && html`<p class="note nothing"><${Said} text=${empty} /></p>`}
      ${count > rows.length && html`<button type="button" class="more lnk" onClick=${onMore}>${plural(count - rows.length, 'more connection')}</button>`}
    </div>
  `;
}

const LISTED = 200;

/** @param {{rows: Row[], directories: Map<string, string>, colorOf: (path: string) => string}} props */
export function Listening({ rows, directories, colorOf }) {
  if (rows.length === 0) return null;
  const sorted = [...rows].sort((a, b) => a.localPort - b.localPort || (a.name < b.name ? -1 : 1));
  return html`
    <details class="sec listening">
      <summary>${plural(rows.length, 'listening port')}</summary>
      <ul class="cols three">
        ${sorted.slice(0, LISTED).map(
          (row) => html`
            <li class=${cls('lrow', 'frow')} key=${row.id}>
              <span class="ident"><${Swatch} color=${colorOf(row.path)} /><a class="name" href=${valueLink('exe', row.path || null)}>${row.name}</a>
                <span class="dim-t ell">${directories.get(row.path)} pid ${row.process}</span></span>
              <span class="num">${row.localPort} <span class="dim-t">${protocolName(row)}</span></span>
            </li>
          `,
        )}
      </ul>
      ${rows.length > LISTED && html`<p class="note">And ${grouped(rows.length - LISTED)} more.</p>`}
    </details>
  `;
}
