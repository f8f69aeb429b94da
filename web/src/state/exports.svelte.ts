/** What the view on screen can be exported to; the shell's menu offers it. */
import { untrack } from "svelte";
import type { Surface } from "../surface/surface";

/** Said in every file of JSON. */
export const COUNTING = "layers, heads and steps from 1; in addresses from 0, as in the checkpoint";

export interface Table {
  columns: string[];
  rows: (string | number)[][];
}

export interface Picture {
  /** The start of the file's name, without an ending. */
  name: string;
  title: string;
  width: number;
  height: number;
  draw: (surface: Surface) => void;
}

export interface ViewExports {
  picture?: () => Picture;
  table?: () => Table;
  json?: () => unknown;
  /** Word links as they are on screen; without it the server gives those of the best head. */
  pharaoh?: () => string;
  /** Arguments of the server's exports: stack, layer, head, from 0. */
  args?: () => Record<string, string>;
}

let current = $state.raw<ViewExports>({});

export const viewExports = {
  get current(): ViewExports {
    return current;
  },
};

/** Offers `offered` until the returned function is called: `$effect(() => offerExports({...}))` in a view. */
export function offerExports(offered: ViewExports): () => void {
  current = offered;
  return () => untrack(() => {
    if (current === offered) current = {};
  });
}
