/** Softmax over the numbers that are allowed. */

/** exp(x - max) / sum, so that no number overflows; what is not allowed gets 0, and all of it if nothing is. */
export function softmax(scores: ArrayLike<number>, allowed?: ArrayLike<boolean>): Float64Array {
  const out = new Float64Array(scores.length);
  let max = -Infinity;
  for (let j = 0; j < out.length; j++) if (allowed?.[j] ?? true) max = Math.max(max, scores[j]!);
  if (max === -Infinity) return out;
  let total = 0;
  for (let j = 0; j < out.length; j++)
    if (allowed?.[j] ?? true) total += out[j] = max === Infinity ? Number(scores[j] === max) : Math.exp(scores[j]! - max);
  for (let j = 0; j < out.length; j++) out[j]! /= total;
  return out;
}

export function logSoftmax(logits: ArrayLike<number>): Float64Array {
  let max = -Infinity;
  for (let j = 0; j < logits.length; j++) max = Math.max(max, logits[j]!);
  let total = 0;
  for (let j = 0; j < logits.length; j++) total += Math.exp(logits[j]! - max);
  const log = max + Math.log(total);
  return Float64Array.from(logits, (x) => x - log);
}
