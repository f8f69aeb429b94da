import pytest
import torch

from sightline.config import parse
from sightline.errors import ConfigError
from sightline.models.build import build_model
from sightline.models.config import RecurrentConfig
from sightline.models.recurrent import AttentiveState, Recurrent
from sightline.models.sequence_to_sequence import Packing
from sightline.nn.dropout import SharedDropout
from sightline.nn.recurrent import Cell

VOCAB = 19


def make(**settings: object) -> Recurrent:
    torch.manual_seed(5)
    model = build_model(RecurrentConfig.model_validate({"d_model": 12, "max_len": 32, **settings}), VOCAB, VOCAB)
    assert isinstance(model, Recurrent)
    return model.eval()


def sentences() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(8)
    return torch.randint(4, VOCAB, (3, 6), generator=generator), torch.randint(4, VOCAB, (3, 5), generator=generator)


def test_without_attention_the_first_state_is_all_that_the_decoder_knows_of_the_source() -> None:
    model, (src, tgt) = make(attention="none"), sentences()
    state = model.start(src)
    assert not isinstance(state, AttentiveState)
    whole = model(src, tgt)
    state.memory = torch.full_like(state.memory, torch.nan)
    torch.testing.assert_close(torch.stack([model.step(tgt[:, t], state) for t in range(5)], dim=1), whole)


def test_with_attention_each_step_can_be_seen_to_look_at_the_source() -> None:
    model, (src, tgt) = make(n_heads=3), sentences()
    src[1, 4:] = 0
    state = model.start(src)
    assert isinstance(state, AttentiveState)
    state.watch()
    model.step(tgt[:, 0], state)
    seen = state.attention()
    torch.testing.assert_close(seen.sum(dim=1), torch.ones(3))
    assert (seen[1, 4:] == 0).all() and (seen[0] > 0).all()


def test_bridges_begin_as_their_names_say() -> None:
    src, _ = sentences()
    src[1, 4:] = 0
    both = {"cell": "lstm", "n_encoder_layers": 2, "n_decoder_layers": 2}
    zero = make(bridge="zero", **both).start(src)
    assert len(zero.layers) == 2 and all((layer == 0).all() for layer in zero.layers)
    model = make(bridge="copy", bidirectional=False, **both)
    _, last = model.encoder(model.src_embed(src), src != 0)
    assert all(torch.equal(layer, states[0]) for layer, states in zip(model.start(src).layers, last, strict=True))
    model = make(bridge="mean")
    memory, _ = model.encoder(model.src_embed(src), src != 0)
    assert model.bridge.proj is not None
    expected = torch.tanh(model.bridge.proj(memory[1, :4].mean(dim=0)))
    torch.testing.assert_close(model.start(src).layers[0][1], expected)
    model = make()
    memory, _ = model.encoder(model.src_embed(src), src != 0)
    assert model.bridge.proj is not None
    ends = torch.cat((memory[1, 3, :12], memory[1, 0, 12:]))  # the last of either direction
    torch.testing.assert_close(model.start(src).layers[0][1], torch.tanh(model.bridge.proj(ends)))


def test_variational_dropout_is_everywhere_and_recurrent_dropout_in_every_cell() -> None:
    model = make(variational=True, recurrent_dropout=0.25, n_encoder_layers=2, n_decoder_layers=2)
    layers = [*model.encoder, *model.decoder, model.src_embed, model.tgt_embed]
    assert all(isinstance(layer.dropout, SharedDropout) and layer.dropout.p == 0.3 for layer in layers)
    cells = [module for module in model.modules() if isinstance(module, Cell)]
    assert len(cells) == 6 and all(cell.dropout.p == 0.25 for cell in cells)


def test_residual_layers_add_to_what_they_are_given() -> None:
    model, (src, _) = make(n_encoder_layers=2, residual=True), sentences()
    first, second = model.encoder
    x, exists = model.src_embed(src), src != 0
    below, _ = first(x, exists)
    torch.testing.assert_close(model.encoder(x, exists)[0], below + second(below, exists)[0])


def test_packed_rows_are_refused() -> None:
    src, tgt = sentences()
    with pytest.raises(ValueError, match="one sentence a row"):
        make().hidden(src, tgt, Packing(torch.ones_like(src), torch.ones_like(tgt)))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"bridge": "copy"}, "bridge = copy needs as many encoder layers"),
        ({"d_state": 10, "n_heads": 4}, "states of 10 numbers cannot be cut into 4 heads"),
        ({"cell": "gruu"}, "choose one of elman, gru, lstm. Did you mean 'gru'"),
        ({"d_ff": 3}, "d_ff is not a setting"),
    ],
)
def test_what_cannot_be_is_said(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("(", r"\(")):
        parse(RecurrentConfig, {"kind": "recurrent", **settings})
