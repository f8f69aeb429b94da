/** What the scenes, the grid and the table need, from the state of the view. */
import { t } from "../../i18n/index.svelte";
import type { LinesInput } from "../../scene/lines";
import { masked } from "../../scene/maps";
import { fullColor, type MatrixInput, rowSum } from "../../scene/matrix";
import type { Unit } from "../../scene/units";
import { theme } from "../../state/theme.svelte";
import { FONT } from "../../surface/surface";
import type { TableData } from "../../ui/DataTable.svelte";
import type { GridData } from "../../ui/Grid.svelte";
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

export function gridData(view: AttentionView): GridData {
  const { q, k, drawn, layer } = view;
  return {
    label: t("attention.grid"),
    rows: drawn.length ? q.length : 0,
    columns: k.length,
    row: view.query,
    column: view.key,
    text: (query, key) => {
      const pair = t("attention.pair", { q: q[query].label, k: k[key].label });
      if (masked(view.stack.causal, q[query], k[key])) return t("attention.cell_masked", { layer: layer + 1, pair });
      const values = drawn.map(({ map }) => {
        const value = map.data[query * map.columns + key].toFixed(3);
        return map.head < 0 ? t("attention.cell_mean", { value }) : t("attention.cell_head", { head: map.head + 1, value });
      });
      return t("attention.cell", { layer: layer + 1, pair, values: values.join(", ") });
    },
    onmove: (query) => (view.hoverQuery = query),
    onpin: (query, key) => view.pin(query, key),
  };
}

/** The numbers of the chosen head, or of the mean of all. */
export function tableData(view: AttentionView): TableData {
  const { q, k } = view;
  const map = view.mean ? view.drawn[0].map : view.maps[view.head];
  return {
    title: t("attention.table_title", { layer: view.layer + 1, head: view.mean ? t("attention.mean_title") : t("attention.head_n", { head: view.head + 1 }) }),
    corner: t("attention.table_corner"),
    columns: k.map((unit) => unit.label),
    rows: q.length,
    name: (row) => q[row].label,
    cell: (row, column) => map.data[row * map.columns + column].toFixed(3),
    mark: (row, column) => (masked(view.stack.causal, q[row], k[column]) ? "masked" : ""),
    sum: { name: t("attention.table_sum"), of: (row) => rowSum(map, row).toFixed(2) },
    on: (row) => row === view.query,
    row: view.query,
    column: view.key,
    part: (rows, columns) => t("common.table_part", { rows, columns, allRows: q.length, allColumns: k.length }),
  };
}
