/** What the alignment view shows: the address says which, the run says what. */
import { untrack } from "svelte";
import type { Manifest, Side, StackInfo, Token } from "../../pack/contract";
import { HostError } from "../../pack/host";
import type { Tensor } from "../../pack/safetensors";
import type { Box, Mark } from "../../scene/alignment";
import { headMap, type HeadMap } from "../../scene/maps";
import { type Unit, units, unitOf } from "../../scene/units";
import { route, setParams } from "../../state/route.svelte";
import { session } from "../../state/session.svelte";
import { number } from "../../state/url";
import { type Gold, headOrMean, includes, type Link, pharaoh, PharaohError, quality, readPharaoh, sameWords, type Scores, scores, symmetrise, tokenLinks, unique, wordLinks } from "./links";

/** Where a word is read: in the row that predicts it, or in the one that has it as its input (Chen et al., 2020). */
export type Reading = "out" | "in";
export type Joined = "forth" | "back" | "intersection" | "union" | "grow-diag";
export const JOINED: readonly Joined[] = ["forth", "back", "intersection", "union", "grow-diag"];

/** A head of the attention to the source; head -1 is the mean of the layer's. */
export interface Place {
  layer: number;
  head: number;
}

export interface Row extends Place {
  sharp: number;
  mono: number;
  /** Against the reference, where there is one. */
  scores: Scores | null;
}

/** References up to this length are kept in the address, so that a copied link brings them along. */
const IN_ADDRESS = 1500;
const weightsOf = (layer: number): string => `decoder.${layer}.cross_attn.weights`;

/** One direction: a run with what its cross-attention says. */
class Direction {
  constructor(
    readonly run: Manifest,
    readonly tensors: Record<string, Tensor>,
    readonly reading: Reading,
  ) {}

  /** The tokens that the rows of a map stand for: what is predicted there, or what goes in there. */
  get rows(): readonly Token[] {
    return this.reading === "out" ? this.run.labels : this.run.tgt.tokens;
  }

  weights(place: Place): Float64Array | null {
    const tensor = this.tensors[weightsOf(place.layer)];
    return tensor ? headOrMean(tensor, place.head) : null;
  }

  links(place: Place): Link[] | null {
    const weights = this.weights(place);
    return weights && wordLinks(weights, this.run.src.tokens, this.rows);
  }

  /** As the run itself says it for heads that are read where words come out, else worked out here in the same way. */
  quality(place: Place): { sharp: number; mono: number } | null {
    if (this.reading === "out" && place.head >= 0) {
      const found = this.run.heads.find((one) => one.stack === "decoder.cross_attn" && one.layer === place.layer && one.head === place.head)?.align;
      if (found) return found;
    }
    const weights = this.weights(place);
    if (!weights) return null;
    const count = this.run.labels.length;
    return this.reading === "out" ? quality(weights, this.run.src.tokens, 0, count - 1) : quality(weights, this.run.src.tokens, 1, count);
  }

  /** All places, best first: by the error rate where `gold` is given, else by sharpness times monotonicity. */
  ranked(gold: Gold | null, read: (links: Link[]) => Link[] = (links) => links): Row[] {
    const cross = this.run.model.stacks.find((stack) => stack.name === "decoder.cross_attn")!;
    const rows: Row[] = [];
    for (let layer = 0; layer < cross.layers; layer++)
      for (let head = -1; head < cross.heads[layer]; head++) {
        const found = this.quality({ layer, head });
        const links = gold && this.links({ layer, head });
        if (found && (links || !gold)) rows.push({ layer, head, ...found, scores: gold && links ? scores(read(links), gold) : null });
      }
    const product = (row: Row): number => row.sharp * row.mono;
    return rows.sort((a, b) => (a.scores && b.scores ? a.scores.errorRate - b.scores.errorRate : 0) || product(b) - product(a));
  }
}

const best = (rows: readonly Row[]): Row | undefined => rows.find((row) => row.head >= 0);

export class AlignmentView {
  readonly run: Manifest = $derived(session.manifest!);
  readonly cross: StackInfo = $derived(this.run.model.stacks.find((stack) => stack.name === "decoder.cross_attn")!);
  readonly reading: Reading = $derived(route.params.r === "in" ? "in" : "out");
  readonly words: boolean = $derived(route.params.w === "1");
  readonly hideSpecial: boolean = $derived(route.params.s === "1");
  readonly hue: boolean = $derived(route.params.c === "hue");
  readonly table: boolean = $derived(route.params.mode === "table");
  /** Height and width of a cell in pixels; 0 for as fits. */
  readonly zoom: number = $derived(number(route.params.z, 65, 0));

  // ---- the numbers

  private weights = $state.raw<{ run: string; tensors: Record<string, Tensor> }>({ run: "", tensors: {} });
  private reverse = $state.raw<{ of: string; run: Manifest; tensors: Record<string, Tensor> } | null>(null);
  reversing = $state(false);
  problem = $state.raw<HostError | null>(null);

  private readonly forth: Direction = $derived(new Direction(this.run, this.weights.run === this.run.id ? this.weights.tensors : {}, this.reading));
  private readonly back: Direction | null = $derived(this.reverse?.of === this.run.id ? new Direction(this.reverse.run, this.reverse.tensors, this.reading) : null);
  readonly reversed: Manifest | null = $derived(this.back?.run ?? null);

  // ---- the reference

  /** What was typed or loaded; the address has it too where it is short. */
  private typed = $state.raw<{ run: string; text: string } | null>(null);
  readonly first: number = $derived(route.params.first === "1" ? 1 : 0);
  readonly reference: string = $derived(this.typed?.run === this.run.id ? this.typed.text : route.params.run === this.run.id ? (route.params.ref ?? "") : "");
  readonly gold: Gold | null = $derived(this.read instanceof PharaohError ? null : this.read);
  readonly goldProblem: PharaohError | null = $derived(this.read instanceof PharaohError ? this.read : null);

  private get read(): Gold | PharaohError | null {
    if (!this.reference.trim()) return null;
    try {
      return readPharaoh(this.reference, this.first, this.run.src.words.length, this.run.tgt.words.length);
    } catch (raised) {
      if (raised instanceof PharaohError) return raised;
      throw raised;
    }
  }

  // ---- which head

  readonly ranked: Row[] = $derived(this.forth.ranked(this.gold));
  readonly best: Place | null = $derived(best(this.ranked) ?? null);
  readonly source: "best" | "head" | "mean" = $derived(route.params.h === undefined ? "best" : route.params.h === "mean" ? "mean" : "head");
  readonly place: Place = $derived.by(() => {
    const layer = number(route.params.l, this.cross.layers, this.best?.layer ?? 0);
    if (this.source === "best") return this.best ?? { layer: 0, head: 0 };
    return { layer, head: this.source === "mean" ? -1 : number(route.params.h, this.cross.heads[layer], 0) };
  });
  readonly shown: Row | undefined = $derived(this.ranked.find((row) => row.layer === this.place.layer && row.head === this.place.head));

  // ---- what is drawn

  private readonly tgtSide: Side = $derived({ ...this.run.tgt, tokens: [...this.forth.rows] });
  readonly k: Unit[] = $derived(units(this.run.src, { words: this.words, hideSpecial: this.hideSpecial }));
  readonly q: Unit[] = $derived(units(this.tgtSide, { words: this.words, hideSpecial: this.hideSpecial }));

  private readonly matrix: Float64Array | null = $derived(this.forth.weights(this.place));
  readonly map: HeadMap | null = $derived(
    this.matrix && headMap(this.place.head, new Float32Array(this.matrix), this.run.src.tokens.length, this.q, this.k, this.hideSpecial),
  );

  /** What is pinned, as places in `q` and `k`; -1 for nothing. */
  readonly query: number = $derived(this.spot(this.q, route.params.q));
  readonly key: number = $derived(this.spot(this.k, route.params.k));
  hover = $state.raw<{ query: number; key: number }>({ query: -1, key: -1 });

  private spot(list: readonly Unit[], asked: string | undefined): number {
    return asked !== undefined && /^\d+$/.test(asked) ? unitOf(list, Number(asked)) : -1;
  }

  /** Whether a cell lies in an outline. */
  linked(query: number, key: number): boolean {
    return this.boxes.some((box) => box.r0 <= query && query < box.r1 && box.c0 <= key && key < box.c1);
  }

  /** The word of a unit, or -1. */
  wordOf(unit: Unit, side: "src" | "tgt"): number {
    return (side === "src" ? this.run.src.tokens : this.forth.rows)[unit.tokens[0]].word;
  }

  // ---- the alignment

  readonly forthLinks: Link[] = $derived((this.matrix && wordLinks(this.matrix, this.run.src.tokens, this.forth.rows)) ?? []);

  private readonly turning: { src: number[][]; tgt: number[][] } | null = $derived.by(() => {
    if (!this.back) return null;
    const other = this.back.run;
    const ours = [...this.run.tgt.tokens, ...this.run.labels];
    const src = sameWords(other.tgt, [...other.tgt.tokens, ...other.labels], this.run.src, this.run.src.tokens);
    const tgt = sameWords(other.src, other.src.tokens, this.run.tgt, ours);
    return src && tgt ? { src, tgt } : null;
  });

  /** Whether the other direction cannot be laid over this one, for the texts are not the same there. */
  readonly mismatch: boolean = $derived(this.back !== null && this.turning === null);

  /** A link of the other direction, (its source, its target), as links of this one. */
  private turned(links: readonly Link[]): Link[] {
    const { src, tgt } = this.turning!;
    return unique(links.flatMap(([i, j]) => src[j].flatMap((a) => tgt[i].map((b): Link => [a, b]))));
  }

  readonly backRanked: Row[] = $derived(this.back && this.turning ? this.back.ranked(this.gold, (links) => this.turned(links)) : []);
  readonly backBest: Place | null = $derived(best(this.backRanked) ?? null);
  readonly backPlace: Place | null = $derived.by(() => {
    const [layer, head] = (route.params.b ?? "").split(".");
    const asked = this.backRanked.find((row) => String(row.layer) === layer && (row.head < 0 ? "mean" : String(row.head)) === head);
    return asked ?? this.backBest;
  });
  readonly backLinks: Link[] | null = $derived.by(() => {
    if (!this.back || !this.turning || !this.backPlace) return null;
    const links = this.back.links(this.backPlace);
    return links && this.turned(links);
  });

  readonly joined: Joined = $derived.by(() => {
    const asked = route.params.j as Joined;
    return this.backLinks && JOINED.includes(asked) ? asked : "forth";
  });
  /** The alignment that is outlined, scored and exported. */
  readonly links: Link[] = $derived.by(() => {
    if (this.joined === "forth" || !this.backLinks) return this.forthLinks;
    if (this.joined === "back") return this.backLinks;
    return symmetrise(this.forthLinks, this.backLinks, this.joined);
  });
  readonly scores: Scores | null = $derived(this.gold && this.map ? scores(this.links, this.gold) : null);
  readonly exported: string = $derived(pharaoh(this.links));

  /** Outlines: single tokens where one direction is shown by tokens, else whole words. */
  readonly boxes: Box[] = $derived.by(() => {
    if (!this.matrix) return [];
    if (this.joined === "forth" && !this.words) {
      return tokenLinks(this.matrix, this.run.src.tokens, this.forth.rows).flatMap(({ row, column }): Box[] => {
        const [r, c] = [unitOf(this.q, row), unitOf(this.k, column)];
        return r >= 0 && c >= 0 ? [{ r0: r, r1: r + 1, c0: c, c1: c + 1, kind: "both" }] : [];
      });
    }
    return this.links.flatMap((link): Box[] => {
      const box = this.block(link);
      if (!box) return [];
      const [forth, back] = [includes(this.forthLinks, link), this.joined !== "forth" && includes(this.backLinks ?? [], link)];
      const kind = this.joined === "forth" || (forth && back) ? "both" : forth ? "forth" : "back";
      return [{ ...box, kind }];
    });
  });

  readonly marks: Mark[] = $derived.by(() => {
    const gold = this.gold;
    if (!gold) return [];
    return gold.possible.flatMap((link): Mark[] => {
      const box = this.block(link);
      return box ? [{ ...box, sure: includes(gold.sure, link) }] : [];
    });
  });

  /** The cells of a pair of words. */
  private block([i, j]: Link): Omit<Box, "kind"> | null {
    const of = (list: readonly Unit[], side: "src" | "tgt", word: number): number[] => list.flatMap((unit, at) => (this.wordOf(unit, side) === word ? [at] : []));
    const [columns, rows] = [of(this.k, "src", i), of(this.q, "tgt", j)];
    if (!columns.length || !rows.length) return null;
    return { r0: rows[0], r1: rows.at(-1)! + 1, c0: columns[0], c1: columns.at(-1)! + 1 };
  }

  // ---- loading

  /** Fetches the weights of every layer. Reads the state, so that an effect can follow it. */
  async load(): Promise<void> {
    const { id } = this.run;
    const layers = this.cross.layers;
    if (untrack(() => this.weights.run) === id && untrack(() => Object.keys(this.weights.tensors).length) === layers) return;
    try {
      const tensors = await fetched(id, layers, () => id === this.run.id);
      if (id !== this.run.id || !tensors) return;
      this.weights = { run: id, tensors };
      this.problem = null;
    } catch (raised) {
      this.problem = asHostError(raised);
    }
  }

  /** Whether the model can be asked the other way: into the language that the source is in. */
  readonly reversible: boolean = $derived.by(() => {
    const { lang } = this.run.src;
    const languages = session.models?.models.find((entry) => entry.info.name === this.run.model.name)?.languages ?? [];
    return session.host.live && lang !== "" && lang !== this.run.tgt.lang && languages.includes(lang) && this.run.translation.trim() !== "";
  });
  readonly wantsReverse: boolean = $derived(route.params.rev === "1" && this.reversible);

  /** Runs the translation back into the source, word for word as they stand, if the address asks for it. */
  async loadReverse(): Promise<void> {
    const { id, model, src, tgt } = this.run;
    if (!this.wantsReverse || untrack(() => this.reverse?.of === id || this.reversing)) return;
    this.reversing = true;
    try {
      const run = await session.host.run({ model: this.run.request.model, src: tgt.text, tgt: src.text, to: src.lang, decode: { method: "greedy", beam: 1 } });
      const layers = model.stacks.find((stack) => stack.name === "decoder.cross_attn")!.layers;
      const tensors = await fetched(run.id, layers, () => id === this.run.id);
      if (tensors && id === this.run.id) this.reverse = { of: id, run, tensors };
      this.problem = null;
    } catch (raised) {
      this.problem = asHostError(raised);
      setParams({ rev: null, j: null });
    } finally {
      this.reversing = false;
    }
  }

  // ---- what the reader does

  choose(place: Place): void {
    setParams({ l: place.layer, h: place.head < 0 ? "mean" : place.head }, true);
  }

  chooseSource(source: "best" | "head" | "mean"): void {
    if (source === "best") setParams({ l: null, h: null }, true);
    else this.choose({ layer: this.place.layer, head: source === "mean" ? -1 : Math.max(0, this.place.head) });
  }

  setLayer(layer: number): void {
    if (layer < 0 || layer >= this.cross.layers) return;
    this.choose({ layer, head: Math.min(this.place.head, this.cross.heads[layer] - 1) });
  }

  pin(query: number, key = -1): void {
    setParams({ q: query >= 0 ? this.q[query].tokens[0] : null, k: key >= 0 ? this.k[key].tokens[0] : null });
  }

  setReference(text: string): void {
    const id = this.run.id;
    const kept = text.trim().replace(/\s+/g, " ");
    this.typed = { run: id, text };
    setParams({ ref: kept && kept.length <= IN_ADDRESS ? kept : null });
  }

  /** Takes up what the address says where it was changed from outside: back, forward, a link. */
  followReference(): void {
    const asked = route.params.ref ?? "";
    const own = untrack(() => this.typed);
    if (!own || own.run !== this.run.id) return;
    const kept = own.text.trim().replace(/\s+/g, " ");
    if (kept.length <= IN_ADDRESS && kept !== asked) this.typed = null;
  }

  /** Marks a pair of words in the reference: sure, possible only, or not at all. */
  mark(link: Link, as: "sure" | "possible" | null): void {
    const gold = this.gold ?? { sure: [], possible: [] };
    const others = (links: readonly Link[]): Link[] => links.filter(([i, j]) => i !== link[0] || j !== link[1]);
    const sure = as === "sure" ? [...others(gold.sure), link] : others(gold.sure);
    const possible = as === null ? others(gold.possible) : [...others(gold.possible), link];
    const first = this.first;
    const up = (links: Link[]): Link[] => links.map(([i, j]) => [i + first, j + first]);
    this.setReference(pharaoh(up(sure), up(possible)));
  }
}

function asHostError(raised: unknown): HostError {
  return raised instanceof HostError ? raised : new HostError("page", { what: String(raised) });
}

/** The weights of every layer, one after the other: of a long sentence all at once would be more than a server sends. */
async function fetched(id: string, layers: number, wanted: () => boolean): Promise<Record<string, Tensor> | null> {
  const tensors: Record<string, Tensor> = {};
  for (let layer = 0; layer < layers; layer++) {
    Object.assign(tensors, await session.host.tensors(id, [weightsOf(layer)], "f32"));
    if (!wanted()) return null;
  }
  return tensors;
}
