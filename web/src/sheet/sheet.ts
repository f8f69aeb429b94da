/** A small spreadsheet of named cells. Cells are made in order, each after those that it reads. */

import { type Expression, type Id, evaluate, sources } from "./expression";

/** The steps of attention, in the order in which they are done. */
export const STEPS = ["lookup", "position", "x", "qkv", "scores", "scale", "mask", "softmax", "z", "concat", "out", "residual", "norm", "compare"] as const;
export type Step = (typeof STEPS)[number];

export interface Cell {
  id: Id;
  block: string;
  row: number;
  col: number;
  /** None: a number that is given. */
  terms: Expression | null;
  /** The number that is given. */
  given: number;
  reads: Id[];
}

export interface Block {
  name: string;
  step: Step;
  /** As mathematics: `_` begins a subscript and `^` a superscript of one word. */
  title: string;
  /** Key of the translated title, where there are words in it. */
  titleKey?: string;
  rows: string[];
  cols: string[];
  ids: Id[][];
  /** Lane, counted from 0; none: shared by all. */
  head?: number;
  /** Whose columns, or rows, these are. */
  columnHeads?: number[];
  rowHeads?: number[];
  kind: "plain" | "weights" | "exp" | "mask";
  shape: string;
  /** The letter that names its cells, and whether they are named by pairs of words: s(you, love). */
  symbol: string;
  pairs?: boolean;
  /** Columns beyond so many are folded. */
  fold?: number;
  random?: readonly number[];
  /** It is there only in one of the two ways to write the output. */
  only?: "concat" | "sum";
  /** Its cells are read, but too many to be looked at. */
  unseen?: boolean;
}

export class Sheet {
  readonly cells = new Map<Id, Cell>();
  readonly blocks: Block[] = [];
  /** Gives rows the names that follow from the numbers. */
  relabel?: (values: ReadonlyMap<Id, number>) => void;
  private readers: Map<Id, Id[]> | null = null;

  /** A block of cells; what `make` gives for a cell is its number or its terms. Its cells are called name[row,column], from 1. */
  add(
    block: Omit<Block, "ids" | "shape"> & { shape?: string },
    make: (row: number, col: number) => number | Expression,
  ): Block {
    const ids = block.rows.map((_, i) => block.cols.map((_, j) => `${block.name}[${i + 1},${j + 1}]`));
    const whole: Block = { shape: `${block.rows.length}×${block.cols.length}`, ...block, ids };
    ids.forEach((line, row) =>
      line.forEach((id, col) => {
        const made = make(row, col);
        const terms = typeof made === "number" ? null : made;
        const given = typeof made === "number" ? made : NaN;
        const reads = terms ? sources(terms) : [];
        for (const other of reads)
          if (!this.cells.has(other)) throw new Error(`${id} reads ${other}, which is not there yet`);
        if (this.cells.has(id)) throw new Error(`there are two cells ${id}`);
        this.cells.set(id, { id, block: block.name, row, col, terms, given, reads });
      }),
    );
    this.blocks.push(whole);
    this.readers = null;
    return whole;
  }

  block(name: string): Block | undefined {
    return this.blocks.find((each) => each.name === name);
  }

  /** Other names for the rows of blocks; whoever shows a block sees that it is another one. */
  rename(names: readonly string[], rows: string[]): void {
    this.blocks.forEach((block, i) => names.includes(block.name) && (this.blocks[i] = { ...block, rows }));
  }

  cell(id: Id): Cell {
    const found = this.cells.get(id);
    if (!found) throw new Error(`there is no cell ${id}`);
    return found;
  }

  /** All values, where `held` are numbers that were written into cells: a derived cell with one no longer follows its sources. */
  evaluate(held: ReadonlyMap<Id, number>): Map<Id, number> {
    const values = new Map<Id, number>();
    const value = (id: Id) => values.get(id)!;
    for (const cell of this.cells.values()) {
      const own = held.get(cell.id);
      values.set(cell.id, own ?? (cell.terms ? evaluate(cell.terms, value) : cell.given));
    }
    return values;
  }

  /** Every cell that depends on one of `ids`, directly or not, as far as no held cell is between. */
  downstream(ids: Iterable<Id>, held: ReadonlyMap<Id, number> = new Map()): Set<Id> {
    if (!this.readers) {
      this.readers = new Map();
      for (const cell of this.cells.values())
        for (const id of cell.reads) this.readers.set(id, [...(this.readers.get(id) ?? []), cell.id]);
    }
    const found = new Set<Id>();
    const next = [...ids];
    for (let id = next.pop(); id !== undefined; id = next.pop())
      for (const reader of this.readers.get(id) ?? [])
        if (!found.has(reader) && !held.has(reader)) {
          found.add(reader);
          next.push(reader);
        }
    return found;
  }
}
