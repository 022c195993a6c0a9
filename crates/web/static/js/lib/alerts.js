/** Which alerts were looked at in this browser, and how many were not. */
import { eventKind } from './events.js';
import { computed, signal } from './html.js';
import { alerts } from './live.js';
import { markSeen, recentAlerts, seenUntil } from './watch.js';

const KEY = 'picosnitch-alerts-seen-ones';
const KEY_UNTIL = 'picosnitch-alerts-seen';
/** Alerts that are marked one by one; beyond this the oldest marks go. */
const MOST = 2500;

/** @param {string | null} text @returns {Set<string>} */
function parsed(text) {
  try {
    const list = JSON.parse(text ?? '[]');
    return new Set(Array.isArray(list) ? list.filter((one) => typeof one === 'string').slice(-MOST) : []);
  } catch {
    return new Set();
  }
}
function stored() {
  try {
    return parsed(localStorage.getItem(KEY));
  } catch {
    return parsed(null);
  }
}
const seenOnes = signal(stored());

/** @param {Set<string>} ones */
function keep(ones) {
  seenOnes.value = ones;
  try {
    localStorage.setItem(KEY, JSON.stringify([...ones].slice(-MOST)));
  } catch {
    // Private browsing: kept as long as the page.
  }
}

/** A short word for an alert: its time, and a hash of what it is about. @param {any} row */
export function alertKey(row) {
  let hash = 0x811c9dc5;
  for (const character of `${row.subject ?? row.kind} ${row.exe ?? ''} ${row.name ?? ''} ${row.sha256 ?? ''}${row.host ? ` ${row.host}` : ''}`) {
    hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x01000193);
  }
  return `${row.time}-${(hash >>> 0).toString(36)}`;
}

/** Only alerts are counted; what picosnitch says about itself is on the page Health. @param {any} row */
export const isSeen = (row) =>
  row.kind !== 'alert' || row.time <= seenUntil.value || seenOnes.value.has(alertKey(row));

/** @param {any} row */
export function markOneSeen(row) {
  if (!isSeen(row)) keep(new Set([...seenOnes.peek(), alertKey(row)]));
}

/**
 * Marks what is listed; one moment says it if nothing else waits to be seen.
 * @param {any[]} rows that are listed, the newest first @param {number} now of the answer they are of
 */
export function markListedSeen(rows, now) {
  const listed = new Set(rows.map(alertKey));
  if (recentAlerts.value.every((row) => isSeen(row) || listed.has(alertKey(row)))) {
    // The clock of this browser may be another one than that of the log.
    markSeen(Math.max(rows[0]?.time ?? 0, now));
    keep(new Set());
  } else keep(new Set([...seenOnes.peek(), ...listed]));
}

/** Alerts that were not looked at; those of the stream count before they are in the log. */
const unseen = computed(() => {
  const rows = recentAlerts.value;
  const newest = rows[0]?.time ?? 0;
  const live = alerts.value.filter(
    (line) => line.event === 'alert' && line.time > newest && line.time > seenUntil.value,
  );
  return [
    ...rows.filter((row) => !isSeen(row)),
    ...live.map((line) => ({ kind: line.event, subject: line.tag })),
  ];
});
export const unseenAlerts = computed(() => unseen.value.length);
/** Whether something changed or is suspicious: what is only new is no alarm. */
export const unseenWrong = computed(() => unseen.value.some((row) => eventKind(row) === 'wrong'));

// Another tab marked something.
addEventListener('storage', (event) => {
  if (event.key === KEY) seenOnes.value = parsed(event.newValue);
  if (event.key === KEY_UNTIL) seenUntil.value = Number(event.newValue) || 0;
});
