/** Dense matrices of doubles, row after row. */

export interface Matrix {
  readonly rows: number;
  readonly cols: number;
  readonly data: Float64Array;
}

export function zeros(rows: number, cols: number): Matrix {
  return { rows, cols, data: new Float64Array(rows * cols) };
}

/** A matrix over `values`, copied. Throws a RangeError if they are not `rows * cols`. */
export function matrix(rows: number, cols: number, values: ArrayLike<number>): Matrix {
  if (values.length !== rows * cols) throw new RangeError(`${values.length} values are no ${rows} x ${cols} matrix`);
  return { rows, cols, data: Float64Array.from(values) };
}

export function fromRows(rows: readonly (readonly number[])[]): Matrix {
  return matrix(rows.length, rows[0]?.length ?? 0, rows.flat());
}

export function toRows(a: Matrix): number[][] {
  return Array.from({ length: a.rows }, (_, i) => Array.from(a.data.subarray(i * a.cols, (i + 1) * a.cols)));
}

export function at(a: Matrix, i: number, j: number): number {
  return a.data[i * a.cols + j]!;
}

/** a · b */
export function multiply(a: Matrix, b: Matrix): Matrix {
  if (a.cols !== b.rows) throw new RangeError(`${a.rows} x ${a.cols} times ${b.rows} x ${b.cols}`);
  const out = zeros(a.rows, b.cols);
  for (let i = 0; i < a.rows; i++)
    for (let k = 0; k < a.cols; k++) {
      const x = a.data[i * a.cols + k]!;
      for (let j = 0; j < b.cols; j++) out.data[i * b.cols + j]! += x * b.data[k * b.cols + j]!;
    }
  return out;
}

/** a · bᵀ: what a linear layer does, whose weight is stored as [outputs, inputs]. */
export function multiplyTransposed(a: Matrix, b: Matrix): Matrix {
  if (a.cols !== b.cols) throw new RangeError(`${a.rows} x ${a.cols} times the transpose of ${b.rows} x ${b.cols}`);
  const out = zeros(a.rows, b.rows);
  for (let i = 0; i < a.rows; i++)
    for (let j = 0; j < b.rows; j++) {
      let sum = 0;
      for (let k = 0; k < a.cols; k++) sum += a.data[i * a.cols + k]! * b.data[j * b.cols + k]!;
      out.data[i * b.rows + j] = sum;
    }
  return out;
}

export function transpose(a: Matrix): Matrix {
  const out = zeros(a.cols, a.rows);
  for (let i = 0; i < a.rows; i++) for (let j = 0; j < a.cols; j++) out.data[j * a.rows + i] = a.data[i * a.cols + j]!;
  return out;
}

export function add(a: Matrix, b: Matrix): Matrix {
  if (a.rows !== b.rows || a.cols !== b.cols) throw new RangeError(`${a.rows} x ${a.cols} plus ${b.rows} x ${b.cols}`);
  return { rows: a.rows, cols: a.cols, data: a.data.map((x, i) => x + b.data[i]!) };
}

export function map(a: Matrix, f: (x: number) => number): Matrix {
  return { rows: a.rows, cols: a.cols, data: a.data.map(f) };
}

/** x · weightᵀ + bias, row by row. */
export function linear(x: Matrix, weight: Matrix, bias?: Matrix): Matrix {
  const out = multiplyTransposed(x, weight);
  if (bias) for (let i = 0; i < out.data.length; i++) out.data[i]! += bias.data[i % out.cols]!;
  return out;
}

/** The columns from `start` up to, not including, `end`. */
export function columns(a: Matrix, start: number, end: number): Matrix {
  const out = zeros(a.rows, end - start);
  for (let i = 0; i < a.rows; i++) out.data.set(a.data.subarray(i * a.cols + start, i * a.cols + end), i * out.cols);
  return out;
}

/** Matrices with the same rows, side by side. */
export function concat(parts: readonly Matrix[]): Matrix {
  const out = zeros(parts[0]?.rows ?? 0, parts.reduce((sum, part) => sum + part.cols, 0));
  let start = 0;
  for (const part of parts) {
    for (let i = 0; i < part.rows; i++)
      out.data.set(part.data.subarray(i * part.cols, (i + 1) * part.cols), i * out.cols + start);
    start += part.cols;
  }
  return out;
}

/** The largest difference between two lists of numbers; infinite if they are not equally many or one holds NaN. */
export function maxDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Infinity;
  let most = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs(a[i]! - b[i]!);
    if (!(difference <= most)) most = Number.isNaN(difference) ? Infinity : difference;
  }
  return most;
}
