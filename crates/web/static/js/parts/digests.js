/** Whether a program is still the same: its digests as a band over time and as a table with what VirusTotal says of each. */
import { useAnswer } from '../lib/answer.js';
import { calendarParts, date, dayAndTime, duration, fullTime } from '../lib/format.js';
import { cls, html } from '../lib/html.js';
import { isOwn } from '../lib/source.js';
import { Bytes, When } from './figures.js';
import { shade } from './subject.js';

/** @typedef {{sha256: string | null, first: number, last: number, virustotal: string | null, bad: boolean}} Digest */

/**
 * The digests of a program, the newest first; users are put together.
 * @param {any[]} rows of /seen
 * @returns {Digest[]}
 */
export function digestsOf(rows) {
  /** @type {Map<string | null, Digest>} */
  const found = new Map();
  for (const row of rows) {
    const old = found.get(row.sha256);
    if (old) {
      old.first = Math.min(old.first, row.first);
      old.last = Math.max(old.last, row.last);
      old.virustotal ??= row.virustotal;
    } else found.set(row.sha256, { ...row, bad: false });
  }
  const list = [...found.values()].sort((a, b) => b.first - a.first);
  for (const one of list) one.bad = badScanners(one.virustotal) > 0;
  return list;
}

/** How many scanners call it bad: "3/71", "3 of 71". @param {string | null} text */
export function badScanners(text) {
  const found = /^(?:suspicious,?\s*)?(\d+)\s*(?:\/|of)\s*(\d+)/.exec(text ?? '');
  return found ? Number(found[1]) : /suspicious/.test(text ?? '') ? 1 : 0;
}

/** @param {number} from @param {number} to @returns {number[]} the begins of months or years between them */
function months(from, to) {
  const { year, month } = calendarParts(from);
  const length = (to - from) / 86400 / 30;
  const step = length > 30 ? 12 : length > 14 ? 3 : 1;
  const list = [];
  for (let i = 1; list.length < 40; i++) {
    const time = new Date(year, month - 1 + i, 1).getTime() / 1000;
    if (time >= to) break;
    if (new Date(time * 1000).getMonth() % step === 0) list.push(time);
  }
  return list;
}

/** @param {{list: Digest[], now: number, color: string}} props */
function Band({ list, now, color }) {
  const from = Math.min(...list.map((one) => one.first));
  const span = Math.max(1, now - from);
  /** @param {number} time */
  const place = (time) => `${((time - from) / span) * 100}%`;
  const oldest = [...list].reverse();
  return html`
    <div class="band" aria-hidden="true">
      ${oldest.map((one, i) => {
        const end = oldest[i + 1]?.first ?? now;
        const wide = (end - one.first) / span > 0.12;
        return html`
          <span key=${String(one.sha256)} class=${cls('digest', one.bad && 'bad')}
            title=${`${one.sha256 ?? 'unknown'}, from ${fullTime(one.first)}`}
            style=${{ left: place(one.first), width: `calc(${((end - one.first) / span) * 100}% - 2px)`, background: one.bad ? 'var(--wrong-mark)' : shade(color, list.length - 1 - i, list.length) }}>
            ${(wide || one.bad) && html`<span class=${cls('mono', one.bad && !wide && 'end')}>${(one.sha256 ?? 'unknown').slice(0, wide ? 16 : 8)}</span>`}
          </span>
        `;
      })}
      ${months(from, now).map((time) => {
        const { month, year, monthName } = calendarParts(time);
        return html`<span class="tick" key=${time} style=${{ left: place(time) }}>${month === 1 ? year : monthName}</span>`;
      })}
    </div>
  `;
}

/** @param {{text: string | null}} props */
function VirusTotal({ text }) {
  const found = /(\d+)\s*(?:\/|of)\s*(\d+)/.exec(text ?? '');
  if (!found)
    return html`<span class="dim-t" title=${text ?? undefined}>${text ?? (isOwn ? 'not asked' : 'on the machine itself')}</span>`;
  const bad = Number(found[1]);
  return html`
    <span class=${cls('vt', bad > 0 && 'wrong')}><i style=${{ width: `${(bad / Number(found[2])) * 100}%` }}></i></span>
    <span class=${bad ? 't-wrong' : ''}>${found[1]} of ${found[2]}</span>
  `;
}

/** @param {{list: Digest[], now: number, color: string, events: any[], params: import('../lib/api.js').Params}} props */
export function Digests({ list, now, color, events, params }) {
  const traffic = useAnswer('query', { ...params, group_by: 'sha256', limit: 100 }).data;
  const sums = new Map((traffic?.rows ?? []).map((row) => [row.sha256, row]));
  const known = list.filter((one) => one.sha256);
  const first = Math.min(...list.map((one) => one.first));
  return html`
    <section class="sec" aria-label="Is it the same program">
      <div class="chead"><h2>Is it the same program</h2><span>${known.length === 1 ? 'one digest' : `${known.length || 'no'} digests`} since ${date(first)}</span></div>
      <${Band} list=${list} now=${now} color=${color} />
      <div class="tablewrap">
        <table class="dgt">
          <thead><tr>
            <th scope="col" class="w-h">SHA-256</th><th scope="col" class="w-t">Since</th><th scope="col" class="w-t">For</th>
            <th scope="col">How it changed</th><th scope="col" class="w-v">VirusTotal</th>
            <th scope="col" class="w-n num opt">Received</th><th scope="col" class="w-n num opt">Sent</th>
          </tr></thead>
          <tbody>
            ${list.slice(0, 12).map((one, i) => {
              const event = events.find((row) => row.sha256 === one.sha256 && row.subject === 'new hash');
              const sum = sums.get(one.sha256);
              return html`
                <tr key=${String(one.sha256)} class=${cls(one.bad && 'bad')}>
                  <td class="mono" title=${one.sha256 ?? undefined}>${one.sha256 ? `${one.sha256.slice(0, 16)}…` : 'unknown'}</td>
                  <td><${When} time=${one.first} as=${now - one.first < 86400 ? dayAndTime : date} /></td>
                  <td class="dim-t">${duration((i ? list[i - 1].first : now) - one.first)}</td>
                  <td class="ell" title=${event?.sentence}>${event?.sentence ?? (i === list.length - 1 ? 'the first that was seen' : '')}</td>
                  <td><${VirusTotal} text=${one.virustotal} /></td>
                  <td class="num opt"><${Bytes} value=${sum?.received} /></td>
                  <td class="num opt"><${Bytes} value=${sum?.sent} /></td>
                </tr>
              `;
            })}
          </tbody>
        </table>
      </div>
      ${list.length > 12 && html`<p class="dim-t small">and ${list.length - 12} older ones</p>`}
    </section>
  `;
}
