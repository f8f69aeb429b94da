import torch

from sightline.nn.mask import EVERYTHING, Mask

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
