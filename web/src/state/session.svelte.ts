/** The models, the run on screen, and what is being worked on. */
import type { Manifest, ModelsReply, RunRequest } from "../pack/contract";
import { type Host, HostError } from "../pack/host";
import { type Patch, route, setParams } from "./route.svelte";
import { packRequest, unpackRequest } from "./url";

type ModelEntry = ModelsReply["models"][number];

let host = $state.raw<Host | null>(null);
let models = $state.raw<ModelsReply | null>(null);
let manifest = $state.raw<Manifest | null>(null);
let busy = $state<"" | "starting" | "running">("starting");
let error = $state.raw<HostError | null>(null);
let pending: AbortController | null = null;

export const session = {
  /** Where numbers come from. Views exist only once there is one. */
  get host(): Host {
    return host!;
  },
  get models(): ModelsReply | null {
    return models;
  },
  /** The run on screen. */
  get manifest(): Manifest | null {
    return manifest;
  },
  get busy(): "" | "starting" | "running" {
    return busy;
  },
  get error(): HostError | null {
    return error;
  },
  get model(): ModelEntry | null {
    const name = manifest?.model.name ?? models?.models[0]?.info.name;
    return models?.models.find((entry) => entry.info.name === name) ?? models?.models[0] ?? null;
  },
};

function asHostError(raised: unknown): HostError {
  return raised instanceof HostError ? raised : new HostError("page", { what: String(raised) });
}

export function dismissError(): void {
  error = null;
}

/** Says what went wrong before there was anything to show. */
export function fail(raised: HostError): void {
  error = raised;
  busy = "";
}

export function sampleRequest(entry: ModelEntry): RunRequest {
  const { src, to } = entry.sample;
  return { model: entry.info.name, src, ...(to ? { to } : {}), decode: { method: "beam", beam: 4 } };
}

const KEPT = "sightline.requests";

/** Requests of runs seen before, so that a link outlives the server's memory. */
function remember(id: string, request: RunRequest): void {
  try {
    const kept = JSON.parse(localStorage.getItem(KEPT) ?? "[]") as [string, RunRequest][];
    localStorage.setItem(KEPT, JSON.stringify([[id, request], ...kept.filter(([other]) => other !== id)].slice(0, 20)));
  } catch {
    // without storage links live as long as the server
  }
}

function remembered(id: string): RunRequest | null {
  try {
    const kept = JSON.parse(localStorage.getItem(KEPT) ?? "[]") as [string, RunRequest][];
    return kept.find(([other]) => other === id)?.[1] ?? null;
  } catch {
    return null;
  }
}

/** Opens the page: the models, then the run that the address names, or a sample sentence of the first model. */
export async function start(from: Host): Promise<void> {
  host = from;
  busy = "starting";
  error = null;
  try {
    models = await from.models();
    await open(route.params.run ?? "", route.params.req);
  } catch (raised) {
    error = asHostError(raised);
  } finally {
    busy = "";
  }
}

async function open(id: string, packed: string | undefined): Promise<void> {
  const from = session.host;
  if (!from.live) {
    show(await from.manifest(""));
    return;
  }
  if (id) {
    try {
      show(await from.manifest(id));
      return;
    } catch (raised) {
      if (asHostError(raised).status !== 404) throw raised;
    }
  }
  const known = (unpackRequest(packed) as RunRequest | null) ?? (id ? remembered(id) : null);
  if (id && !known) error = new HostError("link_gone");
  const first = models?.models[0];
  if (known) show(await from.run(known));
  else if (first) show(await from.run(sampleRequest(first)));
}

function show(run: Manifest, step?: Patch): void {
  manifest = run;
  if (session.host.live) remember(run.id, run.request);
  setParams({ run: run.id, req: null, ...step }, step !== undefined);
}

/** Follows an address that names another run. */
export async function followRun(): Promise<void> {
  const id = route.params.run;
  if (!id || !manifest || id === manifest.id || busy) return;
  busy = "running";
  try {
    await open(id, route.params.req);
  } catch (raised) {
    error = asHostError(raised);
  } finally {
    busy = "";
  }
}

/**
 * Runs `request` and puts it on screen; a run still going on is given up. True when it came through. With `step`, parameters of the view,
 * the run before it stays in the browser's history, and the back button returns to it.
 */
export async function run(request: RunRequest, step?: Patch): Promise<boolean> {
  pending?.abort();
  const mine = new AbortController();
  pending = mine;
  busy = "running";
  error = null;
  try {
    const done = await session.host.run(request, mine.signal);
    if (pending === mine) show(done, step);
    return pending === mine;
  } catch (raised) {
    if (pending === mine) error = asHostError(raised);
    return false;
  } finally {
    if (pending === mine) {
      pending = null;
      busy = "";
    }
  }
}

/** Gives up the run that is going on. */
export function stop(): void {
  pending?.abort();
  pending = null;
  busy = "";
}

/** The address of what is on screen, with the request in it, so that it opens on another day too. */
export function shareable(): string {
  const [before, query = ""] = location.href.split("#")[1]?.split("?") ?? ["/v1/"];
  const params = new URLSearchParams(query);
  if (manifest && session.host.live) {
    const packed = packRequest(manifest.request);
    if (packed) params.set("req", packed);
  }
  return `${location.href.split("#")[0]}#${before}?${params}`;
}
