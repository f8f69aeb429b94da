/** What the decoding view shows: the address says which step of which hypothesis, the run says what happened there. */
import { untrack } from "svelte";
import type { Manifest, RunRequest, StackInfo, Token } from "../../pack/contract";
import { HostError } from "../../pack/host";
import { block, type Tensor } from "../../pack/safetensors";
import { headMap, type HeadMap, meanMap } from "../../scene/maps";
import { shown, type Unit, units } from "../../scene/units";
import { route, setParams } from "../../state/route.svelte";
import { run as runRequest, session } from "../../state/session.svelte";
import { number } from "../../state/url";
import { logitsOf } from "./logits";
import { drawn, left, OWN, type Sampling, type Sorted, sorted, uniform } from "./sampling";
import { barsAfter, type Bars, type Node, type Norm, normOf, NORMS, pathTo, type Ranked, ranking } from "./search";

export const ALPHA = { least: -1, most: 2, step: 0.05 };
const ADDRESS = "decoder.cross_attn";

/** A token as the search names it; a blank by itself gets a sign. */
export function pieceText(text: string, longest = 16): string {
  return text === "▁" ? "␣" : shown(text, longest);
}

/** The number of `text` if it lies from `least` to `most`, else `otherwise`. */
function real(text: string | undefined, least: number, most: number, otherwise: number): number {
  const value = Number(text || NaN);
  return value >= least && value <= most ? value : otherwise;
}

export class DecodingView {
  readonly run: Manifest = $derived(session.manifest!);
  readonly decode = $derived(this.run.decode);
  readonly nodes: Node[] = $derived(this.decode.nodes);

  /** The node at which the translation of this run ends. */
  readonly result: number = $derived(this.decode.finished[this.decode.chosen].node);
  readonly resultPath: number[] = $derived(pathTo(this.decode, this.result));
  /** The node at which the hypothesis ends that is followed. A node's number means something in its own run only. */
  readonly end: number = $derived.by(() => {
    const [of, node] = (route.params.n ?? "").split(".");
    return of && this.run.id.startsWith(of) ? number(node, this.nodes.length, this.result) || this.result : this.result;
  });
  readonly path: number[] = $derived(pathTo(this.decode, this.end));
  readonly steps: number = $derived(this.path.length - 1);
  /** The step that is looked at, from 1. */
  readonly t: number = $derived(Math.max(1, Math.min(this.steps, number(route.params.t, 100_000, 1))));
  readonly before: number = $derived(this.path[this.t - 1]);
  readonly next: number = $derived(this.path[this.t]);
  readonly token: Node = $derived(this.nodes[this.next]);
  readonly bars: Bars | null = $derived(barsAfter(this.decode, this.before, this.next, this.run.model.vocab.tgt));
  /** How many tokens the request forced. */
  readonly forced: number = $derived(this.run.request.decode.prefix?.length ?? 0);

  // ---- where it looks

  /** None of a model without attention. */
  readonly stack: StackInfo | undefined = $derived(this.run.model.stacks.find((stack) => stack.name === ADDRESS));
  readonly layers: number = $derived(this.stack?.layers ?? 0);
  readonly layer: number = $derived(number(route.params.l, this.layers, this.layers - 1));
  readonly heads: number = $derived(this.stack?.heads[this.layer] ?? 0);
  /** -1 for the mean. */
  readonly head: number = $derived(number(route.params.h, this.heads, -1));
  readonly words: boolean = $derived(route.params.w !== "0");
  readonly address: string = $derived(`decoder.${this.layer}.cross_attn`);
  readonly source: Unit[] = $derived(units(this.run.src, { words: this.words, hideSpecial: false }));
  /** Attention was captured along the translation alone, so for another hypothesis it is there while that begins in the same way. */
  readonly captured: boolean = $derived(this.t <= this.run.tgt.tokens.length && this.path.slice(0, this.t).every((node, i) => node === this.resultPath[i]));

  private weights = $state.raw<{ key: string; tensor: Tensor } | null>(null);
  problem = $state.raw<HostError | null>(null);

  /** How the decoder looks at the source when it predicts token `t`: one row. */
  readonly row: HeadMap | null = $derived.by(() => {
    if (!this.captured || this.weights?.key !== this.run.id + this.address) return null;
    const { tensor } = this.weights;
    const query: Unit[] = [{ label: "", tokens: [this.t - 1], special: false, partial: false }];
    const maps = Array.from({ length: tensor.shape[0] }, (_, head) => {
      const one = block(tensor, head);
      return headMap(head, one.data, one.shape[1], query, this.source, false);
    });
    return this.head < 0 ? meanMap(maps) : maps[this.head];
  });

  /** Follow the address: the weights of its layer. */
  async load(): Promise<void> {
    const { id } = this.run;
    const here = this.address;
    if (!this.stack) return;
    try {
      const { [`${here}.weights`]: tensor } = await session.host.tensors(id, [`${here}.weights`], "f32");
      if (id !== this.run.id || here !== this.address) return;
      this.weights = { key: id + here, tensor };
      this.problem = null;
    } catch (raised) {
      this.problem = raised instanceof HostError ? raised : new HostError("page", { what: String(raised) });
    }
  }

  // ---- a token drawn instead of searched for

  readonly sampling: Sampling = $derived({ temperature: real(route.params.temp, 0.05, 10, 1), k: number(route.params.topk, 100_001, 0), p: real(route.params.topp, 0.01, 1, 1) });
  /** Of the draw; 0 for none. */
  readonly seed: number = $derived(number(route.params.seed, 1_000_000, 0));
  readonly sampled: boolean = $derived(this.seed > 0 || (["temperature", "k", "p"] as const).some((name) => this.sampling[name] !== OWN[name]));
  sampleOpen = $state(false);
  private logits = $state.raw<{ key: string; scores: Float64Array | null } | null>(null);
  private readonly logitsKey: string = $derived(`${this.run.id}.${this.t}`);
  /** Whether every token of the vocabulary is counted; else only those of which the search wrote down their probability. */
  readonly exact: boolean = $derived(this.captured && this.logits?.key === this.logitsKey && this.logits.scores !== null);
  private readonly scores: Sorted | null = $derived.by(() => {
    if (!this.bars || !(this.sampleOpen || this.sampled)) return null;
    if (this.exact) return sorted(this.logits!.scores!);
    if (this.captured && this.logits?.key !== this.logitsKey) return null;
    const bars = this.bars.bars.filter((bar) => !bar.outside);
    return sorted(bars.map((bar) => bar.lp), bars.map((bar) => bar.id));
  });
  /** Probabilities of what can be drawn, largest first. */
  readonly left: number[] | null = $derived(this.scores && left(this.scores, this.sampling));
  /** The same by the number of the token. */
  readonly leftOf: Map<number, number> | null = $derived(this.left && new Map(this.left.map((p, i) => [this.scores!.ids[i], p])));
  /** How far log-probabilities from these logits are from those that the search wrote down. */
  readonly logitError: number | null = $derived.by(() => {
    if (!this.exact || !this.scores || !this.bars) return null;
    const { ids, scores } = this.scores;
    const total = scores[0] + Math.log(scores.reduce((sum, score) => sum + Math.exp(score - scores[0]), 0));
    const places = new Map(ids.slice(0, 50).map((id, i) => [id, scores[i] - total]));
    return Math.max(...this.bars.bars.map((bar) => Math.abs((places.get(bar.id) ?? bar.lp) - bar.lp)));
  });
  /** What the seed draws: the token, its place in the order, and the part of the line from 0 to 1 that is its own. */
  readonly draw = $derived.by(() => {
    if (!this.left || !this.seed) return null;
    const u = uniform(this.seed);
    const found = drawn(this.left, u);
    const id = this.scores!.ids[found.at];
    const known = this.bars!.bars.find((bar) => bar.id === id);
    return { ...found, u, id, text: known ? pieceText(known.text) : "", ends: id === this.endToken };
  });
  /** The token that ends a translation; -1 where this one has no end. */
  readonly endToken: number = $derived(this.run.labels.at(-1)?.special ? this.run.labels.at(-1)!.id : -1);

  /** Follow the address: all logits of the step that is looked at, once they are wanted. */
  async loadLogits(): Promise<void> {
    const { run, t, logitsKey: key } = this;
    if (!(this.sampleOpen || this.sampled) || !this.captured || untrack(() => this.logits?.key) === key) return;
    const scores = await logitsOf(run, t - 1).catch(() => null);
    if (key === this.logitsKey) this.logits = { key, scores };
  }

  // ---- what ended, ranked

  readonly ownNorm: Norm = $derived(normOf(this.decode));
  readonly norm: Norm = $derived(NORMS.find((one) => one === route.params.norm) ?? this.ownNorm);
  readonly alpha: number = $derived.by(() => {
    const asked = Number(route.params.a);
    return route.params.a !== undefined && Number.isFinite(asked) && Math.abs(asked) <= 10 ? asked : this.decode.length_penalty;
  });
  readonly own: boolean = $derived(this.norm === this.ownNorm && this.alpha === this.decode.length_penalty);
  readonly ranked: Ranked[] = $derived(ranking(this.decode, this.norm, this.alpha));

  // ---- the run that this one was forced away from

  private base_ = $state.raw<{ of: string; run: Manifest } | null>(null);
  readonly base: Manifest | null = $derived(this.base_?.of === this.run.id ? this.base_.run : null);

  /** The run before the last word was forced, or, where the server no longer has it, the one with nothing forced. */
  async loadBase(): Promise<void> {
    const { id, request } = this.run;
    if (!this.forced || !session.host.live || this.base_?.of === id) return;
    const asked = route.params.base;
    const suits = (one: Manifest): boolean => one.id !== id && one.src.text === this.run.src.text && one.model.name === this.run.model.name && one.tgt.lang === this.run.tgt.lang;
    let found: Manifest | null = null;
    if (asked) found = await session.host.manifest(asked).catch(() => null);
    if (!found || !suits(found)) {
      const { prefix: _, ...decode } = request.decode;
      found = await session.host.run({ ...request, decode }).catch(() => null);
    }
    if (found && suits(found)) this.base_ = { of: id, run: found };
  }

  // ---- texts

  text(node: number, longest = 14): string {
    return pieceText(this.nodes[node].text, longest);
  }

  /** What stands on frame `t` of the film: of the translation itself the token as the text has it. */
  frame(t: number): { label: string; special: boolean; partial: boolean } {
    const node = this.path[t];
    const token: Token | undefined = node === this.resultPath[t] ? (t === 0 ? this.run.tgt.tokens[0] : this.run.labels[t - 1]) : undefined;
    if (!token) return { label: this.text(node, 20), special: false, partial: false };
    if (token.special) return { label: shown(token.piece, 20), special: true, partial: false };
    const unit = t > 0 ? this.labelUnits[t - 1] : undefined;
    return { label: unit?.label ?? shown(token.text), special: false, partial: token.partial };
  }

  private readonly labelUnits: Unit[] = $derived(units({ ...this.run.tgt, tokens: this.run.labels }, { words: false, hideSpecial: false }));

  // ---- what the reader does

  go(t: number): void {
    setParams({ t: Math.max(1, Math.min(this.steps, t)) });
  }

  /** Follows the hypothesis through `node`, and looks at the step that wrote it. */
  follow(node: number): void {
    const { t } = this.nodes[node];
    if (this.path.includes(node)) return this.go(t);
    const through = this.ranked.find((one) => pathTo(this.decode, one.node).includes(node));
    const end = this.resultPath.includes(node) ? this.result : (through?.node ?? node);
    setParams({ n: end === this.result ? null : `${this.run.id.slice(0, 4)}.${end}`, t: Math.max(1, t) });
  }

  reset(): void {
    setParams({ n: null });
  }

  /** A new run that begins with the path up to the step before and `token`; the back button returns to this one. */
  async force(token: number): Promise<boolean> {
    const prefix = [...this.path.slice(1, this.t).map((node) => this.nodes[node].token), token];
    const { tgt: _, ...rest } = this.run.request;
    const request: RunRequest = { ...rest, decode: { ...rest.decode, prefix } };
    return runRequest(request, { base: this.run.id, n: null, t: this.t, a: null, norm: null });
  }

  /** A new search whose length penalty is the one of the slider. */
  async searchAgain(): Promise<boolean> {
    const { request } = this.run;
    return runRequest({ ...request, decode: { ...request.decode, length_penalty: this.alpha } }, { n: null, a: null, norm: null });
  }

  setAlpha(alpha: number): void {
    const near = Math.abs(alpha - this.decode.length_penalty) < ALPHA.step / 2;
    setParams({ a: near ? null : Math.round(alpha * 100) / 100 });
  }
}
