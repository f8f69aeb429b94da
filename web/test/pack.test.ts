import { expect, test } from "vitest";
import { f16ToF32 } from "../src/pack/f16";
import { fromBase64, joined, maxPool } from "../src/pack/offline";
import { block, PackError, readSafetensors } from "../src/pack/safetensors";

export function write(tensors: Record<string, { dtype: string; shape: number[]; bytes: Uint8Array }>, metadata: Record<string, string> = {}): Uint8Array {
  let at = 0;
  const header: Record<string, unknown> = { __metadata__: metadata };
  for (const [name, { dtype, shape, bytes }] of Object.entries(tensors)) {
    header[name] = { dtype, shape, data_offsets: [at, at + bytes.length] };
    at += bytes.length;
  }
  const json = new TextEncoder().encode(JSON.stringify(header));
  const file = new Uint8Array(8 + json.length + at);
  new DataView(file.buffer).setBigUint64(0, BigInt(json.length), true);
  file.set(json, 8);
  let offset = 8 + json.length;
  for (const { bytes } of Object.values(tensors)) {
    file.set(bytes, offset);
    offset += bytes.length;
  }
  return file;
}

const bytesOf = (array: ArrayBufferView): Uint8Array => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

test("numbers of every type come back, at odd offsets too", () => {
  const floats = new Float32Array([1.5, -2.25, 1e-7]);
  const file = write(
    {
      odd: { dtype: "U8", shape: [3], bytes: new Uint8Array([0, 51, 255]) },
      floats: { dtype: "F32", shape: [3, 1], bytes: bytesOf(floats) },
      half: { dtype: "F16", shape: [2, 2], bytes: bytesOf(new Uint16Array([0x3c00, 0xc000, 0x3555, 0x0001])) },
      whole: { dtype: "I32", shape: [2], bytes: bytesOf(new Int32Array([7, -9])) },
      long: { dtype: "I64", shape: [1], bytes: bytesOf(new BigInt64Array([42n])) },
      none: { dtype: "F32", shape: [0, 4], bytes: new Uint8Array(0) },
    },
    { manifest: "{}" },
  );
  // The file may itself lie anywhere in its buffer.
  const moved = new Uint8Array(file.length + 3);
  moved.set(file, 3);
  const { metadata, tensors } = readSafetensors(moved.subarray(3));
  expect(metadata).toEqual({ manifest: "{}" });
  expect([...tensors.odd.data]).toEqual([0, Math.fround(0.2), 1]);
  expect(tensors.floats.data).toEqual(floats);
  expect([...tensors.half.data]).toEqual([1, -2, 0.333251953125, 2 ** -24]);
  expect([...tensors.whole.data]).toEqual([7, -9]);
  expect([...tensors.long.data]).toEqual([42]);
  expect(tensors.none.data.length).toBe(0);
});

test("binary16 in full: every number, both zeros, both infinities", () => {
  const all = f16ToF32(Uint16Array.from({ length: 65536 }, (_, i) => i));
  expect(Object.is(all[0x8000], -0)).toBe(true);
  expect(all[0x7bff]).toBe(65504);
  expect(all[0x0400]).toBe(2 ** -14);
  expect(all[0xfc00]).toBe(-Infinity);
  expect(all[0x7c01]).toBeNaN();
  for (let i = 1; i < 0x7c00; i++) expect(all[i]).toBeGreaterThan(all[i - 1]);
});

test("a file that is cut short or lies says what is wrong", () => {
  const good = write({ x: { dtype: "F32", shape: [2], bytes: new Uint8Array(8) } });
  expect(() => readSafetensors(good.subarray(0, 5))).toThrow("too short");
  expect(() => readSafetensors(good.subarray(0, 20))).toThrow("header says");
  expect(() => readSafetensors(good.subarray(0, good.length - 1))).toThrow("x runs past the end");
  expect(() => readSafetensors(write({ x: { dtype: "F32", shape: [3], bytes: new Uint8Array(8) } }))).toThrow("its shape asks for 12");
  expect(() => readSafetensors(write({ x: { dtype: "BF16", shape: [4], bytes: new Uint8Array(8) } }))).toThrow("BF16");
  const garbled = good.slice();
  garbled[8] = 0x22;
  expect(() => readSafetensors(garbled)).toThrow(PackError);
});

test("a block is a view of one head", () => {
  const tensor = { dtype: "F32" as const, shape: [2, 1, 3], data: new Float32Array([1, 2, 3, 4, 5, 6]) };
  expect(block(tensor, 1)).toEqual({ dtype: "F32", shape: [1, 3], data: new Float32Array([4, 5, 6]) });
});

test("pooling keeps the largest, so that a diagonal stays", () => {
  const n = 300;
  const data = new Float32Array(n * n);
  for (let i = 0; i < n; i++) data[i * n + i] = 1;
  const pooled = maxPool({ dtype: "F32", shape: [1, n, n], data }, 128);
  expect(pooled.shape).toEqual([1, 128, 128]);
  for (let i = 0; i < 128; i++) expect(pooled.data[i * 128 + i]).toBe(1);
  expect(Math.min(...pooled.data)).toBe(0);
  const small = { dtype: "F32" as const, shape: [1, 3, 200], data: new Float32Array(600).fill(0.5) };
  expect(maxPool(small, 128).shape).toEqual([1, 3, 128]);
});

test("pooling takes the parts that the server takes: number i of n is in part i * most // n", () => {
  const data = Float32Array.from({ length: 5 }, (_, i) => i);
  expect([...maxPool({ dtype: "F32", shape: [1, 1, 5], data }, 3).data]).toEqual([1, 3, 4]);
  expect([...maxPool({ dtype: "F32", shape: [1, 5, 1], data }, 4).data]).toEqual([1, 2, 3, 4]);
});

test("bytes that lie by their place in a number are put together again", () => {
  expect([...joined(Uint8Array.from([1, 5, 2, 6, 3, 7, 4, 8, 9, 10]))]).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  expect([...joined(Uint8Array.from([1, 2, 3]))]).toEqual([1, 2, 3]);
});

test("base64 comes back byte by byte", () => {
  const bytes = Uint8Array.from({ length: 1000 }, (_, i) => (i * 7) % 256);
  expect(fromBase64(btoa(String.fromCharCode(...bytes)))).toEqual(bytes);
});
