import math

import pytest
import torch

from sightline.nn.position import Learned, Rotary, Sinusoidal, sinusoids


def test_sinusoids_are_those_of_the_paper() -> None:
    table = sinusoids(50, 16)
    for pos, i in ((0, 0), (3, 2), (49, 7)):
        angle = pos / 10000 ** (2 * i / 16)
        assert table[pos, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
        assert table[pos, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_an_offset_continues_the_table_and_it_grows_beyond_max_len() -> None:
    position = Sinusoidal(8, 4, 2)
    x = torch.zeros(1, 10, 8)
    whole = position(x)
    torch.testing.assert_close(position(x[:, :3], at=7), whole[:, 7:])


def test_rotary_products_depend_on_the_distance_alone() -> None:
    rotary = Rotary(16, 64, 2)
    q, k = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)
    products = [(rotary.rotate(q, at + 5) * rotary.rotate(k, at)).sum() for at in (0, 3, 40, 70)]
    torch.testing.assert_close(torch.stack(products), products[0].expand(4), atol=1e-4, rtol=1e-4)


def test_rotary_keeps_lengths_and_leaves_position_zero_alone() -> None:
    rotary, x = Rotary(16, 64, 2), torch.randn(2, 2, 5, 8)
    torch.testing.assert_close(rotary.rotate(x).norm(dim=-1), x.norm(dim=-1))
    torch.testing.assert_close(rotary.rotate(x)[:, :, 0], x[:, :, 0])


def test_learned_positions_end_at_max_len_and_say_so() -> None:
    with pytest.raises(ValueError, match="end at max_len = 4"):
        Learned(8, 4, 2)(torch.zeros(1, 5, 8))
