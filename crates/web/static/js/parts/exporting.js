/** The export menu: what is on the screen, all pages of it, as CSV or JSON, and the chart as a picture. */
import { saveBlob, savePng, saveText, svgText } from '../charts/export.js';
import { request } from '../lib/api.js';
import { dayAndTime, zoneName } from '../lib/format.js';
import { html, useState, visible } from '../lib/html.js';
import { source } from '../lib/source.js';
import { filters } from '../lib/state.js';
import { health } from '../lib/watch.js';
import { Menu } from './controls.js';

/** @param {Response} response @param {string} otherwise */
function fileName(response, otherwise) {
  const said = /filename="([^"/\\]+)"/.exec(response.headers.get('Content-Disposition') ?? '');
  return said ? said[1] : otherwise;
}

/** Range and filters, as the line below the title of a picture. @param {{since: number | null, until: number | null} | undefined} range */
function detail(range) {
  const span =
    range?.since && range?.until
      ? `${dayAndTime(range.since)} – ${dayAndTime(range.until)} ${zoneName(range.until)}`
      : 'all of the log';
  const kept = filters.value.map(
    (one) => `${one.dimension} ${one.exclude ? '≠' : '='} ${one.value || 'unknown'}`,
  );
  return [span, ...kept].join(' · ');
}

/** As the server writes CSV: what cannot be seen is escaped, and nothing is a formula of a spreadsheet. @param {string | number | null} value */
const cell = (value) => {
  const text = visible(String(value ?? '')).replace(/^[=+\-@']/, "'$&");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

/**
 * The figures of a chart: a line for each part and group that has any.
 * @param {import('../lib/answer.js').Data} series @param {string} dimension
 */
export function seriesCsv(series, dimension) {
  const groups = [
    ...series.groups.map((group) => ({ name: group[dimension], of: group })),
    { name: '(everything else)', of: series.other },
  ];
  const lines = [['begin', 'end', dimension, 'conns', 'received', 'sent'].join(',')];
  for (let i = 0; i + 1 < series.edges.length; i++) {
    const ends = [series.edges[i], series.edges[i + 1]].map((time) => new Date(time * 1000).toISOString());
    for (const { name, of } of groups)
      if (of.conns[i] || of.received[i] || of.sent[i])
        lines.push([...ends, cell(name), of.conns[i], of.received[i], of.sent[i]].join(','));
  }
  return `${lines.join('\r\n')}\r\n`;
}

/**
 * @param {{params: import('../lib/api.js').Params, series: import('../lib/answer.js').Data | undefined, dimension: string, title: string,
 *   range: {since: number | null, until: number | null} | undefined}} props
 */
export function ExportMenu({ params, series, dimension, title, range }) {
  const [problem, setProblem] = useState('');
  /** @param {Promise<unknown>} work */
  const watch = (work) => {
    setProblem('');
    work.catch((error) => setProblem(error.text ?? error.message));
  };
  /** @param {import('../lib/api.js').Params} asked @param {'csv' | 'json'} format */
  const save = async (asked, format) => {
    const response = await request('export', { ...asked, format });
    saveBlob(fileName(response, `picosnitch.${format}`), await response.blob());
  };
  const chart = () => /** @type {SVGSVGElement | null} */ (document.querySelector('svg.area'));
  const words = () => ({
    title,
    detail: detail(range),
    source: `picosnitch${health.value ? ` ${health.value.version} on ${health.value.hostname}` : source.value ? ` ${source.value.version}, ${source.value.name}` : ''}`,
  });
  const items = [
    { text: 'Table as CSV', note: 'all rows', run: () => watch(save(params, 'csv')) },
    { text: 'Table as JSON', note: 'all rows', run: () => watch(save(params, 'json')) },
    {
      text: 'Figures of the chart as CSV',
      run: () => series && saveText('picosnitch-chart.csv', 'text/csv', seriesCsv(series, dimension)),
    },
    {
      text: 'Chart as SVG',
      run: () => {
        const svg = chart();
        if (svg) saveText('picosnitch-chart.svg', 'image/svg+xml', svgText(svg, words()));
      },
    },
    {
      text: 'Chart as PNG',
      run: () => {
        const svg = chart();
        if (svg) watch(savePng(svg, 'picosnitch-chart.png', words()));
      },
    },
  ];
  return html`
    ${problem && html`<span class="t-wrong" role="alert">${problem}</span>`}
    <${Menu} label="Export" title="What is on the screen, all pages of it" items=${items} />
  `;
}
