import pytest

from sightline.errors import ConfigError
from sightline.models.config import RecurrentConfig
from sightline.training.recipe import read_recipe


@pytest.mark.parametrize("name", ["multi30k-en-de-conv", "multi30k-en-de-gru"])
def test_packed_rows_are_refused_for_models_that_take_one_sentence_a_row(name: str) -> None:
    with pytest.raises(ConfigError, match=r"train\.compile = true packs .* takes one: leave train\.compile out"):
        read_recipe(name, ["train.compile=true"])
    assert not read_recipe(name).train.compile and read_recipe("copy", ["train.compile=true"]).train.compile


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("model.kind=recurent", "model.kind = \"recurent\" is not one of encoder-decoder, recurrent, convolutional. "
         "Did you mean 'recurrent'?"),
        ("model.kind=recurrent", "model.d_ff is not a setting. It is one of another kind of model: leave it out, or, where it "
         "stands in a recipe, give the whole table on the command line, as in 'model={kind=\"...\", ...}'."),
        ('model={kind="recurrent", cel="gru"}', "model.cel is not a setting. Did you mean 'model.cell'?"),
        ("model=3", "model = 3 is not a table of settings"),
    ],
)  # fmt: skip
def test_a_setting_of_another_family_is_told(setting: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_recipe("copy", [setting])
    assert said in str(caught.value)


def test_a_recipe_may_be_given_another_model() -> None:
    model = read_recipe("copy", ['model={kind="recurrent", d_model=64}', "model.cell=lstm"]).model
    assert isinstance(model, RecurrentConfig) and (model.d_model, model.cell) == (64, "lstm")
