import pytest
import torch
from jaxtyping import TypeCheckError

from sightline.nn.heads import VocabularyHead


def test_the_shapes_written_in_signatures_are_checked_where_that_is_asked_for(pytestconfig: pytest.Config) -> None:
    if not pytestconfig.getoption("--jaxtyping-packages"):
        pytest.skip("shapes are checked in the second part of `make test`")
    head = VocabularyHead(vocab_size=10, d_model=4)
    with pytest.raises(TypeCheckError, match="targets"):
        head.loss(torch.zeros(6, 4), torch.zeros(5, dtype=torch.int64))
