import { readdirSync } from "node:fs";
import { relative } from "node:path";
import { vitePreprocess } from "@sveltejs/vite-plugin-svelte";

const here = (path) => relative(import.meta.dirname, path);
const components = readdirSync(import.meta.dirname + "/src", { recursive: true, withFileTypes: true })
  .filter((each) => each.name.endsWith(".svelte"))
  .map((each) => here(`${each.parentPath}/${each.name}`))
  .sort();

export default {
  preprocess: vitePreprocess(),
  compilerOptions: {
    runes: true,
    // Short, for each stands hundreds of times in the page: the place among the components of this folder, so that every machine builds the same.
    cssHash: ({ filename }) => `_${components.indexOf(here(filename)).toString(36)}`,
  },
};
