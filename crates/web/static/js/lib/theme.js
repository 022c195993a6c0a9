/** Light or dark: the system decides until the switch is used, then the browser remembers. */
import { signal } from './html.js';

const KEY = 'picosnitch-theme';
const system = matchMedia('(prefers-color-scheme: dark)');

/** @returns {'light' | 'dark' | ''} */
function stored() {
  try {
    const word = localStorage.getItem(KEY);
    return word === 'light' || word === 'dark' ? word : '';
  } catch {
    return '';
  }
}

const chosen = signal(stored());
/** The theme that is shown; charts that compute colours read it, so that they are drawn again. */
export const theme = signal(/** @type {'light' | 'dark'} */ ('light'));

function apply() {
  const word = chosen.value;
  if (word) document.documentElement.dataset.theme = word;
  else delete document.documentElement.dataset.theme;
  theme.value = word || (system.matches ? 'dark' : 'light');
}

export function toggleTheme() {
  // The system may have changed in this moment.
  apply();
  chosen.value = theme.value === 'dark' ? 'light' : 'dark';
  try {
    localStorage.setItem(KEY, chosen.value);
  } catch {
    // Private browsing: kept as long as the page.
  }
  apply();
}

export function startTheme() {
  system.addEventListener('change', apply);
  apply();
}

/**
 * The value of a token, as `--p1`, in the theme that is shown.
 * @param {string} name
 */
export const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
