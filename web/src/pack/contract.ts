/** The contract of captures (`ttrace` version 1) and of the API, as inspection/ and serve/ write it. */

export type Stack = "encoder.self_attn" | "decoder.self_attn" | "decoder.cross_attn";

export interface StackInfo {
  name: Stack;
  layers: number;
  heads: number[]; // of each layer
  kv_heads: number[]; // of each layer: grouped-query attention has fewer
  d_head: number;
  q: "src" | "tgt";
  k: "src" | "tgt";
  causal: boolean;
}

export interface ModelInfo {
  name: string;
  family?: "encoder-decoder" | "recurrent" | "convolutional"; // where it is not said a Transformer, "encoder-decoder"
  d_model: number;
  vocab: { src: number; tgt: number };
  encoder_layers: number;
  decoder_layers: number;
  embed_scale: number;
  tied: { src_tgt: boolean; out: boolean };
  core: { kind: string; scale: number | null }; // kind, "none" without attention, as in config.toml; scale 1/sqrt(d_head) for the scaled dot product
  parameters: number;
  parameters_by_part: Record<string, number>; // "src_embed", "encoder", "decoder", "head" ...
  stacks: StackInfo[]; // those that there are: of a recurrent model that to the source, or none
  weights_sha256: string;
  // What a family has not is null.
  position?: string | null; // "sinusoidal" | "learned" | "rotary" | "none"
  d_ff?: number | null;
  norm_at?: "pre" | "post" | null;
  norm?: "layer" | "rms" | null;
  eps?: number | null;
  activation?: string | null; // "relu" | "gelu" | "swiglu" as in the bundle's config.toml
  cell?: "elman" | "gru" | "lstm" | null;
  d_state?: number | null; // of each direction
  bidirectional?: boolean | null;
  bridge?: string | null;
  attend?: "before" | "between" | "after" | null; // which state asks
  input_feeding?: boolean | null;
  kernel_size?: number | null;
}

export interface Token {
  id: number;
  piece: string; // as in the vocabulary
  text: string; // what it stands for in the text ("" for a special one)
  special: boolean; // tag, bos, eos, unk
  word: number; // index into words; -1 for a special one
  chars: [number, number] | null; // in `text` of the side
  partial: boolean; // part of a character (byte tokens)
}

export interface Side {
  text: string;
  lang: string;
  tokens: Token[];
  words: string[];
}

export interface Candidate { id: number; text: string; lp: number }

export interface Decode {
  method: "greedy" | "beam" | "forced";
  beam: number;
  length_penalty: number;
  length_norm: string;
  max_len: number;
  steps: { t: number; live: { node: number; cum: number; topk: Candidate[]; rest: number }[] }[]; // rest: probability of all others
  nodes: { id: number; parent: number; t: number; token: number; text: string; lp: number; cum: number; state: "live" | "pruned" | "finished" }[];
  finished: { node: number; tokens: number[]; text: string; lp: number; score: number }[];
  chosen: number; // index into finished
}

export interface HeadStat {
  stack: Stack; layer: number; head: number;
  entropy: number; // nats, mean over queries, divided by the logarithm of the number of visible keys: 0 sharp to 1 even
  max: number; // mean of each row's largest weight
  prev: number; next: number; self: number; same: number; first: number; eos: number; // mean weight on such a key
  name: "previous" | "next" | "self" | "same" | "first" | "eos" | "broad" | null; // computed, with the score that earned it
  score: number;
  align?: { sharp: number; mono: number };
}

export interface TensorInfo { dtype: "F32" | "F16" | "U8" | "I32"; shape: number[]; axes: string[] }

export interface Manifest {
  format: "ttrace";
  version: 1;
  id: string; // first 16 hex digits of SHA-256 of canonical request + weights
  created: string; // ISO 8601, UTC
  tool: { name: "sightline"; version: string };
  model: ModelInfo;
  request: RunRequest;
  src: Side;
  tgt: Side; // decoder INPUTS: <bos> y1 … ym; the labels are y1 … ym <eos>
  labels: Token[];
  translation: string;
  decode: Decode;
  heads: HeadStat[];
  tensors: Record<string, TensorInfo>;
  checks: { incremental_err: number; row_sum_err?: number; recompute_err?: number; wo_sum_err?: number }; // three are of attention
  warnings: { code: string; args: Record<string, string | number> }[];
}

export interface RunRequest {
  model: string; // name as listed by /api/v1/models
  src: string;
  tgt?: string; // given translation instead of a search
  to?: string; // target language where the model has several
  decode: { method: "greedy" | "beam"; beam: number; length_penalty?: number; prefix?: number[] /* forced target token ids */ };
}

export interface ModelsReply {
  models: {
    info: ModelInfo; languages: string[]; src_lang: string; tgt_lang: string;
    sample: { src: string; to: string }; // a sentence that the page opens with
    card: string; // Markdown, shown as text
  }[];
  limits: { src_tokens: number; tgt_tokens: number; beam: number; topk: number };
  version: string;
}

/*
GET  /api/v1/models                                         ModelsReply
POST /api/v1/runs               RunRequest -> 201 (200 if known) Manifest   (tensors are not in it: see pack)
GET  /api/v1/runs/{id}                                      Manifest; 404 if gone
GET  /api/v1/runs/{id}/pack?names=a,b&dtype=f32|f16|u8[&pool=128]   application/octet-stream (safetensors); ETag, immutable.
       u8: weights scaled by 255; pool: max-pooled to at most that many rows and columns. A name may end in `*`.
GET  /api/v1/models/{name}/weights?names=…                  safetensors, f32: parameters by checkpoint name (bounded per request)
GET  /api/v1/models/{name}/code                             CodeReply: the lines of the installed package that do each step
GET  /api/v1/export/{id}?form=html|ttrace|xlsx|pharaoh&lang=en|zh[&stack=&layer=&head=&query=]
Errors: {error: {code: string, args: Record<string, string | number>}} with 400/404/409/413/422; the code is an i18n key `error.<code>`.
*/
export interface ErrorReply { error: { code: string; args: Record<string, string | number> } }

/** step: "x" | "q" | "k" | "v" | "scores" | "scale" | "mask" | "softmax" | "z" | "concat" | "out" | "residual" | "norm" | "position" | "embed", and "cross.x" | "cross.q" | "cross.k" | "cross.v" */
export interface CodeReply { steps: Record<string, { file: string; line: number; lines: string[] }> }

/** What the one-file page carries: everything it needs without a server, gzip + base64 in a script of type application/octet-stream:
 *  a safetensors file whose `__metadata__` holds `manifest`, `models` (ModelsReply) and `code` (CodeReply) as JSON. */
