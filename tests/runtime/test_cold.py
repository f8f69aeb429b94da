"""A first translation does not wait for torch where the library does the work; the rest is there as soon as it is asked for."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sightline.bundle import Bundle, BundleConfig, load_bundle, save_bundle
from sightline.data.tokenizers import Tokenizer, TokenizerSettings
from sightline.decoding.settings import DecodingSettings
from sightline.models.build import build_model
from sightline.models.config import TransformerConfig
from sightline.models.sequence_to_sequence import AnyModel
from sightline.nn.cores import AttentionCore, masked_softmax
from sightline.nn.mask import Mask
from sightline.nn.norm import LayerNorm
from sightline.nn.position import Rotary, Sinusoidal
from sightline.runtime.modules import parts_of_modules
from sightline.runtime.native import Native, NotNative, native_library, parts_of, rotations, sinusoids
from sightline.runtime.prepared import Prepared, prepare
from sightline.runtime.translator import Translator

needs_library = pytest.mark.skipif(
    native_library() is None and os.environ.get("SIGHTLINE_NATIVE") != "required",
    reason="the extra `native` is not installed: make native",
)
SMALL = {"d_model": 16, "n_heads": 4, "d_ff": 24, "n_encoder_layers": 2, "n_decoder_layers": 2, "max_len": 20}
VARIANTS = {
    "as published": {},
    "norms first": {"norm_at": "pre", "norm": "rms", "bias": False},
    "rotary, grouped": {"position": "rotary", "n_kv_heads": 2, "feedforward": "swiglu"},
    "learned, single": {"position": "learned", "n_kv_heads": 1, "feedforward": "gelu", "output_bias": True},
    "cosine, nowhere": {"attention": "cosine", "position": "none", "tie_embeddings": False, "share_embeddings": False},
    "shared, not tied": {"tie_embeddings": False, "feedforward": "silu"},
    "tied, not shared": {"share_embeddings": False, "attention": {"kind": "dot"}},
}
TEXTS = ["abcab", "bca", "hgfedcba"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(TokenizerSettings(kind="char", vocab_size=20), ["abcdefgh"] * 3, ["abcdefgh"] * 3)


def made(tokenizer: Tokenizer, **settings: object) -> Bundle:
    torch.manual_seed(3)
    config = TransformerConfig.model_validate({**SMALL, **settings})
    model = build_model(config, tokenizer.src_vocab_size, tokenizer.tgt_vocab_size).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    decoding = DecodingSettings(beam=3, n_best=3, max_len_extra=4)
    return Bundle(BundleConfig(model=config, decoding=decoding), model, tokenizer, "")


def process(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments, *(["-c", code] if code else [])],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )


@needs_library
@pytest.mark.e2e
@pytest.mark.parametrize("options", [(), ("--precision", "fp32"), ("--beam", "1", "--n-best", "1", "--json")])
def test_the_command_translates_without_torch(options: tuple[str, ...]) -> None:
    run = process("", "-X", "importtime", "-m", "sightline", "translate", "I love you.", *options)
    imported = {line.rpartition("|")[2].strip() for line in run.stderr.splitlines()}
    assert "我爱" in run.stdout and "sightline.runtime.native" in imported
    assert not {name for name in imported if name.partition(".")[0] in ("torch", "sacrebleu", "rich")}


@needs_library
@pytest.mark.e2e
def test_python_translates_without_torch_until_something_asks_for_it() -> None:
    run = process(
        "import sys, sightline as sl\n"
        "translator = sl.load()\n"
        "texts = ['I love you.', 'Thank you.', ' ']\n"
        "first = translator(texts, 'de'), translator.beam('I love you.', 3, 'de')\n"
        "list(translator.stream(texts, 'de'))\n"
        "assert 'torch' not in sys.modules\n"
        "asked = translator('Thank you.', 'de', prefix='Danke')\n"
        "assert 'torch' in sys.modules and asked.startswith('Danke')\n"
        "assert sum(p.numel() for p in translator.model.parameters()) > 9_000_000\n"
        "assert translator.score(['I love you.'], ['Ich liebe dich.'], 'de')[0].score > -1\n"
        "assert (translator(texts, 'de'), translator.beam('I love you.', 3, 'de')) == first\n"
        "print(first[0])\n"
    )
    assert "Ich liebe dich." in run.stdout


@needs_library
@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_model_from_its_file_translates_as_the_same_one_from_its_modules(
    variant: str, precision: str, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    bundle = made(tokenizer, **VARIANTS[variant])
    save_bundle(tmp_path, bundle)
    loaded = load_bundle(tmp_path)
    translator = Translator(loaded, precision=precision)
    found = translator.translate(TEXTS)
    assert loaded.stored is not None and found == Translator(bundle, precision=precision).translate(TEXTS)
    assert loaded.model is translator.model  # now its modules are what counts
    assert Translator(loaded, precision=precision).translate(TEXTS) == found


@needs_library
@pytest.mark.parametrize("variant", VARIANTS)
def test_modules_are_read_as_the_settings_that_made_them(variant: str, tokenizer: Tokenizer) -> None:
    bundle = made(tokenizer, **VARIANTS[variant])
    found, said = parts_of_modules(bundle.model).config.model_dump(), bundle.config.model.model_dump()
    said["n_kv_heads"] = said["n_kv_heads"] or said["n_heads"]
    said["attention"] = said["attention"]["kind"] if isinstance(said["attention"], dict) else said["attention"]
    assert {key: found[key] for key in said if "dropout" not in key} == {
        key: value for key, value in said.items() if "dropout" not in key
    }


class Sharp(AttentionCore):
    """A user's own attention."""

    def weights(self, q: torch.Tensor, k: torch.Tensor, mask: Mask) -> torch.Tensor:
        return masked_softmax(3.0 * q @ k.mT, mask)


def _core(model: AnyModel) -> None:
    for block in model.decoder:
        block.self_attn.core = Sharp()


def _eps(model: AnyModel) -> None:
    next(iter(model.encoder)).ffn_norm = LayerNorm(16, eps=0.1)


def _sines(model: AnyModel) -> None:
    position = model.src_embed.position
    assert isinstance(position, Sinusoidal)
    position.table = position.table.flip(0)


def _scale(model: AnyModel) -> None:
    model.tgt_embed.scale = 1.0


def _order(model: AnyModel) -> None:
    next(iter(model.decoder)).norm_at = "pre"


def _wider(model: AnyModel) -> None:
    next(iter(model.decoder)).ffn = type(next(iter(model.decoder)).ffn)(16, 40)  # pyright: ignore[reportCallIssue]


CHANGES = {
    "Sharp": _core,
    "eps = 0.1": _eps,
    "other sines": _sines,
    "another scale": _scale,
    "different kinds": _order,
    "kinds in one model": _wider,
}


@needs_library
@pytest.mark.parametrize("said", CHANGES)
def test_modules_that_were_changed_by_hand_are_not_taken_for_what_their_settings_say(
    said: str, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    save_bundle(tmp_path, made(tokenizer))
    bundle = load_bundle(tmp_path)
    CHANGES[said](bundle.model)
    with pytest.raises(NotNative, match=said):
        parts_of(bundle)
    translator = Translator(bundle, precision="fp32")
    assert isinstance(translator.searched, Prepared)
    assert [best[0].text for best in translator.translate(TEXTS)] == translator(TEXTS)


@needs_library
def test_a_change_that_settings_could_say_is_followed(tokenizer: Tokenizer) -> None:
    bundle = made(tokenizer)
    before = Translator(bundle, precision="fp32").translate(TEXTS)
    for block in (*bundle.model.encoder, *bundle.model.decoder):
        block.ffn.activation = torch.nn.functional.gelu  # pyright: ignore
    translator = Translator(bundle, precision="fp32")
    assert isinstance(translator.searched, Native) and translator.searched.parts.config.feedforward == "gelu"
    found = translator.translate(TEXTS)
    plain = Translator(bundle, precision="fp32")
    plain.searched = prepare(bundle.model, "fp32")
    assert [best[0].hypothesis.tokens for best in found] == [
        best[0].hypothesis.tokens for best in plain.translate(TEXTS)
    ]
    assert found != before


@pytest.mark.parametrize(("size", "heads"), [(16, 4), (36, 3), (512, 8)])
def test_the_tables_of_positions_are_those_of_the_modules(size: int, heads: int) -> None:
    ours, theirs = sinusoids(700, size), Sinusoidal(size, 700, heads).table.numpy()
    assert ours.dtype == theirs.dtype and ours.flags.c_contiguous
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=6e-8)
    np.testing.assert_allclose(rotations(700, size // heads), Rotary(size, 700, heads).angles, rtol=0, atol=6e-8)


SAID = {
    "nothing": {},
    "one": {"OMP_NUM_THREADS": "1"},
    "more than there are": {"OMP_NUM_THREADS": "800"},
    "nested": {"OMP_NUM_THREADS": "1,2"},
    "nonsense": {"OMP_NUM_THREADS": "many"},
    "both": {"MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": "2"},
}


@pytest.mark.e2e
@pytest.mark.parametrize("said", SAID)
def test_as_many_threads_as_torch_would_take(said: str) -> None:
    run = process(
        "from sightline.runtime.threads import processor_threads\n"
        "ours = processor_threads()\n"
        "import torch\n"
        "assert ours == torch.get_num_threads(), (ours, torch.get_num_threads())\n"
        "torch.set_num_threads(3)\n"
        "assert processor_threads() == 3\n",
        **{"OMP_NUM_THREADS": "", "MKL_NUM_THREADS": "", **SAID[said]},
    )
    assert run.stdout == ""


def test_a_core_counts_once_and_torch_half_imported_is_not_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from sightline.runtime import threads

    for number, siblings in enumerate(("0,2", "1,3", "0,2", "1,3")):
        folder = tmp_path / f"cpu{number}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{siblings}\n")
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())  # pyright: ignore[reportArgumentType]
    monkeypatch.setattr(threads, "TOPOLOGY", tmp_path)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for allowed, cores in (({0, 1, 2, 3}, 2), ({0, 2}, 1), ({1, 2}, 2), ({0, 7}, 2)):
        monkeypatch.setattr(threads, "_allowed", lambda allowed=allowed: allowed)
        assert threads.processor_threads() == cores
