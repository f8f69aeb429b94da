"""Who still remembers the first word after many: a task of copying over a distance (Hochreiter and Schmidhuber 1997,
section 5).
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from sightline.lab.parts import Line, LineChart, Said, Section, Table
from sightline.lab.probes.fresh import FIRST_WORD, Untrained, fresh, one_way, random_words
from sightline.lab.size import counted
from sightline.models.sequence_to_sequence import AnyModel
from sightline.training.optim import clip, make_optimizer, set_learning_rate
from sightline.training.settings import TrainSettings

DISTANCES = (2, 4, 8, 16, 32, 64, 128, 256, 512)
"""Words from the first one to the end of what is read."""
WORDS = 16
"""Different words of the task: by chance one in so many is right."""
Z = 1.96
"""Standard deviations of an interval of 95 %."""


@dataclass(frozen=True)
class Practice:
    """How long a system may practise: it ends with the steps or the seconds, whichever are over first."""

    steps: int = 2000
    seconds: float = math.inf
    rows: int = 32
    """Sentences of a step."""
    lr: float = 2e-3
    """The highest learning rate of Adam; it rises over the first tenth and falls to zero at the end."""
    clip: float = 1.0


@dataclass(frozen=True)
class Recall:
    """What a system remembers at each distance, after so much practice."""

    distances: list[int]
    accuracy: list[float]
    """Share of the asked words that are right."""
    tried: int
    """Sentences at each distance."""
    steps: int
    seconds: float

    @property
    def intervals(self) -> list[tuple[float, float]]:
        """Where each accuracy lies with 95 % confidence."""
        return [wilson(share, self.tried) for share in self.accuracy]


def wilson(share: float, tried: int) -> tuple[float, float]:
    """The interval of a binomial share (Wilson 1927), at 95 %. Raises ValueError without trials."""
    if tried < 1:
        raise ValueError("a share of no trials has no interval")
    centre, z2 = share + Z**2 / (2 * tried), Z**2 / tried
    half = Z * math.sqrt(share * (1 - share) / tried + z2 / (4 * tried))
    return min(share, (centre - half) / (1 + z2)), max(share, (centre + half) / (1 + z2))


def sentences(
    rows: int, distance: int, asked: int, generator: torch.Generator
) -> tuple[Int[Tensor, "b s"], Int[Tensor, "b t"]]:
    """Sources of `distance` random words, and as targets the first `asked` of them."""
    src = random_words(rows, distance, FIRST_WORD + WORDS, generator)
    return src, src[:, :asked]


def _begun(model: AnyModel, tgt: Int[Tensor, "b t"]) -> Int[Tensor, "b t"]:
    return torch.cat((torch.full_like(tgt[:, :1], model.bos_id), tgt[:, :-1]), dim=1)


def practise(
    model: AnyModel, distances: Sequence[int], practice: Practice, asked: int = 1, seed: int = 1
) -> tuple[int, float]:
    """Train a model to write the first `asked` words of what it reads; each step has sentences of one distance, drawn at
    random. The short ones are learned first and help with the long ones. Returns the steps and seconds it took.
    """
    settings = TrainSettings(lr=practice.lr)
    optimizer = make_optimizer(model, settings)
    generator = torch.Generator().manual_seed(seed)
    model.train()
    began, step = time.perf_counter(), 0
    while True:
        gone = max(step / practice.steps, (time.perf_counter() - began) / practice.seconds)
        if gone >= 1:
            break
        set_learning_rate(optimizer, practice.lr * min(10 * gone + 0.01, (1 - gone) / 0.9, 1.0))
        distance = distances[int(torch.randint(len(distances), (), generator=generator))]
        src, tgt = sentences(practice.rows, distance, asked, generator)
        loss = model.head.loss(model.hidden(src, _begun(model, tgt)).flatten(0, 1), tgt.flatten())
        optimizer.zero_grad()
        (loss / tgt.numel()).backward()
        clip(model, practice.clip)
        optimizer.step()
        step += 1
    model.eval()
    return step, time.perf_counter() - began


@torch.inference_mode()
def remembered(model: AnyModel, distance: int, tried: int, asked: int = 1, seed: int = 2) -> float:
    """The share of asked words that the model writes rightly, given those before them."""
    generator, right = torch.Generator().manual_seed(1000 * seed + distance), 0
    for rows in (min(64, tried - at) for at in range(0, tried, 64)):
        src, tgt = sentences(rows, distance, asked, generator)
        found = model(src, _begun(model, tgt))
        found[..., :FIRST_WORD] = -torch.inf
        right += int((found.argmax(dim=-1) == tgt).sum())
    return right / (tried * asked)


def measure_recall(
    model: AnyModel, distances: Sequence[int], practice: Practice, tried: int = 256, asked: int = 1, seed: int = 1
) -> Recall:
    """Let a model practise, and see what it remembers of other sentences. Raises ValueError if fewer words are read than
    asked.
    """
    if min(distances) < asked:
        raise ValueError(f"{asked} words cannot be asked of {min(distances)}")
    steps, seconds = practise(model, distances, practice, asked, seed)
    accuracy = [remembered(model, distance, tried, asked, seed + 1) for distance in distances]
    return Recall(list(distances), accuracy, tried, steps, seconds)


def recall_section(
    systems: Sequence[Untrained],
    distances: Sequence[int] = DISTANCES,
    practice: Practice = Practice(),
    tried: int = 256,
    asked: int = 1,
    seed: int = 1,
    alone: Practice | None = None,
) -> Section:
    """Let each system practise as `practice` says, and show what it remembers. With `alone`, models with the same first
    weights also practise the largest distance without the shorter ones, for as long as that says. See `fresh.classics` for
    small systems of as many parameters each.
    """
    vocab, length = FIRST_WORD + WORDS, max(distances) + 1
    models = [fresh(one_way(config), vocab, length, seed) for _, config in systems]
    found = [measure_recall(model, distances, practice, tried, asked, seed) for model in models]
    x = [float(d) for d in distances]
    lines = [
        Line(name, x, each.accuracy, [low for low, _ in each.intervals], [high for _, high in each.intervals])
        for (name, _), each in zip(systems, found, strict=True)
    ]
    lines.append(Line(Said("By chance", "随机猜测"), x, [1 / WORDS] * len(x)))
    rows = [
        [
            name,
            f"{counted(model):,}",
            f"{each.steps:,}",
            f"{each.seconds:.0f}",
            _reach(each),
        ]
        for (name, _), model, each in zip(systems, models, found, strict=True)
    ]
    tables = [
        Table(
            Said("How long each practised", "各系统的练习量"),
            [
                Said("System", "系统"),
                Said("Parameters, without positions", "参数（不含位置）"),
                Said("Steps", "步数"),
                Said("Seconds", "秒数"),
                Said("Right in nine of ten up to", "正确率达九成的最远距离"),
            ],
            rows,
        )
    ]
    until = Said(f"{practice.steps:,} steps", f" {practice.steps:,} 步")
    if math.isfinite(practice.seconds):
        en, zh = f" or {practice.seconds:g} seconds, whichever ends first", f"或 {practice.seconds:g} 秒，先到为止"
        until = Said(until.en + en, until.zh + zh)
    if alone is not None:
        tables.append(_practised_alone(systems, max(distances), alone, tried, asked, seed))
    return Section(
        Said("Who still remembers the first word?", "谁还记得第一个词？"),
        [
            Said(
                f"Each system learns to read n words, each one of {WORDS}, and to write the first "
                f"{asked if asked > 1 else 'one'}; sentences of all lengths are mixed. Shown is how often it is right on "
                f"{tried} new sentences at each distance, with 95 % "
                f"intervals. Each practises {until.en}, from one draw of first weights. "
                "Recurrent encoders read from left to right only, so that the first word is the farthest.",
                f"每个系统学习读入 n 个词（各为 {WORDS} 个词之一），然后写出最前面的 {asked} 个；各种长度混在一起练习。图中是"
                f"每个距离上 {tried} 个新句子的正确率及 95 % 置信区间。每个系统练习{until.zh}，"
                "初始权重只取了一次。循环编码器只从左向右读，因此第一个词离得最远。",
            )
        ],
        [
            LineChart(
                Said("Recall by distance", "不同距离的记忆"),
                Said("Words from the first to the end", "从第一个词到末尾的词数"),
                Said("Share right", "正确率"),
                lines,
                log_x=True,
            ),
            *tables,
        ],
    )


def _practised_alone(
    systems: Sequence[Untrained], distance: int, practice: Practice, tried: int, asked: int, seed: int
) -> Table:
    rows: list[list[str | Said]] = []
    for name, config in systems:
        model = fresh(one_way(config), FIRST_WORD + WORDS, distance + 1, seed)
        found = measure_recall(model, [distance], practice, tried, asked, seed)
        [(low, high)] = found.intervals
        rows.append(
            [name, f"{found.steps:,}", f"{found.seconds:.0f}", f"{found.accuracy[0]:.2f}", f"{low:.2f}-{high:.2f}"]
        )
    return Table(
        Said(
            f"Practising distance {distance} alone, without shorter sentences that lead up to it",
            f"只练习距离 {distance}，没有较短的句子循序渐进",
        ),
        [
            Said("System", "系统"),
            Said("Steps", "步数"),
            Said("Seconds", "秒数"),
            Said("Share right", "正确率"),
            Said("95 % interval", "95 % 置信区间"),
        ],
        rows,
    )


def _reach(recall: Recall) -> str:
    """The largest distance up to which nine of ten are right, without a gap."""
    reach = "-"
    for distance, share in zip(recall.distances, recall.accuracy, strict=True):
        if share < 0.9:
            break
        reach = str(distance)
    return reach
