import torch

from sightline.nn.mask import EVERYTHING, HIDDEN, Mask

CPU = torch.device("cpu")


def test_no_tensor_is_made_where_everything_may_be_seen() -> None:
    assert EVERYTHING.allowed(3, 4, CPU) is None


def test_causal_is_the_triangle_and_an_offset_moves_it() -> None:
    whole = Mask(causal=True).allowed(4, 4, CPU)
    later = Mask(causal=True, offset=2).allowed(2, 4, CPU)
    assert whole is not None and later is not None
    assert torch.equal(whole[0, 0], torch.ones(4, 4).tril().bool())
    assert torch.equal(later[0, 0], whole[0, 0, 2:])


def test_parts_combine_with_and() -> None:
    keys = torch.tensor([[True, False, True]])
    pairs = torch.ones(1, 1, 3, 3, dtype=torch.bool)
    pairs[..., 0] = False
    made = Mask(causal=True, keys=keys, pairs=pairs).allowed(3, 3, CPU)
    assert made is not None
    assert made[0, 0].tolist() == [[False] * 3, [False] * 3, [False, False, True]]


def test_a_window_reaches_both_ways_unless_it_is_causal() -> None:
    both, back = Mask(window=2).allowed(4, 4, CPU), Mask(window=2, causal=True).allowed(4, 4, CPU)
    assert both is not None and back is not None
    assert both[0, 0, 1].tolist() == [True, True, True, False]
    assert back[0, 0, 1].tolist() == [True, True, False, False]


def test_the_tensor_is_made_once_for_all_layers() -> None:
    mask = Mask(causal=True)
    assert mask.allowed(3, 3, CPU) is mask.allowed(3, 3, CPU)


def test_the_table_holds_the_bias_where_one_may_look_and_hides_the_rest() -> None:
    bias = torch.arange(6.0).view(1, 1, 2, 3)
    table = Mask(causal=True, offset=1, bias=bias).table(2, 3, 5, CPU)
    assert table is not None
    assert table[0, 0].tolist() == [[0.0, 1.0, HIDDEN, HIDDEN, HIDDEN], [3.0, 4.0, 5.0, HIDDEN, HIDDEN]]


def test_there_is_no_table_where_everything_may_be_seen_and_one_for_all_queries_where_only_columns_are_added() -> None:
    assert EVERYTHING.table(4, 20, 20, CPU) is None
    assert EVERYTHING.table(4, 7, 16, CPU) is EVERYTHING.table(9, 7, 16, CPU)


def test_who_sees_nothing_is_said_only_where_somebody_does() -> None:
    pairs = torch.tensor([[True, False], [True, True]])[None, None]
    assert Mask(pairs=pairs).seeing(2, 2, CPU) is None
    assert Mask(causal=True).seeing(2, 2, CPU) is None
    blind = Mask(pairs=pairs.roll(1, 2) & ~pairs).seeing(2, 2, CPU)
    assert blind is not None and blind[0, 0, :, 0].tolist() == [True, False]
