/** Where the page gets its numbers: a server on this machine, or the file that the page itself is. */
import type { CodeReply, Manifest, ModelsReply, RunRequest } from "./contract";
import type { Tensor } from "./safetensors";

export type Form = "html" | "ttrace" | "xlsx" | "pharaoh";

export interface Host {
  /** Whether new sentences can be run. */
  readonly live: boolean;
  models(): Promise<ModelsReply>;
  run(request: RunRequest, signal?: AbortSignal): Promise<Manifest>;
  /** The run `id`, or the only one there is. */
  manifest(id: string): Promise<Manifest>;
  /** Tensors by name; a name may end in `*`. `pool`: max-pooled to at most that many rows and columns. */
  tensors(id: string, names: string[], dtype?: "f32" | "f16" | "u8", pool?: number): Promise<Record<string, Tensor>>;
  /** Parameters of a model by checkpoint name, float32. */
  weights(model: string, names: string[]): Promise<Record<string, Tensor>>;
  code(model: string): Promise<CodeReply>;
  /** What `form` can be exported to here, and how to get it. */
  forms: readonly Form[];
  exported(id: string, form: Form, args: Record<string, string>): Promise<Blob>;
}

/** What went wrong, as a key of the texts (`error.<code>`) with what it names. */
export class HostError extends Error {
  constructor(
    readonly code: string,
    readonly args: Record<string, string | number> = {},
    readonly status = 0,
  ) {
    super(`${code} ${JSON.stringify(args)}`);
  }
}
