/** A list of events: a shape, the program, what happened, when. */
import { eventKind, eventName, eventWord, shortSentence } from '../lib/events.js';
import { dayKey, dayMonth, hourMinute, weekday } from '../lib/format.js';
import { cls, html } from '../lib/html.js';
import { isOwn } from '../lib/source.js';
import { filterText, link } from '../lib/state.js';
import { When } from './figures.js';

/** @param {number} time @param {number} now */
function dayName(time, now) {
  if (dayKey(time) === dayKey(now)) return '';
  return dayKey(time) === dayKey(now - 86400) ? 'Yesterday' : weekday(time);
}

/** @param {any} row */
export const eventLink = (row) =>
  row.exe?.startsWith('/')
    ? link('program', { exe: row.exe })
    : link(row.kind === 'alert' || !isOwn ? 'alerts' : 'health');

/**
 * Events under the day they are of.
 * @param {{rows: any[], now: number}} props
 */
export function EventList({ rows, now }) {
  let last = '';
  return html`
    <ul>
      ${rows.map((row, i) => {
        const day = dayName(row.time, now);
        const head = day !== last && day;
        last = day;
        const kind = eventKind(row);
        return html`
          ${head && html`<li class="dayhead" key=${`day ${head}`}>${head}</li>`}
          <li class="lrow erow" key=${`${row.time} ${i}`}>
            <span class=${cls('kind', kind)} aria-hidden="true"></span>
            <a class="name ell" href=${eventLink(row)} title=${row.exe ?? undefined}>${eventName(row)}</a>
            <span class=${cls('ell', kind === 'wrong' ? 't-wrong' : 'dim-t')} title=${row.sentence}>${eventWord(row)}</span>
            <${When} time=${row.time} as=${hourMinute} />
          </li>
        `;
      })}
    </ul>
  `;
}

/** The same in one wide column, with the sentence. @param {{rows: any[], now: number}} props */
export const EventRows = ({ rows, now }) => html`
  <ul>
    ${rows.map((row, i) => {
      const kind = eventKind(row);
      return html`
        <li class="lrow evrow" key=${`${row.time} ${i}`}>
          <span class=${cls('kind', kind)} aria-hidden="true"></span>
          <${When} time=${row.time} as=${(/** @type {number} */ time) => (dayKey(time) === dayKey(now) ? hourMinute(time) : dayMonth(time))} />
          <span class=${cls('ell', kind === 'wrong' && 't-wrong', kind === 'new' && 't-new')}>${eventWord(row)}</span>
          <span class="ell dim-t" title=${row.sentence}>${shortSentence(row)}</span>
          <a class="acts" href=${link('explore', { range: null, since: String(row.time - 900), until: String(row.time + 900), where: row.exe ? filterText('exe', row.exe) : null })}>traffic around it</a>
        </li>
      `;
    })}
  </ul>
`;
