/** The scores of the whole vocabulary at a step. */
import type { Manifest } from "../../pack/contract";
import type { Tensor } from "../../pack/safetensors";
import { session } from "../../state/session.svelte";

let head: { model: string; tensors: Promise<Record<string, Tensor>> } | null = null;

/** All logits of a row of the decoder: as they were captured, else its last vector times the output matrix. Raises where neither is at hand. */
export async function logitsOf(run: Manifest, row: number): Promise<Float64Array> {
  const { host } = session;
  const part = ({ shape, data }: Tensor): ArrayLike<number> => data.subarray(row * shape[1], (row + 1) * shape[1]);
  if (run.tensors.logits) return Float64Array.from(part((await host.tensors(run.id, ["logits"], "f32")).logits));
  if (head?.model !== run.model.weights_sha256) head = { model: run.model.weights_sha256, tensors: host.weights(run.model.name, ["head.*"]) };
  const asked = head;
  asked.tensors.catch(() => head === asked && (head = null));
  const [{ hidden }, weights] = await Promise.all([host.tensors(run.id, ["hidden"], "f32"), asked.tensors]);
  const { "head.weight": matrix, "head.bias": bias } = weights;
  const vector = part(hidden);
  return Float64Array.from({ length: matrix.shape[0] }, (_, token) => {
    let sum = bias ? bias.data[token] : 0;
    for (let i = 0, at = token * vector.length; i < vector.length; i++, at++) sum += vector[i] * matrix.data[at];
    return sum;
  });
}
