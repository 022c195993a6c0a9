/** The page Alerts: what happened, by kind, program and time; one event is shown with all that is known about it. */
import { alertKey, isSeen, markListedSeen, markOneSeen, unseenAlerts } from '../lib/alerts.js';
import { useAnswer } from '../lib/answer.js';
import {
  eventKind,
  eventName,
  eventQuestion,
  IGNORED,
  isChanged,
  isNew,
  isVerdict,
  programsOf,
  shortSentence,
} from '../lib/events.js';
import { dayKey, grouped, hourMinute, plural, weekday } from '../lib/format.js';
import { cls, html, useEffect, useState } from '../lib/html.js';
import { change, filters, logBegin, param, question, replace } from '../lib/state.js';
import { Chips } from '../parts/chips.js';
import { EventDetail, eventTitle } from '../parts/event_detail.js';
import { EventStrip } from '../parts/event_strip.js';
import { When } from '../parts/figures.js';
import { Icon } from '../parts/icons.js';
import { Swatch, slotColor } from '../parts/identity.js';
import { RangeBar } from '../parts/rangebar.js';
import { Figures, NoLog, Problem } from '../parts/states.js';

/** What the server gives at once. */
const LIMIT = 2000;
/** Rows that are drawn at first. */
const DRAWN = 150;

/** Word of the address, label, which events, whether their programs are counted. @type {[string, string, (row: any) => boolean, boolean?][]} */
const KINDS = [
  ['', 'All', () => true],
  ['unseen', 'Not seen yet', (row) => !isSeen(row)],
  ['new', 'New', isNew, true],
  ['changed', 'Changed', isChanged, true],
  ['verdict', 'VirusTotal', isVerdict],
  ['error', 'Errors', (row) => row.kind === 'error' || row.kind === 'late_digest'],
  ['lost', 'Lost', (row) => row.kind === 'loss' || row.kind === 'gap'],
  ['daemon', 'picosnitch', (row) => !['alert', 'error', 'late_digest', 'loss', 'gap'].includes(row.kind)],
];

/** @param {string} query of a media query */
function useMedia(query) {
  const [matches, setMatches] = useState(() => matchMedia(query).matches);
  useEffect(() => {
    const media = matchMedia(query);
    const listener = () => setMatches(media.matches);
    media.addEventListener('change', listener);
    return () => media.removeEventListener('change', listener);
  }, [query]);
  return matches;
}

/** @param {number} time @param {number} now */
function dayName(time, now) {
  if (dayKey(time) === dayKey(now)) return 'Today';
  return dayKey(time) === dayKey(now - 86400) ? 'Yesterday' : weekday(time);
}

/** Arrows move through the list. @param {KeyboardEvent} event */
function onListKey(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || !(event.target instanceof Element)) return;
  const rows = [.../** @type {Element} */ (event.currentTarget).querySelectorAll('button.arow')];
  const next = rows[rows.indexOf(event.target) + step];
  if (next instanceof HTMLElement) {
    event.preventDefault();
    next.focus();
    next.click();
  }
}

/** One row of the list is a stop of the tab key, arrows go to the others. @param {{row: any, slots: any, chosen: boolean, stop: boolean, onChoose: (row: any) => void}} props */
function EventRow({ row, slots, chosen, stop, onChoose }) {
  const kind = eventKind(row);
  const seen = isSeen(row);
  return html`
    <button type="button" class=${cls('lrow', 'arow', chosen && 'sel')} tabindex=${stop ? 0 : -1} aria-pressed=${String(chosen)} onClick=${() => onChoose(row)}>
      <span class=${cls('unseen', !seen && 'on')} title=${seen ? undefined : 'not seen yet'}>${!seen && html`<span class="vh">not seen yet</span>`}</span>
      <span class="at"><${When} time=${row.time} as=${hourMinute} /></span>
      <span class=${cls('kind', kind)} aria-hidden="true"></span>
      <span class=${cls('kw', kind === 'wrong' && 't-wrong', kind === 'new' && 't-new')}>${eventTitle(row)}</span>
      <span class="ident">${row.exe ? html`<${Swatch} color=${slotColor(slots[row.exe])} />` : html`<span class="sw"></span>`}<span class="name">${eventName(row)}</span></span>
      <span class="ell dim-t" title=${row.sentence || row.text}>${shortSentence(row)}</span>
    </button>
  `;
}

/** @param {{rows: any[], data: any, chosen: any, inline: boolean, onChoose: (row: any) => void}} props */
function List({ rows, data, chosen, inline, onChoose }) {
  const [drawn, setDrawn] = useState(DRAWN);
  let last = '';
  const list = rows.slice(0, drawn);
  const stop = list.includes(chosen) ? chosen : list[0];
  return html`
    <div onKeyDown=${onListKey}>
      ${list.map((row) => {
        const day = dayName(row.time, data.now);
        const isFirst = day !== last;
        last = day;
        const key = alertKey(row);
        return html`
          ${isFirst && html`<h2 class="dayhead" key=${`day ${day}`}>${day}</h2>`}
          <${EventRow} key=${key} row=${row} slots=${data.slots} chosen=${row === chosen} stop=${row === stop} onChoose=${onChoose} />
          ${inline && row === chosen && html`<aside key="detail" aria-label="The chosen event"><${EventDetail} key=${key} row=${row} answer=${data} /></aside>`}
        `;
      })}
      ${rows.length > drawn && html`<button type="button" class="more lnk" onClick=${() => setDrawn(drawn + 300)}>${plural(rows.length - drawn, 'older event')}</button>`}
      ${data.rows.length >= LIMIT && rows.length <= drawn && html`<p class="note">Only the latest ${grouped(LIMIT)} events of the range are here. Choose an earlier range for those before.</p>`}
    </div>
  `;
}

/** @param {{rows: any[], kind: string, complete: boolean}} props */
const Kinds = ({ rows, kind, complete }) => html`
  <div class="chips" role="group" aria-label="Kind">
    ${KINDS.map(([word, text, test, ofPrograms]) => {
      const found = rows.filter(test);
      const number = ofPrograms ? programsOf(found) : found.length;
      const events = plural(found.length, 'event');
      return (
        (number > 0 || word === '' || word === kind || word === 'unseen') &&
        html`
          <button type="button" key=${word} class="chip pick" aria-pressed=${String(word === kind)} title=${ofPrograms ? `${plural(number, 'program')}, ${events}` : events}
            onClick=${() => change({ kind: word, event: null })}>${text}
            <span>${grouped(number)}${!complete && '+'}${word === '' && (number === 1 ? ' event' : ' events')}</span></button>
        `
      );
    })}
  </div>
`;

export default function Alerts() {
  const inline = useMedia('(max-width: 1180px)');
  const { asked, isIgnoring } = eventQuestion(question.value);
  const answer = useAnswer('events', { ...asked, limit: LIMIT });
  const { data, error } = answer;
  const kind = param('kind');
  const test = KINDS.find(([word]) => word === kind)?.[2] ?? (() => true);
  /** @type {any[]} */
  const all = data?.rows ?? [];
  const rows = all.filter(test);
  const wanted = param('event');
  const found = rows.find((row) => alertKey(row) === wanted);
  // On a wide screen something is always shown beside the list: what is wrong rather than what is new.
  const chosen =
    found ??
    (inline
      ? null
      : (rows.find((row) => eventKind(row) === 'wrong' && row.kind === 'alert') ?? rows[0] ?? null));
  const choose = (/** @type {any} */ row) => {
    markOneSeen(row);
    replace({ event: row === found && inline ? null : alertKey(row) });
  };
  if (error && !data && (error.kind === 'no_log' || error.kind === 'no_rights'))
    return html`<${NoLog} error=${error} />`;
  const { since, until } = data?.range ?? {};
  return html`
    <h1 class="vh">Alerts</h1>
    <${RangeBar} answered=${data?.range}>
      <button class="btn" type="button" disabled=${unseenAlerts.value === 0} onClick=${() => markListedSeen(rows, data?.now ?? 0)}><${Icon} name="ok" />Mark all as seen</button>
    <//>
    <div class="ctl"><${Kinds} rows=${all} kind=${kind} complete=${all.length < LIMIT} /></div>
    ${filters.value.length > 0 && html`<div class="ctl"><${Chips} labels=${data?.labels} /></div>`}
    ${logBegin.value !== null && logBegin.value > Date.now() / 1000 - 86400 && html`<p class="note small">picosnitch is new here: every program is new to it.</p>`}
    ${isIgnoring && html`<p class="note small">${IGNORED}</p>`}
    <${EventStrip} rows=${rows} since=${since ?? all[all.length - 1]?.time ?? 0} until=${Math.max(until ?? 0, data?.now ?? 1)} onChoose=${choose} />
    <div class=${cls('split', answer.stale && 'stale')}>
      <${Figures} answer=${answer} rows=${10}>
        ${data && html`<${List} key=${kind} rows=${rows} data=${data} chosen=${chosen} inline=${inline} onChoose=${choose} />`}
        ${data && rows.length === 0 && html`<p class="note nothing">${kind || filters.value.length ? 'No event of this kind in the range.' : 'Nothing is new, nothing changed, nothing was lost in the range.'}</p>`}
      <//>
      ${!inline && html`<aside aria-label="The chosen event">${chosen && html`<${EventDetail} key=${alertKey(chosen)} row=${chosen} answer=${data} />`}</aside>`}
    </div>
    <${Problem} answer=${answer} />
  `;
}
