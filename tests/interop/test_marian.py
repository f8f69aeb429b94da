"""A Marian model as Hugging Face saves it, read and run here: the same tokens in, the same tokens out."""

import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sightline.bundle import load_bundle, save_bundle
from sightline.errors import BundleError, ConfigError
from sightline.interop.marian import import_marian
from sightline.runtime.translator import Translator

transformers = pytest.importorskip("transformers", reason="Hugging Face transformers is a development extra")
sentencepiece = pytest.importorskip("sentencepiece", reason="SentencePiece is a development extra")
WORDS = """the a red big old young small dog cat house garden runs sees eats sleeps in near under tree river (small) 12 345
isn't well-known strange brother sister yesterday tomorrow never always quickly""".split()  # noqa: SIM905
WOERTER = """der die ein rote große alte junge kleine Hund Katze Häuser Garten läuft sieht frisst schläft in nahe unter Bäumen
Fluss (klein) 12 345 seltsam Bruder Schwester gestern morgen niemals immer schnell""".split()  # noqa: SIM905


def sentences(words: Sequence[str], count: int, seed: int) -> list[str]:
    numbers = random.Random(seed)
    return [
        " ".join(numbers.choices(words, k=numbers.randint(2, 9))) + numbers.choice((".", "!", " ?", ""))
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random model with SentencePiece vocabularies of two sides, as published ones have them."""
    path = tmp_path_factory.mktemp("marian")
    names: dict[str, None] = {"</s>": None, "<unk>": None, ">>deu<<": None, ">>nld<<": None}
    for side, words in (("source", WORDS), ("target", WOERTER)):
        (path / f"{side}.txt").write_text("".join(f"{line}\n" for line in sentences(words, 2000, 1)))
        sentencepiece.SentencePieceTrainer.train(
            input=str(path / f"{side}.txt"),
            model_prefix=str(path / side),
            vocab_size=64,
            character_coverage=1.0,
            minloglevel=2,
        )
        (path / f"{side}.model").rename(path / f"{side}.spm")
        model = sentencepiece.SentencePieceProcessor(model_file=str(path / f"{side}.spm"))
        names.update(dict.fromkeys(model.id_to_piece(i) for i in range(3, model.get_piece_size())))
    names["<pad>"] = None
    (path / "vocab.json").write_text(json.dumps({name: i for i, name in enumerate(names)}))
    (path / "tokenizer_config.json").write_text(json.dumps({"source_lang": "en", "target_lang": "de"}))
    torch.manual_seed(2)
    config = transformers.MarianConfig(
        vocab_size=len(names),
        d_model=32,
        encoder_layers=2,
        decoder_layers=3,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        activation_function="swish",
        scale_embedding=True,
        max_position_embeddings=128,
        pad_token_id=len(names) - 1,
        eos_token_id=0,
        decoder_start_token_id=len(names) - 1,
        forced_eos_token_id=None,
        init_std=0.3,
    )
    model = transformers.MarianMTModel(config).eval()
    model.final_logits_bias.normal_(0.0, 0.5)
    model.save_pretrained(path)
    return path


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(folder, tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
def test_text_becomes_the_same_tokens(folder: Path) -> None:
    theirs = transformers.MarianTokenizer(
        str(folder / "source.spm"),
        str(folder / "target.spm"),
        str(folder / "vocab.json"),
        source_lang="en",
        target_lang="de",
    )
    ours = import_marian(folder).tokenizer
    assert ours.tags == ("deu", "nld")
    names: dict[str, int] = json.loads((folder / "vocab.json").read_text())
    special = {"</s>": 2, "<unk>": 3, ">>deu<<": 4, ">>nld<<": 5, "<pad>": 0}
    numbers = {names[name]: i for name, i in special.items()}
    numbers |= {old: 6 + k for k, old in enumerate(sorted(i for name, i in names.items() if name not in special))}
    for text in [*sentences(WORDS, 200, 7), "Ünknown zeichen: 你好", "ﬁne  blanks", ">>nld<< the dog"]:
        expected = [numbers[i] for i in theirs(text)["input_ids"]]
        to, plain = ("nld", text.removeprefix(">>nld<< ")) if text.startswith(">>") else ("", text)
        assert ours.encode_src([plain], to)[0] == expected, text
    for text in sentences(WOERTER, 100, 8):
        ids = ours.encode_tgt([text])[0]
        assert ids == [numbers[i] for i in theirs(text_target=text)["input_ids"]]
        assert ours.decode_tgt(ids) == text


@torch.no_grad()
def test_it_translates_the_same(folder: Path, tmp_path: Path) -> None:
    theirs = transformers.MarianMTModel.from_pretrained(folder).eval()
    save_bundle(tmp_path / "ours", import_marian(folder))
    bundle = load_bundle(tmp_path / "ours")
    assert (bundle.config.src_lang, bundle.config.tgt_lang) == ("en", "de")
    translator, pad = Translator(bundle, precision="fp32"), theirs.config.pad_token_id
    names = json.loads((folder / "vocab.json").read_text())
    rows = [pad, pad, 0, 1, 2, 3, *sorted(i for name, i in names.items() if i > 3 and i != pad)]
    for text in sentences(WORDS, 12, 9):
        ids = torch.tensor([[rows[i] for i in bundle.tokenizer.encode_src([text], "deu")[0]]])
        out = theirs.generate(input_ids=ids, num_beams=1, do_sample=False, max_new_tokens=15, bad_words_ids=[[pad]])
        out = out[0, 1:].tolist()
        out = out[: out.index(0)] if 0 in out else out
        [[best]] = translator.translate([text], "deu", beam=1, max_len_ratio=0.0, max_len_extra=15)
        assert [rows[i] for i in best.hypothesis.tokens] == out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "bart"}, "of type 'bart'"),
        ({"activation_function": "tanh"}, "activation_function = 'tanh'"),
        ({"scale_embedding": False}, "scale_embedding = False"),
        ({"share_encoder_decoder_embeddings": False}, "share_encoder_decoder_embeddings"),
        ({"decoder_attention_heads": 2}, "decoder_attention_heads = 2"),
        ({"d_model": 64}, "does not fit config.json"),
    ],
)
def test_what_cannot_be_carried_over_is_named(copy: Path, change: dict[str, Any], words: str) -> None:
    content = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**content, **change}))
    with pytest.raises((ConfigError, BundleError), match=words):
        import_marian(copy)


def test_what_is_missing_or_damaged_is_named(copy: Path) -> None:
    tensors = load_file(copy / "model.safetensors")
    save_file({name: x for name, x in tensors.items() if "layers.1.fc1" not in name}, copy / "model.safetensors")
    with pytest.raises(BundleError, match=r"has no model.encoder.layers.1.fc1.weight"):
        import_marian(copy)
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(BundleError, match=r"pytorch_model.bin, a pickle"):
        import_marian(copy)
    (copy / "target.spm").write_bytes(b"nonsense")
    with pytest.raises(BundleError, match=r"target.spm is missing or no SentencePiece model"):
        import_marian(copy)
    (copy / "config.json").write_text("{")
    with pytest.raises(BundleError, match=r"config.json is damaged"):
        import_marian(copy)
