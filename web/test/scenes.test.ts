import { expect, test } from "vitest";
import type { Side, Token } from "../src/pack/contract";
import { drawLines, type Drawn, ends, hitLines, lane, type LinesInput, linesLayout } from "../src/scene/lines";
import { contributions, headMap, masked, meanMap, pairWeight, threshold } from "../src/scene/maps";
import { cellAt, drawMatrix, fullColor, type MatrixInput, matrixLayout, origin, placeOf, rowSum } from "../src/scene/matrix";
import { shown, units } from "../src/scene/units";
import { read, revealing, WHOLE, within, written, zoomed } from "../src/scene/zoom";
import { DASHES, PALETTES } from "../src/surface/palette";
import { heightAt } from "../src/surface/surface";
import { SvgSurface } from "../src/surface/svg";

const token = (text: string, word: number, more: Partial<Token> = {}): Token => ({ id: 0, piece: text, text, special: word < 0, word, chars: null, partial: false, ...more });
const side: Side = { text: "its law", lang: "en", words: ["its", "law"], tokens: [token("<s>", -1), token("its", 0), token("la", 1), token("w", 1), token("</s>", -1)] };

function random(rows: number, columns: number, seed: number): Float32Array {
  let state = seed;
  const next = (): number => (state = (state * 48271) % 2147483647) / 2147483647;
  const data = new Float32Array(rows * columns);
  for (let r = 0; r < rows; r++) {
    let sum = 0;
    for (let c = 0; c < columns; c++) sum += data[r * columns + c] = next() ** 4;
    for (let c = 0; c < columns; c++) data[r * columns + c] /= sum;
  }
  return data;
}

const tokens = units(side, { words: false, hideSpecial: false });
const draw = (heads: number, list = tokens): Drawn[] =>
  Array.from({ length: heads }, (_, head) => ({ map: headMap(head, random(list.length, list.length, head + 3), list.length, list, list, false), color: PALETTES.light.heads[head], slot: head }));
const lines = (maps: Drawn[], more: Partial<LinesInput> = {}): LinesInput => ({
  q: tokens, k: tokens, maps, query: -1, key: -1, qTitle: "Query", kTitle: "Key", qRole: "", kRole: "", qSide: "", kSide: "", width: 700, palette: PALETTES.light, labelWidth: 90, ...more,
});

test("words join their tokens, specials stay by themselves or go", () => {
  expect(units(side, { words: true, hideSpecial: false }).map((unit) => [unit.label, unit.tokens])).toEqual([["<s>", [0]], ["its", [1]], ["law", [2, 3]], ["</s>", [4]]]);
  expect(units(side, { words: true, hideSpecial: true }).map((unit) => unit.label)).toEqual(["its", "law"]);
});

test("rows of words sum to one: weights on a word add up, a word looks as its tokens do on average", () => {
  const weights = random(5, 5, 9);
  const words = units(side, { words: true, hideSpecial: false });
  const map = headMap(0, weights, 5, words, words, false);
  for (let r = 0; r < 4; r++) expect(rowSum(map, r)).toBeCloseTo(1, 6);
  const at = (q: number, k: number): number => weights[q * 5 + k];
  expect(map.data[1 * 4 + 2]).toBeCloseTo(at(1, 2) + at(1, 3), 6);
  expect(map.data[2 * 4 + 1]).toBeCloseTo((at(2, 1) + at(3, 1)) / 2, 6);
});

test("hiding scales what is left to one, and says what was hidden", () => {
  const weights = random(5, 5, 4);
  const rest = units(side, { words: false, hideSpecial: true });
  const map = headMap(0, weights, 5, rest, rest, true);
  rest.forEach((unit, r) => {
    expect(rowSum(map, r)).toBeCloseTo(1, 6);
    expect(map.hidden[r]).toBeCloseTo(weights[unit.tokens[0] * 5] + weights[unit.tokens[0] * 5 + 4], 6);
  });
});

test("the mean of heads is their mean", () => {
  const maps = draw(3).map(({ map }) => map);
  const mean = meanMap(maps);
  expect(mean.data[7]).toBeCloseTo((maps[0].data[7] + maps[1].data[7] + maps[2].data[7]) / 3, 6);
});

test("what comes later is masked", () => {
  expect(masked(true, tokens[1], tokens[2])).toBe(true);
  expect(masked(true, tokens[2], tokens[2])).toBe(false);
  expect(masked(false, tokens[1], tokens[4])).toBe(false);
});

test("contributions are lengths of weight times v times W_O, as shares; grouped heads share their values", () => {
  // Two heads of size one over one key-value head: W_O has the columns (3, 4) and (0, 2).
  const weights = { dtype: "F32" as const, shape: [2, 1, 2], data: new Float32Array([0.5, 0.5, 0.25, 0.75]) };
  const v = { dtype: "F32" as const, shape: [1, 2, 1], data: new Float32Array([1, -3]) };
  const out = { dtype: "F32" as const, shape: [2, 2], data: new Float32Array([3, 0, 4, 2]) };
  // Head 1: |v W| = 5 and 15, times 0.5; head 2: 2 and 6, times 0.25 and 0.75.
  expect([...contributions(weights, v, out).data].map((x) => Number(x.toFixed(6)))).toEqual([0.25, 0.75, 0.1, 0.9]);
});

test("heads never lie on each other: every lane is its own", () => {
  for (const heads of [1, 2, 4, 8])
    for (const row of [16, 22, 30]) {
      const lanes = Array.from({ length: heads }, (_, i) => lane(i, heads, row));
      expect(new Set(lanes.map((y) => y.toFixed(3))).size).toBe(heads);
      expect(Math.max(...lanes) - Math.min(...lanes)).toBeLessThanOrEqual(row - 4);
      if (heads > 1) expect(lanes[1] - lanes[0]).toBeGreaterThanOrEqual(1.5);
    }
});

test("one path for each weight that can be seen, in the colour and the dash of its head, as strong as the weight", () => {
  const maps = draw(8);
  const surface = new SvgSurface(700, 400);
  const used = drawLines(surface, lines(maps));
  const svg = surface.toString();
  const paths = svg.match(/<path d="M[^>]*C[^>]*>/g) ?? [];
  expect(paths.length).toBe(maps.flatMap(({ map }) => [...map.data]).filter((weight) => weight >= used.weight).length);
  for (const { color, slot } of maps) {
    expect(svg).toContain(`stroke="${color}"`);
    if (DASHES[slot].length) expect(svg).toContain(`stroke-dasharray="${DASHES[slot].join(" ")}"`);
  }
  for (const text of ["its", "la", "&#60;s&#62;"]) expect(svg).toContain(`>${text}</text>`);
});

test("opacity is the weight, however many heads there are", () => {
  const one = { head: 0, rows: 5, columns: 5, data: new Float32Array(25), sums: new Float32Array(5), hidden: new Float32Array(5) };
  one.data[8] = 0.75;
  const maps = Array.from({ length: 8 }, (_, i) => ({ map: { ...one, head: i }, color: PALETTES.light.heads[i], slot: i }));
  const pinned = new SvgSurface(700, 400);
  drawLines(pinned, lines(maps, { query: 1 }));
  const strokes = pinned.toString().match(/stroke-width="4.75"[^>]*stroke-opacity="0.75"/g) ?? [];
  expect(strokes.length).toBe(8);
});

test("at most so many curves are drawn, the strongest ones", () => {
  const many = Array.from({ length: 8 }, (_, head) => ({ head, rows: 128, columns: 128, data: random(128, 128, head + 1), sums: new Float32Array(128), hidden: new Float32Array(128) }));
  const used = threshold(many, 3000, 1 / 255);
  const above = many.flatMap((map) => [...map.data]).filter((weight) => weight >= used.weight).length;
  expect(used.drawn).toBe(above);
  expect(above).toBeLessThanOrEqual(3000);
  expect(above).toBeGreaterThan(2000);
  expect(used.all).toBeGreaterThan(100000);
});

test("the pointer finds words and curves", () => {
  const maps = draw(2);
  const input = lines(maps);
  const layout = linesLayout(input);
  expect(hitLines(input, layout.left - 20, layout.top + 1.5 * layout.row)).toEqual({ what: "query", index: 1 });
  expect(hitLines(input, layout.right + 20, layout.top + 4.5 * layout.row)).toEqual({ what: "key", index: 4 });
  const strongest = maps[1].map.data.indexOf(Math.max(...maps[1].map.data));
  const [r, c] = [Math.floor(strongest / 5), strongest % 5];
  const [a, b] = ends(layout, 2, 1, r, c);
  const x = a[0] + 0.3 * (b[0] - a[0]);
  expect(hitLines(input, x, heightAt(a, b, x)!)).toEqual({ what: "curve", query: r, key: c, head: 1 });
  expect(heightAt(a, b, a[0])).toBeCloseTo(a[1], 4);
  expect(heightAt(a, b, b[0])).toBeCloseTo(b[1], 4);
  expect(heightAt(a, b, a[0] - 1)).toBeNull();
});

const matrix = (maps: Drawn[], more: Partial<MatrixInput> = {}): MatrixInput => ({
  q: tokens, k: tokens, maps, causal: false, query: -1, key: -1, width: 700, palette: PALETTES.light, labelWidth: 60, titles: maps.map((_, i) => ({ name: `head ${i + 1}`, sums: "" })), qTitle: "", kTitle: "", ...more,
});

test("a matrix has one map a head side by side, each in its colour, with its sums; masked cells are hatched", () => {
  const maps = draw(4);
  const input = matrix(maps, { causal: true });
  const layout = matrixLayout(input);
  const corners = maps.map((_, i) => origin(layout, i));
  for (let i = 0; i < 4; i++)
    for (let j = 0; j < i; j++) expect(Math.abs(corners[i][0] - corners[j][0]) >= 5 * layout.cell || Math.abs(corners[i][1] - corners[j][1]) >= 5 * layout.cell).toBe(true);
  const surface = new SvgSurface(700, layout.height);
  drawMatrix(surface, input);
  const svg = surface.toString();
  expect(svg.match(/fill="url\(#hatch-0\)"/g)?.length).toBe(4 * 4); // of five rows four have something to hide
  expect(svg.match(/>1\.00<\/text>/g)!.length).toBeGreaterThanOrEqual(20);
  const [x, y] = corners[2];
  expect(cellAt(input, x + 1.5 * layout.cell, y + 3.5 * layout.cell)).toMatchObject({ head: 2, query: 3, key: 1 });
  expect(cellAt(input, x - 3, y + 0.5 * layout.cell)).toMatchObject({ head: 2, query: 0, key: -1 });
  expect(cellAt(input, 0, 0)).toBeNull();
});

test("hostile words are drawn as words", () => {
  const bad = [`</text><script>window.P=1</script>`, `" onload="x`, "\u0000\n", "  ", "שלום", "👩‍👩‍👧".repeat(40), "x".repeat(10000)];
  const list = bad.map((text, i) => ({ label: shown(text), tokens: [i], special: false, partial: false }));
  const surface = new SvgSurface(700, 400, bad[0]);
  drawLines(surface, lines(draw(1, list), { q: list, k: list }));
  const svg = surface.toString();
  expect(svg).not.toMatch(/<script|onload="|[\u0000-\u0008]/);
  expect(shown("\u0000\n")).toBe("\u2400\u240a");
  expect(shown("  ")).toBe("\u2423\u2423");
  expect(shown("שלום")).toBe("\u2068שלום\u2069");
  expect([...new Intl.Segmenter().segment(shown(bad[5]))].length).toBe(24);
  expect(shown(bad[6]).length).toBe(24);
});

test("pieces of a character show the character and which piece it is", () => {
  const pieces: Side = { text: "a你", lang: "zh", words: ["a", "你"], tokens: [token("a", 0, { chars: [0, 1] }), ...[0, 1, 2].map(() => token("\ufffd", 1, { chars: [1, 2], partial: true }))] };
  expect(units(pieces, { words: false, hideSpecial: false }).map((unit) => unit.label)).toEqual(["a", "你 1/3", "你 2/3", "你 3/3"]);
});

test("zooming keeps what is under the pointer, panning stays within the map", () => {
  const near = zoomed(WHOLE, 4, 100, 300, 32);
  expect(near).toEqual({ scale: 4, row: 75, column: 225 });
  expect((100 - near.row) * near.scale).toBeCloseTo(100, 9); // as far from the edge as before
  expect(zoomed(near, 100, 100, 300, 32).scale).toBe(32);
  expect(zoomed(near, 0.01, 100, 300, 32).scale).toBe(1);
  expect(within({ scale: 4, row: -9, column: 9999 }, 512, 512, 32)).toEqual({ scale: 4, row: 0, column: 384 });
  expect(within({ scale: NaN, row: NaN, column: 0 }, 512, 512, 32)).toEqual(WHOLE);
  expect(revealing(near, 512, 512, 300, 226)).toEqual({ scale: 4, row: 173, column: 225 });
  expect(revealing(near, 512, 512, -1, 10)).toEqual({ scale: 4, row: 75, column: 10 });
  expect(read(written(near)!)).toEqual(near);
  expect([written(WHOLE), read("a,b"), read("")]).toEqual([null, WHOLE, WHOLE]);
});

test("of a map that is zoomed only the part in sight is drawn, with its own labels, and the pointer finds its cells", () => {
  const list = Array.from({ length: 40 }, (_, i) => ({ label: `t${i}`, tokens: [i], special: false, partial: false }));
  const maps = draw(2, list);
  const input = matrix(maps, { q: list, k: list, zoom: { scale: 4, row: 10.5, column: 20 }, query: 12, key: 39 });
  const layout = matrixLayout(input);
  expect(layout.height).toBe(matrixLayout({ ...input, zoom: undefined }).height);
  const surface = new SvgSurface(700, layout.height);
  drawMatrix(surface, input);
  const svg = surface.toString();
  const named = [...svg.matchAll(/>t(\d+)<\/text>/g)].map((found) => Number(found[1]));
  expect([...new Set(named)].sort((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, i) => 10 + i).filter((i) => i > 10));
  const [left, top] = origin(layout, 0);
  const [wide, tall] = layout.frame;
  const places = [...svg.matchAll(/<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)" fill="#/g)].map((found) => found.slice(1).map(Number));
  expect(places.length).toBe(2 * 11 * 10); // a row is cut at each end
  for (const [x, y, w, h] of places.slice(0, 110)) {
    expect(x).toBeGreaterThanOrEqual(left - 0.02);
    expect(y).toBeGreaterThanOrEqual(top - 0.02);
    expect(x + w).toBeLessThanOrEqual(left + wide + 0.02);
    expect(y + h).toBeLessThanOrEqual(top + tall + 0.02);
  }
  expect(cellAt(input, left + 1, top + 1)).toMatchObject({ head: 0, query: 10, key: 20 });
  const place = placeOf(layout, 0, 12, 25);
  expect(cellAt(input, place.x + place.w / 2, place.y + place.h / 2)).toMatchObject({ query: 12, key: 25 });
  expect(placeOf(layout, 0, 12, 39).w).toBe(2); // out of sight: at the edge
});

test("large maps leave room for themselves: none runs over the next, nor out of the picture", () => {
  const list = Array.from({ length: 512 }, (_, i) => ({ label: `t${i}`, tokens: [i], special: false, partial: false }));
  const one = draw(1, list)[0];
  const maps = Array.from({ length: 8 }, (_, head) => ({ ...one, map: { ...one.map, head } }));
  for (const width of [366, 736, 900]) {
    const layout = matrixLayout(matrix(maps, { q: list, k: list, width }));
    const [left] = origin(layout, layout.columns - 1);
    expect(left + layout.frame[0]).toBeLessThanOrEqual(width - 2);
    if (layout.columns > 1) expect(origin(layout, 0)[0] + layout.frame[0]).toBeLessThan(origin(layout, 1)[0] - layout.label);
  }
  // Rows of a map where one query has but one key to look at: its weight of 1 does not wash out all others.
  const steep = { ...one.map, data: one.map.data.slice() };
  steep.data[0] = 1;
  expect(fullColor(steep)).toBeLessThan(0.1);
  expect(fullColor(draw(1)[0].map)).toBe(1);
});

test("one number of a map is the number of the whole map", () => {
  const weights = random(5, 5, 9);
  for (const [words, hiding] of [[true, true], [true, false], [false, true]]) {
    const list = units(side, { words, hideSpecial: hiding });
    const map = headMap(0, weights, 5, list, list, hiding);
    list.forEach((query, r) => list.forEach((key, c) => expect(pairWeight(weights, 5, query, key, list, hiding)).toBe(map.data[r * list.length + c])));
  }
});

test("a file has a margin around the picture, and what is drawn stays where it is", () => {
  const surface = new SvgSurface(300, 200, "", "#ffffff");
  surface.text(0, 12, "at the edge", { size: 12, color: "#000000" });
  const svg = surface.toString();
  expect(svg).toContain('width="332" height="232" viewBox="-16 -16 332 232"');
  expect(svg).toContain('<rect x="-16" y="-16" width="332" height="232" fill="#ffffff"/><text x="0" y="12"');
  expect(new SvgSurface(300, 200).toString()).toContain('viewBox="0 0 300 200"');
});

test("on a telephone the curves have more room than the squares beside the keys", () => {
  const { from, to, chip } = linesLayout(lines(draw(4), { width: 366 }));
  expect(to - from).toBeGreaterThan(80);
  expect(chip).toBeGreaterThanOrEqual(5);
});
