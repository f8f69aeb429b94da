/** What a scene draws on: a canvas for the screen, a string of SVG for files and tests. Coordinates are CSS pixels. */

export interface Stroke {
  color: string;
  width?: number;
  dash?: readonly number[];
  alpha?: number;
  cap?: "butt" | "round";
}

export interface TextStyle {
  size: number;
  color: string;
  align?: "start" | "middle" | "end";
  weight?: 400 | 600;
  mono?: boolean;
  alpha?: number;
  /** Degrees clockwise about the anchor. */
  rotate?: number;
  /** Characters upright, one below the other, as Chinese stands in a column. */
  upright?: boolean;
}

export type CellColor = (row: number, column: number) => string | null;

export interface CellsHow {
  /** What fills the place: first row, first column, how many of each; cells at the edge may be cut. All where it is absent. */
  part?: readonly [number, number, number, number];
  /** A large map is painted once for each object and name, and then copied, so that it can be drawn at every move of the pointer. */
  same?: { of: object; as: string };
}

/** Calls `each` with the places of the cells that are in sight, from 0 to 1 across and down. */
export function eachCell(rows: number, columns: number, part: CellsHow["part"], each: (r: number, c: number, x0: number, y0: number, x1: number, y1: number) => void): void {
  const [top, left, tall, wide] = part ?? [0, 0, rows, columns];
  const edge = (at: number): number => Math.max(0, Math.min(1, at));
  for (let r = Math.floor(top); r < Math.min(rows, top + tall); r++)
    for (let c = Math.floor(left); c < Math.min(columns, left + wide); c++)
      each(r, c, edge((c - left) / wide), edge((r - top) / tall), edge((c + 1 - left) / wide), edge((r + 1 - top) / tall));
}

export type Point = readonly [number, number];

export interface Surface {
  readonly width: number;
  readonly height: number;
  rect(x: number, y: number, w: number, h: number, fill: string, alpha?: number, radius?: number): void;
  outline(x: number, y: number, w: number, h: number, stroke: Stroke, radius?: number): void;
  line(points: readonly Point[], stroke: Stroke): void;
  /** A cubic from `a` to `b` that leaves and arrives horizontally. */
  curve(a: Point, b: Point, stroke: Stroke): void;
  /** Many such cubics with one pen. */
  curves(pairs: readonly (readonly [Point, Point])[], stroke: Stroke): void;
  circle(x: number, y: number, r: number, fill: string, alpha?: number): void;
  text(x: number, y: number, text: string, style: TextStyle): void;
  /** Slanted lines: masked cells. */
  hatch(x: number, y: number, w: number, h: number, color: string): void;
  /** A map of `rows` x `columns` cells, each `color(row, column)` or null for none. */
  cells(x: number, y: number, w: number, h: number, rows: number, columns: number, color: CellColor, how?: CellsHow): void;
  /** What `draw` draws, as strong as `alpha`: on the screen painted once for each object and name, then copied. */
  layer(same: { of: object; as: string }, alpha: number, draw: (surface: Surface) => void): void;
  /** What follows belongs together; `label` names it in the file. */
  group(label: string, draw: () => void): void;
}

/** Around a picture that is a file of its own, in pixels. */
export const MARGIN = 16;

export const FONT = 'system-ui, -apple-system, "Segoe UI", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif';
export const MONO = 'ui-monospace, "SF Mono", "Cascadia Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace';

/** Where a curve from `a` to `b` is at `x`: its height, or null beside it. */
export function heightAt([ax, ay]: Point, [bx, by]: Point, x: number): number | null {
  const s = (x - ax) / (bx - ax);
  if (!(s >= 0 && s <= 1)) return null;
  let [low, high] = [0, 1];
  for (let i = 0; i < 24; i++) {
    const t = (low + high) / 2;
    if (1.5 * t * (1 - t) + t * t * t < s) low = t;
    else high = t;
  }
  return ay + (by - ay) * (3 * low * low - 2 * low * low * low);
}
