/**
 * The tree of a search, left to right: a column for each step, no two lines ever cross, and what the eye follows runs straight.
 */
import type { Decode } from "../pack/contract";
import type { Palette } from "../surface/palette";
import type { Surface } from "../surface/surface";

export interface TreeInput {
  decode: Decode;
  /** Nodes of the path that is followed. */
  path: readonly number[];
  /** Nodes of the hypothesis that is the result. */
  result: number;
  /** The step that is looked at: its column is marked. */
  step: number;
  /** Whether candidates that were not kept are drawn. */
  pruned: boolean;
  /** What stands on a node, and its number: cut to what can be shown. */
  label: (id: number) => string;
  value: (id: number) => string;
  /** Width of text in pixels. */
  measure: (text: string, size: number, mono: boolean) => number;
}

export interface Placed {
  id: number;
  x: number;
  y: number; // of its middle
  w: number;
}

export interface TreeLayout {
  width: number;
  height: number;
  /** Of each step, from 0, from above to below. */
  columns: Placed[][];
  /** Where each column begins, and how wide its boxes are at most. */
  lefts: number[];
  wides: number[];
  at: Map<number, Placed>;
}

export const ROW = 28;
const BOX = 23;
const HEAD = 30;
const GUTTER = 34;
const EDGE = 10;
const TEXT = 13;
const VALUE = 11;
const PAD = 8;
/** How fast a line that was pushed aside comes back towards the middle. */
const PULL = 0.86;

/** Heights near `wanted` (the heavier, the nearer), in the same order, at least `gap` apart: least squares by pooling neighbours. */
export function spread(wanted: readonly number[], weights: readonly number[], gap: number): number[] {
  const blocks: { sum: number; weight: number; count: number }[] = [];
  wanted.forEach((y, i) => {
    blocks.push({ sum: (y - i * gap) * weights[i], weight: weights[i], count: 1 });
    while (blocks.length > 1) {
      const [a, b] = [blocks[blocks.length - 2], blocks[blocks.length - 1]];
      if (a.sum / a.weight <= b.sum / b.weight) break;
      blocks.splice(-2, 2, { sum: a.sum + b.sum, weight: a.weight + b.weight, count: a.count + b.count });
    }
  });
  return blocks.flatMap((block) => Array<number>(block.count).fill(block.sum / block.weight)).map((y, i) => y + i * gap);
}

/** Where each node stands. */
export function treeLayout(input: TreeInput): TreeLayout {
  const { decode, path } = input;
  const onPath = new Set(path);
  const result = new Set<number>();
  for (let at = input.result; at >= 0; at = decode.nodes[at].parent) result.add(at);
  const after = new Map<number, typeof decode.nodes>();
  for (const node of decode.nodes) {
    if (!input.pruned && node.state === "pruned" && !onPath.has(node.id)) continue;
    after.set(node.parent, [...(after.get(node.parent) ?? []), node]);
  }
  const heights = new Map<number, number>([[0, 0]]);
  const order: number[][] = [[0]];
  for (;;) {
    const parents = order[order.length - 1];
    const column: { id: number; wanted: number; weight: number }[] = [];
    for (const parent of parents) {
      const siblings = [...(after.get(parent) ?? [])].sort((a, b) => b.cum - a.cum || a.id - b.id);
      // What leads to the result goes straight on, and so does the best of other siblings.
      const straight = Math.max(0, siblings.findIndex((node) => result.has(node.id)));
      siblings.forEach((node, nth) => {
        const weight = result.has(node.id) ? 1e6 : node.state === "live" ? 5 : 1;
        column.push({ id: node.id, wanted: heights.get(parent)! * PULL + (nth - straight) * ROW, weight });
      });
    }
    if (!column.length) break;
    const found = spread(column.map((node) => node.wanted), column.map((node) => node.weight), ROW);
    column.forEach((node, i) => heights.set(node.id, found[i]));
    order.push(column.map((node) => node.id));
  }
  const top = Math.min(...heights.values());
  const columns: Placed[][] = [];
  const lefts: number[] = [];
  const wides: number[] = [];
  let x = EDGE;
  for (const ids of order) {
    const widths = ids.map((id) => {
      const value = input.value(id);
      return 2 * PAD + input.measure(input.label(id), TEXT, false) + (value ? 7 + input.measure(value, VALUE, true) : 0);
    });
    const wide = Math.max(30, ...widths);
    columns.push(ids.map((id, i) => ({ id, x, y: HEAD + BOX / 2 + 6 + heights.get(id)! - top, w: Math.max(30, widths[i]) })));
    lefts.push(x);
    wides.push(wide);
    x += wide + GUTTER;
  }
  const at = new Map(columns.flat().map((placed) => [placed.id, placed]));
  return { width: x - GUTTER + EDGE, height: Math.max(...[...at.values()].map(({ y }) => y)) + BOX / 2 + 10, columns, lefts, wides, at };
}

export function treeHit(layout: TreeLayout, x: number, y: number): number {
  for (const column of layout.columns)
    for (const one of column) if (x >= one.x - 4 && x <= one.x + one.w + 4 && Math.abs(y - one.y) <= ROW / 2) return one.id;
  return -1;
}

/** The box of a node, for a ring around it. */
export function boxOf(placed: Placed): { x: number; y: number; w: number; h: number } {
  return { x: placed.x, y: placed.y - BOX / 2, w: placed.w, h: BOX };
}

/** Draws what lies from `from` to `from + surface.width` of the layout. */
export function drawTree(surface: Surface, input: TreeInput, layout: TreeLayout, palette: Palette, columnText: (t: number) => string, from = 0): void {
  const { decode } = input;
  const onPath = new Set(input.path);
  const until = from + surface.width;
  const last = input.path[input.path.length - 1];
  layout.columns.forEach((_, t) => {
    const left = layout.lefts[t] - from;
    if (left > surface.width || left + layout.wides[t] < -GUTTER) return;
    if (t === input.step) surface.rect(left - 7, 0, layout.wides[t] + 14, layout.height, palette.raised, 1, 8);
    surface.text(left + (t === 0 ? 0 : 2), 18, columnText(t), { size: 12, color: t === input.step ? palette.text : palette.muted, weight: t === input.step ? 600 : 400 });
  });
  // Lines below boxes, those of the path above the others.
  for (const strong of [false, true])
    for (const column of layout.columns)
      for (const one of column) {
        const node = decode.nodes[one.id];
        const before = layout.at.get(node.parent);
        const followed = onPath.has(one.id) && onPath.has(node.parent);
        if (!before || followed !== strong || one.x < from || before.x > until) continue;
        const pen = strong
          ? { color: palette.accent, width: 2.5 }
          : node.state === "pruned"
            ? { color: palette.muted, width: 1, dash: [1.5, 3], alpha: 0.6 }
            : { color: palette.muted, width: 1.25, alpha: 0.8 };
        surface.curve([before.x + before.w - from, before.y], [one.x - from, one.y], pen);
      }
  for (const column of layout.columns)
    for (const one of column) {
      if (one.x > until || one.x + one.w < from) continue;
      const node = decode.nodes[one.id];
      const followed = onPath.has(one.id);
      const ended = node.state === "finished";
      const best = one.id === input.result;
      const [x, y] = [one.x - from, one.y - BOX / 2];
      const radius = ended ? BOX / 2 : 6;
      const fill = ended ? (best ? palette.accent : palette.line) : palette.ground;
      const draw = (): void => {
        if (node.state !== "pruned" || followed) {
          surface.rect(x, y, one.w, BOX, fill, 1, radius);
          if (followed && !best) surface.outline(x, y, one.w, BOX, { color: palette.accent, width: one.id === last ? 2.5 : 2 }, radius);
          else if (!best) surface.outline(x + 0.5, y + 0.5, one.w - 1, BOX - 1, { color: ended ? palette.muted : palette.hatch }, radius);
        }
        const ink = best && ended ? palette.ground : node.state === "pruned" && !followed ? palette.muted : palette.text;
        const label = input.label(one.id);
        surface.text(x + PAD, one.y + 4.5, label, { size: TEXT, color: ink, weight: followed ? 600 : 400 });
        const value = input.value(one.id);
        if (value) surface.text(x + one.w - PAD, one.y + 4, value, { size: VALUE, color: best && ended ? palette.ground : ended ? palette.text : palette.muted, align: "end", mono: true });
      };
      surface.group(`${input.label(one.id)} ${input.value(one.id)}`.trim(), draw);
    }
}
