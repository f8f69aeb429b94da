"""What the API takes, and how it refuses."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

TOPK = 10
"""Candidates of each step of a search, as `inspection.searching` writes them down."""
BODY = 1 << 16
"""Bytes of a request's body, at most."""
TEXT = 20_000
"""Characters of a text, at most."""


class Refusal(Exception):
    """A request that is not done: an HTTP status, a code that the page has a sentence for, and the values that stand in it."""

    def __init__(self, status: int, code: str, **values: str | int | float) -> None:
        super().__init__(code)
        self.status, self.code, self.values = status, code, values

    def body(self) -> dict[str, object]:
        """As JSON."""
        return {"error": {"code": self.code, "args": self.values}}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class DecodeRequest(_Strict):
    """How the translation is to be searched for."""

    method: Literal["greedy", "beam"] = "beam"
    beam: Annotated[int, Field(ge=1, le=1000)] = 4
    length_penalty: Annotated[float, Field(ge=-10, le=10, allow_inf_nan=False)] | None = None
    """None: the model's own."""
    prefix: Annotated[list[int], Field(max_length=1024)] = []
    """Target tokens that the translation begins with."""


class RunRequest(_Strict):
    """What is to be captured."""

    model: Annotated[str, Field(max_length=255)]
    src: Annotated[str, Field(max_length=TEXT)]
    tgt: Annotated[str, Field(max_length=TEXT)] | None = None
    """A translation that is there already, instead of a search."""
    to: Annotated[str, Field(max_length=40)] | None = None
    """The target language, where the model has several; None: the one that suits the text."""
    decode: DecodeRequest = DecodeRequest()
