/** Multi-head attention (Vaswani et al. 2017, section 3.2.2), every step of it kept. */

import { type Matrix, add, at, columns, concat, linear, multiply, multiplyTransposed, zeros } from "./matrix";
import { softmax } from "./softmax";

/** Which keys a query may see. */
export type Allowed = (query: number, key: number) => boolean;

export const everything: Allowed = () => true;
export const causal: Allowed = (query, key) => key <= query;

/** How scores become sharper or flatter: by 1 / sqrt(d_head) and the dot product, or a sharpness per head and the cosine. */
export type Core = { kind: "dot"; scale?: number } | { kind: "cosine"; sharpness: ArrayLike<number> };

export interface AttentionWeights {
  q: Matrix;
  k: Matrix;
  v: Matrix;
  o: Matrix;
  qBias?: Matrix;
  kBias?: Matrix;
  vBias?: Matrix;
  oBias?: Matrix;
}

export interface AttentionOptions {
  heads: number;
  kvHeads?: number;
  core?: Core;
  allowed?: Allowed;
  /** What values are made of, if not of what keys are made of. */
  values?: Matrix;
  /** Turns the rows of a head, each by where it stands. */
  rotate?: (head: Matrix) => Matrix;
}

/** Heads first; keys and values by key-value head, which several query heads may share. */
export interface AttentionSteps {
  q: Matrix[];
  k: Matrix[];
  v: Matrix[];
  scores: Matrix[];
  weights: Matrix[];
  z: Matrix[];
  concat: Matrix;
  out: Matrix;
}

function split(x: Matrix, heads: number): Matrix[] {
  const size = x.cols / heads;
  if (!Number.isInteger(size)) throw new RangeError(`${x.cols} columns cannot be split into ${heads} heads`);
  return Array.from({ length: heads }, (_, h) => columns(x, h * size, (h + 1) * size));
}

function unit(x: Matrix): Matrix {
  const out = { rows: x.rows, cols: x.cols, data: x.data.slice() };
  for (let i = 0; i < x.rows; i++) {
    const row = out.data.subarray(i * x.cols, (i + 1) * x.cols);
    const length = Math.max(Math.sqrt(row.reduce((sum, y) => sum + y * y, 0)), 1e-12);
    row.forEach((y, j) => (row[j] = y / length));
  }
  return out;
}

/** Scores after scaling, before the mask. */
export function scaledScores(q: Matrix, k: Matrix, core: Core, head: number): Matrix {
  const factor = core.kind === "dot" ? (core.scale ?? 1 / Math.sqrt(q.cols)) : core.sharpness[head]!;
  const products = core.kind === "dot" ? multiplyTransposed(q, k) : multiplyTransposed(unit(q), unit(k));
  return { ...products, data: products.data.map((x) => x * factor) };
}

/** Softmax of each row over the keys that it may see. */
export function attentionWeights(scores: Matrix, allowed: Allowed = everything): Matrix {
  const out = zeros(scores.rows, scores.cols);
  for (let i = 0; i < scores.rows; i++) {
    const row = scores.data.subarray(i * scores.cols, (i + 1) * scores.cols);
    out.data.set(softmax(row, Array.from(row, (_, j) => allowed(i, j))), i * scores.cols);
  }
  return out;
}

/** What each head alone adds to the output: z_h times its own rows of W_O. Their sum, and the bias, is the output. */
export function headContributions(z: readonly Matrix[], o: Matrix): Matrix[] {
  let start = 0;
  return z.map((head) => multiplyTransposed(head, columns(o, start, (start += head.cols))));
}

export function attend(queries: Matrix, memory: Matrix, w: AttentionWeights, options: AttentionOptions): AttentionSteps {
  const { heads, kvHeads = heads, core = { kind: "dot" }, allowed = everything, values = memory, rotate = (x: Matrix) => x } = options;
  const q = split(linear(queries, w.q, w.qBias), heads).map(rotate);
  const k = split(linear(memory, w.k, w.kBias), kvHeads).map(rotate);
  const v = split(linear(values, w.v, w.vBias), kvHeads);
  const shared = (h: number) => Math.floor((h * kvHeads) / heads);
  const scores = q.map((head, h) => scaledScores(head, k[shared(h)]!, core, h));
  const weights = scores.map((each) => attentionWeights(each, allowed));
  const z = weights.map((each, h) => multiply(each, v[shared(h)]!));
  const joined = concat(z);
  return { q, k, v, scores, weights, z, concat: joined, out: linear(joined, w.o, w.oBias) };
}

/** The largest |sum of heads - output|: zero up to rounding, whatever the numbers. */
export function sumOfHeadsError(steps: AttentionSteps, w: AttentionWeights): number {
  const sum = headContributions(steps.z, w.o).reduce(add);
  let most = 0;
  for (let i = 0; i < sum.rows; i++)
    for (let j = 0; j < sum.cols; j++)
      most = Math.max(most, Math.abs(at(sum, i, j) + (w.oBias?.data[j] ?? 0) - at(steps.out, i, j)));
  return most;
}
