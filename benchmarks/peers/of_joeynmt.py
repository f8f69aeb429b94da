"""JoeyNMT's Transformer with its own loss, which also counts the tokens that were right."""

from types import SimpleNamespace
from typing import Any

import torch
from joeynmt.model import build_model
from joeynmt.vocabulary import Vocabulary
from worker import Batch, Plain, Sizes


def make(sizes: Sizes, precision: str, variant: str) -> Plain:
    special = {sizes.pad_id: "<pad>", sizes.bos_id: "<s>", sizes.eos_id: "</s>"}
    unk_id = min(set(range(4)) - set(special))
    special[unk_id] = "<unk>"
    names = SimpleNamespace(
        unk_token="<unk>", pad_token="<pad>", bos_token="<s>", eos_token="</s>", sep_token=None, lang_tags=[],
        unk_id=unk_id, pad_id=sizes.pad_id, bos_id=sizes.bos_id, eos_id=sizes.eos_id, sep_id=None,
    )  # fmt: skip
    vocabulary = Vocabulary.__new__(Vocabulary)
    vocabulary.specials, vocabulary.lang_tags = [special[i] for i in range(4)], []
    vocabulary._itos = [special.get(i, f"token{i}") for i in range(sizes.vocab_size)]
    vocabulary._stoi = {token: i for i, token in enumerate(vocabulary._itos)}
    for role in ("pad", "bos", "eos", "unk"):
        setattr(vocabulary, f"{role}_index", getattr(names, f"{role}_id"))
    vocabulary.sep_index = None
    side: dict[str, Any] = {
        "type": "transformer",
        "num_layers": sizes.n_layers,
        "num_heads": sizes.n_heads,
        "embeddings": {"embedding_dim": sizes.d_model, "scale": True, "dropout": sizes.dropout},
        "hidden_size": sizes.d_model,
        "ff_size": sizes.d_ff,
        "dropout": sizes.dropout,
        "layer_norm": "post",
    }
    model = build_model(
        {"encoder": side, "decoder": dict(side), "tied_embeddings": True, "tied_softmax": True}, vocabulary, vocabulary
    )
    model.loss_function = ("crossentropy", sizes.label_smoothing)

    def loss(batch: Batch) -> torch.Tensor:
        src, tgt, out = batch["src"], batch["tgt_in"], batch["tgt_out"]
        lengths = (src != sizes.pad_id).sum(1)
        found = model(
            return_type="loss",
            src=src,
            src_length=lengths,
            src_mask=(src != sizes.pad_id).unsqueeze(1),
            trg_input=tgt,
            trg=out,
            trg_mask=(out != sizes.pad_id).unsqueeze(1),
        )
        return found[0]

    return Plain(model, loss, precision)
