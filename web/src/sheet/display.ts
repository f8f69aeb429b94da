/** How cells are called and numbers written. */

import { type Id, type Line, type Words, spoken, spreadsheet } from "./expression";
import type { Block, Sheet } from "./sheet";

/** Whole numbers as they are, others with so many digits; a real minus sign. */
export function show(x: number, digits = 2): string {
  if (Number.isNaN(x)) return "?";
  if (x === Infinity) return "∞";
  if (x === -Infinity) return "−∞";
  if (Math.abs(x) >= 1e6) return x.toExponential(digits).replace("-", "−").replace("e+", "e");
  const whole = Math.round(x);
  const text = Math.abs(x - whole) < 1e-12 ? String(whole) : x.toFixed(digits);
  return (/^-0\.?0*$/.test(text) ? text.slice(1) : text).replace("-", "−");
}

/** A number as somebody types it: full-width or not, with a minus of any kind, a decimal comma, or a fraction such as 1/3. Null if it is none. */
export function parse(text: string): number | null {
  const plain = text.normalize("NFKC").trim().replace(/[−–—]/g, "-").replace("⁄", "/").replaceAll("。", ".");
  if (/^-(∞|inf)$/i.test(plain)) return -Infinity;
  // 1,000 is a thousand for some and one for others.
  if (/^[+-]?[1-9]\d{0,2}(,\d{3})+$/.test(plain)) return null;
  const number = "[+-]?(?:\\d+\\.?\\d*|\\.\\d+)(?:e[+-]?\\d+)?";
  const found = new RegExp(`^(${number})(?:/(${number}))?$`, "i").exec(plain.replace(",", "."));
  if (!found) return null;
  const value = Number(found[1]) / (found[2] === undefined ? 1 : Number(found[2]));
  return Number.isFinite(value) || found[2] === undefined ? value : null;
}

export function blockOf(sheet: Sheet, id: Id): Block {
  return sheet.block(sheet.cell(id).block)!;
}

/** s(you, love) for what stands between two words, otherwise Q[you, 2]. */
export function nameOf(sheet: Sheet, id: Id): string {
  const { row, col } = sheet.cell(id);
  const block = blockOf(sheet, id);
  const [a, b] = [block.rows[row]!, block.cols[col]!];
  if (b === "Σ") return block.name.startsWith("T") || block.name.startsWith("e") ? `Σ(${a})` : `Σ[${a}]`;
  if (b === "μ" || b === "σ²") return `${b}(${a})`;
  if (block.rows.length === 1 && block.rows[0] === block.symbol) return `${block.symbol}[${b}]`;
  return block.pairs ? `${block.symbol}(${a}, ${b})` : `${block.symbol}[${a}, ${b}]`;
}

/** q(love) for a row of Q, W_Q[·, 2] for a column of W_Q. */
export function vectorOf(sheet: Sheet, ids: Id[]): string | null {
  const cells = ids.map((id) => sheet.cell(id));
  const [first] = cells;
  if (!first || cells.some((cell) => cell.block !== first.block)) return null;
  const block = sheet.block(first.block)!;
  const symbol = /^[QKV]$/.test(block.symbol) ? block.symbol.toLowerCase() : block.symbol;
  if (cells.every((cell) => cell.row === first.row)) return block.rows.length === 1 && block.rows[0] === symbol ? symbol : `${symbol}(${block.rows[first.row]})`;
  if (cells.every((cell) => cell.col === first.col)) return `${block.symbol}[·, ${block.cols[first.col]}]`;
  return null;
}

/** The arithmetic of a derived cell, line by line; of a given one nothing. */
export function arithmetic(
  sheet: Sheet,
  values: ReadonlyMap<Id, number>,
  id: Id,
  options: { digits?: number; limit?: number; held?: ReadonlyMap<Id, number>; more: Words["more"] },
): Line[] {
  const { terms } = sheet.cell(id);
  if (!terms || options.held?.has(id)) return [];
  const digits = options.digits ?? 2;
  return spoken(terms, {
    value: (other) => values.get(other)!,
    name: (other) => nameOf(sheet, other),
    vector: (ids) => vectorOf(sheet, ids),
    show: (x) => show(x, digits),
    terms: (other) => (options.held?.has(other) ? undefined : (sheet.cell(other).terms ?? undefined)),
    more: options.more,
    ...(options.limit ? { limit: options.limit } : {}),
  });
}

function column(n: number): string {
  return n < 26 ? String.fromCharCode(65 + n) : column(Math.floor(n / 26) - 1) + String.fromCharCode(65 + (n % 26));
}

function field(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** A label that no spreadsheet takes for a formula. */
function label(text: string): string {
  return field(/^\s*[=+\-@＝＋－＠]|^[\t\r]/.test(text) ? `'${text}` : text);
}

/** The sheet as CSV (RFC 4180) with its formulas: a spreadsheet program computes it again, and goes on doing so. `secret` cells are left to be found. */
export function csv(sheet: Sheet, held: ReadonlyMap<Id, number>, title: (block: Block) => string, secret: (id: Id) => boolean = () => false): string {
  const places = new Map<Id, string>();
  let line = 1;
  for (const block of sheet.blocks) {
    line += 2;
    for (const ids of block.ids) {
      ids.forEach((id, j) => places.set(id, `${column(j + 1)}${line}`));
      line++;
    }
    line++;
  }
  const lines: string[] = [];
  for (const block of sheet.blocks) {
    lines.push(label(title(block)), ["", ...block.cols.map(label)].join(","));
    block.ids.forEach((ids, i) => {
      const cells = ids.map((id) => {
        const cell = sheet.cell(id);
        if (secret(id)) return "?";
        const own = held.get(id) ?? (cell.terms ? undefined : cell.given);
        if (own !== undefined) return own === -Infinity ? "-1E+308" : String(own);
        return field(`=${spreadsheet(cell.terms!, (other) => places.get(other)!)}`);
      });
      lines.push([label(block.rows[i]!), ...cells].join(","));
    });
    lines.push("");
  }
  return `${lines.join("\r\n")}\r\n`;
}
