"""Tensors by their names as bytes, or why not."""

from collections.abc import Mapping, Sequence

from sightline.errors import UserError
from sightline.inspection.pack import Array, Found, as_dtype, chosen, pack
from sightline.serve.schema import Refusal


def named(tensors: Mapping[str, Found], names: Sequence[str]) -> dict[str, Found]:
    """The tensors of these names; one may end in `*`. Raises Refusal for one that nothing fits, and for no names."""
    if not names:
        raise Refusal(422, "invalid_request", field="names", problem="names are missing")
    try:
        return chosen(tensors, names)
    except UserError as error:
        raise Refusal(404, "unknown_tensor", message=str(error)) from error


def packed(tensors: Mapping[str, Array], names: Sequence[str], dtype: str, pool: int | None) -> bytes:
    """Some of a capture's tensors as safetensors. Raises Refusal as `named`, and for a format that cannot hold one."""
    found = named(tensors, names)
    try:
        for name, each in found.items():
            as_dtype(name, each[:0], dtype)
    except UserError as error:
        raise Refusal(422, "bad_dtype", dtype=dtype[:20], message=str(error)) from error
    return pack(found, dtype, pool)
