/** A calendar for two moments: a month to click in, the times of day to type, and words for common ranges. */
import { calendarParts, zoneName } from '../lib/format.js';
import { html, useState } from '../lib/html.js';
import { Icon } from './icons.js';

const WORDS = [
  ['today', 'Today'],
  ['yesterday', 'Yesterday'],
  ['this-week', 'This week'],
  ['last-week', 'Last week'],
  ['this-month', 'This month'],
  ['last-month', 'Last month'],
  ['this-year', 'This year'],
  ['all', 'All of the log'],
];
const MONTHS = 'January February March April May June July August September October November December'.split(
  ' ',
);
const WEEKDAYS = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'];

/** @param {number} number */
const two = (number) => String(number).padStart(2, '0');
/** @param {number} time unix seconds @returns {[string, string]} day and time of day, as inputs have them */
function fields(time) {
  const { year, month, day, hour, minute } = calendarParts(time);
  return [`${year}-${two(month)}-${two(day)}`, `${two(hour)}:${two(minute)}`];
}
/** @param {string} day @param {string} time @returns {number} unix seconds in the browser's zone */
const momentOf = (day, time) => new Date(`${day}T${time || '00:00'}`).getTime() / 1000;

/** The days of six weeks around a month, from a Monday. @param {number} year @param {number} month from 0 */
function weeks(year, month) {
  const first = (new Date(year, month, 1).getDay() + 6) % 7;
  return Array.from({ length: 6 }, (_, week) =>
    Array.from({ length: 7 }, (_, day) => {
      const date = new Date(year, month, 1 - first + week * 7 + day);
      return {
        key: `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`,
        day: date.getDate(),
        label: `${date.getDate()} ${MONTHS[date.getMonth()]} ${date.getFullYear()}`,
        inside: date.getMonth() === month,
      };
    }),
  );
}

/**
 * @param {{year: number, month: number, from: string, to: string, today: string, onDay: (key: string) => void}} props
 */
const Month = ({ year, month, from, to, today, onDay }) => html`
  <table class="month">
    <thead><tr>${WEEKDAYS.map((name) => html`<th scope="col" key=${name}>${name}</th>`)}</tr></thead>
    <tbody>
      ${weeks(year, month).map(
        (week) => html`
          <tr key=${week[0].key}>
            ${week.map(
              ({ key, day, label, inside }) => html`
                <td key=${key} class=${key >= from && key <= to ? 'in' : ''}>
                  <button type="button" disabled=${key > today} class=${inside ? '' : 'other'} aria-label=${label}
                    aria-pressed=${String(key === from || key === to)} onClick=${() => onDay(key)}>${day}</button>
                </td>
              `,
            )}
          </tr>
        `,
      )}
    </tbody>
  </table>
`;

/** @param {{since: number, until: number, onWord: (word: string) => void, onMoments: (since: number, until: number) => void}} props */
export function Calendar({ since, until, onWord, onMoments }) {
  const [fromDay, fromTime] = fields(since);
  const [toDay, toTime] = fields(until);
  const [days, setDays] = useState({ from: fromDay, to: toDay, fromTime, toTime, half: false });
  const [shown, setShown] = useState(() => {
    const { year, month } = calendarParts(until);
    return { year, month: month - 1 };
  });
  const today = fields(Date.now() / 1000)[0];
  /** @param {number} by */
  const turn = (by) => {
    const date = new Date(shown.year, shown.month + by, 1);
    setShown({ year: date.getFullYear(), month: date.getMonth() });
  };
  /** The first click is a whole day, the second the other end. @param {string} key */
  const onDay = (key) => {
    const [first, last] = [key, days.from].sort();
    if (!days.half) setDays({ from: key, to: key, fromTime: '00:00', toTime: '23:59', half: true });
    else
      setDays({
        ...days,
        from: first,
        to: last,
        half: false,
      });
  };
  const a = momentOf(days.from, days.fromTime);
  const b = momentOf(days.to, days.toTime) + (days.toTime === toTime && days.to === toDay ? 0 : 59);
  const valid = Number.isFinite(a) && Number.isFinite(b) && a < b;
  /** @param {'from' | 'to' | 'fromTime' | 'toTime'} name @param {string} type @param {string} label */
  const input = (name, type, label) => html`
    <input type=${type} aria-label=${label} value=${days[name]} max=${type === 'date' ? today : undefined}
      onChange=${(/** @type {Event} */ event) =>
        setDays({
          ...days,
          [name]: /** @type {HTMLInputElement} */ (event.currentTarget).value,
          half: false,
        })} />
  `;
  return html`
    <div class="popup calendar" role="dialog" aria-label="Range of time">
      <div class="words">
        ${WORDS.map(([word, text]) => html`<button type="button" key=${word} onClick=${() => onWord(word)}>${text}</button>`)}
      </div>
      <form onSubmit=${(/** @type {SubmitEvent} */ event) => {
        event.preventDefault();
        if (valid) onMoments(a, b);
      }}>
        <div class="monthhead">
          <button class="iconb" type="button" aria-label="Month before" onClick=${() => turn(-1)}><${Icon} name="prev" /></button>
          <b aria-live="polite">${MONTHS[shown.month]} ${shown.year}</b>
          <button class="iconb" type="button" aria-label="Month after" onClick=${() => turn(1)}><${Icon} name="next" /></button>
        </div>
        <${Month} ...${shown} from=${days.from} to=${days.to} today=${today} onDay=${onDay} />
        <div class="ends">
          <span>From</span>${input('from', 'date', 'First day')}${input('fromTime', 'time', 'Time of the first day')}
          <span>To</span>${input('to', 'date', 'Last day')}${input('toTime', 'time', 'Time of the last day')}
        </div>
        <div class="show">
          <span class="zone">${zoneName(until)}</span><span class="grow"></span>
          <button class="btn" type="submit" disabled=${!valid}>Show</button>
        </div>
      </form>
    </div>
  `;
}
