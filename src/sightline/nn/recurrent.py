"""Recurrent layers: what read and wrote sequences before attention alone did.

A state [b, p] is the vector that a step gives, `width` numbers, and after it whatever else its cell remembers.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from sightline.nn.attention import CrossAttention
from sightline.nn.cache import MemoryCache
from sightline.nn.dropout import Dropout, SharedDropout
from sightline.nn.mask import Mask
from sightline.nn.names import Attend


class _OneGradient(torch.autograd.Function):
    """`base` as it is; what is given at each step meets the gradients of all of them in one product for that of `weight`."""

    @staticmethod
    def forward(ctx, weight: Tensor, base: Tensor, given: list[Tensor]) -> Tensor:
        ctx.given = given
        return base.view_as(base)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        given = torch.stack(ctx.given, dim=1)
        return grads[0].flatten(0, 1).T @ given.flatten(0, 1), grads[0], None


class StepProduct:
    """base[:, t] + x_t W^T, asked for t = 0, 1, ... in turn, where x_t depends on what came before.

    The gradient of W is computed once, as one product over all steps: sooner than one a step and their sum.
    """

    def __init__(self, weight: Float[Tensor, "g i"], base: Float[Tensor, "b t g"]) -> None:
        self.weight, self.given = weight.detach().T, []
        self.bases = iter(_OneGradient.apply(weight, base, self.given).unbind(1))  # pyright: ignore

    def __call__(self, x: Float[Tensor, "b i"]) -> Float[Tensor, "b g"]:
        """The next step's."""
        if torch.is_grad_enabled():
            self.given.append(x.detach())
        return torch.addmm(next(self.bases), x, self.weight)

    @classmethod
    def of(
        cls, weight: Float[Tensor, "g i"], bias: Tensor | None, x: Float[Tensor, "b p"], length: int
    ) -> "StepProduct":
        """The same of x_t W^T + bias for `length` steps, with as many rows as x."""
        bias = x.new_zeros(len(weight)) if bias is None else bias
        return cls(weight, bias.expand(len(x), length, -1))


Step = Callable[[Tensor, Tensor], Tensor]
"""From what the input of a step [b, g] gives to the gates, and a state [b, p], to the next state."""


class Cell(nn.Module):
    """One step of a recurrent layer; a kind says with `_next` how a state follows from the one before.

    With `layer_norm` what comes from the input and what comes from the state are normalised apart, as in the supplement of Ba et
    al. 2016 for gated units, all gates together, and before biases are added: a state of zeros, normalised with them, would have
    a gradient hundreds of times too large.
    `dropout` is on the state as the gates see it, the same numbers at every step (Gal and Ghahramani 2016).

    Whole sequences go through torch's own loop, in C++ or cuDNN, unless one of these two is at work.
    """

    gates: ClassVar[int] = 1
    parts: ClassVar[int] = 1
    """Vectors of which a state is made."""
    fused: ClassVar[Any] = None
    """torch's function for whole sequences."""

    def __init__(self, d_in: int, width: int, layer_norm: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.width, rows = width, self.gates * width
        self.weight_ih, self.weight_hh = nn.Parameter(torch.empty(rows, d_in)), nn.Parameter(torch.empty(rows, width))
        self.bias_ih, self.bias_hh = nn.Parameter(torch.zeros(rows)), nn.Parameter(torch.zeros(rows))
        self.norm_ih = nn.LayerNorm(rows, bias=False) if layer_norm else None
        self.norm_hh = nn.LayerNorm(rows, bias=False) if layer_norm else None
        self.dropout = SharedDropout(dropout)
        for of_input, of_state in zip(self.weight_ih.chunk(self.gates), self.weight_hh.chunk(self.gates), strict=True):
            nn.init.xavier_uniform_(of_input.data)
            nn.init.orthogonal_(of_state.data)

    @property
    def steps_alone(self) -> bool:
        """Whether steps are computed one by one here, not by torch's own loop."""
        return self.norm_ih is not None or (self.training and self.dropout.p > 0)

    @property
    def state_size(self) -> int:
        """Numbers of a state."""
        return self.parts * self.width

    def zero_state(self, x: Float[Tensor, "b t i"]) -> Float[Tensor, "b p"]:
        """A state of nothing but zeros."""
        return x.new_zeros(x.shape[0], self.state_size)

    @property
    def product_bias(self) -> Tensor | None:
        """What is added to the products of inputs and weights at once: none where they are normalised first."""
        return self.bias_ih if self.norm_ih is None else None

    @property
    def state_bias(self) -> Tensor | None:
        """The same for the products of states and weights."""
        return self.bias_hh if self.norm_hh is None else None

    def of_input(self, x: Float[Tensor, "*b i"]) -> Float[Tensor, "*b g"]:
        """What inputs give to the gates."""
        return self.of_products(nn.functional.linear(x, self.weight_ih, self.product_bias))

    def of_products(self, x: Float[Tensor, "*b g"]) -> Float[Tensor, "*b g"]:
        """What inputs give to the gates, from their products with the weights, `product_bias` added."""
        return x if self.norm_ih is None else self.norm_ih(x) + self.bias_ih

    def state_mask(self, state: Float[Tensor, "b p"]) -> Float[Tensor, "b d"] | None:
        """Which numbers of the states of a sequence are left out, once for all its steps; None for none."""
        return self.dropout.mask((state.shape[0], self.width), state)

    def step(self, of_input: Float[Tensor, "b g"], state: Float[Tensor, "b p"]) -> Float[Tensor, "b p"]:
        """The next state, where nothing is dropped."""
        h = state[:, : self.width]
        return self._after(of_input, nn.functional.linear(h, self.weight_hh, self.state_bias), state)

    def steps(self, state: Float[Tensor, "b p"], length: int) -> Step:
        """What takes `length` steps in turn, each from what the input gives to the gates and the state; the first is from a state
        like `state`.
        """
        kept, product = self.state_mask(state), StepProduct.of(self.weight_hh, self.state_bias, state, length)

        def step(of_input: Tensor, state: Tensor) -> Tensor:
            h = state[:, : self.width]
            return self._after(of_input, product(h if kept is None else h * kept), state)

        return step

    def _after(self, of_input: Tensor, product: Tensor, state: Tensor) -> Tensor:
        of_state = product if self.norm_hh is None else self.norm_hh(product) + self.bias_hh
        return self._next(of_input, of_state, state)

    def _next(
        self, of_input: Float[Tensor, "b g"], of_state: Float[Tensor, "b g"], state: Float[Tensor, "b p"]
    ) -> Float[Tensor, "b p"]:
        raise NotImplementedError(f"{type(self).__name__} must define _next(of_input, of_state, state)")

    def forward(
        self, x: Float[Tensor, "b t i"], state: Float[Tensor, "b p"], exists: Bool[Tensor, "b t"] | None = None
    ) -> tuple[Float[Tensor, "b t d"], Float[Tensor, "b p"]]:
        """The vectors of all steps, and the last state; where a step does not exist the state stays as it is."""
        if not self.steps_alone and exists is None:
            out, *last = self.fused(x, self._given(state), self.weights, True, 1, 0.0, self.training, False, True)
            return out, torch.cat(last, dim=-1)[0]
        step, found = self.steps(state, x.shape[1]), []
        for t, of_input in enumerate(self.of_input(x).unbind(1)):
            new = step(of_input, state)
            state = new if exists is None else torch.where(exists[:, t, None], new, state)
            found.append(state[:, : self.width])
        return torch.stack(found, dim=1), state

    @property
    def weights(self) -> list[Tensor]:
        """As torch's loops take them."""
        return [self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh]

    def _given(self, state: Tensor) -> Any:
        """A state as torch's loops take it."""
        return state[None]


class Elman(Cell):
    """H' = tanh(W x + U h + b) (Elman 1990)."""

    fused = torch.rnn_tanh

    def _next(self, of_input: Tensor, of_state: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(of_input + of_state)


class GRU(Cell):
    """The gated recurrent unit (Cho et al. 2014), with the reset gate after the product, as cuDNN and torch have it."""

    gates = 3
    fused = torch.gru

    def _next(self, of_input: Tensor, of_state: Tensor, state: Tensor) -> Tensor:
        both = 2 * self.width
        reset, update = torch.sigmoid(of_input[:, :both] + of_state[:, :both]).chunk(2, dim=1)
        new = torch.tanh(of_input[:, both:] + reset * of_state[:, both:])
        return torch.lerp(new, state, update)


class LSTM(Cell):
    """Long short-term memory (Hochreiter and Schmidhuber 1997) with a forget gate (Gers et al. 2000), open at first (Jozefowicz
    et al. 2015). What it remembers beside its vector is its cell, normalised before it is told, if there are norms.
    """

    gates, parts = 4, 2
    fused = torch.lstm

    def __init__(self, d_in: int, width: int, layer_norm: bool = False, dropout: float = 0.0) -> None:
        super().__init__(d_in, width, layer_norm, dropout)
        self.norm_cell = nn.LayerNorm(width) if layer_norm else None
        with torch.no_grad():
            self.bias_ih[width : 2 * width] = 1.0

    def _next(self, of_input: Tensor, of_state: Tensor, state: Tensor) -> Tensor:
        into, forget, new, out = (of_input + of_state).chunk(4, dim=1)
        cell = torch.sigmoid(forget) * state[:, self.width :] + torch.sigmoid(into) * torch.tanh(new)
        told = cell if self.norm_cell is None else self.norm_cell(cell)
        return torch.cat((torch.sigmoid(out) * torch.tanh(told), cell), dim=1)

    def _given(self, state: Tensor) -> Any:
        return [part[None].contiguous() for part in state.chunk(2, dim=1)]


CELLS: dict[str, type[Cell]] = {"elman": Elman, "gru": GRU, "lstm": LSTM}


class RecurrentEncoderLayer(nn.Module):
    """A layer that reads whole sequences, from the left or, with `bidirectional`, from both sides (Schuster and Paliwal 1997),
    whose vectors then stand side by side; with `residual` it adds to its input, where that has as many numbers.
    """

    def __init__(self, forwards: Cell, backwards: Cell | None = None, dropout: Dropout | None = None) -> None:
        super().__init__()
        self.forwards, self.backwards = forwards, backwards
        self.dropout = Dropout() if dropout is None else dropout

    @property
    def cells(self) -> list[Cell]:
        """That of each direction."""
        return [self.forwards] if self.backwards is None else [self.forwards, self.backwards]

    @property
    def width(self) -> int:
        """Numbers of what it gives."""
        return self.forwards.width * len(self.cells)

    def forward(
        self, x: Float[Tensor, "b t i"], exists: Bool[Tensor, "b t"], residual: bool = False
    ) -> tuple[Float[Tensor, "b t d"], list[Float[Tensor, "b p"]]]:
        """Vectors of all tokens, zero for padding, and the last state of each direction."""
        out, last = self.read(x, exists)
        out = self.dropout(out)
        return (x + out if residual and x.shape == out.shape else out), last

    def read(
        self, x: Float[Tensor, "b t i"], exists: Bool[Tensor, "b t"]
    ) -> tuple[Float[Tensor, "b t d"], list[Float[Tensor, "b p"]]]:
        """The same before dropout, in the fastest way there is."""
        if any(cell.steps_alone for cell in self.cells):
            return self.by_steps(x, exists)
        return _fused(self.cells, x, exists)

    def by_steps(
        self, x: Float[Tensor, "b t i"], exists: Bool[Tensor, "b t"]
    ) -> tuple[Float[Tensor, "b t d"], list[Float[Tensor, "b p"]]]:
        """The same by the cells' own steps: the definition."""
        found = [self.forwards(x, self.forwards.zero_state(x), exists)]
        for cell in self.cells[1:]:
            back = _backwards(exists)
            turned = x.gather(1, back[:, :, None].expand_as(x))
            out, last = cell(turned, cell.zero_state(x), exists)
            found.append((out.gather(1, back[:, :, None].expand_as(out)), last))
        out = torch.cat([each for each, _ in found], dim=-1)
        return out * exists[:, :, None].to(out.dtype), [last for _, last in found]


def _backwards(exists: Bool[Tensor, "b t"]) -> Tensor:
    """The places of each row from the last token to the first; those of padding stay."""
    place, length = torch.arange(exists.shape[1], device=exists.device)[None], exists.sum(dim=1, keepdim=True)
    return torch.where(exists, length - 1 - place, place)


def _fused(cells: list[Cell], x: Tensor, exists: Tensor) -> tuple[Tensor, list[Tensor]]:
    """By torch's own loop, both directions at once, without a step for padding."""
    first, both = cells[0], len(cells) == 2
    packed = pack_padded_sequence(x, exists.sum(dim=1).cpu(), batch_first=True, enforce_sorted=False)
    none = x.new_zeros(len(cells), x.shape[0], first.width)
    given = none if first.parts == 1 else [none] * first.parts
    weights = [weight for cell in cells for weight in cell.weights]
    out, *last = first.fused(packed.data, packed.batch_sizes, given, weights, True, 1, 0.0, first.training, both)
    again = PackedSequence(out, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
    whole, _ = pad_packed_sequence(again, batch_first=True, total_length=x.shape[1])
    states = torch.cat(last, dim=-1).index_select(1, cast(Tensor, packed.unsorted_indices))
    return whole, list(states)


class RecurrentDecoderLayer(nn.Module):
    """A layer that writes from left to right, from a state that is given."""

    def __init__(self, cell: Cell, dropout: Dropout | None = None) -> None:
        super().__init__()
        self.cell = cell
        self.dropout = Dropout() if dropout is None else dropout

    @property
    def state_size(self) -> int:
        """Numbers of a state."""
        return self.cell.state_size

    def forward(
        self, x: Float[Tensor, "b t i"], state: Float[Tensor, "b p"], residual: bool = False
    ) -> tuple[Float[Tensor, "b t d"], Float[Tensor, "b p"]]:
        """The vectors of all steps, and the last state."""
        out, last = self.cell(x, state)
        out = self.dropout(out)
        return (x + out if residual and x.shape == out.shape else out), last


Look = Callable[[Tensor, int], Tensor]
"""From states [b, t, d], the first at some place, to what they see of the memory."""


class AttentiveLayer(nn.Module):
    """A decoder layer that looks at a memory at each step, and tells tanh(W [h; c]), h its state and c what it saw.

    With `attend` "before" the state before the step asks, and what it sees is part of the step's input (Bahdanau et al. 2015);
    with "between" the step is one of `cell`, which reads the word and asks, and one of `second`, which reads what was seen (the
    conditional GRU: Sennrich et al. 2017, section 3); with "after" the new state asks (Luong et al. 2015), and what was told is
    part of the next step's input if `feeds` (their section 3.3). If not, nothing waits for what was seen: all steps look at once.

    A state is that of the cell and, if it `feeds`, what was told last.
    """

    def __init__(
        self,
        cell: Cell,
        cross_attn: CrossAttention,
        attend: Attend,
        feeds: bool,
        dropout: Dropout | None = None,
        second: Cell | None = None,
    ) -> None:
        super().__init__()
        if (second is None) == (attend == "between"):
            raise ValueError("attention between two cells, and no other, needs a second one")
        self.cell, self.cross_attn, self.second = cell, cross_attn, second
        self.attend: Attend = attend
        self.feeds = feeds and attend == "after"
        self.join = nn.Linear(2 * cell.width, cell.width)
        self.dropout = Dropout() if dropout is None else dropout

    @property
    def steps_alone(self) -> bool:
        """Whether each step waits for what the one before it saw: its attention is then asked once a step."""
        return self.attend != "after" or self.feeds

    @property
    def state_size(self) -> int:
        """Numbers of a state."""
        return self.cell.state_size + (self.cell.width if self.feeds else 0)

    def first_state(self, state: Float[Tensor, "b p"]) -> Float[Tensor, "b q"]:
        """The state to begin with: nothing was told yet."""
        return torch.cat((state, state.new_zeros(state.shape[0], self.cell.width)), dim=1) if self.feeds else state

    def forward(
        self,
        x: Float[Tensor, "b t i"],
        state: Float[Tensor, "b q"],
        memory: Float[Tensor, "b s n"],
        mask: Mask,
        cache: MemoryCache,
        at: int = 0,
    ) -> tuple[Float[Tensor, "b t d"], Float[Tensor, "b q"]]:
        """What is told at all steps, the first of which stands at `at`, and the last state."""

        def look(h: Float[Tensor, "b u d"], place: int) -> Float[Tensor, "b u d"]:
            return self.cross_attn(h, memory, mask.standing(place), cache)

        if self.attend != "after":
            return self._asked_within(x, state, look, at)
        if self.feeds:
            return self._fed(x, state, look, at)
        h, last = self.cell(x, state)
        return self.dropout(self._told(h, look(h, at))), last

    def _told(self, h: Float[Tensor, "*b d"], seen: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        return torch.tanh(self.join(torch.cat((h, seen), dim=-1)))

    def _inputs(self, x: Tensor) -> StepProduct:
        """What gives the gates their input at each step, from what else is part of it beside the word."""
        of_words, of_more = self.cell.weight_ih.split((x.shape[-1], self.cell.width), dim=1)
        return StepProduct(of_more, nn.functional.linear(x, of_words, self.cell.product_bias))

    def _asked_within(self, x: Tensor, state: Tensor, look: Look, at: int) -> tuple[Tensor, Tensor]:
        width, length = self.cell.width, x.shape[1]
        if self.second is None:
            cell, of_seen, reads = self.cell, self._inputs(x), None
        else:
            cell, read = self.second, self.cell.steps(state, length)
            of_seen = StepProduct.of(cell.weight_ih, cell.product_bias, state, length)
            reads = [partial(read, words) for words in self.cell.of_input(x).unbind(1)]
        step = cell.steps(state, length)
        told: list[tuple[Tensor, Tensor]] = []
        for t in range(length):
            asking = state if reads is None else reads[t](state)
            seen = look(asking[:, None, :width], at + t)[:, 0]
            state = step(cell.of_products(of_seen(seen)), asking)
            told.append((state[:, :width], seen))
        h, seen = (torch.stack(each, dim=1) for each in zip(*told, strict=True))
        return self.dropout(self._told(h, seen)), state

    def _fed(self, x: Tensor, state: Tensor, look: Look, at: int) -> tuple[Tensor, Tensor]:
        cell, width = self.cell, self.cell.width
        own, told = state[:, :-width], state[:, -width:]
        of_input, step, drop = self._inputs(x), cell.steps(own, x.shape[1]), self.dropout.by_steps(told)
        found: list[Tensor] = []
        for t in range(x.shape[1]):
            own = step(cell.of_products(of_input(told)), own)
            h = own[:, None, :width]
            told = drop(self._told(h[:, 0], look(h, at + t)[:, 0]))
            found.append(told)
        return torch.stack(found, dim=1), torch.cat((own, told), dim=1)
