/** The page Health: is this machine recorded, what is not captured or was lost, what it costs, and how the log grows. */
import { refresh, useAnswer } from '../lib/answer.js';
import {
  bytesParts,
  count,
  date,
  dayAndTime,
  dayKey,
  duration,
  grouped,
  hourMinute,
  plural,
} from '../lib/format.js';
import { cls, html, useEffect, useState } from '../lib/html.js';
import { daemonState } from '../lib/live.js';
import { isMissing, lossAmount, lossClause, missing } from '../lib/losses.js';
import { secondsAway, unrecorded } from '../lib/recorded.js';
import { link, ZONE } from '../lib/state.js';
import { healthAnswer, lookAtHealth } from '../lib/watch.js';
import { When } from '../parts/figures.js';
import { Path } from '../parts/identity.js';
import { Problem, Said, SkeletonRows } from '../parts/states.js';
import { WindowStrip } from '../parts/window_strip.js';

/** Asked for again while the page is open, in milliseconds: what it costs now is the difference of two answers. */
const AGAIN = 10_000;

/** Percent of one CPU since the start, and bytes of memory, of all processes. @param {any} daemon @param {number} now */
function mean(daemon, now) {
  let cpu = 0;
  let memory = 0;
  for (const one of daemon.processes) {
    cpu += one.cpu_seconds / Math.max(1, now - one.started);
    memory += one.resident_bytes ?? 0;
  }
  return { cpu: cpu * 100, memory: memory || null };
}

/** The health, asked for again and again, with the answer before it. */
function useHealth() {
  const [slow, setSlow] = useState(false);
  useEffect(() => {
    lookAtHealth();
    const timer = setInterval(() => document.visibilityState === 'visible' && lookAtHealth(), AGAIN);
    const wait = setTimeout(() => setSlow(true), 300);
    return () => {
      clearInterval(timer);
      clearTimeout(wait);
    };
  }, [refresh.value]);
  const { before, ...answer } = healthAnswer.value;
  return { answer: { ...answer, isOther: false, stale: answer.error !== null, slow }, before };
}

/** CPU of a process since the answer before, in percent of one; null if there was none. @param {any} process @param {any} data @param {any} before */
function cpuNow(process, data, before) {
  const old = [...(before?.daemon?.processes ?? []), before?.dash && { ...before.dash, name: 'dash' }].find(
    (one) => one?.pid === process.pid,
  );
  const seconds = data.now - (before?.now ?? data.now);
  return old && seconds > 0 ? Math.max(0, ((process.cpu_seconds - old.cpu_seconds) / seconds) * 100) : null;
}

/** @param {number | null} value */
const percent = (value) =>
  value === null ? '' : value < 0.005 ? '0' : value < 10 ? value.toFixed(2) : value.toFixed(1);

/** @typedef {{day: number, month: number} | null} Away seconds without picosnitch in the last 24 hours and 30 days, null is not known */

/** How long nothing was recorded. @param {any} data of /health @returns {{away: Away, error: import('../lib/api.js').ApiError | null}} */
function useAway(data) {
  // Asked for the hours of a month: only their ends and the gaps between them matter.
  const { data: series, error } = useAnswer(data?.log ? 'series' : null, {
    range: '30d',
    zone: ZONE,
    parts: 30,
  });
  if (!series) return { away: null, error };
  // The last window of the answer may be minutes old.
  const list = unrecorded({ ...series, now: Math.max(series.now, data.now) }, data);
  const away = {
    day: secondsAway(list, data.now - 86400, data.now),
    month: secondsAway(list, data.now - 30 * 86400, data.now),
  };
  return { away, error: null };
}

/** The sentence that answers the page's question, and what is wrong. @param {any} data @param {ReturnType<typeof useAway>} known @returns {[string, string]} */
function verdict(data, { away, error }) {
  if (!data.daemon)
    return [
      '',
      `Nothing is recorded now.${data.log?.last ? ` The last record is of ${dayAndTime(data.log.last)}.` : ''}`,
    ];
  const lost = data.losses_24h.filter(isMissing);
  if (lost.length > 0) {
    const amounts = lost.map((/** @type {any} */ loss) => lossAmount(loss.kind, loss.count)).join(', ');
    return ['Recording.', `In the last 24 hours this was lost: ${amounts}; ${lossClause(lost[0])}.`];
  }
  if (!away) return ['Recording.', error ? `Whether it was without a break is not known: ${error.text}` : ''];
  if (away.day > 0) return ['Recording.', `In the last 24 hours ${duration(away.day)} were not recorded.`];
  if (data.losses_30d.some(isMissing) || away.month > 0)
    return ['Recording. Nothing was lost in the last 24 hours, something was in the last 30 days.', ''];
  const since = data.log?.first ? Math.max(data.log.first, data.now - 30 * 86400) : data.daemon.since;
  const isToday = dayKey(since) === dayKey(data.now);
  return [`Recording. Nothing was lost since ${isToday ? hourMinute(since) : date(since)}.`, ''];
}

/** @param {{kind?: string | false, value: unknown, unit?: string, label: string, title?: string}} props */
const Total = ({ kind, value, unit, label, title }) => html`
  <div class=${cls('tot', kind)} title=${title}><dt>${label}</dt><dd>${value}${unit && html`<u>${unit}</u>`}</dd></div>
`;

/** @param {{data: any, away: Away}} props */
function Totals({ data, away }) {
  const { daemon, log } = data;
  const lost = missing(data.losses_24h);
  const [awayFigure, awayUnit] = duration(away?.day ?? 0).split(' ');
  const cost = daemon && mean(daemon, data.now);
  const [memory, memoryUnit] = bytesParts(cost?.memory ?? 0);
  const [size, sizeUnit] = bytesParts(log?.bytes ?? 0);
  const [age, ageUnit] = duration(Math.max(0, data.now - (log?.last ?? data.now))).split(' ');
  const [growth, growthUnit] = bytesParts(log?.bytes_per_day ?? 0);
  return html`
    <dl class="totals">
      ${lost ? html`<${Total} kind="wrong" value=${lost.value} label=${`${lost.label} in 24 h`} />` : !away?.day && html`<${Total} value=${away ? '0' : '·'} label="lost in 24 h" />`}
      ${away && away.day > 0 && html`<${Total} kind="wrong" value=${awayFigure} unit=${awayUnit} label="not recorded in 24 h" />`}
      ${daemon && html`<${Total} value=${percent(cost?.cpu ?? 0)} unit="%" label="of one CPU" title="mean since the start" />`}
      ${daemon && cost?.memory && html`<${Total} value=${memory} unit=${memoryUnit} label="memory" />`}
      ${log && html`<${Total} value=${size} unit=${sizeUnit} label=${data.retention?.megabytes ? `log, at most ${bytesParts(data.retention.megabytes * 1e6).join(' ')}` : 'log'} />`}
      ${log?.bytes_per_day && html`<${Total} value=${growth} unit=${growthUnit} label="growth a day" />`}
      ${log?.last && html`<${Total} value=${age} unit=${ageUnit} label="since last record" />`}
    </dl>
  `;
}

/** @param {{title: string, aside?: unknown, children?: unknown}} props */
const Section = ({ title, aside, children }) => html`
  <section aria-label=${title}><div class="lhead"><h2>${title}</h2><span class="grow"></span>${aside && html`<span>${aside}</span>`}</div>${children}</section>
`;

/** @param {{label: string, children?: unknown}} props */
const Row = ({ label, children }) =>
  html`<li class="lrow kv"><span class="dim-t">${label}</span><span class="num ell">${children}</span></li>`;

/** What was lost. @param {{data: any, known: ReturnType<typeof useAway>}} props */
const Lost = ({ data, known: { away, error } }) => html`
  <${Section} title="What was lost" aside="last 30 days">
    <ul class="todo">
      ${data.losses_30d.map(
        (/** @type {any} */ loss) => html`
          <li key=${loss.kind}>
            <p><b class=${cls(isMissing(loss) && 't-wrong')}>${lossAmount(loss.kind, loss.count)} ${isMissing(loss) ? 'lost' : 'noticed late'}:</b> ${lossClause(loss)}.</p>
            <p class="dim-t">${loss.text}</p>
          </li>
        `,
      )}
      ${
        away &&
        away.month > 0 &&
        html`<li><p><b class="t-wrong">${duration(away.month)} not recorded:</b> picosnitch did not run; what was moved then is in no record.</p></li>`
      }
      ${error && html`<li><p>When picosnitch did not run is not known: ${error.text}</p></li>`}
      ${!data.log && html`<li><p>Not known without the log.</p></li>`}
      ${data.losses_30d.length === 0 && away?.month === 0 && html`<li><p>Nothing.</p></li>`}
    </ul>
  <//>
`;

/** What this kernel does not show, in the daemon's words. @param {{daemon: any}} props */
const Unseen = ({ daemon }) => html`
  <${Section} title="What this kernel does not show">
    <ul class="todo">
      ${daemon.unseen.map((/** @type {string} */ sentence) => html`<li key=${sentence}><p>${sentence[0].toUpperCase() + sentence.slice(1)}</p></li>`)}
      <li><p class="dim-t">AF_XDP sockets are seen on no kernel. All of it: <code>sudo picosnitch doctor</code></p></li>
    </ul>
  <//>
`;

/** @param {{data: any, before: any}} props */
function Cost({ data, before }) {
  const processes = [
    ...(data.daemon?.processes ?? []),
    {
      pid: 0,
      cpu_seconds: 0,
      ...data.dash,
      name: 'this page (dash)',
      started: data.dash.since,
    },
  ];
  return html`
    <${Section} title="What it costs" aside="CPU now, mean, memory">
      <ul>
        ${processes.map((one) => {
          const now = cpuNow(one, data, before);
          const [memory, unit] = bytesParts(one.resident_bytes ?? 0);
          return html`
            <li class="lrow costs" key=${one.pid}>
              <span class="ell" title=${`process ${one.pid}`}>${one.name} <span class="dim-t">${one.pid}</span></span>
              <span class="num">${now === null ? '' : html`<b>${percent(now)}</b><u> %</u>`}</span>
              <span class="num dim-t">${percent((one.cpu_seconds / Math.max(1, data.now - one.started)) * 100)} %</span>
              <span class="num">${one.resident_bytes ? html`<b>${memory}</b><u> ${unit}</u>` : html`<span class="dim-t">unknown</span>`}</span>
            </li>
          `;
        })}
      </ul>
      <p class="note small">${plural(data.dash.requests, 'request')} answered since ${dayAndTime(data.dash.since)}, ${grouped(data.dash.answers_from_cache)} of them without asking the log again;
        ${' '}${plural(data.dash.streams, 'live stream')} open.</p>
    <//>
  `;
}

/** @param {{data: any}} props */
function Log({ data }) {
  const { log, retention } = data;
  if (!log)
    return html`<${Section} title="The log"><p class="note">${data.log_problem ?? 'There is no log.'}</p><//>`;
  const most = retention?.megabytes ? retention.megabytes * 1e6 : null;
  const days = most && log.bytes_per_day > 0 ? Math.max(0, (most - log.bytes) / log.bytes_per_day) : null;
  const size = (/** @type {number} */ number) => bytesParts(number).join(' ');
  return html`
    <${Section} title="The log" aside=${`schema ${log.schema}`}>
      ${most && html`<div class="fill" role="img" aria-label=${`${size(log.bytes)} of ${size(most)}`}><i style=${{ width: `${Math.min(100, (log.bytes / most) * 100)}%` }}></i></div>`}
      <ul>
        <${Row} label="Size">${size(log.bytes)}${most && ` of ${size(most)}`}<//>
        ${days !== null && html`<${Row} label="Full in about">${days < 1 ? 'less than a day' : duration(days * 86400)}, then the oldest go first<//>`}
        ${log.first && html`<${Row} label="Reaches back to">${date(log.first)}, ${duration(data.now - log.first)}<//>`}
        ${log.detail_since && html`<${Row} label="Single windows since">${date(log.detail_since)}, sums before<//>`}
        <${Row} label="Last record"><${When} time=${log.last} /><//>
        <${Row} label="Records">${count(log.records)}<//>
        <${Row} label="Kept">${retention?.days ? plural(retention.days, 'day') : 'without an end'}<//>
        <${Row} label="Identity">${log.id}<//>
      </ul>
      ${data.log_problem && html`<p class="note small t-wrong">${data.log_problem}</p>`}
    <//>
  `;
}

/** @param {{data: any}} props */
function Files({ data }) {
  const { daemon, log } = data;
  /** @type {[string, string | null | undefined][]} */
  const files = [
    ['Log', daemon?.files.database ?? log?.path],
    ['Known programs', daemon?.files.record],
    ['Alerts', daemon?.files.exe_log],
    ['Connections', daemon?.files.conn_log],
  ];
  return html`
    <${Section} title="Files">
      <ul>
        ${files.map(([name, path]) => path && html`<li class="lrow filerow" key=${name}><span class="dim-t">${name}</span><${Path} path=${path} /></li>`)}
      </ul>
      ${daemon?.virustotal?.text && html`<p class="note small">VirusTotal: ${daemon.virustotal.text}</p>`}
      ${daemon?.servers.map((/** @type {any} */ copy) => html`<p class="note small" key=${copy.name}>${copy.name}: ${copy.text}</p>`)}
      ${daemon?.digests_pending > 0 && html`<p class="note small">${plural(daemon.digests_pending, 'executable waits', 'executables wait')} to be hashed.</p>`}
      ${daemon?.subscribers_dropped > 0 && html`<p class="note small">${plural(daemon.subscribers_dropped, 'client')} of the live socket dropped since the start: too slow, or too many.</p>`}
      ${daemon?.last_error && html`<p class="note small"><b class="t-wrong">Last error</b>, <${When} time=${daemon.last_error.time} />: ${daemon.last_error.text} <a class="lnk" href=${link('alerts', { kind: 'error' })}>All errors</a></p>`}
    <//>
  `;
}

/** @param {{data: any, known: ReturnType<typeof useAway>}} props */
function Hero({ data, known }) {
  const { daemon } = data;
  const [text, wrong] = verdict(data, known);
  return html`
    <div class="hero">
      <h1>${data.hostname}</h1>
      <p class="verdict"><b>${text}</b> ${wrong && html`<b class="t-wrong">${wrong}</b>`}</p>
      <p class="note">
        ${
          daemon
            ? html`Running for ${duration(data.now - daemon.since)}, version ${data.version}, Linux ${data.kernel}.
              ${daemon.unseen.length > 0 ? ` ${plural(daemon.unseen.length, 'thing is', 'things are')} not captured in full on this kernel.` : ''}
              ${daemonState.value === 'recording' ? '' : ' The stream of live data is silent.'}`
            : html`<${Said} text=${data.daemon_problem ?? 'picosnitch is not running'} />. Version ${data.version}, Linux ${data.kernel}.`
        }
      </p>
    </div>
  `;
}

export default function Health() {
  const { answer, before } = useHealth();
  const { data } = answer;
  const known = useAway(data);
  const { away } = known;
  if (!data)
    return html`<h1 class="vh">Health</h1>${answer.slow && html`<div class="hero"></div><${SkeletonRows} rows=${12} />`}<${Problem} answer=${answer} />`;
  return html`
    <div class=${cls(answer.stale && 'stale')}>
      <${Hero} data=${data} known=${known} />
      <${Totals} data=${data} away=${away} />
      ${
        data.log &&
        html`
        <section aria-label="Windows of the last 24 hours">
          <div class="chead"><h2>The last 24 hours, window by window</h2>
            ${data.losses_24h.filter(isMissing).map((/** @type {any} */ loss) => html`<span class="t-wrong" key=${loss.kind}>${lossAmount(loss.kind, loss.count)} lost</span>`)}
            ${away && away.day > 0 && html`<span class="t-wrong">${duration(away.day)} not recorded</span>`}
            <span class="grow"></span>
            <ul class="striplegend" aria-label="Legend">
              <li><i class="good"></i>nothing lost</li><li><i class="bad"></i>something lost</li><li><i class="away"></i>not recorded</li><li><i class="open"></i>not over yet</li>
            </ul>
          </div>
          <${WindowStrip} />
        </section>
      `
      }
      <div class="cols health">
        <div><${Lost} data=${data} known=${known} /><div class="gap"></div><${Files} data=${data} /></div>
        <div>${data.daemon && html`<${Unseen} daemon=${data.daemon} />`}</div>
        <div><${Cost} data=${data} before=${before} /><div class="gap"></div><${Log} data=${data} /></div>
      </div>
    </div>
    <${Problem} answer=${answer} />
  `;
}
