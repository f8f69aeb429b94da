/** One head of the reader's own model, from captured tensors: the row of one query as a sheet, and the whole sublayer computed again. */

import { type AttentionWeights, type Core, attend, causal, everything } from "../engine/attention";
import { type Matrix, matrix, maxDifference } from "../engine/matrix";
import { normalise, rotary } from "../engine/transformer";
import type { Manifest, Stack, Token } from "../pack/contract";
import type { Host } from "../pack/host";
import type { Tensor } from "../pack/safetensors";
import { maskBlock, maskedBlock, softmaxBlocks } from "./attention";
import { dot, number, over, product, ref, root, square, sum } from "./expression";
import { Sheet } from "./sheet";
import type { Switches } from "./workbook";

export const TOLERANCE = 1e-5;
const SHOWN = 8;

export interface RealHead {
  address: string;
  causal: boolean;
  core: Core | null;
  queries: string[];
  keys: string[];
  /** Which of them are words, or pieces of words: no tags, no punctuation. */
  words: { queries: boolean[]; keys: boolean[] };
  /** Each a matrix for every query head. */
  q: Matrix[];
  k: Matrix[];
  v: Matrix[];
  z: Matrix[];
  weights: Matrix[];
  out: Matrix;
  /** None where the weights of the model are not at hand. */
  projections: AttentionWeights | null;
  /** The largest difference between what the browser computes and what the model computed, of each step. */
  checks: Record<string, number>;
}

export function label(token: Token): string {
  return token.special ? token.piece : token.text.trim() || (token.piece === "▁" ? "␣" : token.piece);
}

const isWord = (token: Token): boolean => !token.special && /[\p{L}\p{N}]/u.test(token.text);

/** The word that looks, and the other word that it looks at, with the largest weight in a head; of one query, where it is given. */
export function strongest({ words, weights, address }: RealHead, h: number, query?: number): [number, number] {
  const [queries, keys] = [words.queries.length, words.keys.length];
  let [best, most]: [[number, number], number] = [[query ?? 0, 0], -1];
  for (let i = query ?? 0; i < (query === undefined ? queries : query + 1); i++)
    for (let j = 0; j < keys; j++) {
      const weight = weights[h]!.data[i * keys + j]!;
      const fits = words.keys[j] && (query !== undefined || words.queries[i]) && (i !== j || !address.endsWith("self_attn"));
      if (fits && weight > most) [best, most] = [[i, j], weight];
    }
  return best;
}

export function addressOf(stack: Stack, layer: number): string {
  const [side, kind] = stack.split(".") as [string, string];
  return `${side}.${layer}.${kind}`;
}

function heads(tensor: Tensor): Matrix[] {
  const [count, rows, cols] = tensor.shape as [number, number, number];
  return Array.from({ length: count }, (_, h) =>
    matrix(rows, cols, tensor.data.subarray(h * rows * cols, (h + 1) * rows * cols)),
  );
}

function flat(tensor: Tensor): Matrix {
  return matrix(tensor.shape.length > 1 ? tensor.shape[0]! : 1, tensor.shape.at(-1)!, tensor.data);
}

/** Reads what one attention sublayer did, and computes it again. */
export async function loadHead(host: Host, manifest: Manifest, stack: Stack, layer: number): Promise<RealHead> {
  const { model } = manifest;
  const info = model.stacks.find((each) => each.name === stack)!;
  const address = addressOf(stack, layer);
  const [side, , kind] = address.split(".") as [string, string, string];
  const before = kind === "self_attn" ? "resid_pre" : "resid_mid";
  const names = ["q", "k", "v", "z", "weights", "out"].map((name) => `${address}.${name}`);
  // What asks was captured where no residual stream has it, and what values are made of where that is not the memory.
  const there = (name: string) => (manifest.tensors[`${address}.${name}`] ? `${address}.${name}` : "");
  const asks = there("x");
  const input = asks || `${side}.${layer}.${before}`;
  const more = kind === "cross_attn" ? [input, "memory"] : [input];
  const values = there("values");
  const found = await host.tensors(manifest.id, [...names, ...more, ...(values ? [values] : [])]);
  const norm = `${side}.${layer}.${kind === "self_attn" ? "self_norm" : "cross_norm"}`;
  const parameters = await host.weights(model.name, [`${address}.*`, ...(asks ? [] : [`${norm}.*`])]).catch(() => ({}) as Record<string, Tensor>);
  const parameter = (name: string) => parameters[name] && flat(parameters[name]);
  const of = (name: string) => found[`${address}.${name}`]!;

  const [wq, wk, wv, wo] = ["q", "k", "v", "o"].map((name) => parameter(`${address}.${name}_proj.weight`));
  const [qBias, kBias, vBias, oBias] = ["q", "k", "v", "o"].map((name) => parameter(`${address}.${name}_proj.bias`));
  const projections = wq && wk && wv && wo ? { q: wq, k: wk, v: wv, o: wo, qBias, kBias, vBias, oBias } : null;
  const sharpness = parameter(`${address}.core.log_sharpness`)?.data.map(Math.exp);
  let core: Core | null = null;
  if (model.core.kind === "dot") core = model.core.scale === null ? { kind: "dot" } : { kind: "dot", scale: model.core.scale };
  if (model.core.kind === "plain-dot") core = { kind: "dot", scale: 1 };
  if (model.core.kind === "cosine" && sharpness) core = { kind: "cosine", sharpness };
  const sides = { src: manifest.src.tokens.map(label), tgt: manifest.tgt.tokens.map(label) };
  const head: RealHead = {
    address,
    causal: info.causal,
    core,
    queries: sides[info.q],
    keys: sides[info.k],
    words: { queries: manifest[info.q].tokens.map(isWord), keys: manifest[info.k].tokens.map(isWord) },
    q: heads(of("q")),
    k: heads(of("k")),
    v: heads(of("v")),
    z: heads(of("z")),
    weights: heads(of("weights")),
    out: flat(of("out")),
    projections,
    checks: {},
  };
  if (core && projections) {
    const x = flat(found[input]!);
    const from = !asks && model.norm_at === "pre" ? normalise(x, model.norm!, model.eps!, parameter(`${norm}.weight`), parameter(`${norm}.bias`)) : x;
    const steps = attend(from, kind === "cross_attn" ? flat(found.memory!) : from, projections, {
      heads: info.heads[layer]!,
      kvHeads: info.kv_heads[layer]!,
      core,
      allowed: info.causal ? causal : everything,
      ...(values ? { values: flat(found[values]!) } : {}),
      ...(model.position === "rotary" && kind === "self_attn" ? { rotate: rotary } : {}),
    });
    const shared = (h: number) => Math.floor((h * info.kv_heads[layer]!) / info.heads[layer]!);
    const worst = (own: Matrix[], theirs: Matrix[]) => Math.max(...own.map((each, i) => maxDifference(each.data, theirs[i]!.data)));
    const spread = (held: Matrix[]) => head.q.map((_, h) => held[shared(h)]!);
    head.checks = {
      q: worst(steps.q, head.q),
      k: worst(spread(steps.k), head.k),
      v: worst(spread(steps.v), head.v),
      weights: worst(steps.weights, head.weights),
      z: worst(steps.z, head.z),
      out: maxDifference(steps.out.data, head.out.data),
    };
  }
  return head;
}

/** The worst of all checks; null where there was nothing to check with. */
export function worstCheck(head: RealHead): number | null {
  const all = Object.values(head.checks);
  return all.length ? Math.max(...all) : null;
}

const count = (n: number): string[] => Array.from({ length: n }, (_, i) => String(i + 1));

/** The row of query `query` in head `h`, from q and k to what the head adds to the output. Throws if the core is unknown. */
export function realSheet(real: RealHead, h: number, query: number, switches: Switches): Sheet {
  const { core, keys } = real;
  if (!core) throw new Error("an attention of this kind cannot be computed here");
  const sheet = new Sheet();
  const [q, k, v] = [real.q[h]!, real.k[h]!, real.v[h]!];
  const size = q.cols;
  const rows = [real.queries[query]!];
  const plain = { kind: "plain" as const, head: h };
  const seen = keys.map((key, j) => (keys.indexOf(key) !== j || keys.lastIndexOf(key) !== j ? `${key} (${j + 1})` : key));
  const qs = sheet.add({ ...plain, step: "qkv", name: "q", title: "q", symbol: "q", rows, cols: count(size), fold: SHOWN }, (_, j) =>
    q.data[query * size + j]!,
  );
  const ks = sheet.add({ ...plain, step: "qkv", name: "K", title: "K", symbol: "k", rows: seen, cols: count(size), fold: SHOWN }, (i, j) =>
    k.data[i * size + j]!,
  );
  const row = { ...plain, rows, cols: seen, pairs: true };
  const scores = sheet.add({ ...row, step: "scores", name: "S", title: "q·k", symbol: "q·k" }, (_, j) => dot(qs.ids[0]!, ks.ids[j]!));
  let last = scores;
  if (switches.scale) {
    const length = (ids: string[]) => root(sum(...ids.map((id) => square(ref(id)))));
    const plainScale = core.kind === "dot" && Math.abs((core.scale ?? 1 / Math.sqrt(size)) * Math.sqrt(size) - 1) < 1e-9;
    last = sheet.add(
      { ...row, step: "scale", name: "D", title: core.kind === "cosine" ? "g·cos(q, k)" : plainScale ? `÷ √${size}` : `· ${core.scale}`, symbol: "s" },
      (_, j) => {
        const score = ref(scores.ids[0]![j]!, true);
        if (core.kind === "cosine")
          return product(number(core.sharpness[h]!), over(ref(scores.ids[0]![j]!), product(length(qs.ids[0]!), length(ks.ids[j]!))));
        return plainScale ? over(score, root(number(size))) : product(ref(scores.ids[0]![j]!), number(core.scale!));
      },
    );
  }
  if (real.causal) last = maskedBlock(sheet, last, maskBlock(sheet, { rows, cols: seen, head: h }, (_, j) => !switches.mask || j <= query), { ...row, name: "M" });
  const weights = softmaxBlocks(sheet, last, "", switches, { step: "softmax", head: h });
  const vs = sheet.add(
    { ...plain, step: "z", name: "V", title: "V", symbol: "v", rows: seen, cols: count(v.cols), fold: SHOWN },
    (i, j) => v.data[i * v.cols + j]!,
  );
  const z = sheet.add(
    { ...plain, step: "z", name: "Z", title: `z_${h + 1} = A·V`, symbol: "z", rows, cols: count(v.cols), fold: SHOWN },
    (_, j) => dot(weights.ids[0]!, vs.ids.map((ids) => ids[j]!)),
  );
  const names = real.z.map((_, i) => `z_${i + 1}`);
  const concat = sheet.add(
    { kind: "plain", step: "concat", name: "C", title: `concat(${names.length > 3 ? `z_1, …, ${names.at(-1)}` : names.join(", ")})`, symbol: "C", rows: names.map((name) => name.replace("_", "")), cols: count(v.cols), fold: SHOWN, rowHeads: names.map((_, i) => i), shape: `1×${names.length * v.cols}` },
    (i, j) => (i === h ? sum(ref(z.ids[0]![j]!)) : real.z[i]!.data[query * v.cols + j]!),
  );
  const { projections } = real;
  if (!projections) return sheet;
  const outs = count(Math.min(SHOWN, real.out.cols));
  const width = projections.o.cols;
  const shape = outs.length < real.out.cols ? `1×${real.out.cols} (1–${outs.length})` : `1×${real.out.cols}`;
  const all = sheet.add(
    { kind: "plain", step: "out", name: "W_O", title: "W_O", symbol: "W_O", rows: outs, cols: count(width), unseen: true },
    (i, j) => projections.o.data[i * width + j]!,
  );
  const bias = projections.oBias;
  const b = bias && sheet.add({ kind: "plain", step: "out", name: "b", title: "b_O", symbol: "b", rows: ["b"], cols: outs, shape }, (_, j) => bias.data[j]!);
  const parts = sheet.add(
    { kind: "plain", step: "out", name: "H", title: "z_h·W_O", titleKey: "hand.block.contributions", symbol: "H", rows: names.map((name) => name.replace("_", "")), cols: outs, rowHeads: names.map((_, i) => i), only: "sum" },
    (i, j) => dot(concat.ids[i]!, all.ids[j]!.slice(i * v.cols, (i + 1) * v.cols)),
  );
  const withBias = (j: number) => (b ? [ref(b.ids[0]![j]!)] : []);
  sheet.add({ kind: "plain", step: "out", name: "T", title: "Σ z_h·W_O", titleKey: "hand.block.sum_of_heads", symbol: "o", rows, cols: outs, only: "sum", shape }, (_, j) =>
    sum(...parts.ids.map((ids) => ref(ids[j]!)), ...withBias(j)),
  );
  sheet.add({ kind: "plain", step: "out", name: "O", title: "concat·W_O", symbol: "o", rows, cols: outs, only: "concat", shape }, (_, j) => {
    const whole = concat.ids.flat().map((id, i) => product(ref(id), ref(all.ids[j]![i]!)));
    return sum(...whole, ...withBias(j));
  });
  return sheet;
}

/** The largest |sum of heads - concat · W_O| of a sheet; null where it has not both. */
export function sumOfHeads(sheet: Sheet, values: ReadonlyMap<string, number>): number | null {
  const [t, o] = [sheet.block("T"), sheet.block("O")];
  if (!t || !o) return null;
  return Math.max(...t.ids.flat().map((id, i) => Math.abs(values.get(id)! - values.get(o.ids.flat()[i]!)!)));
}

