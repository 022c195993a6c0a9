/** The page Live: what goes on now. Rates and connections as they change, with pause, search, and rows that stand still. */
import { AreaChart } from '../charts/area.js';
import { Spark } from '../charts/spark.js';
import { useAnswer } from '../lib/answer.js';
import { eventKind, eventWord } from '../lib/events.js';
import { baseName, clock, count, rateParts } from '../lib/format.js';
import { cls, html, useEffect, useMemo, useRef, useState } from '../lib/html.js';
import { useShortcuts } from '../lib/keys.js';
import { alerts, connections, daemonState, rate, silentSince, stoppedText } from '../lib/live.js';
import { LiveModel, SECONDS } from '../lib/live_model.js';
import { busyPrograms, historyAnswer, RowOrder, rowOf } from '../lib/live_rows.js';
import { differingDirectories } from '../lib/same_names.js';
import { link, param, replace, scope } from '../lib/state.js';
import { Connections, Listening } from '../parts/connections.js';
import { InternetSwitch } from '../parts/controls.js';
import { Rate, When } from '../parts/figures.js';
import { Icon } from '../parts/icons.js';
import { slotColor } from '../parts/identity.js';

/** Rows that are drawn at first, and by how many they grow. */
const DRAWN = 100;
const MORE = 200;
const MOST = 1500;
const PROGRAMS = 9;

/** A copy that stands still. @param {LiveModel} model */
function frozen(model) {
  const copy = new LiveModel();
  copy.restore(structuredClone(model.snapshot()));
  return copy;
}

/** The state in a word beside a dot. @param {{paused: number | null}} props */
function State({ paused }) {
  const state = daemonState.value;
  const since = silentSince.value ? ` since ${clock(silentSince.value / 1000)}` : '';
  const text = paused
    ? `paused at ${clock(paused)}`
    : {
        recording: 'live',
        connecting: `no news${since}`,
        stopped: 'not recording',
        'not allowed': 'not allowed',
      }[state];
  return html`<span class=${cls('state', (paused !== null || state !== 'recording') && 'off')} role="status"><i></i><span>${text}</span></span>`;
}

/** @param {{label: string, value: string, unit?: string}} props */
const Now = ({ label, value, unit }) => html`
  <div class="tot"><dt>${label}</dt><dd>${value}${unit && html`<u>${unit}</u>`}</dd></div>
`;

/** @param {{model: LiveModel, time: number, received: number, sent: number, open: number}} props */
function Totals({ model, received, sent, open }) {
  const [down, downUnit] = rateParts(received);
  const [up, upUnit] = rateParts(sent);
  const programs = new Set();
  for (const one of model.connections.values()) {
    if (!one.listening && one.ended === null) programs.add(model.contextOf(one.context).path);
  }
  return html`
    <dl class="totals live">
      <${Now} label="received now" value=${down} unit=${downUnit} />
      <${Now} label="sent now" value=${up} unit=${upUnit} />
      <${Now} label=${open === 1 ? 'connection' : 'connections'} value=${count(open)} />
      <${Now} label=${programs.size === 1 ? 'program' : 'programs'} value=${count(programs.size)} />
    </dl>
  `;
}

/** @param {{model: LiveModel, time: number, slots: Record<string, number>, lifted: string | null}} props `time` draws it again: the model is the same object */
function LastMinutes({ model, slots, lifted }) {
  const order = useRef(/** @type {string[]} */ ([]));
  const [narrow] = useState(() => innerWidth < 560);
  const drawn = historyAnswer(model, order.current, slots, narrow ? SECONDS / 2 : SECONDS);
  order.current = drawn.order;
  return html`
    <${AreaChart} answer=${drawn.answer} dimension="exe" height=${176} ago=${true} lifted=${lifted} nameOf=${nameOf}
      label="Rates of the last two minutes by program: received above the axis, sent below it" />
  `;
}
/** @param {string | number | null} path */
const nameOf = (path) => baseName(String(path ?? '')) || 'unknown';

/**
 * @param {{model: LiveModel, time: number, directories: Map<string, string>, colorOf: (path: string) => string, chosen: string | null, onChoose: (path: string | null) => void,
 *   onLift: (path: string | null) => void}} props
 */
function Programs({ model, directories, colorOf, chosen, onChoose, onLift }) {
  const rows = busyPrograms(model).slice(0, PROGRAMS);
  if (chosen !== null && !rows.some((row) => row.path === chosen)) {
    const none = { received: [], sent: [] };
    rows.push({ path: chosen, received: 0, sent: 0, weight: 0, history: model.programs.get(chosen) ?? none });
  }
  return html`
    <section aria-label="Programs">
      <div class="lhead liverow"><h2>Programs</h2><span>last 60 s</span><span class="num">received</span><span class="num">sent</span></div>
      <ul>
        ${rows.map(
          (row) => html`
            <li key=${row.path} class=${cls('lrow', 'liverow', row.path === chosen && 'sel')} onPointerEnter=${() => onLift(row.path)} onPointerLeave=${() => onLift(null)}>
              <button type="button" class="ident" aria-pressed=${String(row.path === chosen)} title=${row.path}
                onClick=${() => onChoose(row.path === chosen ? null : row.path)}>
                <span class="sw" style=${{ background: colorOf(row.path) }} aria-hidden="true"></span><span class="name">${nameOf(row.path)}</span>${directories.has(row.path) && html`<span class="cc ell">${directories.get(row.path)}</span>`}
              </button>
              <${Spark} received=${row.history.received.slice(-60)} sent=${row.history.sent.slice(-60)} width=${64} height=${20} color=${colorOf(row.path)} />
              <${Rate} value=${row.received} /><${Rate} value=${row.sent} />
            </li>
          `,
        )}
      </ul>
      ${rows.length === 0 && html`<p class="note nothing">Nothing was moved in the last two minutes.</p>`}
    </section>
  `;
}

/** Alerts since the page was opened; the pane is there only if there is one. */
function News() {
  const rows = alerts.value
    .filter((line) => line.event === 'alert' || line.event === 'loss' || line.event === 'error')
    .slice(0, 3);
  if (rows.length === 0) return null;
  return html`
    <ul class="news" aria-label="Since the page was opened">
      ${rows.map((line) => {
        const row = { ...line, kind: line.event, subject: line.tag, exe: line.path };
        const kind = eventKind(row);
        return html`
          <li class="lrow erow" key=${`${line.time} ${line.event} ${line.path ?? line.text}`}>
            <span class=${cls('kind', kind)} aria-hidden="true"></span>
            <a class="name ell" href=${link('alerts')}>${line.path ? baseName(line.path) : 'picosnitch'}</a>
            <span class=${cls('ell', kind === 'wrong' ? 't-wrong' : 'dim-t')}>${eventWord(row)}</span>
            <${When} time=${line.time} as=${clock} />
          </li>
        `;
      })}
    </ul>
  `;
}

/** @param {boolean} isFiltered */
function emptyText(isFiltered) {
  const state = daemonState.value;
  if (state === 'stopped') return stoppedText.value || 'picosnitch is not running: there is nothing to show.';
  if (state === 'not allowed') return stoppedText.value || 'This browser is not let in.';
  if (state === 'connecting') return `Waiting for picosnitch. ${stoppedText.value}`;
  return isFiltered ? 'No connection matches.' : 'No program has a connection now.';
}

/** Pause: a copy of the model, and what the rates were. */
function usePause() {
  const [still, setStill] = useState(
    /** @type {{model: LiveModel, time: number, received: number, sent: number} | null} */ (null),
  );
  const toggle = () =>
    setStill(
      still
        ? null
        : {
            model: frozen(connections.peek().model),
            time: Date.now() / 1000,
            received: rate.peek().received,
            sent: rate.peek().sent,
          },
    );
  useShortcuts([{ key: 'Space', text: 'Pause or go on', where: 'Live', run: toggle }], [still]);
  return { still, toggle };
}

export default function Live() {
  const { still, toggle } = usePause();
  const [held, setHeld] = useState(false);
  const [drawn, setDrawn] = useState(DRAWN);
  const [lifted, setLifted] = useState(/** @type {string | null} */ (null));
  const order = useRef(new RowOrder()).current;
  const { data } = useAnswer('query', { group_by: 'exe', range: '7d', limit: 500 });
  const slots = data?.slots ?? {};
  const colorOf = (/** @type {string} */ path) => slotColor(slots[path]);
  // Reading the signals draws the page again after each measurement.
  const current = { ...connections.value, received: rate.value.received, sent: rate.value.sent };
  const { model, received, sent } = still ?? current;
  const now = still?.time ?? current.time;
  const find = param('find');
  const program = param('exe') || null;
  useEffect(() => setDrawn(DRAWN), [find, program]);
  const chosen = order.choose(model, {
    find,
    program,
    internet: scope.value === 'internet',
    held: held || Boolean(still),
  });
  const rows = chosen.slice(0, drawn).map((one) => rowOf(model, one));
  const open = chosen.reduce((sum, one) => sum + (one.ended === null ? 1 : 0), 0);
  const listening = useMemo(
    () => [...model.connections.values()].filter((one) => one.listening).map((one) => rowOf(model, one)),
    [model, Math.floor(now / 3)],
  );
  const directories = differingDirectories([
    ...model.programs.keys(),
    ...rows.map((row) => row.path),
    ...listening.map((row) => row.path),
  ]);
  return html`
    <h1 class="vh">Live</h1>
    <div class="toolbar">
      <${State} paused=${still?.time ?? null} />
      <label class="search local"><${Icon} name="search" />
        <input type="search" placeholder="Program, peer or port" aria-label="Show only" value=${find}
          onInput=${(/** @type {Event} */ event) => replace({ find: /** @type {HTMLInputElement} */ (event.currentTarget).value })} />
      </label>
      <span class="grow"></span>
      <${InternetSwitch} />
      <button class="btn" type="button" aria-pressed=${String(Boolean(still))} title="Space" onClick=${toggle}>
        <${Icon} name=${still ? 'play' : 'pause'} /><span>${still ? 'Go on' : 'Pause'}</span></button>
    </div>
    <div class=${cls(daemonState.value !== 'recording' && 'stale')}>
      <div class="livetop">
        <${Totals} model=${model} time=${now} received=${received} sent=${sent} open=${open} />
        <${LastMinutes} model=${model} time=${now} slots=${slots} lifted=${lifted} />
      </div>
      <${News} />
      <div class="livecols">
        <${Programs} model=${model} time=${now} directories=${directories} colorOf=${colorOf} chosen=${program} onLift=${setLifted}
          onChoose=${(/** @type {string | null} */ path) => replace({ exe: path })} />
        <section aria-label="Connections">
          <${Connections} rows=${rows} count=${Math.min(chosen.length, MOST)} now=${now} directories=${directories} colorOf=${colorOf} onHold=${setHeld}
            onMore=${() => setDrawn(Math.min(MOST, drawn + MORE))} empty=${emptyText(Boolean(find || program || scope.value))} />
          ${chosen.length > MOST && drawn >= MOST && html`<p class="note">${count(chosen.length - MOST)} more connections are open: search to see them.</p>`}
          ${model.omitted > 0 && html`<p class="note">${count(model.omitted)} connections are left out, because there are too many to list. The log has their traffic.</p>`}
          <${Listening} rows=${listening} directories=${directories} colorOf=${colorOf} />
        </section>
      </div>
    </div>
  `;
}
