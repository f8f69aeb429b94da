import math

import pytest
import torch

from sightline.config import parse
from sightline.decoding import DecodingSettings, beam_search
from sightline.errors import ConfigError
from sightline.inspection.trace import trace
from sightline.models.build import build_model
from sightline.models.config import ConvolutionalConfig
from sightline.models.convolutional import Convolutional
from sightline.models.layout import least_parameters
from sightline.models.sequence_to_sequence import Packing

VOCAB = 19


def make(**settings: object) -> Convolutional:
    torch.manual_seed(5)
    config = {"d_model": 12, "n_encoder_layers": 3, "n_decoder_layers": 2, "max_len": 32, **settings}
    model = build_model(ConvolutionalConfig.model_validate(config), VOCAB, VOCAB)
    assert isinstance(model, Convolutional)
    return model.eval()


def sentences(s: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(8)
    return torch.randint(4, VOCAB, (3, s), generator=generator), torch.randint(4, VOCAB, (3, 5), generator=generator)


@pytest.mark.parametrize(("n_layers", "kernel_size"), [(1, 3), (3, 3), (2, 5), (4, 1)])
def test_an_encoder_sees_one_word_and_kernel_size_less_one_more_a_layer(n_layers: int, kernel_size: int) -> None:
    model = make(n_encoder_layers=n_layers, kernel_size=kernel_size)
    embedded = torch.randn(1, 21, 12, generator=torch.Generator().manual_seed(2), requires_grad=True)
    memory = model.encoder(embedded, torch.ones(1, 21, dtype=torch.bool))
    (gradient,) = torch.autograd.grad(memory[0, 10].sum(), embedded)
    seen = (gradient[0] != 0).any(dim=-1).nonzero().flatten().tolist()
    reach = n_layers * (kernel_size - 1) // 2
    assert seen == list(range(10 - reach, 10 + reach + 1)) and len(seen) == 1 + n_layers * (kernel_size - 1)


def test_every_decoder_layer_looks_and_the_state_shows_the_mean() -> None:
    model, (src, tgt) = make(n_heads=3, attention="dot"), sentences()
    src[1, 4:] = 0
    state = model.start(src)
    model.step(tgt[:, 0], state)
    state.watch()
    with trace(model) as seen:
        model.step(tgt[:, 1], state)
    assert list(seen) == ["decoder.0.cross_attn", "decoder.1.cross_attn"]
    mean = torch.stack([weights[:, :, 0] for weights in seen.values()]).mean(dim=(0, 2))
    torch.testing.assert_close(state.attention(), mean)
    assert (mean[1, 4:] == 0).all() and (mean[0] > 0).all()


def test_queries_keys_and_values_are_those_of_the_paper() -> None:
    """Sections 3.3 and 3.4, written out for the first layer of a decoder."""
    model, (src, tgt) = make(n_decoder_layers=1), sentences()
    src[1, 4:] = 0
    layer = next(iter(model.decoder))
    assert layer.cross_attn is not None
    attention, e, g, half = layer.cross_attn, model.src_embed(src), model.tgt_embed(tgt), math.sqrt(0.5)
    z = model.encoder(e, src != 0)
    x = model.decoder.in_proj(g)
    before = torch.cat((torch.zeros(3, 2, 12), x), dim=1)
    weight = layer.conv._weight().unflatten(1, (3, -1))
    for b, m in enumerate((6, 4, 6)):
        for i in range(5):
            a, gate = (sum(weight[:, j] @ before[b, i + j] for j in range(3)) + layer.conv.bias).chunk(2)
            h = a * torch.sigmoid(gate)
            d = attention.q_proj((h + g[b, i]) * half)
            weights = torch.softmax(attention.k_proj(z[b, :m]) @ d, dim=0)
            c = m * math.sqrt(1 / m) * (weights @ ((z[b, :m] + e[b, :m]) * half))
            out = (x[b, i] + (h + attention.o_proj(attention.v_proj(c))) * half) * half
            torch.testing.assert_close(model.hidden(src, tgt)[b, i], model.decoder.out_proj(out))


def test_the_encoders_gradient_is_divided_by_the_number_of_attentions_and_that_of_its_words_is_not() -> None:
    model, (src, _) = make(n_decoder_layers=2), sentences()
    embedded = model.src_embed(src).detach().requires_grad_()
    plain = model.encoder(embedded, src != 0)
    of_keys, of_values = torch.randn(2, 3, 6, 12, generator=torch.Generator().manual_seed(1))
    growth = math.sqrt(0.5 * 6)
    model.src_embed.forward = lambda ids, at=0: embedded  # what is differentiated
    memory = model.encode(src)
    found = torch.autograd.grad((memory.keys * of_keys + memory.values * of_values).sum(), embedded)[0]
    through = torch.autograd.grad(plain, embedded, (of_keys + growth * of_values) / 2)[0]
    torch.testing.assert_close(found, through + growth * of_values)


def test_at_first_all_vectors_vary_like_the_embeddings() -> None:
    model = make(d_model=256, n_encoder_layers=6, n_decoder_layers=6)
    src, tgt = (torch.randint(4, VOCAB, (16, 20), generator=torch.Generator().manual_seed(i)) for i in range(2))
    memory = model.encode(src)
    assert memory.keys.std().item() == pytest.approx(0.14, abs=0.05)
    assert 0.1 < model.decoder(model.tgt_embed(tgt), model.start(src)).std().item() < 0.3


def test_dropout_is_on_what_convolutions_read_and_on_what_the_decoder_tells() -> None:
    model = make(residual_dropout=0.5, embedding_dropout=0.25, attention_dropout=0.125)
    assert [layer.dropout.p for layer in (*model.encoder, *model.decoder)] == [0.5] * 5
    assert model.decoder.dropout.p == 0.5 and model.src_embed.dropout.p == model.tgt_embed.dropout.p == 0.25
    assert [layer.cross_attn.core.dropout.p for layer in model.decoder if layer.cross_attn] == [0.125] * 2
    model, (src, tgt) = make(residual_dropout=0.5, embedding_dropout=0.0).train(), sentences()
    assert (model.hidden(src, tgt) == 0).float().mean().item() == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize("beam", [1, 3])
def test_a_translation_ends_where_learned_positions_end(beam: int) -> None:
    search = DecodingSettings(beam=beam, min_len=50)
    (found,) = beam_search(make(max_len=6), torch.tensor([[5, 6, 7, 2]]), search)
    assert len(found[0].tokens) == 6 and not found[0].finished


def test_without_positions_the_same_words_elsewhere_are_the_same_to_the_encoder() -> None:
    model = make(position="none", n_encoder_layers=1)
    words = torch.tensor([[5, 6, 7, 5, 6, 7, 5, 6, 7]])
    keys = model.encode(words).keys[0]
    torch.testing.assert_close(keys[4], keys[1])
    with_positions = make(n_encoder_layers=1).encode(words).keys[0]
    assert not torch.allclose(with_positions[4], with_positions[1])


@pytest.mark.parametrize("settings", [{}, {"kernel_size": 5, "n_decoder_layers": 4}, {"weight_norm": False}])
def test_there_are_at_least_as_many_parameters_as_are_counted_beforehand(settings: dict[str, object]) -> None:
    config = ConvolutionalConfig.model_validate(settings)
    with torch.device("meta"):
        model = build_model(config, VOCAB, VOCAB)
    layers = sum(p.numel() for part in (model.encoder, model.decoder) for p in part.parameters())
    assert 0.5 * layers < least_parameters(config) <= layers


def test_packed_rows_are_refused() -> None:
    src, tgt = sentences()
    with pytest.raises(ValueError, match="one sentence a row"):
        make().hidden(src, tgt, Packing(torch.ones_like(src), torch.ones_like(tgt)))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kernel_size": 4}, "kernel_size = 4 has no middle: give 5"),
        ({"position": "rotary"}, '"rotary" is not known; choose one of learned, none'),
        ({"n_heads": 5}, "d_model (256) must be a multiple of n_heads (5)"),
        ({"d_ff": 3}, "d_ff is not a setting"),
        ({"attention": "none"}, 'model.attention = "none": only recurrent models'),
    ],
)
def test_what_cannot_be_is_said(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        build_model(parse(ConvolutionalConfig, {"kind": "convolutional", **settings}), VOCAB, VOCAB)
    assert said in str(error.value)
