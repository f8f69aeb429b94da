"""Adam, AdamW and Muon: their steps are those of torch's own."""

import subprocess
import sys
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from sightline.models.build import build_model
from sightline.models.config import ConvolutionalConfig, ModelConfig, RecurrentConfig, TransformerConfig
from sightline.training.optim import Muon, make_optimizer, orthogonalize, set_learning_rate
from sightline.training.settings import TrainSettings


class Small(nn.Module):
    """Matrices of three shapes, an embedding, a norm and biases."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.up, self.across, self.down = nn.Linear(8, 24), nn.Linear(24, 24), nn.Linear(24, 5)
        self.norm = nn.LayerNorm(24)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.down(self.norm(self.across(self.up(self.embed(tokens)).relu()).relu())).square().mean()


@pytest.mark.parametrize("shape", [(16, 16), (16, 48), (48, 16), (1, 7)])
def test_an_orthogonalised_matrix_keeps_its_directions_and_evens_out_their_sizes(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    u, _ = torch.linalg.qr(torch.randn(2, shape[0], min(shape)))
    v, _ = torch.linalg.qr(torch.randn(2, shape[1], min(shape)))
    sizes = torch.logspace(0, -2, min(shape))
    found = u.mT @ orthogonalize(u * sizes @ v.mT) @ v
    on_diagonal = found.diagonal(dim1=1, dim2=2)
    assert (found - torch.diag_embed(on_diagonal)).abs().max() < 1e-4
    assert on_diagonal.min() > 0.68 and on_diagonal.max() < 1.21


def test_many_large_matrices_are_each_orthogonalised_as_if_alone() -> None:
    torch.manual_seed(0)
    matrices = torch.randn(3, 200, 256)  # more than are taken at once
    alone = torch.cat([orthogonalize(each) for each in matrices.split(1)])
    torch.testing.assert_close(orthogonalize(matrices), alone)


def test_directions_in_bf16_are_near_those_in_float32() -> None:
    torch.manual_seed(0)
    matrices = torch.randn(3, 24, 16)
    exact, low = orthogonalize(matrices), orthogonalize(matrices.bfloat16())
    assert low.dtype == torch.bfloat16
    assert torch.nn.functional.cosine_similarity(exact.flatten(), low.float().flatten(), dim=0) > 0.99


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has Muon from 2.9 on")
def test_its_steps_are_those_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    # Torch's orthogonalises in bfloat16, by this method, which is off by a tenth.
    monkeypatch.setattr(Tensor, "bfloat16", Tensor.clone)
    torch.manual_seed(1)
    ours, theirs = Small(), Small()
    theirs.load_state_dict(ours.state_dict())
    mine = Muon(ours, (0.9, 0.98), 1e-9, weight_decay=0.1)
    hidden = [theirs.up.weight, theirs.across.weight, theirs.down.weight]
    biases = [theirs.up.bias, theirs.across.bias, theirs.down.bias, theirs.norm.weight, theirs.norm.bias]
    reference = [
        torch.optim.Muon(hidden, lr=0.01, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW([theirs.embed.weight], lr=0.01, betas=(0.9, 0.98), eps=1e-9, weight_decay=0.1),
        torch.optim.AdamW(biases, lr=0.01, betas=(0.9, 0.98), eps=1e-9, weight_decay=0.0),
    ]
    before = {name: p.detach().clone() for name, p in ours.named_parameters()}
    for _ in range(3):
        tokens = torch.randint(0, 11, (6, 4))
        for model in (ours, theirs):
            model.zero_grad()
            model(tokens).backward()
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            q.grad = p.grad.clone()  # pyright: ignore[reportOptionalMemberAccess]
        for group in mine.param_groups:
            group["lr"] = 0.01
        mine.step()
        for optimizer in reference:
            optimizer.step()
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        moved = (q - before[name]).norm()
        assert moved > 0.01 and (p - q).norm() < 1e-4 * moved, name


@pytest.mark.parametrize(("name", "theirs"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_steps_of_adam_are_those_of_torch(name: Literal["adam", "adamw"], theirs: type[torch.optim.Optimizer]) -> None:
    torch.manual_seed(1)
    model, other = Small(), Small()
    other.load_state_dict(model.state_dict())
    mine = make_optimizer(model, TrainSettings(optimizer=name, weight_decay=0.1, betas=(0.8, 0.9), eps=1e-6))
    set_learning_rate(mine, 0.01)
    matrices = {"params": [p for p in other.parameters() if p.ndim >= 2], "weight_decay": 0.1}
    rest = {"params": [p for p in other.parameters() if p.ndim < 2], "weight_decay": 0.0}
    reference = theirs([matrices, rest], lr=0.01, betas=(0.8, 0.9), eps=1e-6)  # pyright: ignore[reportCallIssue]
    for _ in range(3):
        tokens = torch.randint(0, 11, (6, 4))
        for net, optimizer in ((model, mine), (other, reference)):
            net(tokens).backward()
            optimizer.step()
            optimizer.zero_grad()
    for (at, p), q in zip(model.named_parameters(), other.parameters(), strict=True):
        assert torch.allclose(p, q, rtol=1e-6, atol=1e-7) and p.grad is None, at


@pytest.mark.parametrize("name", ["adam", "muon"])
def test_a_step_does_not_import_the_compiler(name: str) -> None:
    code = f"""if True:
        import sys, torch
        from sightline.training.optim import make_optimizer
        from sightline.training.settings import TrainSettings
        model = torch.nn.Linear(4, 4)
        optimizer = make_optimizer(model, TrainSettings(optimizer={name!r}))
        model(torch.ones(1, 4)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        sys.exit("torch._dynamo" in sys.modules)
    """
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_parameter_of_a_model_is_moved_once_by_muon_or_by_adam() -> None:
    model = build_model(
        TransformerConfig(d_model=16, n_heads=2, d_ff=32, n_encoder_layers=1, n_decoder_layers=1), 20, 20
    )
    optimizer = make_optimizer(model, TrainSettings(optimizer="muon", weight_decay=0.1))
    assert isinstance(optimizer, Muon)
    grouped = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(grouped) == len(set(grouped)) == len(list(model.parameters()))
    by_adam = {name for name, p in model.named_parameters() if p not in optimizer.matrices}
    assert {name for name in by_adam if model.get_parameter(name).ndim >= 2} == {"src_embed.tokens.weight"}
    assert all(name.endswith("bias") or "norm" in name for name in by_adam - {"src_embed.tokens.weight"})
    decays = {p: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert all(decays[p] == (0.1 if p.ndim >= 2 else 0.0) for p in decays)


@pytest.mark.parametrize(
    ("config", "weight", "gates"),
    [
        (RecurrentConfig(d_model=16, cell="gru"), "decoder.0.cell.weight_ih", 3),
        (RecurrentConfig(d_model=16, cell="lstm"), "encoder.0.backwards.weight_hh", 4),
        (ConvolutionalConfig(d_model=16, n_encoder_layers=1, n_decoder_layers=1), "encoder.0.conv.weight", 2),
    ],
)
def test_each_gate_has_a_matrix_of_its_own(config: ModelConfig, weight: str, gates: int) -> None:
    model = build_model(config, 20, 20)
    optimizer = make_optimizer(model, TrainSettings(optimizer="muon", weight_decay=0.0))
    moving, before = model.get_parameter(weight), model.get_parameter(weight).detach().clone()
    moving.grad = torch.randn_like(moving)
    moving.grad[: len(moving) // gates] *= 1e-4  # a gate whose gradient is small moves as far as the others
    set_learning_rate(optimizer, 0.1)
    optimizer.step()
    for moved in (moving.detach() - before).chunk(gates):
        assert moved.square().mean().sqrt() == pytest.approx(0.1 * 0.2, rel=0.2)


def test_each_head_has_matrices_of_its_own() -> None:
    model = build_model(
        TransformerConfig(d_model=24, n_heads=3, d_ff=32, n_encoder_layers=1, n_decoder_layers=1), 20, 20
    )
    optimizer = make_optimizer(model, TrainSettings(optimizer="muon"))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for name, p in model.named_parameters():
        p.grad = torch.randn_like(p)
        if name.endswith("o_proj.weight"):
            p.grad[:, :8] *= 1e-4  # a head whose gradient is small moves as far as the others
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    optimizer.step()
    for name in (
        "encoder.0.self_attn.q_proj.weight",
        "decoder.0.cross_attn.v_proj.weight",
        "encoder.0.self_attn.o_proj.weight",
    ):
        moved = (before[name] - model.get_parameter(name)) / (0.1 * 0.2 * 24**0.5)
        heads = moved.split(8, dim=1 if "o_proj" in name else 0)
        sizes = torch.stack([torch.linalg.svdvals(head) for head in heads])
        assert sizes.min() > 0.67 and sizes.max() < 1.22, name


def test_a_parameter_without_a_gradient_stays() -> None:
    model = Small()
    optimizer = make_optimizer(model, TrainSettings(optimizer="muon", weight_decay=0.1))
    model.up(torch.ones(2, 8)).sum().backward()
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer.step()
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {"up.weight", "up.bias"}
