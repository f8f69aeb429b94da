import { readFileSync, readdirSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { attend, causal, headContributions, sumOfHeadsError } from "../src/engine/attention";
import { type Hypothesis, type Settings, beamSearch, greedy, lengthNorm, stepLimit } from "../src/engine/decode";
import { add, fromRows, matrix, maxDifference, multiply, multiplyTransposed, toRows, transpose } from "../src/engine/matrix";
import { logSoftmax, softmax } from "../src/engine/softmax";
import { type Config, type Trace, Transformer, erf } from "../src/engine/transformer";
import type { Decode, Manifest } from "../src/pack/contract";
import { readSafetensors } from "../src/pack/safetensors";

const FOLDER = new URL("../../tests/golden/traces/", import.meta.url);
/** Of Transformers: the engine computes no others. */
const FILES = readdirSync(FOLDER).filter((name) => name.endsWith(".ttrace") && !name.startsWith("recurrent"));
const SPECIALS = { pad: 0, bos: 1, eos: 2 };

function read(file: string) {
  const { metadata, tensors } = readSafetensors(new Uint8Array(readFileSync(new URL(file, FOLDER))));
  const manifest = JSON.parse(metadata.manifest!) as Manifest;
  const greedyDecode = JSON.parse(metadata.greedy!) as Decode;
  const [stack] = manifest.model.stacks;
  const { model } = manifest;
  const config: Config = {
    d_model: model.d_model,
    encoder_layers: model.encoder_layers,
    decoder_layers: model.decoder_layers,
    heads: stack!.heads[0]!,
    kv_heads: stack!.kv_heads[0]!,
    norm_at: model.norm_at!,
    norm: model.norm!,
    eps: model.eps!,
    activation: model.activation!,
    position: model.position!,
    core: model.core.kind,
  };
  const transformer = new Transformer(config, (name) => {
    const found = tensors[name];
    return found && matrix(found.shape.length > 1 ? found.shape[0]! : 1, found.shape.at(-1)!, found.data);
  });
  const src = manifest.src.tokens.map((token) => token.id);
  const tgt = manifest.tgt.tokens.map((token) => token.id);
  return { manifest, tensors, transformer, src, tgt, greedyDecode };
}

describe.each(FILES)("golden capture %s", (file) => {
  const { manifest, tensors, transformer, src, tgt, greedyDecode } = read(file);
  const trace: Trace = new Map();
  const memory = transformer.encode(src, trace);
  transformer.decode(tgt, memory, trace);

  it("every intermediate is that of the model, to 1e-5", () => {
    const captured = Object.keys(tensors).filter((name) => !/(weight|bias|log_sharpness)$|^logits\.topk/.test(name));
    expect(captured.length).toBeGreaterThan(30);
    for (const name of captured) {
      const own = trace.get(name);
      expect(own, name).toBeDefined();
      expect(maxDifference(own!.flatMap((each) => [...each.data]), tensors[name]!.data), name).toBeLessThanOrEqual(1e-5);
    }
  });

  const next = (prefix: readonly number[]) => {
    const logits = transformer.decode(prefix, memory);
    return logits.data.subarray((logits.rows - 1) * logits.cols);
  };
  const settings = (decode: Decode): Settings => ({
    beam: decode.beam,
    length_norm: decode.length_norm as Settings["length_norm"],
    length_penalty: decode.length_penalty,
    n_best: 1,
  });
  const agree = (own: Hypothesis, decode: Decode) => {
    const theirs = decode.finished[decode.chosen]!;
    expect(own.tokens).toEqual(theirs.tokens.filter((id) => id !== SPECIALS.eos));
    expect(own.logProb).toBeCloseTo(theirs.lp, 4);
    expect(own.score).toBeCloseTo(theirs.score, 4);
  };

  it("greedy search finds the same tokens", () => {
    agree(greedy(next, SPECIALS, greedyDecode.max_len, settings(greedyDecode)), greedyDecode);
  });

  it("beam search finds the same tokens", () => {
    const { decode } = manifest;
    agree(beamSearch(next, SPECIALS, decode.max_len, settings(decode))[0]!, decode);
  });
});

it("there are captures to be held to", () => expect(FILES.length).toBeGreaterThanOrEqual(6));

describe("softmax", () => {
  it("survives numbers of ten thousand and minus infinity, and gives nothing where nothing is allowed", () => {
    expect([...softmax([1e4, -1e4, 1e4])]).toEqual([0.5, 0, 0.5]);
    expect([...softmax([-Infinity, 0])]).toEqual([0, 1]);
    expect([...softmax([3, 4], [false, false])]).toEqual([0, 0]);
    expect([...softmax([9, 4, 4], [false, true, true])]).toEqual([0, 0.5, 0.5]);
    expect([...logSoftmax([1e4, 1e4])].map((x) => x + Math.log(2)).every((x) => Math.abs(x) < 1e-12)).toBe(true);
  });
});

describe("matrix", () => {
  const a = fromRows([
    [1, 2],
    [3, 4],
    [5, 6],
  ]);
  it("multiplies, transposes and refuses what does not fit", () => {
    expect(toRows(multiply(a, transpose(a)))).toEqual(toRows(multiplyTransposed(a, a)));
    expect(toRows(multiply(a, fromRows([[1], [10]])))).toEqual([[21], [43], [65]]);
    expect(() => multiply(a, a)).toThrow(RangeError);
    expect(() => add(a, transpose(a))).toThrow(RangeError);
    expect(() => matrix(2, 2, [1])).toThrow("1 values are no 2 x 2 matrix");
    expect(maxDifference([1, NaN], [1, 2])).toBe(Infinity);
    expect(maxDifference([1], [1, 2])).toBe(Infinity);
  });
});

describe("attention", () => {
  const x = fromRows([
    [1, 0, 2, 1],
    [0, 1, 1, -1],
    [2, 1, 0, 1],
  ]);
  const square = (seed: number) => matrix(4, 4, Array.from({ length: 16 }, (_, i) => ((i * seed) % 5) - 2));
  const w = { q: square(3), k: square(7), v: square(2), o: square(11), oBias: matrix(1, 4, [1, 2, 3, 4]) };
  it.each([1, 2, 4])("of %i heads: rows add up to 1, the future has none of it, the heads add up to the output", (heads) => {
    const steps = attend(x, x, w, { heads, allowed: causal });
    for (const each of steps.weights)
      toRows(each).forEach((row, i) => {
        expect(row.reduce((sum, y) => sum + y, 0)).toBeCloseTo(1, 12);
        row.slice(i + 1).forEach((y) => expect(y).toBe(0));
      });
    expect(headContributions(steps.z, w.o)).toHaveLength(heads);
    expect(sumOfHeadsError(steps, w)).toBeLessThan(1e-12);
  });
  it("refuses heads that do not divide the width", () => expect(() => attend(x, x, w, { heads: 3 })).toThrow(RangeError));
});

describe("searching", () => {
  const settings = { beam: 2, length_norm: "wu", length_penalty: 0.6 } as const;
  it("length norms are those of the product", () => {
    expect(lengthNorm(7, settings)).toBeCloseTo(2 ** 0.6, 12);
    expect(lengthNorm(4, { length_norm: "average", length_penalty: 1 })).toBe(4);
    expect(lengthNorm(9, { length_norm: "none", length_penalty: 1 })).toBe(1);
    expect(stepLimit([5, 6, 7, 2], SPECIALS, settings)).toBe(26);
    expect(stepLimit([5, 6, 7, 2], SPECIALS, settings, 10)).toBe(10);
  });
  it("the beam finds what the greedy search misses", () => {
    const table: Record<string, number[]> = { "1": [0, 0, 0, 0.6, 0.4], "1,3": [0, 0, 0.4, 0.3, 0.3], "1,4": [0, 0, 0.99, 0.005, 0.005] };
    const next = (prefix: readonly number[]) => (table[prefix.join()] ?? [0, 0, 1, 0, 0]).map((p) => Math.log(Math.max(p, 1e-9)));
    const none = { ...settings, length_norm: "none" as const };
    expect(greedy(next, SPECIALS, 5, none).tokens).toEqual([3]);
    expect(beamSearch(next, SPECIALS, 5, none)[0]!.tokens).toEqual([4]);
  });
  it("at its limit the unfinished one is given", () => {
    const never = () => [0, 0, -1e9, 1, 0];
    const found = greedy(never, SPECIALS, 3, settings);
    expect(found).toMatchObject({ tokens: [3, 3, 3], finished: false });
    expect(beamSearch(never, SPECIALS, 3, settings)[0]).toMatchObject({ tokens: [3, 3, 3], finished: false });
  });
});

it("erf is that of the tables", () => {
  for (const [x, y] of [
    [0.5, 0.5204998778130465],
    [2.9, 0.999958902121901],
    [3.1, 0.9999883513426328],
    [-1, -0.8427007929497149],
    [7, 1],
  ] as const)
    expect(erf(x)).toBeCloseTo(y, 12);
});
