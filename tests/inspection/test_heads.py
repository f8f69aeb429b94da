"""Heads are measured, and named for what they do."""

import math

import pytest
import torch

from sightline.inspection.heads import alignment_quality, head_stats
from sightline.inspection.manifest import HeadStat, StackInfo, Token


def tokens(text: str) -> list[Token]:
    found = [Token(10 + ord(sign), sign, sign, False, i, (i, i + 1)) for i, sign in enumerate(text)]
    return [*found, Token(2, "</s>", "", True, -1, None)]


def stack(name: str = "encoder.self_attn", causal: bool = False) -> StackInfo:
    q, k = ("tgt", "src") if "cross" in name else ("src", "src")
    return StackInfo(name, 1, [1], [1], 4, q, k, causal)  # pyright: ignore[reportArgumentType]


def stat(weights: torch.Tensor, text: str = "abcbd", causal: bool = False) -> HeadStat:
    side = tokens(text)
    return head_stats(weights[None], stack(causal=causal), 0, side, side)[0]


SIZE = 6
EYE = torch.eye(SIZE)
KINDS = {
    "self": EYE,
    "previous": torch.cat((EYE[:1], EYE[:-1])),
    "next": torch.cat((EYE[1:], EYE[-1:])),
    "first": EYE[:1].repeat(SIZE, 1),
    "eos": EYE[-1:].repeat(SIZE, 1),
    "broad": torch.full((SIZE, SIZE), 1 / SIZE),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_pure_head_has_its_name_and_a_full_score(name: str) -> None:
    found = stat(KINDS[name])
    assert found.name == name and found.score == pytest.approx(1.0)


def test_a_head_that_looks_at_the_same_word_elsewhere_is_named_so() -> None:
    weights = EYE.clone()
    weights[1], weights[3] = EYE[3], EYE[1]  # the two b
    found = stat(weights)
    assert found.same == 1.0 and found.self == pytest.approx(4 / 6)
    assert found.name == "same"


def test_a_head_of_no_kind_has_no_name_but_its_best_score() -> None:
    weights = torch.zeros(SIZE, SIZE)
    weights[:, 2], weights[:, 4] = 0.6, 0.4
    found = stat(weights)
    assert found.name is None and 0 < found.score < 0.5
    assert found.max == pytest.approx(0.6)


def test_entropy_is_in_units_of_what_is_visible() -> None:
    even = torch.ones(SIZE, SIZE).tril()
    even = even / even.sum(dim=1, keepdim=True)
    assert stat(even, causal=True).entropy == pytest.approx(1.0)
    two = torch.zeros(SIZE, SIZE)
    two[:, :2] = 0.5
    assert stat(two).entropy == pytest.approx(math.log(2) / math.log(6))
    assert stat(EYE).entropy == 0.0


def test_a_single_token_earns_no_name() -> None:
    side = tokens("")
    found = head_stats(torch.ones(1, 1, 1), stack(causal=True), 0, side, side)[0]
    assert found.name is None and found.entropy == 0.0


def test_an_alignment_is_sharp_and_in_order_or_not() -> None:
    keys = tokens("abcd")
    assert alignment_quality(torch.eye(5), keys) == {"sharp": 1.0, "mono": 1.0}
    assert alignment_quality(torch.eye(5).flip(0), tokens("abcd"))["mono"] == 0.0
    stuck = torch.zeros(5, 5)
    stuck[:, 1] = 1.0
    assert alignment_quality(stuck, keys) == {"sharp": 1.0, "mono": 0.0}
    nothing = torch.zeros(5, 5)
    nothing[:, 4] = 1.0  # the end only
    assert alignment_quality(nothing, keys) == {"sharp": 0.0, "mono": 0.0}


def test_between_two_sentences_there_is_no_previous_but_the_same_word() -> None:
    found = head_stats(torch.eye(6)[None], stack("decoder.cross_attn"), 0, tokens("abcbd"), tokens("abcbd"))[0]
    assert (found.prev, found.next, found.self) == (0.0, 0.0, 0.0) and found.same == 1.0 and found.align is not None
