/** A sheet that is worked on: numbers written into it, switches, ghosts of what was there before, undo and redo. */

import { type Id, close } from "./expression";
import type { Sheet } from "./sheet";

export interface Switches {
  scale: boolean;
  mask: boolean;
  positions: boolean;
  argmax: boolean;
  /** Size of a head, where a lesson lets one choose it. */
  dHead: number;
}

export const SWITCHES: Switches = { scale: true, mask: true, positions: true, argmax: false, dHead: 4 };

interface Snapshot {
  held: ReadonlyMap<Id, number>;
  switches: Switches;
  /** What ghosts show: the numbers of the beginning, or those that were thrown. */
  start: ReadonlyMap<Id, number>;
}

export interface View {
  sheet: Sheet;
  values: ReadonlyMap<Id, number>;
  /** Numbers written by hand, in given and in derived cells. */
  held: ReadonlyMap<Id, number>;
  switches: Switches;
  /** Values at the beginning, of the cells that have another one now. */
  ghosts: ReadonlyMap<Id, number>;
  /** The cells with a ghost that were written into, and those that depend on them: all derived ones after a switch. */
  written: readonly Id[];
  reached: ReadonlySet<Id>;
  canUndo: boolean;
  canRedo: boolean;
}

/** The largest number that may be written: all that follows from it stays finite. */
export const LARGEST = 1e6;

/** Whether a cell may hold a number. Minus infinity stands in masks alone. */
export function writable(sheet: Sheet, id: Id, value: number): boolean {
  return Math.abs(value) <= LARGEST || (value === -Infinity && sheet.block(sheet.cell(id).block)!.kind === "mask");
}

export class Workbook {
  private readonly make: (switches: Switches) => Sheet;
  private readonly first: Snapshot;
  private past: Snapshot[] = [];
  private future: Snapshot[] = [];
  private now: Snapshot;
  private current: View;

  constructor(make: (switches: Switches) => Sheet, switches: Switches = SWITCHES) {
    this.make = make;
    const sheet = make(switches);
    this.now = this.first = { held: new Map(), switches, start: sheet.evaluate(new Map()) };
    this.current = this.seen(sheet);
  }

  get view(): View {
    return this.current;
  }

  private seen(sheet: Sheet): View {
    const { switches, start } = this.now;
    const held = new Map([...this.now.held].filter(([id]) => sheet.cells.has(id)));
    const values = sheet.evaluate(held);
    sheet.relabel?.(values);
    const ghosts = new Map<Id, number>();
    for (const [id, value] of values) {
      const old = start.get(id);
      if (old !== undefined && !close(old, value)) ghosts.set(id, old);
    }
    const written = [...held.keys()].filter((id) => ghosts.has(id));
    const switched = switches !== this.first.switches && Object.entries(switches).some(([name, on]) => this.first.switches[name as keyof Switches] !== on);
    const reached = switched ? new Set([...sheet.cells.values()].filter((cell) => cell.terms).map((cell) => cell.id)) : sheet.downstream(written, held);
    return { sheet, values, held, switches, ghosts, written, reached, canUndo: this.past.length > 0, canRedo: this.future.length > 0 };
  }

  private show(next: Snapshot): void {
    const { sheet, switches } = this.current;
    this.now = next;
    this.current = this.seen(next.switches === switches ? sheet : this.make(next.switches));
  }

  private change(next: Snapshot): void {
    this.past.push(this.now);
    this.future = [];
    this.show(next);
  }

  /** Write numbers into cells. In a derived cell this holds the number and cuts it off from its sources. */
  write(numbers: Iterable<readonly [Id, number]>): void {
    const held = new Map(this.now.held);
    for (const [id, value] of numbers) {
      const cell = this.current.sheet.cell(id);
      if (!writable(this.current.sheet, id, value)) throw new RangeError(`${value} cannot be written into ${id}`);
      if (!cell.terms && value === cell.given) held.delete(id);
      else held.set(id, value);
    }
    this.change({ ...this.now, held });
  }

  /** Let a derived cell follow its sources again, a given one be what it was. */
  release(id: Id): void {
    const held = new Map(this.now.held);
    if (held.delete(id)) this.change({ ...this.now, held });
  }

  switch(change: Partial<Switches>): void {
    this.change({ ...this.now, switches: { ...this.now.switches, ...change } });
  }

  /** Everything as at the beginning. This can be undone too. */
  reset(): void {
    this.change(this.first);
  }

  /** Small whole numbers into every block that allows them: another sheet to begin with. */
  randomise(random: () => number = Math.random): void {
    const numbers: [Id, number][] = [];
    for (const block of this.current.sheet.blocks)
      if (block.random)
        for (const id of block.ids.flat())
          numbers.push([id, block.random[Math.floor(random() * block.random.length)]!]);
    if (!numbers.length) return;
    this.write(numbers);
    this.now = { ...this.now, start: this.current.values };
    this.current = this.seen(this.current.sheet);
  }

  /** The same numbers on a sheet that is made anew: for other labels. */
  remake(): void {
    this.current = this.seen(this.make(this.now.switches));
  }

  undo(): void {
    const last = this.past.pop();
    if (!last) return;
    this.future.push(this.now);
    this.show(last);
  }

  redo(): void {
    const next = this.future.pop();
    if (!next) return;
    this.past.push(this.now);
    this.show(next);
  }
}
