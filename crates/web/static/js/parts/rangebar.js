/** The range of a page: presets, earlier and later, the two moments with their zone, and the switches a page adds. */
import { dayAndTime, zoneName } from '../lib/format.js';
import { html } from '../lib/html.js';
import { change, LENGTHS, logBegin, PRESETS, range, setMoments, setPreset } from '../lib/state.js';
import { Calendar } from './calendar.js';
import { Menu, usePopup } from './controls.js';
import { Icon } from './icons.js';

/** @type {Record<string, string>} */
const TEXTS = {
  '15m': '15 min',
  '1h': '1 h',
  '6h': '6 h',
  '1d': '24 h',
  '7d': '7 d',
  '30d': '30 d',
  '1y': '1 y',
};

/** @typedef {{since: number, until: number}} Moments */
/** Of an answer; all of the log has no begin. @typedef {{since: number | null, until: number}} Answered */

/** The range as two moments, as far as the page knows without asking. @param {Answered | undefined} answered @returns {Moments} */
export function moments(answered) {
  const now = Math.floor(Date.now() / 1000);
  const { preset, since, until } = range.value;
  if (preset && LENGTHS[preset]) return { since: now - LENGTHS[preset], until: now };
  if (answered) return { ...answered, since: answered.since ?? logBegin.value ?? now - 86400 };
  return { since: Number(since) || now - 86400, until: Number(until) || now };
}

/** What the period of comparison is called. */
export function beforeName() {
  const { preset } = range.value;
  return (
    {
      '15m': '15 min before',
      '1h': 'hour before',
      '6h': '6 hours before',
      '1d': 'day before',
      '7d': 'week before',
      '30d': '30 days before',
      '1y': 'year before',
    }[preset ?? ''] ?? 'period before'
  );
}
/** The range after a noun. */
export const rangeName = () => {
  const text = TEXTS[range.value.preset ?? ''];
  return text ? `of the last ${text}` : 'in the range';
};

/** The range of the last answer, for the keys: a word such as "last-month" has its moments only from the server. */
let lastAnswered = /** @type {Answered | undefined} */ (undefined);

/** Moves the range by its own length; a preset that reaches now again stays a preset. @param {number} direction */
export function move(direction) {
  const { since, until } = moments(lastAnswered);
  const length = until - since;
  const now = Date.now() / 1000;
  if (direction > 0 && until + length >= now - 60) {
    const preset = PRESETS.find((name) => Math.abs(LENGTHS[name] - length) < 90);
    if (preset) setPreset(preset);
    else setMoments(now - length, now);
  } else setMoments(since + direction * length, until + direction * length);
}

/** @param {Moments} shown */
const atNow = (shown) => shown.until >= Date.now() / 1000 - 90;

/** On a phone a range that ends now needs only its begin. @param {{shown: Moments}} props */
const Span = ({ shown }) => html`
  <span class=${atNow(shown) ? 'wide-only' : ''}>${dayAndTime(shown.since)}<span class="dash"> – </span>${dayAndTime(shown.until)}</span>
  ${atNow(shown) && html`<span class="phone-only">since ${dayAndTime(shown.since)}</span>`}
`;

/** @param {{answered?: Answered, children?: unknown}} props */
export function RangeBar({ answered, children }) {
  const { open, setOpen, host } = usePopup();
  const { preset } = range.value;
  const shown = moments(answered);
  lastAnswered = answered;
  return html`
    <div class="toolbar">
      <div class="seg" role="group" aria-label="Range">
        ${PRESETS.map(
          (name) => html`
            <button type="button" key=${name} aria-pressed=${String(name === preset)}
              onClick=${() => setPreset(name)}>${TEXTS[name]}</button>
          `,
        )}
      </div>
      <span class="phone-only">
        <${Menu} quiet label=${(preset && TEXTS[preset]) ?? 'Range'} title="Range"
          items=${PRESETS.map((name) => ({ text: TEXTS[name], current: name === preset, run: () => setPreset(name) }))} />
      </span>
      <span class="pair">
        <button class="iconb" type="button" aria-label="Earlier" title="Earlier  [" onClick=${() => move(-1)}>
          <${Icon} name="prev" />
        </button>
        <button class="iconb" type="button" aria-label="Later" title="Later  ]" disabled=${atNow(shown)}
          onClick=${() => move(1)}><${Icon} name="next" /></button>
      </span>
      <span class="popup-host when-host" ref=${host}>
        <button class="when" type="button" title="Choose from a calendar" aria-haspopup="dialog"
          aria-expanded=${String(open)} onClick=${() => setOpen(!open)}>
          <${Icon} name="calendar" />
          ${preset === 'all' ? html`<span>All of the log</span>` : html`<${Span} shown=${shown} />`}
          <span class="zone">${zoneName(shown.until)}</span>
        </button>
        ${
          open &&
          html`
            <${Calendar} since=${shown.since} until=${shown.until}
              onWord=${(/** @type {string} */ word) => {
                setOpen(false);
                change({ range: word, since: null, until: null });
              }}
              onMoments=${(/** @type {number} */ since, /** @type {number} */ until) => {
                setOpen(false);
                setMoments(since, until);
              }} />
          `
        }
      </span>
      <span class="grow"></span>
      ${children && html`<span class="switches">${children}</span>`}
    </div>
  `;
}
