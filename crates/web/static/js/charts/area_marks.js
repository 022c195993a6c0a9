/** Marks of the area chart: shapes on the spine, labels above that do not touch, and the texts of losses. */

import { lossAmount } from '../lib/losses.js';
import { partAt } from './area_model.js';
import { shortened, textWidth } from './paint.js';

/** @import { Mark, Model, PlacedMark } from './types.js' */

const ORDER = { lost: 0, wrong: 1, new: 2 };

/**
 * The losses of a part in words, such as `1 204 process events lost`.
 * @param {Model['losses'][number]} loss
 */
export const lossText = (loss) =>
  `${[...loss.kinds].map(([kind, count]) => lossAmount(kind, count)).join(', ')} lost`;

/**
 * Marks of one kind in one drawn part become one.
 * @param {Model} model
 * @param {Mark[]} marks
 */
function gathered(model, marks) {
  /** @type {Map<string, Mark & {texts: string[]}>} */
  const groups = new Map();
  for (const loss of model.losses) {
    const text = lossText(loss);
    const time = (loss.part.begin + loss.part.end) / 2;
    groups.set(`lost ${loss.part.first}`, {
      time,
      kind: 'lost',
      text,
      short: 'lost',
      texts: [text, ...loss.sentences],
    });
  }
  for (const mark of marks) {
    if (mark.time >= model.since && mark.time < model.until) {
      const part = model.parts[partAt(model, model.x(mark.time))];
      const key = `${mark.kind} ${part.first}`;
      const group = groups.get(key);
      if (group) {
        group.texts.push(mark.text);
      } else {
        groups.set(key, { ...mark, texts: [mark.text] });
      }
    }
  }
  return [...groups.values()].sort((a, b) => ORDER[a.kind] - ORDER[b.kind] || b.time - a.time);
}

/**
 * @param {Model} model
 * @param {Mark[]} marks
 * @returns {PlacedMark[]}
 */
export function placedMarks(model, marks) {
  const { box } = model;
  const isShort = box.width < 900;
  /** Rows of labels, the lower one first: its lines are shorter. @type {[number, [number, number][]][]} */
  const rows = box.narrow
    ? [[12, []]]
    : [
        [28, []],
        [12, []],
      ];
  return gathered(model, marks).map((mark) => {
    const x = Math.round(model.x(mark.time)) + 0.5;
    const more = mark.kind !== 'lost' && mark.texts.length > 1 ? ` +${mark.texts.length - 1}` : '';
    const text = shortened(
      (isShort ? (mark.short ?? mark.text) : mark.text) + more,
      isShort ? 110 : 220,
      11,
      600,
    );
    const width = textWidth(text, 11, 600) + 3;
    const toLeft = x + width > box.right;
    const from = toLeft ? x - width : x;
    const row = rows.find(([, taken]) => !taken.some(([a, b]) => from < b + 12 && from + width > a - 12));
    if (row && from >= 0) {
      row[1].push([from, from + width]);
    }
    const index = partAt(model, x);
    const high = box.upperAxis - model.total.received[index] * box.receivedScale - 4;
    return {
      x,
      kind: mark.kind,
      text: row && from >= 0 ? text : '',
      title: mark.texts.slice(0, 12).join(' · '),
      labelX: toLeft ? Math.min(x + 3, box.width - 2) : x - 3,
      labelY: row ? row[0] : 0,
      anchor: toLeft ? 'end' : 'start',
      // The line ends above the layers, so that it does not cross the data.
      lineTo: row ? Math.max(row[0] + 8, mark.kind === 'lost' ? box.top : high) : 0,
    };
  });
}
