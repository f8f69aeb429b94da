/**
 * Colours that drawings share with the style sheet.
 *
 * The head colours were searched for: under protanopia, deuteranopia, tritanopia (Machado, Oliveira and Fernandes, 2009) and none any two
 * differ by a CIEDE2000 of 15.9 or more, and each stands 3:1 (light) or 4.5:1 (dark) off its ground. `test/palette.test.ts` holds them to it.
 */
export type ThemeName = "light" | "dark";

export interface Palette {
  heads: readonly string[];
  ground: string;
  raised: string;
  line: string;
  text: string;
  muted: string;
  accent: string;
  mark: string; // behind what is pinned
  hatch: string;
  negative: string; // ends of the scale of signed numbers
  positive: string;
}

export const PALETTES: Record<ThemeName, Palette> = {
  light: {
    heads: ["#0010c4", "#8d5e14", "#225b4d", "#fa007d", "#9966ff", "#919c16", "#409ea8", "#6d1710"],
    ground: "#ffffff",
    raised: "#f5f6f8",
    line: "#dfe3e8",
    text: "#14181f",
    muted: "#59636f",
    accent: "#0b57d0",
    mark: "#fff0c2",
    hatch: "#c9cfd6",
    negative: "#1f6fc4",
    positive: "#c45a00",
  },
  dark: {
    heads: ["#bfc5ff", "#9b763b", "#1fffda", "#ff1f8f", "#905df6", "#e8e800", "#409ea8", "#ff9d8a"],
    ground: "#0f1216",
    raised: "#171b21",
    line: "#2b323b",
    text: "#e8ebef",
    muted: "#9ba5b1",
    accent: "#8ab4ff",
    mark: "#463a10",
    hatch: "#3a424d",
    negative: "#5ea4f0",
    positive: "#f0954a",
  },
};

/** Dash patterns by slot: colour is never the only sign. */
export const DASHES: readonly (readonly number[])[] = [[], [7, 3], [2, 3], [10, 3, 2, 3], [4, 2], [1, 2], [12, 4], [6, 2, 2, 2, 2, 2]];

export type Rgb = readonly [number, number, number];

export function rgb(hex: string): Rgb {
  return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)) as unknown as Rgb;
}

export function hex(color: Rgb): string {
  return "#" + color.map((c) => Math.round(c).toString(16).padStart(2, "0")).join("");
}

/** From `a` (at 0) to `b` (at 1). */
export function mix(a: string, b: string, at: number): string {
  const x = rgb(a);
  const y = rgb(b);
  return hex([0, 1, 2].map((i) => x[i] + (y[i] - x[i]) * at) as unknown as Rgb);
}

/** Blue for negative, orange for positive, the ground at zero; `limit` is the largest magnitude of the whole picture. */
export function signed(palette: Palette, value: number, limit: number): string {
  const at = limit > 0 ? Math.min(1, Math.abs(value) / limit) : 0;
  return mix(palette.ground, value < 0 ? palette.negative : palette.positive, at);
}

const CIVIDIS = ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838"];

/** The cividis scale (Nunez, Anderton and Renslow, 2018) for what joins several heads. */
export function cividis(at: number): string {
  const x = Math.max(0, Math.min(1, at)) * (CIVIDIS.length - 1);
  const i = Math.min(CIVIDIS.length - 2, Math.floor(x));
  return mix(CIVIDIS[i], CIVIDIS[i + 1], x - i);
}

export function luminance(color: string): number {
  const [r, g, b] = rgb(color).map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

export function contrast(a: string, b: string): number {
  const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p);
  return (x + 0.05) / (y + 0.05);
}

/** Black or white, whichever stands off `ground` better: never less than 4.5:1. */
export function inkOn(ground: string): string {
  return contrast("#000000", ground) >= contrast("#ffffff", ground) ? "#000000" : "#ffffff";
}
