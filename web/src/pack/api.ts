/** The numbers from the server that served the page. */
import type { CodeReply, ErrorReply, Manifest, ModelsReply, RunRequest } from "./contract";
import { type Form, type Host, HostError } from "./host";
import { readSafetensors, type Tensor } from "./safetensors";

export class ApiHost implements Host {
  readonly live = true;
  readonly forms: readonly Form[] = ["html", "ttrace", "xlsx", "pharaoh"];
  private packs = new Map<string, Promise<Record<string, Tensor>>>();

  constructor(private base = "/api/v1") {}

  models(): Promise<ModelsReply> {
    return this.json("/models");
  }

  run(request: RunRequest, signal?: AbortSignal): Promise<Manifest> {
    const headers = { "content-type": "application/json" };
    return this.json("/runs", { method: "POST", headers, body: JSON.stringify(request), signal });
  }

  manifest(id: string): Promise<Manifest> {
    return this.json(`/runs/${encodeURIComponent(id)}`);
  }

  tensors(id: string, names: string[], dtype: "f32" | "f16" | "u8" = "f32", pool?: number): Promise<Record<string, Tensor>> {
    const query = new URLSearchParams({ names: names.join(","), dtype });
    if (pool) query.set("pool", String(pool));
    return this.pack(`/runs/${encodeURIComponent(id)}/pack?${query}`);
  }

  weights(model: string, names: string[]): Promise<Record<string, Tensor>> {
    return this.pack(`/models/${encodeURIComponent(model)}/weights?${new URLSearchParams({ names: names.join(",") })}`);
  }

  code(model: string): Promise<CodeReply> {
    return this.json(`/models/${encodeURIComponent(model)}/code`);
  }

  async exported(id: string, form: Form, args: Record<string, string>): Promise<Blob> {
    const reply = await this.fetch(`/export/${encodeURIComponent(id)}?${new URLSearchParams({ form, ...args })}`);
    return reply.blob();
  }

  /** What was asked for once is kept, for tensors of a run never change; the oldest go first. */
  private pack(path: string): Promise<Record<string, Tensor>> {
    let found = this.packs.get(path);
    if (!found) {
      found = this.fetch(path).then(async (reply) => readSafetensors(new Uint8Array(await reply.arrayBuffer())).tensors);
      this.packs.set(path, found);
      found.catch(() => this.packs.delete(path));
      if (this.packs.size > 64) this.packs.delete(this.packs.keys().next().value!);
    }
    return found;
  }

  private async json<T>(path: string, init?: RequestInit): Promise<T> {
    return (await this.fetch(path, init)).json();
  }

  private async fetch(path: string, init?: RequestInit): Promise<Response> {
    let reply: Response;
    try {
      reply = await fetch(this.base + path, init);
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") throw error;
      throw new HostError("unreachable");
    }
    if (reply.ok) return reply;
    const said = (await reply.json().catch(() => null)) as ErrorReply | null;
    throw said?.error?.code ? new HostError(said.error.code, said.error.args, reply.status) : new HostError("status", { status: reply.status }, reply.status);
  }
}
