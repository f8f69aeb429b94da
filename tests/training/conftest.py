from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small corpus with words that a subword model can cut: every target is its source backwards, word by word."""
    import random

    generator = random.Random(3)
    words = ["".join(generator.choice("aeiou") + generator.choice("bdklmnrst") for _ in range(3)) for _ in range(60)]
    lines: dict[str, None] = {}
    while len(lines) < 400:
        source = [generator.choice(words) for _ in range(generator.randint(2, 7))]
        lines[f"{' '.join(source)}\t{' '.join(reversed(source))}"] = None
    path = tmp_path_factory.mktemp("corpus") / "pairs.tsv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


SETTINGS = [
    "data.hold_out_valid=20",
    "data.hold_out_test=20",
    "tokenizer.kind=bpe",
    "tokenizer.vocab_size=120",
    "tokenizer.dropout=0.1",
    "model.residual_dropout=0.1",
    "model.attention_dropout=0.1",
    "model.d_model=32",
    "train.threads=1",
    "train.precision=fp32",
    "train.batch_tokens=400",
    "train.max_steps=20",
    "train.validate_every=8",
    "train.ema=0.9",
    "train.average=2",
    "train.accumulate=2",
    "train.tensorboard=false",
]


@pytest.fixture
def settings(pairs: Path) -> list[str]:
    """NAME=VALUE settings that make the recipe `copy` train on `pairs` with everything random switched on."""
    return [f"data.path={pairs.parent}", f'data.train.pairs="{pairs.name}"', *SETTINGS]
