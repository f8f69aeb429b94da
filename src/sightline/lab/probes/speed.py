"""How fast systems learn and write, by the length of sentences."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from sightline.decoding.settings import DecodingSettings
from sightline.decoding.walk import greedy
from sightline.lab.parts import Line, LineChart, Said, Section, Table
from sightline.lab.probes.fresh import Untrained, fresh, random_words
from sightline.models.sequence_to_sequence import AnyModel
from sightline.tasks.translation import translation_loss

LENGTHS = (8, 16, 32, 64, 128, 256)
"""Tokens of a sentence, on each side."""


@dataclass(frozen=True)
class Speed:
    """Of a system at a length: medians."""

    length: int
    trained: float
    """Target tokens a second: forward and backward, without the optimizer's step."""
    alone: float
    """Seconds for a sentence that is translated alone."""
    together: float
    """Target tokens a second, `rows` sentences translated at once."""


def measure_speed(
    models: Sequence[AnyModel],
    vocab_size: int,
    lengths: Sequence[int] = LENGTHS,
    tokens: int = 2048,
    rows: int = 16,
    repetitions: int = 3,
    seed: int = 1,
) -> list[list[Speed]]:
    """For each model its speed at each length that it takes. Sentences are random, source and target equally long; a
    batch of training has `tokens` target tokens whatever the length; the greedy search writes exactly as many tokens
    as the source has.

    Everything is done once without being timed, and then `repetitions` times, the models in turns, so that whatever else
    the machine does is shared among them.
    """
    generator = torch.Generator().manual_seed(seed)
    timed: dict[tuple[int, int], list[tuple[float, float, float]]] = {}
    for length in lengths:
        n = max(1, tokens // length)
        src, tgt = (random_words(n, length, vocab_size, generator) for _ in range(2))
        able = [k for k, model in enumerate(models) if length <= model.max_len - 1]
        for repetition in range(repetitions + 1):
            for k in able:
                seconds = (
                    _seconds(_training(models[k], src, tgt)),
                    _seconds(_writing(models[k], src[:1])),
                    _seconds(_writing(models[k], src[:1].expand(rows, -1))),
                )
                if repetition:
                    timed.setdefault((k, length), []).append(seconds)
    result: list[list[Speed]] = [[] for _ in models]
    for (k, length), found in timed.items():
        train, alone, together = (statistics.median(each) for each in zip(*found, strict=True))
        n = max(1, tokens // length) * length
        result[k].append(Speed(length, n / train, alone, rows * length / together))
    return result


def _seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _training(model: AnyModel, src: torch.Tensor, tgt: torch.Tensor) -> Callable[[], None]:
    def work() -> None:
        model.zero_grad()
        translation_loss(model, src, tgt, tgt).backward()

    return work


def _writing(model: AnyModel, src: torch.Tensor) -> Callable[[], None]:
    length = src.shape[1]
    settings = DecodingSettings(beam=1, min_len=length, max_len_ratio=0.0, max_len_extra=length)
    return lambda: _written(model, src, settings)


def _written(model: AnyModel, src: torch.Tensor, settings: DecodingSettings) -> None:
    greedy(model, src, settings)


def speed_section(
    systems: Sequence[Untrained],
    vocab_size: int = 8000,
    lengths: Sequence[int] = LENGTHS,
    tokens: int = 2048,
    rows: int = 16,
    repetitions: int = 3,
) -> Section:
    """Measure freshly made models of the systems (weights do not matter to speed), and show it."""
    models = [fresh(config, vocab_size, max(lengths) + 1, 1) for _, config in systems]
    found = measure_speed(models, vocab_size, lengths, tokens, rows, repetitions)
    length = Said("Tokens of a sentence", "每句的词元数")

    def chart(title: Said, y: Said, value: Callable[[Speed], float]) -> LineChart:
        lines = [
            Line(name, [float(each.length) for each in speeds], [value(each) for each in speeds])
            for (name, _), speeds in zip(systems, found, strict=True)
        ]
        return LineChart(title, length, y, lines, log_x=True, log_y=True)

    per_second = Said("Target tokens a second", "每秒目标词元数")
    rows_of_table = [
        [name, f"{_slowdown(speeds, lambda each: each.alone):.1f} x", f"{1 / _slowdown(speeds, _rate):.2f} x"]
        for (name, _), speeds in zip(systems, found, strict=True)
        if speeds
    ]
    return Section(
        Said("What does length cost?", "句子变长的代价有多大？"),
        [
            Said(
                f"Random sentences, the target as long as the source, {torch.get_num_threads()} processor threads; medians of "
                f"{repetitions} runs, the systems in turns, in float32 and without dropout or the optimizer's "
                f"step. A batch of training always has about {tokens:,} target tokens: "
                "what a recurrent model must do one after another, a Transformer does at once, but its attention looks at "
                "every pair of words.",
                f"随机句子，目标与源等长，{torch.get_num_threads()} 个处理器线程；各系统轮流运行 {repetitions} 次，取中位数；"
                "用 float32，没有 dropout，也不含优化器的一步。"
                f"训练的每个批次总是约 {tokens:,} 个目标词元：循环模型必须一步接一步完成的，Transformer 同时完成，但它的注意"
                "力要看每一对词。",
            )
        ],
        [
            chart(Said("Training", "训练"), per_second, lambda each: each.trained),
            chart(
                Said("Greedy translation of one sentence", "贪心翻译一个句子"),
                Said("Seconds a sentence", "每句秒数"),
                lambda each: each.alone,
            ),
            chart(
                Said(f"Greedy translation, {rows} sentences at once", f"贪心翻译，同时 {rows} 句"),
                per_second,
                lambda each: each.together,
            ),
            Table(
                Said(
                    f"From {min(lengths)} to {max(lengths)} tokens, {max(lengths) / min(lengths):.0f} times as many",
                    f"从 {min(lengths)} 到 {max(lengths)} 个词元，即 {max(lengths) / min(lengths):.0f} 倍",
                ),
                [
                    Said("System", "系统"),
                    Said("Seconds to write a sentence", "写一句的秒数"),
                    Said("Speed of training", "训练速度"),
                ],
                rows_of_table,
            ),
        ],
    )


def _rate(speed: Speed) -> float:
    return 1.0 / speed.trained


def _slowdown(speeds: Sequence[Speed], cost: Callable[[Speed], float]) -> float:
    return cost(speeds[-1]) / cost(speeds[0])
