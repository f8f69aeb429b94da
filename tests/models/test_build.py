import pytest
import torch

from sightline.config import parse
from sightline.decoding import DecodingSettings, beam_search
from sightline.errors import ConfigError
from sightline.models.build import build_core, build_model
from sightline.models.config import TransformerConfig
from sightline.nn import names
from sightline.nn.cores import CORES, AttentionCore, masked_softmax
from sightline.nn.feedforward import FEEDFORWARDS
from sightline.nn.mask import Mask
from sightline.nn.norm import NORMS
from sightline.nn.position import POSITIONS

SMALL = {"d_model": 16, "n_heads": 4, "d_ff": 32, "n_encoder_layers": 1, "n_decoder_layers": 1}


class Sharp(AttentionCore):
    """A user's own attention."""

    def __init__(self, sharpness: float = 3.0, dropout: float = 0.0) -> None:
        super().__init__(dropout)
        self.sharpness = sharpness

    def weights(self, q: torch.Tensor, k: torch.Tensor, mask: Mask) -> torch.Tensor:
        return masked_softmax(self.sharpness * q @ k.mT, mask)


def test_a_core_of_ones_own_is_named_by_module_and_class_with_its_own_arguments() -> None:
    core = build_core(
        TransformerConfig(attention={"kind": f"{__name__}:Sharp", "sharpness": 5.0}, attention_dropout=0.1)
    )
    assert type(core).__name__ == "Sharp" and core.sharpness == 5.0 and core.dropout.p == 0.1


def test_the_names_that_are_known_without_torch_are_those_of_the_tables() -> None:
    assert tuple(map(tuple, (POSITIONS, FEEDFORWARDS, NORMS))) == (names.POSITIONS, names.FEEDFORWARDS, names.NORMS)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"attention": "dott"},
            f"model.attention = \"dott\" is not known; choose one of {', '.join(CORES)}. Did you mean 'dot'",
        ),
        ({"attention": {"kind": "dot", "sharp": 1}}, "model.attention.sharp is not an argument of ScaledDotProduct"),
        ({"attention": "no.such.module:Core"}, "cannot be imported"),
        ({"attention": "torch.nn:Linear"}, "is not a subclass of AttentionCore"),
        ({"position": "rotery"}, "Did you mean 'rotary'"),
        ({"feedforward": "swigelu"}, "Did you mean 'swiglu'"),
        ({"norm": "batch"}, "choose one of layer, rms"),
        ({"n_heads": 3}, "d_model (16) must be a multiple of n_heads (3)"),
        ({"n_kv_heads": 3}, "n_heads (4) must be a multiple of n_kv_heads (3)"),
        ({"n_encoder_layers": 0}, "n_encoder_layers = 0 is not at least 1"),
        ({"residual_dropout": 1.0}, "residual_dropout = 1.0 is not less than 1"),
        ({"d_model": 12, "position": "rotary"}, "even head size"),
    ],
)
def test_a_setting_that_cannot_be_is_named_with_the_nearest_right_one(settings: dict, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        build_model(parse(TransformerConfig, {**SMALL, **settings}), 20, 20)
    assert said in str(error.value)


def test_shared_embeddings_need_one_vocabulary() -> None:
    with pytest.raises(ConfigError, match=r"tokenizer.joint = true"):
        build_model(TransformerConfig.model_validate(SMALL), 20, 30)


def test_tied_and_shared_embeddings_are_one_tensor() -> None:
    model = build_model(TransformerConfig.model_validate(SMALL), 20, 20)
    assert model.head.weight is model.tgt_embed.tokens.weight is model.src_embed.tokens.weight


def test_separate_vocabularies_have_separate_embeddings() -> None:
    model = build_model(TransformerConfig.model_validate({**SMALL, "share_embeddings": False}), 20, 30)
    assert model.src_embed.tokens.weight.shape == (20, 16) and model.head.weight.shape == (30, 16)


@pytest.mark.parametrize("beam", [1, 2])
def test_a_translation_ends_where_learned_positions_end(beam: int) -> None:
    model = build_model(TransformerConfig.model_validate({**SMALL, "position": "learned", "max_len": 6}), 20, 20).eval()
    search = DecodingSettings(beam=beam, min_len=50)
    (found,) = beam_search(model, torch.tensor([[5, 6, 7, 2]]), search)
    assert len(found[0].tokens) == 6 and not found[0].finished
