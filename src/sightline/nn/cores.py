"""How attention is computed. A new attention is a class with one method, `weights`.

Letters: b batch, h heads, tq queries, tk keys, d size of a head.
"""

import inspect
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sightline.errors import nearest
from sightline.nn.dropout import Dropout
from sightline.nn.mask import Mask
from sightline.nn.softmax_attention import softmax_attention

SHORT = 256
"""Up to this many keys the explicit softmax(q k) v is faster than a fused kernel on a CPU, backward above all."""


def masked_softmax(scores: Float[Tensor, "b h tq tk"], mask: Mask) -> Float[Tensor, "b h tq tk"]:
    """Softmax over the keys that `mask` allows, with its bias added. A query that may see nothing gets zeros.

    Accepts scores of any float type and returns the same type; half types are normalised in float32.
    """
    if mask.bias is not None:
        scores = scores + mask.bias
    allowed = mask.allowed(scores.shape[-2], scores.shape[-1], scores.device)
    if allowed is None:
        return torch.softmax(scores, dim=-1)
    weights = torch.softmax(scores.masked_fill(~allowed, torch.finfo(scores.dtype).min), dim=-1)
    return weights * allowed if mask.may_hide_everything else weights


class AttentionCore(nn.Module):
    """The seam: from queries, keys and values to the attended values.

    `weights` is the definition. `forward` is by default `dropout(weights) @ v` and may be overridden by any faster way to
    the same result; a law in the tests holds every core to that.
    """

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)

    def weights(
        self, q: Float[Tensor, "b h tq d"], k: Float[Tensor, "b h tk d"], mask: Mask
    ) -> Float[Tensor, "b h tq tk"]:
        """Attention weights: each row sums to one, or is zero where the mask hides every key."""
        raise NotImplementedError(f"{type(self).__name__} must define weights(q, k, mask)")

    def forward(
        self, q: Float[Tensor, "b h tq d"], k: Float[Tensor, "b h tk d"], v: Float[Tensor, "b h tk d"], mask: Mask
    ) -> Float[Tensor, "b h tq d"]:
        """The values, averaged with the weights; weights of another float type are first made `v`'s."""
        return self.dropout(self.weights(q, k, mask)).to(v.dtype) @ v


class ScoreCore(AttentionCore):
    """Attention by the softmax of a score of each query and key: an alignment function is a class with one method, `scores`."""

    def scores(
        self, q: Float[Tensor, "b h tq d"], k: Float[Tensor, "b h tk d"], mask: Mask
    ) -> Float[Tensor, "b h tq tk"]:
        """How well each key fits each query, before softmax. `mask` tells where they stand; what it hides is hidden later."""
        raise NotImplementedError(f"{type(self).__name__} must define scores(q, k, mask)")

    def weights(self, q: Tensor, k: Tensor, mask: Mask) -> Tensor:  # noqa: D102
        return masked_softmax(self.scores(q, k, mask), mask)


class ScaledDotProduct(ScoreCore):
    """softmax(q k^T / sqrt(d)) v (Vaswani et al. 2017, section 3.2.1).

    Short sequences on a CPU, and any sequence while attention dropout is at work there, are computed as written; others by
    torch's fused kernel.
    """

    def scores(self, q: Tensor, k: Tensor, mask: Mask) -> Tensor:  # noqa: D102
        return (q * (1.0 / math.sqrt(q.shape[-1]))) @ k.mT

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask) -> Tensor:  # noqa: D102
        dropout = self.dropout.p if self.training else 0.0
        if q.device.type == "cpu" and (k.shape[-2] <= SHORT or dropout > 0):
            if mask.bias is not None and mask.bias.requires_grad:
                return super().forward(q, k, v, mask)
            return softmax_attention(q, k, v, mask, self.dropout.threshold if self.training else 0)
        tq, tk = q.shape[-2], k.shape[-2]
        if mask.only_causal and mask.offset == 0 and tq == tk:
            return nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
        allowed = mask.allowed(tq, tk, q.device)
        bias = allowed
        if mask.bias is not None:
            bias = mask.bias.to(q.dtype)
            if allowed is not None:
                bias = bias.masked_fill(~allowed, -math.inf)
        out = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
        if mask.may_hide_everything and allowed is not None:
            out = out.masked_fill(~allowed.any(dim=-1, keepdim=True), 0.0)
        return out


class Cosine(ScoreCore):
    """softmax(g cos(q, k)) v with a learned sharpness g per head, kept positive: content-based addressing (Graves et al. 2014,
    section 3.3.1), whose g begins here at log2(L^2 - L), L a typical length (Henry et al. 2020, "Query-Key Normalization for
    Transformers", section 2).

    `n_heads` is the number of query heads; `length` the typical number of keys.
    """

    def __init__(self, n_heads: int, dropout: float = 0.0, length: int = 32) -> None:
        super().__init__(dropout)
        self.log_sharpness = nn.Parameter(torch.full((n_heads,), math.log(math.log2(length**2 - length))))

    def scores(self, q: Tensor, k: Tensor, mask: Mask) -> Tensor:  # noqa: D102
        q, k = (nn.functional.normalize(x, dim=-1, eps=1e-6) for x in (q, k))  # a smaller one is zero in fp16
        return self.log_sharpness.exp()[:, None, None] * (q @ k.mT)


class DotProduct(ScoreCore):
    """softmax(q k^T) v, not scaled: "dot" of Luong et al. 2015 (section 3.1)."""

    def scores(self, q: Tensor, k: Tensor, mask: Mask) -> Tensor:  # noqa: D102
        return q @ k.mT


def _matrices(n: int, rows: int, columns: int) -> nn.Parameter:
    """One matrix a head, Xavier uniform."""
    bound = math.sqrt(6.0 / (rows + columns))
    return nn.Parameter(torch.empty(n, rows, columns).uniform_(-bound, bound))


class General(ScoreCore):
    """softmax(q W k^T) v with a matrix W a head: "general", the bilinear form, of Luong et al. 2015 (section 3.1)."""

    def __init__(self, n_heads: int, d_head: int, dropout: float = 0.0) -> None:
        super().__init__(dropout)
        self.form = _matrices(n_heads, d_head, d_head)

    def scores(self, q: Tensor, k: Tensor, mask: Mask) -> Tensor:  # noqa: D102
        return q @ self.form @ k.mT


def _tanh_(x: Tensor) -> Tensor:
    """Tanh in place: in float32 on a CPU 2 sigmoid(2 x) - 1, for which torch takes a third of the time, right to 2e-7."""
    if x.dtype == torch.float32 and x.device.type == "cpu":
        return x.mul_(2).sigmoid_().mul_(2).sub_(1)
    return x.tanh_()


class _Compare(torch.autograd.Function):
    """The output of a network whose hidden layer has tanh of the sum of what a query and a key give it.

    Shapes: q [b, h, tq, u], k [b, h, tk, u], out [h, u, 1] -> [b, h, tq, tk]. Heads come first within, so that what one matrix
    multiplies lies together.
    """

    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, out: Tensor) -> Tensor:
        hidden = _tanh_(q.transpose(0, 1)[:, :, :, None] + k.transpose(0, 1)[:, :, None])
        ctx.save_for_backward(hidden, out)
        return torch.bmm(hidden.flatten(1, 3), out).view(hidden.shape[:4]).transpose(0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        hidden, out = ctx.saved_tensors
        grad = grads[0].transpose(0, 1)
        of_out = torch.bmm(grad.reshape(len(out), 1, -1), hidden.flatten(1, 3)).mT
        of_sum = grad[..., None] * out.mT[:, :, None, None]
        torch.ops.aten.tanh_backward.grad_input(of_sum, hidden, grad_input=of_sum)
        of_k = of_sum.sum(2) if of_sum.shape[2] > 1 else of_sum.squeeze(2)
        return of_sum.sum(3).transpose(0, 1), of_k.transpose(0, 1), of_out


class Additive(ScoreCore):
    """softmax(u tanh(q + k)) v: a network with one hidden layer compares (Bahdanau et al. 2015, appendix A.1.2). Their matrices W
    and U are the projections that make queries and keys. It holds [b, h, tq, tk, d] numbers at once.
    """

    def __init__(self, n_heads: int, d_head: int, dropout: float = 0.0) -> None:
        super().__init__(dropout)
        self.out = _matrices(n_heads, d_head, 1)

    def scores(self, q: Tensor, k: Tensor, mask: Mask) -> Tensor:  # noqa: D102
        return _Compare.apply(q, k, self.out)  # pyright: ignore[reportReturnType]


class Concat(ScoreCore):
    """softmax(u tanh(W [q; k])) v: "concat" of Luong et al. 2015 (section 3.1): `Additive` with a matrix of its own.

    `hidden` is the width of what compares; none: that of a head.
    """

    def __init__(self, n_heads: int, d_head: int, dropout: float = 0.0, hidden: int | None = None) -> None:
        super().__init__(dropout)
        hidden = hidden or d_head
        self.of_both, self.out = _matrices(n_heads, 2 * d_head, hidden), _matrices(n_heads, hidden, 1)

    def scores(self, q: Tensor, k: Tensor, mask: Mask) -> Tensor:  # noqa: D102
        of_q, of_k = self.of_both.chunk(2, dim=1)
        return _Compare.apply(q @ of_q, k @ of_k, self.out)  # pyright: ignore[reportReturnType]


class Location(ScoreCore):
    """softmax(q W) v: a query knows by itself which places to look at, whatever stands there: "location" of Luong et al. 2015
    (section 3.1). Places are counted among the keys that the query may see.

    `max_len` is the number of places there are. Raises ValueError for more keys.
    """

    def __init__(self, n_heads: int, d_head: int, dropout: float = 0.0, max_len: int = 1024) -> None:
        super().__init__(dropout)
        self.places = _matrices(n_heads, d_head, max_len)

    def scores(self, q: Tensor, k: Tensor, mask: Mask) -> Tensor:  # noqa: D102
        at, known = mask.key_places(q.shape[-2], k.shape[-2], q.device), self.places.shape[-1]
        if k.shape[-2] > known and (most := int(at.max()) + 1) > known:  # keys of several sequences may share places
            raise ValueError(f"{most} keys, but location-based attention has {known} places: give a larger max_len")
        at = at.clamp_min(0).expand(q.shape[0], q.shape[1], q.shape[2], -1)
        return (q @ self.places).gather(-1, at)


class Local(AttentionCore):
    """Attention within a window around one key (Luong et al. 2015, section 3.2): the score of each key loses
    (distance / (window / 2))^2 / 2, and keys more than `window` away are seen only where nothing nearer may be.

    The middle is the query's own place, at most that of the last key ("local-m"), or with `predict` S sigmoid(u tanh(W q)), S the
    number of keys ("local-p"). Keys count only where the query may see them. `score` names the alignment function of `CORES`.
    Weights add up to 1, which those of local-p in the paper, multiplied by the bell curve after softmax, do not.

    Raises ValueError for a window below 1 or an unknown score.
    """

    def __init__(
        self,
        n_heads: int,
        d_head: int,
        dropout: float = 0.0,
        window: int = 10,
        predict: bool = False,
        score: str = "general",
        max_len: int = 1024,
    ) -> None:
        super().__init__(dropout)
        if window < 1:
            raise ValueError(f"window = {window} shows nothing: give 1 or more")
        self.window, self.score = window, _score(score, n_heads, d_head, max_len)
        self.hidden = _matrices(n_heads, d_head, d_head) if predict else None
        self.out = _matrices(n_heads, d_head, 1) if predict else None

    def weights(self, q: Tensor, k: Tensor, mask: Mask) -> Tensor:  # noqa: D102
        scores, (tq, tk) = self.score.scores(q, k, mask), (q.shape[-2], k.shape[-2])
        places = mask.key_places(tq, tk, q.device)
        last = places[..., -1:]
        if self.hidden is None or self.out is None:
            middle = torch.minimum(mask.query_places(tq, q.device)[:, None, :, None], last)
        else:
            middle = (last + 1) * torch.sigmoid(torch.tanh(q @ self.hidden) @ self.out)
        distance = places - middle
        scores = scores - 2 * (distance / self.window) ** 2
        far = torch.finfo(scores.dtype).min / 4  # above what is masked
        return masked_softmax(scores.masked_fill(distance.abs() > self.window, far), mask)


class _OneOnly(torch.autograd.Function):
    """The largest of each row alone; the gradient passes as if nothing had been done (Bengio et al. 2013)."""

    @staticmethod
    def forward(ctx, weights: Tensor) -> Tensor:
        chosen = torch.zeros_like(weights).scatter_(-1, weights.argmax(-1, keepdim=True), 1.0)
        return chosen * (weights.sum(-1, keepdim=True) > 0)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> Tensor:
        return grads[0]


class Hard(AttentionCore):
    """One key alone is looked at: in training one drawn with the probabilities of soft attention, in evaluation the most probable
    one (Xu et al. 2015, section 4.1).

    In place of their REINFORCE, which must know the loss, the gradient is that of the Gumbel softmax of `temperature` (Jang et
    al. 2017, Maddison et al. 2017), straight through. `score` names the alignment function of `CORES`.

    Raises ValueError for a temperature that is not above 0 or an unknown score.
    """

    def __init__(
        self,
        n_heads: int,
        d_head: int,
        dropout: float = 0.0,
        score: str = "additive",
        temperature: float = 1.0,
        max_len: int = 1024,
    ) -> None:
        super().__init__(dropout)
        if temperature <= 0:
            raise ValueError(f"temperature = {temperature} must be above 0")
        self.score, self.temperature = _score(score, n_heads, d_head, max_len), temperature

    def weights(self, q: Tensor, k: Tensor, mask: Mask) -> Tensor:  # noqa: D102
        soft = self.score.weights(q, k, mask)
        if self.training:
            logits = soft.clamp_min(torch.finfo(soft.dtype).tiny).log()
            noise = -torch.empty_like(logits).exponential_().clamp_min(torch.finfo(soft.dtype).tiny).log()
            drawn = torch.softmax((logits + noise) / self.temperature, dim=-1)
            soft = drawn * (soft.sum(-1, keepdim=True) > 0)
        return _OneOnly.apply(soft)  # pyright: ignore[reportReturnType]


SCORES: dict[str, type[ScoreCore]] = {
    "dot": ScaledDotProduct,
    "plain-dot": DotProduct,
    "cosine": Cosine,
    "general": General,
    "additive": Additive,
    "concat": Concat,
    "location": Location,
}
"""The alignment functions: what `Local` and `Hard` may look with."""


def _score(name: str, n_heads: int, d_head: int, max_len: int) -> ScoreCore:
    if name not in SCORES:
        raise ValueError(f'score = "{name}" is not known; choose one of {", ".join(SCORES)}.{nearest(name, SCORES)}')
    cls = SCORES[name]
    takes, sizes = inspect.signature(cls).parameters, {"n_heads": n_heads, "d_head": d_head, "max_len": max_len}
    return cls(**{key: size for key, size in sizes.items() if key in takes})


CORES: dict[str, type[AttentionCore]] = {**SCORES, "local": Local, "hard": Hard}
