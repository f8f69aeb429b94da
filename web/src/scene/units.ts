/** What stands at the edge of a map: tokens, or the words that they make up. */
import type { Side, Token } from "../pack/contract";

export interface Unit {
  label: string;
  /** Positions on the side, from 0, in order. */
  tokens: number[];
  special: boolean;
  /** A piece of a character: its label is the whole character with which piece it is. */
  partial: boolean;
}

const LONGEST = 24;

/**
 * `text` as it may stand in a picture: what cannot be seen gets a sign, what is long is cut, and what runs from right to left is kept from
 * turning its neighbours.
 */
export function shown(text: string, longest = LONGEST): string {
  const signs = text.replace(/[\u0000-\u001f\u007f]/g, (c) => (c === "\u007f" ? "\u2421" : String.fromCharCode(0x2400 + c.charCodeAt(0)))).replace(/^\s+$/, (blank) => "\u2423".repeat(Math.min(3, blank.length)));
  const segments = [...new Intl.Segmenter(undefined, { granularity: "grapheme" }).segment(signs.slice(0, 8 * longest))].map((part) => part.segment);
  const cut = segments.length > longest || signs.length > 8 * longest ? segments.slice(0, longest - 1).join("") + "\u2026" : signs;
  return /[\u0590-\u08ff\u200f\u202a-\u202e\u2066-\u2069\ufb1d-\ufefc]/.test(cut) ? `\u2068${cut.replace(/[\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "")}\u2069` : cut;
}

function tokenLabel(tokens: readonly Token[], at: number, characters: readonly string[]): Pick<Unit, "label" | "partial"> {
  const token = tokens[at];
  if (token.special) return { label: shown(token.piece), partial: false };
  if (!token.partial || !token.chars) return { label: shown(token.text || token.piece), partial: token.partial };
  const same = (other: Token | undefined): boolean => !!other?.partial && other.chars?.[0] === token.chars![0];
  let [first, last] = [at, at];
  while (same(tokens[first - 1])) first--;
  while (same(tokens[last + 1])) last++;
  return { label: `${shown(characters.slice(...token.chars).join(""))} ${at - first + 1}/${last - first + 1}`, partial: true };
}

/** The units of `side`: its words if `words`, else its tokens; special ones left out if `hideSpecial`. */
export function units(side: Side, { words, hideSpecial }: { words: boolean; hideSpecial: boolean }): Unit[] {
  const characters = [...side.text];
  const found: Unit[] = [];
  side.tokens.forEach((token, at) => {
    if (hideSpecial && token.special) return;
    const before = found.at(-1);
    const same = words && token.word >= 0 && before && side.tokens[before.tokens[0]].word === token.word;
    if (same) before.tokens.push(at);
    else if (words && token.word >= 0) found.push({ label: shown(side.words[token.word]), tokens: [at], special: false, partial: false });
    else found.push({ ...tokenLabel(side.tokens, at, characters), tokens: [at], special: token.special });
  });
  return found;
}

/** The unit that holds token `at`, or -1. */
export function unitOf(list: readonly Unit[], at: number): number {
  return list.findIndex((unit) => unit.tokens.includes(at));
}
