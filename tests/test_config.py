"""Settings, TOML and overrides: what is accepted, and how a mistake is told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, model_validator

from sightline.config import Document, Settings, apply_overrides, dump_toml, parse, read_toml
from sightline.errors import ConfigError, UserError


class Corpus(Settings):
    src: str
    """The file with the source side."""
    weight: float = 1.0
    columns: tuple[int | str, int | str] = (0, 1)


class Optimiser(Settings):
    lr: float = 0.001
    """Peak learning rate."""
    warmup: Annotated[int, Field(ge=0)] = 4000
    kind: Literal["adam", "adamw"] = "adam"
    fused: bool = False
    clip: float | None = None
    schedule: float | Literal["cosine", "constant"] = "constant"


class Data(Settings):
    path: str = ""
    train: list[Corpus] | Corpus = Corpus(src="a.txt")


class Run(Settings):
    data: Data = Data()
    train: Optimiser = Optimiser()
    extra: dict[str, Any] = Field(default_factory=dict)


class Ordered(Settings):
    low: int = 0
    high: int = 1

    @model_validator(mode="after")
    def _in_order(self) -> Ordered:
        if self.low > self.high:
            raise ValueError("low is above high. Swap them.")
        return self


def message(tree: dict[str, Any], *overrides: str, cls: type[Settings] = Run) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(cls, apply_overrides(Document(tree), overrides))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_plain_dict_becomes_settings():
    run = parse(Run, {"train": {"lr": 1, "warmup": 1e3}, "data": {"train": [{"src": "b", "columns": [2, "zh"]}]}})
    assert run.train == Optimiser(lr=1.0, warmup=1000)
    assert run.data.train == [Corpus(src="b", columns=(2, "zh"))]


def test_settings_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Run().train = Optimiser()  # pyright: ignore[reportAttributeAccessIssue]


def test_help_text_is_the_docstring_under_the_field():
    assert Optimiser.model_fields["lr"].description == "Peak learning rate."


def test_an_optional_setting_must_default_to_none_because_toml_has_no_null():
    with pytest.raises(TypeError, match=r"Wrong\.size may be None"):

        class Wrong(Settings):
            size: int | None = 3


def test_a_misspelt_key_names_file_line_and_the_right_spelling(tmp_path: Path):
    path = written(tmp_path, "# a recipe\n[data]\npath = 'x'\n\n[train]\nlr = 0.1\nwarmpu = 3\n")
    with pytest.raises(ConfigError) as caught:
        parse(Run, read_toml(path))
    assert str(caught.value) == f"{path} line 7: train.warmpu is not a setting. Did you mean 'train.warmup'?"


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ({"train": {"lr": "0.1"}}, 'train.lr = "0.1" is not a number (such as 0.5 or 3e-4).'),
        ({"train": {"lr": True}}, "train.lr = true is not a number (such as 0.5 or 3e-4)."),
        ({"train": {"lr": float("nan")}}, "train.lr = nan is not a number (such as 0.5 or 3e-4)."),
        ({"train": {"warmup": 1.5}}, "train.warmup = 1.5 is not a whole number."),
        ({"train": {"warmup": False}}, "train.warmup = false is not a whole number."),
        ({"train": {"warmup": -1}}, "train.warmup = -1 is not at least 0."),
        ({"train": {"fused": 1}}, "train.fused = 1 is not true or false."),
        ({"train": {"fused": "yes"}}, 'train.fused = "yes" is not true or false.'),
        ({"train": {"kind": "adamv"}}, "train.kind = \"adamv\" is not one of adam, adamw. Did you mean 'adam'?"),
        ({"data": {"path": 3}}, 'data.path = 3 is not text ("in quotes").'),
        ({"data": {"path": ["a"]}}, 'data.path = ["a"] is not text ("in quotes").'),
        ({"train": 3}, "train = 3 is not a table of settings."),
        ({"lr": 3}, "lr is not a setting. Did you mean 'train.lr'?"),
        ({"zzzz": 3}, "zzzz is not a setting. There are: data, train, extra."),
        ({"train": {"qqqq": 3}}, "train.qqqq is not a setting. In train there are: "),
        ({"data": {"train": {}}}, "data.train.src is missing. What it is: The file with the source side."),
        ({"data": {"train": {"scr": "a", "src": "b"}}}, "Did you mean 'data.train.src'?"),
        ({"data": {"train": [{"src": "a"}, {"src": "b", "weight": "x"}]}}, 'data.train.1.weight = "x" is not a number'),
        ({"data": {"train": 3}}, "data.train = 3 is not a list [in brackets], or a table of settings."),
        ({"data": {"train": {"src": "a", "columns": [1]}}}, "data.train.columns"),
        ({"train": {"schedule": "cosin"}}, "or one of cosine, constant. Did you mean 'cosine'?"),
        ({"train": {"schedule": [1]}}, "train.schedule = [1] is not a number (such as 0.5 or 3e-4), or one of cosine"),
    ],
)
def test_a_mistake_is_told_with_key_value_and_remedy(tree: dict[str, Any], expected: str):
    assert expected in message(tree)


def test_a_mistake_of_a_whole_section_keeps_its_own_words():
    assert message({"low": 3, "high": 2}, cls=Ordered) == "low is above high. Swap them."


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(tmp_path: Path):
    path = written(tmp_path, "[train]\nwarmpu = 3\nlr = 'x'\n[data]\npath = 3\n")
    with pytest.raises(ConfigError) as caught:
        parse(Run, read_toml(path))
    text = str(caught.value)
    assert text.startswith("3 settings are wrong. (1) ")
    assert text.index("line 2: train.warmpu") < text.index("line 3: train.lr") < text.index("line 5: data.path")


def test_many_mistakes_stay_readable():
    text = message({"data": {"train": [{"src": 1}] * 1000}})
    assert text.startswith("1000 settings are wrong.") and text.endswith("And 980 more.")


def test_a_huge_value_or_key_is_shortened():
    assert len(message({"train": {"lr": "9" * 1_000_000}})) < 300
    assert len(message({"train": {"k" * 1_000_000: 1}})) < 300


def test_lines_are_found_in_every_form_of_toml(tmp_path: Path):
    text = '''\
top = """
[not]
a = section
"""
dotted.key = 1 # [no] a = 2
"quo.ted" = 'x # y'
list = [
  { a = 1 }, # ] a comment
  "[",
]
[one]
  indented = [[1, 2], [3]]
[[many]]
a = 1
[[many]]
b = 2
[many.sub]
c = 3
[[many.inner]]
d = 4
[ spaced . name ]
e = { f = 1, g = { h = 2 } }
'''
    document = read_toml(written(tmp_path, text))
    expected = {"top": 1, "dotted.key": 5, "quo.ted": 6, "list": 7, "one": 11, "one.indented": 12, "many.0": 13}
    expected |= {"many.0.a": 14, "many.1": 15, "many.1.b": 16, "many.1.sub": 17, "many.1.sub.c": 18}
    expected |= {"many.1.inner.0": 19, "many.1.inner.0.d": 20, "spaced.name": 21, "spaced.name.e": 22}
    assert document.lines == expected
    assert document.line("list.0.a") == 7
    assert document.line("spaced.name.e.g.h") == 22
    assert document.line("one.absent") == 11
    assert document.line("absent") is None


def test_windows_line_ends_and_a_byte_order_mark_do_not_shift_lines(tmp_path: Path):
    path = tmp_path / "recipe.toml"
    path.write_bytes(b"\xef\xbb\xbf# hi\r\n[train]\r\nlr = 1\r\n")
    assert read_toml(path).lines == {"train": 2, "train.lr": 3}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = 1\nb 2\n", "line 2, column 3: not valid TOML: Expected '=' after a key in a key/value pair."),
        ("a = 1\nb 2\n", "The line reads: b 2"),
        ("a = [1,\n", "line 1, column 8: not valid TOML"),
        ("a = 1\na = 2\n", "Cannot overwrite a value"),
        ("a = " + "[" * 100_000, "nested too deeply"),
        ("a = " + "9" * 5000, "cannot be read"),
    ],
)
def test_a_syntax_error_names_line_column_and_reason(tmp_path: Path, text: str, expected: str):
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read_toml(path)
    assert str(caught.value).startswith(str(path)) and expected in str(caught.value)


def test_a_text_that_is_not_utf8_names_the_line(tmp_path: Path):
    path = tmp_path / "recipe.toml"
    path.write_bytes("a = 1\nb = 'größe'\n".encode("latin-1"))
    with pytest.raises(ConfigError, match="line 2: the text is not UTF-8"):
        read_toml(path)


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path):
    with pytest.raises(UserError, match=r"Cannot read .*absent\.toml: there is no such file"):
        read_toml(tmp_path / "absent.toml")
    with pytest.raises(UserError, match="Cannot read"):
        read_toml(tmp_path)


def test_overrides_replace_values_by_name_and_leave_the_document_alone():
    tree = {"train": {"lr": 0.5, "warmup": 3}, "data": {"train": [{"src": "a"}, {"src": "b"}]}}
    document = Document(tree)
    changed = apply_overrides(document, ["train.lr=1e-4", "train.kind=adamw", "data.train.1.weight=2", "extra.a.b=[1]"])
    run = parse(Run, changed)
    assert (run.train.lr, run.train.warmup, run.train.kind) == (1e-4, 3, "adamw")
    assert run.data.train == [Corpus(src="a"), Corpus(src="b", weight=2)]
    assert run.extra == {"a": {"b": [1]}}
    assert parse(Run, document).train.lr == 0.5


def test_the_only_table_of_a_list_may_be_meant_without_its_number():
    one = Document({"data": {"train": [{"src": "a"}]}})
    assert parse(Run, apply_overrides(one, ["data.train.weight=2"])).data.train == [Corpus(src="a", weight=2)]
    two = Document({"data": {"train": [{"src": "a"}, {"src": "b"}]}})
    with pytest.raises(UserError, match=r"'data\.train' is a list, and 'weight' is no entry"):
        apply_overrides(two, ["data.train.weight=2"])
    with pytest.raises(UserError, match=r"given on the command line.*data\.train\.0\.wieght.*weight"):
        parse(Run, apply_overrides(one, ["data.train.wieght=2"]))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2016", "2016"),
        ("true", "true"),
        ("2024-05-01", "2024-05-01"),
        ("'a b'", "a b"),
        ("a=b", "a=b"),
        ("", ""),
        ("C:\\new\\data", "C:\\new\\data"),
        ("1\nb=2", "1\nb=2"),
        ("语料/文本", "语料/文本"),
    ],
)
def test_an_override_of_a_text_setting_is_the_text_that_was_typed(value: str, expected: str):
    assert parse(Run, apply_overrides(Document({}), [f"data.path={value}"])).data.path == expected


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.lr=fast", 'given on the command line: train.lr = "fast" is not a number (such as 0.5 or 3e-4).'),
        ("train.lrr=1", "given on the command line: train.lrr is not a setting. Did you mean 'train.lr'?"),
        ("train.lr", "'train.lr' is not of the form NAME=VALUE. Write the setting's name"),
        ("=3", "is not of the form NAME=VALUE"),
        ("train..lr=3", "is not of the form NAME=VALUE"),
        ("train.lr.peak=3", "'train.lr' is a value (0.5), not a table, so it holds no 'peak'"),
        ("data.train.2.weight=3", "'data.train' is a list, and '2' is no entry. The entries it has: 0 to 1."),
        ("data.train.weight=3", "'data.train' is a list, and 'weight' is no entry."),
        ("train={lr='x'}", 'given on the command line: train.lr = "x" is not a number'),
    ],
)
def test_a_wrong_override_says_that_it_was_given_on_the_command_line(override: str, expected: str):
    tree = {"train": {"lr": 0.5}, "data": {"train": [{"src": "a"}, {"src": "b"}]}}
    text = message(tree, override)
    assert expected in text and "given on the command line" in text


def test_written_settings_keep_the_order_of_their_fields_and_leave_none_out():
    lines = dump_toml(Run(train=Optimiser(lr=0.5))).splitlines()
    keys = [line.split(" = ")[0] for line in lines]
    assert keys.index("lr") < keys.index("warmup") < keys.index("kind") < keys.index("fused")
    assert "clip" not in keys


texts = st.text(st.characters(exclude_categories=["Cs"]))
numbers = st.floats(allow_nan=False)
corpora = st.builds(Corpus, src=texts, weight=numbers, columns=st.tuples(st.integers() | texts, st.integers() | texts))
runs = st.builds(
    Run,
    data=st.builds(Data, path=texts, train=corpora | st.lists(corpora, max_size=3)),
    train=st.builds(
        Optimiser,
        lr=numbers,
        warmup=st.integers(0),
        kind=st.sampled_from(["adam", "adamw"]),
        fused=st.booleans(),
        clip=st.none() | numbers,
        schedule=numbers | st.just("cosine"),
    ),
    extra=st.dictionaries(texts, st.integers() | texts | st.lists(texts) | st.dictionaries(texts, st.booleans())),
)


@given(run=runs)
def test_written_settings_read_back_equal(tmp_path_factory: pytest.TempPathFactory, run: Run):
    path = tmp_path_factory.getbasetemp() / "written.toml"
    path.write_text(dump_toml(run), encoding="utf-8", newline="")
    assert parse(Run, read_toml(path)) == run
