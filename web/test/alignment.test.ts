import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import type { Manifest, Side, Token } from "../src/pack/contract";
import { readSafetensors } from "../src/pack/safetensors";
import { type AlignmentInput, alignmentAt, alignmentLayout, alignmentShade, cellPlace, drawAlignment, standsUpright } from "../src/scene/alignment";
import { headMap } from "../src/scene/maps";
import { units } from "../src/scene/units";
import { PALETTES } from "../src/surface/palette";
import { SvgSurface } from "../src/surface/svg";
import { agreement, headOrMean, type Link, pharaoh, PharaohError, quality, readPharaoh, sameWords, scores, symmetrise, type Symmetry, wordLinks } from "../src/views/alignment/links";

const golden = new URL("../../tests/golden/", import.meta.url);

interface Golden {
  scores: ({ found: Link[]; back: Link[]; sure: Link[]; possible: Link[]; error_rate: number; precision: number; recall: number; pharaoh: string } & Record<Symmetry, string>)[];
  read: { line: string; first: number; sure: Link[]; possible: Link[] }[];
  traces: Record<string, { best: [number, number]; links: Record<string, { out: string; in: string }> }>;
}
const said = JSON.parse(readFileSync(new URL("alignments.json", golden), "utf8")) as Golden;

test("error rate, precision and recall are those of metrics/alignment.py", () => {
  expect(said.scores.length).toBeGreaterThan(20);
  for (const one of said.scores) {
    const found = scores(one.found, { sure: one.sure, possible: one.possible });
    expect(found.errorRate).toBeCloseTo(one.error_rate, 10);
    expect(found.precision).toBeCloseTo(one.precision, 10);
    expect(found.recall).toBeCloseTo(one.recall, 10);
  }
});

test("two directions are joined as metrics/alignment.py joins them", () => {
  for (const one of said.scores)
    for (const how of ["intersection", "union", "grow-diag"] as const) expect([how, pharaoh(symmetrise(one.found, one.back, how))]).toEqual([how, one[how]]);
});

test("lines are read as metrics/alignment.py reads them", () => {
  for (const { line, first, sure, possible } of said.read) {
    const gold = readPharaoh(line, first, 99, 99);
    expect([line, gold.sure, gold.possible]).toEqual([line, sure, possible]);
  }
});

test("an alignment is written and read back, and scores no error against itself", () => {
  for (const one of said.scores) {
    expect(pharaoh(one.found)).toBe(one.pharaoh);
    const gold = readPharaoh(one.pharaoh, 0, 6, 5);
    expect(gold.sure).toEqual(one.found);
    if (one.found.length) expect(scores(one.found, gold).errorRate).toBe(0);
    expect(agreement(one.found, one.found)).toBe(one.found.length ? 1 : 0);
  }
  expect(pharaoh([[2, 1], [0, 0]], [[1, 1], [2, 1]])).toBe("0-0 1p1 2-1");
});

test("what is no alignment is refused, and what is wrong is named", () => {
  const problem = (line: string, first = 0): [string, Record<string, unknown>] => {
    try {
      readPharaoh(line, first, 4, 3);
    } catch (raised) {
      if (raised instanceof PharaohError) return [raised.code, raised.args];
      throw raised;
    }
    return ["none", {}];
  };
  for (const text of ["1-", "-1", "a-b", "1:2", "1--2", "1-2,", "0-0x", "1.0-2", "١-٢", "9999999-0", "<b>1-1</b>"]) expect([text, problem(text)[0]]).toEqual([text, "form"]);
  expect(problem("0-0 9:9")[1]).toEqual({ link: "9:9" });
  expect(problem("x".repeat(5000))[1]).toEqual({ link: `${"x".repeat(20)}…` });
  expect(problem("0-1", 1)).toEqual(["before", { link: "0-1", first: 1 }]);
  expect(problem("4-0")).toEqual(["source", { link: "4-0", word: "4", last: 3, first: 0 }]);
  expect(problem("1p4", 1)).toEqual(["target", { link: "1p4", word: "4", last: 3, first: 1 }]);
  expect(problem("1 ".repeat(200_000))[0]).toBe("long");
  expect(problem("3-2 3?2")[0]).toBe("none");
});

const traces = readdirSync(new URL("traces/", golden)).filter((name) => name.endsWith(".ttrace"));

test.each(traces)("%s: links and quality of every head are those that Python finds", (name) => {
  const { metadata, tensors } = readSafetensors(new Uint8Array(readFileSync(new URL(`traces/${name}`, golden))));
  const run = JSON.parse(metadata.manifest) as Manifest;
  const expected = said.traces[name.replace(".ttrace", "")];
  const found = run.heads.filter((one) => one.stack === "decoder.cross_attn");
  expect(found.length).toBeGreaterThan(0);
  for (const [place, links] of Object.entries(expected.links)) {
    const [layer, head] = place.split(".");
    const weights = headOrMean(tensors[`decoder.${layer}.cross_attn.weights`], head === "mean" ? -1 : Number(head));
    expect([place, pharaoh(wordLinks(weights, run.src.tokens, run.labels))]).toEqual([place, links.out]);
    expect([place, pharaoh(wordLinks(weights, run.src.tokens, run.tgt.tokens))]).toEqual([place, links.in]);
    if (head === "mean") continue;
    const stat = found.find((one) => one.layer === Number(layer) && one.head === Number(head))!;
    const { sharp, mono } = quality(weights, run.src.tokens, 0, run.labels.length - 1);
    expect(sharp).toBeCloseTo(stat.align!.sharp, 5);
    expect(mono).toBeCloseTo(stat.align!.mono, 5);
  }
});

function token(text: string, word: number, chars: [number, number] | null = null): Token {
  return { id: 0, piece: text, text: word < 0 ? "" : text, special: word < 0, word, chars, partial: false };
}

const SRC: Side = { text: "acquainted you", lang: "en", tokens: [token("<2zh>", -1), token("acqu", 0, [0, 4]), token("ainted", 0, [4, 10]), token("you", 1, [11, 14]), token("</s>", -1)], words: ["acquainted", "you"] };
const LABELS = [token("你", 0, [0, 1]), token("认", 1, [1, 2]), token("识", 1, [2, 3]), token("</s>", -1)];
const TGT: Side = { text: "你认识", lang: "zh", tokens: LABELS, words: ["你", "认识"] };
// Halves and quarters, so that sums are exact in float32.
const WEIGHTS = Float32Array.from([
  [0.125, 0.125, 0.125, 0.5, 0.125],
  [0, 0.5, 0.25, 0.25, 0],
  [0.25, 0, 0.5, 0, 0.25],
  [0, 0, 0, 0.25, 0.75],
].flat());

test("columns of a word's pieces are added and its rows averaged, so that rows still sum to one", () => {
  const [q, k] = [units(TGT, { words: true, hideSpecial: false }), units(SRC, { words: true, hideSpecial: false })];
  expect(k.map((unit) => unit.label)).toEqual(["<2zh>", "acquainted", "you", "</s>"]);
  expect(k.filter((unit) => !unit.special).length).toBe(SRC.words.length);
  const map = headMap(0, WEIGHTS, 5, q, k, false);
  expect([...map.data.subarray(4, 8)]).toEqual([0.125, 0.625, 0.125, 0.125]);
  expect([...map.data.subarray(0, 4)]).toEqual([0.125, 0.25, 0.5, 0.125]);
  for (let r = 0; r < map.rows; r++) expect([...map.data.subarray(r * 4, r * 4 + 4)].reduce((a, b) => a + b)).toBeCloseTo(1, 6);
});

test("rows are scaled to one again where special tokens are hidden", () => {
  const [q, k] = [units(TGT, { words: true, hideSpecial: true }), units(SRC, { words: true, hideSpecial: true })];
  const map = headMap(0, WEIGHTS, 5, q, k, true);
  expect([map.rows, map.columns]).toEqual([2, 2]);
  expect(map.data[2] + map.data[3]).toBeCloseTo(1, 6);
  expect(map.data[2]).toBeCloseTo(0.625 / 0.75, 6);
  expect(map.hidden[1]).toBeCloseTo(0.25, 6);
});

test("tags and the end are linked to nothing, whatever they look at", () => {
  const weights = headOrMean({ dtype: "F32", shape: [1, 4, 5], data: WEIGHTS }, 0);
  expect(wordLinks(weights, SRC.tokens, LABELS)).toEqual([[0, 1], [1, 0]]);
  expect(wordLinks(weights, [SRC.tokens[0], ...Array<Token>(4).fill(SRC.tokens[0])], LABELS)).toEqual([]);
});

test("words of two runs are the same where they stand at the same characters", () => {
  const whole: Side = { text: "你认识", lang: "zh", tokens: [token("你认", 0, [0, 2]), token("识", 1, [2, 3]), token("</s>", -1)], words: ["你认", "识"] };
  expect(sameWords(whole, whole.tokens, TGT, LABELS)).toEqual([[0, 1], [1]]);
  expect(sameWords({ ...whole, text: "你 认识" }, whole.tokens, TGT, LABELS)).toBeNull();
});

// ---- the picture

function input(more: Partial<AlignmentInput> = {}): AlignmentInput {
  const [q, k] = [units(TGT, { words: false, hideSpecial: false }), units({ ...SRC, tokens: [...SRC.tokens.slice(0, 4), token("你好", 1, [11, 14])] }, { words: false, hideSpecial: false })];
  return {
    q,
    k,
    map: headMap(0, WEIGHTS, 5, q, k, false),
    boxes: [{ r0: 0, r1: 1, c0: 3, c1: 4, kind: "both" }, { r0: 1, r1: 3, c0: 1, c1: 3, kind: "back" }],
    marks: [{ r0: 1, r1: 3, c0: 1, c1: 3, sure: true }],
    query: -1,
    key: -1,
    palette: PALETTES.light,
    hue: false,
    cell: 40,
    measure: (text, size) => [...text].length * size * 0.6,
    left: 60,
    above: 90,
    heading: [],
    legend: [],
    ...more,
  };
}

function drawn(given: AlignmentInput): string {
  const { width, height } = alignmentLayout(given);
  const surface = new SvgSurface(width, height, "picture", "#ffffff");
  drawAlignment(surface, given);
  return surface.toString();
}

test("white is one and black is nothing; one hue goes from the ground of the page to its accent", () => {
  for (const palette of Object.values(PALETTES)) {
    expect([0, 1].map((weight) => alignmentShade({ hue: false, palette }, weight))).toEqual(["#000000", "#ffffff"]);
    expect([0, 1].map((weight) => alignmentShade({ hue: true, palette }, weight))).toEqual([palette.ground, palette.accent]);
  }
});

test("every cell has its grey, Chinese labels stand upright and others are turned", () => {
  const svg = drawn(input());
  const cells = [...svg.matchAll(/<rect x="([\d.]+)" y="([\d.]+)" width="40" height="40" fill="(#[0-9a-f]{6})"\/>/g)];
  expect(cells.length).toBe(20);
  const grey = (x: number, y: number): string => cells.find((cell) => Number(cell[1]) === x && Number(cell[2]) === y)![3];
  expect(grey(60 + 3 * 40, 90)).toBe("#808080");
  expect(grey(60 + 4 * 40, 90 + 3 * 40)).toBe("#bfbfbf");
  expect(grey(60, 90 + 40)).toBe("#000000");
  expect(svg).toMatch(/writing-mode="vertical-rl" style="text-orientation:upright[^"]*"[^>]*>你好</);
  expect(svg).toMatch(/transform="rotate\(-90 [^>]*>acqu</);
  expect(["你好", "カナ", "한국", "。"].map(standsUpright)).toEqual([true, true, true, true]);
  expect(["you", "B型", "</s>", ""].map(standsUpright)).toEqual([false, false, false, false]);
});

test("a label that is too long is cut to its place as its font measures it, Chinese upright too", () => {
  const long = [token("国务院办公厅关于信息安全", 0, [0, 12]), token("WWWWWWWWWWWWWWWW", 1, [13, 29]), token("iiiiiiiiii", 2, [30, 40])];
  const k = units({ ...SRC, tokens: long }, { words: false, hideSpecial: false });
  const [size, above, cell] = [15, 90, 40];
  const measure = (text: string, at: number): number => [...text].reduce((sum, c) => sum + at * ({ W: 1, i: 0.3 }[c] ?? 0.8), 0);
  const q = units({ ...SRC, tokens: [token("WWWWWWWWWW", 0, [0, 10])] }, { words: false, hideSpecial: false });
  const map = { head: 0, rows: 1, columns: 3, data: new Float32Array(3), sums: new Float32Array(1), hidden: new Float32Array(1) };
  const svg = drawn(input({ q, k, map, boxes: [], marks: [], measure, above, cell }));
  const texts = [...svg.matchAll(/<text[^>]*>([^<]+)<\/text>/g)].map(([whole, text]) => ({ whole, text }));
  const upright = texts.find(({ text }) => text.startsWith("国务"))!;
  expect(upright.whole).toContain("text-orientation:upright");
  expect([...upright.text].length * size * 1.1).toBeLessThanOrEqual(above - 14);
  expect(upright.text.at(-1)).toBe("︙");
  const wide = texts.filter(({ text }) => text.startsWith("W"));
  expect(wide.length).toBe(2);
  for (const { text } of wide) expect(measure(text, size)).toBeLessThanOrEqual(above - 14);
  expect(texts.some(({ text }) => text === "iiiiiiiiii")).toBe(true);
});

test("links of two directions differ by more than their colour, and reference links by their shape", () => {
  const svg = drawn(input());
  expect(svg).toContain('stroke="#ffb000" stroke-width="2"/>');
  expect(svg).toContain('stroke="#6db5ff" stroke-width="2" stroke-dasharray="2 2"/>');
  const ring = drawn(input({ marks: [{ r0: 1, r1: 3, c0: 1, c1: 3, sure: false }] }));
  expect(svg.match(/<circle/g)!.length).toBe(3);
  expect(svg).toContain('fill="#d6006c"');
  expect(ring).not.toContain('fill="#d6006c"');
});

test("points lead back to their cells, scrolled or not", () => {
  for (const seen of [undefined, { x: 70, y: 30, w: 180, h: 150 }]) {
    const given = input({ seen });
    const { x, y } = cellPlace(given, 2, 4);
    expect(alignmentAt(given, x + 5, y + 5)).toEqual({ query: 2, key: 4 });
    expect(alignmentAt(given, 10, y + 5)).toEqual({ query: 2, key: -1 });
    expect(alignmentAt(given, x + 5, 10)).toEqual({ query: -1, key: 4 });
    expect(alignmentAt(given, 10, 10)).toBeNull();
    expect(alignmentAt(given, 4000, y)).toBeNull();
  }
});

test("of a long sentence only what is seen is drawn", () => {
  const many = Array.from({ length: 512 }, (_, i) => token(`w${i}`, i, [i, i + 1]));
  const side: Side = { text: "", lang: "en", tokens: many, words: many.map((one) => one.text) };
  const q = units(side, { words: false, hideSpecial: false });
  const map = { head: 0, rows: 512, columns: 512, data: new Float32Array(512 * 512), sums: new Float32Array(512), hidden: new Float32Array(512) };
  const svg = drawn(input({ q, k: q, map, boxes: [], marks: [], cell: 18, seen: { x: 3000, y: 6000, w: 800, h: 500 } }));
  expect(svg.match(/<text/g)!.length).toBeLessThan(80);
  expect(svg).toContain(">w334<");
  expect(svg).not.toContain(">w3<");
});

test("a file says what it shows, however narrow the picture is", () => {
  const heading = ["Layer 2, head 2 · acquainted you → 你认识", "↓ 译文（写出时）：每行标的是预测出的词元，比解码器输入晚一个词元，所以和注意力视图差一格，这一点很重要"];
  const given = input({ heading, legend: [{ what: "scale", text: "weight" }, { what: "sure", text: "sure" }] });
  const layout = alignmentLayout(given);
  expect(layout.heading.length).toBeGreaterThan(2);
  expect(layout.heading.join("")).toBe(heading.join(""));
  expect(drawn(given)).toContain(">sure</text>");
});
