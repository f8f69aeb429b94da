/** What a cell computes, as terms: to be evaluated, to be spoken step by step, and to be written as a spreadsheet's formula. */

export type Id = string;

export type Expression =
  | { op: "number"; value: number }
  | { op: "ref"; id: Id; inline?: boolean } // inline: its own terms are shown in its place
  | { op: "sum"; of: Expression[] }
  | { op: "product"; of: Expression[] }
  | { op: "minus"; a: Expression; b: Expression }
  | { op: "over"; a: Expression; b: Expression } // zero if b is zero
  | { op: "root"; a: Expression }
  | { op: "square"; a: Expression }
  | { op: "exp"; a: Expression; row: Expression[] } // less the row's maximum, where the number would overflow
  | { op: "largest"; a: Expression; row: Expression[] }; // 1 for the first largest of the row, otherwise 0

export const number = (value: number): Expression => ({ op: "number", value });
export const ref = (id: Id, inline = false): Expression => (inline ? { op: "ref", id, inline } : { op: "ref", id });
export const sum = (...of: Expression[]): Expression => ({ op: "sum", of });
export const product = (...of: Expression[]): Expression => ({ op: "product", of });
export const minus = (a: Expression, b: Expression): Expression => ({ op: "minus", a, b });
export const over = (a: Expression, b: Expression): Expression => ({ op: "over", a, b });
export const root = (a: Expression): Expression => ({ op: "root", a });
export const square = (a: Expression): Expression => ({ op: "square", a });
export const exp = (a: Expression, row: Expression[]): Expression => ({ op: "exp", a, row });
export const largest = (a: Expression, row: Expression[]): Expression => ({ op: "largest", a, row });
export const dot = (a: Id[], b: Id[]): Expression => sum(...a.map((id, i) => product(ref(id), ref(b[i]!))));

export type Lookup = (id: Id) => number;

const OVERFLOWS = 300;

/** What is taken off before exp: the row's maximum where the numbers are too large or small for it, else nothing. */
function shift(row: Expression[], value: Lookup): number {
  const max = Math.max(...row.map((each) => evaluate(each, value)));
  return Math.abs(max) > OVERFLOWS && Number.isFinite(max) ? max : 0;
}

export function evaluate(e: Expression, value: Lookup): number {
  switch (e.op) {
    case "number":
      return e.value;
    case "ref":
      return value(e.id);
    case "sum": {
      let total = 0;
      for (const each of e.of) total += evaluate(each, value);
      return total;
    }
    case "product": {
      let total = 1;
      for (const each of e.of) total *= evaluate(each, value);
      return total;
    }
    case "minus":
      return evaluate(e.a, value) - evaluate(e.b, value);
    case "over": {
      const b = evaluate(e.b, value);
      return b === 0 ? 0 : evaluate(e.a, value) / b;
    }
    case "root":
      return Math.sqrt(evaluate(e.a, value));
    case "square":
      return evaluate(e.a, value) ** 2;
    case "exp":
      return Math.exp(evaluate(e.a, value) - shift(e.row, value));
    case "largest": {
      const own = e.row.map((each) => evaluate(each, value));
      const max = Math.max(...own);
      const first = own.indexOf(max);
      return max > -Infinity && e.row[first] && same(e.row[first], e.a) ? 1 : 0;
    }
  }
}

function same(a: Expression, b: Expression): boolean {
  return a === b || (a.op === "ref" && b.op === "ref" && a.id === b.id);
}

/** The cells that it reads. */
export function sources(e: Expression): Id[] {
  const found = new Set<Id>();
  const walk = (each: Expression): void => {
    if (each.op === "ref") found.add(each.id);
    else if (each.op === "sum" || each.op === "product") each.of.forEach(walk);
    else if (each.op === "minus" || each.op === "over") (walk(each.a), walk(each.b));
    else if (each.op === "exp" || each.op === "largest") (walk(each.a), each.row.forEach(walk));
    else if (each.op !== "number") walk(each.a);
  };
  walk(e);
  return [...found];
}

export interface Words {
  value: Lookup;
  name: (id: Id) => string;
  /** What cells that stand in one row, or one column, are called together: q(love). Null if they do not. */
  vector?: (ids: Id[]) => string | null;
  show: (x: number) => string;
  /** The terms of a cell that is shown in line; undefined where it has none, or is held. */
  terms?: (id: Id) => Expression | undefined;
  /** What stands for the terms that are left out. */
  more: (count: number, total: number) => string;
  limit?: number;
}

type Leaf = (e: Extract<Expression, { op: "ref" | "number" }>) => string;

const composite = (e: Expression): boolean => !["ref", "number"].includes(e.op);

function print(e: Expression, leaf: Leaf, words: Words, names = false): string {
  const inner = (each: Expression) => print(each, leaf, words, names);
  const wrapped = (each: Expression) => {
    const text = inner(each);
    if (names && (each.op === "ref" || each.op === "number") && !/ [+−] /.test(text)) return text;
    return /^[^\s]+$/.test(text) && !/^−/.test(text) && !/[·/]/.test(text) ? text : `(${text})`;
  };
  switch (e.op) {
    case "number":
    case "ref":
      return leaf(e);
    case "sum": {
      const limit = words.limit ?? 8;
      const added = (of: Expression[]) => of.map((each, i) => { const text = inner(each); return i && text.startsWith("−") ? `(${text})` : text; }).join(" + ");
      if (e.of.length <= limit + 1) return added(e.of);
      const rest = e.of.slice(limit);
      const total = rest.reduce((part, each) => part + evaluate(each, words.value), 0);
      return `${added(e.of.slice(0, limit))} + ${words.more(rest.length, total)}`;
    }
    case "product":
      return e.of.map(wrapped).join("·");
    case "minus": {
      const b = inner(e.b);
      return `${inner(e.a)} − ${/^−| [+−] /.test(b) ? `(${b})` : b}`;
    }
    case "over":
      return `${wrapped(e.a)}/${wrapped(e.b)}`;
    case "root":
      return `√${/^[^\s]+$/.test(inner(e.a)) ? inner(e.a) : `(${inner(e.a)})`}`;
    case "square":
      return `${wrapped(e.a)}²`;
    case "exp": {
      const less = shift(e.row, words.value);
      return less ? `e^(${inner(e.a)} − ${words.show(less)})` : `e^${wrapped(e.a)}`;
    }
    case "largest":
      return `[${inner(e.a)} = max(${e.row.map(inner).join(", ")})]`;
  }
}

/** a·b where a sum multiplies one row of cells by another one, if both have a name. */
function asVectors(e: Expression, words: Words): string | null {
  if (e.op !== "sum" || e.of.length < 3 || !words.vector) return null;
  const pairs = e.of.map((each) => (each.op === "product" && each.of.length === 2 ? each.of : []));
  const side = (at: number) => pairs.flatMap((pair) => (pair[at]?.op === "ref" ? [pair[at].id] : []));
  const [a, b] = [side(0), side(1)];
  if (a.length !== e.of.length || b.length !== e.of.length) return null;
  const [left, right] = [words.vector(a), words.vector(b)];
  return left && right && `${left}·${right}`;
}

/** One level less: what is inside each term is worked out. */
function reduced(e: Expression, words: Words): Expression | null {
  const value = (each: Expression) => number(evaluate(each, words.value));
  if (e.op === "sum" && e.of.some(composite)) return sum(...e.of.map(value));
  if (e.op === "over" && (composite(e.a) || composite(e.b) || isInline(e.a))) return over(value(e.a), value(e.b));
  if (e.op === "minus" && (composite(e.a) || composite(e.b))) return minus(value(e.a), value(e.b));
  return null;
}

const isInline = (e: Expression): boolean => e.op === "ref" && e.inline === true;

/** A line of arithmetic, and whether it is equal to the line before, or only nearly so, for it shows rounded numbers. */
export interface Line {
  text: string;
  exact: boolean;
}

/** The arithmetic, from names to the result: names, numbers, one step on, the value. */
export function spoken(e: Expression, words: Words): Line[] {
  const own = (x: Expression): Expression | undefined => {
    const terms = x.op === "ref" && x.inline ? words.terms?.(x.id) : undefined;
    return terms && composite(terms) ? terms : undefined;
  };
  const of = (x: Expression) => (x.op === "ref" ? words.value(x.id) : (x as { value: number }).value);
  const numbers = (each: Expression): string => print(each, (x) => { const terms = own(x); return terms ? numbers(terms) : words.show(of(x)); }, words);
  const named = (each: Expression): string =>
    asVectors(each, words) ??
    print(each, (x) => { const terms = own(x); return terms ? named(terms) : x.op === "ref" ? words.name(x.id) : words.show(x.value); }, words, true);

  const rounded = (x: number): number => (Number.isFinite(x) ? Number(words.show(x).replaceAll("−", "-")) : x);
  /** What a line comes to if one goes by the numbers that it shows. */
  const says = (each: Expression): number => {
    const terms = own(each);
    if (terms) return says(terms);
    switch (each.op) {
      case "number":
      case "ref":
        return rounded(of(each));
      case "sum": {
        const limit = words.limit ?? 8;
        const cut = each.of.length > limit + 1 ? limit : each.of.length;
        const rest = each.of.slice(cut).reduce((part, one) => part + evaluate(one, words.value), 0);
        return each.of.slice(0, cut).reduce((part, one) => part + says(one), rounded(rest));
      }
      case "largest":
        return evaluate(each, words.value);
      case "exp":
        return Math.exp(says(each.a) - rounded(shift(each.row, words.value)));
      case "product":
        return each.of.reduce((part, one) => part * says(one), 1);
      case "minus":
      case "over":
        return evaluate({ op: each.op, a: number(says(each.a)), b: number(says(each.b)) }, words.value);
      default:
        return evaluate({ op: each.op, a: number(says(each.a)) }, words.value);
    }
  };

  const value = evaluate(e, words.value);
  const names = named(e);
  const next = reduced(e, words);
  const shown = [{ text: numbers(e), says: says(e) }, ...(next ? [{ text: numbers(next), says: says(next) }] : []), { text: words.show(value), says: rounded(value) }];
  const lines: Line[] = [{ text: names, exact: true }];
  let before = value;
  for (const line of shown) {
    if (line.text !== lines.at(-1)!.text) lines.push({ text: line.text, exact: close(before, line.says) });
    before = line.says;
  }
  return lines;
}

/** Two numbers that nobody could tell apart. */
export function close(a: number, b: number): boolean {
  return Object.is(a, b) || a === b || Math.abs(a - b) <= 1e-12 * Math.max(1, Math.abs(a), Math.abs(b));
}

/** As a spreadsheet writes it; `place` gives the address of a cell. */
export function spreadsheet(e: Expression, place: (id: Id) => string): string {
  const inner = (each: Expression): string => spreadsheet(each, place);
  const row = (of: Expression[]) => of.map(inner).join(",");
  switch (e.op) {
    case "number":
      return String(e.value);
    case "ref":
      return place(e.id);
    case "sum":
      return `(${e.of.map(inner).join("+")})`;
    case "product":
      return e.of.map(inner).join("*");
    case "minus":
      return `(${inner(e.a)}-${inner(e.b)})`;
    case "over":
      return `IF(${inner(e.b)}=0,0,${inner(e.a)}/${inner(e.b)})`;
    case "root":
      return `SQRT(${inner(e.a)})`;
    case "square":
      return `${inner(e.a)}^2`;
    case "exp":
      return `EXP(${inner(e.a)})`;
    case "largest":
      return `IF(${inner(e.a)}=MAX(${row(e.row)}),1,0)`;
  }
}
