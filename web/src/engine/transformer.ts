/** The whole encoder-decoder, from token numbers to logits, with everything that a capture holds, under the same names. */

import { type Allowed, type AttentionWeights, type Core, attend, causal, everything } from "./attention";
import { type Matrix, add, linear, map, multiplyTransposed, zeros } from "./matrix";

export interface Config {
  d_model: number;
  encoder_layers: number;
  decoder_layers: number;
  heads: number;
  kv_heads: number;
  norm_at: "pre" | "post";
  norm: "layer" | "rms";
  eps: number;
  activation: string; // relu, gelu, silu, swiglu
  position: string; // sinusoidal, learned, rotary, none
  core: string; // dot, cosine
}

/** A parameter by its name in the checkpoint; undefined where the model has none of that name. */
export type Parameters = (name: string) => Matrix | undefined;

/** What happens on the way, by address: `encoder.0.self_attn.weights` has one matrix for each head. */
export type Trace = Map<string, Matrix[]>;

/** erf(x), to about 1e-13: its power series, far out the continued fraction of erfc. */
export function erf(x: number): number {
  const a = Math.abs(x);
  if (a > 6) return Math.sign(x);
  if (a <= 3) {
    let term = a;
    let sum = a;
    for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum) && n < 200; n++) {
      term *= (-a * a) / n;
      sum += term / (2 * n + 1);
    }
    return (Math.sign(x) * 2 * sum) / Math.sqrt(Math.PI);
  }
  let fraction = 0;
  for (let n = 60; n > 0; n--) fraction = n / 2 / (a + fraction);
  return Math.sign(x) * (1 - Math.exp(-a * a) / Math.sqrt(Math.PI) / (a + fraction));
}

const silu = (x: number) => x / (1 + Math.exp(-x));
const ACTIVATIONS: Record<string, (x: number) => number> = {
  relu: (x) => Math.max(0, x),
  gelu: (x) => (x / 2) * (1 + erf(x / Math.SQRT2)),
  silu,
};

/** Mean 0 and variance 1 (Ba et al. 2016), or root mean square 1 (Zhang and Sennrich 2019), then scaled and shifted. */
export function normalise(x: Matrix, kind: "layer" | "rms", eps: number, weight?: Matrix, bias?: Matrix): Matrix {
  const out = zeros(x.rows, x.cols);
  for (let i = 0; i < x.rows; i++) {
    const row = x.data.subarray(i * x.cols, (i + 1) * x.cols);
    const mean = kind === "rms" ? 0 : row.reduce((sum, y) => sum + y, 0) / x.cols;
    const variance = row.reduce((sum, y) => sum + (y - mean) ** 2, 0) / x.cols;
    const scale = 1 / Math.sqrt(variance + eps);
    row.forEach((y, j) => {
      out.data[i * x.cols + j] = (y - mean) * scale * (weight?.data[j] ?? 1) + (bias?.data[j] ?? 0);
    });
  }
  return out;
}

/** PE(pos, 2i) = sin(pos / 10000^(2i/d)), PE(pos, 2i+1) = cos(same) (Vaswani et al. 2017, section 3.5), in single precision
 * as the model has it. */
export function sinusoids(length: number, d: number): Matrix {
  const out = zeros(length, d);
  for (let p = 0; p < length; p++)
    for (let j = 0; j < d; j++) {
      const angle = p * Math.exp((j - (j % 2)) * (-Math.log(10000) / d));
      out.data[p * d + j] = Math.fround(j % 2 ? Math.cos(angle) : Math.sin(angle));
    }
  return out;
}

/** Neighbouring pairs of each row turned by an angle that grows with its position (Su et al. 2021, section 3.2). */
export function rotary(x: Matrix): Matrix {
  const table = sinusoids(x.rows, x.cols);
  const out = zeros(x.rows, x.cols);
  for (let i = 0; i < x.data.length; i += 2) {
    const [sin, cos, even, odd] = [table.data[i]!, table.data[i + 1]!, x.data[i]!, x.data[i + 1]!];
    out.data[i] = even * cos - odd * sin;
    out.data[i + 1] = even * sin + odd * cos;
  }
  return out;
}

export class Transformer {
  readonly config: Config;
  private readonly parameters: Parameters;

  constructor(config: Config, parameters: Parameters) {
    this.config = config;
    this.parameters = parameters;
  }

  /** Throws an Error if the model has no parameter of that name. */
  private need(name: string): Matrix {
    const found = this.parameters(name);
    if (!found) throw new Error(`the model has no parameter "${name}"`);
    return found;
  }

  private embed(side: "src_embed" | "tgt_embed", ids: readonly number[], trace: Trace): Matrix {
    const { d_model, position } = this.config;
    const table = this.parameters(`${side}.tokens.weight`) ?? this.need("src_embed.tokens.weight"); // they may share one
    const tokens = zeros(ids.length, d_model);
    ids.forEach((id, i) => {
      if (!(id >= 0 && id < table.rows)) throw new RangeError(`token ${id} is not among the ${table.rows} that the model knows`);
      tokens.data.set(table.data.subarray(id * d_model, (id + 1) * d_model).map((x) => x * Math.sqrt(d_model)), i * d_model);
    });
    let where = zeros(ids.length, d_model);
    if (position === "sinusoidal") where = sinusoids(ids.length, d_model);
    if (position === "learned")
      where = { ...where, data: this.need(`${side}.position.weight`).data.slice(0, ids.length * d_model) };
    const sum = add(tokens, where);
    trace.set(`${side}.tokens`, [tokens]).set(`${side}.position`, [where]).set(`${side}.sum`, [sum]);
    return sum;
  }

  private norm(x: Matrix, name: string): Matrix {
    const { norm, eps } = this.config;
    return normalise(x, norm, eps, this.parameters(`${name}.weight`), this.parameters(`${name}.bias`));
  }

  /** The weights of one attention, as `attend` takes them. */
  attentionWeights(address: string): AttentionWeights {
    const own = (name: string) => this.parameters(`${address}.${name}`);
    return {
      q: this.need(`${address}.q_proj.weight`),
      k: this.need(`${address}.k_proj.weight`),
      v: this.need(`${address}.v_proj.weight`),
      o: this.need(`${address}.o_proj.weight`),
      qBias: own("q_proj.bias"),
      kBias: own("k_proj.bias"),
      vBias: own("v_proj.bias"),
      oBias: own("o_proj.bias"),
    };
  }

  core(address: string): Core {
    if (this.config.core === "dot") return { kind: "dot" };
    if (this.config.core !== "cosine") throw new Error(`attention of the kind "${this.config.core}" is not known here`);
    return { kind: "cosine", sharpness: this.need(`${address}.core.log_sharpness`).data.map(Math.exp) };
  }

  private attention(x: Matrix, memory: Matrix, address: string, allowed: Allowed, trace: Trace): Matrix {
    const { heads, kv_heads, position } = this.config;
    const rotate = position === "rotary" && address.endsWith("self_attn") ? rotary : undefined;
    const options = { heads, kvHeads: kv_heads, core: this.core(address), allowed, ...(rotate && { rotate }) };
    const steps = attend(x, memory, this.attentionWeights(address), options);
    const shared = <T>(held: T[]) => steps.q.map((_, h) => held[Math.floor((h * held.length) / heads)]!);
    trace.set(`${address}.k`, shared(steps.k)).set(`${address}.v`, shared(steps.v));
    for (const name of ["q", "weights", "z"] as const) trace.set(`${address}.${name}`, steps[name]);
    trace.set(`${address}.out`, [steps.out]);
    return steps.out;
  }

  private feedForward(x: Matrix, address: string, trace: Trace): Matrix {
    const { activation } = this.config;
    const up = linear(x, this.need(`${address}.up_proj.weight`), this.parameters(`${address}.up_proj.bias`));
    let inner: Matrix;
    let before = up; // what the activation is applied to
    if (activation === "swiglu") {
      const gate = multiplyTransposed(x, this.need(`${address}.gate_proj.weight`));
      inner = { ...up, data: up.data.map((y, i) => y * silu(gate.data[i]!)) };
      before = gate;
    } else {
      const f = ACTIVATIONS[activation];
      if (!f) throw new Error(`the activation "${activation}" is not known here`);
      inner = map(up, f);
    }
    trace.set(`${address}.pre`, [before]).set(`${address}.post`, [inner]);
    return linear(inner, this.need(`${address}.down_proj.weight`), this.parameters(`${address}.down_proj.bias`));
  }

  private stack(x: Matrix, name: "encoder" | "decoder", trace: Trace, memory?: Matrix): Matrix {
    const { norm_at, encoder_layers, decoder_layers } = this.config;
    const pre = norm_at === "pre";
    const sublayer = (norm: string, f: (x: Matrix) => Matrix) => {
      const sum = add(x, f(pre ? this.norm(x, norm) : x));
      x = pre ? sum : this.norm(sum, norm);
    };
    for (let l = 0; l < (memory ? decoder_layers : encoder_layers); l++) {
      const layer = `${name}.${l}`;
      trace.set(`${layer}.resid_pre`, [x]);
      sublayer(`${layer}.self_norm`, (y) =>
        this.attention(y, y, `${layer}.self_attn`, memory ? causal : everything, trace),
      );
      trace.set(`${layer}.resid_mid`, [x]);
      if (memory) {
        sublayer(`${layer}.cross_norm`, (y) => this.attention(y, memory, `${layer}.cross_attn`, everything, trace));
        trace.set(`${layer}.resid_cross`, [x]);
      }
      sublayer(`${layer}.ffn_norm`, (y) => this.feedForward(y, `${layer}.ffn`, trace));
      trace.set(`${layer}.resid_post`, [x]);
    }
    return pre ? this.norm(x, `${name}.norm`) : x;
  }

  /** One vector for each source token, each having looked at all the others. */
  encode(src: readonly number[], trace: Trace = new Map()): Matrix {
    const memory = this.stack(this.embed("src_embed", src, trace), "encoder", trace);
    trace.set("memory", [memory]);
    return memory;
  }

  /** Logits [m, vocabulary] for the token after each of `tgt`, which begins with the start symbol. */
  decode(tgt: readonly number[], memory: Matrix, trace: Trace = new Map()): Matrix {
    const hidden = this.stack(this.embed("tgt_embed", tgt, trace), "decoder", trace, memory);
    const tied = this.parameters("tgt_embed.tokens.weight") ?? this.parameters("src_embed.tokens.weight");
    const weight = this.parameters("head.weight") ?? tied ?? this.need("head.weight");
    const logits = linear(hidden, weight, this.parameters("head.bias"));
    trace.set("hidden", [hidden]).set("logits", [logits]);
    return logits;
  }
}
