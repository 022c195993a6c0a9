// The types of the charts, for the type checker only: declared here, so that the browser does not load them.
import type { Away } from '../lib/recorded.js';
import type { Units } from '../lib/format.js';
import type { buildModel } from './area_model.js';

export type Value = string | number | null;
export type Side = 'received' | 'sent';
export type Counts = { conns: number[]; received: number[]; sent: number[] };
export type Loss = { part: number; kind: string; count: number; consequence: string; text: string };

/** An answer of /api/v1/series. */
export type SeriesAnswer = {
  now: number;
  extent?: [number, number] | null;
  edges: number[];
  total: Counts;
  // biome-ignore lint/suspicious/noExplicitAny: the value of a group is under the name of its dimension
  groups: (Counts & Record<string, any>)[];
  other?: Counts | null;
  before?: Counts | null;
  losses?: Loss[];
  /** When nothing was recorded. */
  away?: Away[];
  labels?: Record<string, Record<string, string>>;
  slots?: Record<string, number>;
};

/** A drawn part: its ends, and the first and last part of the answer in it. */
export type Part = { begin: number; end: number; first: number; last: number };
/** Rates are bytes a second in each drawn part. */
export type Layer = { value: Value; key: string; name: string; colour: string; received: number[]; sent: number[] };
export type Mark = { time: number; kind: 'new' | 'wrong' | 'lost'; text: string; short?: string };
export type PlacedMark = {
  x: number;
  kind: Mark['kind'];
  text: string;
  title: string;
  labelX: number;
  labelY: number;
  anchor: string;
  lineTo: number;
};

export type ColorOf = (value: Value, slot: number) => string;
export type NameOf = (value: Value) => string;
export type ModelOptions = {
  answer: SeriesAnswer;
  dimension?: string | null;
  width: number;
  height: number;
  hasMarks: boolean;
  ownScale: boolean;
  unit: Units;
  colorOf?: ColorOf;
  nameOf?: NameOf;
  ago?: boolean;
};
export type Model = ReturnType<typeof buildModel>;
export type Box = Record<
  | 'width'
  | 'height'
  | 'left'
  | 'right'
  | 'top'
  | 'up'
  | 'down'
  | 'bottom'
  | 'upperAxis'
  | 'lowerAxis'
  | 'receivedScale'
  | 'sentScale',
  number
> & { narrow: boolean };
/** Heights in pixels of each drawn part: below a layer, and of it. */
export type Heights = { floor: Float64Array; size: Float64Array };

export type Range = { since: number; until: number };
/** Indices of drawn parts, in the order of choosing. */
export type Selection = { from: number; to: number };
/** What is under the cursor: a drawn part, which may sum several parts of the answer; rates are bytes a second. */
export type Point = Range & {
  seconds: number;
  received: number;
  sent: number;
  /** Index of the first and of the last part of the answer in it. */
  first: number;
  last: number;
  /** Not over yet. */
  open: boolean;
  layer: { key: string; name: string; received: number; sent: number } | null;
};
export type Ref<T> = { current: T };
export type Hands = {
  /** Both ends are included; null is "back". */
  onZoom?: (since: number | null, until?: number) => void;
  /** `index` is that of the first part of the answer in the point. */
  onPoint?: (index: number | null, point: Point | null) => void;
};

export type AreaProps = Hands & {
  /** The place is kept without an answer. */
  answer: SeriesAnswer | null | undefined;
  /** The answer's group_by. */
  dimension?: string | null;
  /** Besides the answer's losses. */
  marks?: Mark[];
  height?: number | ((narrow: boolean) => number);
  /** Key of a layer: `layerKey(value)` or `OTHER`. */
  lifted?: string | null;
  /** A scale for each direction. */
  ownScale?: boolean;
  /** What the chart shows, for screen readers. */
  label: string;
  /** A CSS colour, '' for the usual one. */
  colorOf?: ColorOf;
  nameOf?: NameOf;
  /** Times on the spine are counted from the end. */
  ago?: boolean;
};

/** Outlines are rings of a point and steps from it, in half units. */
export type World = {
  width: number;
  height: number;
  outlines: [string, number[][]][];
  points: [string, number, number][];
};
export type Shape = { code: string; path: string; x: number; y: number; size: number };
export type CountryRow = { country: string | null; received: number; sent: number };

/** One end of a flow; an empty key is everything else. */
export type End = { key: string; text: string; color: string };
export type Flow = { ends: [End, End, End]; received: number; sent: number };
export type Node = End & {
  column: number;
  received: number;
  sent: number;
  size: number;
  y: number;
  height: number;
  out: Band[];
  into: Band[];
};
export type Band = {
  from: Node;
  to: Node;
  /** Key of the program whose bytes these are. */
  program: string;
  color: string;
  size: number;
  /** Top of its beginning, and of its end. */
  y0: number;
  y1: number;
  /** All nodes whose bytes are in it, as `nodeName`. */
  nodes: Set<string>;
};
