"""Our encoder-decoder against torch.nn.Transformer with copied weights."""

import pytest
import torch
from torch import Tensor, nn

from sightline.models.build import build_model
from sightline.models.config import TransformerConfig
from sightline.nn.block import Block

D, HEADS, FF, VOCAB = 32, 4, 64, 50


def reference(norm_first: bool) -> nn.Transformer:
    kind = {"d_model": D, "nhead": HEADS, "dim_feedforward": FF, "dropout": 0.0, "batch_first": True}
    norm = (lambda: nn.LayerNorm(D)) if norm_first else (lambda: None)
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(**kind, norm_first=norm_first), 3, norm(), enable_nested_tensor=False
    )
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(**kind, norm_first=norm_first), 2, norm())
    return nn.Transformer(D, HEADS, custom_encoder=encoder, custom_decoder=decoder, batch_first=True)


def copy_linear(to: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    to.weight.copy_(weight)
    to.bias.copy_(bias)


def copy_attention(to: nn.Module, source: nn.MultiheadAttention) -> None:
    assert source.in_proj_weight is not None
    for name, weight, bias in zip(
        ("q_proj", "k_proj", "v_proj"), source.in_proj_weight.chunk(3), source.in_proj_bias.chunk(3), strict=True
    ):
        copy_linear(getattr(to, name), weight, bias)
    copy_linear(to.o_proj, source.out_proj.weight, source.out_proj.bias)  # pyright: ignore[reportArgumentType]


def copy_block(to: Block, source: nn.Module) -> None:
    copy_attention(to.self_attn, source.self_attn)  # pyright: ignore[reportArgumentType]
    norms = [to.self_norm, to.ffn_norm]
    if to.cross_attn is not None:
        copy_attention(to.cross_attn, source.multihead_attn)  # pyright: ignore[reportArgumentType]
        assert to.cross_norm is not None
        norms.insert(1, to.cross_norm)
    for i, norm in enumerate(norms):
        norm.load_state_dict(getattr(source, f"norm{i + 1}").state_dict())
    to.ffn.up_proj.load_state_dict(source.linear1.state_dict())  # pyright: ignore
    to.ffn.down_proj.load_state_dict(source.linear2.state_dict())  # pyright: ignore


@pytest.mark.parametrize("norm_at", ["pre", "post"])
@torch.no_grad()
def test_logits_equal_those_of_torch_nn_transformer(norm_at: str) -> None:
    torch.manual_seed(1)
    theirs = reference(norm_at == "pre").eval()
    for p in theirs.parameters():
        p.add_(0.05 * torch.randn_like(p))
    config = TransformerConfig(
        d_model=D,
        n_heads=HEADS,
        d_ff=FF,
        n_encoder_layers=3,
        n_decoder_layers=2,
        norm_at=norm_at,  # pyright: ignore
    )
    ours = build_model(config, VOCAB, VOCAB).eval()
    for own, other in ((ours.encoder, theirs.encoder), (ours.decoder, theirs.decoder)):
        for block, layer in zip(own, other.layers, strict=True):
            copy_block(block, layer)
        if own.norm is not None and other.norm is not None:
            own.norm.load_state_dict(other.norm.state_dict())
    src, tgt = torch.randint(4, VOCAB, (3, 9)), torch.randint(4, VOCAB, (3, 7))
    src[1, 6:] = 0
    hidden = theirs(
        ours.src_embed(src),
        ours.tgt_embed(tgt),
        tgt_mask=nn.Transformer.generate_square_subsequent_mask(7),
        src_key_padding_mask=src == 0,
        memory_key_padding_mask=src == 0,
    )
    expected = hidden @ ours.head.weight.T
    largest = expected.abs().max().item()
    assert (ours(src, tgt) - expected).abs().max().item() <= 1e-5 * largest
