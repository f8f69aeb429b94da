import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { contrast, DASHES, inkOn, type Palette, PALETTES, rgb } from "../src/surface/palette";

const css = readFileSync(new URL("../src/host/app.css", import.meta.url), "utf8");

// Full dichromacies in linear RGB: Machado, Oliveira and Fernandes, 2009, severity 1.0.
const SEEN: Record<string, number[][]> = {
  normal: [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
  protanopia: [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
  deuteranopia: [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
  tritanopia: [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
};

const times = (m: number[][], v: number[]): number[] => m.map((row) => row.reduce((sum, x, i) => sum + x * v[i], 0));
const linear = (hex: string): number[] => rgb(hex).map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));

function lab(color: number[]): number[] {
  const xyz = times([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]], color);
  const f = [xyz[0] / 0.95047, xyz[1], xyz[2] / 1.08883].map((x) => (x > 0.008856 ? Math.cbrt(x) : 7.787 * x + 16 / 116));
  return [116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])];
}

/** CIEDE2000 (Sharma, Wu and Dalal, 2005). */
function difference([L1, a1, b1]: number[], [L2, a2, b2]: number[]): number {
  const rad = Math.PI / 180;
  const cMean = (Math.hypot(a1, b1) + Math.hypot(a2, b2)) / 2;
  const g = 0.5 * (1 - Math.sqrt(cMean ** 7 / (cMean ** 7 + 25 ** 7)));
  const [x1, x2] = [(1 + g) * a1, (1 + g) * a2];
  const [c1, c2] = [Math.hypot(x1, b1), Math.hypot(x2, b2)];
  const [h1, h2] = [(Math.atan2(b1, x1) / rad + 360) % 360, (Math.atan2(b2, x2) / rad + 360) % 360];
  const grey = c1 * c2 === 0;
  let dh = grey ? 0 : h2 - h1;
  if (dh > 180) dh -= 360;
  if (dh < -180) dh += 360;
  const dH = 2 * Math.sqrt(c1 * c2) * Math.sin((rad * dh) / 2);
  let h = h1 + h2;
  if (!grey) h = Math.abs(h1 - h2) <= 180 ? (h1 + h2) / 2 : h1 + h2 < 360 ? (h1 + h2 + 360) / 2 : (h1 + h2 - 360) / 2;
  const [L, c] = [(L1 + L2) / 2, (c1 + c2) / 2];
  const T = 1 - 0.17 * Math.cos(rad * (h - 30)) + 0.24 * Math.cos(rad * 2 * h) + 0.32 * Math.cos(rad * (3 * h + 6)) - 0.2 * Math.cos(rad * (4 * h - 63));
  const sL = 1 + (0.015 * (L - 50) ** 2) / Math.sqrt(20 + (L - 50) ** 2);
  const [sC, sH] = [1 + 0.045 * c, 1 + 0.015 * c * T];
  const turn = -2 * Math.sqrt(c ** 7 / (c ** 7 + 25 ** 7)) * Math.sin(60 * rad * Math.exp(-(((h - 275) / 25) ** 2)));
  const [l, d, e] = [(L2 - L1) / sL, (c2 - c1) / sC, dH / sH];
  return Math.sqrt(l * l + d * d + e * e + turn * d * e);
}

const seen = (hex: string, how: string): number[] => lab(times(SEEN[how], linear(hex)).map((x) => Math.max(0, Math.min(1, x))));

function closest(colors: readonly string[], how: string): number {
  let least = Infinity;
  for (let i = 0; i < colors.length; i++) for (let j = 0; j < i; j++) least = Math.min(least, difference(seen(colors[i], how), seen(colors[j], how)));
  return least;
}

test("CIEDE2000 gives the published values", () => {
  expect(difference([50, 2.6772, -79.7751], [50, 0, -82.7485])).toBeCloseTo(2.0425, 4);
  expect(difference([50, 2.49, -0.001], [50, -2.49, 0.0009])).toBeCloseTo(7.1792, 4);
  expect(difference([2.0776, 0.0795, -1.135], [0.9033, -0.0636, -0.5514])).toBeCloseTo(0.9082, 4);
});

test("a well-known palette fails what ours passes", () => {
  const category10 = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f"];
  expect(closest(category10, "protanopia")).toBeLessThan(2);
});

for (const [name, palette] of Object.entries(PALETTES) as [string, Palette][]) {
  for (const how of Object.keys(SEEN))
    test(`${name}: heads can be told apart with ${how} sight`, () => expect(closest(palette.heads, how)).toBeGreaterThanOrEqual(15.9));
  test(`${name}: heads stand off their ground`, () => {
    for (const color of palette.heads) expect(contrast(color, palette.ground)).toBeGreaterThanOrEqual(name === "light" ? 3 : 4.5);
  });
  test(`${name}: words can be read on every ground`, () => {
    for (const ground of [palette.ground, palette.raised, palette.mark]) expect(contrast(palette.text, ground)).toBeGreaterThanOrEqual(4.5);
    for (const ground of [palette.ground, palette.raised]) expect(contrast(palette.muted, ground)).toBeGreaterThanOrEqual(4.5);
    expect(contrast(palette.accent, palette.ground)).toBeGreaterThanOrEqual(4.5);
    for (const color of palette.heads) expect(contrast(inkOn(color), color)).toBeGreaterThanOrEqual(4.5);
  });
  test(`${name}: the style sheet has the same colours`, () => {
    const start = name === "light" ? css.indexOf(":root {") : css.indexOf(':root[data-theme="dark"] {');
    const rules = css.slice(start, css.indexOf("}", start));
    palette.heads.forEach((color, i) => expect(rules).toContain(`--head-${i + 1}: ${color};`));
    for (const part of ["ground", "raised", "line", "text", "muted", "accent", "mark"] as const) expect(rules).toContain(`--${part}: ${palette[part]};`);
  });
}

test("dark gives another value to what light has, and more contrast reaches both", () => {
  const names = (start: number): string[] => [...css.slice(start, css.indexOf("}", start)).matchAll(/(--[\w-]+):/g)].map((found) => found[1]);
  const light = names(css.indexOf(":root {"));
  for (const name of names(css.indexOf(':root[data-theme="dark"] {'))) expect(light).toContain(name);
  expect(css).not.toContain("prefers-color-scheme");
  expect(css).toMatch(/prefers-contrast: more\) \{\s*:root\[data-theme\]/);
});

test("dashes are a second sign: each slot has its own", () => {
  expect(new Set(DASHES.map(String)).size).toBe(PALETTES.light.heads.length);
});
