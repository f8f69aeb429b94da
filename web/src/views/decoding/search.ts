/** A search as it was told, read for the page: paths, what could come next, and the ranking of what ended. Nothing here asks a server. */
import type { Candidate, Decode } from "../../pack/contract";

export type Node = Decode["nodes"][number];

export type Norm = "none" | "average" | "wu";
export const NORMS: readonly Norm[] = ["none", "average", "wu"];

/** Nodes from the begin (node 0) to `end`. */
export function pathTo(decode: Decode, end: number): number[] {
  const found: number[] = [];
  for (let at = end; at >= 0 && decode.nodes[at]; at = decode.nodes[at].parent) found.push(at);
  return found.reverse();
}

/** The nodes right after `parent`. */
export function childrenOf(decode: Decode): Map<number, Node[]> {
  const found = new Map<number, Node[]>();
  for (const node of decode.nodes) {
    const list = found.get(node.parent);
    if (list) list.push(node);
    else found.set(node.parent, [node]);
  }
  return found;
}

export interface Bar extends Candidate {
  p: number;
  /** What the search made of it; null where it did not look at it. */
  state: Node["state"] | null;
  node: number;
  /** It stands on the path that is shown. */
  chosen: boolean;
  /** It came though it is not among the most probable. */
  outside: boolean;
}

export interface Bars {
  bars: Bar[];
  /** The probability of all other tokens together, and how many those are. */
  rest: number;
  others: number;
  sum: number;
}

/** What could come after the node `before`; `next` is the node that comes there on the path, -1 for none. */
export function barsAfter(decode: Decode, before: number, next: number, vocab: number): Bars | null {
  const live = decode.steps[decode.nodes[before]?.t]?.live.find((one) => one.node === before);
  if (!live) return null;
  const after = decode.nodes.filter((node) => node.parent === before);
  const chosen = next >= 0 ? decode.nodes[next] : null;
  const bars: Bar[] = live.topk.map((one) => {
    const node = after.find((other) => other.token === one.id);
    return { ...one, p: Math.exp(one.lp), state: node?.state ?? null, node: node?.id ?? -1, chosen: one.id === chosen?.token, outside: false };
  });
  let rest = live.rest;
  if (chosen && !bars.some((bar) => bar.chosen)) {
    const p = Math.exp(chosen.lp);
    bars.push({ id: chosen.token, text: chosen.text, lp: chosen.lp, p, state: chosen.state, node: chosen.id, chosen: true, outside: true });
    rest = Math.max(0, rest - p);
  }
  return { bars, rest, others: Math.max(0, vocab - bars.length), sum: bars.reduce((sum, bar) => sum + bar.p, rest) };
}

/** What the log-probability of `length` tokens, the end counted, is divided by: `none` 1, `average` length^α, `wu` ((5 + length) / 6)^α. */
export function norm(kind: Norm, alpha: number, length: number): number {
  if (kind === "none") return 1;
  return (kind === "average" ? length : (5 + length) / 6) ** alpha;
}

export function normOf(decode: Decode): Norm {
  return NORMS.includes(decode.length_norm as Norm) ? (decode.length_norm as Norm) : "none";
}

export interface Ranked {
  node: number;
  text: string;
  /** Tokens, the end counted where there is one. */
  length: number;
  lp: number;
  norm: number;
  /** What the search adds for source words that were hardly looked at; 0 without a coverage penalty. */
  coverage: number;
  score: number;
  /** Its place under the search's own rule, from 1. */
  before: number;
}

/** Everything that ended, best first under the rule given; of equal scores the one that the search itself puts first. */
export function ranking(decode: Decode, kind: Norm, alpha: number): Ranked[] {
  const ownKind = normOf(decode);
  return decode.finished
    .map(({ node, text, lp, score }, i) => {
      const length = Math.max(1, decode.nodes[node].t);
      const extra = score - lp / norm(ownKind, decode.length_penalty, length);
      const coverage = Math.abs(extra) > 1e-6 * Math.max(1, Math.abs(lp)) ? extra : 0;
      const divisor = norm(kind, alpha, length);
      return { node, text, length, lp, norm: divisor, coverage, score: lp / divisor + coverage, before: i + 1 };
    })
    .sort((a, b) => b.score - a.score || a.before - b.before);
}

export interface Piece {
  text: string;
  /** Whether the other side has it too. */
  same: boolean;
}

/** Two rows of words with what they share marked: a longest common subsequence. */
export function compared(before: readonly string[], now: readonly string[]): [Piece[], Piece[]] {
  const longest = Array.from({ length: before.length + 1 }, () => new Uint16Array(now.length + 1));
  for (let i = before.length - 1; i >= 0; i--)
    for (let j = now.length - 1; j >= 0; j--)
      longest[i][j] = before[i] === now[j] ? longest[i + 1][j + 1] + 1 : Math.max(longest[i + 1][j], longest[i][j + 1]);
  const left = before.map((text) => ({ text, same: false }));
  const right = now.map((text) => ({ text, same: false }));
  for (let i = 0, j = 0; i < before.length && j < now.length; ) {
    if (before[i] === now[j]) left[i++].same = right[j++].same = true;
    else if (longest[i + 1][j] >= longest[i][j + 1]) i++;
    else j++;
  }
  return [left, right];
}

/** A number as it is read, with a real minus. */
export function signedText(value: number, digits = 2): string {
  const text = Math.abs(value).toFixed(digits);
  return value < 0 && Number(text) !== 0 ? `−${text}` : text;
}

/** A probability: three digits, and small ones in powers of ten, so that none is shown as nothing. */
export function probability(p: number): string {
  if (p >= 0.0005 || p === 0) return p.toFixed(3);
  const [digits, power] = p.toExponential(0).split("e");
  return `${digits}·10${[...power].map((c) => ({ "-": "⁻" })[c] ?? "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(c)] ?? "").join("")}`;
}
