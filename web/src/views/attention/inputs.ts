/** What the scenes need, from the state of the view. */
import { t } from "../../i18n/index.svelte";
import type { LinesInput } from "../../scene/lines";
import { fullColor, type MatrixInput, rowSum } from "../../scene/matrix";
import type { Unit } from "../../scene/units";
import { theme } from "../../state/theme.svelte";
import { FONT } from "../../surface/surface";
import type { AttentionView } from "./state.svelte";

let pen: CanvasRenderingContext2D | null = null;

/** The widest of the labels, in pixels, at the size at which they are drawn. */
function widest(units: readonly Unit[], size: number): number {
  pen ??= document.createElement("canvas").getContext("2d")!;
  pen.font = `600 ${size}px ${FONT}`;
  return Math.max(0, ...units.map((unit) => pen!.measureText(unit.label).width));
}

/** All that a move of the pointer leaves as it is: it is made once. */
export function linesBase(view: AttentionView, width: number): Omit<LinesInput, "query" | "key"> {
  const { q, k } = view;
  return {
    q,
    k,
    maps: view.drawn,
    qTitle: t("attention.query_title"),
    kTitle: t("attention.key_title"),
    qRole: t("attention.looking"),
    kRole: t("attention.looked_at"),
    qSide: t(view.stack.q === "src" ? "attention.side_src" : "attention.side_tgt"),
    kSide: t(view.stack.k === "src" ? "attention.side_src" : "attention.side_tgt"),
    width,
    palette: theme.palette,
    labelWidth: Math.min(220, Math.max(96, widest([...q, ...k], 16))),
  };
}

export function linesInput(view: AttentionView, base: Omit<LinesInput, "query" | "key">): LinesInput {
  return { ...base, query: view.lookedAt, key: view.key };
}

export function matrixInput(view: AttentionView, base: Omit<MatrixInput, "query" | "key">): MatrixInput {
  return { ...base, query: view.lookedAt, key: view.key, zoom: view.zoom };
}

export function matrixBase(view: AttentionView, width: number): Omit<MatrixInput, "query" | "key"> {
  const { q, k } = view;
  const titles = view.drawn.map(({ map }) => {
    const name = map.head < 0 ? t("attention.mean_title") : t("attention.head_title", { head: map.head + 1, name: view.name(map.head) });
    const sums = q.map((_, r) => rowSum(map, r));
    const [low, high] = [Math.min(...sums).toFixed(2), Math.max(...sums).toFixed(2)];
    const said = t("attention.sums", { sums: low === high ? low : `${low}–${high}` });
    const full = fullColor(map);
    return { name: name.trim(), sums: full < 1 ? `${said} · ${t("attention.full_color", { weight: full.toFixed(3) })}` : said };
  });
  return {
    q,
    k,
    maps: view.drawn,
    causal: view.stack.causal,
    width,
    palette: theme.palette,
    labelWidth: Math.min(120, widest([...q, ...k], 14)),
    titles,
    qTitle: t("attention.looking"),
    kTitle: t("attention.looked_at"),
  };
}
