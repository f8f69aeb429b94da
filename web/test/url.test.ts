import { expect, test } from "vitest";
import { formatHash, number, numbers, packRequest, parseHash, unpackRequest } from "../src/state/url";

test("an address comes back as it was", () => {
  const route = { view: "attention", params: { run: "8f3a", stack: "encoder.self_attn", h: "0,4", q: "8", text: "a&b=c #?" } };
  expect(parseHash(formatHash(route))).toEqual(route);
  expect(formatHash({ view: "hand", params: { h: "0,4", k: "" } })).toBe("#/v1/hand?h=0,4");
});

test("an address that is none is the empty view", () => {
  for (const bad of ["", "#", "#/v2/x", "#/v1/" + "x".repeat(9000), "#<script>"]) expect(parseHash(bad).view).toBe("");
});

test("numbers of an address are held to what exists", () => {
  expect(numbers("5,1,1,99,-2,x,1.5,", 8)).toEqual([1, 5]);
  expect(numbers(undefined, 8)).toEqual([]);
  expect(number("3", 4, 0)).toBe(3);
  expect(number("4", 4, 0)).toBe(0);
  expect(number("1e0", 4, 2)).toBe(2);
  expect(number("", 4, 2)).toBe(2);
});

test("a request fits in a link, whatever its script, or is left out", () => {
  const request = { model: "m", src: "你好 😀 <script>", decode: { method: "beam", beam: 4 } };
  expect(packRequest(request)).toMatch(/^[\w-]+$/);
  expect(unpackRequest(packRequest(request))).toEqual(request);
  expect(packRequest({ src: "x".repeat(5000) })).toBe("");
  expect(unpackRequest("%%%")).toBeNull();
  expect(unpackRequest(undefined)).toBeNull();
});
