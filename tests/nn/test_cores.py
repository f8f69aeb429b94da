"""What is particular to each way of computing attention; what is common to all is in tests/laws/test_cores.py."""

import pytest
import torch

from sightline.nn.cores import (
    CORES,
    SCORES,
    Additive,
    Concat,
    DotProduct,
    General,
    Hard,
    Local,
    Location,
    ScaledDotProduct,
)
from sightline.nn.mask import Mask

H, D = 2, 4


@pytest.fixture(autouse=True)
def _the_same_parameters_each_time() -> None:
    torch.manual_seed(11)


def qk(tq: int = 3, tk: int = 9, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    return torch.randn(1, H, tq, D, generator=generator).to(dtype), torch.randn(1, H, tk, D, generator=generator).to(
        dtype
    )


def test_general_with_the_identity_is_the_plain_dot_product() -> None:
    q, k = qk()
    core = General(H, D)
    core.form.data[:] = torch.eye(D)
    torch.testing.assert_close(core.scores(q, k, Mask()), DotProduct().scores(q, k, Mask()))
    torch.testing.assert_close(DotProduct().scores(q, k, Mask()), ScaledDotProduct().scores(q, k, Mask()) * D**0.5)


def test_additive_is_the_sum_that_is_written_down() -> None:
    q, k = qk()
    core = Additive(H, D)
    expected = torch.empty(1, H, 3, 9)
    for h in range(H):
        for i in range(3):
            for j in range(9):
                expected[0, h, i, j] = core.out[h, :, 0] @ torch.tanh(q[0, h, i] + k[0, h, j])
    torch.testing.assert_close(core.scores(q, k, Mask()), expected)


def test_concat_is_additive_with_a_matrix_of_its_own() -> None:
    q, k = qk()
    joined, core = Concat(H, D, hidden=5), Additive(H, 5)
    core.out.data = joined.out.data
    of_q, of_k = joined.of_both.chunk(2, dim=1)
    torch.testing.assert_close(joined.scores(q, k, Mask()), core.scores(q @ of_q, k @ of_k, Mask()))


def test_location_looks_at_places_and_not_at_keys() -> None:
    q, k = qk()
    core = Location(H, D, max_len=12)
    assert torch.equal(core.scores(q, k, Mask()), core.scores(q, k.flip(2), Mask()))
    with pytest.raises(ValueError, match="13 keys, but location-based attention has 12 places"):
        core.scores(q, torch.zeros(1, H, 13, D), Mask())


def test_local_looks_around_its_own_place_and_no_further() -> None:
    q, k = qk(tq=9)
    core = Local(H, D, window=2)
    weights = core.weights(q, k, Mask())
    distance = (torch.arange(9)[:, None] - torch.arange(9)).abs()
    assert (weights[..., distance > 2] == 0).all() and (weights[..., distance <= 2] > 0).all()
    soft = torch.softmax((core.score.scores(q, k, Mask()) - distance**2 / 2).masked_fill(distance > 2, -torch.inf), -1)
    torch.testing.assert_close(weights, soft)  # sigma is half the window, 1 here


def test_local_beyond_the_end_looks_at_the_end_and_follows_the_offset_of_a_cache() -> None:
    q, k = qk(tq=9)
    keys = torch.arange(9)[None] < 4
    weights = Local(H, D, window=1).weights(q, k, Mask(keys=keys))
    assert (weights[:, :, 8, :2] == 0).all() and (weights[:, :, 8, 2:4] > 0).all()
    core = Local(H, D, window=2)
    torch.testing.assert_close(core.weights(q[:, :, 5:6], k, Mask(offset=5)), core.weights(q, k, Mask())[:, :, 5:6])


def test_local_with_predict_chooses_the_middle_itself_and_learns_it() -> None:
    q, k = qk(tk=40)
    core = Local(H, D, window=3, predict=True)
    assert core.out is not None
    core.out.data[:] = -9.0 * torch.tanh(q[0, 0, 0] @ core.hidden[0]).sign()[:, None]  # pyright: ignore[reportOptionalSubscript]
    assert core.weights(q, k, Mask())[0, 0, 0].argmax() <= 3  # S sigmoid(a very negative number) is the beginning
    core = Local(H, D, window=3, predict=True)
    (core.weights(q, k, Mask()) * torch.arange(40.0)).sum().backward()  # where it looks, in the mean
    assert core.out is not None and core.out.grad is not None and core.out.grad.abs().sum() > 0


def test_local_sees_what_is_far_where_nothing_nearer_may_be_seen() -> None:
    q, k = qk(tq=1)
    pairs = torch.zeros(1, 1, 1, 9, dtype=torch.bool)
    pairs[..., 8] = True
    assert Local(H, D, window=1).weights(q, k, Mask(pairs=pairs))[0, 0, 0, 8] == 1


def test_hard_takes_the_largest_in_evaluation() -> None:
    q, k = qk()
    core = Hard(H, D).eval()
    weights, soft = core.weights(q, k, Mask()), core.score.weights(q, k, Mask())
    assert torch.equal(weights.argmax(-1), soft.argmax(-1)) and set(weights.unique().tolist()) == {0.0, 1.0}


def test_hard_draws_each_key_as_often_as_soft_attention_weighs_it_in_training() -> None:
    torch.manual_seed(3)
    q, k = qk(tq=1, tk=4)
    core = Hard(H, D, temperature=0.7).train()
    drawn = torch.stack([core.weights(q, k, Mask()) for _ in range(4000)])
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(drawn.mean(0), core.score.weights(q, k, Mask()), atol=0.03, rtol=0)


def test_the_gradient_of_hard_is_that_of_the_relaxation() -> None:
    q, k = qk(dtype=torch.float64)
    core, values = Hard(H, D, temperature=0.7).double().train(), torch.randn(9, dtype=torch.float64)
    q.requires_grad_()
    torch.manual_seed(5)
    (core.weights(q, k, Mask()) @ values).sum().backward()
    found, q.grad = q.grad, None
    torch.manual_seed(5)
    soft = core.score.weights(q, k, Mask())
    noise = -torch.empty_like(soft).exponential_().log()
    (torch.softmax((soft.log() + noise) / 0.7, -1) @ values).sum().backward()
    torch.testing.assert_close(found, q.grad)


def test_a_choice_that_cannot_be_is_named() -> None:
    with pytest.raises(ValueError, match=r'score = "generl" is not known.*Did you mean .general.'):
        Local(H, D, score="generl")
    with pytest.raises(ValueError, match="window = 0"):
        Local(H, D, window=0)
    with pytest.raises(ValueError, match=r"temperature = 0.0"):
        Hard(H, D, temperature=0.0)


@pytest.mark.parametrize("kind", ["local", "hard"])
@pytest.mark.parametrize("score", SCORES)
def test_windows_and_hard_choices_go_with_every_score(kind: str, score: str) -> None:
    q, k = qk()
    core = CORES[kind](n_heads=H, d_head=D, score=score).eval()  # pyright: ignore[reportCallIssue]
    torch.testing.assert_close(core.weights(q, k, Mask()).sum(-1), torch.ones(1, H, 3))
