"""The table of "Attention Is All You Need" (Vaswani et al. 2017, table 1), and beside it what is counted here."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from sightline.lab.parts import Said, Section, Table
from sightline.lab.probes.flow import flow
from sightline.lab.probes.fresh import Untrained, fresh, in_double, random_words
from sightline.lab.probes.receptive import window_of
from sightline.models.config import ConvolutionalConfig, ModelConfig, RecurrentConfig
from sightline.models.sequence_to_sequence import AnyModel

SHORT, VOCAB = 32, 1000
"""Words of the shorter of the two sentences, and of the vocabulary, in what is counted."""
SENTENCE = 32
"""Words of source and of target, of which operations a target token are told."""
NEAR_ENOUGH = 17
"""Words over which the number of layers is counted that it takes to see the first from the last."""


@dataclass(frozen=True)
class LayerCost:
    """What a second layer adds to an encoder."""

    words: tuple[int, int]
    """Two lengths, the second twice the first."""
    operations: tuple[int, int]
    """Floating-point operations of matrix products at both lengths, forward; a product and a sum are two."""
    chain: tuple[int, int]
    """The longest chain of operations that wait for one another, at both lengths: see `longest_chain`."""

    @property
    def operations_exponent(self) -> float:
        """The power of the length with which the operations grow, from the first length to the second."""
        return math.log2(self.operations[1] / self.operations[0])

    @property
    def chain_exponent(self) -> float:
        """The same of the chain: 0 for steps that do not depend on the length, 1 for a step a word."""
        return math.log2(self.chain[1] / self.chain[0])


def longest_chain(out: Tensor, start: Tensor) -> int:
    """How many differentiable operations lie on the longest way through the graph of gradients from a tensor to the leaf
    that it was computed from: so many have to be done one after another, however many processors there are. Fused
    operations count as one, so that numbers of different architectures are no seconds; what they show is how they
    grow.

    Raises ValueError if `out` does not depend on `start`.
    """
    leaf, longest, order = _accumulator(start), {}, []
    stack = [(out.grad_fn, False)]
    while stack:  # depth first, without recursion: chains are longer than Python's stack
        node, done = stack.pop()
        if node is None or (node in longest and not done):
            continue
        if done:
            order.append(node)
            continue
        longest[node] = -1
        stack.append((node, True))
        stack += [(before, False) for before, _ in node.next_functions]
    for node in order:
        before = [longest[each] for each, _ in node.next_functions if each is not None]
        longest[node] = 0 if node == leaf else max((n + 1 for n in before if n >= 0), default=-1)
    if out.grad_fn is None or longest[out.grad_fn] < 0:
        raise ValueError("the one tensor was not computed from the other")
    return longest[out.grad_fn]


def _accumulator(leaf: Tensor) -> object:
    """The node of the graph that stands for a leaf."""
    return leaf.view_as(leaf).grad_fn.next_functions[0][0]  # pyright: ignore[reportOptionalMemberAccess]


def _layers(config: ModelConfig, n: int) -> ModelConfig:
    return config.model_copy(update={"n_encoder_layers": n, "n_decoder_layers": 1})


def _counted(model: AnyModel, words: int) -> tuple[int, int]:
    """Operations and longest chain of reading one sentence."""
    exact = in_double(model)  # float64, which goes step by step where float32 has one operation for a whole sentence
    src = random_words(1, words, VOCAB, torch.Generator().manual_seed(1))
    with FlopCounterMode(display=False) as counter, flow(exact) as seen:
        exact.start(src)
    return counter.get_total_flops(), longest_chain(seen.memory, seen.embedding)


def layer_cost(config: ModelConfig, words: int = SHORT) -> LayerCost:
    """What a layer adds to an encoder of one, for sentences of `words` and of twice as many words. Operations of
    elements, such as softmax and gates, are not counted among the `operations`.
    """
    pairs = []
    for n in (words, 2 * words):
        one, two = (_counted(fresh(_layers(config, k), VOCAB, 2 * words + 1, 1), n) for k in (1, 2))
        pairs.append((two[0] - one[0], two[1] - one[1]))
    return LayerCost((words, 2 * words), (pairs[0][0], pairs[1][0]), (pairs[0][1], pairs[1][1]))


def layers_to_see(config: ModelConfig, words: int = NEAR_ENOUGH) -> int | None:
    """The fewest layers after which the encoder's vector of the last of so many words depends on the first, or that of
    the first on the last: those with which the gradient is not zero both ways where the encoder reads both ways. None
    if `words` layers do not do.
    """
    both = not isinstance(config, RecurrentConfig) or config.bidirectional
    for n in range(1, words + 1):
        exact = in_double(fresh(_layers(config, n), VOCAB, words + 1, 1))
        src = random_words(1, words, VOCAB, torch.Generator().manual_seed(1))
        with flow(exact) as seen:
            exact.start(src)
        out = seen.layers[-1][0]
        (to_first,) = torch.autograd.grad(out[-1].abs().sum(), seen.embedding, retain_graph=True)
        (to_last,) = torch.autograd.grad(out[0].abs().sum(), seen.embedding)
        if bool(to_first[0, 0].any()) and (not both or bool(to_last[0, -1].any())):
            return n
    return None


def path_length(config: ModelConfig, words: int = NEAR_ENOUGH) -> int | None:
    """The most steps from one word to another in sentences of so many, measured: the layers that it takes
    (`layers_to_see`), times the steps inside a layer from the first word to the last, which is by how many times the
    operations of a step the chain of a layer grows. None if the layers do not do.
    """
    layers = layers_to_see(config, words)
    if layers is None:
        return None
    chains = [_counted(fresh(_layers(config, 1), VOCAB, 2 * words + 1, 1), n)[1] for n in (words - 1, words, 2 * words)]
    a_word = chains[1] - chains[0]
    return layers * ((chains[2] - chains[1]) // a_word if a_word else 1)


def operations_per_token(model: AnyModel, words: int = SENTENCE) -> float:
    """Forward operations of matrix products a target token, output layer included, for a source and a target of `words`
    tokens, or of `max_len` where the model takes no more. In training the backward pass takes twice as many more.
    """
    words, exact = min(words, model.max_len), in_double(model)
    generator = torch.Generator().manual_seed(1)
    src = random_words(1, words, exact.src_embed.tokens.num_embeddings, generator)
    tgt = random_words(1, words, exact.tgt_embed.tokens.num_embeddings, generator)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        exact(src, tgt)
    return counter.get_total_flops() / words


def _told(config: ModelConfig) -> tuple[str, str, str]:
    """What the paper's table says: operations a layer, sequential operations, path length."""
    if isinstance(config, RecurrentConfig):
        return "O(n d²)", "O(n)", "O(n)"
    if isinstance(config, ConvolutionalConfig):
        return "O(k n d²)", "O(1)", "O(n / k)"
    if window_of(config) is not None:
        return "O(r n d)", "O(1)", "O(n / r)"
    return "O(n² d)", "O(1)", "O(1)"


def complexity_section(systems: Sequence[Untrained], vocab_size: int = 8000, words: int = SHORT) -> Section:
    """The table with what is counted on freshly made models beside it, and the size of each system."""
    costs = [layer_cost(config, words) for _, config in systems]
    theory: list[list[str | Said]] = []
    for (name, config), cost in zip(systems, costs, strict=True):
        operations, sequential, path = _told(config)
        seen = path_length(config)
        theory.append(
            [
                name,
                operations,
                f"{cost.operations[0] / 1e6:.1f} M -> {cost.operations[1] / 1e6:.1f} M (n^{cost.operations_exponent:.2f})",
                sequential,
                f"{cost.chain[0]} -> {cost.chain[1]} (n^{cost.chain_exponent:.2f})",
                path,
                "-" if seen is None else str(seen),
            ]
        )
    sizes: list[list[str | Said]] = []
    for name, config in systems:
        model = fresh(config, vocab_size, SENTENCE + 1, 1)
        in_layers = sum(
            p.numel() for part, p in model.named_parameters() if not part.startswith(("src_embed", "tgt_embed", "head"))
        )
        total = sum(p.numel() for p in model.parameters())
        sizes.append([name, f"{total:,}", f"{in_layers:,}", f"{operations_per_token(model) / 1e6:.2f} M"])
    return Section(
        Said("Table 1, counted", "表 1：逐项数出来"),
        [
            Said(
                f"Left of each pair what the paper's table says of a layer, right what is counted here at {words} and "
                f"{2 * words} words: floating-point operations of matrix products; the longest chain of operations that wait "
                f"for one another, and how both grow with the length; and the steps from the first of {NEAR_ENOUGH} words to "
                "the last. The paper counts attention alone; a layer of ours has its projections and feed-forward network "
                "too, which grow with n and are most of it until sentences are about as long as vectors are wide.",
                f"每一对中，左边是论文表格对一层的说法，右边是这里在 {words} 与 {2 * words} 个词时数出的结果：矩阵乘法的浮点"
                f"运算数；必须依次等待的最长运算链；二者随长度的增长；以及从 {NEAR_ENOUGH} 个词的第一个到最后一个所经的步数。"
                "论文只计注意力本身；这里的一层还包括投影和前馈网络，它们随 n 增长，在句长接近向量宽度之前占大部分。",
            )
        ],
        [
            Table(
                Said("A layer of the encoder", "编码器的一层"),
                [
                    Said("System", "系统"),
                    Said("Operations", "运算量"),
                    Said("counted", "实测"),
                    Said("One after another", "顺序步数"),
                    Said("counted", "实测"),
                    Said("Longest path", "最长路径"),
                    Said("counted", "实测"),
                ],
                theory,
            ),
            Table(
                Said("Sizes", "规模"),
                [
                    Said("System", "系统"),
                    Said("Parameters", "参数"),
                    Said("without embeddings", "不计词嵌入"),
                    Said(
                        f"Operations a target token ({SENTENCE} words, forward)",
                        f"每个目标词元的运算量（{SENTENCE} 词，前向）",
                    ),
                ],
                sizes,
            ),
        ],
    )
