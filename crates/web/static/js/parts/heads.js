/** The heads "received" and "sent" of a list: each sorts it by its figure, a second time by the sum again. */
import { html } from '../lib/html.js';
import { change, param } from '../lib/state.js';

const SORTS = ['received', 'sent'];

/** By which figure a list is sorted, null is their sum. @param {string} word of the list in the address @returns {string | null} */
export const sortOf = (word) => SORTS.find((name) => name === param(`${word}_sort`)) ?? null;

/** @param {{word: string}} props */
export const SortHeads = ({ word }) => {
  const current = sortOf(word);
  return SORTS.map(
    (name) => html`
      <button type="button" key=${name} class="num sorter" aria-pressed=${String(name === current)}
        title=${name === current ? 'Sort by received and sent together' : `Sort by ${name}`}
        onClick=${() => change({ [`${word}_sort`]: name === current ? null : name })}>${name}</button>
    `,
  );
};
