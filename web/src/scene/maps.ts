/** Attention maps as they are shown: per head, for tokens or words, with or without special tokens. */
import type { Tensor } from "../pack/safetensors";
import type { Unit } from "./units";

export interface HeadMap {
  /** Index of the head in its layer; -1 for the mean of several. */
  head: number;
  rows: number;
  columns: number;
  /** Row-major: how much query `r` looks at key `c`. */
  data: Float32Array;
  /** Of each row: the sum as the model gave it, before anything was hidden. */
  sums: Float32Array;
  /** Of each row: what went to keys that are hidden. */
  hidden: Float32Array;
}

/**
 * Joins tokens to units. The weight on a word is the sum over its tokens; a word looks as its tokens do on average, so that rows still sum
 * to one. Where keys are hidden, what is left of each row is scaled to sum to one again.
 */
export function headMap(head: number, weights: Float32Array | Int32Array, keys: number, q: readonly Unit[], k: readonly Unit[], hiding: boolean): HeadMap {
  const data = new Float32Array(q.length * k.length);
  const sums = new Float32Array(q.length);
  const hidden = new Float32Array(q.length);
  q.forEach(({ tokens }, r) => {
    let whole = 0;
    let left = 0;
    for (const token of tokens) for (let c = 0; c < keys; c++) whole += weights[token * keys + c];
    for (let c = 0; c < k.length; c++) {
      const of = k[c].tokens;
      let sum = 0;
      for (let i = 0; i < tokens.length; i++) for (let j = 0; j < of.length; j++) sum += weights[tokens[i] * keys + of[j]];
      data[r * k.length + c] = sum / tokens.length;
      left += sum / tokens.length;
    }
    whole /= tokens.length;
    sums[r] = whole;
    hidden[r] = Math.max(0, whole - left);
    if (hiding && left > 0) for (let c = 0; c < k.length; c++) data[r * k.length + c] *= whole / left;
  });
  return { head, rows: q.length, columns: k.length, data, sums, hidden };
}

/** The mean of `maps`, cell by cell. */
export function meanMap(maps: readonly HeadMap[]): HeadMap {
  const { rows, columns } = maps[0];
  const mean = (part: (map: HeadMap) => Float32Array): Float32Array => {
    const out = new Float32Array(part(maps[0]).length);
    for (const map of maps) part(map).forEach((value, i) => (out[i] += value / maps.length));
    return out;
  };
  return { head: -1, rows, columns, data: mean((map) => map.data), sums: mean((map) => map.sums), hidden: mean((map) => map.hidden) };
}

/** One number of such a map, without the others. */
export function pairWeight(weights: Float32Array | Int32Array, keys: number, query: Unit, key: Unit, k: readonly Unit[], hiding: boolean): number {
  const one = headMap(0, weights, keys, [query], k, hiding);
  return one.data[k.indexOf(key)];
}

/** Whether nothing of query `r` may look at key `c`: true for keys that come later under a causal mask. */
export function masked(causal: boolean, query: Unit, key: Unit): boolean {
  return causal && query.tokens[query.tokens.length - 1] < key.tokens[0];
}

/**
 * Lengths of what each key adds to a head's output: the weight times the length of v·W_O (Kobayashi et al., 2020), as shares of their row.
 *
 * `weights` [h, q, k], `v` [kv, k, d], `out` [d_model, h·d] as the output projection has it. The result has the shape of `weights`.
 */
export function contributions(weights: Tensor, v: Tensor, out: Tensor): Tensor {
  const [heads, queries, keys] = weights.shape;
  const [kvHeads, , d] = v.shape;
  const width = out.shape[0];
  const data = new Float32Array(weights.data.length);
  const length = new Float64Array(keys);
  for (let h = 0; h < heads; h++) {
    const kv = Math.floor((h * kvHeads) / heads);
    length.fill(0);
    for (let m = 0; m < width; m++) {
      const row = m * heads * d + h * d;
      for (let j = 0; j < keys; j++) {
        const at = (kv * keys + j) * d;
        let sum = 0;
        for (let i = 0; i < d; i++) sum += v.data[at + i] * out.data[row + i];
        length[j] += sum * sum;
      }
    }
    for (let r = 0; r < queries; r++) {
      const row = (h * queries + r) * keys;
      let whole = 0;
      for (let j = 0; j < keys; j++) whole += data[row + j] = weights.data[row + j] * Math.sqrt(length[j]);
      if (whole > 0) for (let j = 0; j < keys; j++) data[row + j] /= whole;
    }
  }
  return { dtype: "F32", shape: weights.shape, data };
}

/** The smallest weight that is drawn so that at most `budget` curves are, and how many there are at or above it. */
export function threshold(maps: readonly HeadMap[], budget: number, least: number): { weight: number; drawn: number; all: number } {
  const BINS = 4096;
  const bins = new Uint32Array(BINS + 1);
  let all = 0;
  for (const map of maps)
    for (const value of map.data) {
      if (value <= 0) continue;
      all++;
      bins[Math.min(BINS, Math.floor(value * BINS))]++;
    }
  let drawn = 0;
  let bin = BINS;
  const floor = Math.max(0, Math.ceil(least * BINS));
  while (bin >= floor && drawn + bins[bin] <= budget) drawn += bins[bin--];
  return { weight: (bin + 1) / BINS, drawn, all };
}
