"""What the repository says about itself holds: versions, the bundled text, a light import."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import sys
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OWN = "sightline-native"  # made here, from native/
REQUIREMENTS = [
    line
    for line in (
        *PROJECT["dependencies"],
        *(each for extra in PROJECT["optional-dependencies"].values() for each in extra),
    )
    if Requirement(line).name != OWN
]


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


@pytest.mark.parametrize("line", REQUIREMENTS)
def test_every_requirement_has_an_exact_version_inside_its_range(line: str):
    requirement = Requirement(line)
    assert requirement.specifier.contains(pinned()[canonicalize_name(requirement.name)])


def test_the_bundled_corpus_is_what_its_source_note_says():
    folder = files("sightline") / "corpora"
    text = gzip.decompress((folder / "tatoeba-en-zh.tsv.gz").read_bytes())
    note = (folder / "SOURCE.md").read_text(encoding="utf-8")
    assert f"`{hashlib.sha256(text).hexdigest()}`" in note
    lines = text.decode().split("\n")[:-1]
    assert f"{len(lines):,} lines" in note
    assert all(line.count("\t") == 2 and "CC-BY 2.0 (France) Attribution: tatoeba.org" in line for line in lines)


@pytest.mark.parametrize("pair", ["en-zh", "en-de", "en-fr"])
def test_no_sentence_of_a_bundled_test_set_is_in_the_validation_set(pair: str):
    folder = files("sightline") / "corpora"
    note = (folder / "SOURCE.md").read_text(encoding="utf-8")
    sides = []
    for split in ("valid", "test"):
        text = gzip.decompress((folder / f"tatoeba-{pair}.{split}.tsv.gz").read_bytes())
        assert f"`{hashlib.sha256(text).hexdigest()}`" in note
        rows = [line.split("\t") for line in text.decode().split("\n")[:-1]]
        assert f"{len(rows):,} pairs" in note
        sides.append(({row[0] for row in rows}, {row[1] for row in rows}))
    (valid_src, valid_tgt), (test_src, test_tgt) = sides
    assert not valid_src & test_src and not valid_tgt & test_tgt


@pytest.mark.parametrize(
    "module",
    ["", ".config", ".files", ".decoding", ".decoding.shortlist", ".bundle", ".tasks.search", ".runtime.translator"],
)
def test_what_a_translation_needs_at_first_imports_neither_torch_nor_the_measures(module: str):
    code = f"import sightline{module}, sys; sys.exit(bool({{'torch', 'sacrebleu'}} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
