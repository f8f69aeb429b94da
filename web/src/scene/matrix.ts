/** Maps as squares of colour: rows are queries, columns keys, one map a head, never one over another. */
import { cividis, inkOn, mix, type Palette } from "../surface/palette";
import type { Surface } from "../surface/surface";
import type { Drawn } from "./lines";
import { type HeadMap, masked } from "./maps";
import type { Unit } from "./units";

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
  /** Of each map: its heading, and what its rows sum to. */
  titles: readonly { name: string; sums: string }[];
  qTitle: string;
  kTitle: string;
}

export interface MatrixLayout {
  width: number;
  height: number;
  columns: number;
  cell: number;
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
    const labels = block / (size + 6) >= 8;
    const label = labels ? Math.min(input.labelWidth + 8, block * 0.34) : 0;
    const sums = labels ? 42 : 0;
    const cell = Math.max(1, Math.min(46, (block - label - sums) / size));
    const font = Math.max(9.5, Math.min(14, cell * 0.72));
    const above = labels ? Math.min(input.labelWidth + 8, 110) : 0;
    const height = TITLE + above + cell * q.length;
    const rows = Math.ceil(count / columns);
    return { width, height: rows * (height + GAP), columns, cell, font, label, above, sums, block: [block, height] };
  };
  // As many side by side as leave cells large, or else labels readable.
  const tried = [1, 2, 3, 4].filter((columns) => columns <= count).map(fits).filter((one) => one.columns === 1 || one.block[0] >= 180);
  const large = tried.filter((one) => one.label > 0 && one.cell >= 24);
  const readable = tried.filter((one) => one.label > 0 && one.cell >= 10.5);
  const most = (large.at(-1) ?? readable.at(-1) ?? tried[Math.min(1, tried.length - 1)]).columns;
  // Rows of about the same length: four maps stand as two and two, not as three and one.
  return fits(Math.ceil(count / Math.ceil(count / most)));
}

export function cellAt(input: MatrixInput, x: number, y: number): { head: number; query: number; key: number } | null {
  const layout = matrixLayout(input);
  for (let i = 0; i < input.maps.length; i++) {
    const [left, top] = origin(layout, i);
    const key = Math.floor((x - left) / layout.cell);
    const query = Math.floor((y - top) / layout.cell);
    const inside = key >= 0 && key < input.k.length && query < input.q.length && query >= 0;
    const onRow = query >= 0 && query < input.q.length && x >= left - layout.label && x < left;
    if (inside) return { head: input.maps[i].map.head, query, key };
    if (onRow) return { head: input.maps[i].map.head, query, key: -1 };
  }
  return null;
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
 * The weight that has the head's full colour: 1, so that pictures can be compared; of long sentences, where each key gets little, the map's
 * largest weight, which the picture says.
 */
export function fullColor(map: HeadMap): number {
  if (map.columns <= 64) return 1;
  let most = 0;
  for (const weight of map.data) most = Math.max(most, weight);
  return most || 1;
}

export function drawMatrix(surface: Surface, input: MatrixInput): void {
  const { q, k, maps, palette, query, key } = input;
  const layout = matrixLayout(input);
  const { cell, font, label } = layout;
  maps.forEach(({ map, color }, index) => {
    const [left, top] = origin(layout, index);
    const wide = cell * k.length;
    const tall = cell * q.length;
    const { name, sums } = input.titles[index];
    surface.group(name, () => {
      surface.text(left - label, top - layout.above - 28, name, { size: 13, color: palette.text, weight: 600 });
      surface.text(left - label, top - layout.above - 11, sums, { size: 12, color: palette.muted });
      // Colours repeat, so they are made once.
      const full = fullColor(map);
      const shades = Array.from({ length: 101 }, (_, i) => shade(palette, map, color, full < 1 ? (i / 100) ** 0.6 : i / 100));
      surface.cells(left, top, wide, tall, q.length, k.length, (r, c) =>
        masked(input.causal, q[r], k[c]) ? null : shades[Math.round(100 * Math.min(1, map.data[r * k.length + c] / full))],
        { of: map, as: `${color} ${palette.ground}` },
      );
      if (input.causal)
        q.forEach((unit, r) => {
          const first = k.findIndex((other) => masked(true, unit, other));
          if (first >= 0) surface.hatch(left + first * cell, top + r * cell, (k.length - first) * cell, cell, palette.hatch);
        });
      surface.outline(left - 0.5, top - 0.5, wide + 1, tall + 1, { color: palette.line });
      if (cell >= 38)
        for (let r = 0; r < q.length; r++)
          for (let c = 0; c < k.length; c++) {
            if (masked(input.causal, q[r], k[c])) continue;
            const weight = map.data[r * k.length + c];
            const ground = shades[Math.round(100 * Math.min(1, weight))];
            surface.text(left + (c + 0.5) * cell, top + (r + 0.5) * cell + 4, weight.toFixed(2), { size: 11, color: inkOn(ground), align: "middle", mono: true });
          }
      if (query >= 0 && query < q.length) surface.outline(left - 1, top + query * cell - 1, wide + 2, cell + 2, { color: palette.text, width: 2 });
      if (key >= 0 && key < k.length) surface.outline(left + key * cell - 1, top - 1, cell + 2, tall + 2, { color: palette.text, width: query >= 0 ? 1 : 2 });
      if (!label) return;
      const every = Math.max(1, Math.ceil(11 / cell));
      q.forEach((unit, r) => {
        if (r % every && r !== query) return;
        surface.text(left - 6, top + (r + 0.5) * cell + font * 0.35, fit(unit.label, label - 8, font), { size: font, color: r === query ? palette.text : palette.muted, align: "end", weight: r === query ? 600 : 400 });
        surface.text(left + wide + 6, top + (r + 0.5) * cell + font * 0.35, rowSum(map, r).toFixed(2), { size: Math.min(11, font), color: palette.muted, mono: true });
      });
      k.forEach((unit, c) => {
        if (c % every && c !== key) return;
        const x = left + (c + 0.5) * cell;
        const style = { size: font, color: c === key ? palette.text : palette.muted, weight: c === key ? (600 as const) : (400 as const) };
        if (/^[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef]+$/.test(unit.label) && unit.label.length * font * 1.1 <= layout.above - 8)
          surface.text(x, top - 6 - [...unit.label].length * font * 1.1, unit.label, { ...style, upright: true });
        else surface.text(x + font * 0.35, top - 6, fit(unit.label, layout.above - 8, font), { ...style, rotate: -90 });
      });
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
