import { relative } from "node:path";
import { vitePreprocess } from "@sveltejs/vite-plugin-svelte";

export default {
  preprocess: vitePreprocess(),
  compilerOptions: {
    runes: true,
    // Short, for each stands hundreds of times in the page; of the path in this folder, so that every machine builds the same.
    cssHash: ({ hash, filename }) => `s${hash(relative(import.meta.dirname, filename)).slice(0, 4)}`,
  },
};
