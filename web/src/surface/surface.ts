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
  /**
   * A map of `rows` x `columns` cells, each `color(row, column)` or null for none. `same`: a large one is painted once for each object and
   * name, and then copied, so that it can be drawn at every move of the pointer.
   */
  cells(x: number, y: number, w: number, h: number, rows: number, columns: number, color: CellColor, same?: { of: object; as: string }): void;
  /** What `draw` draws, as strong as `alpha`: on the screen painted once for each object and name, then copied. */
  layer(same: { of: object; as: string }, alpha: number, draw: (surface: Surface) => void): void;
  /** What follows belongs together; `label` names it in the file. */
  group(label: string, draw: () => void): void;
}

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
