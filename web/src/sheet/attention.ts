/** Attention laid out as a sheet: one block for each matrix that a learner writes down. */

import { type Expression, type Id, dot, exp, largest, minus, number, over, ref, root, square, sum } from "./expression";
import { type Block, Sheet } from "./sheet";
import type { Switches } from "./workbook";

export const SMALL = [-1, 0, 1, 2] as const;

export interface AttentionSpec {
  /** Those who look, and those who are looked at (the same in self-attention). */
  queries: string[];
  keys?: string[];
  x: number[][];
  /** In cross-attention, what the keys and values are made of. */
  memory?: number[][];
  /** Added to x, a row for each place. */
  positions?: number[][];
  wq: number[][];
  wk: number[][];
  wv: number[][];
  wo?: number[][];
  heads: number;
  causal?: boolean;
  residual?: boolean;
  norm?: boolean;
}

const count = (n: number): string[] => Array.from({ length: n }, (_, i) => String(i + 1));

export const EPSILON = 1e-5;

/** From the masked scores of a row to its weights: exp, their sum, the share of each. */
export function softmaxBlocks(
  sheet: Sheet,
  scores: Block,
  suffix: string,
  switches: Switches,
  rest: Pick<Block, "step"> & { head?: number },
): Block {
  const { rows, cols } = scores;
  const e = sheet.add(
    {
      ...rest,
      name: `e${suffix}`,
      title: switches.argmax ? "max" : `e^${/^\w′?$/.test(scores.symbol) ? scores.symbol : `(${scores.symbol})`}`,
      rows,
      cols: [...cols, "Σ"],
      kind: "exp",
      symbol: "e",
      pairs: true,
      shape: `${rows.length}×${cols.length}`,
    },
    (i, j) => {
      const row = scores.ids[i]!.map((id) => ref(id));
      if (j < cols.length) return switches.argmax ? largest(row[j]!, row) : exp(row[j]!, row);
      return sum(...cols.map((_, k) => ref(`e${suffix}[${i + 1},${k + 1}]`)));
    },
  );
  return sheet.add(
    {
      ...rest,
      name: `A${suffix}`,
      title: "softmax",
      titleKey: "hand.block.softmax",
      rows,
      cols,
      kind: "weights",
      symbol: "a",
      pairs: true,
    },
    (i, j) => over(ref(e.ids[i]![j]!), ref(e.ids[i]![cols.length]!)),
  );
}

/** Scores, ÷√d, mask, softmax and ·V of one head. `q`, `k`, `v` are the cells of its rows. */
export function headBlocks(
  sheet: Sheet,
  suffix: string,
  labels: { queries: string[]; keys: string[] },
  cells: { q: Id[][]; k: Id[][]; v: Id[][] },
  switches: Switches,
  options: { head?: number; mask?: Block; fold?: number },
): { scores: Block; weights: Block; z: Block } {
  const { head, mask, fold } = options;
  const common = { rows: labels.queries, cols: labels.keys, kind: "plain" as const, pairs: true, ...(head === undefined ? {} : { head }) };
  const dHead = cells.q[0]!.length;
  const scores = sheet.add({ ...common, step: "scores", name: `S${suffix}`, title: "Q·Kᵀ", symbol: "q·k" }, (i, j) =>
    dot(cells.q[i]!, cells.k[j]!),
  );
  let last = scores;
  if (switches.scale) {
    const from = last;
    last = sheet.add(
      { ...common, step: "scale", name: `D${suffix}`, title: `÷ √${dHead}`, symbol: "s" },
      (i, j) => over(ref(from.ids[i]![j]!, true), root(number(dHead))),
    );
  }
  if (mask) last = maskedBlock(sheet, last, mask, { ...common, name: `M${suffix}` });
  const weights = softmaxBlocks(sheet, last, suffix, switches, { step: "softmax", ...(head === undefined ? {} : { head }) });
  const dValue = cells.v[0]!.length;
  const z = sheet.add(
    {
      step: "z",
      name: `Z${suffix}`,
      title: head === undefined ? "Z = A·V" : `Z_${head + 1} = A·V`,
      rows: labels.queries,
      cols: count(dValue),
      kind: "plain",
      symbol: head === undefined ? "z" : `z_${head + 1}`,
      ...(head === undefined ? {} : { head, columnHeads: count(dValue).map(() => head) }),
      ...(fold ? { fold } : {}),
    },
    (i, j) => dot(weights.ids[i]!, cells.v.map((row) => row[j]!)),
  );
  return { scores, weights, z };
}

/** Zero where looking is allowed, minus infinity where it is not. */
export function maskBlock(sheet: Sheet, labels: Pick<Block, "rows" | "cols"> & { head?: number }, allowed: (i: number, j: number) => boolean): Block {
  return sheet.add(
    { ...labels, step: "mask", kind: "mask", name: "B", title: "mask", titleKey: "hand.block.mask_table", symbol: "mask", pairs: true },
    (i, j) => (allowed(i, j) ? 0 : -Infinity),
  );
}

export function maskedBlock(sheet: Sheet, scores: Block, mask: Block, common: Pick<Block, "name" | "rows" | "cols" | "kind"> & { head?: number }): Block {
  return sheet.add(
    { ...common, pairs: true, step: "mask", title: `${scores.symbol} + mask`, titleKey: "hand.block.mask", symbol: "s′" },
    (i, j) => sum(ref(scores.ids[i]![j]!), ref(mask.ids[i]![j]!)),
  );
}

export function attentionSheet(spec: AttentionSpec, switches: Switches): Sheet {
  const sheet = new Sheet();
  const { queries, heads, x } = spec;
  const keys = spec.keys ?? queries;
  const dModel = x[0]!.length;
  const width = spec.wq[0]!.length;
  const size = width / heads;
  const byHead = heads > 1 ? count(width).map((_, j) => Math.floor(j / size)) : undefined;
  const given = (name: string, title: string, rows: string[], numbers: number[][], more: Partial<Block> = {}) =>
    sheet.add(
      { step: "x", kind: "plain", name, title, rows, cols: count(numbers[0]!.length), symbol: title, random: SMALL, ...more },
      (i, j) => numbers[i]![j]!,
    );

  let input: Block;
  if (spec.positions) {
    const e = given("E", "E", queries, x, { step: "position" });
    const p = given("P", "P", count(queries.length), spec.positions, { step: "position" });
    input = sheet.add(
      { step: "position", kind: "plain", name: "X", title: switches.positions ? "X = E + P" : "X = E", symbol: "X", rows: queries, cols: count(dModel) },
      (i, j) => (switches.positions ? sum(ref(e.ids[i]![j]!), ref(p.ids[i]![j]!)) : sum(ref(e.ids[i]![j]!))),
    );
  } else input = given("X", spec.memory ? "Y" : "X", queries, x, spec.memory ? { titleKey: "hand.block.decoder" } : {});
  const memory = spec.memory ? given("M", "M", keys, spec.memory, { titleKey: "hand.block.memory" }) : input;

  const parts = (["Q", "K", "V"] as const).map((name) => {
    const from = name === "Q" ? input : memory;
    const numbers = { Q: spec.wq, K: spec.wk, V: spec.wv }[name];
    const bars = byHead ? { columnHeads: byHead } : {};
    const w = given(`W_${name}`, `W_${name}`, count(numbers.length), numbers, { step: "qkv", ...bars });
    return sheet.add(
      {
        step: "qkv",
        kind: "plain",
        name,
        title: `${name} = ${from.symbol}·W_${name}`,
        symbol: name,
        rows: from.rows,
        cols: count(width),
        ...bars,
        ...(heads > 1 ? { shape: `${from.rows.length}×${width} → ${heads}×(${from.rows.length}×${size})` } : {}),
      },
      (i, j) => dot(from.ids[i]!, w.ids.map((row) => row[j]!)),
    );
  });
  const [q, k, v] = parts as [Block, Block, Block];

  const mask = spec.causal && maskBlock(sheet, { rows: queries, cols: keys }, (i, j) => !switches.mask || j <= i);
  const z = count(heads).map((_, h) => {
    const cut = (block: Block) => block.ids.map((row) => row.slice(h * size, (h + 1) * size));
    return headBlocks(sheet, heads > 1 ? String(h + 1) : "", { queries, keys }, { q: cut(q), k: cut(k), v: cut(v) }, switches, {
      ...(heads > 1 ? { head: h } : {}),
      ...(mask ? { mask } : {}),
    }).z;
  });
  if (!spec.wo) return sheet;
  return outputBlocks(sheet, spec, z, input, byHead);
}

function outputBlocks(sheet: Sheet, spec: AttentionSpec, z: Block[], input: Block, byHead?: number[]): Sheet {
  const { queries } = spec;
  const wo = spec.wo!;
  const dModel = wo[0]!.length;
  const size = wo.length / z.length;
  let joined = z[0]!;
  if (z.length > 1)
    joined = sheet.add(
      { step: "concat", kind: "plain", name: "C", title: `concat(${z.map((_, h) => `Z_${h + 1}`).join(", ")})`, symbol: "C", rows: queries, cols: count(wo.length), ...(byHead ? { columnHeads: byHead } : {}) },
      (i, j) => sum(ref(z[Math.floor(j / size)]!.ids[i]![j % size]!)),
    );
  const w = sheet.add(
    { step: "out", kind: "plain", name: "W_O", title: "W_O", symbol: "W_O", rows: count(wo.length), cols: count(dModel), random: SMALL, ...(byHead ? { rowHeads: byHead } : {}) },
    (i, j) => wo[i]![j]!,
  );
  const column = (j: number) => w.ids.map((row) => row[j]!);
  if (z.length > 1) {
    const parts = z.map((own, h) =>
      sheet.add(
        { step: "out", kind: "plain", name: `O${h + 1}`, title: `Z_${h + 1}·W_O[${h * size + 1}:${(h + 1) * size}]`, symbol: `o_${h + 1}`, rows: queries, cols: count(dModel), head: h, only: "sum" },
        (i, j) => dot(own.ids[i]!, column(j).slice(h * size, (h + 1) * size)),
      ),
    );
    sheet.add(
      { step: "out", kind: "plain", name: "T", title: z.map((_, h) => `Z_${h + 1}·W_O[${h * size + 1}:${(h + 1) * size}]`).join(" + "), symbol: "T", rows: queries, cols: count(dModel), only: "sum" },
      (i, j) => sum(...parts.map((part) => ref(part.ids[i]![j]!))),
    );
  }
  const out = sheet.add(
    { step: "out", kind: "plain", name: "O", title: z.length > 1 ? "concat·W_O" : "Z·W_O", symbol: "O", rows: queries, cols: count(dModel), ...(z.length > 1 ? { only: "concat" as const } : {}) },
    (i, j) => dot(joined.ids[i]!, column(j)),
  );
  if (!spec.residual) return sheet;
  const residual = sheet.add(
    { step: "residual", kind: "plain", name: "R", title: `${input.symbol} + O`, symbol: "R", rows: queries, cols: count(dModel) },
    (i, j) => sum(ref(input.ids[i]![j]!), ref(out.ids[i]![j]!)),
  );
  if (spec.norm) normBlocks(sheet, residual);
  return sheet;
}

/** Mean and variance of each row, and the row brought to 0 and 1. */
function normBlocks(sheet: Sheet, x: Block): void {
  const statistics = sheet.add(
    { step: "norm", kind: "plain", name: "L", title: "μ, σ^2", symbol: "μ, σ²", rows: x.rows, cols: ["μ", "σ²"] },
    (i, j) => {
      const row = x.ids[i]!.map((id) => ref(id));
      const mean = ref(`L[${i + 1},1]`);
      const parts: Expression[] = j === 0 ? row : row.map((own) => square(minus(own, mean)));
      return over(sum(...parts), number(row.length));
    },
  );
  sheet.add(
    { step: "norm", kind: "plain", name: "N", title: "LayerNorm", titleKey: "hand.block.norm", symbol: "N", rows: x.rows, cols: x.cols },
    (i, j) =>
      over(minus(ref(x.ids[i]![j]!), ref(statistics.ids[i]![0]!)), root(sum(ref(statistics.ids[i]![1]!), number(EPSILON)))),
  );
}

