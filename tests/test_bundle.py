import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from sightline.bundle import Bundle, BundleConfig, load_bundle, named_weights, save_bundle
from sightline.bundle.stored import Stored
from sightline.bundle.weights import PRECISIONS
from sightline.data.tokenizers import Tokenizer, TokenizerSettings
from sightline.errors import BundleError
from sightline.models.build import build_model
from sightline.models.config import TransformerConfig

MODEL = TransformerConfig(d_model=16, n_heads=2, d_ff=32, n_encoder_layers=1, n_decoder_layers=1)


@pytest.fixture
def bundle() -> Bundle:
    lines = ["ein hund", "a dog", "the cat sat", "die katze"]
    tokenizer = Tokenizer.train(TokenizerSettings(vocab_size=60, min_frequency=1), lines, lines)
    model = build_model(MODEL, tokenizer.src_vocab_size, tokenizer.tgt_vocab_size).eval()
    return Bundle(BundleConfig(name="small", model=MODEL), model, tokenizer, "# small\n")


def test_a_bundle_comes_back_as_it_was_saved(bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(tmp_path / "b", bundle)
    loaded = load_bundle(tmp_path / "b")
    assert loaded.config == bundle.config and loaded.card == bundle.card
    assert loaded.tokenizer.to_json() == bundle.tokenizer.to_json()
    src = torch.tensor(loaded.tokenizer.encode_src(["the dog"]))
    tgt = torch.tensor([[1, 5, 6]])
    with torch.inference_mode():
        assert torch.equal(loaded.model(src, tgt), bundle.model(src, tgt))


def test_bf16_weights_take_half_the_room_and_load_as_float32(bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(tmp_path / "whole", bundle)
    save_bundle(tmp_path / "half", bundle, "bf16")
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    for name, p in load_bundle(tmp_path / "half").model.named_parameters():
        assert p.dtype == torch.float32
        torch.testing.assert_close(p, bundle.model.get_parameter(name), rtol=0.01, atol=1e-6)


def test_loading_draws_nothing_from_the_random_generator(bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(tmp_path, bundle)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    load_bundle(tmp_path)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("model.safetensors", b"", "damaged"),
        ("model.safetensors", None, "model.safetensors"),
        ("tokenizer.json", b"{}", "tokenizer.json"),
        ("config.toml", b"[model]\nd_modl = 3\n", "Did you mean"),
        ("config.toml", b"format = 99\n", "format 99"),
        (
            "config.toml",
            b"[model]\nd_model = 32\nn_heads = 2\nd_ff = 32\nn_encoder_layers = 1\nn_decoder_layers = 1\n",
            "not fit",
        ),
        ("config.toml", b"[model]\nd_model = 16\nn_heads = 2\nd_ff = 32\n", "not fit"),
    ],
)
def test_a_damaged_bundle_names_the_file(
    bundle: Bundle, tmp_path: Path, file: str, content: bytes | None, said: str
) -> None:
    save_bundle(tmp_path, bundle)
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(Exception, match=said) as error:
        load_bundle(tmp_path)
    assert "\n" not in str(error.value)


def test_a_missing_folder_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="sightline train"):
        load_bundle(tmp_path / "nothing")


def test_a_config_that_does_not_go_with_the_weights_takes_no_memory(bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(tmp_path, bundle)
    config = tmp_path / "config.toml"
    config.write_text(config.read_text().replace("d_ff = 32", "d_ff = 1000000000000"))
    with pytest.raises(BundleError, match=r"does not fit its config.toml: that describes"):
        load_bundle(tmp_path)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_tensors_are_read_one_by_one_as_float32(bundle: Bundle, tmp_path: Path, precision: str) -> None:
    save_bundle(tmp_path, bundle, precision)
    stored = load_bundle(tmp_path).stored
    assert stored is not None
    for name, weight in named_weights(bundle.model).items():
        expected = weight.to(PRECISIONS[precision]).float().numpy()
        assert stored.read(name).dtype == np.float32 and np.array_equal(stored.read(name), expected), name


def test_the_modules_are_made_when_they_are_asked_for_from_what_was_there_at_first(
    bundle: Bundle, tmp_path: Path
) -> None:
    save_bundle(tmp_path, bundle)
    loaded = load_bundle(tmp_path)
    assert loaded.stored is not None
    expected = {name: weight.clone() for name, weight in named_weights(bundle.model).items()}
    with torch.no_grad():
        for p in bundle.model.parameters():
            p.zero_()
    save_bundle(tmp_path, bundle)  # takes the place of the file
    (tmp_path / "model.safetensors").unlink()
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: loaded.model, range(4)))
    assert loaded.stored is None and all(each is made[0] for each in made) and not made[0].training
    for name, weight in named_weights(made[0]).items():
        assert torch.equal(weight, expected[name])


def test_a_model_that_only_its_modules_know_is_read_at_once_and_refused_as_the_others_are(
    bundle: Bundle, tmp_path: Path
) -> None:
    config = MODEL.model_copy(update={"attention": {"kind": "cosine", "length": 9}})
    sizes = bundle.tokenizer.src_vocab_size, bundle.tokenizer.tgt_vocab_size
    own = Bundle(BundleConfig(model=config), build_model(config, *sizes), bundle.tokenizer, "")
    save_bundle(tmp_path, own)
    assert load_bundle(tmp_path).stored is None
    save_bundle(tmp_path, Bundle(own.config, bundle.model, bundle.tokenizer, ""))
    with pytest.raises(BundleError, match=r"log_sharpness.* is in only one of the two"):
        load_bundle(tmp_path)


def test_a_file_of_other_numbers_or_one_that_is_cut_short_is_refused_when_it_is_loaded(
    bundle: Bundle, tmp_path: Path
) -> None:
    save_bundle(tmp_path, bundle)
    path = tmp_path / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-8])
    with pytest.raises(BundleError, match=r"model.safetensors is damaged"):
        load_bundle(tmp_path)
    size = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + size])
    header["decoder.0.ffn.up_proj.bias"]["dtype"] = "I32"
    changed = json.dumps(header).encode()
    path.write_bytes(len(changed).to_bytes(8, "little") + changed + whole[8 + size :])
    with pytest.raises(BundleError, match=r"decoder.0.ffn.up_proj.bias is I32, not F32, BF16, F16"):
        Stored(path)
