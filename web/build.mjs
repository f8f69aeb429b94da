// Builds the page and the one-file page into src/sightline/serve/static, and prints what they weigh.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "vite";

const BUDGET_KIB = 120;
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const target = process.argv[2] ?? here("../src/sightline/serve/static");

await build({ root: here("."), configFile: here("vite.config.ts"), logLevel: "warn" });
const read = (name) => readFileSync(here(`dist/${name}`), "utf8");
const css = read("app.css").trimEnd() + "\n";
const page = read("index.html");
const texts = { en: "en.json", zh: "zh-CN.json" };
for (const [lang, name] of Object.entries(texts)) texts[lang] = JSON.parse(readFileSync(here(`src/i18n/${name}`), "utf8"));

// The names of texts stand all over the code, so there they are numbers. Those that the code puts together, `error.${code}`, keep their names.
const names = Object.keys(texts.en);
const code = read("app.js").trimEnd() + "\n";
const literal = /(["'`])([a-z]+\.[\w.]+)\1/g;
const whole = new Set([...code.matchAll(literal)].map((found) => found[2]));
const families = [...code.matchAll(/`([a-z]+\.[\w.]*)\$\{/g)].map((found) => found[1]);
const short = new Map(names.filter((name) => whole.has(name) && !families.some((family) => name.startsWith(family))).map((name, i) => [name, i.toString(36)]));
const js = code.replaceAll(literal, (all, quote, name) => (short.has(name) ? quote + short.get(name) + quote : all));
for (const lang of Object.keys(texts)) texts[lang] = Object.fromEntries(names.map((name) => [short.get(name) ?? name, texts[lang][name]]));

// A script ends at "</script" and changes its meaning at "<!--", wherever they stand, in strings too.
const inScript = (code) => code.replaceAll(/<(?=\/script|!--|script)/gi, "\\x3c");
const inJson = (value) => JSON.stringify(value).replaceAll("<", "\\u003c");
if (/<\/style/i.test(css)) throw new Error("a style sheet that is inlined cannot hold </style");
const policy =
  "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; worker-src blob:; connect-src 'none'; base-uri 'none'; form-action 'none'";
const icon = read("app.svg");
const offline = page
  .replace("./app.svg", () => `data:image/svg+xml,${encodeURIComponent(icon)}`)
  .replace(/\s*<script type="module"[^>]*><\/script>/, "")
  .replace(/\s*<link rel="stylesheet"[^>]*>/, () => `\n    <style>\n${css}</style>`)
  .replace("<meta charset=\"utf-8\" />", () => `<meta charset="utf-8" />\n    <meta http-equiv="Content-Security-Policy" content="${policy}" />`)
  .replace(/\s*<\/body>/, () => `\n    <script type="application/json" id="sightline-texts">${inJson(texts)}</script>\n    <!--sightline-data-->\n    <script type="module">\n${inScript(js)}</script>\n  </body>`);
for (const part of ["<style>", "<!--sightline-data-->", '<script type="module">', "Content-Security-Policy"])
  if (!offline.includes(part)) throw new Error(`the one-file page lacks ${part}`);

const files = { "index.html": page, "app.js": js, "app.css": css, "app.svg": icon, "offline.html": offline };
for (const lang of Object.keys(texts)) files[`texts.${lang}.json`] = JSON.stringify(texts[lang]) + "\n";
mkdirSync(target, { recursive: true });
for (const [name, text] of Object.entries(files)) writeFileSync(`${target}/${name}`, text);

const gz = (text) => gzipSync(text, { level: 9 }).length / 1024;
// The budget is for code and style; beside them a reader loads the texts of one language.
const total = gz(js) + gz(css);
const spoken = Math.max(...Object.keys(texts).map((lang) => gz(files[`texts.${lang}.json`])));
console.log(
  `app.js ${gz(js).toFixed(1)} KiB gz, app.css ${gz(css).toFixed(1)}: ${total.toFixed(1)} of ${BUDGET_KIB} KiB; and the texts of a language ${spoken.toFixed(1)}`,
);
if (total > BUDGET_KIB) throw new Error(`the page weighs ${total.toFixed(1)} KiB gzipped; the budget is ${BUDGET_KIB}`);
