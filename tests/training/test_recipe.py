import pytest

from sightline.errors import ConfigError
from sightline.training.recipe import read_recipe


@pytest.mark.parametrize("name", ["multi30k-en-de-conv", "multi30k-en-de-gru"])
def test_packed_rows_are_refused_for_models_that_take_one_sentence_a_row(name: str) -> None:
    with pytest.raises(ConfigError, match=r"train\.compile = true packs .* takes one: leave train\.compile out"):
        read_recipe(name, ["train.compile=true"])
    assert not read_recipe(name).train.compile and read_recipe("copy", ["train.compile=true"]).train.compile
