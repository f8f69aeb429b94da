"""CTranslate2; a variant is its number format and the use of its threads: "int8 2x1" is two batches at a time, a thread each."""

from typing import Any


def load_libraries() -> None:
    import ctranslate2  # noqa: F401  # pyright: ignore[reportMissingImports]


class Runtime:
    def __init__(self, setup: dict[str, Any]) -> None:
        import ctranslate2  # pyright: ignore[reportMissingImports]

        kind, threads = setup["variant"].split()
        inter, intra = map(int, threads.split("x"))
        self.engine = ctranslate2.Translator(
            setup["folder"], compute_type=kind, inter_threads=inter, intra_threads=intra
        )
        self.sources, self.ids = setup["pieces"], {name: i for i, name in enumerate(setup["names"])}
        length = setup["length"]
        self.rule = {"min_decoding_length": length, "max_decoding_length": length} if length else {}
        self.rule["use_vmap"] = setup["shortlist"]

    def translate(self, numbers: list[int], beam: int, batch: int) -> list[list[int]]:
        found = self.engine.translate_batch(
            [self.sources[i] for i in numbers], beam_size=beam, length_penalty=1.0, max_batch_size=batch, **self.rule
        )
        return [[self.ids[name] for name in each.hypotheses[0]] for each in found]


def make(setup: dict[str, Any]) -> Runtime:
    return Runtime(setup)
