import { readFileSync, readdirSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { Manifest } from "../src/pack/contract";
import type { Host } from "../src/pack/host";
import { readSafetensors, type Tensor } from "../src/pack/safetensors";
import { arithmetic } from "../src/sheet/display";
import { TOLERANCE, loadHead, realSheet, sumOfHeads, worstCheck } from "../src/sheet/real";
import { SWITCHES, Workbook } from "../src/sheet/workbook";

const FOLDER = new URL("../../tests/golden/traces/", import.meta.url);
const FILES = readdirSync(FOLDER).filter((name) => name.endsWith(".ttrace"));

function open(file: string): { manifest: Manifest; host: Host; all: Record<string, Tensor> } {
  const { metadata, tensors: all } = readSafetensors(new Uint8Array(readFileSync(new URL(file, FOLDER))));
  const pick = async (names: string[]) =>
    Object.fromEntries(Object.entries(all).filter(([key]) => names.some((name) => (name.endsWith("*") ? key.startsWith(name.slice(0, -1)) : key === name))));
  const host = { tensors: (_: string, names: string[]) => pick(names), weights: (_: string, names: string[]) => pick(names) };
  return { manifest: JSON.parse(metadata.manifest), host: host as unknown as Host, all };
}

describe.each(FILES)("a head of %s", (file) => {
  const { manifest, host, all } = open(file);
  const every = manifest.model.stacks.flatMap((stack) => Array.from({ length: stack.layers }, (_, layer) => ({ stack, layer })));

  it("is computed again from what went into its layer, and found the same", async () => {
    for (const { stack, layer } of every) {
      const head = await loadHead(host, manifest, stack.name, layer);
      expect(Object.keys(head.checks)).toEqual(["q", "k", "v", "weights", "z", "out"]);
      expect(worstCheck(head), `${stack.name} ${layer}`).toBeLessThanOrEqual(TOLERANCE);
    }
  });

  it("is a sheet whose weights, z and output are those that were captured", async () => {
    for (const { stack, layer } of every) {
      const real = await loadHead(host, manifest, stack.name, layer);
      const h = stack.heads[layer] - 1;
      const query = real.queries.length - 1;
      const { sheet, values } = new Workbook((switches) => realSheet(real, h, query, switches), SWITCHES).view;
      const row = (block: string) => sheet.block(block)!.ids[0].map((id) => values.get(id)!);
      const captured = (name: string, ...at: number[]) => {
        const { shape, data } = all[`${real.address}.${name}`];
        const size = shape.at(-1)!;
        const start = at.reduce((index, each, i) => index * shape[i] + each, 0) * size;
        return [...data.subarray(start, start + size)];
      };
      const close = (own: number[], theirs: number[]) => theirs.slice(0, own.length).forEach((x, i) => expect(Math.abs(own[i] - x)).toBeLessThan(TOLERANCE));
      close(row("A"), captured("weights", h, query));
      close(row("Z"), captured("z", h, query));
      close(row("O"), captured("out", query));
      expect(sumOfHeads(sheet, values)).toBeLessThan(1e-12);
    }
  });
});

describe("a tampered capture", () => {
  it("is not verified", async () => {
    const { manifest, host, all } = open(FILES[0]);
    all["encoder.0.self_attn.weights"].data[0] += 0.01;
    const head = await loadHead(host, manifest, "encoder.self_attn", 0);
    expect(worstCheck(head)).toBeGreaterThan(TOLERANCE);
  });

  it("that does not say its family is of a Transformer", async () => {
    const { manifest, host } = open(FILES.find((name) => name.includes("pre-"))!);
    const { family, cell, d_state, bidirectional, bridge, attend, input_feeding, kernel_size, ...before } = manifest.model;
    const head = await loadHead(host, { ...manifest, model: before }, "decoder.cross_attn", 0);
    expect([family, cell, worstCheck(head)! <= TOLERANCE]).toEqual(["encoder-decoder", null, true]);
  });

  it("without weights it says that nothing could be checked", async () => {
    const { manifest, host } = open(FILES.find((name) => name.includes("sinusoidal-relu"))!);
    const bare = { ...host, weights: () => Promise.reject(new Error("gone")) } as Host;
    const head = await loadHead(bare, manifest, "encoder.self_attn", 0);
    expect(head.projections).toBeNull();
    expect(worstCheck(head)).toBeNull();
    expect(realSheet(head, 0, 0, SWITCHES).block("O")).toBeUndefined();
  });
});

it("long sums are folded, and the fold says what is in it", async () => {
  const { manifest, host } = open(FILES.find((name) => name.includes("gelu"))!);
  const real = await loadHead(host, manifest, "encoder.self_attn", 0);
  const book = new Workbook((switches) => realSheet(real, 0, 0, switches), SWITCHES);
  const { sheet, values } = book.view;
  const lines = arithmetic(sheet, values, "S[1,1]", { digits: 4, limit: 3, more: (n, total) => `${n} more: ${total.toFixed(4)}` });
  expect(lines.some((line) => /\d more: -?\d+\.\d{4}$/.test(line.text))).toBe(true);
  book.write([["q[1,1]", 9]]);
  expect(book.view.values.get("A[1,1]")).not.toBe(values.get("A[1,1]"));
  book.reset();
  expect(book.view.values).toEqual(values);
});
