import { readdirSync, readFileSync } from "node:fs";
import { parse } from "svelte/compiler";
import { expect, test } from "vitest";
import en from "../src/i18n/en.json";
import zh from "../src/i18n/zh-CN.json";

const root = new URL("../src/", import.meta.url);
const files = (readdirSync(root, { recursive: true }) as string[]).sort();
const read = (name: string): string => readFileSync(new URL(name, root), "utf8");
const texts: Record<string, Record<string, string>> = { en, zh };

test("both languages have the same keys", () => {
  expect(Object.keys(zh).sort()).toEqual(Object.keys(en).sort());
});

test("both languages name the same arguments", () => {
  const args = (text: string): string[] => [...new Set(text.match(/\{\w+\}/g) ?? [])].sort();
  for (const key of Object.keys(en)) expect([key, args(texts.zh[key])]).toEqual([key, args(texts.en[key])]);
});

/** Symbols and names that are the same in both languages. */
const SAME = /^[\s\d{}\w.+·×÷=∥‖√⟨⟩<>()[\]/:,|∈→←Δ²ᵀ∞−-]*$/u;

test("Chinese is Chinese", () => {
  for (const [key, text] of Object.entries(texts.zh)) {
    if (text === texts.en[key]) expect([key, SAME.test(text) && text.replaceAll(/\{\w+\}/g, "").length <= 12]).toEqual([key, true]);
  }
});

test("English has no Chinese in it, but for names of languages and quoted words", () => {
  for (const [key, text] of Object.entries(en)) expect([key, /[\u3400-\u9fff]/.test(text.replaceAll(/“[^”]*”|\([^)]*\)/g, ""))]).toEqual([key, false]);
});

test("every text is used, and every text that is used exists", () => {
  const all = files.filter((name) => /\.(svelte|ts)$/.test(name)).map(read).join("\n");
  for (const key of Object.keys(en)) {
    // Families are put together from a code: error.<code>, <view>.name_<what>.
    const family = /^(error|warning)\./.test(key) || key.startsWith("common.") || all.includes(`\`${key.replace(/_[^_]*$/, "_")}\${`) || all.includes(`\`${key.replace(/\.[^.]*$/, ".")}\${`);
    expect([key, family || all.includes(`"${key}"`)]).toEqual([key, true]);
  }
});

/** What may stand in a component as it is: numbers, mathematics, names of formats and keys. */
const LITERAL = /^[\s\d.,:;·×÷+=√→←↑↓—–\-()[\]|/∥‖%…]*$|^(Sightline|SVG|PNG|CSV|JSON|Excel|Pharaoh|HTML)?[\s×]*$/u;

type Node = { type: string; data?: string; name?: string; value?: unknown; [key: string]: unknown };

function literals(source: string): string[] {
  const found: string[] = [];
  const walk = (node: Node | null | undefined, mathematics = false): void => {
    if (!node || typeof node !== "object") return;
    if (Array.isArray(node)) return (node as Node[]).forEach((one) => walk(one, mathematics));
    const math = mathematics || (node.type === "RegularElement" && node.name === "math") || (node.type === "RegularElement" && ["script", "style"].includes(node.name!));
    if (node.type === "Text" && !math && !LITERAL.test(node.data!)) found.push(node.data!.trim());
    if (node.type === "StyleDirective") return;
    if (node.type === "Attribute") {
      if (!["title", "placeholder", "alt", "label"].includes(node.name!) && node.name !== "aria-label") return walkValue(node.value, false);
      return walkValue(node.value, true);
    }
    for (const [key, value] of Object.entries(node)) if (key !== "instance" && key !== "module" && key !== "css" && typeof value === "object") walk(value as Node, math);
  };
  const walkValue = (value: unknown, shown: boolean): void => {
    for (const part of Array.isArray(value) ? value : [value]) {
      if (part?.type === "Text") {
        if (shown && !LITERAL.test(part.data)) found.push(part.data);
      } else walk(part);
    }
  };
  walk(parse(source, { modern: true }).fragment as unknown as Node);
  return found;
}

test("the search for literals finds them", () => {
  expect(literals(`<p title="Hello">{t("a")} · 3 <b>there</b></p>`)).toEqual(["Hello", "there"]);
});

for (const name of files.filter((file) => file.endsWith(".svelte")))
  test(`${name} holds no text of its own`, () => expect(literals(read(name))).toEqual([]));

test("whatever the server refuses has a sentence", () => {
  const sources = new URL("../../src/sightline/", import.meta.url);
  const python = (readdirSync(sources, { recursive: true }) as string[]).filter((name) => /^(serve|inspection)\/.*\.py$/.test(name));
  const codes = python.flatMap((name) => [...readFileSync(new URL(name, sources), "utf8").matchAll(/\b(?:CaptureError|Refusal)\(\s*(?:\d{3},\s*)?f?"([a-z_{}]+)"/g)].map((found) => found[1]));
  expect(codes.length).toBeGreaterThan(15);
  for (const code of codes.flatMap((code) => (code.startsWith("{name}") ? ["src", "tgt"].map((side) => code.replace("{name}", side)) : [code]))) expect(Object.keys(en)).toContain(`error.${code}`);
});
