import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import type { Decode, Manifest } from "../src/pack/contract";
import { readSafetensors } from "../src/pack/safetensors";
import { boxOf, drawTree, ROW, spread, treeHit, type TreeInput, treeLayout } from "../src/scene/tree";
import { PALETTES } from "../src/surface/palette";
import { SvgSurface } from "../src/surface/svg";
import { barsAfter, compared, norm, pathTo, probability, ranking, signedText } from "../src/views/decoding/search";

const folder = new URL("../../tests/golden/traces/", import.meta.url);
const GOLDEN: [string, Manifest][] = readdirSync(folder)
  .filter((name) => name.endsWith(".ttrace"))
  .map((name) => [name, JSON.parse(readSafetensors(new Uint8Array(readFileSync(new URL(name, folder)))).metadata.manifest)]);

const input = (decode: Decode, more: Partial<TreeInput> = {}): TreeInput => {
  const result = decode.finished[decode.chosen].node;
  return {
    decode,
    path: pathTo(decode, result),
    result,
    step: 1,
    pruned: true,
    label: (id) => decode.nodes[id].text,
    value: (id) => (id ? signedText(decode.nodes[id].cum) : ""),
    measure: (text, size) => text.length * size * 0.6,
    ...more,
  };
};

test("there are golden searches to test with", () => {
  expect(GOLDEN.length).toBeGreaterThan(3);
  for (const [, { decode }] of GOLDEN) expect(decode.method).toBe("beam");
});

for (const [name, { decode, model, translation, request }] of GOLDEN) {
  test(`${name}: ranked by the product's own rule, what ended stands as the search gave it`, () => {
    const ranked = ranking(decode, decode.length_norm as "average", decode.length_penalty);
    expect(ranked.map((one) => one.node)).toEqual(decode.finished.map((one) => one.node));
    decode.finished.forEach((one, i) => {
      expect(Math.abs(ranked[i].score - one.score)).toBeLessThan(1e-9);
      expect(ranked[i].length).toBe(one.tokens.length + (decode.nodes[one.node].state === "finished" ? 1 : 0));
      expect(ranked[i].coverage).toBe(0);
      expect(ranked[i].before).toBe(i + 1);
    });
    expect(ranked[0].text).toBe(translation);
    for (const one of ranked) expect(Math.abs(one.lp - decode.nodes[one.node].cum)).toBeLessThan(1e-5);
  });

  test(`${name}: with α = 0 the log-probability alone ranks, and a large α prefers long ones`, () => {
    const free = ranking(decode, "average", 0);
    expect(free.map((one) => one.lp)).toEqual([...free.map((one) => one.lp)].sort((a, b) => b - a));
    expect(ranking(decode, "none", 1).map((one) => one.node)).toEqual(free.map((one) => one.node));
    const long = ranking(decode, "average", 20);
    expect(long[0].length).toBe(Math.max(...long.map((one) => one.length)));
  });

  test(`${name}: at every step of every path bars add up to one, and one of them is chosen`, () => {
    for (const { node } of decode.finished) {
      const path = pathTo(decode, node);
      for (let t = 1; t < path.length; t++) {
        const found = barsAfter(decode, path[t - 1], path[t], model.vocab.tgt)!;
        expect(Math.abs(found.sum - 1)).toBeLessThan(1e-5);
        expect(found.bars.filter((bar) => bar.chosen).map((bar) => bar.node)).toEqual([path[t]]);
        expect(found.bars.length + found.others).toBe(model.vocab.tgt);
        for (const bar of found.bars) if (bar.node >= 0) expect(decode.nodes[bar.node].lp).toBeCloseTo(bar.lp, 5);
      }
    }
  });

  test(`${name}: the path of the result is the translation, and its log-probabilities sum to what is said`, () => {
    const result = decode.finished[decode.chosen];
    const path = pathTo(decode, result.node).slice(1);
    const written = path.map((node) => decode.nodes[node].token);
    expect(written.slice(0, result.tokens.length)).toEqual(result.tokens);
    expect(Math.abs(path.reduce((sum, node) => sum + decode.nodes[node].lp, 0) - result.lp)).toBeLessThan(1e-5);
    expect(request.decode.beam).toBe(decode.beam);
  });

  test(`${name}: no two boxes of the tree touch, no two lines cross, and what wins runs straight`, () => {
    const layout = treeLayout(input(decode));
    expect(layout.at.size).toBe(decode.nodes.length);
    layout.columns.forEach((column, t) => {
      for (const one of column) {
        expect(decode.nodes[one.id].t).toBe(t);
        expect(one.w).toBeLessThanOrEqual(layout.wides[t]);
        const box = boxOf(one);
        expect(box.y).toBeGreaterThanOrEqual(0);
        expect(box.y + box.h).toBeLessThanOrEqual(layout.height);
        expect(treeHit(layout, one.x + one.w / 2, one.y)).toBe(one.id);
      }
      for (let i = 1; i < column.length; i++) expect(column[i].y - column[i - 1].y).toBeGreaterThanOrEqual(ROW - 1e-6);
      const parents = column.slice(0, t ? undefined : 0).map((one) => layout.at.get(decode.nodes[one.id].parent)!.y);
      expect(parents).toEqual([...parents].sort((a, b) => a - b));
    });
    const straight = input(decode).path.map((node) => layout.at.get(node)!.y);
    expect(Math.max(...straight) - Math.min(...straight)).toBeLessThan(1);
  });

  test(`${name}: without what was dropped, kept hypotheses and ends are left`, () => {
    const layout = treeLayout(input(decode, { pruned: false }));
    const left = [...layout.at.keys()].map((id) => decode.nodes[id].state);
    expect(left).not.toContain("pruned");
    expect(left.length).toBe(decode.nodes.filter((node) => node.state !== "pruned").length);
    const live = layout.columns.map((column) => column.filter((one) => decode.nodes[one.id].state === "live").length);
    for (const step of decode.steps) expect(live[step.t - 1]).toBe(step.live.length);
  });
}

test("norms are those of the product", () => {
  // sightline.decoding.protocol.DecodingSettings(length_norm=…, length_penalty=…).norm(length)
  const known: [Parameters<typeof norm>, number][] = [
    [["none", 0.6, 7], 1],
    [["average", 0.6, 7], 3.2140958497160383],
    [["average", -0.5, 4], 0.5],
    [["average", 1, 15], 15],
    [["wu", 0.6, 7], 1.515716566510398],
    [["wu", 1.35, 12], 4.079452266585399],
    [["wu", 0, 12], 1],
  ];
  for (const [[kind, alpha, length], value] of known) expect(norm(kind, alpha, length)).toBeCloseTo(value, 12);
});

/** A search with a tie and a coverage penalty. */
function small(): Decode {
  const node = (id: number, parent: number, t: number, token: number, text: string, lp: number, cum: number, state: Decode["nodes"][number]["state"]): Decode["nodes"][number] => ({ id, parent, t, token, text, lp, cum, state });
  return {
    method: "beam",
    beam: 1,
    length_penalty: 1,
    length_norm: "average",
    max_len: 9,
    steps: [{ t: 1, live: [{ node: 0, cum: 0, topk: [{ id: 5, text: "a", lp: Math.log(0.5) }, { id: 6, text: "b", lp: Math.log(0.25) }], rest: 0.25 }] }],
    nodes: [node(0, -1, 0, 1, "<s>", 0, 0, "live"), node(1, 0, 1, 5, "a", -1, -1, "live"), node(2, 1, 2, 2, "</s>", -1, -2, "finished"), node(3, 0, 1, 2, "</s>", -1, -1, "finished"), node(4, 0, 1, 9, "c", Math.log(0.05), Math.log(0.05), "live")],
    finished: [
      { node: 2, tokens: [5], text: "a", lp: -2, score: -1.25 },
      { node: 3, tokens: [], text: "", lp: -1, score: -1 },
    ],
    chosen: 0,
  };
}

test("of equal scores the one that the search puts first comes first, and a coverage penalty stays what it was", () => {
  const decode = small();
  const [own] = ranking(decode, "average", 1).filter((one) => one.node === 2);
  expect(own.coverage).toBeCloseTo(-0.25, 12);
  expect(own.score).toBeCloseTo(-1.25, 12);
  expect(ranking(decode, "average", 2).find((one) => one.node === 2)!.score).toBeCloseTo(-0.75, 12);
  decode.finished[0].score = -1;
  expect(ranking(decode, "average", 1).map((one) => one.node)).toEqual([2, 3]);
  expect(ranking(decode, "none", 1).map((one) => one.node)).toEqual([3, 2]);
});

test("a token that came without being probable is a bar of its own, taken out of the rest", () => {
  const found = barsAfter(small(), 0, 4, 100)!;
  expect(found.bars.at(-1)).toMatchObject({ id: 9, outside: true, chosen: true });
  expect(found.rest).toBeCloseTo(0.2, 12);
  expect(found.others).toBe(97);
  expect(found.sum).toBeCloseTo(1, 12);
  expect(barsAfter(small(), 2, -1, 100)).toBeNull();
});

test("heights are spread by least squares", () => {
  expect(spread([0, 0], [1, 1], 10)).toEqual([-5, 5]);
  expect(spread([0, 0], [3, 1], 10)).toEqual([-2.5, 7.5]);
  expect(spread([0, 50, 51], [1, 1, 1], 10)).toEqual([0, 45.5, 55.5]);
  expect(spread([], [], 10)).toEqual([]);
});

test("words that two translations share are found, the longest run of them", () => {
  const [before, now] = compared(["I", "love", "you", "."], ["I", "like", "you", "too", "."]);
  expect(before.filter((piece) => !piece.same).map((piece) => piece.text)).toEqual(["love"]);
  expect(now.filter((piece) => !piece.same).map((piece) => piece.text)).toEqual(["like", "too"]);
  expect(compared([], ["x"])).toEqual([[], [{ text: "x", same: false }]]);
});

test("numbers are written so that none is shown as nothing", () => {
  expect([probability(0.62649), probability(0.0004), probability(3.2e-11), probability(0), probability(1)]).toEqual(["0.626", "4·10⁻⁴", "3·10⁻¹¹", "0.000", "1.000"]);
  expect([signedText(-0.004), signedText(-1.5), signedText(2, 3)]).toEqual(["0.00", "−1.50", "2.000"]);
});

test("the picture as a file: every node with its text, of a window only what lies in it", () => {
  const [, { decode }] = GOLDEN[0];
  const layout = treeLayout(input(decode));
  const whole = new SvgSurface(layout.width, layout.height, "tree");
  drawTree(whole, input(decode), layout, PALETTES.light, (t) => `step ${t}`);
  const svg = whole.toString();
  expect(svg.match(/<g /g)!.length).toBe(decode.nodes.length);
  expect(svg.match(/<path d="M[^"]*C/g)!.length).toBe(decode.nodes.length - 1);
  expect(svg.match(/stroke-dasharray/g)!.length).toBe(decode.nodes.filter((node) => node.state === "pruned").length);
  for (const node of decode.nodes.slice(1)) expect(svg).toContain(signedText(node.cum));
  const part = new SvgSurface(80, layout.height);
  drawTree(part, input(decode), layout, PALETTES.dark, (t) => `step ${t}`, layout.width - 80);
  const inside = layout.columns.flat().filter((one) => one.x + one.w >= layout.width - 80).length;
  expect(part.toString().match(/<g /g)!.length).toBe(inside);
});
