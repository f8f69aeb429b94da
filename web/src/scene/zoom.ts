/** The part of a map that is looked at: how many times larger, and the first row and column, which may be cut. */
export interface Zoom {
  scale: number;
  row: number;
  column: number;
}

export const WHOLE: Zoom = { scale: 1, row: 0, column: 0 };

const between = (low: number, value: number, high: number): number => Math.max(low, Math.min(high, value));

/** `zoom` kept within a map of `rows` x `columns`, at most `most` times as large. */
export function within({ scale, row, column }: Zoom, rows: number, columns: number, most: number): Zoom {
  const kept = between(1, scale || 1, most);
  const first = (at: number, all: number): number => between(0, at || 0, all - all / kept);
  return { scale: kept, row: first(row, rows), column: first(column, columns) };
}

/** `factor` times larger; what is at `row` and `column` stays where it is on the screen. */
export function zoomed(zoom: Zoom, factor: number, row: number, column: number, most: number): Zoom {
  const scale = between(1, zoom.scale * factor, most);
  const shrunk = zoom.scale / scale;
  return { scale, row: row - (row - zoom.row) * shrunk, column: column - (column - zoom.column) * shrunk };
}

/** Moved no further than shows the cell whole; -1 for a row or a column that need not be seen. */
export function revealing(zoom: Zoom, rows: number, columns: number, row: number, column: number): Zoom {
  const moved = (first: number, seen: number, at: number): number => (at < 0 ? first : between(at + 1 - seen, first, at));
  return { ...zoom, row: moved(zoom.row, rows / zoom.scale, row), column: moved(zoom.column, columns / zoom.scale, column) };
}

/** As it stands in the address: "4.00,12.5,30.0"; null for the whole map. */
export function written({ scale, row, column }: Zoom): string | null {
  return scale > 1.001 ? `${scale.toFixed(2)},${row.toFixed(1)},${column.toFixed(1)}` : null;
}

export function read(text: string | undefined): Zoom {
  const [scale, row, column] = (text ?? "").split(",").map(Number);
  return [scale, row, column].every(Number.isFinite) ? { scale, row, column } : WHOLE;
}
