/** What the picture and the table of the tree need, from the state of the view. */
import { t } from "../../i18n/index.svelte";
import type { TreeInput } from "../../scene/tree";
import { FONT, MONO } from "../../surface/surface";
import type { TableData } from "../../ui/DataTable.svelte";
import { probability, signedText } from "./search";
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

/** All that the search looked at, step by step. */
export function tableData(view: DecodingView, pruned: boolean): TableData {
  const all = view.nodes.filter((node) => node.id > 0 && (pruned || node.state !== "pruned"));
  const on = new Set(view.path);
  const rank = new Map<number, number>();
  const ranks = new Map(view.nodes.map((node) => [node.id, rank.set(node.t, (rank.get(node.t) ?? 0) + 1).get(node.t)]));
  return {
    title: t("decoding.tree"),
    titled: true,
    corner: t("decoding.col_token"),
    columns: [t("decoding.col_step"), t("decoding.col_rank"), t("decoding.col_after"), t("decoding.p"), t("decoding.log_p"), t("decoding.col_cum"), t("decoding.col_state")],
    rows: all.length,
    name: (row) => view.text(all[row].id),
    cell: (row, column) => {
      const { id, t: step, parent, lp, cum, state } = all[row];
      return [String(step), String(ranks.get(id)), view.text(parent), probability(Math.exp(lp)), signedText(lp, 3), signedText(cum, 3), t(`decoding.state_${state}` as "decoding.state_live")][column];
    },
    words: [2, 6],
    on: (row) => on.has(all[row].id),
    row: all.findIndex((node) => node.t >= view.t),
    column: -1,
    most: 240,
    part: (rows) => t("decoding.table_part", { rows, all: all.length }),
    onpick: (row) => view.follow(all[row].id),
  };
}
