/** The page of a program: is it still the same, and whom does it talk to. */
import { useAnswer, useNew } from '../lib/answer.js';
import { dimensionPlural } from '../lib/dimensions.js';
import { eventMarks } from '../lib/events.js';
import { ago, baseName, dayAndTime } from '../lib/format.js';
import { cls, html, useCallback, useMemo, useState } from '../lib/html.js';
import { range as asked, change, filters, filterText, link, param, ZONE } from '../lib/state.js';
import { Chips } from '../parts/chips.js';
import { CompareSwitch, InternetSwitch, Tabs } from '../parts/controls.js';
import { badScanners, Digests, digestsOf } from '../parts/digests.js';
import { EventRows } from '../parts/events.js';
import { When } from '../parts/figures.js';
import { Icon } from '../parts/icons.js';
import { Badge, Path, Swatch, slotColor } from '../parts/identity.js';
import { RangeBar } from '../parts/rangebar.js';
import { Recent } from '../parts/recent.js';
import { Figures, NoLog, Problem } from '../parts/states.js';
import { about, exploreLink, Facts, moved, Names, shade, TabbedList } from '../parts/subject.js';
import { TopList } from '../parts/toplist.js';
import { Traffic, useSeries } from '../parts/traffic.js';

const SHADES = ['domain', 'sha256', 'port', 'uid'];
/** What is asked for at once. */
const EVENTS = 100;

/** What matters about this program, in one sentence. @param {{events: any[], digests: any[], since: number, first: number}} props */
function Verdict({ events, digests, since, first }) {
  const changed = events.find((row) => row.subject === 'new hash');
  const suspicious = digests.find((one) => one.bad);
  const recent = changed && changed.time >= Math.min(since, Date.now() / 1000 - 86400 * 7);
  if (suspicious && badScanners(suspicious.virustotal))
    return html`<p class="verdict"><b class="t-wrong">VirusTotal calls a digest of it suspicious: ${suspicious.virustotal}.</b> ${changed && recent && `It changed ${dayAndTime(changed.time)}: ${changed.sentence}.`}</p>`;
  if (changed && recent)
    return html`<p class="verdict"><b class="t-wrong">Not the file it was until ${dayAndTime(changed.time)}.</b> ${changed.sentence}</p>`;
  if (first >= since)
    return html`<p class="verdict"><b class="t-new">New.</b> It was first seen ${dayAndTime(first)}.</p>`;
  return null;
}

/** @param {{exe: string, color: string, badge: any, explore: string}} props */
const Title = ({ exe, color, badge, explore }) => html`
  <div class="title">
    <${Swatch} color=${color} big />
    <h1 title=${exe}>${baseName(exe)}</h1><${Path} path=${exe} />
    ${badge && html`<${Badge} kind=${badge.kind}>${badge.text}<//>`}
    <span class="grow"></span>
    <a class="btn quiet" href=${link('live', { exe })} title="Its connections of now">Live<${Icon} name="go" /></a>
    <a class="btn quiet" href=${explore}>Explore<${Icon} name="go" /></a>
  </div>
`;

/** @param {{exe: string, params: any}} props */
function Family({ exe, params }) {
  const others = [params.where].flat().filter((one) => !String(one).startsWith('exe='));
  return html`
    <section aria-label="Family">
      <div class="lhead"><h2>Family</h2><span class="grow"></span><span>connections</span></div>
      <${Names} title="Started by" dimension="pexe" params=${params} />
      <${Names} title="Starts" dimension="exe" params=${{ ...params, where: [...others, filterText('pexe', exe)] }} />
      <${Names} title="Users" dimension="uid" params=${params} />
      <${Names} title="Units" dimension="unit" params=${params} />
      <${Names} title="Containers" dimension="container" params=${params} />
    </section>
  `;
}

/** The chart, shaded by what is chosen. @param {{by: string, color: string, marks: any[], lifted: string | null, series: import('../lib/answer.js').Answer, fresh: Set<any>}} props */
function Chart({ by, color, marks, lifted, series, fresh }) {
  const order = useMemo(
    () => (series.data?.groups ?? []).map((/** @type {any} */ group) => group[by]),
    [series.data, by],
  );
  const colorOf = useCallback(
    (value) => (fresh.has(value) ? 'var(--ink)' : shade(color, order.indexOf(value), order.length)),
    [order, color, fresh],
  );
  return html`
    <div class="sec">
      <${Traffic} title="Traffic" dimension=${by} answer=${series} marks=${marks} lifted=${lifted} colorOf=${colorOf}
        height=${(/** @type {boolean} */ narrow) => (narrow ? 220 : 240)}
        extra=${html`
          <${Tabs} label="Shaded by" current=${by} tabs=${SHADES.map((name) => [name, `by ${dimensionPlural(name, 1)}`])}
            onChoose=${(/** @type {string} */ key) => change({ by: key === SHADES[0] ? null : key })} />
        `} />
    </div>
  `;
}

/** @param {string} exe @param {any} params */
function useProgram(exe, params) {
  const sums = useAnswer('query', { ...params, group_by: 'exe', limit: 1 });
  const seenAnswer = useAnswer('seen', { where: filterText('exe', exe), zone: ZONE, limit: 500 });
  const seen = seenAnswer.data;
  const events = useAnswer('events', {
    where: filterText('exe', exe),
    range: 'all',
    zone: ZONE,
    limit: EVENTS,
  });
  const digests = useMemo(() => digestsOf(seen?.rows ?? []), [seen]);
  const slot = sums.data?.slots[exe] ?? seen?.slots[exe] ?? 0;
  const first = digests.length ? Math.min(...digests.map((one) => one.first)) : 0;
  const last = digests.length ? Math.max(...digests.map((one) => one.last)) : 0;
  // Nothing is drawn below a part whose height is not known yet: the page would jump.
  const ready = Boolean((seen || seenAnswer.error) && (sums.data || sums.error));
  return { sums, seenAnswer, seen, ready, events, digests, color: slotColor(slot), first, last };
}

/** Everything below the facts. @param {any} props */
function Rest({
  exe,
  params,
  seen,
  digests,
  color,
  events,
  rows,
  by,
  marks,
  lifted,
  setLifted,
  series,
  fresh,
  range,
  last,
}) {
  // Who zoomed looks at traffic, not at the file.
  const isZoomed = asked.value.preset === null;
  const same =
    seen &&
    digests.length > 0 &&
    html`<${Digests} key="digests" list=${digests} now=${seen.now} color=${color} events=${rows} params=${params} />`;
  /** @param {string} name @param {string | null} sort */
  const more = (name, sort) => exploreLink('exe', exe, name, sort);
  const order = (series.data?.groups ?? []).map((/** @type {any} */ group) => group[by]);
  return html`
    ${!isZoomed && same}
    <${Chart} by=${by} color=${color} marks=${marks} lifted=${lifted} series=${series} fresh=${fresh} />
    <div class="cols three">
      <${TabbedList} label="Peers" word="left" list=${['domain', 'address', 'country']} params=${params} limit=${10}
        liftBy=${by} onLift=${setLifted} more=${more}
        colorOf=${(/** @type {string} */ name) => (/** @type {any} */ value) => (name === by ? (fresh.has(value) ? 'var(--ink)' : shade(color, order.indexOf(value), order.length)) : color)}
        badgeOf=${(/** @type {string} */ name) => (name === 'domain' ? (/** @type {any} */ value) => (fresh.has(value) && value ? { kind: 'new', text: 'new' } : null) : undefined)} />
      <${TabbedList} label="Ports and protocols" word="right" list=${['port', 'protocol', 'lport']} params=${params} second=${{ port: 'protocol' }}
        colorOf=${() => () => color} more=${more} />
      <${Family} exe=${exe} params=${params} />
    </div>
    <${Recent} params=${params} range=${range} last=${last} />
    ${isZoomed && same}
    <section class="sec" aria-label="Command lines">
      <div class="lhead prow"><h2>Command lines</h2><span class="num">received</span><span class="num">sent</span></div>
      <${TopList} dimension="cmdline" params=${params} limit=${6} colorOf=${() => color} more=${exploreLink('exe', exe, 'cmdline')} />
    </section>
    <section class=${cls('sec')} aria-label="Events">
      <div class="lhead"><h2>Events</h2></div>
      <${Figures} answer=${events} rows=${2}>
        <${EventRows} rows=${rows.slice(0, 12)} now=${events.data?.now} />
        ${!rows.length && html`<p class="note nothing">Nothing happened to it that is in the log.</p>`}
      <//>
      ${rows.length > 12 && html`<a class="more" href=${link('alerts', { where: filterText('exe', exe), range: 'all', since: null, until: null })}>All ${rows.length < EVENTS ? rows.length : ''} events</a>`}
    </section>
  `;
}

export default function Program() {
  const exe = param('exe');
  const [lifted, setLifted] = useState(/** @type {string | null} */ (null));
  const params = about('exe', exe);
  const { sums, seenAnswer, seen, ready, events, digests, color, first, last } = useProgram(exe, params);
  const by = SHADES.includes(param('by')) ? param('by') : SHADES[0];
  const series = useSeries(by, params);
  const range = sums.data?.range;
  const peers = useNew('domain', params, range);
  // Of a new program everything is new, which says nothing.
  const isNew = Boolean(range?.since && first >= range.since - 60);
  const fresh = useMemo(
    () => new Set(isNew ? [] : (peers?.rows ?? []).map((row) => row.domain)),
    [peers, isNew],
  );
  const rows = useMemo(() => events.data?.rows ?? [], [events.data]);
  const marks = useMemo(
    () =>
      range?.since
        ? eventMarks(rows.filter((row) => row.time >= range.since && row.time <= range.until))
        : [],
    [rows, range?.since, range?.until],
  );
  const { error, data } = sums;
  if (error && !data && (error.kind === 'no_log' || error.kind === 'no_rights'))
    return html`<${NoLog} error=${error} />`;
  const changed = rows.find((row) => row.subject === 'new hash' && row.time >= (range?.since ?? 0));
  const badge =
    digests[0]?.bad || changed
      ? { kind: 'wrong', text: digests[0]?.bad ? 'suspicious' : 'changed' }
      : isNew
        ? { kind: 'new', text: 'new' }
        : null;
  return html`
    <${RangeBar} answered=${range}><${CompareSwitch} /><${InternetSwitch} /><//>
    ${filters.value.length > 0 && html`<div class="ctl"><${Chips} labels=${data?.labels} /></div>`}
    <${Title} exe=${exe} color=${color} badge=${badge} explore=${exploreLink('exe', exe, 'domain')} />
    ${range && digests.length > 0 && html`<${Verdict} events=${rows} digests=${digests} since=${range.since} first=${first} />`}
    <${Facts} stale=${sums.stale} facts=${[
      [
        'First seen',
        html`<${When} time=${first} as=${dayAndTime} />${first > 0 && html`<span class="dim-t">, ${ago(first)}</span>`}`,
      ],
      ['Last seen', html`<${When} time=${last} />`],
      seen && [
        'Runs as',
        [...new Set(seen.rows.map((row) => seen.labels.uid?.[row.uid] ?? String(row.uid)))].join(', ') || '·',
      ],
      data && [`In the range`, moved(data.total)],
    ]} />
    <${Problem} answer=${sums.error ? sums : seenAnswer} />
    ${ready && html`<${Rest} ...${{ exe, params, seen, digests, color, events, rows, by, marks, lifted, setLifted, series, fresh, range, last }} />`}
  `;
}
