/** Overview: what uses the line, who is new, what changed. */
import { dataOf, useAnswer, useNew } from '../lib/answer.js';
import { dimensionPlural } from '../lib/dimensions.js';
import {
  eventKind,
  eventMarks,
  eventQuestion,
  eventWord,
  IGNORED,
  isChanged,
  isNew,
  programsOf,
} from '../lib/events.js';
import { bytesParts, delta, difference, exactBytes, grouped } from '../lib/format.js';
import { cls, html, useMemo, useState } from '../lib/html.js';
import { missing } from '../lib/losses.js';
import { isOwn } from '../lib/source.js';
import { compare, filters, link, question } from '../lib/state.js';
import { isStopped } from '../lib/watch.js';
import { Chips } from '../parts/chips.js';
import { CompareSwitch, InternetSwitch } from '../parts/controls.js';
import { EventList } from '../parts/events.js';
import { beforeName, RangeBar } from '../parts/rangebar.js';
import { Figures, NoLog } from '../parts/states.js';
import { TabbedList } from '../parts/subject.js';
import { Traffic, useSeries } from '../parts/traffic.js';

const LEFT = ['exe', 'uid', 'unit', 'container'];
const RIGHT = ['domain', 'country', 'port'];
/** What is asked for at once. */
const EVENTS = 2000;

/** @param {{kind?: string, value: string, unit?: string, label: string, change?: string, href?: string, title?: string}} props */
const Total = ({ kind, value, unit, label, change: changed, href, title }) => html`
  <div class=${cls('tot', kind)}>
    <dt>${label}${changed && html`, <b title=${`against the ${beforeName()}`}>${changed}</b>`}</dt>
    <dd title=${title}>${href ? html`<a href=${href}>${value}</a>` : value}${unit && html`<u>${unit}</u>`}</dd>
  </div>
`;

/** Totals of the period before: sums, and how many programs and destinations there were. */
function useBefore() {
  const on = compare.value;
  const sums = dataOf(useAnswer(on ? 'query' : null, { ...question.value, compare: 'previous' }));
  const range = sums?.compared_with;
  const { range: _, ...asked } = question.value;
  const past = { ...asked, since: range?.since, until: range?.until, limit: 1 };
  const programs = dataOf(useAnswer(range ? 'query' : null, { ...past, group_by: 'exe' }));
  const destinations = dataOf(useAnswer(range ? 'query' : null, { ...past, group_by: 'domain' }));
  return sums
    ? { sums: sums.total.before, programs: programs?.row_count, destinations: destinations?.row_count }
    : null;
}

/** @param {{total: any, programs: number, destinations: number | undefined, fresh: any, losses: any[]}} props */
function Totals({ total, programs, destinations, fresh, losses }) {
  const before = useBefore();
  const [received, receivedUnit] = total.received ? bytesParts(total.received) : ['0', 'B'];
  const [sent, sentUnit] = total.sent ? bytesParts(total.sent) : ['0', 'B'];
  const lost = missing(losses);
  return html`
    <dl class="totals">
      <${Total} value=${received} unit=${receivedUnit} label="received" title=${exactBytes(total.received)}
        change=${before ? delta(total.received, before.sums?.received ?? 0)[0] : ''} />
      <${Total} value=${sent} unit=${sentUnit} label="sent" title=${exactBytes(total.sent)}
        change=${before ? delta(total.sent, before.sums?.sent ?? 0)[0] : ''} />
      <${Total} value=${grouped(programs)} label=${dimensionPlural('exe', programs)} href=${link('explore')}
        change=${before?.programs !== undefined ? difference(programs, before.programs) : ''} />
      ${
        destinations !== undefined &&
        html`
          <${Total} value=${grouped(destinations)} label=${destinations === 1 ? 'destination' : 'destinations'} kind="opt"
            href=${link('explore', { group_by: 'domain' })}
            change=${before?.destinations !== undefined ? difference(destinations, before.destinations) : ''} />
        `
      }
      ${fresh.created > 0 && html`<${Total} kind="new" value=${grouped(fresh.created) + fresh.more} label=${fresh.created === 1 ? 'new program' : 'new programs'} href=${link('alerts', { kind: 'new' })} />`}
      ${fresh.changed > 0 && html`<${Total} kind="wrong" value=${grouped(fresh.changed) + fresh.more} label="changed on disk" href=${link('alerts', { kind: 'changed' })} />`}
      ${
        lost &&
        html`<${Total} kind="wrong" value=${lost.value} label=${lost.label} href=${isOwn ? link('health') : link('alerts', { kind: 'lost' })}
          title=${lost.list.map((loss) => loss.text).join(' · ')} />`
      }
    </dl>
  `;
}

/**
 * Programs that the range saw first, and those that changed in it; no row is marked as new where all are.
 * Events know of no peers: if they cannot be filtered as traffic is, the log is asked for the programs that match.
 * @param {any} answered @param {any[] | undefined} events of the range
 */
function useFresh(answered, events) {
  const created = useNew('exe', question.value, answered?.range);
  const changed = useNew('exe', question.value, answered?.range, 'changed_since');
  return useMemo(() => {
    /** @type {Map<string, {kind: 'new' | 'wrong', text: string}>} */
    const badges = new Map();
    const isFirstDay = created?.row_count === answered?.row_count;
    for (const row of isFirstDay ? [] : (created?.rows ?? []))
      badges.set(row.exe, { kind: 'new', text: 'new' });
    for (const row of changed?.rows ?? []) badges.set(row.exe, { kind: 'wrong', text: 'changed' });
    if (!events)
      return { created: created?.row_count ?? 0, changed: changed?.row_count ?? 0, more: '', badges };
    // The same figures as on the page Alerts.
    return {
      created: programsOf(events.filter(isNew)),
      changed: programsOf(events.filter(isChanged)),
      more: events.length >= EVENTS ? '+' : '',
      badges,
    };
  }, [created, changed, events, answered?.row_count]);
}

/** @param {string} dimension @param {string | null} sort */
const more = (dimension, sort) => link('explore', { group_by: dimension === 'exe' ? null : dimension, sort });

/** @param {{answer: import('../lib/answer.js').Answer, isIgnoring: boolean}} props */
function Changed({ answer, isIgnoring }) {
  const { data } = answer;
  /** The latest of each program and what happened to it. @type {Map<string, any>} */
  const latest = new Map();
  for (const row of data?.rows ?? []) {
    const key = `${row.exe} ${row.name} ${eventWord(row)}`;
    if (!latest.has(key)) latest.set(key, row);
  }
  // What is wrong must not be below what is only new.
  const isWrong = (/** @type {any} */ row) => eventKind(row) === 'wrong';
  const rest = [...latest.values()].filter((row) => !isWrong(row)).slice(0, 11);
  const wrong = [...latest.values()].filter(isWrong).slice(0, 11 - Math.min(3, rest.length));
  rest.splice(11 - wrong.length);
  return html`
    <section aria-label="New and changed">
      <div class="lhead"><h2>New and changed</h2></div>
      ${isIgnoring && html`<p class="note small">${IGNORED}</p>`}
      <${Figures} answer=${answer} rows=${11}>
        ${wrong.length > 0 && html`<${EventList} rows=${wrong} now=${data?.now} />`}
        ${wrong.length > 0 && rest.length > 0 && html`<h3 class="famh">New</h3>`}
        ${rest.length > 0 && html`<${EventList} rows=${rest} now=${data?.now} />`}
        ${!latest.size && html`<p class="note nothing">${isStopped.value ? 'No event is in the log.' : 'Nothing is new, nothing changed, nothing was lost.'}</p>`}
      <//>
      <a class="more" href=${link('alerts')}>All events</a>
    </section>
  `;
}

export default function Overview() {
  const [lifted, setLifted] = useState(/** @type {string | null} */ (null));
  const programs = useAnswer('query', { ...question.value, group_by: 'exe', limit: 10 });
  const destinations = useAnswer('query', { ...question.value, group_by: 'domain', limit: 10 });
  const { asked, isIgnoring } = eventQuestion(question.value);
  const events = useAnswer('events', { ...asked, kind: ['alert', 'loss', 'error', 'gap'], limit: EVENTS });
  const chart = useSeries('exe');
  const { data, error } = programs;
  const fresh = useFresh(data, isIgnoring ? undefined : dataOf(events)?.rows);
  const marks = useMemo(() => eventMarks(events.data?.rows ?? []), [events.data]);
  if (error && !data && (error.kind === 'no_log' || error.kind === 'no_rights'))
    return html`<${NoLog} error=${error} />`;
  return html`
    <h1 class="vh">Overview</h1>
    <${RangeBar} answered=${data?.range}><${CompareSwitch} /><${InternetSwitch} /><//>
    ${filters.value.length > 0 && html`<div class="ctl"><${Chips} labels=${data?.labels} /></div>`}
    <div class=${cls('totals-place', programs.stale && 'stale')}>
      ${data && html`<${Totals} total=${data.total} programs=${data.row_count} destinations=${destinations.data?.row_count} fresh=${fresh} losses=${data.losses} />`}
    </div>
    <${Traffic} title="Traffic by program" dimension="exe" answer=${chart} marks=${marks} lifted=${lifted} />
    <div class="cols">
      <${TabbedList} label="Programs" word="left" list=${LEFT} limit=${10} more=${more} liftBy="exe" onLift=${setLifted}
        badgeOf=${(/** @type {string} */ name) => (name === 'exe' ? (/** @type {any} */ value) => fresh.badges.get(value) : undefined)} />
      <${TabbedList} label="Destinations" word="right" list=${RIGHT} names=${{ domain: 'destinations' }} limit=${10} more=${more} />
      <${Changed} answer=${events} isIgnoring=${isIgnoring} />
    </div>
  `;
}
