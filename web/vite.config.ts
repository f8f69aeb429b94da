import { svelte } from "@sveltejs/vite-plugin-svelte";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

// The page asks its own address for /api: `npm run dev` passes that on to a running `sightline explore --no-open`.
const server = process.env.SIGHTLINE_SERVER ?? "http://127.0.0.1:8765";

/**
 * Svelte guards all that takes over a page rendered by a server with a variable, `hydrating`, that a bundler cannot know to be false for good.
 * This page is rendered by nobody but itself: built, the variable is a constant, and what it guards is left out.
 */
const neverHydrates: Plugin = {
  name: "never-hydrates",
  apply: "build",
  transform: {
    filter: { id: /svelte\/src\/internal\/client\/dom\/hydration\.js$/ },
    handler(code) {
      const constant = code
        .replace("export let hydrating = false;", "export const hydrating = false;")
        .replace("hydrating = value;", 'if (value) throw new Error("this page does not hydrate");');
      if (!constant.includes("export const hydrating") || !constant.includes("does not hydrate")) this.error("svelte keeps `hydrating` in another way now");
      return { code: constant, map: null };
    },
  },
};

export default defineConfig({
  plugins: [svelte(), neverHydrates],
  base: "./",
  publicDir: false,
  server: { proxy: { "/api": { target: server, changeOrigin: true } } },
  build: {
    target: "es2022",
    modulePreload: false,
    cssCodeSplit: false,
    assetsInlineLimit: 0,
    emptyOutDir: true,
    outDir: "dist",
    reportCompressedSize: false,
    rollupOptions: {
      output: { entryFileNames: "app.js", assetFileNames: "app.[ext]", codeSplitting: false },
    },
  },
  test: { include: ["test/**/*.test.ts"], environment: "node" },
  resolve: process.env.VITEST ? { conditions: ["browser"] } : undefined,
});
