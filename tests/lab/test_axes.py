import math
import random

import pytest

from sightline.lab.axes import MOST_TICKS, Axis, label


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_every_value_lies_between_the_ends_in_its_order_and_ticks_are_few(log: bool, seed: int):
    generator = random.Random(seed)
    values = sorted(10 ** generator.uniform(-9, 6) for _ in range(generator.choice((2, 5, 40))))
    axis = Axis.over(values, 50, 500, log)
    places = [axis.at(value) for value in values]
    assert places == sorted(places) and places[0] >= 50 and places[-1] <= 500
    assert 2 <= len(axis.ticks) <= MOST_TICKS + 2 and list(axis.ticks) == sorted(axis.ticks)
    assert all(49.9 <= axis.at(tick) <= 500.1 for tick in axis.ticks)


def test_a_few_values_are_their_own_ticks_on_a_logarithmic_axis():
    assert Axis.over([8, 16, 32, 64, 8], 0, 1, log=True).ticks == [8, 16, 32, 64]


def test_what_cannot_be_shown_does_not_count():
    axis = Axis.over([math.nan, math.inf, 0.0, 2.0, 4.0], 0, 1, log=True)
    assert axis.low == 2 and axis.high == 4
    assert not axis.shows(0.0) and not axis.shows(math.nan) and axis.shows(3.0)
    assert Axis.over([0.0, 4.0], 0, 1, log=False).shows(0.0)


@pytest.mark.parametrize("log", [False, True])
def test_one_value_and_none_still_make_an_axis(log: bool):
    assert 0 < Axis.over([7.0], 0, 1, log).at(7.0) < 1
    assert Axis.over([], 0, 1, log).low < Axis.over([], 0, 1, log).high


def test_zero_is_shown_where_it_costs_little():
    assert Axis.over([2, 10], 0, 1, log=False, from_zero=True).low == 0
    assert Axis.over([36, 38], 0, 1, log=False, from_zero=True).low > 30


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0"),
        (0.5, "0.5"),
        (128, "128"),
        (1500, "1500"),
        (20000, "20 k"),
        (3e6, "3 M"),
        (1e-6, "10⁻⁶"),
        (2e-10, "2·10⁻¹⁰"),
    ],
)
def test_numbers_on_axes_are_short(value: float, said: str):
    assert label(value) == said
