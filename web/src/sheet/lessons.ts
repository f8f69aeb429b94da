/** The lessons: small whole numbers, chosen so that scaled scores lie between -2 and 4 and sqrt(d_k) is 2. */

import { type Expression, dot, number, over, ref, sum } from "./expression";
import { type AttentionSpec, SMALL, attentionSheet, headBlocks, softmaxBlocks } from "./attention";
import { type Block, Sheet, type Step } from "./sheet";
import { SWITCHES, type Switches, type Workbook } from "./workbook";

export type Switch = "scale" | "mask" | "positions" | "argmax";

/** Labels in the reader's language. */
export interface Labels {
  words: string[]; // I, love, you
  target: string[]; // start, and the first word of the translation
  features: string[]; // what the four numbers of a word stand for
  moreFeatures: string[]; // the same for eight
  people: string[]; // four names
  signs: string[]; // what the five numbers of a name stand for
}

export interface Try {
  /** Ends the key of its text: hand.<lesson>.try.<id>. */
  id: string;
  act: (book: Workbook) => void;
}

export interface Lesson {
  id: string;
  paragraphs: number;
  make: (switches: Switches, labels: Labels) => Sheet;
  start?: Partial<Switches>;
  switches: readonly Switch[];
  /** Steps that are folded at first, for this lesson is about others. */
  folded: readonly Step[];
  tries: readonly Try[];
  /** Ends of the keys hand.why.<id>.q and .a. */
  whys: readonly string[];
  /** Blocks that are hidden in the quiz at first. */
  quiz: readonly string[];
  /** The cell that is selected at first. */
  select: string;
  /** Sizes of d_k to choose from. */
  sizes?: readonly number[];
}

/** The sentence that the lesson on cross-attention translates into Chinese, in every language of the page. */
const SOURCE = ["I", "love", "you"];

const X = [
  [1, 0, 1, 0],
  [0, 2, 0, 1],
  [1, 0, 0, 1],
];
const W_Q = [
  [1, 0, 0, 0],
  [0, 1, 0, 0],
  [0, 0, 1, -1],
  [0, 1, 0, 0],
];
const W_K = [
  [0, 2, 0, 0],
  [1, 0, 1, 0],
  [0, -2, 0, 0],
  [0, 0, 0, 2],
];
const W_V = [
  [1, 0, 0, 0],
  [0, 1, 0, 0],
  [0, 0, 2, 0],
  [0, 0, -1, 1],
];
const W_O = [
  [1, 0, 0, 0],
  [0, 1, 0, 1],
  [0, 0, 1, 0],
  [-1, 0, 0, 1],
];

/** Places and words in eight numbers: head 1 looks one word back, head 2 joins a verb and its people. */
const TWO_HEADS = {
  x: [
    [1, 0, 1, 0, 0, 1, 0, 0],
    [0, 1, 0, 0, 1, 0, 1, 0],
    [1, 0, 0, 1, 0, 0, 0, 1],
  ],
  wq: [
    [0, 0, 0, 0, 2, 0, 0, 0],
    [0, 0, 0, 2, 0, 2, 2, 0],
    [0, 0, 0, 0, 0, 0, 0, 1],
    [0, 0, 0, 0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0, 0, 0, 0],
    [2, 0, 0, 0, 0, 0, 0, 0],
    [2, 0, 0, 0, 0, 0, 0, 0],
    [0, 2, 0, 0, 0, 0, 0, 0],
  ],
  wk: [
    [0, 0, 0, 0, 0, 1, 0, 0],
    [0, 0, 0, 0, 2, 0, 0, 0],
    [0, 0, 0, 0, 0, 0, 0, 2],
    [0, 0, 0, 0, 0, 0, 2, 0],
    [0, 0, 0, 0, 0, 0, 0, 0],
    [2, 0, 0, 0, 0, 0, 0, 0],
    [0, 2, 0, 0, 0, 0, 0, 0],
    [0, 0, 2, -1, 0, 0, 0, 0],
  ],
  wv: [
    [0, 0, 0, 0, 1, 0, 0, 0],
    [0, 0, 0, 1, 0, 0, 0, 2],
    [2, 0, 0, 0, 0, 0, 0, 0],
    [0, 0, 2, 0, 0, 2, 0, 0],
    [0, 2, 0, 0, 0, 0, 1, 0],
    [0, 0, 0, 0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0, 0, 0, 0],
  ],
  wo: [
    [1, 0, 0, 0, 0, 0, 1, 0],
    [0, 1, 0, 0, 0, 0, 0, 1],
    [0, 0, 1, 0, 0, 0, 1, 0],
    [0, 0, 0, 1, 0, 0, 0, 1],
    [1, 0, 0, 0, 1, 0, 0, 0],
    [0, 1, 0, 0, 0, 1, 0, 0],
    [0, 0, 2, 0, 0, 1, 0, 0],
    [0, 0, 0, -1, 1, 0, 0, 0],
  ],
};

const count = (n: number): string[] => Array.from({ length: n }, (_, i) => String(i + 1));

/** Columns of what comes in, and rows of what it is multiplied with, are named. */
function named(sheet: Sheet, features: string[], inputs: string[] = ["X", "E", "P", "M"], weights = ["W_Q", "W_K", "W_V"]): Sheet {
  for (const name of inputs) {
    const block = sheet.block(name);
    if (block?.cols.length === features.length) block.cols = features;
  }
  for (const name of weights) {
    const block = sheet.block(name);
    if (block?.rows.length === features.length) block.rows = features;
  }
  return sheet;
}

function oneHead(labels: Labels, more: Partial<AttentionSpec> = {}): AttentionSpec {
  return { queries: labels.words, x: X, wq: W_Q, wk: W_K, wv: W_V, heads: 1, ...more };
}

function twoHeads(labels: Labels, more: Partial<AttentionSpec> = {}): AttentionSpec {
  return { queries: labels.words, heads: 2, ...TWO_HEADS, ...more };
}

/** A fixed sequence of -1 and 1 that looks thrown. */
export function coins(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) & 1 ? 1 : -1;
  };
}

/** One query and four keys of thrown coins: the dot product's spread is sqrt(d_k), whatever d_k. */
function scaleSheet({ dHead: size, ...switches }: Switches): Sheet {
  const sheet = new Sheet();
  const throwCoin = coins(1474);
  const q = Array.from({ length: 256 }, throwCoin);
  const keys = Array.from({ length: 4 }, () => Array.from({ length: 256 }, throwCoin));
  const names = ["k₁", "k₂", "k₃", "k₄"];
  const fold = 8;
  const plain = { kind: "plain" as const, random: [-1, 1], cols: count(size), fold };
  const query = sheet.add({ ...plain, step: "qkv", name: "q", title: "q", symbol: "q", rows: ["q"] }, (_, j) => q[j]!);
  const key = sheet.add({ ...plain, step: "qkv", name: "k", title: "K", symbol: "K", rows: names }, (i, j) => keys[i]![j]!);
  const row = { rows: ["q"], cols: names, kind: "plain" as const, pairs: true };
  const scores = sheet.add({ ...row, step: "scores", name: "S", title: "q·k", symbol: "q·k" }, (_, j) =>
    dot(query.ids[0]!, key.ids[j]!),
  );
  const all = { dHead: size, ...switches };
  const without = softmaxBlocks(sheet, scores, "0", all, { step: "scores", head: 7 });
  without.titleKey = "hand.block.unscaled";
  const scaled = sheet.add({ ...row, step: "scale", name: "D", title: `÷ √${size}`, symbol: "s", head: 2 }, (i, j) =>
    switches.scale ? over(ref(scores.ids[i]![j]!, true), { op: "root", a: number(size) }) : sum(ref(scores.ids[i]![j]!)),
  );
  const weights = softmaxBlocks(sheet, scaled, "", all, { step: "scale", head: 2 });
  weights.titleKey = "hand.block.scaled";
  return sheet;
}

const AGES = [18, 20, 22, 19];
/** Zhang, Li; San, Si, Wei. */
const NAMES = [
  [1, 0, 1, 0, 0],
  [1, 0, 1, 0, 0],
  [0, 1, 0, 1, 0],
  [1, 0, 0, 0, 1],
];

/** How old is everyone called Zhang? By exact match, by the beginning of the name, and by dot products. */
function lookupSheet(switches: Switches, labels: Labels): Sheet {
  const sheet = new Sheet();
  const { people, signs } = labels;
  const age = sheet.add(
    { step: "lookup", kind: "plain", name: "V", title: "V", titleKey: "hand.block.ages", symbol: "V", rows: people, cols: ["V"] },
    (i) => AGES[i]!,
  );
  const answer = (suffix: string, weights: Block, step: Step, head: number, titleKey: string) =>
    sheet.add(
      { step, kind: "plain", name: `Z${suffix}`, title: "A·V", titleKey, symbol: "z", rows: weights.rows, cols: ["V"], head },
      () => dot(weights.ids[0]!, age.ids.map((row) => row[0]!)),
    );
  [
    { suffix: "1", match: [1, 1, 0, 0], head: 0, title: "hand.block.exact", row: people[0]! },
    { suffix: "2", match: [1, 1, 0, 1], head: 1, title: "hand.block.prefix", row: signs[0]! },
  ].forEach(({ suffix, match, head, title, row }) => {
    const found = sheet.add(
      { step: "lookup", kind: "plain", name: `F${suffix}`, title: "match", titleKey: title, symbol: "f", rows: [row], cols: people, head, pairs: true },
      (_, j) => match[j]!,
    );
    const total = sheet.add(
      { step: "lookup", kind: "plain", name: `T${suffix}`, title: "Σ", symbol: "Σ", rows: [row], cols: ["Σ"], head },
      () => sum(...found.ids[0]!.map((id) => ref(id))),
    );
    const weights = sheet.add(
      { step: "lookup", kind: "weights", name: `A${suffix}`, title: "A", titleKey: "hand.block.weights", symbol: "a", rows: [row], cols: people, head, pairs: true },
      (_, j) => over(ref(found.ids[0]![j]!), ref(total.ids[0]![0]!)),
    );
    answer(suffix, weights, "lookup", head, "hand.block.answer");
  });
  /** What q asks for, put together from the signs that it holds. */
  const asked = (value: (j: number) => number): string => {
    const found = signs.filter((_, j) => value(j) > 0).join(people[0]!.includes(" ") ? " " : "");
    return found || "q";
  };
  const rows = [signs[0]!];
  const q = sheet.add(
    { step: "scores", kind: "plain", name: "q", title: "q", titleKey: "hand.block.query", symbol: "q", rows, cols: signs, head: 2 },
    (_, j) => (j === 0 ? 6 : 0),
  );
  const k = sheet.add(
    { step: "scores", kind: "plain", name: "K", title: "K", titleKey: "hand.block.keys", symbol: "K", rows: people, cols: signs, head: 2 },
    (i, j) => NAMES[i]![j]!,
  );
  const scores = sheet.add(
    { step: "scores", kind: "plain", name: "S", title: "q·Kᵀ", symbol: "q·k", rows, cols: people, head: 2, pairs: true },
    (_, j) => dot(q.ids[0]!, k.ids[j]!),
  );
  const weights = softmaxBlocks(sheet, scores, "", switches, { step: "softmax", head: 2 });
  answer("", weights, "z", 2, "hand.block.answer");
  sheet.relabel = (values) => sheet.rename(["q", "S", "e", "A", "Z"], [asked((j) => values.get(`q[1,${j + 1}]`)!)]);
  return sheet;
}

/** The same three words in two orders. */
function orderSheet(switches: Switches, labels: Labels): Sheet {
  const sheet = new Sheet();
  const { words, features } = labels;
  const places = [
    [0, 1, 0, 0],
    [1, 0, 0, 1],
    [0, 0, 2, 0],
  ];
  const given = (name: string, numbers: number[][], step: Step, rows: string[], cols = count(4)) =>
    sheet.add({ step, kind: "plain", name, title: name, symbol: name, rows, cols, random: SMALL }, (i, j) => numbers[i]![j]!);
  const e = given("E", X, "position", words, features);
  const p = given("P", places, "position", count(3), features);
  const w = { Q: given("W_Q", W_Q, "qkv", features), K: given("W_K", W_K, "qkv", features), V: given("W_V", W_V, "qkv", features) };
  const z = ["a", "b"].map((suffix, head) => {
    const order = head === 0 ? [0, 1, 2] : [2, 1, 0];
    const rows = order.map((i) => words[i]!);
    const x = sheet.add(
      { step: "x", kind: "plain", name: `X${suffix}`, title: switches.positions ? "X = E + P" : "X = E", symbol: "X", rows, cols: count(4), head },
      (i, j) => {
        const terms: Expression[] = [ref(e.ids[order[i]!]![j]!)];
        if (switches.positions) terms.push(ref(p.ids[i]![j]!));
        return sum(...terms);
      },
    );
    const made = (["Q", "K", "V"] as const).map((name) =>
      sheet.add(
        { step: "qkv", kind: "plain", name: `${name}${suffix}`, title: `${name} = X·W_${name}`, symbol: name, rows, cols: count(4), head },
        (i, j) => dot(x.ids[i]!, w[name].ids.map((row) => row[j]!)),
      ),
    );
    const [q, k, v] = made.map((block) => block.ids) as [string[][], string[][], string[][]];
    return { order, z: headBlocks(sheet, suffix, { queries: rows, keys: rows }, { q, k, v }, switches, { head }).z };
  });
  z.forEach((each, i) => Object.assign(each.z, { title: "Z = A·V", symbol: ["Z_A", "Z_B"][i]! }));
  const [a, b] = z as [(typeof z)[0], (typeof z)[0]];
  sheet.add(
    { step: "compare", kind: "plain", name: "Δ", title: "Z_b − Z_a", titleKey: "hand.block.difference", symbol: "Δ", rows: words, cols: count(4) },
    (i, j) => ({ op: "minus", a: ref(b.z.ids[b.order.indexOf(i)]![j]!), b: ref(a.z.ids[a.order.indexOf(i)]![j]!) }),
  );
  return sheet;
}

const write = (...numbers: [string, number][]) => (book: Workbook) => book.write(numbers);
const turn = (change: Partial<Switches>) => (book: Workbook) => book.switch(change);

/** Write one block's numbers into another one. */
function copy(from: string, to: string): (book: Workbook) => void {
  return (book) => {
    const { sheet, values } = book.view;
    const source = sheet.block(from)!.ids.flat();
    book.write(sheet.block(to)!.ids.flat().map((id, i) => [id, values.get(source[i]!)!] as const));
  };
}

/** Set a whole block to one number. */
function fill(name: string, value: number): (book: Workbook) => void {
  return (book) => book.write(book.view.sheet.block(name)!.ids.flat().map((id) => [id, value] as const));
}

const AFTER: readonly Step[] = ["scores", "scale", "mask", "softmax", "z"];

export const LESSONS: readonly Lesson[] = [
  {
    id: "x",
    paragraphs: 4,
    make: (switches, labels) => named(attentionSheet(oneHead(labels), switches), labels.features),
    switches: [],
    folded: AFTER,
    tries: [
      { id: "more", act: write(["X[2,4]", 2]) },
      { id: "zero", act: fill("W_Q", 0) },
    ],
    whys: ["learned", "linear"],
    quiz: ["Q"],
    select: "Q[2,2]",
  },
  {
    id: "qk",
    paragraphs: 4,
    make: (switches, labels) => named(attentionSheet(oneHead(labels), switches), labels.features),
    switches: [],
    folded: ["x", "scale", "mask", "softmax", "z"],
    tries: [
      { id: "same", act: copy("W_Q", "W_K") },
      { id: "swap", act: copy("W_K", "W_Q") },
    ],
    whys: ["sameword"],
    quiz: ["S"],
    select: "S[2,3]",
  },
  {
    id: "scale",
    paragraphs: 4,
    make: (switches) => scaleSheet(switches),
    start: { dHead: 4 },
    switches: [],
    folded: [],
    sizes: [4, 16, 64, 256],
    tries: [
      { id: "sixteen", act: turn({ dHead: 16 }) },
      { id: "large", act: turn({ dHead: 256 }) },
    ],
    whys: ["sqrt", "variance"],
    quiz: ["D"],
    select: "D[1,1]",
  },
  {
    id: "lookup",
    paragraphs: 4,
    make: lookupSheet,
    switches: ["argmax"],
    folded: [],
    tries: [
      { id: "soft", act: write(["q[1,1]", 1]) },
      { id: "three", act: write(["q[1,1]", 6], ["q[1,3]", 6]) },
      { id: "li", act: write(["q[1,1]", 0], ["q[1,2]", 6], ["q[1,3]", 0], ["q[1,4]", 6]) },
    ],
    whys: ["soft", "kv"],
    quiz: ["S", "Z"],
    select: "Z[1,1]",
  },
  {
    id: "head",
    paragraphs: 4,
    make: (switches, labels) => named(attentionSheet(oneHead(labels), switches), labels.features),
    switches: ["scale", "argmax"],
    folded: [],
    tries: [
      { id: "more", act: write(["X[2,4]", 2]) },
      { id: "pin", act: write(["D[1,3]", 4]) },
    ],
    whys: ["rows", "mlp"],
    quiz: ["D", "Z"],
    select: "D[2,3]",
  },
  {
    id: "heads",
    paragraphs: 4,
    make: (switches, labels) => named(attentionSheet(twoHeads(labels), switches), labels.moreFeatures),
    switches: ["scale", "argmax"],
    folded: ["x", "qkv"],
    tries: [
      { id: "off", act: (book) => book.write(book.view.sheet.block("W_O")!.ids.slice(4).flat().map((id) => [id, 0] as const)) },
      { id: "q", act: write(["W_Q[2,7]", 0]) },
    ],
    whys: ["split", "share", "concat", "rowblock"],
    quiz: ["D1", "D2"],
    select: "O[2,1]",
  },
  {
    id: "mask",
    paragraphs: 4,
    make: (switches, labels) => named(attentionSheet(twoHeads(labels, { causal: true }), switches), labels.moreFeatures),
    switches: ["mask", "scale", "argmax"],
    folded: ["x", "qkv", "concat", "out"],
    tries: [
      { id: "off", act: turn({ mask: false }) },
      { id: "future", act: write(["X[3,1]", 2]) },
    ],
    whys: ["mask", "parallel"],
    quiz: ["A1"],
    select: "M2[2,3]",
  },
  {
    id: "cross",
    paragraphs: 4,
    make: (switches, labels) =>
      named(
        attentionSheet(
          {
            queries: labels.target,
            keys: SOURCE,
            x: [
              [1, 0, 0, 1],
              [0, 1, 1, 0],
            ],
            memory: X,
            wq: [
              [0, 0, 2, 0],
              [2, 0, 0, 0],
              [0, 0, -2, 0],
              [0, 1, 0, 0],
            ],
            wk: [
              [0, 2, 0, 0],
              [1, 0, 0, 0],
              [0, 0, 1, 0],
              [0, 0, 0, 1],
            ],
            wv: [
              [1, 0, 0, 0],
              [0, 1, 0, 0],
              [0, 0, 2, 0],
              [0, 0, 0, 1],
            ],
            heads: 1,
          },
          switches,
        ),
        labels.features,
        ["M"],
        ["W_K", "W_V"],
      ),
    switches: ["scale", "argmax"],
    folded: [],
    tries: [
      { id: "memory", act: write(["M[2,2]", 0]) },
      { id: "query", act: write(["X[2,1]", 1], ["X[2,2]", 0], ["X[2,3]", 0], ["X[2,4]", 1]) },
    ],
    whys: ["crosskv", "crossshape"],
    quiz: ["D", "A"],
    select: "D[2,2]",
  },
  {
    id: "order",
    paragraphs: 4,
    make: orderSheet,
    start: { positions: false },
    switches: ["positions"],
    folded: ["qkv", "scores", "scale"],
    tries: [
      { id: "on", act: turn({ positions: true }) },
      { id: "zero", act: (book) => (turn({ positions: true })(book), fill("P", 0)(book)) },
    ],
    whys: ["position", "decoderorder"],
    quiz: ["Δ"],
    select: "Zb[2,1]",
  },
  {
    id: "block",
    paragraphs: 4,
    make: (switches, labels) =>
      named(attentionSheet(oneHead(labels, { wo: W_O, residual: true, norm: true }), switches), labels.features),
    switches: ["scale", "argmax"],
    folded: ["qkv", "scores", "scale", "softmax"],
    tries: [
      { id: "wo", act: fill("W_O", 0) },
      { id: "big", act: write(["X[1,1]", 9]) },
    ],
    whys: ["residual", "norm", "wo"],
    quiz: ["R", "L"],
    select: "R[2,1]",
  },
];

export function startSwitches(lesson: Lesson): Switches {
  return { ...SWITCHES, ...lesson.start };
}
