/** Words joined by curves: at the left who looks, at the right who is looked at. */
import { DASHES, type Palette } from "../surface/palette";
import { heightAt, type Point, type Surface } from "../surface/surface";
import { type HeadMap, threshold } from "./maps";
import type { Unit } from "./units";

/** At most so many curves are drawn at once: more is a wash of colour, and slow. */
export const BUDGET = 3000;
/** Below this a curve cannot be seen. */
export const LEAST = 1 / 255;
/** How strongly the other rows stay when one is looked at. */
export const FAINT = 0.16;

const TOP = 62;

export interface Drawn {
  map: HeadMap;
  color: string;
  slot: number;
}

export interface LinesInput {
  q: readonly Unit[];
  k: readonly Unit[];
  maps: readonly Drawn[];
  /** The query and the key that are looked at; -1 for none. */
  query: number;
  key: number;
  qTitle: string;
  kTitle: string;
  /** "who is looking", "who is looked at". */
  qRole: string;
  kRole: string;
  /** Which sequence stands there: "source", "decoder input". */
  qSide: string;
  kSide: string;
  width: number;
  palette: Palette;
  /** The widest label, in pixels. */
  labelWidth: number;
  /** Height of a row; as fits the screen. */
  row?: number;
}

export interface LinesLayout {
  width: number;
  height: number;
  top: number;
  row: number;
  /** Edges that the labels stand at, and where curves begin and end. */
  left: number;
  right: number;
  from: number;
  to: number;
  chip: number;
  font: number;
}

export function linesLayout(input: LinesInput): LinesLayout {
  const { q, k, maps, width } = input;
  const rows = Math.max(q.length, k.length);
  const row = input.row ?? Math.max(16, Math.min(30, 560 / Math.max(1, rows)));
  const font = Math.max(11, Math.min(16, row * 0.58));
  const label = Math.min(input.labelWidth, width * 0.3);
  const chip = maps.length ? Math.max(5, Math.min(14, 72 / maps.length, width / 52)) : 0;
  // A wide stage does not pull the columns so far apart that the eye loses the curve.
  const inner = Math.min(width, 2 * label + 560);
  const start = (width - inner) / 2;
  const left = start + label + 12;
  const chips = maps.length * (chip + 2);
  const right = start + inner - label - 12;
  return { width, height: TOP + rows * row + 10, top: TOP, row, left, right, from: left + 6, to: right - chips - 12, chip, font };
}

/** The lane of `slot` of `lanes`: heads run beside each other, never on top. */
export function lane(slot: number, lanes: number, row: number): number {
  const gap = Math.min(4, (row - 4) / Math.max(1, lanes));
  return (slot - (lanes - 1) / 2) * gap;
}

export function ends(layout: LinesLayout, lanes: number, index: number, r: number, c: number): [Point, Point] {
  const offset = lane(index, lanes, layout.row);
  return [
    [layout.from, layout.top + (r + 0.5) * layout.row + offset],
    [layout.to, layout.top + (c + 0.5) * layout.row + offset],
  ];
}

interface Visible {
  used: { weight: number; drawn: number; all: number };
  curves: { index: number; r: number; c: number; weight: number }[];
}

/** Of maps that were drawn before: to find the curves takes a look at every number, and the pointer asks at each move. */
const known = new WeakMap<readonly Drawn[], Visible>();

function visible(maps: readonly Drawn[]): Visible {
  let found = known.get(maps);
  if (found) return found;
  found = { used: threshold(maps.map(({ map }) => map), BUDGET, LEAST), curves: [] };
  for (const [index, { map }] of maps.entries())
    for (let r = 0; r < map.rows; r++)
      for (let c = 0; c < map.columns; c++) {
        const weight = map.data[r * map.columns + c];
        if (weight >= found.used.weight) found.curves.push({ index, r, c, weight });
      }
  known.set(maps, found);
  return found;
}

/** Of one map: the row of a query, or the column of a key. */
function focus(map: HeadMap, query: number, key: number): { r: number; c: number; weight: number }[] {
  const found: { r: number; c: number; weight: number }[] = [];
  const add = (r: number, c: number): void => {
    const weight = map.data[r * map.columns + c];
    if (weight >= LEAST) found.push({ r, c, weight });
  };
  if (query >= 0 && query < map.rows) for (let c = 0; c < map.columns; c++) add(query, c);
  else if (query < 0 && key >= 0) for (let r = 0; r < map.rows; r++) add(r, key);
  return found;
}

/** Draws the scene; the threshold that was used comes back, so that the page can say so. */
export function drawLines(surface: Surface, input: LinesInput): { weight: number; drawn: number; all: number } {
  const { q, k, maps, palette, query, key } = input;
  const layout = linesLayout(input);
  const { top, row, left, right, font } = layout;
  const middle = (index: number): number => top + (index + 0.5) * row;
  const looked = query >= 0 || key >= 0;

  for (const [x, align, lines] of [
    [left, "end", [input.qTitle, input.qRole, input.qSide]],
    [right, "start", [input.kTitle, input.kRole, input.kSide]],
  ] as const)
    lines.forEach((line, i) => surface.text(x, top - 46 + i * 17, line, { size: i ? 12 : 14, color: i ? palette.muted : palette.text, align, weight: i ? 400 : 600 }));
  if (query >= 0 && query < q.length) surface.rect(left - input.labelWidth - 10, top + query * row + 1, input.labelWidth + 16, row - 2, palette.mark, 1, 5);
  if (key >= 0 && key < k.length) surface.rect(right - 6, top + key * row + 1, input.labelWidth + 16, row - 2, palette.mark, 1, 5);

  const { used, curves } = visible(maps);
  const dashed = curves.length <= BUDGET / 2; // dashes of thousands of curves are slow to draw and not to be read
  // All curves are one layer, the same whatever is looked at: the pointer moves over it. One pixel wide, for wider ones take the browser
  // seven times as long.
  surface.layer({ of: maps, as: `${layout.row} ${layout.from} ${layout.to}` }, looked ? FAINT : 1, (all) =>
    maps.forEach(({ map, color, slot }, index) =>
      all.group(`head ${map.head + 1}`, () => {
        // Curves of about the same strength are drawn as one path, faint ones first.
        const buckets = new Map<number, [Point, Point][]>();
        for (const { index: of, r, c, weight } of curves) {
          if (of !== index) continue;
          const level = Math.max(1, Math.round(weight * 24));
          if (!buckets.has(level)) buckets.set(level, []);
          buckets.get(level)!.push(ends(layout, maps.length, index, r, c));
        }
        for (const level of [...buckets.keys()].sort((a, b) => a - b))
          all.curves(buckets.get(level)!, { color, alpha: level / 24, dash: dashed && level > 3 ? DASHES[slot] : [] });
      }),
    ),
  );
  if (looked)
    maps.forEach(({ map, color, slot }, index) => {
      surface.group(`head ${map.head + 1}`, () => {
        for (const { r, c, weight } of focus(map, query, key)) {
            const [a, b] = ends(layout, maps.length, index, r, c);
            const seen = weight >= 0.02;
            surface.curve(a, b, { color, width: seen ? 1 + 5 * weight : 1, alpha: Math.max(0.12, weight), dash: seen ? DASHES[slot] : [] });
          }
      });
    });

  const strongest = (c: number): number => (query < 0 ? 0 : Math.max(0, ...maps.map(({ map }) => map.data[query * map.columns + c])));
  q.forEach((unit, r) => {
    const on = !looked || r === query || (key >= 0 && query < 0 && maps.some(({ map }) => map.data[r * map.columns + key] > 0.1));
    label(surface, left, middle(r), unit, font, on ? palette.text : palette.muted, "end", r === query ? 600 : 400);
  });
  k.forEach((unit, c) => {
    if (query >= 0 && query < q.length)
      maps.forEach(({ map, color }, index) => {
        const x = right - 8 - (maps.length - index) * (layout.chip + 2);
        const weight = map.data[query * map.columns + c];
        surface.rect(x, top + c * row + 2, layout.chip, row - 4, color, 0.06 + 0.94 * Math.min(1, weight), 2);
      });
    const on = !looked || c === key || (query >= 0 && strongest(c) > 0.1);
    label(surface, right, middle(c), unit, font, on ? palette.text : palette.muted, "start", c === key ? 600 : 400);
  });
  return used;
}

function label(surface: Surface, x: number, y: number, unit: Unit, size: number, color: string, align: "start" | "end", weight: 400 | 600): void {
  surface.text(x, y + size * 0.35, unit.label, { size, color, align, weight });
}

export type Hit = { what: "query" | "key"; index: number } | { what: "curve"; query: number; key: number; head: number } | null;

/** What lies at a point of the picture. */
export function hitLines(input: LinesInput, x: number, y: number): Hit {
  const layout = linesLayout(input);
  const { top, row } = layout;
  const index = Math.floor((y - top) / row);
  if (x <= layout.from && index >= 0 && index < input.q.length) return { what: "query", index };
  if (x >= layout.to && index >= 0 && index < input.k.length) return { what: "key", index };
  let best: Hit = null;
  let score = 0;
  const looked = input.query >= 0 || input.key >= 0;
  const candidates = looked ? input.maps.flatMap(({ map }, at) => focus(map, input.query, input.key).map((one) => ({ ...one, index: at }))) : visible(input.maps).curves;
  for (const { index: at, r, c, weight } of candidates) {
    if (weight < 0.02) continue;
    const [a, b] = ends(layout, input.maps.length, at, r, c);
    if (y < Math.min(a[1], b[1]) - 7 || y > Math.max(a[1], b[1]) + 7) continue;
    const height = heightAt(a, b, x);
    if (height === null) continue;
    const near = weight - Math.abs(height - y) / 7;
    if (Math.abs(height - y) < 7 && (best === null || near > score)) {
      best = { what: "curve", query: r, key: c, head: input.maps[at].map.head };
      score = near;
    }
  }
  return best;
}
