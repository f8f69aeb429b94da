"""What another engine has no layers for."""

from collections.abc import Container

from sightline.bundle import Bundle
from sightline.errors import ConfigError


def refuse(
    bundle: Bundle,
    engine: str,
    *,
    core: Container[str] | None = None,
    position: Container[str] | None = None,
    norm: Container[str] | None = None,
    norm_at: Container[str] | None = None,
    feedforward: Container[str] | None = None,
    plain_heads: bool = False,
) -> None:
    """Raises ConfigError, naming the setting, if the model has something that `engine` has not; None: it has all there is.

    `plain_heads`: the engine has as many heads for keys and values as for queries, and biases everywhere.
    """
    config = bundle.config.model
    kind = config.attention if isinstance(config.attention, str) else str(config.attention.get("kind", "dot"))
    found = {
        "model.attention": (kind, core),
        "model.position": (config.position, position),
        "model.norm": (config.norm, norm),
        "model.norm_at": (config.norm_at, norm_at),
        "model.feedforward": (config.feedforward, feedforward),
        "model.n_kv_heads": (config.n_kv_heads or config.n_heads, (config.n_heads,) if plain_heads else None),
        "model.bias": (config.bias, (True,) if plain_heads else None),
    }
    for name, (value, known) in found.items():
        if known is not None and value not in known:
            raise ConfigError(
                f"{engine} has nothing that computes {name} = {value!r}: this model cannot be carried over to it."
            )
