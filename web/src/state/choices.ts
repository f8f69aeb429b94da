/** Language and theme as the reader switches them: kept for the next visit, and in the address, so that a copied link shows the same. */
import { lang, setLang } from "../i18n/index.svelte";
import { setParams } from "./route.svelte";
import { setTheme, type ThemeChoice } from "./theme.svelte";

export function switchLang(): void {
  const next = lang() === "en" ? "zh" : "en";
  setLang(next);
  setParams({ lang: next });
}

export function switchTheme(next: ThemeChoice): void {
  setTheme(next);
  setParams({ theme: next === "system" ? null : next });
}
