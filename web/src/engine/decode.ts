/** Greedy and beam search as the product searches (decoding/greedy.py, decoding/beam.py). */

import { logSoftmax } from "./softmax";

export interface Settings {
  beam: number;
  length_norm: "none" | "average" | "wu";
  length_penalty: number;
  max_len_ratio?: number;
  max_len_extra?: number;
  min_len?: number;
  n_best?: number;
}

export interface Specials {
  pad: number;
  bos: number;
  eos: number;
}

export interface Hypothesis {
  tokens: number[];
  score: number;
  logProb: number;
  tokenLogProbs: number[];
  finished: boolean;
}

/** Logits of the token after a target prefix that begins with the start symbol. */
export type Next = (prefix: readonly number[]) => ArrayLike<number>;

/** What the log-probability of `length` tokens, the end counted, is divided by (Wu et al. 2016, section 7). */
export function lengthNorm(length: number, settings: Pick<Settings, "length_norm" | "length_penalty">): number {
  if (settings.length_norm === "none") return 1;
  const base = settings.length_norm === "average" ? length : (5 + length) / 6;
  return base ** settings.length_penalty;
}

/** The most tokens of a translation, its end counted. */
export function stepLimit(source: readonly number[], specials: Specials, settings: Settings, maxLen = Infinity): number {
  const words = source.filter((id) => id !== specials.pad && id !== specials.bos && id !== specials.eos).length;
  const { max_len_ratio = 2, max_len_extra = 20, min_len = 0 } = settings;
  return Math.min(Math.max(Math.trunc(max_len_ratio * words) + max_len_extra, min_len + 1), maxLen);
}

function hypothesis(tokens: number[], tokenLogProbs: number[], finished: boolean, settings: Settings): Hypothesis {
  const logProb = tokenLogProbs.reduce((sum, x) => sum + x, 0);
  const score = logProb / lengthNorm(Math.max(1, tokenLogProbs.length), settings);
  return { tokens, score, logProb, tokenLogProbs, finished };
}

function logProbs(next: Next, tokens: readonly number[], specials: Specials, settings: Settings): Float64Array {
  const found = logSoftmax(next([specials.bos, ...tokens]));
  found[specials.pad] = found[specials.bos] = -Infinity;
  if (tokens.length < (settings.min_len ?? 0)) found[specials.eos] = -Infinity;
  return found;
}

/** The most probable token each time; of equals the one with the lower number. */
export function greedy(next: Next, specials: Specials, limit: number, settings: Settings): Hypothesis {
  const tokens: number[] = [];
  const each: number[] = [];
  while (tokens.length < limit) {
    const found = logProbs(next, tokens, specials, settings);
    const best = found.indexOf(Math.max(...found));
    each.push(found[best]!);
    if (best === specials.eos) return hypothesis(tokens, each, true, settings);
    tokens.push(best);
  }
  return hypothesis(tokens, each, false, settings);
}

/** The best translations, best first. It ends when no unfinished one can still come among the `n_best`, or at the limit. */
export function beamSearch(next: Next, specials: Specials, limit: number, settings: Settings): Hypothesis[] {
  const { beam, n_best = 1 } = settings;
  const finished: Hypothesis[] = [];
  let live = [{ tokens: [] as number[], each: [] as number[], sum: 0 }];
  for (let length = 1; ; length++) {
    const candidates = live
      .flatMap((parent, rank) =>
        Array.from(logProbs(next, parent.tokens, specials, settings), (own, token) => ({
          parent,
          rank,
          token,
          own,
          sum: parent.sum + own,
        })),
      )
      .filter((each) => each.sum > -Infinity)
      .sort((a, b) => b.sum - a.sum || a.rank - b.rank || a.token - b.token)
      .slice(0, 2 * beam);
    for (const { parent, token, own } of candidates.slice(0, beam)) {
      if (token !== specials.eos) continue;
      const found = hypothesis(parent.tokens, [...parent.each, own], true, settings);
      finished.splice(finished.filter((other) => other.score >= found.score).length, 0, found);
      finished.splice(beam);
    }
    live = candidates
      .filter((each) => each.token !== specials.eos)
      .slice(0, beam)
      .map(({ parent, token, own, sum }) => ({ tokens: [...parent.tokens, token], each: [...parent.each, own], sum }));
    if (length === limit || live.length === 0) {
      const left = live.map(({ tokens, each }) => hypothesis(tokens, each, false, settings));
      return (finished.length ? finished : left).slice(0, n_best);
    }
    if (beam === 1 ? finished.length >= 1 : finished.length >= n_best) {
      const divisor = Math.max(lengthNorm(length + 1, settings), lengthNorm(limit, settings));
      if (beam === 1 || live[0]!.sum / divisor <= finished[n_best - 1]!.score) return finished.slice(0, n_best);
    }
  }
}
