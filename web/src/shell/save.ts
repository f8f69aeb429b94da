/** Files for the reader, made in the page. */
import type { Picture, Table } from "../state/exports.svelte";
import { CanvasSurface } from "../surface/canvas";
import { SvgSurface } from "../surface/svg";

export function save(name: string, blob: Blob): void {
  const url = URL.createObjectURL(blob);
  const anchor = document.createElement("a");
  anchor.href = url;
  anchor.download = name;
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

export function svgText(picture: Picture, ground: string): string {
  const surface = new SvgSurface(picture.width, picture.height, picture.title, ground);
  picture.draw(surface);
  return surface.toString();
}

export function svg(picture: Picture, ground: string): void {
  save(`${picture.name}.svg`, new Blob([svgText(picture, ground)], { type: "image/svg+xml" }));
}

export async function png(picture: Picture, ground: string, scale: number): Promise<void> {
  const canvas = document.createElement("canvas");
  picture.draw(new CanvasSurface(canvas, picture.width, picture.height, scale, ground));
  const blob = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, "image/png"));
  if (!blob) throw new Error("the browser could not make a PNG of this size");
  save(`${picture.name}@${scale}x.png`, blob);
}

/** Fields as RFC 4180 has them; what a spreadsheet would take for a formula is led by an apostrophe. */
export function csvText(table: Table): string {
  const field = (value: string | number): string => {
    if (typeof value === "number") return String(value);
    const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return [table.columns, ...table.rows].map((row) => row.map(field).join(",")).join("\r\n") + "\r\n";
}

export function csv(name: string, table: Table): void {
  // The mark at the start tells spreadsheets that this is UTF-8.
  save(`${name}.csv`, new Blob(["\ufeff", csvText(table)], { type: "text/csv" }));
}
