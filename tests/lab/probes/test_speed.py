"""Speeds by the length of sentences."""

from sightline.lab.parts import LineChart
from sightline.lab.probes.fresh import Untrained, fresh
from sightline.lab.probes.speed import measure_speed, speed_section


def test_a_system_has_a_speed_at_each_length_that_it_takes(systems: list[Untrained]) -> None:
    models = [fresh(config, 50, 40, 1) for _, config in systems[-2:]]
    models[0].tgt_embed.position.max_len = 10
    found = measure_speed(models, 50, (4, 16), tokens=32, rows=2, repetitions=2)
    assert [[each.length for each in speeds] for speeds in found] == [[4], [4, 16]]
    for each in (speed for speeds in found for speed in speeds):
        assert each.trained > 0 and each.alone > 0 and each.together > 0


def test_a_recurrent_model_needs_longer_for_a_long_sentence(systems: list[Untrained]) -> None:
    [[short, long]] = measure_speed([fresh(systems[0][1], 50, 80, 1)], 50, (4, 64), tokens=64, rows=2)
    assert long.alone > 2 * short.alone


def test_the_section_shows_every_system(systems: list[Untrained]) -> None:
    section = speed_section(systems, 50, (4, 8), tokens=16, rows=2, repetitions=1)
    charts = [part for part in section.parts if isinstance(part, LineChart)]
    assert len(charts) == 3
    for chart in charts:
        assert [line.name for line in chart.lines] == [name for name, _ in systems]
        assert all(list(line.x) == [4.0, 8.0] and min(line.y) > 0 for line in chart.lines)
