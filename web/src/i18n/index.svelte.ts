/** Texts in the reader's language: `t("shell.run")`, `t("shell.layer", { n: 3 })`. */
import en from "./en.json";
import zh from "./zh-CN.json";

export type Lang = "en" | "zh";
export type Key = keyof typeof en;
export type Args = Record<string, string | number>;

export const LANGS: readonly Lang[] = ["en", "zh"];
const TEXTS: Record<Lang, Record<Key, string>> = { en, zh };
const TAG: Record<Lang, string> = { en: "en", zh: "zh-CN" };
const STORED = "sightline.lang";

export function isLang(value: string | null | undefined): value is Lang {
  return value === "en" || value === "zh";
}

function stored(): string | null {
  try {
    return localStorage.getItem(STORED);
  } catch {
    return null; // a file page may have no storage
  }
}

/** What the reader chose before, else what the browser prefers. */
export function firstLang(): Lang {
  const before = stored();
  if (isLang(before)) return before;
  const wanted = typeof navigator === "undefined" ? [] : navigator.languages;
  for (const tag of wanted) {
    if (/^zh\b/i.test(tag)) return "zh";
    if (/^en\b/i.test(tag)) return "en";
  }
  return "en";
}

let current = $state<Lang>("en");

export function lang(): Lang {
  return current;
}

export function setLang(next: Lang, keep = true): void {
  current = next;
  if (typeof document !== "undefined") document.documentElement.lang = TAG[next];
  if (!keep) return;
  try {
    localStorage.setItem(STORED, next);
  } catch {
    // without storage the choice holds for this page
  }
}

export function hasText(key: string): key is Key {
  return Object.hasOwn(en, key);
}

/** The text of `key`, with `{name}` replaced by `args.name`. */
export function t(key: Key, args: Args = {}): string {
  return textIn(current, key, args);
}

export function textIn(language: Lang, key: Key, args: Args = {}): string {
  return (TEXTS[language][key] as string).replace(/\{(\w+)\}/g, (whole, name: string) => (name in args ? String(args[name]) : whole));
}

/** A number for reading: grouped digits, at most `digits` after the point. */
export function count(n: number): string {
  return n.toLocaleString("en-US").replaceAll(",", " ");
}
