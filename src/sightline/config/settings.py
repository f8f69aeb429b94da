"""Settings: typed, frozen groups of values, checked from a document and written as TOML."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticKnownError

from sightline.config.document import Document, replaced
from sightline.config.mistakes import Mistake, find_mistakes
from sightline.errors import ConfigError

__all__ = ["Settings", "dump_toml", "parse"]


class Settings(BaseModel):
    """A group of settings: frozen, no unknown key; the docstring under a field is its help text.

    An optional field (``int | None``) must default to None, since TOML has no null and None is left out when written.
    Beyond pydantic's own rules a number is not given as text, nor true or false as a number.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        for name, info in cls.model_fields.items():
            if type(None) in _kinds(info.annotation) and (info.is_required() or info.get_default() is not None):
                raise TypeError(f"{cls.__name__}.{name} may be None, so None must be its default: TOML has no null.")

    @field_validator("*", mode="before")
    @classmethod
    def _no_silent_conversion(cls, value: Any, info: ValidationInfo) -> Any:
        kinds = _kinds(cls.model_fields[info.field_name or ""].annotation) - {type(None)}
        if kinds and kinds <= {int, float}:
            if isinstance(value, (bool, str)) or (isinstance(value, float) and math.isnan(value)):
                raise PydanticKnownError("int_type" if float not in kinds else "float_type")
        elif kinds == {bool} and not isinstance(value, bool):
            raise PydanticKnownError("bool_type")
        return value


S = TypeVar("S", bound=BaseModel)
_MOST_TOLD = 20


def parse(cls: type[S], document: Document | Mapping[str, Any]) -> S:
    """Check a document (or a plain dict) against the settings ``cls`` and return them.

    Raises:
        ConfigError: one paragraph with every mistake: where it was given, the key, the value, what is allowed, and the
            nearest right spelling.
    """
    if not isinstance(document, Document):
        document = Document(dict(document))
    try:
        return cls.model_validate(document.tree)
    except ValidationError as error:
        mistakes = find_mistakes(error, document.tree)
    meant_as_text = [m for m in mistakes if m.wants_text and m.key in document.overridden]
    if meant_as_text:  # path=2016 on the command line: what was typed is the text
        tree = document.tree
        for mistake in meant_as_text:
            tree = replaced(tree, mistake.key.split("."), document.overridden[mistake.key], mistake.key)
        return parse(cls, Document(tree, document.path, document.lines, document.overridden))
    raise ConfigError(_paragraph(cls, document, mistakes))


def _paragraph(cls: type[BaseModel], document: Document, mistakes: list[Mistake]) -> str:
    mistakes = sorted(mistakes, key=lambda mistake: document.line(mistake.key) or 0)
    told = [document.where(mistake.key) + mistake.sentence(cls) for mistake in mistakes[:_MOST_TOLD]]
    if len(mistakes) == 1:
        return told[0]
    listed = " ".join(f"({i}) {text}" for i, text in enumerate(told, 1))
    left = f" And {len(mistakes) - len(told)} more." if len(mistakes) > len(told) else ""
    return f"{len(mistakes)} settings are wrong. {listed}{left}"


def dump_toml(settings: BaseModel | Mapping[str, Any]) -> str:
    """Settings as TOML text in the order of their fields, None left out; read and parsed again they are equal."""
    tree = settings.model_dump() if isinstance(settings, BaseModel) else settings
    return tomli_w.dumps(_plain(tree))


def _plain(value: Any) -> Any:
    """A tree of what TOML knows: mappings without None, lists, paths as text."""
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None:
        raise ValueError("A list holds None, and TOML has no null.")
    return str(value) if isinstance(value, Path) else value


def _kinds(annotation: Any) -> set[Any]:
    """The members of a union, or the one type an annotation is, without Annotated."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kinds(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return {kind for member in get_args(annotation) for kind in _kinds(member)}
    return {Literal} if origin is Literal else {annotation}
