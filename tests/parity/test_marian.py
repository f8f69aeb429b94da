"""Our encoder-decoder and searches against Hugging Face MarianMT with copied weights."""

import pytest
import torch
from torch import Tensor, nn

from sightline.decoding.beam import beam_search
from sightline.decoding.settings import DecodingSettings
from sightline.decoding.walk import greedy
from sightline.models.build import build_model
from sightline.models.config import TransformerConfig
from sightline.models.encoder_decoder import EncoderDecoder
from sightline.nn.block import Stack

transformers = pytest.importorskip("transformers", reason="Hugging Face transformers is a development extra")

D, HEADS, FF, VOCAB, PAD, EOS = 32, 4, 64, 60, 0, 2
# Marian's sinusoids are all sines and then all cosines, ours alternate: the same vectors in another basis of the residual.
OURS_FROM_THEIRS = torch.stack((torch.arange(D // 2), torch.arange(D // 2) + D // 2), dim=1).flatten()


def marian(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    config = transformers.MarianConfig(
        vocab_size=VOCAB,
        d_model=D,
        encoder_layers=3,
        decoder_layers=2,
        encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS,
        encoder_ffn_dim=FF,
        decoder_ffn_dim=FF,
        activation_function="relu",
        dropout=0.0,
        attention_dropout=0.0,
        scale_embedding=True,
        max_position_embeddings=128,
        pad_token_id=PAD,
        eos_token_id=EOS,
        decoder_start_token_id=PAD,
        forced_eos_token_id=None,
        init_std=0.3,
    )
    return transformers.MarianMTModel(config).eval()


def copied(theirs: nn.Module) -> EncoderDecoder:
    ours = build_model(
        TransformerConfig(d_model=D, n_heads=HEADS, d_ff=FF, n_encoder_layers=3, n_decoder_layers=2), VOCAB, VOCAB
    )
    ours.bos_id = PAD  # Marian begins a translation with the padding token
    weights = theirs.model.state_dict()  # pyright: ignore
    order = OURS_FROM_THEIRS

    def linear(to: nn.Linear, name: str, reads: bool, writes: bool) -> None:
        weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        weight = weight[:, order] if reads else weight
        to.weight.copy_(weight[order] if writes else weight)
        to.bias.copy_(bias[order] if writes else bias)

    def norm(to: nn.Module, name: str) -> None:
        to.weight.copy_(weights[f"{name}.weight"][order])  # pyright: ignore
        to.bias.copy_(weights[f"{name}.bias"][order])  # pyright: ignore

    def attention(to: nn.Module, name: str) -> None:
        for mine, other in (("q_proj", "q_proj"), ("k_proj", "k_proj"), ("v_proj", "v_proj")):
            linear(getattr(to, mine), f"{name}.{other}", reads=True, writes=False)
        linear(to.o_proj, f"{name}.out_proj", reads=False, writes=True)  # pyright: ignore

    def stack(to: Stack, name: str) -> None:
        for i, block in enumerate(to):
            at = f"{name}.layers.{i}"
            attention(block.self_attn, f"{at}.self_attn")
            norm(block.self_norm, f"{at}.self_attn_layer_norm")
            if block.cross_attn is not None and block.cross_norm is not None:
                attention(block.cross_attn, f"{at}.encoder_attn")
                norm(block.cross_norm, f"{at}.encoder_attn_layer_norm")
            linear(block.ffn.up_proj, f"{at}.fc1", reads=True, writes=False)  # pyright: ignore
            linear(block.ffn.down_proj, f"{at}.fc2", reads=False, writes=True)  # pyright: ignore
            norm(block.ffn_norm, f"{at}.final_layer_norm")

    with torch.no_grad():
        ours.tgt_embed.tokens.weight.copy_(weights["shared.weight"][:, order])
        stack(ours.encoder, "encoder")
        stack(ours.decoder, "decoder")
    return ours.eval()


def sources(n: int = 12) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    src = torch.full((n, 10), PAD)
    for i in range(n):
        length = int(torch.randint(3, 10, (), generator=generator))
        src[i, :length] = torch.randint(3, VOCAB, (length,), generator=generator)
        src[i, length] = EOS
    return src


def generated(theirs: nn.Module, src: Tensor, limits: list[int], **settings: object) -> list[list[int]]:
    """Each sentence alone, with its own limit, cut after its end."""
    found = []
    for row, limit in zip(src, limits, strict=True):
        row = row[row != PAD][None]
        out = theirs.generate(  # pyright: ignore
            input_ids=row, attention_mask=torch.ones_like(row), max_new_tokens=limit, bad_words_ids=[[PAD]], **settings
        )
        tokens = out[0, 1:].tolist()
        found.append(tokens[: tokens.index(EOS)] if EOS in tokens else tokens)
    return found


@torch.no_grad()
def test_logits_equal_those_of_marian() -> None:
    theirs = marian(1)
    ours, src = copied(theirs), sources()
    tgt = torch.randint(3, VOCAB, (12, 8), generator=torch.Generator().manual_seed(6))
    expected = theirs(input_ids=src, attention_mask=(src != PAD).long(), decoder_input_ids=tgt).logits
    assert (ours(src, tgt) - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_greedy_output_equals_that_of_marian(seed: int) -> None:
    theirs = marian(seed)
    ours, src = copied(theirs), sources()
    settings = DecodingSettings(beam=1, max_len_ratio=0.0, max_len_extra=15)
    assert [h.tokens for h in greedy(ours, src, settings)] == generated(
        theirs, src, [15] * 12, num_beams=1, do_sample=False
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("length_penalty", [0.6, 1.0])
def test_beam_output_equals_that_of_marian_under_the_same_stopping_rule(seed: int, length_penalty: float) -> None:
    theirs = marian(seed)
    ours, src = copied(theirs), sources()
    settings = DecodingSettings(
        beam=4,
        length_norm="average",
        length_penalty=length_penalty,
        stop="first",
        max_len_ratio=0.0,
        max_len_extra=15,
    )
    found = [best[0].tokens for best in beam_search(ours, src, settings)]
    expected = generated(
        theirs, src, [15] * 12, num_beams=4, do_sample=False, early_stopping=True, length_penalty=length_penalty
    )
    assert found == expected
