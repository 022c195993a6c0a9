/** Where the lines of an axis lie: round rates, and round times in the zone of the browser. */

/**
 * The smallest of 1, 2, 5 times a power of ten that is not below a number.
 * @param {number} number
 */
export function niceStep(number) {
  const power = 10 ** Math.floor(Math.log10(number));
  const first = number / power;
  const step = first <= 1 ? 1 : first <= 2 ? 2 : first <= 5 ? 5 : 10;
  return step * power;
}

/**
 * A round step of an axis of bytes: round in the unit that is shown.
 * @param {number} bytes
 * @param {import('../lib/format.js').Units} units
 */
export function byteStep(bytes, units) {
  const base = units === 'KiB' ? 1024 : 1000;
  const shown = Math.max(1, units === 'bit' ? bytes * 8 : bytes);
  let unit = 1;
  while (shown / unit >= base * 0.9995) {
    unit *= base;
  }
  let step = niceStep(shown / unit);
  // 1000 KiB is not a round number of MiB, so the step above is 1 of the next unit.
  if (step >= 1000) {
    step = base;
  }
  return (step * unit) / (units === 'bit' ? 8 : 1);
}

const MONTHS = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split(' ');
const WEEKDAYS = 'Sun Mon Tue Wed Thu Fri Sat'.split(' ');
const MINUTE = 60;
const HOUR = 3600;
const DAY = 86400;

/** Steps of the time axis: seconds at least, and how to count. @type {[number, 'second'|'minute'|'day'|'week'|'month'|'year', number][]} */
const STEPS = [
  ...[1, 2, 5, 10, 15, 30].map((n) => /** @type {[number, 'second', number]} */ ([n, 'second', n])),
  ...[1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720].map(
    (n) => /** @type {[number, 'minute', number]} */ ([n * MINUTE, 'minute', n]),
  ),
  [DAY, 'day', 1],
  [2 * DAY, 'day', 2],
  [7 * DAY, 'week', 1],
  [28 * DAY, 'month', 1],
  [59 * DAY, 'month', 2],
  [90 * DAY, 'month', 3],
  [181 * DAY, 'month', 6],
  ...[1, 2, 5, 10, 20, 50, 100].map(
    (n) => /** @type {[number, 'year', number]} */ ([n * 365 * DAY, 'year', n]),
  ),
];

/** @param {number} number */
const two = (number) => String(number).padStart(2, '0');

/**
 * @param {Date} date
 * @param {string} unit
 */
function label(date, unit) {
  const month = MONTHS[date.getMonth()];
  const day = `${date.getDate()} ${month}`;
  const isMidnight = date.getHours() + date.getMinutes() + date.getSeconds() === 0;
  const isNewYear = date.getMonth() === 0 && date.getDate() === 1;
  if (unit === 'year') {
    return { text: String(date.getFullYear()), strong: false };
  }
  if (unit === 'month') {
    return isNewYear ? { text: String(date.getFullYear()), strong: true } : { text: month, strong: false };
  }
  if (unit === 'day' || unit === 'week') {
    return isNewYear
      ? { text: `${day} ${date.getFullYear()}`, strong: true }
      : { text: unit === 'day' ? `${WEEKDAYS[date.getDay()]} ${day}` : day, strong: false };
  }
  if (isMidnight) {
    return { text: `${WEEKDAYS[date.getDay()]} ${day}`, strong: true };
  }
  const clock = `${two(date.getHours())}:${two(date.getMinutes())}`;
  return { text: unit === 'second' ? `${clock}:${two(date.getSeconds())}` : clock, strong: false };
}

/**
 * Round times of a range, in the zone of the browser.
 * @param {number} since unix seconds
 * @param {number} until unix seconds
 * @param {number} most how many there may be
 * @returns {{time: number, text: string, strong: boolean}[]}
 */
export function timeTicks(since, until, most) {
  if (!(until > since) || most < 1) {
    return [];
  }
  const least = (until - since) / most;
  const [seconds, unit, count] = STEPS.find((step) => step[0] >= least) ?? STEPS[STEPS.length - 1];
  const start = new Date(since * 1000);
  const [year, month, day] = [start.getFullYear(), start.getMonth(), start.getDate()];
  const ticks = [];
  // Calendar arithmetic, not sums of seconds: a day of the zone may have 23 or 25 hours.
  const at = (/** @type {number} */ i) => {
    if (unit === 'year') {
      return new Date(Math.floor(year / count) * count + i * count, 0, 1);
    }
    if (unit === 'month') {
      return new Date(year, Math.floor(month / count) * count + i * count, 1);
    }
    if (unit === 'week') {
      return new Date(year, month, day - ((start.getDay() + 6) % 7) + i * 7);
    }
    if (unit === 'day') {
      return new Date(year, month, day + i * count);
    }
    if (seconds <= 900) {
      // No zone is apart from UTC by less than a quarter of an hour.
      return new Date((Math.ceil(since / seconds) + i) * seconds * 1000);
    }
    const perDay = DAY / seconds;
    const ofDay = i % perDay;
    return new Date(year, month, day + Math.floor(i / perDay), 0, 0, ofDay * seconds);
  };
  // Few steps lie before the range: a day at most, of which those before its start are skipped at once.
  const midnight = new Date(year, month, day).getTime() / 1000;
  const first =
    seconds < DAY && seconds > 900 ? Math.max(0, Math.floor((since - midnight - 2 * HOUR) / seconds)) : 0;
  let last = -Infinity;
  for (let i = first; i < first + 1000; i += 1) {
    const date = at(i);
    const time = date.getTime() / 1000;
    if (time > until) {
      break;
    }
    if (time >= since && time > last) {
      ticks.push({ time, ...label(date, unit) });
      last = time;
    }
  }
  return ticks;
}

/**
 * Times counted from the end, for a chart that moves.
 * @param {number} since unix seconds
 * @param {number} until unix seconds
 */
export function agoTicks(since, until) {
  const length = until - since;
  const step = length > 60 ? 30 : 15;
  const ticks = [];
  for (let seconds = Math.ceil(length / step) * step - step; seconds > 0; seconds -= step) {
    ticks.push({ time: until - seconds, text: `${seconds} s ago`, strong: false });
  }
  return ticks;
}
