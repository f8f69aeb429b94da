/** The route as state: whoever reads `route.params.l` follows the address, whoever calls `go` writes it. */
import { formatHash, parseHash, type Route } from "./url";

const initial = typeof location === "undefined" ? "" : location.hash;
let current = $state<Route>(parseHash(initial));

export const route = {
  get view(): string {
    return current.view;
  },
  get params(): Record<string, string> {
    return current.params;
  },
};

/** What all views share and a change of view keeps. */
const SHARED = ["run", "req", "lang", "theme"];

export type Patch = Record<string, string | number | null | undefined>;

function patched(params: Record<string, string>, patch: Patch): Record<string, string> {
  const next = { ...params };
  for (const [name, value] of Object.entries(patch)) {
    if (value === null || value === undefined || value === "") delete next[name];
    else next[name] = String(value);
  }
  return next;
}

function write(next: Route, push: boolean): void {
  const hash = formatHash(next);
  if (hash === formatHash(current)) return;
  current = next;
  if (typeof history === "undefined") return;
  if (push) history.pushState(null, "", hash);
  else history.replaceState(null, "", hash);
}

/** To another view: what is the view's own falls away, `patch` comes in. The browser's back button returns. */
export function go(view: string, patch: Patch = {}): void {
  const kept = Object.fromEntries(Object.entries(current.params).filter(([name]) => SHARED.includes(name)));
  write({ view, params: patched(kept, patch) }, true);
}

/** The link to a view, for `href`. */
export function link(view: string, patch: Patch = {}): string {
  const kept = Object.fromEntries(Object.entries(current.params).filter(([name]) => SHARED.includes(name)));
  return formatHash({ view, params: patched(kept, patch) });
}

/** Changes parameters of the view on screen. `null` removes one. `push`: a step that the back button takes back. */
export function setParams(patch: Patch, push = false): void {
  write({ view: current.view, params: patched(current.params, patch) }, push);
}

/** Follows the address bar, back and forward. */
export function followAddress(): () => void {
  const read = (): void => {
    current = parseHash(location.hash);
  };
  addEventListener("popstate", read);
  addEventListener("hashchange", read);
  return () => {
    removeEventListener("popstate", read);
    removeEventListener("hashchange", read);
  };
}
