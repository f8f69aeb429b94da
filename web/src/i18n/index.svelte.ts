/** Texts in the reader's language: `t("shell.run")`, `t("shell.layer", { n: 3 })`. Only that language is loaded. */
import type en from "./en.json";

export type Lang = "en" | "zh";
export type Key = keyof typeof en;
export type Texts = Record<Key, string>;
export type Args = Record<string, string | number>;

export const LANGS: readonly Lang[] = ["en", "zh"];
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
let texts = $state.raw<Partial<Texts>>({});
let wanted: Lang = "en";
let load: (lang: Lang) => Promise<Texts>;

/** Where the texts of a language come from. */
export function textsFrom(source: (lang: Lang) => Promise<Texts>): void {
  const known = new Map<Lang, Promise<Texts>>();
  load = (lang) => {
    const found = known.get(lang) ?? source(lang);
    known.set(lang, found);
    found.catch(() => known.delete(lang)); // another try may find them
    return found;
  };
}

export function lang(): Lang {
  return current;
}

/** Changes the language once its texts are there; the last one asked for counts. */
export async function setLang(next: Lang, keep = true): Promise<void> {
  wanted = next;
  const found = await load(next);
  if (wanted !== next) return;
  texts = found;
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
  return Object.hasOwn(texts, key);
}

/** The text of `key`, with `{name}` replaced by `args.name`. */
export function t(key: Key, args: Args = {}): string {
  return (texts[key] ?? key).replace(/\{(\w+)\}/g, (whole, name: string) => (name in args ? String(args[name]) : whole));
}

/** Why something was not done, in the reader's language where there is a sentence for it. */
export function refusal({ code, args }: { code: string; args: Args }): string {
  const key = `error.${code}`;
  return hasText(key) ? t(key, args) : t("error.unknown", { code, args: JSON.stringify(args) });
}

/** A number for reading: grouped digits, at most `digits` after the point. */
export function count(n: number): string {
  return n.toLocaleString("en-US").replaceAll(",", " ");
}
