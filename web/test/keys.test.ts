import { expect, test } from "vitest";
import { choosing } from "../src/state/keys.svelte";

test("a list of choices keeps the keys that it uses itself, and leaves the others to the page", () => {
  const beams = ["1", "2", "4"];
  const key = (name: string, altKey = false): boolean => choosing(beams, { key: name, altKey });
  for (const name of ["ArrowDown", "Enter", " ", "Home", "Escape", "1", "4"]) expect(key(name)).toBe(true);
  for (const name of ["3", "m", "?", "h"]) expect(key(name)).toBe(false);
  expect(key("1", true)).toBe(false);
  expect(choosing(["Chinese", "English"], { key: "e", altKey: false })).toBe(true);
  expect(choosing(["Chinese", "English"], { key: "d", altKey: false })).toBe(false);
});
