/** A translation as an alignment picture (Bahdanau, Cho and Bengio, 2015, Fig. 3): source words across, target words down, white where much is looked at. */
import { inkOn, mix, type Palette } from "../surface/palette";
import type { Surface } from "../surface/surface";
import type { HeadMap } from "./maps";
import type { Unit } from "./units";

/** Cells from row r0 to before r1, from column c0 to before c1, that are linked: in both directions or the only one shown, or in one of two. */
export interface Box {
  r0: number;
  r1: number;
  c0: number;
  c1: number;
  kind: "both" | "forth" | "back";
}

/** A link of a reference. */
export interface Mark {
  r0: number;
  r1: number;
  c0: number;
  c1: number;
  sure: boolean;
}

export interface AlignmentInput {
  q: readonly Unit[];
  k: readonly Unit[];
  map: HeadMap;
  boxes: readonly Box[];
  marks: readonly Mark[];
  /** What is looked at, and what is pinned; -1 for none. */
  query: number;
  key: number;
  palette: Palette;
  /** One hue on the ground of the page, or white on black. */
  hue: boolean;
  cell: number;
  /** How wide a label is, in pixels, at a font size. */
  measure: (text: string, size: number) => number;
  /** Space for the labels: at the left, and above. */
  left: number;
  above: number;
  /** Lines of text over the picture, for files; the page says them beside it. */
  heading: readonly string[];
  /** What the outlines mean, for files. */
  legend: readonly { what: "scale" | "both" | "forth" | "back" | "sure" | "possible"; text: string }[];
  /** The part that is seen, in pixels of the whole; all of it without one. */
  seen?: { x: number; y: number; w: number; h: number };
}

export interface AlignmentLayout {
  width: number;
  height: number;
  left: number;
  top: number;
  font: number;
  heading: string[];
}

export const LEAST_CELL = 18;
export const MOST_CELL = 46;
const RIGHT = 10;
const LINE = 19;

/** Colours of outlines: seen on black, on white and on every grey between, with a dark edge around. */
export const OUTLINE = { both: "#ffb000", forth: "#ffb000", back: "#6db5ff" } as const;
const EDGE = "#000000";

export function labelFont(cell: number): number {
  return Math.max(11, Math.min(15, cell * 0.5));
}

/** Whether a label stands upright over its column, one character below the other: Chinese, Japanese, Korean. */
export function standsUpright(label: string): boolean {
  return /^[\u2e80-\u9fff\uac00-\ud7ff\uf900-\ufaff\uff00-\uffef]+$/.test(label);
}

const UPRIGHT_STEP = 1.1;

/** How tall a label is over its column, given how wide one is when written across. */
export function tallness(label: string, font: number, measure: AlignmentInput["measure"]): number {
  return standsUpright(label) ? [...label].length * font * UPRIGHT_STEP : measure(label, font);
}

export function alignmentLayout(input: AlignmentInput): AlignmentLayout {
  const { q, k, cell, left, above } = input;
  const width = left + k.length * cell + RIGHT;
  const heading = input.heading.flatMap((text) => wrapped(text, Math.max(320, width - 12), 13));
  const top = above + (heading.length ? heading.length * LINE + 10 : 0);
  const legend = input.legend.length ? 16 + input.legend.length * LINE : 0;
  return { width: heading.length ? Math.max(340, width) : width, height: top + q.length * cell + RIGHT + legend, left, top, font: labelFont(cell), heading };
}

/** The place of a cell in what is seen. */
export function cellPlace(input: AlignmentInput, query: number, key: number): { x: number; y: number; w: number; h: number } {
  const { left, top } = alignmentLayout(input);
  const seen = input.seen ?? { x: 0, y: 0 };
  return { x: left + key * input.cell - seen.x, y: top + query * input.cell - seen.y, w: input.cell, h: input.cell };
}

/** What lies at a point of what is seen: a cell, or a row or column by its label (-1 for the other). */
export function alignmentAt(input: AlignmentInput, x: number, y: number): { query: number; key: number } | null {
  const { left, top } = alignmentLayout(input);
  const seen = input.seen ?? { x: 0, y: 0 };
  const key = x < left ? -1 : Math.floor((x + seen.x - left) / input.cell);
  const query = y < top ? -1 : Math.floor((y + seen.y - top) / input.cell);
  if (key >= input.k.length || query >= input.q.length || (key < 0 && query < 0)) return null;
  return { query, key };
}

/** The colour of a weight. */
export function alignmentShade(input: Pick<AlignmentInput, "hue" | "palette">, weight: number): string {
  const at = Math.min(1, Math.max(0, weight));
  return input.hue ? mix(input.palette.ground, input.palette.accent, at) : mix("#000000", "#ffffff", at);
}

export function drawAlignment(surface: Surface, input: AlignmentInput): void {
  const { q, k, map, palette, cell, query, key } = input;
  const layout = alignmentLayout(input);
  const { left, top, font } = layout;
  const seen = input.seen ?? { x: 0, y: 0, w: layout.width, h: layout.height };
  const [x0, y0] = [left - seen.x, top - seen.y];
  const c0 = Math.max(0, Math.floor(seen.x / cell));
  const c1 = Math.min(k.length, Math.ceil((seen.x + seen.w - left) / cell));
  const r0 = Math.max(0, Math.floor(seen.y / cell));
  const r1 = Math.min(q.length, Math.ceil((seen.y + seen.h - top) / cell));
  if (c1 <= c0 || r1 <= r0) return;
  const shades = Array.from({ length: 256 }, (_, i) => alignmentShade(input, i / 255));
  const shade = (r: number, c: number): string => shades[Math.round(255 * Math.min(1, Math.max(0, map.data[r * k.length + c])))];

  surface.group("weights", () => {
    surface.cells(x0 + c0 * cell, y0 + r0 * cell, (c1 - c0) * cell, (r1 - r0) * cell, r1 - r0, c1 - c0, (r, c) => shade(r0 + r, c0 + c));
    if (cell >= 14) {
      const rule = input.hue ? palette.line : "#ffffff";
      const alpha = input.hue ? 1 : 0.13;
      for (let r = r0; r <= r1; r++) surface.line([[x0 + c0 * cell, y0 + r * cell], [x0 + c1 * cell, y0 + r * cell]], { color: rule, alpha, width: 1 });
      for (let c = c0; c <= c1; c++) surface.line([[x0 + c * cell, y0 + r0 * cell], [x0 + c * cell, y0 + r1 * cell]], { color: rule, alpha, width: 1 });
    }
    if (cell >= 30)
      for (let r = r0; r < r1; r++)
        for (let c = c0; c < c1; c++) {
          const weight = map.data[r * k.length + c];
          if (weight < 0.095) continue;
          surface.text(x0 + (c + 0.5) * cell, y0 + (r + 0.5) * cell + 4, weight.toFixed(2), { size: cell >= 34 ? 11 : 10, color: inkOn(shade(r, c)), align: "middle", mono: true });
        }
  });

  const inside = (box: Omit<Box, "kind">): boolean => box.r1 > r0 && box.r0 < r1 && box.c1 > c0 && box.c0 < c1;
  surface.group("links", () => {
    for (const box of input.boxes) {
      if (!inside(box)) continue;
      const inset = cell >= 14 ? 1.5 : 0.5;
      const [x, y] = [x0 + box.c0 * cell + inset, y0 + box.r0 * cell + inset];
      const [w, h] = [(box.c1 - box.c0) * cell - 2 * inset, (box.r1 - box.r0) * cell - 2 * inset];
      const dash = { both: [], forth: [5, 3], back: [2, 2] }[box.kind];
      if (cell >= 8) surface.outline(x, y, w, h, { color: EDGE, width: 4, alpha: 0.75 });
      surface.outline(x, y, w, h, { color: OUTLINE[box.kind], width: cell >= 8 ? 2 : 1, dash });
    }
  });
  surface.group("reference", () => {
    const radius = Math.max(2.5, Math.min(4.5, cell * 0.13));
    for (const box of input.marks) {
      if (!inside(box) || cell < 8) continue;
      reference(surface, x0 + box.c1 * cell - radius - 2, y0 + box.r0 * cell + radius + 2, radius, box.sure);
    }
  });
  if (query >= 0 && query < q.length) band(surface, x0 + c0 * cell, y0 + query * cell, (c1 - c0) * cell, cell, palette);
  if (key >= 0 && key < k.length) band(surface, x0 + key * cell, y0 + r0 * cell, cell, (r1 - r0) * cell, palette);

  // Labels stay where they are while the cells move under them.
  if (input.seen) {
    surface.rect(0, 0, left, seen.h, palette.ground);
    surface.rect(0, 0, seen.w, top, palette.ground);
  }
  const every = Math.max(1, Math.ceil(13 / cell));
  const style = (on: boolean) => ({ size: font, color: on ? palette.text : palette.muted, weight: on ? (600 as const) : (400 as const) });
  const whole = (at: number, from: number): boolean => at + cell / 2 >= from;
  surface.group("target", () => {
    for (let r = r0; r < r1; r++) {
      const y = Math.max(top + font * 0.55, y0 + (r + 0.5) * cell);
      if ((r % every && r !== query) || !whole(y0 + (r + 0.5) * cell, top)) continue;
      if (r === query) surface.rect(2, y - Math.max(9, cell / 2 - 1), left - 6, Math.max(18, cell - 2), palette.mark, 1, 5);
      surface.text(left - 8, y + font * 0.35, fit(q[r].label, left - 14, (text) => input.measure(text, font)), { ...style(r === query), align: "end" });
    }
  });
  surface.group("source", () => {
    for (let c = c0; c < c1; c++) {
      const x = Math.max(left + font * 0.55, x0 + (c + 0.5) * cell);
      if ((c % every && c !== key) || !whole(x0 + (c + 0.5) * cell, left)) continue;
      if (c === key) surface.rect(x - Math.max(9, cell / 2 - 1), top - input.above + 2, Math.max(18, cell - 2), input.above - 6, palette.mark, 1, 5);
      // A label that is too tall is cut where it still stands as its kind does.
      const tall = (text: string): number => tallness(text.replace("…", "一"), font, input.measure);
      const upright = standsUpright(k[c].label);
      const label = fit(k[c].label, input.above - 14, upright ? tall : (text) => input.measure(text, font));
      if (upright) surface.text(x, top - 6 - tall(label), label.replace("…", "︙"), { ...style(c === key), upright: true });
      else surface.text(x + font * 0.35, top - 8, label, { ...style(c === key), rotate: -90 });
    }
  });
  if (input.seen) surface.rect(0, 0, left, top, palette.ground);
  surface.outline(Math.max(left, x0) - 0.5, Math.max(top, y0) - 0.5, k.length * cell + 1, q.length * cell + 1, { color: palette.line });

  layout.heading.forEach((text, i) => surface.text(6, 16 + i * LINE, text, { size: 13, color: i ? palette.muted : palette.text, weight: i ? 400 : 600 }));
  if (input.legend.length) drawLegend(surface, input, top + q.length * cell + 26);
}

function band(surface: Surface, x: number, y: number, w: number, h: number, palette: Palette): void {
  surface.outline(x, y, w, h, { color: palette.ground, width: 3 });
  surface.outline(x, y, w, h, { color: palette.accent, width: 1.5 });
}

/** A link that people made: a dot where it is sure, a ring where it is possible. */
function reference(surface: Surface, x: number, y: number, radius: number, sure: boolean): void {
  surface.circle(x, y, radius + 1.5, EDGE);
  surface.circle(x, y, radius, "#ffffff");
  surface.circle(x, y, radius * (sure ? 0.72 : 0.5), sure ? "#d6006c" : EDGE);
}

function drawLegend(surface: Surface, input: AlignmentInput, top: number): void {
  input.legend.forEach(({ what, text }, i) => {
    const y = top + i * LINE;
    if (what === "scale") {
      for (let step = 0; step < 24; step++) surface.rect(8 + step * 2, y - 10, 2, 12, alignmentShade(input, step / 23));
      surface.outline(8, y - 10, 48, 12, { color: input.palette.line });
    } else if (what === "sure" || what === "possible") reference(surface, 32, y - 4, 4.5, what === "sure");
    else {
      surface.outline(25, y - 11, 14, 14, { color: EDGE, width: 4, alpha: 0.75 });
      surface.outline(25, y - 11, 14, 14, { color: OUTLINE[what], width: 2, dash: { both: [], forth: [5, 3], back: [2, 2] }[what] });
    }
    surface.text(66, y, text, { size: 12, color: input.palette.muted });
  });
}

/** How many font sizes wide a character is, about. */
function wide(character: string): number {
  return /[\u2e80-\u9fff\uac00-\ud7ff\uf900-\ufaff\uff00-\uffef]|\p{Extended_Pictographic}/u.test(character) ? 1 : 0.56;
}

/** `text` cut to `length` pixels, as `measure` has them. */
function fit(text: string, length: number, measure: (text: string) => number): string {
  const characters = [...text];
  let shown = text;
  for (let n = characters.length - 1; n > 0 && measure(shown) > length; n--) shown = characters.slice(0, n).join("") + "…";
  return shown;
}

/** `text` in lines of about `width` pixels at `font` size, broken at blanks and between Chinese characters. */
function wrapped(text: string, width: number, font: number): string[] {
  const lines: string[] = [];
  let [line, used] = ["", 0];
  for (const piece of text.match(/\s+|[\u2e80-\u9fff\uff00-\uffef]|[^\s\u2e80-\u9fff\uff00-\uffef]+/gu) ?? []) {
    const size = [...piece].reduce((sum, character) => sum + wide(character) * font, 0);
    if (line && used + size > width) {
      lines.push(line);
      [line, used] = ["", 0];
      if (/^\s/.test(piece)) continue;
    }
    line += piece;
    used += size;
  }
  return line ? [...lines, line] : lines;
}
