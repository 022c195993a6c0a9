/** Filters as chips, and the editor that adds one: a dimension, a value that is suggested from the log, and "is" or "is not". */
import { ask } from '../lib/answer.js';
import { DIMENSIONS, dimensionName, isCalendar, valueText } from '../lib/dimensions.js';
import { bytes } from '../lib/format.js';
import { html, useEffect, useRef, useState } from '../lib/html.js';
import { addFilter, exact, filters, question, removeFilter } from '../lib/state.js';
import { usePopup } from './controls.js';
import { Icon } from './icons.js';

/** @typedef {{dimension: string, rows?: any[], labels?: any, error?: string}} Found no rows are not there yet */

/** Values of a dimension that contain a text, those with most traffic first. @param {string} dimension @param {string} text */
function useSuggestions(dimension, text) {
  const [found, setFound] = useState(/** @type {Found} */ ({ dimension }));
  useEffect(() => {
    const abort = new AbortController();
    const timer = setTimeout(
      () => {
        const { where: _, exclude: __, ...asked } = question.value;
        ask('query', { ...asked, group_by: dimension, find: text, limit: 8 }, abort.signal).then(
          (data) => abort.signal.aborted || setFound({ dimension, rows: data.rows, labels: data.labels }),
          (error) => abort.signal.aborted || setFound({ dimension, error: error.text }),
        );
      },
      text ? 150 : 0,
    );
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [dimension, text]);
  return found.dimension === dimension ? found : { dimension };
}

/** @param {{onDone: () => void, first?: string}} props */
function Editor({ onDone, first = 'exe' }) {
  const [dimension, setDimension] = useState(first);
  const [text, setText] = useState('');
  const [exclude, setExclude] = useState(false);
  const field = useRef(/** @type {HTMLInputElement | null} */ (null));
  useEffect(() => field.current?.focus(), []);
  const { rows, labels, error } = useSuggestions(dimension, text);
  /** @param {string} value */
  const take = (value) => {
    addFilter(dimension, value, exclude);
    onDone();
  };
  return html`
    <div class="popup" role="dialog" aria-label="Filter"><form class="editor" onSubmit=${(
      /** @type {SubmitEvent} */ event,
    ) => {
      event.preventDefault();
      if (text) take(text);
    }}>
      <div class="pickers">
        <select aria-label="Dimension" value=${dimension} onChange=${(/** @type {Event} */ event) => {
          setDimension(/** @type {HTMLSelectElement} */ (event.currentTarget).value);
          setText('');
        }}>
          ${DIMENSIONS.filter(
            (name) => !isCalendar(name) || name === 'weekday' || name === 'hour-of-day',
          ).map((name) => html`<option key=${name} value=${name}>${dimensionName(name)}</option>`)}
        </select>
        <select aria-label="Keep or leave out" value=${exclude ? '1' : ''} onChange=${(
          /** @type {Event} */ event,
        ) => setExclude(/** @type {HTMLSelectElement} */ (event.currentTarget).value === '1')}>
          <option value="">is</option>
          <option value="1">is not</option>
        </select>
      </div>
      <label class="search in">
        <${Icon} name="search" />
        <input type="search" aria-label="Value" placeholder="Value, or part of it" value=${text} autocomplete="off"
          ref=${field}
          onInput=${(/** @type {Event} */ event) => setText(/** @type {HTMLInputElement} */ (event.currentTarget).value)} />
      </label>
      <ul class="suggestions">
        ${rows?.map((row) => {
          const said = valueText(dimension, row[dimension], labels);
          return html`
            <li key=${String(row[dimension])}>
              <button type="button" onClick=${() => take(exact(row[dimension]))} title=${String(row[dimension] ?? '')}>
                <span class="ell"><b>${said.text}</b> <span class="dim-t">${said.aside}</span></span>
                <span class="dim-t">${bytes(row.received + row.sent)}</span>
              </button>
            </li>
          `;
        })}
        ${!rows?.length && html`<li class="dim-t none">${error ?? (rows && text ? 'Nothing in the range contains this.' : '')}</li>`}
      </ul>
      ${text && html`<button class="btn" type="submit">${dimensionName(dimension)} ${exclude ? 'is not' : 'is'} “${text}”</button>`}
      <p class="dim-t hint">A star stands for anything: <code>*.example.org</code></p>
    </form></div>
  `;
}

/** @param {import('../lib/state.js').Filter} filter @param {import('../lib/dimensions.js').Labels | undefined} labels */
function chipText(filter, labels) {
  return valueText(filter.dimension, filter.value.replaceAll('\\x2a', '*'), labels).text;
}

/** @param {{labels?: import('../lib/dimensions.js').Labels}} props */
export function Chips({ labels }) {
  const { open, setOpen, host } = usePopup();
  return html`
    <div class="chips" role="group" aria-label="Filters">
      ${filters.value.map((filter) => {
        const name = dimensionName(filter.dimension);
        const sign = filter.exclude ? '≠' : '=';
        return html`
          <span class="chip" key=${`${filter.exclude}${filter.dimension}=${filter.value}`} title=${filter.value}>
            <span>${name} ${sign}</span><span class="ell val">${chipText(filter, labels)}</span>
            <button type="button" aria-label=${`Remove the filter ${name} ${sign} ${filter.value || 'unknown'}`}
              onClick=${() => removeFilter(filter)}><${Icon} name="x" /></button>
          </span>
        `;
      })}
      <span class="popup-host" ref=${host}>
        <button class="btn quiet" type="button" aria-haspopup="dialog" aria-expanded=${String(open)}
          onClick=${() => setOpen(!open)}><${Icon} name="plus" />Filter</button>
        ${open && html`<${Editor} onDone=${() => setOpen(false)} />`}
      </span>
    </div>
  `;
}
