/** The parts of the model as its figure shows them, with sizes from the model and the sentence on screen. */
import { count, type Key, t } from "../../i18n/index.svelte";
import type { Manifest, StackInfo } from "../../pack/contract";

export interface Fact {
  name: string;
  value: string;
}

export interface Box {
  id: string;
  kind: "embed" | "position" | "attention" | "ffn" | "norm" | "output";
  title: Key;
  text: Key;
  /** The shape of what comes out, short. */
  shape: string;
  facts: Fact[];
  /** Where it can be seen at work. */
  view?: { id: string; text: Key; params: Record<string, string> };
}

export interface Figure {
  encoder: Box[]; // of one layer, in the order of the computation
  decoder: Box[];
  before: { src: Box[]; tgt: Box[] };
  after: { src: Box[]; tgt: Box[] };
  /** Numbers of a row of what the encoder gives. */
  memory: number;
  all: Map<string, Box>;
}

const x = (...sizes: (number | string)[]): string => sizes.map((size) => (typeof size === "number" ? count(size) : size)).join(" × ");

function range(sizes: readonly number[]): string {
  const [low, high] = [Math.min(...sizes), Math.max(...sizes)];
  return low === high ? count(low) : `${low}–${high}`;
}

/** A kind of recurrent cell as it is written. */
export const cellName = (cell: string): string => (cell === "elman" ? "Elman" : cell.toUpperCase());

export function figure(run: Manifest): Figure {
  const { model } = run;
  const d = model.d_model;
  const state = model.d_state ?? d;
  const memory = model.bidirectional ? 2 * state : state;
  const [n, m] = [run.src.tokens.length, run.tgt.tokens.length];
  const stack = (name: string): StackInfo => model.stacks.find((one) => one.name === name)!;

  const attention = (id: string, name: StackInfo["name"], title: Key, text: Key): Box => {
    const { heads, kv_heads, d_head, q, k } = stack(name);
    const [rows, columns] = [q === "src" ? n : m, k === "src" ? n : m];
    return {
      id,
      kind: "attention",
      title,
      text,
      shape: t("overview.heads_of", { heads: range(heads), d: d_head }),
      facts: [
        { name: "W_Q", value: x(state, range(heads.map((h) => h * d_head))) },
        { name: "W_K, W_V", value: x(memory, range(kv_heads.map((h) => h * d_head))) },
        { name: "W_O", value: x(range(heads.map((h) => h * d_head)), state) },
        { name: "Q", value: x(range(heads), rows, d_head) },
        { name: "K, V", value: x(range(kv_heads), columns, d_head) },
        { name: t("overview.weights_shape"), value: x(range(heads), rows, columns) },
        ...(model.core.scale ? [{ name: "1/√d_k", value: String(Number(model.core.scale.toFixed(4))) }] : []),
      ],
      view: { id: "attention", text: "overview.to_attention", params: { stack: name } },
    };
  };
  const ffn = (id: string, rows: number): Box => ({
    id,
    kind: "ffn",
    title: "overview.ffn",
    text: "overview.ffn_text",
    shape: `${count(d)} → ${count(model.d_ff!)} → ${count(d)}`,
    facts: [
      { name: t("overview.activation"), value: model.activation! },
      { name: t("overview.in_shape"), value: x(rows, d) },
      { name: t("overview.inner_shape"), value: x(rows, model.d_ff!) },
      { name: t("overview.out_shape"), value: x(rows, d) },
    ],
  });
  const norm = (id: string, rows: number): Box => ({
    id,
    kind: "norm",
    title: model.norm_at === "post" ? "overview.add_norm" : "overview.norm_add",
    text: model.norm_at === "post" ? "overview.add_norm_text" : "overview.norm_add_text",
    shape: x(rows, d),
    facts: [
      { name: t("overview.norm_kind"), value: model.norm === "rms" ? "RMSNorm" : "LayerNorm" },
      { name: t("overview.norm_at"), value: t(model.norm_at === "post" ? "overview.post" : "overview.pre") },
      { name: "ε", value: String(model.eps) },
    ],
  });
  const embed = (id: string, title: Key, rows: number, vocab: number, part: string): Box => ({
    id,
    kind: "embed",
    title,
    text: "overview.embed_text",
    shape: x(rows, d),
    facts: [
      { name: t("overview.table_shape"), value: x(vocab, d) },
      ...(model.parameters_by_part[part] ? [{ name: t("overview.params"), value: count(model.parameters_by_part[part]) }] : []),
      ...(model.embed_scale === 1 ? [] : [{ name: t("overview.scaled_by"), value: String(Number(model.embed_scale.toFixed(4))) }]),
      ...(model.tied.src_tgt ? [{ name: t("overview.shared"), value: t("overview.shared_src_tgt") }] : []),
    ],
    view: { id: "hand", text: "overview.to_hand", params: {} },
  });
  const POSITIONS: Record<string, Key> = { sinusoidal: "overview.position_sinusoidal", learned: "overview.position_learned", rotary: "overview.position_rotary", none: "overview.position_none" };
  const position = (id: string, rows: number): Box => ({
    id,
    kind: "position",
    title: "overview.position",
    text: POSITIONS[model.position!] ?? "overview.position_other",
    shape: model.position!,
    facts: [
      { name: t("overview.position_kind"), value: model.position! },
      { name: t("overview.out_shape"), value: x(rows, d) },
    ],
  });

  /** A part of another family than the Transformer. */
  const part = (id: string, title: Key, text: Key, shape: string, facts: [string, string][] = []): Box => ({ id, kind: "ffn", title, text, shape, facts: facts.map(([name, value]) => ({ name, value })) });
  const yes = (is: unknown): string => t(is ? "overview.yes" : "overview.no");

  const positions = (id: string, rows: number): Box[] => (model.position ? [position(id, rows)] : []);
  const before = {
    src: [embed("src_embed", "overview.src_embed", n, model.vocab.src, "src_embed"), ...positions("src_position", n)],
    tgt: [embed("tgt_embed", "overview.tgt_embed", m, model.vocab.tgt, "tgt_embed"), ...positions("tgt_position", m)],
  };
  const cross = (): Box => attention("cross_attn", "decoder.cross_attn", "overview.cross_attn", "overview.cross_attn_text");
  let encoder: Box[];
  let decoder: Box[];
  if (model.cell) {
    const cell: [string, string] = [t("overview.cell"), cellName(model.cell)];
    encoder = [part("reading", "overview.reading", model.bidirectional ? "overview.reading_both" : "overview.reading_text", x(n, memory), [cell, [t("overview.bidirectional"), yes(model.bidirectional)], [t("overview.d_state"), x(state)]])];
    const writing = part(model.attend ? "writing" : "no_attn", "overview.writing", model.attend ? (`overview.writing_${model.attend}` as Key) : "overview.writing_alone", x(m, state), [cell, [t("overview.d_state"), x(state)], [t("overview.bridge"), model.bridge!], ...(model.attend === "after" ? [[t("overview.input_feeding"), yes(model.input_feeding)] as [string, string]] : [])]);
    const join = part("join", "overview.join", "overview.join_text", x(m, state), [["W", x(2 * state, state)]]);
    const second = part("second", "overview.second", "overview.writing_seen", x(m, state), [cell]);
    const looking = model.attend ? [cross()] : [];
    const orders = { before: [...looking, writing, join], between: [writing, ...looking, second, join], after: [writing, ...looking, join] };
    decoder = model.attend ? orders[model.attend] : [writing];
  } else if (model.kernel_size) {
    const convolution = (id: string, rows: number, text: Key): Box => part(id, "overview.convolution", text, x(rows, d), [[t("overview.kernel"), x(model.kernel_size!)]]);
    encoder = [convolution("encoder_conv", n, "overview.convolution_text")];
    decoder = [convolution("decoder_conv", m, "overview.convolution_past"), cross()];
  } else {
    encoder = [attention("encoder_attn", "encoder.self_attn", "overview.encoder_attn", "overview.encoder_attn_text"), norm("encoder_norm_1", n), ffn("encoder_ffn", n), norm("encoder_norm_2", n)];
    decoder = [
      attention("decoder_attn", "decoder.self_attn", "overview.decoder_attn", "overview.decoder_attn_text"),
      norm("decoder_norm_1", m),
      cross(),
      norm("decoder_norm_2", m),
      ffn("decoder_ffn", m),
      norm("decoder_norm_3", m),
    ];
  }
  const output: Box[] = [
    {
      id: "linear",
      kind: "output",
      title: "overview.linear",
      text: "overview.linear_text",
      shape: `${count(d)} → ${count(model.vocab.tgt)}`,
      facts: [
        { name: "W", value: x(d, model.vocab.tgt) },
        { name: t("overview.out_shape"), value: x(m, model.vocab.tgt) },
        ...(model.tied.out ? [{ name: t("overview.shared"), value: t("overview.shared_out") }] : []),
      ],
    },
    {
      id: "softmax",
      kind: "output",
      title: "overview.softmax",
      text: "overview.softmax_text",
      shape: t("overview.probabilities", { n: count(model.vocab.tgt) }),
      facts: (run.decode.steps[0]?.live[0]?.topk ?? []).slice(0, 5).map(({ text, lp }) => ({ name: text, value: Math.exp(lp).toFixed(3) })),
      view: { id: "decoding", text: "overview.to_decoding", params: {} },
    },
  ];
  const all = new Map([...before.src, ...before.tgt, ...encoder, ...decoder, ...output].map((box) => [box.id, box]));
  return { encoder, decoder, before, after: { src: [], tgt: output }, memory, all };
}
