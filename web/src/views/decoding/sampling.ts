/** What a draw would be made from, as decoding/sampling.py has it: temperature first, then top-k, then top-p of what is left. */

export interface Sampling {
  temperature: number;
  /** 0: all. */
  k: number;
  p: number;
}

export const OWN: Sampling = { temperature: 1, k: 0, p: 1 };
/** What the sliders offer; any other number of an address is taken too. */
export const TOP_K = [1, 2, 3, 5, 10, 20, 50, 100, 0];

/** Tokens, the most probable first; of equals the lower number. */
export interface Sorted {
  ids: number[];
  scores: number[];
}

export function sorted(scores: ArrayLike<number>, ids?: ArrayLike<number>): Sorted {
  const order = Array.from(scores, (_, i) => i).sort((a, b) => scores[b] - scores[a] || (ids ? ids[a] - ids[b] : a - b));
  return { ids: order.map((i) => (ids ? ids[i] : i)), scores: order.map((i) => scores[i]) };
}

/** The probabilities of the first tokens, as many as are left; they add up to 1. */
export function left({ scores }: Sorted, { temperature, k, p }: Sampling): number[] {
  const weights = scores.map((score) => Math.exp((score - scores[0]) / temperature));
  const kept = k ? weights.slice(0, k) : weights;
  let total = 0;
  for (const weight of kept) total += weight;
  let [count, before] = [0, 0];
  while (count < kept.length && (p === 1 || before < p * total)) before += kept[count++];
  return kept.slice(0, count).map((weight) => weight / before);
}

/** A number from 0 to below 1 that is always the same for a seed (mulberry32, Tommy Ettinger, 2017). */
export function uniform(seed: number): number {
  let x = (seed + 0x6d2b79f5) | 0;
  x = Math.imul(x ^ (x >>> 15), x | 1);
  x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
  return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
}

/** Where the running sum of probabilities passes `u`: the place, and from where to where it reaches. */
export function drawn(p: readonly number[], u: number): { at: number; from: number; to: number } {
  let from = 0;
  for (let at = 0; at < p.length - 1; at++) {
    if (from + p[at] > u) return { at, from, to: from + p[at] };
    from += p[at];
  }
  return { at: p.length - 1, from, to: 1 };
}
