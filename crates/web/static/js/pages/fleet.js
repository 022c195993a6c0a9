/** The page Fleet: what only a server with the copies of several hosts knows. The questions are those of `picosnitch fleet`. */
import { useAnswer } from '../lib/answer.js';
import { dimensionName } from '../lib/dimensions.js';
import { count, duration, grouped, plural } from '../lib/format.js';
import { cls, html, useEffect, useState } from '../lib/html.js';
import { change, filters, param, question } from '../lib/state.js';
import { Chips } from '../parts/chips.js';
import { Switch, Tabs } from '../parts/controls.js';
import { Bytes, When } from '../parts/figures.js';
import { Ident } from '../parts/identity.js';
import { RangeBar } from '../parts/rangebar.js';
import { Figures, NoLog, Problem } from '../parts/states.js';

/**
 * @typedef {object} Kind
 * @property {string} tab
 * @property {string} asks
 * @property {string} [field] what is typed
 * @property {string} [hint]
 * @property {string} [second] the dimension beside the host
 * @property {string} none
 */

/** @type {Record<string, Kind>} */
const QUESTIONS = {
  silent: {
    tab: 'Silent hosts',
    asks: 'Which hosts have sent nothing for some time?',
    field: 'Minutes',
    none: 'No host has been silent for so long.',
  },
  first: {
    tab: 'First seen',
    asks: 'Where did this program appear first?',
    field: 'Program',
    hint: '/usr/bin/curl, or the name of its file',
    second: 'sha256',
    none: 'No host has this program.',
  },
  digest: {
    tab: 'Digest',
    asks: 'Which hosts run a program with this digest?',
    field: 'SHA-256',
    hint: 'The digest, or its first digits',
    second: 'exe',
    none: 'No host has a program with this digest.',
  },
  domain: {
    tab: 'Domain',
    asks: 'Which hosts talk to this domain?',
    field: 'Domain',
    hint: 'example.org; .example.org with its sub-domains',
    second: 'domain',
    none: 'No host talks to this domain.',
  },
  unique: {
    tab: 'On one host only',
    asks: 'Which programs were seen on one host only?',
    second: 'exe',
    none: 'Every program is on several hosts.',
  },
};
const DEFAULT_MINUTES = '30';
/** Rows that are drawn at first. */
const DRAWN = 200;

/** The value in its field; the address has it when it is entered. @param {{kind: Kind, value: string}} props */
function Field({ kind, value }) {
  const [text, setText] = useState(value);
  useEffect(() => setText(value), [value]);
  const isNumber = kind === QUESTIONS.silent;
  return html`
    <form class="fleet-form" onSubmit=${(/** @type {Event} */ event) => {
      event.preventDefault();
      change({ value: text.trim() || null });
    }}>
      <label><span class="lab">${kind.field}</span>
        <input type=${isNumber ? 'number' : 'text'} min=${isNumber ? '0' : undefined} max=${isNumber ? '10000000' : undefined} name="value" value=${text}
          placeholder=${kind.hint} autocomplete="off" spellcheck=${false}
          onInput=${(/** @type {Event} */ event) => setText(/** @type {HTMLInputElement} */ (event.currentTarget).value)} />
      </label>
      <button class="btn" type="submit">Ask</button>
    </form>
  `;
}

/** @param {{rows: any[], second: string}} props */
const Sightings = ({ rows, second }) => html`
  <table class="fleet" aria-label="Hosts">
    <thead><tr>
      <th scope="col" class="w-id">Host</th><th scope="col" class="w-id2">${dimensionName(second)}</th>
      <th scope="col" class="w-t num">First</th><th scope="col" class="w-t num opt">Last</th>
      <th scope="col" class="w-n num">Received</th><th scope="col" class="w-n num">Sent</th><th scope="col" class="w-n num opt">Connections</th>
    </tr></thead>
    <tbody>
      ${rows.map(
        (row) => html`
          <tr key=${`${row.host}\0${row[second]}`} data-dimension="host" data-value=${row.host ?? ''} tabindex="0">
            <td class="w-id"><${Ident} dimension="host" value=${row.host} /></td>
            <td class="w-id2"><${Ident} dimension=${second} value=${row[second]} /></td>
            <td class="num"><${When} time=${row.first} /></td>
            <td class="num opt dim-t"><${When} time=${row.last} /></td>
            <td class="num"><${Bytes} value=${row.received} /></td>
            <td class="num"><${Bytes} value=${row.sent} /></td>
            <td class="num opt">${count(row.conns)}</td>
          </tr>
        `,
      )}
    </tbody>
  </table>
`;

/** @param {{rows: any[]}} props */
const Silent = ({ rows }) => html`
  <table class="fleet" aria-label="Silent hosts">
    <thead><tr>
      <th scope="col" class="w-id">Host</th><th scope="col" class="w-t num">Last sign</th><th scope="col" class="w-t num">Silent for</th>
    </tr></thead>
    <tbody>
      ${rows.map(
        (row) => html`
          <tr key=${row.host} data-dimension="host" data-value=${row.host ?? ''} tabindex="0">
            <td class="w-id"><${Ident} dimension="host" value=${row.host} /></td>
            <td class="num"><${When} time=${row.last} /></td>
            <td class="num t-wrong">${duration(row.silent_seconds)}</td>
          </tr>
        `,
      )}
    </tbody>
  </table>
`;

/** @param {{data: any, kind: Kind}} props */
function Rows({ data, kind }) {
  const [drawn, setDrawn] = useState(DRAWN);
  const rows = data.rows.slice(0, drawn);
  if (!rows.length) return html`<p class="note nothing">${kind.none}</p>`;
  return html`
    <p class="note small">${plural(data.row_count, kind.second ? 'row' : 'host')}${kind.second && ', the first sight first'}</p>
    <div class="tablewrap sec">${kind.second ? html`<${Sightings} rows=${rows} second=${kind.second} />` : html`<${Silent} rows=${rows} />`}</div>
    ${data.rows.length > drawn && html`<button type="button" class="more lnk" onClick=${() => setDrawn(drawn + 1000)}>${grouped(data.rows.length - drawn)} more</button>`}
    ${data.row_count > data.rows.length && drawn >= data.rows.length && html`<p class="note">Only the first ${grouped(data.rows.length)} rows are here. Choose a shorter range for the others.</p>`}
  `;
}

export default function Fleet() {
  const name = Object.hasOwn(QUESTIONS, param('question')) ? param('question') : 'silent';
  const kind = QUESTIONS[name];
  const value = param('value') || (name === 'silent' ? DEFAULT_MINUTES : '');
  const isAsked = value !== '' || !kind.field;
  // What appeared first is not what appeared first in a day: all records are asked, unless the range is wanted.
  const isWithin = name !== 'silent' && param('within') === '1';
  const { zone, where, exclude, scope } = question.value;
  const all = { zone, range: 'all', where, exclude, scope };
  // Silence is of now, whatever the range; filters are of records.
  const asked = name === 'silent' ? { zone } : isWithin ? question.value : all;
  const answer = useAnswer(isAsked ? 'fleet' : null, {
    ...asked,
    question: name,
    value: kind.field ? value : null,
    // Answers of other questions have other columns.
    group_by: undefined,
  });
  const { data, error } = answer;
  const isOther = data && answer.isOther;
  if (error && !data && (error.kind === 'no_log' || error.kind === 'no_rights'))
    return html`<${NoLog} error=${error} />`;
  return html`
    <h1 class="vh">Fleet</h1>
    ${isWithin && html`<${RangeBar} answered=${isOther ? undefined : data?.range} />`}
    <div class="ctl">
      <${Tabs} label="Question" scroll tabs=${Object.entries(QUESTIONS).map(([key, { tab }]) => [key, tab])} current=${name}
        onChoose=${(/** @type {string} */ key) => change({ question: key, value: null })} />
      <span class="grow"></span>
      ${name !== 'silent' && html`<${Switch} on=${isWithin} onChange=${() => change({ within: isWithin ? null : '1' })} title="Otherwise all records on the server are asked">Only in a range<//>`}
    </div>
    <h2 class="fleet-asks">${kind.asks}</h2>
    ${kind.field && html`<div class="ctl"><${Field} key=${name} kind=${kind} value=${value} /></div>`}
    ${name !== 'silent' && filters.value.length > 0 && html`<div class="ctl"><${Chips} /></div>`}
    ${
      isAsked && !isOther
        ? html`<div class=${cls(answer.stale && 'stale')}><${Figures} answer=${answer} rows=${8}>${data && html`<${Rows} key=${name} data=${data} kind=${kind} />`}<//></div>`
        : !isAsked && html`<p class="note nothing">Type what is looked for.</p>`
    }
    <${Problem} answer=${answer} />
  `;
}
