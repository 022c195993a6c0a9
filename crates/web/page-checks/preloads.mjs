// preloads.mjs [--write] - index.html must name every module that the first page needs, so that the browser asks for all of
// them at once instead of one level of imports after the other. --write puts the list there.
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', 'static');
const found = new Set();

/** @param {string} file */
function follow(file) {
  if (found.has(file)) return;
  found.add(file);
  const text = readFileSync(file, 'utf8').replaceAll(/\/\*[\s\S]*?\*\//g, '');
  for (const [, path] of text.matchAll(/(?:from|import)\s*["'](\.[^"']+)["']/g)) follow(join(dirname(file), path));
}
for (const entry of ['js/main.js', 'js/pages/overview.js']) follow(join(root, entry));
found.delete(join(root, 'js/main.js'));
const links = [...found]
  .map((file) => `    <link rel="modulepreload" href="/static/${relative(root, file)}" />\n`)
  .sort()
  .join('');

const index = join(root, 'index.html');
const old = readFileSync(index, 'utf8');
const without = old.replaceAll(/ *<link rel="modulepreload"[^>]*>\n/g, '');
const wanted = without.replace(/ *<script type="module"/, (script) => links + script);
if (wanted !== old) {
  if (process.argv[2] !== '--write') {
    console.error('index.html does not preload the modules of the first page: scripts/check-page --write');
    process.exit(1);
  }
  writeFileSync(index, wanted);
}
