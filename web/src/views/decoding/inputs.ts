/** What the picture of the tree needs, from the state of the view. */
import { t } from "../../i18n/index.svelte";
import type { TreeInput } from "../../scene/tree";
import { FONT, MONO } from "../../surface/surface";
import { signedText } from "./search";
import type { DecodingView } from "./state.svelte";

let pen: CanvasRenderingContext2D | null = null;

function measure(text: string, size: number, mono: boolean): number {
  pen ??= document.createElement("canvas").getContext("2d")!;
  pen.font = `${mono ? 400 : 600} ${size}px ${mono ? MONO : FONT}`;
  return pen.measureText(text).width;
}

export function treeInput(view: DecodingView, pruned: boolean): TreeInput {
  return {
    decode: view.decode,
    path: view.path,
    result: view.result,
    step: view.t,
    pruned,
    label: (id) => view.text(id, 12),
    value: (id) => (id ? signedText(view.nodes[id].cum) : ""),
    measure,
  };
}

export function columnText(step: number): string {
  return step ? t("decoding.column", { t: step }) : t("decoding.start");
}
