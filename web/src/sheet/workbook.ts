/** A sheet that is worked on: numbers written into it, switches, ghosts of what was there before, undo and redo. */

import type { Id } from "./expression";
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
}

export interface View {
  sheet: Sheet;
  values: ReadonlyMap<Id, number>;
  /** Numbers written by hand, in given and in derived cells. */
  held: ReadonlyMap<Id, number>;
  switches: Switches;
  /** Values before the last change, of the cells that it changed. */
  ghosts: ReadonlyMap<Id, number>;
  /** How many cells that depend on the last change have changed, of how many. */
  changed: number;
  downstream: number;
  /** The cells that were written into by the last change. */
  written: readonly Id[];
  canUndo: boolean;
  canRedo: boolean;
}

/** Two numbers that nobody could tell apart. */
export function equal(a: number, b: number): boolean {
  return Object.is(a, b) || a === b || Math.abs(a - b) <= 1e-12 * Math.max(1, Math.abs(a), Math.abs(b));
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
    this.now = this.first = { held: new Map(), switches };
    const sheet = make(switches);
    this.current = this.seen(sheet, sheet.evaluate(new Map()), new Map(), []);
  }

  get view(): View {
    return this.current;
  }

  private seen(sheet: Sheet, values: ReadonlyMap<Id, number>, before: ReadonlyMap<Id, number>, written: Id[]): View {
    const { held, switches } = this.now;
    const ghosts = new Map<Id, number>();
    for (const [id, value] of values) {
      const old = before.get(id);
      if (old !== undefined && !equal(old, value)) ghosts.set(id, old);
    }
    let reached: ReadonlySet<Id> = new Set();
    if (before.size)
      reached = written.length
        ? sheet.downstream(written, held)
        : new Set([...sheet.cells.values()].filter((cell) => cell.terms).map((cell) => cell.id));
    let changed = 0;
    for (const id of ghosts.keys()) if (reached.has(id)) changed++;
    const canUndo = this.past.length > 0;
    const canRedo = this.future.length > 0;
    return { sheet, values, held, switches, ghosts, changed, downstream: reached.size, written, canUndo, canRedo };
  }

  private show(next: Snapshot): void {
    const before = this.current;
    const sheet = next.switches === before.switches ? before.sheet : this.make(next.switches);
    const held = new Map([...next.held].filter(([id]) => sheet.cells.has(id)));
    this.now = { held, switches: next.switches };
    const ids = new Set([...before.held.keys(), ...held.keys()]);
    const written = [...ids].filter((id) => before.held.get(id) !== held.get(id));
    this.current = this.seen(sheet, sheet.evaluate(held), before.values, before.sheet === sheet ? written : []);
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
      if (!Number.isFinite(value)) throw new RangeError(`${value} cannot be written into ${id}`);
      if (!cell.terms && value === cell.given) held.delete(id);
      else held.set(id, value);
    }
    this.change({ held, switches: this.now.switches });
  }

  /** Let a derived cell follow its sources again, a given one be what it was. */
  release(id: Id): void {
    const held = new Map(this.now.held);
    if (held.delete(id)) this.change({ held, switches: this.now.switches });
  }

  switch(change: Partial<Switches>): void {
    this.change({ held: this.now.held, switches: { ...this.now.switches, ...change } });
  }

  /** Everything as at the beginning. This can be undone too. */
  reset(): void {
    this.change(this.first);
  }

  /** Small whole numbers into every block that allows them. */
  randomise(random: () => number = Math.random): void {
    const numbers: [Id, number][] = [];
    for (const block of this.current.sheet.blocks)
      if (block.random)
        for (const id of block.ids.flat())
          numbers.push([id, block.random[Math.floor(random() * block.random.length)]!]);
    if (numbers.length) this.write(numbers);
  }

  /** The same numbers on a sheet that is made anew: for other labels. */
  remake(): void {
    const { ghosts, changed, downstream, written } = this.current;
    const sheet = this.make(this.now.switches);
    this.current = { ...this.seen(sheet, sheet.evaluate(this.now.held), new Map(), []), ghosts, changed, downstream, written };
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
