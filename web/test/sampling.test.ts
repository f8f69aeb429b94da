import { expect, test } from "vitest";
import { drawn, left, OWN, sorted, uniform } from "../src/views/decoding/sampling";

const P = [0.1, 0.5, 0.05, 0.3, 0.05];
const scores = sorted(P.map((p) => Math.log(p) + 3)); // logits: any constant may be added

test("tokens stand in the order of their scores, of equals the lower number first", () => {
  expect(scores.ids).toEqual([1, 3, 0, 2, 4]);
  expect(sorted([1, 2, 2], [9, 8, 7]).ids).toEqual([7, 8, 9]);
});

test("with nothing set the model's own probabilities are left", () => {
  left(scores, OWN).forEach((p, i) => expect(p).toBeCloseTo(P[scores.ids[i]], 12));
});

test.each([0.5, 1, 2])("a temperature of %f is a power of the probabilities", (temperature) => {
  const powers = P.map((p) => p ** (1 / temperature));
  const total = powers.reduce((sum, p) => sum + p);
  left(scores, { ...OWN, temperature }).forEach((p, i) => expect(p).toBeCloseTo(powers[scores.ids[i]] / total, 12));
});

test("top-k keeps k, and top-p as few as reach p of what top-k left", () => {
  expect(left(scores, { ...OWN, k: 2 })).toEqual([expect.closeTo(0.625, 12), expect.closeTo(0.375, 12)]);
  expect(left(scores, { ...OWN, p: 0.49 })).toEqual([1]);
  expect(left(scores, { ...OWN, p: 0.79 })).toHaveLength(2);
  expect(left(scores, { ...OWN, p: 0.81 })).toHaveLength(3);
  // Of 0.625 and 0.375 the first alone reaches 0.6; of all five it would not.
  expect(left(scores, { temperature: 1, k: 2, p: 0.6 })).toEqual([1]);
  for (const p of left(scores, { temperature: 0.05, k: 0, p: 1 })) expect(p).toBeGreaterThanOrEqual(0);
});

test("a draw falls into the part of one token, and the same seed draws the same", () => {
  const p = [0.5, 0.3, 0.2];
  expect(drawn(p, 0)).toEqual({ at: 0, from: 0, to: 0.5 });
  expect(drawn(p, 0.5)).toEqual({ at: 1, from: 0.5, to: 0.8 });
  expect(drawn(p, 0.9999999)).toEqual({ at: 2, from: 0.8, to: 1 });
  expect(uniform(7)).toBe(uniform(7));
  const counts = [0, 0, 0];
  for (let seed = 1; seed <= 20_000; seed++) counts[drawn(p, uniform(seed)).at]++;
  counts.forEach((count, i) => expect(count / 20_000).toBeCloseTo(p[i], 1.5));
});
