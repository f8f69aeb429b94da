"""Hugging Face's `generate`; a variant is its number format."""

from typing import Any


def load_libraries() -> None:
    import torch  # noqa: F401
    import transformers  # noqa: F401


class Runtime:
    def __init__(self, setup: dict[str, Any]) -> None:
        import torch
        import transformers

        torch.set_num_threads(setup["threads"])
        transformers.logging.set_verbosity_error()
        kind = {"fp32": torch.float32, "bf16": torch.bfloat16}[setup["variant"]]
        self.model = getattr(transformers, setup["class"]).from_pretrained(setup["folder"], dtype=kind).eval()
        self.sources, self.length = setup["ids"], setup["length"]

    def translate(self, numbers: list[int], beam: int, batch: int) -> list[list[int]]:
        import torch

        ordered = sorted(numbers, key=lambda i: -len(self.sources[i]))
        found: dict[int, list[int]] = {}
        for start in range(0, len(ordered), batch):
            some = ordered[start : start + batch]
            longest = max(len(self.sources[i]) for i in some)
            src = torch.tensor([self.sources[i] + [0] * (longest - len(self.sources[i])) for i in some])
            with torch.inference_mode():
                out = self.model.generate(
                    input_ids=src,
                    attention_mask=(src != 0).long(),
                    num_beams=beam,
                    do_sample=False,
                    length_penalty=1.0,
                    early_stopping=beam > 1,
                    min_new_tokens=self.length,
                    max_new_tokens=self.length or 2 * longest + 20,
                )[:, 1:].tolist()
            found |= {i: row[: row.index(2)] if 2 in row else row for i, row in zip(some, out, strict=True)}
        return [found[i] for i in numbers]


def make(setup: dict[str, Any]) -> Runtime:
    return Runtime(setup)
