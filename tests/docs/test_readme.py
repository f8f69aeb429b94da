"""What README and docs say is so: commands parse, recipes and settings exist, links lead somewhere, code runs."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from sightline.cli.main import app
from sightline.config import Settings
from sightline.training.recipe import read_recipe, recipe_names

ROOT = Path(__file__).resolve().parents[2]
READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]
PAGES = [*READMES, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"(<!-- runnable -->\n)?^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMANDS = typer.main.get_command(app).commands  # pyright: ignore[reportAttributeAccessIssue]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path, kind: str) -> list[tuple[bool, str]]:
    found = FENCE.findall(path.read_text(encoding="utf-8"))
    return [(bool(runnable), text) for runnable, language, text in found if language == kind]


def simple_commands(text: str) -> list[list[str]]:
    """Every `sightline ...` of a shell text, as words; pipes and redirections cut it, variables before it are left out."""
    found: list[list[str]] = []
    for line in text.splitlines():
        lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars="|<>")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, "|"]:
            if word[0] not in "|<>":
                words.append(word)
                continue
            while words and re.fullmatch(r"[A-Z]+=.*", words[0]):
                del words[0]
            if words and words[0] == "sightline":
                found.append(words[1:])
            words = []
    return found


def commands(path: Path) -> list[list[str]]:
    text = "\n".join(text for _, text in blocks(path, "bash"))
    return simple_commands(text)


def inline_commands(path: Path) -> list[list[str]]:
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    found = re.findall(r"`(sightline [^`]*)`", text)
    return [words for one in found if "[" not in one for words in simple_commands(one)]


def positional(words: list[str]) -> list[str]:
    """The arguments of a command line after its options were looked up. Fails for an option that does not exist."""
    if words[0].startswith("-"):
        return []
    assert words[0] in COMMANDS, f"there is no command {words[0]}"
    command, given = COMMANDS[words[0]], words[1:]
    if hasattr(command, "commands"):  # a group of commands
        assert given and given[0] in command.commands, f"sightline {words[0]} has no command {given[:1]}"
        command, given = command.commands[given[0]], given[1:]
    options = {name: param for param in command.params for name in param.opts if name.startswith("-")}
    rest: list[str] = []
    arguments = iter(given)
    for word in arguments:
        if not word.startswith("-") or word == "--help":
            rest += [word] * (word != "--help")
            continue
        option, equals, _ = word.partition("=")
        assert option in options, f"sightline {words[0]} has no option {option}"
        if not equals and not options[option].is_flag:
            assert next(arguments, None) is not None, f"{option} needs a value"
    return rest


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_every_command_line_parses(path: Path):
    for words in commands(path) + [w for w in inline_commands(path) if w and w[0] != "COMMAND"]:
        positional(words)


def is_recipe(text: str) -> bool:
    return not (text.endswith(".toml") or "/" in text or text.isupper())


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_every_recipe_and_setting_on_a_command_line_exists(path: Path):
    for words in [*commands(path), *inline_commands(path)]:
        given = positional(words) if words and words[0] in ("train", "prepare") else []
        settings = [word for word in given if "=" in word]
        recipes = [word for word in given if "=" not in word and is_recipe(word)]
        if recipes:
            read_recipe(recipes[0], settings)  # a ConfigError names what does not exist
        elif settings:
            read_recipe("copy", [one for one in settings if "DIR" not in one])


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_every_link_leads_somewhere(path: Path):
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not re.match(r"\w+:", target):
            assert (path.parent / target).exists(), f"{name(path)} links to {target}"


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_every_piece_of_python_compiles(path: Path):
    for _, text in blocks(path, "python"):
        compile(text, name(path), "exec")


RUNNABLE = sorted({text for path in PAGES for runnable, text in blocks(path, "python") if runnable})


@pytest.mark.parametrize("text", RUNNABLE, ids=range(len(RUNNABLE)))
def test_python_runs_where_it_says_so(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(text, "page", "exec"), {"__name__": "page"})


def test_both_readmes_show_the_same_commands_and_code():
    one, other = ((commands(path), blocks(path, "python")) for path in READMES)
    assert one == other


@pytest.mark.parametrize("path", READMES, ids=name)
def test_the_table_of_recipes_is_complete_and_states_the_scores_they_state(path: Path):
    rows = dict(re.findall(r"^\| `([\w-]+)` \|(.*)\|$", path.read_text(encoding="utf-8"), re.MULTILINE))
    assert sorted(set(rows) & set(recipe_names())) == recipe_names()
    for recipe in map(read_recipe, recipe_names()):
        for expected in recipe.expected:
            assert f"{expected.score:.1f}" in rows[recipe.name], recipe.name


def all_settings(cls: type[Settings] = Settings) -> list[type[Settings]]:
    return [found for sub in cls.__subclasses__() for found in [sub, *all_settings(sub)]]


def test_every_setting_has_a_docstring_which_is_its_help():
    import sightline.bundle  # noqa: F401  every class of settings is imported by it and the run

    missing = [
        f"{cls.__name__}.{field}"
        for cls in all_settings()
        if cls.__module__.startswith("sightline.")
        for field, info in cls.model_fields.items()
        if not info.description
    ]
    assert missing == []


def test_the_page_of_settings_names_every_class_of_a_recipe():
    page = (ROOT / "docs/how-to/recipes.md").read_text(encoding="utf-8")
    shown = {f"{module}:{cls}" for module, cls in re.findall(r"settings: ([\w.]+):(\w+)", page)}
    own = {f"{c.__module__}:{c.__name__}" for c in all_settings() if c.__module__.startswith("sightline.")}
    bases = {
        "sightline.bundle.folder:BundleConfig",
        "sightline.models.config:ModelConfig",
    }  # what has no table of its own
    assert own - shown == bases


def test_every_public_module_has_its_place_in_the_reference():
    source = ROOT / "src" / "sightline"
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs/reference").glob("*.md"))
    shown = set(re.findall(r"^::: ([\w.]+)$", text, re.MULTILINE))
    packages = ("nn", "data", "decoding", "metrics", "models", "tasks", "bundle", "training", "runtime")
    modules = [
        f"sightline.{path.relative_to(source).with_suffix('').as_posix().replace('/', '.')}"
        for package in packages
        for path in sorted((source / package).rglob("*.py"))
        if path.stem != "__init__"
    ]
    assert [module for module in modules if module not in shown] == []
