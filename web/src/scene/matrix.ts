/** Maps as squares of colour: rows are queries, columns keys, one map a head, never one over another. */
import { cividis, inkOn, mix, type Palette } from "../surface/palette";
import type { Surface } from "../surface/surface";
import type { Drawn } from "./lines";
import { type HeadMap, masked } from "./maps";
import type { Unit } from "./units";
import { WHOLE, within, type Zoom } from "./zoom";

export interface MatrixInput {
  q: readonly Unit[];
  k: readonly Unit[];
  maps: readonly Drawn[];
  causal: boolean;
  query: number;
  key: number;
  width: number;
  palette: Palette;
  labelWidth: number;
  /** The part of every map that is shown; the whole where it is absent. */
  zoom?: Zoom;
  /** Of each map: its heading, and what its rows sum to. */
  titles: readonly { name: string; sums: string }[];
  qTitle: string;
  kTitle: string;
}

export interface MatrixLayout {
  width: number;
  height: number;
  columns: number;
  /** Size of a cell as it is shown. */
  cell: number;
  /** Size of the cells of a map on the screen, which of them stands first, and how many times larger they may be at most. */
  frame: [number, number];
  zoom: Zoom;
  most: number;
  font: number;
  /** Space for the labels at the left and above, for the sums at the right. */
  label: number;
  above: number;
  sums: number;
  block: [number, number];
}

const TITLE = 46;
const GAP = 28;

export function matrixLayout(input: MatrixInput): MatrixLayout {
  const { q, k, maps, width } = input;
  const count = Math.max(1, maps.length);
  const size = Math.max(1, k.length);
  const fits = (columns: number): MatrixLayout => {
    const block = (width - GAP * (columns - 1)) / columns;
    // Where there is no room for every label, some stand for the others, and the sums are said above alone.
    const labels = block / (size + 6) >= 8;
    const label = labels ? Math.min(input.labelWidth + 8, block * 0.34) : Math.min(input.labelWidth + 8, 72, block * 0.25);
    const sums = labels ? 42 : 0;
    const whole = Math.min(46, (block - label - sums - 3) / size);
    const most = Math.max(4, 48 / whole);
    const zoom = within(input.zoom ?? WHOLE, q.length, k.length, most);
    const cell = whole * zoom.scale;
    const font = Math.max(9.5, Math.min(14, cell * 0.72));
    const above = Math.min(input.labelWidth + 8, labels ? 110 : 72);
    const frame: [number, number] = [whole * k.length, whole * q.length];
    const height = TITLE + above + frame[1];
    const rows = Math.ceil(count / columns);
    return { width, height: rows * (height + GAP), columns, cell, frame, zoom, most, font, label, above, sums, block: [block, height] };
  };
  // As many side by side as leave cells large, or else labels readable.
  const tried = [1, 2, 3, 4].filter((columns) => columns <= count).map(fits).filter((one) => one.columns === 1 || one.block[0] >= 180);
  const large = tried.filter((one) => one.sums > 0 && one.frame[0] >= 24 * size);
  const readable = tried.filter((one) => one.sums > 0 && one.frame[0] >= 10.5 * size);
  const most = (large.at(-1) ?? readable.at(-1) ?? tried[Math.min(1, tried.length - 1)]).columns;
  // Rows of about the same length: four maps stand as two and two, not as three and one.
  return fits(Math.ceil(count / Math.ceil(count / most)));
}

/** The cell at a point; `key` is -1 on a row's label. `row` and `column` say where in the map the point is, in cells. */
export function cellAt(input: MatrixInput, x: number, y: number): { head: number; query: number; key: number; row: number; column: number } | null {
  const layout = matrixLayout(input);
  const { cell, frame, zoom, label } = layout;
  for (let i = 0; i < input.maps.length; i++) {
    const [left, top] = origin(layout, i);
    const [dx, dy] = [x - left, y - top];
    if (dy < 0 || dy >= frame[1] || dx < -label || dx >= frame[0]) continue;
    const [row, column] = [zoom.row + dy / cell, zoom.column + dx / cell];
    return { head: input.maps[i].map.head, query: Math.floor(row), key: dx < 0 ? -1 : Math.floor(column), row, column };
  }
  return null;
}

/** Where the part of the cells `first` to `last`, the latter not among them, is within the frame; null where it is out of sight. */
function seen(first: number, last: number, from: number, cell: number, size: number): [number, number] | null {
  const [start, end] = [Math.max(0, (first - from) * cell), Math.min(size, (last - from) * cell)];
  return end > start ? [start, end - start] : null;
}

/** Where a cell is on the picture of map `index`: cut at the frame, at its edge where it is out of sight. */
export function placeOf(layout: MatrixLayout, index: number, query: number, key: number): { x: number; y: number; w: number; h: number } {
  const { cell, frame, zoom } = layout;
  const [left, top] = origin(layout, index);
  const [x, w] = seen(key, key + 1, zoom.column, cell, frame[0]) ?? [key < zoom.column ? 0 : frame[0], 0];
  const [y, h] = seen(query, query + 1, zoom.row, cell, frame[1]) ?? [query < zoom.row ? 0 : frame[1], 0];
  return { x: left + x - 1, y: top + y - 1, w: w + 2, h: h + 2 };
}

/** Top left corner of the cells of map `index`. */
export function origin(layout: MatrixLayout, index: number): [number, number] {
  const column = index % layout.columns;
  const row = Math.floor(index / layout.columns);
  return [column * (layout.block[0] + GAP) + layout.label, row * (layout.block[1] + GAP) + TITLE + layout.above];
}

/** The colour of `weight`: from the ground to the head's colour; joined heads on the cividis scale. */
export function shade(palette: Palette, map: HeadMap, color: string, weight: number): string {
  return map.head < 0 ? cividis(weight) : mix(palette.ground, color, Math.min(1, Math.max(0, weight)));
}

/**
 * The weight from which on a cell has the head's full colour: 1, so that pictures can be compared; of long sentences, where each key gets
 * little, the weight that one cell in two hundred has or exceeds, which the picture says.
 */
export function fullColor(map: HeadMap): number {
  if (map.columns <= 64) return 1;
  let full = known.get(map);
  if (full === undefined) {
    // Of the largest maps every so-many-th weight tells enough.
    const step = Math.ceil(map.data.length / 40_000) | 1;
    const some = map.data.filter((weight, i) => i % step === 0 && weight > 0).sort();
    full = some[Math.floor(0.995 * some.length)] ?? 1;
    known.set(map, full);
  }
  return full;
}

const known = new WeakMap<HeadMap, number>();

export function drawMatrix(surface: Surface, input: MatrixInput): void {
  const { q, k, maps, palette, query, key, causal } = input;
  const layout = matrixLayout(input);
  const { cell, font, label, frame, zoom, sums: besides } = layout;
  const [wide, tall] = frame;
  const { row, column } = zoom;
  const [rows, columns] = [tall / cell, wide / cell];
  const indices = (first: number, count: number, length: number): number[] => {
    const start = Math.floor(first);
    return Array.from({ length: Math.max(0, Math.min(length, Math.ceil(first + count - 1e-9)) - start) }, (_, i) => start + i);
  };
  const [shownRows, shownColumns] = [indices(row, rows, q.length), indices(column, columns, k.length)];
  // Of cells too narrow for a label each, every so-many-th has one, and that which is looked at.
  const every = Math.max(1, Math.ceil(11 / cell));
  const named = (list: number[], first: number, count: number, at: number): number[] =>
    list.filter((i) => i + 0.5 > first && i + 0.5 < first + count && (i === at || (i % every === 0 && (at < 0 || Math.abs(i - at) >= every))));
  const [namedRows, namedColumns] = [named(shownRows, row, rows, query), named(shownColumns, column, columns, key)];
  maps.forEach(({ map, color }, index) => {
    const [left, top] = origin(layout, index);
    const { name, sums } = input.titles[index];
    const x = (c: number): number => left + (c - column) * cell;
    const y = (r: number): number => top + (r - row) * cell;
    surface.group(name, () => {
      surface.text(left - label, top - layout.above - 28, name, { size: 13, color: palette.text, weight: 600 });
      surface.text(left - label, top - layout.above - 11, sums, { size: 12, color: palette.muted });
      // Colours repeat, so they are made once.
      const full = fullColor(map);
      const shades = Array.from({ length: 101 }, (_, i) => shade(palette, map, color, full < 1 ? (i / 100) ** 0.6 : i / 100));
      const shadeAt = (r: number, c: number): string => shades[Math.round(100 * Math.min(1, map.data[r * k.length + c] / full))];
      surface.cells(left, top, wide, tall, q.length, k.length, (r, c) => (masked(causal, q[r], k[c]) ? null : shadeAt(r, c)), {
        part: [row, column, rows, columns],
        same: { of: map, as: `${color} ${palette.ground}` },
      });
      if (causal) {
        // Rows lower than a line of the hatch are taken together, as far as all of them are masked.
        const step = Math.max(1, Math.ceil(2 / cell));
        for (let r = shownRows[0] ?? 0; r <= (shownRows.at(-1) ?? -1); r += step) {
          const last = Math.min(r + step, q.length);
          const first = k.findIndex((other) => masked(true, q[last - 1], other));
          const across = first < 0 ? null : seen(first, k.length, column, cell, wide);
          const down = seen(r, last, row, cell, tall);
          if (across && down) surface.hatch(left + across[0], top + down[0], across[1], down[1], palette.hatch);
        }
      }
      surface.outline(left - 0.5, top - 0.5, wide + 1, tall + 1, { color: palette.line });
      if (cell >= 38)
        for (const r of namedRows)
          for (const c of namedColumns) {
            if (masked(causal, q[r], k[c])) continue;
            const weight = map.data[r * k.length + c];
            const inside = x(c) > left - cell / 4 && x(c + 1) < left + wide + cell / 4;
            if (inside) surface.text(x(c + 0.5), y(r + 0.5) + 4, weight.toFixed(2), { size: 11, color: inkOn(shadeAt(r, c)), align: "middle", mono: true });
          }
      const across = query < 0 || query >= q.length ? null : seen(query, query + 1, row, cell, tall);
      if (across) surface.outline(left - 1, top + across[0] - 1, wide + 2, across[1] + 2, { color: palette.text, width: 2 });
      const down = key < 0 || key >= k.length ? null : seen(key, key + 1, column, cell, wide);
      if (down) surface.outline(left + down[0] - 1, top - 1, down[1] + 2, tall + 2, { color: palette.text, width: query >= 0 ? 1 : 2 });
      for (const r of namedRows) {
        surface.text(left - 6, y(r + 0.5) + font * 0.35, fit(q[r].label, label - 8, font), { size: font, color: r === query ? palette.text : palette.muted, align: "end", weight: r === query ? 600 : 400 });
        if (besides) surface.text(left + wide + 6, y(r + 0.5) + font * 0.35, rowSum(map, r).toFixed(2), { size: Math.min(11, font), color: palette.muted, mono: true });
      }
      for (const c of namedColumns) {
        const text = k[c].label;
        const style = { size: font, color: c === key ? palette.text : palette.muted, weight: c === key ? (600 as const) : (400 as const) };
        if (/^[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef]+$/.test(text) && text.length * font * 1.1 <= layout.above - 8)
          surface.text(x(c + 0.5), top - 6 - [...text].length * font * 1.1, text, { ...style, upright: true });
        else surface.text(x(c + 0.5) + font * 0.35, top - 6, fit(text, layout.above - 8, font), { ...style, rotate: -90 });
      }
    });
  });
}

export function rowSum(map: HeadMap, r: number): number {
  let sum = 0;
  for (let c = 0; c < map.columns; c++) sum += map.data[r * map.columns + c];
  return sum;
}

/** `text` cut to about `width` pixels at `font` size: wide characters count double. */
function fit(text: string, width: number, font: number): string {
  const wide = (character: string): number => (/[\u2e80-\u9fff\uac00-\ud7ff\uf900-\ufaff\uff00-\uffef]|\p{Extended_Pictographic}/u.test(character) ? 1 : 0.56);
  let used = 0;
  const characters = [...text];
  for (let i = 0; i < characters.length; i++) {
    used += wide(characters[i]) * font;
    if (used > width) return characters.slice(0, Math.max(1, i - 1)).join("") + "\u2026";
  }
  return text;
}
