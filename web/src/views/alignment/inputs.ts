/** What the scene, the grid and the table need, from the state of the view. */
import { t } from "../../i18n/index.svelte";
import { type AlignmentInput, LEAST_CELL, labelFont, MOST_CELL, tallness } from "../../scene/alignment";
import { rowSum } from "../../scene/matrix";
import { theme } from "../../state/theme.svelte";
import { FONT } from "../../surface/surface";
import type { TableData } from "../../ui/DataTable.svelte";
import type { GridData } from "../../ui/Grid.svelte";
import { includes, type Link } from "./links";
import type { AlignmentView, Place } from "./state.svelte";

let pen: CanvasRenderingContext2D | null = null;

function measured(text: string, size: number): number {
  pen ??= document.createElement("canvas").getContext("2d")!;
  pen.font = `600 ${size}px ${FONT}`;
  return pen.measureText(text).width;
}

export function placeText(place: Place): string {
  const layer = place.layer + 1;
  return place.head < 0 ? t("alignment.place_mean", { layer }) : t("alignment.place_head", { layer, head: place.head + 1 });
}

/** The same, short enough for a column. */
export function placeShort(place: Place): string {
  const layer = place.layer + 1;
  return place.head < 0 ? t("alignment.short_mean", { layer }) : t("alignment.short_head", { layer, head: place.head + 1 });
}

/** The picture for a stage of `width` x `height` pixels; cells stay large enough to read, so it may be larger than the stage. */
export function alignmentInput(view: AlignmentView, width: number, height: number, zoom = view.zoom): AlignmentInput | null {
  const { q, k, map } = view;
  if (!map || !q.length || !k.length) return null;
  const sized = (cell: number): AlignmentInput => {
    const font = labelFont(cell);
    const left = Math.min(Math.max(40, ...q.map((unit) => measured(unit.label, font))) + 18, Math.max(84, width * 0.32), 210);
    const above = Math.min(Math.max(28, ...k.map((unit) => tallness(unit.label, font, measured))) + 20, 240);
    return {
      q,
      k,
      map,
      boxes: view.boxes,
      marks: view.marks,
      query: view.query >= 0 || view.key >= 0 ? view.query : view.hover.query,
      key: view.query >= 0 || view.key >= 0 ? view.key : view.hover.key,
      palette: theme.palette,
      hue: view.hue,
      cell,
      measure: measured,
      left,
      above,
      heading: [],
      legend: [],
    };
  };
  if (zoom) return sized(zoom);
  const first = sized(MOST_CELL);
  const fits = Math.min((width - first.left - 10) / k.length, (height - first.above - 10) / q.length);
  return sized(Math.floor(Math.max(LEAST_CELL, Math.min(MOST_CELL, fits))));
}

/** The same with all that a file has to say for itself. */
export function alignmentFile(view: AlignmentView, width: number): AlignmentInput | null {
  const input = alignmentInput(view, width, 10_000, Math.max(view.zoom, 34));
  if (!input) return null;
  return {
    ...input,
    query: view.query,
    key: view.key,
    heading: [placeText(view.place), `${view.run.src.text} → ${view.run.translation}`, t("alignment.x_axis"), t(view.reading === "out" ? "alignment.y_out" : "alignment.y_in"), ...(view.hideSpecial ? [t("alignment.renormalised")] : [])],
    legend: legend(view),
  };
}

export function legend(view: AlignmentView): AlignmentInput["legend"] {
  const joined = view.joined;
  const outlines: AlignmentInput["legend"] =
    joined === "forth"
      ? [{ what: "both", text: t("alignment.legend_link") }]
      : joined === "back"
        ? [{ what: "both", text: t("alignment.legend_both") }, { what: "back", text: t("alignment.legend_back") }]
        : joined === "intersection"
          ? [{ what: "both", text: t("alignment.legend_both") }]
          : [{ what: "both", text: t("alignment.legend_both") }, { what: "forth", text: t("alignment.legend_forth") }, { what: "back", text: t("alignment.legend_back") }];
  const gold: AlignmentInput["legend"] = view.gold ? [{ what: "sure", text: t("alignment.legend_sure") }, { what: "possible", text: t("alignment.legend_possible") }] : [];
  return [{ what: "scale", text: t("alignment.legend_scale") }, ...outlines, ...gold];
}

/** The grid over the picture; `reveal` brings a cell into sight. */
export function gridData(view: AlignmentView, reveal: (query: number, key: number) => void): GridData {
  const { q, k, map, gold } = view;
  return {
    label: t("alignment.grid"),
    rows: map ? q.length : 0,
    columns: k.length,
    row: view.query,
    column: view.key,
    text: (query, key) => {
      const link: Link = [view.wordOf(k[key], "src"), view.wordOf(q[query], "tgt")];
      const said = gold && includes(gold.possible, link) ? t(includes(gold.sure, link) ? "alignment.cell_sure" : "alignment.cell_possible") : "";
      const value = map!.data[query * k.length + key].toFixed(3);
      return t("alignment.cell", { src: k[key].label, tgt: q[query].label, value }) + (view.linked(query, key) ? t("alignment.cell_linked") : "") + said;
    },
    onmove: (query, key) => {
      view.hover = { query, key };
      if (query >= 0) reveal(query, key);
    },
    onpin: (query, key) => view.pin(query, key),
  };
}

export function tableData(view: AlignmentView): TableData {
  const { q, k } = view;
  const map = view.map!;
  return {
    title: t("alignment.table_title", { place: placeText(view.place) }),
    corner: t("alignment.table_corner"),
    columns: k.map((unit) => unit.label),
    rows: q.length,
    name: (row) => q[row].label,
    cell: (row, column) => map.data[row * k.length + column].toFixed(3),
    mark: (row, column) => (view.linked(row, column) ? "linked" : ""),
    sum: { name: t("alignment.table_sum"), of: (row) => rowSum(map, row).toFixed(2) },
    on: (row) => row === view.query,
    row: view.query,
    column: view.key,
    part: (rows, columns) => t("common.table_part", { rows, columns, allRows: q.length, allColumns: k.length }),
  };
}
