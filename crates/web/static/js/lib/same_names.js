/** Programs with one file name in several directories: what differs, so that they are told apart where only names are shown. */
import { baseName } from './format.js';

/** Longer ends of directories are cut after what differs. */
const LONG = 20;

/**
 * For each program whose name another one has as well, the shortest end of its directory that only it has.
 * @param {Iterable<string>} paths
 * @returns {Map<string, string>}
 */
export function differingDirectories(paths) {
  /** @type {Map<string, Set<string>>} */
  const byName = new Map();
  for (const path of paths) {
    if (!path.startsWith('/')) continue;
    const name = baseName(path);
    byName.set(name, (byName.get(name) ?? new Set()).add(path));
  }
  /** @type {Map<string, string>} */
  const found = new Map();
  for (const same of byName.values()) {
    if (same.size < 2) continue;
    const directories = [...same].map((path) => path.split('/').slice(0, -1));
    [...same].forEach((path, i) => {
      const own = directories[i];
      const end = (/** @type {string[]} */ list, /** @type {number} */ length) =>
        list.slice(-length).join('/');
      let length = 1;
      while (
        length < own.length &&
        directories.some((other, j) => j !== i && end(other, length) === end(own, length))
      )
        length++;
      const text = end(own, length);
      // What differs is at its begin, and labels are cut in the middle.
      found.set(path, text.length > LONG ? `${own[own.length - length]}/…` : text || '/');
    });
  }
  return found;
}
