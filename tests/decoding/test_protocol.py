"""What a search is told: lengths, norms and bounds."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sightline.config import parse
from sightline.decoding import DecodingSettings
from sightline.decoding.protocol import keep_rows, length_limits, next_log_probs
from sightline.errors import ConfigError

IDS: Any = SimpleNamespace(pad_id=0, bos_id=1, eos_id=2, start=print, step=print)  # a model that is never run


def test_the_norm_is_the_published_one():
    assert DecodingSettings(length_norm="none", length_penalty=3.0).norm(9) == 1
    assert DecodingSettings(length_norm="average", length_penalty=1.0).norm(9) == 9
    assert DecodingSettings(length_norm="wu", length_penalty=0.6).norm(7) == pytest.approx(2**0.6)
    assert DecodingSettings(length_norm="wu", length_penalty=0.0).norm(50) == 1


@pytest.mark.parametrize("norm", ["none", "average", "wu"])
@pytest.mark.parametrize("penalty", [-2.0, -0.5, 0.0, 0.6, 1.0, 3.0])
def test_no_continuation_scores_above_the_bound(norm, penalty):
    settings = DecodingSettings(length_norm=norm, length_penalty=penalty)
    for length in range(10):
        bound = settings.best_score(-2.0, length, 10)
        reachable = [-2.0 / settings.norm(final) for final in range(length + 1, 11)]
        assert max(reachable) == pytest.approx(bound)


def test_the_limit_counts_the_words_of_the_source_alone():
    src = torch.tensor([[5, 6, 7, 2, 0, 0], [5, 6, 2, 0, 0, 0], [2, 0, 0, 0, 0, 0], [5, 6, 7, 8, 9, 2]])
    settings = DecodingSettings(max_len_ratio=1.5, max_len_extra=2)
    assert length_limits(IDS, src, settings) == [6, 5, 2, 9]
    assert length_limits(IDS, src, settings.model_copy(update={"min_len": 6})) == [7, 7, 7, 9]
    nothing = DecodingSettings(max_len_ratio=0, max_len_extra=0)
    assert length_limits(IDS, src, nothing) == [1, 1, 1, 1]


def test_what_must_not_come_next_is_ruled_out_and_the_logits_are_left_alone():
    logits = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    before = logits.clone()
    open_end, not_yet = next_log_probs(logits, IDS, True), next_log_probs(logits, IDS, False)
    assert open_end[0, :2].tolist() == [-torch.inf] * 2
    assert not_yet[0, :3].tolist() == [-torch.inf] * 3
    assert torch.equal(open_end[0, 2:], before.log_softmax(-1)[0, 2:])
    assert torch.equal(logits, before)


def test_rows_are_kept_only_when_that_changes_something():
    asked = []

    class State:
        def reorder(self, index):
            asked.append(index.tolist())

    for index in ([0, 1, 2], [0, 1], [0, 0, 2], [0, 1, 2, 2]):
        keep_rows(State(), torch.tensor(index), 3)
    assert asked == [[0, 1], [0, 0, 2], [0, 1, 2, 2]]


def test_more_translations_than_the_beam_holds_are_refused():
    with pytest.raises(ConfigError, match="n_best"):
        parse(DecodingSettings, {"beam": 2, "n_best": 3})


@pytest.mark.parametrize(
    "wrong", [{"beam": 0}, {"stop": "soon"}, {"length_norm": "gnmt"}, {"min_len": -1}, {"width": 5}]
)
def test_a_setting_that_means_nothing_is_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        parse(DecodingSettings, wrong)
