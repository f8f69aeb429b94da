/** The page: served by a server of this machine, or opened from one file that holds its data. */
import { mount } from "svelte";
import { firstLang, isLang, type Lang, setLang, type Texts, textsFrom } from "../i18n/index.svelte";
import { ApiHost } from "../pack/api";
import { HostError } from "../pack/host";
import { DATA_ID, OfflineHost } from "../pack/offline";
import App from "../shell/App.svelte";
import { startKeys } from "../state/keys.svelte";
import { route } from "../state/route.svelte";
import { startTheme } from "../state/theme.svelte";
import "./app.css";

const asked = route.params.lang;
const data = document.getElementById(DATA_ID);
// A page saved in one language opens in it; the reader's own choice comes first.
const saved = data?.dataset.lang;
const inlined = document.getElementById("sightline-texts");
textsFrom(async (lang: Lang): Promise<Texts> => {
  if (inlined) return JSON.parse(inlined.textContent ?? "")[lang];
  return (await fetch(import.meta.env.DEV ? `/src/i18n/${lang === "zh" ? "zh-CN" : lang}.json` : `./texts.${lang}.json`)).json();
});
const speaking = setLang(isLang(asked) ? asked : isLang(saved) ? saved : firstLang(), false);
startTheme(route.params.theme);
startKeys();

async function host(): Promise<ApiHost | OfflineHost> {
  if (!data) return new ApiHost();
  const page = "<!doctype html>\n" + document.documentElement.outerHTML;
  try {
    return await OfflineHost.open(data.textContent ?? "", page);
  } catch (raised) {
    throw new HostError("damaged_file", { what: raised instanceof Error ? raised.message : String(raised) });
  }
}

// The page's own text is taken before anything is drawn into it.
const opening = host();
await speaking;
mount(App, { target: document.getElementById("app")!, props: { opening } });
