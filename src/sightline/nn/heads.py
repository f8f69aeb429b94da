"""From [b, t, m] to what a task asks for: the vocabulary so far."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

CHUNK_ELEMENTS = {"cpu": 10_240_000, "cuda": 268_435_456}
"""Logits held at a time by the loss. On a processor 41 MB of float32 or 20 of bfloat16: fewer would stay in its cache, but the
gradient of the weights is then added up more often. On a GPU half a gigabyte of bfloat16."""
TINIEST = torch.finfo(torch.float32).tiny
"""The least probability of a target in the loss, exp(-87): what is rounded to zero would be infinitely far."""


class _CrossEntropy(torch.autograd.Function):
    """Loss and both gradients in one pass over chunks of tokens: the full logits never exist.

    The gradient by the logits is softmax - (1 - smoothing) onehot - smoothing / vocab. The logits are read and written in
    `dtype` and summed up in float32; what smoothing adds, the same for every word, is never spread over the vocabulary: the
    mean of a token's logits is its hidden vector times the mean weight.

    `counts` [n, 1] is 0 for the tokens that are to be left out, 1 for the others.
    """

    @staticmethod
    def forward(
        ctx,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        smoothing: float,
        counts: Tensor | None,
        dtype: torch.dtype,
        needs_grad: bool,
    ) -> Tensor:
        (count, vocab), w = (len(hidden), len(weight)), weight.to(dtype)
        hidden = hidden if counts is None else hidden * counts
        mean_weight, mean_bias = weight.float().mean(dim=0), 0.0 if bias is None else float(bias.mean())
        grads = _Gradients(hidden, weight, bias) if needs_grad else None
        total = torch.zeros((), dtype=torch.float64, device=hidden.device)
        for rows in _chunks(count, vocab, hidden.device):
            h, t = hidden[rows].to(dtype), targets[rows, None]
            logits = _logits(h, w, bias)
            p = torch.softmax(logits, dim=1)
            p_target = p.gather(1, t)
            log_p = p_target.float().clamp_min(TINIEST).log_()
            total -= (log_p if counts is None else log_p.mul_(counts[rows])).sum()
            if smoothing:
                apart = logits.gather(1, t).float() - (h.float() @ mean_weight)[:, None] - mean_bias
                total += smoothing * (apart if counts is None else apart * counts[rows]).sum()
            if grads is not None:
                p[torch.arange(len(t), device=t.device), t[:, 0]] = p_target[:, 0] - (1.0 - smoothing)
                grads.add(rows, p, h, w, None if counts is None else counts[rows])
        if grads is not None:
            if smoothing:
                grads.hidden.sub_(smoothing * mean_weight)
                grads.weight.sub_(smoothing / vocab * hidden.float().sum(dim=0))
                if grads.bias is not None:
                    grads.bias.sub_(smoothing / vocab * (count if counts is None else counts.float().sum()))
            grads.save(ctx, counts)
        return total.float()

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return *_times(ctx.saved_tensors, grads[0]), None, None, None, None, None


class _RDrop(torch.autograd.Function):
    """The same walk over two passes at once, `hidden` [2, n, m]: the mean of their cross-entropies, and `alpha / 2` times how far
    their predictions are apart.
    """

    @staticmethod
    def forward(
        ctx,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        smoothing: float,
        alpha: float,
        counts: Tensor | None,
        dtype: torch.dtype,
        needs_grad: bool,
    ) -> Tensor:
        (count, vocab), w = (hidden.shape[1], len(weight)), weight.to(dtype)
        hidden = hidden if counts is None else hidden * counts
        grads = _Gradients(hidden, weight, bias) if needs_grad else None
        total = torch.zeros((), dtype=torch.float64, device=hidden.device)
        for rows in _chunks(
            count, 5 * vocab, hidden.device
        ):  # the logits of both passes, and three of their size for one
            h, t = hidden[:, rows].to(dtype), targets[rows, None].expand(2, -1, 1)
            logits = _logits(h, w, bias).float()
            log_ratio = logits[0] - logits[1]
            picked, mean = logits.gather(2, t), logits.mean(dim=2, keepdim=True)
            log_z = logits.logsumexp(dim=2, keepdim=True)
            cost = log_z - (1.0 - smoothing) * picked - smoothing * mean
            total += (cost if counts is None else cost * counts[rows]).sum() / 2
            p = logits.sub_(log_z).exp_()
            total += alpha / 2 * _symmetric_kl_(p, log_ratio.sub_(log_z[0] - log_z[1]), alpha)
            if grads is not None:
                p.sub_(smoothing / vocab).scatter_add_(2, t, p.new_full(t.shape, smoothing - 1.0)).div_(2)
                grads.add((slice(None), rows), p.to(dtype), h, w, None if counts is None else counts[rows])
        if grads is not None:
            grads.save(ctx, counts)
        return total.float()

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return *_times(ctx.saved_tensors, grads[0]), None, None, None, None, None, None


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    logits = hidden @ weight.mT
    return logits if bias is None else logits.add_(bias.to(logits.dtype))


def _times(found: tuple[Tensor | None, ...], grad: Tensor) -> tuple[Tensor | None, ...]:
    return tuple(None if each is None else each * grad for each in found)


def _chunks(count: int, size: int, device: torch.device) -> Iterator[slice]:
    """`count` tokens, `CHUNK_ELEMENTS` numbers at a time, of which a token takes `size`."""
    step = max(1, CHUNK_ELEMENTS.get(device.type, CHUNK_ELEMENTS["cpu"]) // size)
    return (slice(start, start + step) for start in range(0, count, step))


class _Gradients:
    """Gradients by hidden vectors, weights and biases, in the making."""

    def __init__(self, hidden: Tensor, weight: Tensor, bias: Tensor | None) -> None:
        self.hidden, self.dtype = torch.empty_like(hidden), weight.dtype
        self.weight = torch.zeros_like(weight, dtype=torch.float32)
        self.bias = None if bias is None else torch.zeros_like(bias, dtype=torch.float32)

    def add(
        self,
        rows: slice | tuple[slice, slice],
        by_logits: Tensor,
        hidden: Tensor,
        weight: Tensor,
        counts: Tensor | None,
    ) -> None:
        """What a chunk adds, given its gradient by the logits; `counts` says which tokens count, if not all do."""
        self.hidden[rows] = by_logits @ weight
        if self.bias is not None:
            counted = by_logits if counts is None else by_logits * counts
            self.bias += counted.flatten(0, -2).sum(dim=0, dtype=torch.float32)
        by_logits, hidden = by_logits.flatten(0, -2), hidden.flatten(0, -2)
        if hidden.dtype is torch.float32:
            self.weight.addmm_(by_logits.mT, hidden)
        else:
            self.weight += by_logits.mT @ hidden

    def save(self, ctx: Any, counts: Tensor | None) -> None:
        """For the backward pass. Hidden vectors that do not count, which were taken as zero, get no gradient."""
        if counts is not None:
            self.hidden.mul_(counts)
        ctx.save_for_backward(self.hidden, self.weight.to(self.dtype), self.bias)


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
    """Logits over the vocabulary: hidden times the (often tied) output embedding (Press and Wolf 2017), and a bias if there is
    to be one.
    """

    def __init__(self, vocab_size: int, d_model: int, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocab_size, d_model).normal_(0.0, d_model**-0.5))
        self.bias = nn.Parameter(torch.zeros(vocab_size)) if bias else None

    def forward(self, hidden: Float[Tensor, "*t m"]) -> Float[Tensor, "*t vocab"]:
        """Scores before softmax."""
        bias = None if self.bias is None else self.bias.to(hidden.dtype)
        return nn.functional.linear(hidden, self.weight.to(hidden.dtype), bias)

    def loss(
        self,
        hidden: Float[Tensor, "n m"],
        targets: Int[Tensor, " n"],
        smoothing: float = 0.0,
        counts: Float[Tensor, "n 1"] | None = None,
    ) -> Float[Tensor, ""]:
        """Summed label-smoothed cross-entropy in nats (Szegedy et al. 2016, section 7): each target keeps 1 - smoothing and
        every word of the vocabulary gets smoothing / vocab, the definition of torch's `cross_entropy`.

        Computed in chunks, forward and backward together, so memory does not grow with tokens times vocabulary. Tokens whose
        `counts` is 0 are left out, where taking them away would change the shape; it has the type of `hidden`.
        """
        return self._loss(_CrossEntropy, hidden, targets, smoothing, counts)

    def r_drop_loss(
        self,
        hidden: Float[Tensor, "2 n m"],
        targets: Int[Tensor, " n"],
        smoothing: float,
        alpha: float,
        counts: Float[Tensor, "n 1"] | None = None,
    ) -> Float[Tensor, ""]:
        """R-Drop (Liang et al. 2021, equation 4), halved to be on the scale of `loss`: the mean cross-entropy of two passes with
        different dropout, and alpha / 2 times the mean of the two Kullback-Leibler divergences of their predictions.
        """
        return self._loss(_RDrop, hidden, targets, smoothing, alpha, counts)

    def _loss(self, loss: type[torch.autograd.Function], hidden: Tensor, *given: Any) -> Tensor:
        device = hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        with torch.autocast(device, enabled=False):
            return loss.apply(hidden, self.weight, self.bias, *given, dtype, torch.is_grad_enabled())
