/** What the attention view shows: the address says which, the run says what. */
import { type Key, t } from "../../i18n/index.svelte";
import type { HeadStat, Manifest, Side, Stack, StackInfo } from "../../pack/contract";
import { HostError } from "../../pack/host";
import { block, type Tensor } from "../../pack/safetensors";
import type { Drawn } from "../../scene/lines";
import { contributions, headMap, type HeadMap, masked, meanMap, pairWeight } from "../../scene/maps";
import { type Unit, units, unitOf } from "../../scene/units";
import { read, written, type Zoom } from "../../scene/zoom";
import { route, setParams } from "../../state/route.svelte";
import { session } from "../../state/session.svelte";
import { theme } from "../../state/theme.svelte";
import { number, numbers } from "../../state/url";

export type Mode = "lines" | "matrix" | "both" | "table";
export type Measure = "weight" | "contribution";

export const SLOTS = 8;
/** Above so many tokens a side curves are no longer read, and the matrix comes first. */
export const LINES_LIMIT = 64;
/** Bytes of weights that are fetched at once, for all layers of a stack. */
const WHOLE_STACK = 8 * 1024 * 1024;

export const STACK_TEXT: Record<Stack, Key> = {
  "encoder.self_attn": "attention.stack_encoder",
  "decoder.self_attn": "attention.stack_decoder",
  "decoder.cross_attn": "attention.stack_cross",
};

/** The address of a layer's attention: `decoder.2.cross_attn`. */
export function address(stack: Stack, layer: number): string {
  const [side, part] = stack.split(".");
  return `${side}.${layer}.${part}`;
}

export class AttentionView {
  readonly run: Manifest = $derived(session.manifest!);
  readonly stack: StackInfo = $derived(
    this.run.model.stacks.find((stack) => stack.name === route.params.stack) ?? this.run.model.stacks[0],
  );
  readonly layer: number = $derived(number(route.params.l, this.stack.layers, 0));
  readonly heads: number = $derived(this.stack.heads[this.layer]);
  readonly address: string = $derived(address(this.stack.name, this.layer));
  readonly words: boolean = $derived(route.params.w === "1");
  readonly hideSpecial: boolean = $derived(route.params.s === "1");
  readonly measure: Measure = $derived(route.params.m === "contribution" ? "contribution" : "weight");
  readonly mean: boolean = $derived(route.params.h === "mean");

  readonly qSide: Side = $derived(this.stack.q === "src" ? this.run.src : this.run.tgt);
  readonly kSide: Side = $derived(this.stack.k === "src" ? this.run.src : this.run.tgt);
  readonly long: boolean = $derived(Math.max(this.qSide.tokens.length, this.kSide.tokens.length) > LINES_LIMIT);
  readonly mode: Mode = $derived.by(() => {
    const asked = route.params.mode as Mode;
    if (["lines", "matrix", "both", "table"].includes(asked)) return asked;
    return this.long ? "matrix" : "lines";
  });

  readonly q: Unit[] = $derived(units(this.qSide, { words: this.words, hideSpecial: this.hideSpecial }));
  readonly k: Unit[] = $derived(units(this.kSide, { words: this.words, hideSpecial: this.hideSpecial }));

  /** As the address has it: a text, so that what follows from it stays the same object while other parts of the address change. */
  private readonly askedHeads: string | undefined = $derived(route.params.h);

  /** Heads that are switched on: at most eight, for there are eight colours that can be told apart. */
  readonly active: number[] = $derived.by(() => {
    const asked = this.askedHeads;
    if (asked === "none") return [];
    if (asked === undefined || asked === "mean") return Array.from({ length: Math.min(SLOTS, this.heads) }, (_, i) => i);
    return numbers(asked, this.heads).slice(0, SLOTS);
  });

  /** The head that the inspector tells of. */
  chosen = $state(0);
  readonly head: number = $derived(this.active.includes(this.chosen) ? this.chosen : (this.active[0] ?? 0));

  /** What is pinned, as places in `q` and `k`; -1 for nothing. */
  readonly query: number = $derived(this.place(this.q, route.params.q));
  readonly key: number = $derived(this.place(this.k, route.params.k));

  /** What the pointer or the focus is on, before anything is pinned. */
  hoverQuery = $state(-1);
  readonly lookedAt: number = $derived(this.query >= 0 || this.key >= 0 ? this.query : this.hoverQuery);

  private readonly askedZoom: string | undefined = $derived(route.params.z);
  /** The part of the maps that is shown. The address follows when it has come to rest. */
  zoom: Zoom = $derived(read(this.askedZoom));
  private resting: ReturnType<typeof setTimeout> | undefined;

  private weights = $state.raw<{ run: string; tensors: Record<string, Tensor> }>({ run: "", tensors: {} });
  private added = $state.raw<{ key: string; tensor: Tensor } | null>(null);
  problem = $state.raw<HostError | null>(null);

  readonly tensor: Tensor | null = $derived.by(() => {
    if (this.weights.run !== this.run.id) return null;
    if (this.measure === "contribution") return this.added?.key === this.run.id + this.address ? this.added.tensor : null;
    return this.weights.tensors[`${this.address}.weights`] ?? null;
  });

  /** One map for each head of the layer. */
  readonly maps: HeadMap[] = $derived.by(() => {
    const tensor = this.tensor;
    if (!tensor) return [];
    return Array.from({ length: tensor.shape[0] }, (_, head) => this.map(tensor, head));
  });

  /** What is drawn: the maps of the heads that are on, each in the colour of its slot, or their mean. */
  readonly drawn: Drawn[] = $derived.by(() => {
    if (!this.maps.length) return [];
    if (this.mean) return [{ map: meanMap(this.maps), color: theme.palette.text, slot: 0 }];
    return this.active.map((head) => ({ map: this.maps[head], color: theme.palette.heads[this.slot(head)], slot: this.slot(head) }));
  });

  /** The colour slot of a head: its own where eight are enough, else its place among those that are on. */
  slot(head: number): number {
    return this.heads <= SLOTS ? head : this.active.indexOf(head);
  }

  stat(head: number, layer = this.layer, stack: Stack = this.stack.name): HeadStat | undefined {
    return this.run.heads.find((one) => one.stack === stack && one.layer === layer && one.head === head);
  }

  name(head: number, layer = this.layer, stack: Stack = this.stack.name): string {
    const stat = this.stat(head, layer, stack);
    return stat?.name ? `${t(`attention.name_${stat.name}` as Key)} ${stat.score.toFixed(2)}` : "";
  }

  /** What each head of the stack gives a pair, layer by layer, of the layers that are at hand. */
  everywhere(query: number, key: number): { layer: number; head: number; value: number }[] {
    const found: { layer: number; head: number; value: number }[] = [];
    for (let layer = 0; layer < this.stack.layers; layer++) {
      const tensor = this.weights.tensors[`${address(this.stack.name, layer)}.weights`];
      for (let head = 0; tensor && head < tensor.shape[0]; head++)
        found.push({ layer, head, value: pairWeight(block(tensor, head).data, tensor.shape[2], this.q[query], this.k[key], this.k, this.hideSpecial) });
    }
    return found;
  }

  /**
   * Where By hand opens: this head, the pinned query or the first word, and the pinned key or, of all that are words, the one looked at
   * most. Tokens, for By hand knows no words.
   */
  get forHand(): { stack: Stack; l: number; h: number; q: number | null; k: number | null } {
    const { head, layer } = this;
    const place = { stack: this.stack.name, l: layer, h: head };
    const tensor = this.weights.run === this.run.id ? this.weights.tensors[`${this.address}.weights`] : undefined;
    if (!tensor) return { ...place, q: null, k: null };
    const { data, shape } = block(tensor, head);
    const real = (side: Side): number[] => side.tokens.flatMap((token, at) => (token.special ? [] : [at]));
    const most = (among: number[], weight: (at: number) => number): number => among.reduce((best, at) => (weight(at) > weight(best) ? at : best), among[0] ?? 0);
    const keys = this.key >= 0 ? this.k[this.key].tokens : real(this.kSide);
    const q = this.query >= 0 ? this.q[this.query].tokens[0] : this.key >= 0 ? most(real(this.qSide), (at) => data[at * shape[1] + keys[0]]) : (real(this.qSide)[0] ?? 0);
    const of = (at: number): number => data[q * shape[1] + at];
    const k = most(keys, of);
    // A query may see no word at all, as the first one under a causal mask.
    return { ...place, q, k: this.key >= 0 || of(k) > 0 ? k : most(Array.from(this.kSide.tokens, (_, at) => at), of) };
  }

  /** Whether all layers of the stack are at hand. */
  readonly whole: boolean = $derived(
    this.weights.run === this.run.id && Array.from({ length: this.stack.layers }, (_, l) => l).every((l) => this.weights.tensors[`${address(this.stack.name, l)}.weights`]),
  );

  private map(tensor: Tensor, head: number): HeadMap {
    const one = block(tensor, head);
    return headMap(head, one.data, one.shape[1], this.q, this.k, this.hideSpecial);
  }

  private place(list: readonly Unit[], asked: string | undefined): number {
    return asked !== undefined && /^\d+$/.test(asked) ? unitOf(list, Number(asked)) : -1;
  }

  /** Fetches what `address` needs: all layers of the stack where they are small. Reads the state, so an effect can follow it. */
  async load(): Promise<void> {
    const { id } = this.run;
    const { stack, address: here } = this;
    const names = Array.from({ length: stack.layers }, (_, layer) => `${address(stack.name, layer)}.weights`);
    const bytes = 4 * this.qSide.tokens.length * this.kSide.tokens.length * stack.heads.reduce((sum, n) => sum + n, 0);
    const wanted = bytes <= WHOLE_STACK ? names : [`${here}.weights`];
    const contribution = this.measure === "contribution";
    try {
      const found = await session.host.tensors(id, wanted, "f32");
      if (this.left || id !== this.run.id) return;
      this.weights = { run: id, tensors: this.weights.run === id ? { ...this.weights.tensors, ...found } : found };
      if (contribution) {
        const projection = `${here}.o_proj.weight`;
        const [{ [`${here}.v`]: v }, { [projection]: out }] = await Promise.all([
          session.host.tensors(id, [`${here}.v`], "f32"),
          session.host.weights(this.run.model.name, [projection]),
        ]);
        if (!this.left && id === this.run.id && here === this.address) this.added = { key: id + here, tensor: contributions(this.weights.tensors[`${here}.weights`], v, out) };
      }
      this.problem = null;
    } catch (raised) {
      if (this.left) return;
      this.problem = raised instanceof HostError ? raised : new HostError("page", { what: String(raised) });
    }
  }

  /** A cell in words, as it is read out: what each head that is on gives the pair. */
  cell(query: number, key: number): string {
    const [q, k] = [this.q[query], this.k[key]];
    const args = { layer: this.layer + 1, pair: t("attention.pair", { q: q.label, k: k.label }) };
    if (masked(this.stack.causal, q, k)) return t("attention.cell_masked", args);
    const values = this.drawn.map(({ map }) => {
      const value = map.data[query * map.columns + key].toFixed(3);
      return map.head < 0 ? t("attention.cell_mean", { value }) : t("attention.cell_head", { head: map.head + 1, value });
    });
    return t("attention.cell", { ...args, values: values.join(t("attention.told_join")) });
  }

  // ---- what the reader does

  setZoom(next: Zoom): void {
    this.zoom = next;
    this.rest();
    this.resting = setTimeout(() => setParams({ z: written(next) }), 300);
  }

  /** Another view is on screen: what is still on its way is for nobody. */
  private left = false;

  leave(): void {
    this.left = true;
    this.rest();
  }

  /** Forgets a part that the address does not have yet. */
  rest(): void {
    clearTimeout(this.resting);
  }

  setStack(name: Stack): void {
    const stack = this.run.model.stacks.find((one) => one.name === name);
    if (!stack) return;
    const layer = Math.min(this.layer, stack.layers - 1);
    const sameSides = stack.q === this.stack.q && stack.k === this.stack.k;
    if (!sameSides) this.rest();
    setParams({ stack: name, l: layer, h: this.kept(stack, layer), ...(sameSides ? {} : { q: null, k: null, z: null }) }, true);
  }

  setLayer(layer: number): void {
    if (layer < 0 || layer >= this.stack.layers || layer === this.layer) return;
    setParams({ l: layer, h: this.kept(this.stack, layer) }, true);
  }

  /** The heads that stay on in another layer, which may have fewer. */
  private kept(stack: StackInfo, layer: number): string | null {
    const asked = route.params.h;
    if (asked === undefined || asked === "mean" || asked === "none") return asked ?? null;
    return numbers(asked, stack.heads[layer]).join(",") || null;
  }

  toggle(head: number): void {
    const next = this.mean ? [head] : this.active.includes(head) ? this.active.filter((one) => one !== head) : [...this.active, head].sort((a, b) => a - b);
    this.chosen = head;
    this.setHeads(next.slice(0, SLOTS));
  }

  solo(head: number): void {
    this.chosen = head;
    this.setHeads([head]);
  }

  setHeads(heads: number[] | "all" | "none" | "mean"): void {
    if (heads === "none" || heads === "mean") setParams({ h: heads });
    else if (heads === "all" || heads.length === Math.min(SLOTS, this.heads) && this.heads <= SLOTS) setParams({ h: null });
    else setParams({ h: heads.length ? heads.join(",") : "none" });
  }

  open(stack: Stack, layer: number, head: number): void {
    const sides = this.run.model.stacks.find((one) => one.name === stack)!;
    const sameSides = sides.q === this.stack.q && sides.k === this.stack.k;
    this.chosen = head;
    if (!sameSides) this.rest();
    setParams({ stack, l: layer, h: head, ...(sameSides ? {} : { q: null, k: null, z: null }) }, true);
  }

  /** To another layer, with `head` switched on beside those that are. */
  goto(layer: number, head: number): void {
    const kept = this.mean ? [] : numbers(route.params.h ?? "", this.stack.heads[layer]);
    const all = route.params.h === undefined && head < SLOTS;
    setParams({ l: layer, h: all ? null : [...new Set([...kept, head])].sort((a, b) => a - b).slice(-SLOTS).join(",") }, true);
  }

  /** Pins places in `q` and `k`; -1 for none. */
  pin(query: number, key = -1): void {
    setParams({ q: query >= 0 ? this.q[query].tokens[0] : null, k: key >= 0 ? this.k[key].tokens[0] : null });
  }
}
