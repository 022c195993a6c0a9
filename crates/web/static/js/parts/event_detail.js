/** One event with all that is known about it, and the ways to the traffic around it. */
import { Spark } from '../charts/spark.js';
import { isSeen, markOneSeen } from '../lib/alerts.js';
import { useAnswer } from '../lib/answer.js';
import { eventKind } from '../lib/events.js';
import { baseName, bytes, clock, date, dayAndTime, fullTime, grouped } from '../lib/format.js';
import { cls, html } from '../lib/html.js';
import { filterText, link, ZONE } from '../lib/state.js';
import { Icon } from './icons.js';
import { Path, Swatch, slotColor } from './identity.js';

/** Seconds before and after an event that are "around it". */
const AROUND = 1800;

/** @type {Record<string, string>} */
const WORDS = {
  error: 'Error',
  loss: 'Lost',
  late_digest: 'Late digest',
  start: 'Started',
  stop: 'Stopped',
  gap: 'Not recorded',
  configuration: 'Configuration',
  clock: 'Clock',
  retention: 'Retention',
  fold: 'Summed up',
  forget: 'Forgotten',
  log: 'Log',
};

/** What an event is, in two words. @param {any} row @returns {string} */
export function eventTitle(row) {
  if (row.kind !== 'alert') return WORDS[row.kind] ?? row.kind;
  const subject = row.subject ?? '';
  if (subject === 'new hash') return 'Changed on disk';
  if (/\bexe\b/.test(subject)) return 'New program';
  if (subject === 'new name') return 'New name';
  return subject ? subject[0].toUpperCase() + subject.slice(1) : 'Alert';
}

/** @param {{label: string, children?: unknown}} props */
const Fact = ({ label, children }) => html`<div><dt>${label}</dt><dd>${children}</dd></div>`;

/** @param {{digest: string, wrong?: boolean}} props */
const Digest = ({ digest, wrong }) =>
  html`<a class=${cls('mono', wrong && 't-wrong')} title=${digest} href=${link('explore', { where: filterText('sha256', digest), group_by: 'exe' })}>${digest.slice(0, 20)}…</a>`;

/** @param {any} row @param {Record<string, string>} users */
const userName = (row, users) => users[String(row.uid)] ?? (row.uid === null ? '' : String(row.uid));

/**
 * @param {{row: any, users: Record<string, string>}} props
 */
function Facts({ row, users }) {
  const seen = useAnswer(row.exe ? 'seen' : null, { where: filterText('exe', row.exe), limit: 50 }).data;
  const later = useAnswer(row.exe && row.kind === 'alert' ? 'query' : null, {
    where: filterText('exe', row.exe),
    since: row.time,
    zone: ZONE,
  }).data;
  /** @type {any[]} */
  const digests = (seen?.rows ?? []).filter((/** @type {any} */ one) => one.sha256);
  const own = digests.find((one) => one.sha256 === row.sha256);
  const before =
    row.subject === 'new hash'
      ? digests
          .filter((one) => one.sha256 !== row.sha256 && one.first < row.time)
          .sort((a, b) => b.last - a.last)[0]
      : undefined;
  const { writer } = row;
  return html`
    <dl class="det">
      ${row.host && html`<${Fact} label="Host"><a href=${link('explore', { where: filterText('host', row.host) })}>${row.host}</a><//>`}
      ${row.name && (!row.exe || row.name !== baseName(row.exe)) && html`<${Fact} label="Process name">${row.name}<//>`}
      ${before && html`<${Fact} label="Before"><${Digest} digest=${before.sha256} /> <span class="dim-t">until ${dayAndTime(before.last)}</span><//>`}
      ${row.sha256 && html`<${Fact} label=${before ? 'After' : 'Digest'}><${Digest} digest=${row.sha256} wrong=${Boolean(before)} /><//>`}
      ${
        writer &&
        html`<${Fact} label="Written by"><span title=${writer.exe}><b>${writer.name || baseName(writer.exe ?? '')}</b>, pid ${writer.pid}${
          writer.uid !== null && writer.uid !== undefined && `, user ${userName(writer, users)}`
        }</span><//>`
      }
      ${own?.virustotal && html`<${Fact} label="VirusTotal"><span class=${cls(/^(suspicious|malicious)/i.test(own.virustotal) && 't-wrong')}>${own.virustotal}</span><//>`}
      ${row.uid !== null && html`<${Fact} label="User">${userName(row, users)}<//>`}
      ${row.count > 1 && row.kind !== 'alert' && html`<${Fact} label="Count">${grouped(row.count)}<//>`}
      ${row.begin !== null && row.begin !== row.time && html`<${Fact} label="Began">${fullTime(row.begin)}<//>`}
      ${own && html`<${Fact} label="First seen">${dayAndTime(own.first)}<//>`}
      ${later && html`<${Fact} label="Since then">${bytes(later.total.received)} received, ${bytes(later.total.sent)} sent<//>`}
    </dl>
  `;
}

/** @param {{row: any, color: string, where: string | null}} props */
function Around({ row, color, where }) {
  const since = row.time - AROUND;
  const until = row.time + AROUND - 1;
  const { data } = useAnswer('series', { where, since, until, parts: 60, zone: ZONE });
  const sums = data?.total;
  const none = sums && ![...sums.received, ...sums.sent].some((value) => value > 0);
  return html`
    <div>
      <div class="famh">Traffic ${where ? 'of this program ' : ''}30 min before and after</div>
      <div class="around">
        ${sums && html`<${Spark} received=${sums.received} sent=${sums.sent} width=${392} height=${72} color=${color} fluid=${true} />`}
        <span class="nowline" aria-hidden="true"></span>
      </div>
      <div class="around-ends dim-t"><span>${clock(since).slice(0, 5)}</span><span>${none ? 'nothing' : clock(row.time)}</span><span>${clock(until + 1).slice(0, 5)}</span></div>
    </div>
  `;
}

/** @param {{row: any, answer: any}} props */
export function EventDetail({ row, answer }) {
  const kind = eventKind(row);
  const users = answer.labels?.uid ?? {};
  const where = row.exe ? filterText('exe', row.exe) : null;
  const color = slotColor(answer.slots?.[row.exe]);
  const isWithTraffic = row.kind === 'alert' || row.kind === 'loss' || row.kind === 'gap' || row.exe;
  const around = {
    range: null,
    since: String(row.time - AROUND),
    until: String(row.time + AROUND),
    where,
    exclude: null,
  };
  return html`
    <div class="sideh">
      <span class=${cls('kind', kind)} aria-hidden="true"></span>
      <h2 class=${cls(kind === 'wrong' && 't-wrong')}>${eventTitle(row)}</h2>
      <span class="grow"></span>
      <time datetime=${new Date(row.time * 1000).toISOString()} title=${fullTime(row.time)}>${date(row.time)} ${clock(row.time)}</time>
    </div>
    ${
      row.exe &&
      html`<div class="sidep"><${Swatch} color=${color} /><a class="name" href=${link('program', { exe: row.exe })}>${baseName(row.exe)}</a><${Path} path=${row.exe} /></div>`
    }
    <p class="note">${row.sentence || row.text}</p>
    <${Facts} row=${row} users=${users} />
    ${isWithTraffic && html`<${Around} row=${row} color=${row.exe ? color : 'var(--ink-3)'} where=${where} />`}
    <div class="chips">
      ${isWithTraffic && html`<a class="btn" href=${link('explore', { ...around, group_by: row.exe ? 'domain' : null })}>Traffic around it <${Icon} name="go" /></a>`}
      ${row.exe && html`<a class="btn" href=${link('program', { exe: row.exe })}>Program</a>`}
      ${!isSeen(row) && html`<button type="button" class="btn" onClick=${() => markOneSeen(row)}><${Icon} name="ok" />Seen</button>`}
    </div>
  `;
}
