/** Reading of safetensors files: 8 bytes length, a JSON header, raw little-endian numbers. */
import { f16ToF32 } from "./f16";

export interface Tensor {
  dtype: "F32" | "F16" | "U8" | "I32" | "I64";
  shape: number[];
  /** The numbers, row-major. Bytes are weights scaled by 255 and come back as 0 to 1. */
  data: Float32Array | Int32Array;
}

export interface SafetensorsFile {
  metadata: Record<string, string>;
  tensors: Record<string, Tensor>;
}

/** A file that cannot be read; the message says what is wrong with it. */
export class PackError extends Error {}

interface Entry {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

const MAX_HEADER = 16 * 1024 * 1024;
const BYTES: Record<string, number> = { F32: 4, F16: 2, U8: 1, I32: 4, I64: 8 };

/** The tensors of `bytes`. Throws `PackError` for what is cut short, overlaps its end, or has an unknown type. */
export function readSafetensors(bytes: Uint8Array): SafetensorsFile {
  if (bytes.byteLength < 8) throw new PackError(`a file of ${bytes.byteLength} bytes is too short for a header`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = Number(view.getBigUint64(0, true));
  if (length > MAX_HEADER || 8 + length > bytes.byteLength)
    throw new PackError(`the header says ${length} bytes, the file has ${bytes.byteLength - 8}`);
  let header: Record<string, Entry>;
  let metadata: Record<string, string>;
  try {
    const { __metadata__, ...entries } = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(8, 8 + length)));
    header = entries;
    metadata = __metadata__ ?? {};
  } catch {
    throw new PackError("the header is not JSON");
  }
  const tensors: Record<string, Tensor> = {};
  const start = 8 + length;
  for (const [name, entry] of Object.entries(header)) {
    const { dtype, shape, data_offsets: [from, to] } = entry;
    const size = BYTES[dtype];
    if (size === undefined) throw new PackError(`${name} has the type ${dtype}, which this page does not read`);
    const count = shape.reduce((product, n) => product * n, 1);
    if (to - from !== count * size) throw new PackError(`${name} has ${to - from} bytes where its shape asks for ${count * size}`);
    if (from < 0 || start + to > bytes.byteLength) throw new PackError(`${name} runs past the end of the file`);
    tensors[name] = { dtype: dtype as Tensor["dtype"], shape, data: decode(dtype, bytes.slice(start + from, start + to)) };
  }
  return { metadata, tensors };
}

function decode(dtype: string, raw: Uint8Array): Float32Array | Int32Array {
  switch (dtype) {
    case "F32":
      return new Float32Array(raw.buffer);
    case "F16":
      return f16ToF32(new Uint16Array(raw.buffer));
    case "I32":
      return new Int32Array(raw.buffer);
    case "I64":
      return Int32Array.from(new BigInt64Array(raw.buffer), Number);
    default: {
      const out = new Float32Array(raw.length);
      for (let i = 0; i < raw.length; i++) out[i] = raw[i] / 255;
      return out;
    }
  }
}

/** The block `index` of the first axis, as a view on the same numbers: head `h` of `[h, q, k]`, say. */
export function block(tensor: Tensor, index: number): Tensor {
  const shape = tensor.shape.slice(1);
  const size = shape.reduce((product, n) => product * n, 1);
  return { dtype: tensor.dtype, shape, data: tensor.data.subarray(index * size, (index + 1) * size) };
}
