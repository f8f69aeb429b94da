/** The numbers from the page itself: a run in one file, without any server. */
import type { CodeReply, Manifest, ModelsReply } from "./contract";
import { type Form, type Host, HostError } from "./host";
import { readSafetensors, type Tensor } from "./safetensors";

export const DATA_ID = "sightline-data";

/** The bytes of base64 text: natively where the browser can, in a plain loop where not. */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  const native = (Uint8Array as unknown as { fromBase64?: (text: string) => Uint8Array<ArrayBuffer> }).fromBase64;
  if (native) return native(text);
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
}

/** Groups of four bytes put together again, of which the file holds all first bytes, then all second ones and so on. */
export function joined(bytes: Uint8Array): Uint8Array {
  const groups = bytes.length >> 2;
  const found = bytes.slice();
  for (let i = 0; i < groups * 4; i++) found[i] = bytes[(i & 3) * groups + (i >> 2)];
  return found;
}

async function gunzip(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

export class OfflineHost implements Host {
  readonly live = false;
  readonly forms: readonly Form[] = ["html", "ttrace"];

  private constructor(
    private readonly file: Uint8Array,
    private readonly page: string,
    private readonly theRun: Manifest,
    private readonly theModels: ModelsReply,
    private readonly theCode: CodeReply,
    private readonly all: Record<string, Tensor>,
  ) {}

  /** Opens the data that `text` (gzip in base64) holds; `page` is the page as it was saved, to save it again. */
  static async open(text: string, page: string): Promise<OfflineHost> {
    const bytes = joined(await gunzip(fromBase64(text.trim())));
    const { metadata, tensors } = readSafetensors(bytes);
    const part = <T>(name: string): T => JSON.parse(metadata[name]);
    return new OfflineHost(bytes, page, part("manifest"), part("models"), part("code"), tensors);
  }

  async models(): Promise<ModelsReply> {
    return this.theModels;
  }

  async run(): Promise<Manifest> {
    throw new HostError("offline_run");
  }

  async manifest(id: string): Promise<Manifest> {
    if (id && id !== this.theRun.id) throw new HostError("offline_run");
    return this.theRun;
  }

  async tensors(_id: string, names: string[], _dtype: "f32" | "f16" | "u8" = "f32", pool?: number): Promise<Record<string, Tensor>> {
    const found = this.pick(names);
    if (!pool) return found;
    return Object.fromEntries(Object.entries(found).map(([name, tensor]) => [name, maxPool(tensor, pool)]));
  }

  async weights(_model: string, names: string[]): Promise<Record<string, Tensor>> {
    return this.pick(names);
  }

  async code(): Promise<CodeReply> {
    return this.theCode;
  }

  async exported(_id: string, form: Form): Promise<Blob> {
    if (form === "ttrace") return new Blob([this.file as Uint8Array<ArrayBuffer>], { type: "application/octet-stream" });
    return new Blob([this.page], { type: "text/html" });
  }

  private pick(names: string[]): Record<string, Tensor> {
    const found: Record<string, Tensor> = {};
    for (const name of names) {
      const fits = name.endsWith("*") ? Object.keys(this.all).filter((key) => key.startsWith(name.slice(0, -1))) : [name];
      for (const key of fits) {
        if (!this.all[key]) throw new HostError("not_in_file", { name: key });
        found[key] = this.all[key];
      }
    }
    return found;
  }
}

/** `tensor` [h, q, k] with rows and columns max-pooled to at most `size` each, in the same blocks as the server. */
export function maxPool(tensor: Tensor, size: number): Tensor {
  const [rows, columns] = tensor.shape.slice(-2);
  if (rows <= size && columns <= size) return tensor;
  const [newRows, newColumns] = [Math.min(rows, size), Math.min(columns, size)];
  const outer = tensor.data.length / (rows * columns);
  const data = new Float32Array(outer * newRows * newColumns).fill(-Infinity);
  for (let o = 0; o < outer; o++)
    for (let r = 0; r < rows; r++) {
      const row = (o * newRows + Math.floor((r * newRows) / rows)) * newColumns;
      for (let c = 0; c < columns; c++) {
        const at = row + Math.floor((c * newColumns) / columns);
        data[at] = Math.max(data[at], tensor.data[(o * rows + r) * columns + c]);
      }
    }
  return { dtype: tensor.dtype, shape: [...tensor.shape.slice(0, -2), newRows, newColumns], data };
}
