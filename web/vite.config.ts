import { relative } from "node:path";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vitest/config";

// The page asks its own address for /api: `npm run dev` passes that on to a running `sightline explore --no-open`.
const server = process.env.SIGHTLINE_SERVER ?? "http://127.0.0.1:8765";

/** The class that keeps a component's style to itself: short, for it stands at every element, and of its path, so that each build has the same. */
const owners = new Map<string, string>();
function cssHash({ hash, filename }: { hash: (text: string) => string; filename: string }): string {
  const path = relative(import.meta.dirname, filename);
  const name = `s${hash(path).slice(0, 4)}`;
  const owner = owners.get(name) ?? path;
  if (owner !== path) throw new Error(`${path} and ${owner} would share the class ${name}: take more of the hash`);
  owners.set(name, owner);
  return name;
}

export default defineConfig({
  plugins: [svelte({ compilerOptions: { cssHash } })],
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
