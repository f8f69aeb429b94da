"""From [b, t, m] to what a task asks for: the vocabulary so far."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

CHUNK_ELEMENTS = 2_560_000
"""Logits held at a time by the loss: 10 MB of float32, which stays in a processor's cache."""


class _ChunkedLoss(torch.autograd.Function):
    """Loss and both gradients in one pass over chunks of tokens: the full logits never exist.

    `hidden` is [k, n, m], k passes over the same n tokens: their mean cross-entropy counts, and with `alpha`, for two passes,
    `alpha / 2` times how far their predictions are apart.
    """

    @staticmethod
    def forward(
        ctx,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        smoothing: float,
        alpha: float,
        dtype: torch.dtype,
        needs_grad: bool,
    ) -> Tensor:
        passes, count = hidden.shape[:2]
        vocab = weight.shape[0]
        w = weight.to(dtype)
        grad_hidden = torch.empty_like(hidden) if needs_grad else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if needs_grad else None
        total = torch.zeros((), dtype=torch.float64, device=hidden.device)
        buffers = passes + 3 if alpha else passes  # of a chunk's logits or their size
        size = max(1, CHUNK_ELEMENTS // (vocab * buffers))
        for start in range(0, count, size):
            h, t = hidden[:, start : start + size].to(dtype), targets[start : start + size, None].expand(passes, -1, 1)
            logits = (h @ w.mT).float()
            log_ratio = logits[0] - logits[1] if alpha else None
            picked, mean = logits.gather(2, t), logits.mean(dim=2, keepdim=True)
            top = logits.amax(dim=2, keepdim=True)
            logits.sub_(top).exp_()
            norm = logits.sum(dim=2, keepdim=True)
            log_z = norm.log() + top
            total += (log_z - (1.0 - smoothing) * picked - smoothing * mean).sum() / passes
            if not needs_grad and not alpha:
                continue
            grad = logits.div_(norm)  # softmax - (1 - smoothing) onehot - smoothing / vocab
            if log_ratio is not None:
                total += alpha / 2 * _symmetric_kl_(grad, log_ratio.sub_(log_z[0] - log_z[1]), alpha)
            if grad_hidden is None or grad_weight is None:
                continue
            if smoothing:
                grad.sub_(smoothing / vocab)
            grad.scatter_add_(2, t, torch.full_like(picked, smoothing - 1.0))
            if passes > 1:
                grad.div_(passes)
            grad = grad.to(dtype)
            grad_hidden[:, start : start + size] = grad @ w
            if dtype is torch.float32:
                grad_weight.addmm_(grad.flatten(0, 1).mT, h.flatten(0, 1))
            else:
                grad_weight += grad.flatten(0, 1).mT @ h.flatten(0, 1)
        if grad_hidden is not None and grad_weight is not None:
            ctx.save_for_backward(grad_hidden, grad_weight.to(weight.dtype))
        return total.float()

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None, None, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        return grad_hidden * grads[0], grad_weight * grads[0], None, None, None, None, None


def _symmetric_kl_(p: Tensor, log_ratio: Tensor, alpha: float) -> Tensor:
    """The mean of the Kullback-Leibler divergences of p[0] from p[1] and back, summed over the tokens; `p` is then p plus `alpha`
    times the gradient by the logits.

    `p` is [2, n, vocab], `log_ratio` is log p[0] - log p[1].
    """
    first, second = p
    apart = first - second
    forth, back = ((p_k * log_ratio).sum(dim=1, keepdim=True) for p_k in (first, second))
    first.mul_((log_ratio - forth).mul_(alpha / 2).add_(1.0)).add_(apart, alpha=alpha / 2)
    second.mul_((back - log_ratio).mul_(alpha / 2).add_(1.0)).sub_(apart, alpha=alpha / 2)
    return (forth - back).sum() / 2


class VocabularyHead(nn.Module):
    """Logits over the vocabulary: hidden times the (often tied) output embedding (Press and Wolf 2017)."""

    def __init__(self, vocab_size: int, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocab_size, d_model).normal_(0.0, d_model**-0.5))

    def forward(self, hidden: Float[Tensor, "*t m"]) -> Float[Tensor, "*t vocab"]:
        """Scores before softmax."""
        return nn.functional.linear(hidden, self.weight.to(hidden.dtype))

    def loss(
        self, hidden: Float[Tensor, "n m"], targets: Int[Tensor, " n"], smoothing: float = 0.0
    ) -> Float[Tensor, ""]:
        """Summed label-smoothed cross-entropy in nats (Szegedy et al. 2016, section 7): each target keeps 1 - smoothing and
        every word of the vocabulary gets smoothing / vocab, the definition of torch's `cross_entropy`.

        Computed in chunks, forward and backward together, so memory does not grow with tokens times vocabulary.
        """
        return self._loss(hidden[None], targets, smoothing, 0.0)

    def r_drop_loss(
        self, hidden: Float[Tensor, "2 n m"], targets: Int[Tensor, " n"], smoothing: float, alpha: float
    ) -> Float[Tensor, ""]:
        """R-Drop (Liang et al. 2021, equation 4), halved to be on the scale of `loss`: the mean cross-entropy of two passes with
        different dropout, and alpha / 2 times the mean of the two Kullback-Leibler divergences of their predictions.
        """
        return self._loss(hidden, targets, smoothing, alpha)

    def _loss(self, hidden: Tensor, targets: Tensor, smoothing: float, alpha: float) -> Tensor:
        device = hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        with torch.autocast(device, enabled=False):
            return _ChunkedLoss.apply(hidden, self.weight, targets, smoothing, alpha, dtype, torch.is_grad_enabled())
