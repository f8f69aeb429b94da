/** Keyboard shortcuts: each is registered with the text that the help shows. Off while typing, and off altogether if the reader says so. */
import { untrack } from "svelte";
import type { Key } from "../i18n/index.svelte";

export interface Shortcut {
  /** As `describe(event)` writes it: "ArrowDown", "Shift+3", "m", "?". Several do the same thing. */
  keys: string[];
  /** How the help shows it; the keys themselves where this is absent. */
  shown?: string;
  text: Key;
  act: (key: string) => void;
}

let layers = $state.raw<readonly (readonly Shortcut[])[]>([]);
let enabled = $state(true);
const STORED = "sightline.keys";

export const shortcuts = {
  get all(): readonly Shortcut[] {
    return layers.flat();
  },
  get enabled(): boolean {
    return enabled;
  },
  set enabled(value: boolean) {
    enabled = value;
    try {
      localStorage.setItem(STORED, value ? "on" : "off");
    } catch {
      // without storage the choice holds for this page
    }
  },
};

export function startKeys(): void {
  try {
    enabled = localStorage.getItem(STORED) !== "off";
  } catch {
    enabled = true;
  }
}

/** Adds shortcuts until the returned function is called: `$effect(() => registerKeys([...]))` in a view. */
export function registerKeys(added: readonly Shortcut[]): () => void {
  // Untracked: an effect that adds shortcuts does not follow those of others.
  untrack(() => (layers = [...layers, added]));
  return () => untrack(() => (layers = layers.filter((layer) => layer !== added)));
}

/** "Shift+3", "Alt+1", "ArrowDown", "m". Digits and letters by their place on the keyboard, so that Shift and Alt do not change them. */
export function describe(event: KeyboardEvent): string {
  const place = /^(?:Digit|Numpad)(\d)$/.exec(event.code)?.[1] ?? /^Key([A-Z])$/.exec(event.code)?.[1].toLowerCase();
  const punctuation = event.key.length === 1 && !/[a-z0-9]/i.test(event.key) && !event.altKey;
  if (punctuation && !(place && event.shiftKey && /\d/.test(place))) return event.key;
  return (event.altKey ? "Alt+" : "") + (event.shiftKey ? "Shift+" : "") + (place ?? event.key);
}

/** Whether keys belong to what has the focus: a field, an open dialog, or a widget that says so. */
function typing(target: EventTarget | null): boolean {
  if (!(target instanceof Element)) return false;
  if (document.querySelector("dialog[open]")) return true;
  return target.closest("input:not([type=checkbox], [type=radio]), textarea, [contenteditable=true], [data-own-keys]") !== null;
}

/** Whether a list of choices takes the key itself: to move, to open, or to find a choice that begins with it. */
export function choosing(choices: readonly string[], event: Pick<KeyboardEvent, "key" | "altKey">): boolean {
  if (event.key.length > 1 || event.key === " ") return true;
  return !event.altKey && choices.some((text) => text.trim().toLowerCase().startsWith(event.key.toLowerCase()));
}

export function onKey(event: KeyboardEvent): void {
  if (!enabled || event.defaultPrevented || event.ctrlKey || event.metaKey || typing(event.target)) return;
  const key = describe(event);
  // Arrows, Space and Enter keep their meaning on what can be pressed or moved through.
  const target = event.target instanceof Element ? event.target : null;
  if (target instanceof HTMLSelectElement && choosing(Array.from(target.options, (option) => option.text), event)) return;
  if (/^(Arrow|Enter$| $)/.test(key) && target?.closest("[role=grid], [role=tablist], [role=radiogroup], [role=menu]")) return;
  if ((key === "Enter" || key === " ") && target?.closest("button, a, summary, label, input")) return;
  for (const shortcut of layers.flat().reverse()) {
    if (!shortcut.keys.includes(key)) continue;
    event.preventDefault();
    shortcut.act(key);
    return;
  }
}
