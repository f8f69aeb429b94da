/** Word alignments: Pharaoh's format, the alignment error rate, two directions made one, and what an attention map says. */
import type { Side, Token } from "../../pack/contract";
import type { Tensor } from "../../pack/safetensors";

/** Source word, target word, counted from 0. */
export type Link = readonly [number, number];

/** What people say of a sentence pair: the sure links, and the possible ones, the sure ones among them. */
export interface Gold {
  sure: Link[];
  possible: Link[];
}

export interface Scores {
  /** In per cent: 1 - (|A and S| + |A and P|) / (|A| + |S|) (Och and Ney, 2003, section 6.1). */
  errorRate: number;
  precision: number;
  recall: number;
}

/** A text that is no alignment: `code` is the end of an i18n key. */
export class PharaohError extends Error {
  constructor(
    readonly code: "form" | "before" | "source" | "target" | "long",
    readonly args: Record<string, string | number>,
  ) {
    super(`${code} ${JSON.stringify(args)}`);
  }
}

export const MOST_CHARACTERS = 200_000;

const key = ([i, j]: Link): number => i * 1_048_576 + j;
const inOrder = (a: Link, b: Link): number => a[0] - b[0] || a[1] - b[1];

/** Each link once, in order. */
export function unique(links: readonly Link[]): Link[] {
  return [...new Map(links.map((link) => [key(link), link])).values()].sort(inOrder);
}

export function includes(links: readonly Link[], link: Link): boolean {
  return links.some(([i, j]) => i === link[0] && j === link[1]);
}

/**
 * Reads "0-0 1-2 3p4": `1p2` or `1?2` is a link that is possible only. Words are counted from `first` in the text.
 *
 * Throws PharaohError naming what is no link, or which word the sentences do not have.
 */
export function readPharaoh(line: string, first: number, srcWords: number, tgtWords: number): Gold {
  if (line.length > MOST_CHARACTERS) throw new PharaohError("long", { limit: MOST_CHARACTERS });
  const gold: Gold = { sure: [], possible: [] };
  for (const text of line.split(/\s+/).filter(Boolean)) {
    const found = /^(\d{1,6})([-p?])(\d{1,6})$/.exec(text);
    const shown = text.length > 20 ? `${text.slice(0, 20)}…` : text;
    if (!found) throw new PharaohError("form", { link: shown });
    const [i, j] = [Number(found[1]) - first, Number(found[3]) - first];
    if (i < 0 || j < 0) throw new PharaohError("before", { link: shown, first });
    if (i >= srcWords) throw new PharaohError("source", { link: shown, word: found[1], last: srcWords - 1 + first, first });
    if (j >= tgtWords) throw new PharaohError("target", { link: shown, word: found[3], last: tgtWords - 1 + first, first });
    gold.possible.push([i, j]);
    if (found[2] === "-") gold.sure.push([i, j]);
  }
  return { sure: unique(gold.sure), possible: unique(gold.possible) };
}

/** As "0-0 1-2", source word first, in order; links that are possible only as "3p4". */
export function pharaoh(sure: readonly Link[], possible: readonly Link[] = []): string {
  const marks = new Map(unique(possible).map((link) => [key(link), "p"]));
  for (const link of sure) marks.set(key(link), "-");
  return unique([...sure, ...possible])
    .map((link) => `${link[0]}${marks.get(key(link))}${link[1]}`)
    .join(" ");
}

export function scores(found: readonly Link[], gold: Gold): Scores {
  const links = new Set(found.map(key));
  const [sure, possible] = [new Set(gold.sure.map(key)), new Set(gold.possible.map(key))];
  const among = (set: Set<number>): number => [...links].filter((link) => set.has(link)).length;
  const [inSure, inPossible] = [among(sure), among(possible)];
  return {
    errorRate: 100 * (1 - (inSure + inPossible) / Math.max(1, links.size + sure.size)),
    precision: (100 * inPossible) / Math.max(1, links.size),
    recall: (100 * inSure) / Math.max(1, sure.size),
  };
}

/** How far two alignments are the same, from 0 to 1: the share of links that the other has too. */
export function agreement(one: readonly Link[], other: readonly Link[]): number {
  return 1 - scores(one, { sure: [...other], possible: [...other] }).errorRate / 100;
}

export type Symmetry = "intersection" | "union" | "grow-diag";

const NEIGHBOURS = [[-1, 0], [0, -1], [1, 0], [0, 1], [-1, -1], [-1, 1], [1, -1], [1, 1]] as const;

/** One alignment from those of two directions, both as (source, target); "grow-diag" as Koehn, Och and Marcu (2003, section 4.5). */
export function symmetrise(forth: readonly Link[], back: readonly Link[], how: Symmetry): Link[] {
  const all = unique([...forth, ...back]);
  if (how === "union") return all;
  const other = new Set(back.map(key));
  const links = new Map(unique(forth.filter((link) => other.has(key(link)))).map((link) => [key(link), link]));
  if (how === "intersection") return unique([...links.values()]);
  const rest = new Set(all.map(key));
  for (let grown = true; grown; ) {
    grown = false;
    for (const [i, j] of unique([...links.values()]))
      for (const [di, dj] of NEIGHBOURS) {
        const next: Link = [i + di, j + dj];
        const have = [...links.values()];
        const free = have.every(([a]) => a !== next[0]) || have.every(([, b]) => b !== next[1]);
        if (next[0] >= 0 && next[1] >= 0 && rest.has(key(next)) && !links.has(key(next)) && free) {
          links.set(key(next), next);
          grown = true;
        }
      }
  }
  return unique([...links.values()]);
}

/** Of a layer's weights [h, q, k] one head, or with -1 the mean of all, row-major. */
export function headOrMean(weights: Tensor, head: number): Float64Array {
  const [heads, queries, keys] = weights.shape;
  const size = queries * keys;
  if (head >= 0) return new Float64Array(weights.data.subarray(head * size, (head + 1) * size));
  const mean = new Float64Array(size);
  for (let h = 0; h < heads; h++) for (let i = 0; i < size; i++) mean[i] += weights.data[h * size + i] / heads;
  return mean;
}

/**
 * For every row whose token belongs to a word: the source token that is looked at most, of those that belong to a word. `rows` are the tokens
 * that the rows stand for. Tags, begin and end are linked to nothing.
 */
export function tokenLinks(weights: Float64Array, keys: readonly Token[], rows: readonly Token[]): { row: number; column: number }[] {
  const columns = keys.flatMap((token, at) => (token.word >= 0 ? [at] : []));
  if (!columns.length) return [];
  return rows.flatMap((token, row) => {
    if (token.word < 0) return [];
    let best = columns[0];
    for (const column of columns) if (weights[row * keys.length + column] > weights[row * keys.length + best]) best = column;
    return [{ row, column: best }];
  });
}

/** The words are linked that hold such tokens. */
export function wordLinks(weights: Float64Array, keys: readonly Token[], rows: readonly Token[]): Link[] {
  return unique(tokenLinks(weights, keys, rows).map(({ row, column }) => [keys[column].word, rows[row].word] as const));
}

/**
 * How much a map looks like a word alignment, as the head statistics of a capture say it: `sharp` is the mean of each row's largest weight among
 * words, `mono` the share of pairs of rows whose strongest keys stand in the order of the rows. `from` and `to` bound the rows.
 */
export function quality(weights: Float64Array, keys: readonly Token[], from: number, to: number): { sharp: number; mono: number } {
  const columns = keys.flatMap((token, at) => (token.special ? [] : [at]));
  const best: number[] = [];
  let sharp = 0;
  let seen = false;
  for (let row = from; row < to; row++) {
    let [at, total] = [0, 0];
    columns.forEach((column, i) => {
      const weight = weights[row * keys.length + column];
      total += weight;
      if (weight > weights[row * keys.length + columns[at]]) at = i;
    });
    seen ||= total > 0;
    best.push(at);
    if (columns.length) sharp += weights[row * keys.length + columns[at]] / Math.max(1e-30, total);
  }
  if (!best.length || !seen) return { sharp: 0, mono: 0 };
  let later = 0;
  for (let a = 0; a < best.length; a++) for (let b = a + 1; b < best.length; b++) if (best[b] > best[a]) later++;
  const pairs = (best.length * (best.length - 1)) / 2;
  return { sharp: sharp / best.length, mono: pairs ? later / pairs : 1 };
}

/** For each word of `from` the words of `to` that stand at the same characters, or null where the texts differ. */
export function sameWords(from: Side, fromTokens: readonly Token[], to: Side, toTokens: readonly Token[]): number[][] | null {
  if (from.text !== to.text) return null;
  const [a, b] = [spans(from, fromTokens), spans(to, toTokens)];
  return a.map((one) => b.flatMap((other, j) => (one && other && one[0] < other[1] && other[0] < one[1] ? [j] : [])));
}

/** Where each word stands among the characters of its side. */
function spans(side: Side, tokens: readonly Token[]): ([number, number] | null)[] {
  const found: ([number, number] | null)[] = side.words.map(() => null);
  for (const { word, chars } of tokens) {
    if (word < 0 || !chars || chars[0] === chars[1]) continue;
    const before = found[word];
    found[word] = before ? [Math.min(before[0], chars[0]), Math.max(before[1], chars[1])] : [chars[0], chars[1]];
  }
  return found;
}
