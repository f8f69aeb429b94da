import { describe, expect, it } from "vitest";
import { arithmetic, csv, nameOf, parse, show } from "../src/sheet/display";
import { close, spoken } from "../src/sheet/expression";
import { LESSONS, startSwitches } from "../src/sheet/lessons";
import { Workbook, writable } from "../src/sheet/workbook";

const LABELS = {
  words: ["I", "love", "you"],
  target: ["⟨s⟩", "我"],
  features: ["person", "feeling", "speaker", "towards"],
  moreFeatures: ["person", "action", "I", "you", "love", "1st", "2nd", "3rd"],
  people: ["Zhang San", "Zhang San", "Li Si", "Zhang Wei"],
  signs: ["Zhang", "Li", "San", "Si", "Wei"],
};

function open(id: string): Workbook {
  const lesson = LESSONS.find((each) => each.id === id)!;
  return new Workbook((switches) => lesson.make(switches, LABELS), startSwitches(lesson));
}

const row = (book: Workbook, block: string, i: number) =>
  book.view.sheet.block(block)!.ids[i]!.map((id) => book.view.values.get(id)!);

describe("lessons", () => {
  it.each(LESSONS.map((lesson) => lesson.id))("%s: every weight row adds up to 1, every cell is a number, what it names exists", (id) => {
    const lesson = LESSONS.find((each) => each.id === id)!;
    const book = open(id);
    const { sheet, values } = book.view;
    expect(sheet.cells.has(lesson.select)).toBe(true);
    for (const name of lesson.quiz) expect(sheet.block(name), name).toBeDefined();
    for (const block of sheet.blocks) {
      if (block.kind === "weights")
        for (const ids of block.ids) expect(ids.reduce((sum, cell) => sum + values.get(cell)!, 0)).toBeCloseTo(1, 12);
      for (const cell of block.ids.flat()) expect(values.get(cell), cell).not.toBeNaN();
    }
    for (const each of lesson.tries) {
      each.act(book);
      expect(book.view.ghosts.size, each.id).toBeGreaterThan(0);
      book.reset();
    }
  });

  it.each(["x", "qk", "head", "heads", "mask", "cross", "block"])("%s: scaled scores are small whole or half numbers", (id) => {
    const book = open(id);
    const blocks = book.view.sheet.blocks.filter((block) => block.step === "scale");
    expect(blocks.length).toBeGreaterThan(0);
    for (const cell of blocks.flatMap((block) => block.ids.flat())) {
      const value = book.view.values.get(cell)!;
      expect(value).toBeGreaterThanOrEqual(-2);
      expect(value).toBeLessThanOrEqual(4);
      expect(Number.isInteger(2 * value)).toBe(true);
    }
  });

  it("love finds you: 91 % in the one head, and the arithmetic says so", () => {
    const book = open("head");
    expect(row(book, "S", 1)).toEqual([0, 0, 6]);
    expect(row(book, "D", 1)).toEqual([0, 0, 3]);
    const [e0, e3] = [1, Math.exp(3)];
    expect(row(book, "A", 1)[2]).toBeCloseTo(e3 / (2 * e0 + e3), 14);
  });

  it("head 1 looks one word back, head 2 from the verb to its object", () => {
    const book = open("heads");
    const best = (block: string) => [0, 1, 2].map((i) => row(book, block, i).indexOf(Math.max(...row(book, block, i))));
    expect(best("A1")).toEqual([0, 0, 1]);
    expect(best("A2")).toEqual([1, 2, 1]);
  });

  it("concat times W_O is the sum of heads, before and after an edit", () => {
    const book = open("heads");
    const compare = () => {
      for (let i = 0; i < 3; i++) row(book, "O", i).forEach((x, j) => expect(row(book, "T", i)[j]).toBeCloseTo(x, 12));
    };
    compare();
    book.write([["X[2,4]", 7]]);
    compare();
  });

  it("without positions 我爱你 and 你爱我 give every word the same vector, with them not", () => {
    const book = open("order");
    const differences = () => [0, 1, 2].flatMap((i) => row(book, "Δ", i));
    for (const x of differences()) expect(Math.abs(x)).toBeLessThan(1e-12);
    book.switch({ positions: true });
    expect(Math.max(...differences().map(Math.abs))).toBeGreaterThan(0.01);
  });

  it("everyone called Zhang is 19, by exact match, by prefix and by dot product", () => {
    const book = open("lookup");
    expect(row(book, "Z1", 0)[0]).toBeCloseTo(19, 12);
    expect(row(book, "Z2", 0)[0]).toBeCloseTo(19, 12);
    expect(row(book, "Z", 0)[0]).toBeCloseTo(19, 1);
    expect(row(book, "Z", 0)[0]!.toFixed(2)).toBe("19.00");
  });

  it("the spread of unscaled scores grows with d_k and softmax saturates; scaled ones stay", () => {
    const largest = [4, 16, 64, 256].map((dHead) => {
      const book = open("scale");
      book.switch({ dHead });
      return { without: Math.max(...row(book, "A0", 0)), scaled: Math.max(...row(book, "A", 0)) };
    });
    expect(largest.map((each) => each.without)).toEqual([...largest.map((each) => each.without)].sort((a, b) => a - b));
    expect(largest[3]!.without).toBeGreaterThan(0.9999);
    for (const each of largest) expect(each.scaled).toBeLessThan(0.6);
  });

  it("a masked score is minus infinity and its weight zero; without the mask it is not", () => {
    const book = open("mask");
    expect(row(book, "M1", 0)).toEqual([2, -Infinity, -Infinity]);
    expect(row(book, "A1", 0)).toEqual([1, 0, 0]);
    book.switch({ mask: false });
    expect(row(book, "M1", 0).every(Number.isFinite)).toBe(true);
    expect(row(book, "A1", 0)[1]).toBeGreaterThan(0);
  });
});

describe("workbook", () => {
  it("an edit changes what is downstream and nothing above, is counted, and undo restores exactly", () => {
    const book = open("head");
    const before = new Map(book.view.values);
    book.write([["X[2,4]", 2]]);
    const { ghosts, sheet, values, reached } = book.view;
    expect(reached).toEqual(sheet.downstream(["X[2,4]"]));
    expect([...ghosts.keys()].filter((id) => reached.has(id))).toEqual([...values.keys()].filter((id) => reached.has(id) && !close(before.get(id)!, values.get(id)!)));
    expect(ghosts.size).toBeGreaterThan(10);
    for (const [id, old] of ghosts) {
      expect(id === "X[2,4]" || reached.has(id)).toBe(true);
      expect(old).toBe(before.get(id));
    }
    for (const id of sheet.block("W_Q")!.ids.flat()) expect(ghosts.has(id)).toBe(false);
    book.undo();
    expect(book.view.values).toEqual(before);
    expect([book.view.ghosts.size, book.view.reached.size, book.view.written]).toEqual([0, 0, []]);
    book.redo();
    expect(book.view.values.get("X[2,4]")).toBe(2);
    expect(book.view.values).toEqual(values);
  });

  it("a number in a derived cell is held: its sources no longer count until it is released", () => {
    const book = open("head");
    book.write([["D[1,3]", 4]]);
    const held = book.view.values.get("A[1,3]")!;
    book.write([["X[3,1]", 2]]);
    expect(book.view.values.get("D[1,3]")).toBe(4);
    expect(held).toBeGreaterThan(0.8);
    book.release("D[1,3]");
    expect(book.view.values.get("D[1,3]")).not.toBe(4);
  });

  it("ghosts are the numbers of the beginning, however often a cell was changed", () => {
    const book = open("head");
    book.write([["X[2,4]", 2]]);
    const { ghosts } = book.view;
    book.write([["X[2,4]", 3]]);
    expect(book.view.ghosts.get("X[2,4]")).toBe(1);
    book.undo();
    expect(book.view.ghosts).toEqual(ghosts);
    book.write([["X[2,4]", 1]]);
    expect(book.view.ghosts.size).toBe(0);
  });

  it("thrown numbers are another beginning, and undo leads back to the first one", () => {
    const book = open("head");
    book.randomise(() => 0.99);
    expect([book.view.ghosts.size, book.view.values.get("X[1,1]")]).toEqual([0, 2]);
    book.write([["X[1,1]", 5]]);
    expect(book.view.ghosts.get("X[1,1]")).toBe(2);
    book.undo();
    book.undo();
    expect([book.view.ghosts.size, book.view.values.get("X[1,1]")]).toEqual([0, 1]);
  });

  it("only masks hold minus infinity, and nothing holds what would overflow", () => {
    const book = open("mask");
    const { sheet } = book.view;
    expect([writable(sheet, "B[2,1]", -Infinity), writable(sheet, "X[1,1]", -Infinity), writable(sheet, "X[1,1]", 1e7), writable(sheet, "X[1,1]", -1e6)]).toEqual([true, false, false, true]);
    book.write([["B[1,2]", 0]]);
    expect(row(book, "A1", 0)[1]).toBeGreaterThan(0);
    book.write([["B[2,1]", -Infinity]]);
    expect(row(book, "A1", 1)).toEqual([0, 1, 0]);
  });

  it("the query of the lookup is called what it asks for", () => {
    const book = open("lookup");
    const lesson = LESSONS.find((each) => each.id === "lookup")!;
    const names = () => ["q", "S", "A", "Z"].map((name) => book.view.sheet.block(name)!.rows[0]);
    expect(names()).toEqual(Array(4).fill("Zhang"));
    lesson.tries.find((each) => each.id === "li")!.act(book);
    expect(names()).toEqual(Array(4).fill("Li Si"));
    lesson.tries.find((each) => each.id === "three")!.act(book);
    book.undo();
    expect(names()).toEqual(Array(4).fill("Li Si"));
    book.reset();
    expect(names()).toEqual(Array(4).fill("Zhang"));
  });

  it("undo has no end, and reset can be undone", () => {
    const book = open("head");
    for (let i = 0; i < 200; i++) book.write([["X[1,1]", i + 2]]);
    book.reset();
    expect(book.view.values.get("X[1,1]")).toBe(1);
    book.undo();
    expect(book.view.values.get("X[1,1]")).toBe(201);
    for (let i = 0; i < 200; i++) book.undo();
    expect(book.view.values.get("X[1,1]")).toBe(1);
    expect(book.view.canUndo).toBe(false);
  });

  it("random numbers are whole and small", () => {
    const book = open("head");
    let seed = 0;
    book.randomise(() => (seed = (seed + 0.37) % 1));
    for (const name of ["X", "W_Q", "W_K", "W_V"])
      for (const id of book.view.sheet.block(name)!.ids.flat()) expect([-1, 0, 1, 2]).toContain(book.view.values.get(id));
  });

  it("argmax puts all weight on one key, the first of equals", () => {
    const book = open("head");
    book.switch({ argmax: true });
    expect(row(book, "A", 1)).toEqual([0, 0, 1]);
    expect(row(book, "A", 2)).toEqual([0, 1, 0]);
  });

  it("refuses what is no number and what is no cell", () => {
    const book = open("head");
    expect(() => book.write([["X[1,1]", NaN]])).toThrow(RangeError);
    expect(() => book.write([["X[9,9]", 1]])).toThrow("there is no cell");
  });
});

describe("arithmetic", () => {
  it("is spoken from names to the result", () => {
    const book = open("head");
    const { sheet, values } = book.view;
    const lines = spoken(sheet.cell("D[2,3]").terms!, {
      value: (id) => values.get(id)!,
      name: (id) => id,
      show: (x) => String(x).replace("-", "−"),
      terms: (id) => sheet.cell(id).terms ?? undefined,
      more: (n) => `${n} more`,
    });
    expect(lines.map((line) => line.text)).toEqual(["(Q[2,1]·K[3,1] + Q[2,2]·K[3,2] + Q[2,3]·K[3,3] + Q[2,4]·K[3,4])/√4", "(0·0 + 3·2 + 0·0 + 0·2)/√4", "6/2", "3"]);
  });

  it("is short in names: rows and columns are called as a whole", () => {
    const lines = (id: string, lesson = "head") => {
      const { sheet, values } = open(lesson).view;
      return [nameOf(sheet, id), ...arithmetic(sheet, values, id, { more: (n) => `${n} more` }).map((line) => line.text)];
    };
    expect(lines("D[2,3]")).toEqual(["s(love, you)", "q(love)·k(you)/√4", "(0·0 + 3·2 + 0·0 + 0·2)/√4", "6/2", "3"]);
    expect(lines("Q[2,2]")).toEqual(["Q[love, 2]", "X(love)·W_Q[·, 2]", "0·0 + 2·1 + 0·0 + 1·1", "0 + 2 + 0 + 1", "3"]);
    expect(lines("A[2,3]")).toEqual(["a(love, you)", "e(love, you)/Σ(love)", "20.09/22.09", "0.91"]);
    expect(lines("M1[1,2]", "mask")).toEqual(["s′(I, love)", "s(I, love) + mask(I, love)", "0 + (−∞)", "−∞"]);
    expect(lines("X[1,1]")).toEqual(["X[I, person]"]);
  });

  it("says where numbers were rounded: what is shown is then only nearly equal", () => {
    const signs = (id: string, lesson = "head") => {
      const { sheet, values } = open(lesson).view;
      return arithmetic(sheet, values, id, { more: String }).map((line) => (line.exact ? "=" : "≈") + line.text);
    };
    expect(signs("D[2,3]")).toEqual(["=q(love)·k(you)/√4", "=(0·0 + 3·2 + 0·0 + 0·2)/√4", "=6/2", "=3"]);
    expect(signs("e[2,3]")).toEqual(["=e^s(love, you)", "=e^3", "≈20.09"]);
    expect(signs("A[2,3]")).toEqual(["=e(love, you)/Σ(love)", "≈20.09/22.09", "≈0.91"]);
    expect(signs("M1[1,2]", "mask").at(-1)).toBe("=−∞");
    for (const lesson of LESSONS) {
      const { sheet, values } = open(lesson.id).view;
      for (const cell of sheet.cells.values())
        for (const line of arithmetic(sheet, values, cell.id, { more: String })) expect(line.text).not.toMatch(/NaN|undefined|\?/);
    }
  });

  it("holds negative numbers in brackets", () => {
    const book = open("head");
    const { sheet, values } = book.view;
    expect(arithmetic(sheet, values, "S[1,3]", { more: String }).map((line) => line.text)).toContain("1·0 + 0·2 + 1·0 + (−1)·2");
  });
});

describe("numbers", () => {
  it("are read as people type them", () => {
    expect([" 2 ", "−1", "-.5", "1,5", "1/4", "1e3"].map(parse)).toEqual([2, -1, -0.5, 1.5, 0.25, 1000]);
    expect(["１．５", "－2", "＋３", "１／４", "１，５", "1。5", "½", "-∞"].map(parse)).toEqual([1.5, -2, 3, 0.25, 1.5, 1.5, 0.5, -Infinity]);
    for (const text of ["", "x", "1/0", "--1", "1 2", "Infinity", "1,000"]) expect([text, parse(text)]).toEqual([text, null]);
  });
  it("are written with a minus sign, and without a sign for zero", () => {
    expect([3, -2, 0.914, 0.1 + 0.2 - 0.3, -0.001, -Infinity, 2.5e7, NaN].map((x) => show(x))).toEqual(["3", "−2", "0.91", "0", "0.00", "−∞", "25000000", "?"].map((x, i) => (i === 6 ? "2.50e7" : x)));
  });
});

describe("CSV", () => {
  /** Computes a sheet of formulas as a spreadsheet program would. */
  function recompute(text: string): Map<string, number> {
    const cells = new Map<string, string>();
    text.split("\r\n").forEach((line, i) =>
      [...line.matchAll(/("(?:[^"]|"")*"|[^,]*)(?:,|$)/g)].forEach((match, j) => {
        const field = match[1]!.startsWith('"') ? match[1]!.slice(1, -1).replaceAll('""', '"') : match[1]!;
        cells.set(String.fromCharCode(65 + j) + (i + 1), field);
      }),
    );
    const done = new Map<string, number>();
    const value = (at: string): number => {
      if (!done.has(at)) {
        const source = cells.get(at)!;
        if (!source.startsWith("=")) done.set(at, Number(source));
        else {
          const js = source
            .slice(1)
            .replace(/\b([A-Z])(\d+)\b/g, (where) => `v("${where}")`)
            .replaceAll("^", "**")
            .replace(/(?<![<>=])=(?!=)/g, "===");
          const run = new Function("v", "IF", "EXP", "SQRT", "MAX", `return ${js}`) as (...args: unknown[]) => number;
          done.set(at, run(value, (c: boolean, a: number, b: number) => (c ? a : b), Math.exp, Math.sqrt, Math.max));
        }
      }
      return done.get(at)!;
    };
    return new Map([...cells].filter(([, source]) => source.startsWith("=")).map(([at]) => [at, value(at)]));
  }

  it.each(["head", "heads", "mask", "block", "lookup", "order"])("%s: its formulas give what the page shows", (id) => {
    const book = open(id);
    const { sheet, values, held } = book.view;
    const found = [...recompute(csv(sheet, held, (block) => block.title)).values()];
    const own = [...sheet.cells.values()].filter((cell) => cell.terms).map((cell) => values.get(cell.id)!);
    expect(found).toHaveLength(own.length);
    found.forEach((x, i) => expect(own[i] === -Infinity ? x < -1e300 : Math.abs(x - own[i]!) < 1e-9).toBe(true));
  });

  it("no label is taken for a formula", () => {
    const lesson = LESSONS.find((each) => each.id === "head")!;
    const book = new Workbook((switches) => lesson.make(switches, { ...LABELS, words: ["=1+1", "@x", 'a"b,c'] }), startSwitches(lesson));
    const text = csv(book.view.sheet, new Map(), () => "-x");
    expect(text).toContain("'=1+1");
    expect(text).toContain("'@x");
    expect(text).toContain('"a""b,c"');
    expect(text).not.toMatch(/^[=@+-]/m);
    const wide = new Workbook((switches) => lesson.make(switches, { ...LABELS, words: ["＝1", " =2", "-3"] }), startSwitches(lesson));
    expect(csv(wide.view.sheet, new Map(), () => "t").split("\r\n").filter((line) => /^'(＝1| =2|-3),/.test(line))).toHaveLength(27);
  });
});
