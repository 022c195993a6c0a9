/** Where the nodes and bands of a Sankey lie: three columns, ordered so that few bands cross. Pure functions. */

/** @import { Band, Flow, Node } from './types.js' */

/** A label needs this much, also at a thin node. */
const PITCH = 19;
const THINNEST = 2;
export const REST = '';

/** @param {number} column @param {string} key */
export const nodeName = (column, key) => `${column} ${key}`;

/** @param {Flow[]} flows */
function graph(flows) {
  /** @type {Map<string, Node>[]} */
  const columns = [new Map(), new Map(), new Map()];
  /** @type {Map<string, Band>} */
  const bands = new Map();
  for (const flow of flows) {
    const size = flow.received + flow.sent;
    const nodes = flow.ends.map((end, column) => {
      let node = columns[column].get(end.key);
      if (!node) {
        const { key, text, color } = end;
        node = {
          column,
          key,
          text,
          color,
          received: 0,
          sent: 0,
          size: 0,
          y: 0,
          height: 0,
          out: [],
          into: [],
        };
        columns[column].set(key, node);
      }
      node.received += flow.received;
      node.sent += flow.sent;
      node.size += size;
      return node;
    });
    const names = nodes.map((node) => nodeName(node.column, node.key));
    for (const column of [0, 1]) {
      const [from, to] = [nodes[column], nodes[column + 1]];
      // The colour of the program goes through to the port, so a second band is one program's as well.
      const key = `${names[column]}\n${names[column + 1]}\n${flow.ends[0].key}`;
      let band = bands.get(key);
      if (!band) {
        band = {
          from,
          to,
          program: flow.ends[0].key,
          color: flow.ends[0].color,
          size: 0,
          y0: 0,
          y1: 0,
          nodes: new Set(),
        };
        bands.set(key, band);
        from.out.push(band);
        to.into.push(band);
      }
      band.size += size;
      for (const name of names) band.nodes.add(name);
    }
  }
  return { columns: columns.map((column) => [...column.values()]), bands: [...bands.values()] };
}

/** @param {Node} node */
const middle = (node) => node.y + node.height / 2;

/**
 * @param {Node[]} nodes from above
 * @param {number} height of the column
 * @param {number} scale pixels a byte
 */
function place(nodes, height, scale) {
  let used = 0;
  for (const node of nodes) {
    node.height = Math.max(THINNEST, node.size * scale);
    used += Math.max(PITCH, node.height + 6);
  }
  const gap = nodes.length > 1 ? Math.min(20, (height - used) / (nodes.length - 1)) : 0;
  let y = 0;
  for (const node of nodes) {
    const room = Math.max(PITCH, node.height + 6);
    node.y = y + (room - node.height) / 2;
    y += room + Math.max(0, gap);
  }
}

/** The largest scale at which every column fits. @param {Node[][]} columns @param {number} height */
function scaleOf(columns, height) {
  let low = 0;
  let high = Math.min(...columns.map((nodes) => height / nodes.reduce((sum, node) => sum + node.size, 1)));
  for (let i = 0; i < 40; i++) {
    const scale = (low + high) / 2;
    const fits = columns.every(
      (nodes) =>
        nodes.reduce((sum, node) => sum + Math.max(PITCH, Math.max(THINNEST, node.size * scale) + 6), 0) <=
        height,
    );
    if (fits) low = scale;
    else high = scale;
  }
  return low;
}

/** @param {Node[]} nodes @param {(node: Node) => number} weight */
function sortBy(nodes, weight) {
  const weights = new Map(nodes.map((node) => [node, weight(node)]));
  // Everything else is last.
  nodes.sort(
    (a, b) =>
      Number(a.key === REST) - Number(b.key === REST) || (weights.get(a) ?? 0) - (weights.get(b) ?? 0),
  );
}

/** @param {Band[]} bands @param {(band: Band) => number} at */
const mean = (bands, at) =>
  bands.reduce((sum, band) => sum + at(band) * band.size, 0) /
  (bands.reduce((sum, band) => sum + band.size, 0) || 1);

/**
 * @param {Flow[]} flows
 * @param {number} height
 */
export function sankeyLayout(flows, height) {
  const { columns, bands } = graph(flows);
  const scale = scaleOf(columns, height);
  for (const nodes of columns) {
    sortBy(nodes, (node) => -node.size);
    place(nodes, height, scale);
  }
  for (let pass = 0; pass < 6; pass++) {
    sortBy(columns[1], (node) => mean(node.into, (band) => middle(band.from)));
    place(columns[1], height, scale);
    sortBy(columns[2], (node) => mean(node.into, (band) => middle(band.from)));
    place(columns[2], height, scale);
  }
  for (const node of columns.flat()) {
    node.out.sort((a, b) => middle(a.to) - middle(b.to) || a.size - b.size);
    node.into.sort((a, b) => middle(a.from) - middle(b.from) || a.size - b.size);
    let y = node.y;
    for (const band of node.out) {
      band.y0 = y;
      y += band.size * scale;
    }
    y = node.y;
    for (const band of node.into) {
      band.y1 = y;
      y += band.size * scale;
    }
  }
  bands.sort((a, b) => b.size - a.size);
  return { columns, bands, scale };
}
