"""Finished runs beside each other: the sections that every comparison has, and the report of `sightline compare`."""

from collections.abc import Callable, Sequence
from pathlib import Path

from sightline.data.survey import Progress
from sightline.lab.comparison import Comparison
from sightline.lab.measured import Outcome, Results, TestSet, common_test_set
from sightline.lab.parts import Said, Section
from sightline.lab.probes.alignment import GoldPairs
from sightline.lab.probing import probed, trained_probes
from sightline.lab.report import Kept, Report, Shown
from sightline.lab.sections.headline import headline
from sightline.lab.sections.learning import learning
from sightline.lab.sections.lengths import lengths
from sightline.lab.sections.significance import significance
from sightline.lab.sections.verdict import verdict
from sightline.lab.system import System

SECTIONS: dict[str, Callable[[Comparison], Section]] = {
    "headline": headline,
    "learning": learning,
    "lengths": lengths,
    "significance": significance,
}
"""In the order of the page."""


def compare_systems(
    systems: Sequence[System], folder: Path, to: str | None = None, progress: Progress | None = None
) -> Comparison:
    """Each run of each system on the test set they share, translated unless that was done before and kept in `folder`.

    Raises ConfigError if they do not share one, or for models with several target languages none is chosen.
    """
    runs = [run for system in systems for run in system.runs]
    test = common_test_set(runs, to)
    return Comparison(_outcomes(systems, Results(folder, test), test, progress), test)


def _outcomes(systems: Sequence[System], results: Results, test: TestSet, progress: Progress | None) -> list[Outcome]:
    count, done, outcomes = sum(len(system.runs) for system in systems), 0, []
    for system in systems:
        measured = []
        for run in system.runs:
            if progress is not None:
                progress("runs scored on the test set", done, count)
            measured.append(results.of(system, run))
            done += 1
        outcomes.append(Outcome(system, measured))
    if progress is not None:
        progress("runs scored on the test set", count, count)
    return outcomes


def sections_of(found: Comparison, kept: Kept) -> tuple[list[Said], list[Shown]]:
    """The verdict, which leads the report, and the sections."""
    made_of = found.made_of()
    lead = kept.section("verdict", made_of, lambda: verdict(found)).section.text
    several = {name: make for name, make in SECTIONS.items() if name != "significance" or len(found.outcomes) > 1}
    return list(lead), [kept.section(name, made_of, lambda make=make: make(found)) for name, make in several.items()]


def compare(
    systems: Sequence[System],
    folder: Path,
    to: str | None,
    command: str,
    gold: GoldPairs | None = None,
    progress: Progress | None = None,
) -> Report:
    """What the systems are worth beside each other, into the language `to` where they translate into several; with `gold`
    also how good the alignments are that they make.

    Raises ConfigError as `compare_systems`.
    """
    found = compare_systems(systems, folder / "results", to, progress)
    kept = Kept(folder / "sections", command)
    lead, sections = sections_of(found, kept)
    sections += probed(trained_probes(found, gold), found, kept, None, progress)
    names = [each.name for each in found.outcomes]
    title = Said(f"Compared: {', '.join(n.en for n in names)}", f"比较：{'、'.join(n.zh for n in names)}")
    return Report("compare", title, lead, sections)
