/** The address of what is on screen: `#/v1/<view>?run=…&stack=…&l=…`. Links made today must open in later versions, so it has one. */

export interface Route {
  view: string;
  params: Record<string, string>;
}

const START = "#/v1/";
const MAX = 8192;

/** The route of `hash`; an address that is none gives the empty view, which the shell takes as the first. */
export function parseHash(hash: string): Route {
  if (!hash.startsWith(START) || hash.length > MAX) return { view: "", params: {} };
  const [view, query = ""] = hash.slice(START.length).split("?", 2);
  return { view, params: Object.fromEntries(new URLSearchParams(query)) };
}

/** The address of `route`, parameters without a value left out. Commas, dots and the like stay readable. */
export function formatHash({ view, params }: Route): string {
  const entries = Object.entries(params).filter(([, value]) => value !== "");
  const query = new URLSearchParams(entries).toString().replaceAll("%2C", ",").replaceAll("%3A", ":");
  return START + view + (query ? `?${query}` : "");
}

/** Whole numbers of "1,3,4", those from 0 below `limit`, each once, in order. */
export function numbers(text: string | undefined, limit: number): number[] {
  const found = (text ?? "").split(",").filter((part) => /^\d+$/.test(part)).map(Number);
  return [...new Set(found)].filter((n) => n < limit).sort((a, b) => a - b);
}

/** The whole number of `text` if it lies from 0 below `limit`, else `otherwise`. */
export function number(text: string | undefined, limit: number, otherwise: number): number {
  const value = Number(text);
  return text !== undefined && /^\d+$/.test(text) && value < limit ? value : otherwise;
}

const MAX_REQUEST = 1536;

/** A request in a link, base64url; empty where it would make the link too long. */
export function packRequest(request: unknown): string {
  const bytes = new TextEncoder().encode(JSON.stringify(request));
  const text = btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
  return text.length <= MAX_REQUEST ? text : "";
}

export function unpackRequest(text: string | undefined): unknown {
  if (!text || text.length > MAX_REQUEST) return null;
  try {
    const raw = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(raw, (c) => c.charCodeAt(0))));
  } catch {
    return null;
  }
}
