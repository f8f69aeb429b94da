"""From [b, t, m] to what a task asks for: the vocabulary so far."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

CHUNK_ELEMENTS = 2_560_000
"""Logits held at a time by the loss: 10 MB of float32, which stays in a processor's cache."""


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Loss and both gradients in one pass over chunks of tokens: the full logits never exist."""

    @staticmethod
    def forward(
        ctx, hidden: Tensor, weight: Tensor, targets: Tensor, smoothing: float, kind: torch.dtype, needs_grad: bool
    ) -> Tensor:
        count, vocab = targets.shape[0], weight.shape[0]
        w = weight.to(kind)
        grad_hidden = torch.empty_like(hidden) if needs_grad else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if needs_grad else None
        total = torch.zeros((), dtype=torch.float64, device=hidden.device)
        size = max(1, CHUNK_ELEMENTS // vocab)
        for start in range(0, count, size):
            h, t = hidden[start : start + size].to(kind), targets[start : start + size, None]
            logits = (h @ w.mT).float()
            picked, mean = logits.gather(1, t), logits.mean(dim=1, keepdim=True)
            top = logits.amax(dim=1, keepdim=True)
            logits.sub_(top).exp_()
            norm = logits.sum(dim=1, keepdim=True)
            log_z = norm.log() + top
            total += (log_z - (1.0 - smoothing) * picked - smoothing * mean).sum()
            if grad_hidden is None or grad_weight is None:
                continue
            grad = logits.div_(norm)  # softmax - (1 - smoothing) onehot - smoothing / vocab
            if smoothing:
                grad.sub_(smoothing / vocab)
            grad.scatter_add_(1, t, torch.full_like(picked, smoothing - 1.0))
            grad = grad.to(kind)
            grad_hidden[start : start + size] = grad @ w
            if kind is torch.float32:
                grad_weight.addmm_(grad.mT, h)
            else:
                grad_weight += grad.mT @ h
        if grad_hidden is not None and grad_weight is not None:
            ctx.save_for_backward(grad_hidden, grad_weight.to(weight.dtype))
        return total.float()

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        return grad_hidden * grads[0], grad_weight * grads[0], None, None, None, None


class VocabularyHead(nn.Module):
    """Logits over the vocabulary: hidden times the (often tied) output embedding (Press and Wolf 2017)."""

    def __init__(self, vocab_size: int, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocab_size, d_model).normal_(0.0, d_model**-0.5))

    def forward(self, hidden: Float[Tensor, "*t m"]) -> Float[Tensor, "*t vocab"]:
        """Scores before softmax."""
        return nn.functional.linear(hidden, self.weight)

    def loss(
        self, hidden: Float[Tensor, "n m"], targets: Int[Tensor, " n"], smoothing: float = 0.0
    ) -> Float[Tensor, ""]:
        """Summed label-smoothed cross-entropy in nats (Szegedy et al. 2016, section 7): each target keeps 1 - smoothing and
        every word of the vocabulary gets smoothing / vocab, the definition of torch's `cross_entropy`.

        Computed in chunks, forward and backward together, so memory does not grow with tokens times vocabulary.
        """
        device = hidden.device.type
        kind = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        with torch.autocast(device, enabled=False):
            return _ChunkedCrossEntropy.apply(hidden, self.weight, targets, smoothing, kind, torch.is_grad_enabled())
