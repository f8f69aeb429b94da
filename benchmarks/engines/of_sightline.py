"""sightline's runtime, as `sightline translate` uses it: from text to text."""

import os
from typing import Any


def load_libraries() -> None:
    import sightline.runtime.translator  # noqa: F401


class Runtime:
    def __init__(self, setup: dict[str, Any]) -> None:
        import sightline as sl

        os.environ["OMP_NUM_THREADS"] = str(setup["threads"])  # before torch is imported, if something needs it
        os.environ.pop("MKL_NUM_THREADS", None)
        self.translator = sl.load(setup["folder"], precision=setup["variant"], shortlist=setup["shortlist"])
        self.texts, self.to, length = setup["texts"], setup["to"], setup["length"]
        self.rule = {"min_len": length, "max_len_ratio": 0, "max_len_extra": length} if length else {}

    def translate(self, numbers: list[int], beam: int, batch: int) -> list[str]:
        texts = [self.texts[i] for i in numbers]
        longest = max(len(text) for text in texts)
        rule = {"stop": "first", "length_norm": "average", "length_penalty": 1.0, "beam": beam, **self.rule}
        found = self.translator.translate(
            texts, self.to or None, batch_tokens=batch * beam * max(8, longest // 4), **rule
        )
        return [best[0].text for best in found]


def make(setup: dict[str, Any]) -> Runtime:
    return Runtime(setup)
