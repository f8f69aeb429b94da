"""What another engine has no layers for."""

from collections.abc import Container

from sightline.bundle import Bundle
from sightline.errors import ConfigError
from sightline.models.config import TransformerConfig
from sightline.models.encoder_decoder import EncoderDecoder


def transformer_of(
    bundle: Bundle,
    engine: str,
    *,
    core: Container[str] | None = None,
    position: Container[str] | None = None,
    norm: Container[str] | None = None,
    norm_at: Container[str] | None = None,
    feedforward: Container[str] | None = None,
    plain_heads: bool = False,
) -> tuple[TransformerConfig, EncoderDecoder]:
    """The settings and the modules of a Transformer; None: the engine has all there is.

    Raises ConfigError, naming the setting, if the model is none, or has something that `engine` has not.

    `plain_heads`: the engine has as many heads for keys and values as for queries, and biases everywhere.
    """
    config, model = bundle.config.model, bundle.model
    if not (isinstance(config, TransformerConfig) and isinstance(model, EncoderDecoder)):
        raise ConfigError(
            f"{engine} has nothing that computes model.kind = {config.kind!r}: this model cannot be carried over to it."
        )
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
    return config, model
