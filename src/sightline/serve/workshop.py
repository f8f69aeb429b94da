"""The models that are explored and the captures of them. One thread does all the work, so that a model has one owner.

torch is imported by that thread and by nothing else here: the page is served before it is there.
"""

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sightline.errors import ConfigError, UserError, out_of_memory
from sightline.inspection.pack import arrays
from sightline.serve.opening import Opening, read_opening
from sightline.serve.packs import named, packed
from sightline.serve.schema import TOPK, Refusal, RunRequest

if TYPE_CHECKING:
    from torch import Tensor

    from sightline.bundle import Bundle
    from sightline.inspection.capture import Capture
    from sightline.inspection.manifest import ModelInfo

HELD = 256 << 20
"""Bytes of captures that are kept; the newest one is kept whatever its size."""
WAITING = 32
"""Requests that wait for the thread, at most."""
WEIGHTS = 64 << 20
"""Bytes of weights in one reply, at most."""
BUILTIN = Path(__file__).resolve().parent.parent / "builtin"
BUILTIN_NAME = "built-in"
SAMPLES = {"en": "I love you.", "zh": "我爱你。", "de": "Ich liebe dich.", "fr": "Je t'aime."}
"""A sentence that a page opens with, by the language of the source."""
Found = TypeVar("Found")


@dataclass
class Served:
    """A model that is explored."""

    name: str
    bundle: "Bundle"
    sha256: str
    info: "ModelInfo"

    @property
    def languages(self) -> list[str]:
        """Its target languages, where it has several to choose from."""
        return list(self.bundle.tokenizer.tags)

    def sample(self) -> dict[str, str]:
        """A sentence in the language of the source, and what to translate it to."""
        from sightline.runtime.translator import target_tag

        config = self.bundle.config
        src = SAMPLES.get(config.src_lang.partition("-")[0]) or self._own_words()
        tags = self.languages
        try:
            to = config.tgt_lang if config.tgt_lang in tags else target_tag(self.bundle, src, None)
        except ConfigError:
            to = tags[0]
        return {"src": src, "to": to}

    def _own_words(self) -> str:
        """Some text of the vocabulary's own, where no language is known."""
        tokenizer = self.bundle.tokenizer
        first = len(tokenizer.tags) + 4
        return tokenizer.decode_src(range(first, min(first + 4, tokenizer.src_vocab_size))) or "a"

    def shown(self) -> dict[str, Any]:
        """As `/api/v1/models` says it."""
        config = self.bundle.config
        return {
            "info": asdict(self.info),
            "languages": self.languages,
            "src_lang": config.src_lang,
            "tgt_lang": config.tgt_lang,
            "sample": self.sample(),
            "card": self.bundle.card,
        }


class Workshop:
    """Models by name, and captures by id."""

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        """`folders` hold trained models; without any the one that comes with sightline is explored."""
        self.folders = dict(_named(folders))
        self.opening: Opening | None = None
        """What can be said while the thread still loads torch and the model; None once it can answer itself."""
        if not folders:
            self.opening = read_opening(BUILTIN, BUILTIN_NAME)
        self._served: dict[str, Served] = {}
        self._runs: OrderedDict[str, Capture] = OrderedDict()
        self._thread = ThreadPoolExecutor(1, "model")
        self._waiting = 0
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def begin(self) -> "Future[None]":
        """Have torch, the models and what a page opens with ready soon: nobody need wait for it."""
        return self._thread.submit(self._ready)

    def close(self) -> None:
        """Let the thread end; what waits is dropped, and a search ends at its next step."""
        self._closed.set()
        self._thread.shutdown(wait=False, cancel_futures=True)

    @property
    def closed(self) -> bool:
        """Whether nothing is done any more."""
        return self._closed.is_set()

    def submit(self, work: Callable[..., Found], *given: Any) -> "Future[Found]":
        """Have something done in the thread. Raises Refusal if too much waits already."""
        with self._lock:
            if self._waiting >= WAITING:
                raise Refusal(409, "busy", waiting=self._waiting)
            self._waiting += 1
        future = self._thread.submit(self._guarded, work, *given)
        future.add_done_callback(self._done)
        return future

    def _done(self, _: object) -> None:
        with self._lock:
            self._waiting -= 1

    def _guarded(self, work: Callable[..., Found], *given: Any) -> Found:
        """What goes wrong by the request's fault, or for want of memory, is refused; other errors are faults of ours."""
        from sightline.inspection.capture import CaptureError

        try:
            return work(*given)
        except CaptureError as error:
            status = 413 if error.code.endswith("_too_long") else 422
            raise Refusal(status, error.code, **error.values) from error
        except UserError as error:
            raise Refusal(422, "refused", message=str(error)) from error
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            raise Refusal(413, "out_of_memory") from error

    # Everything below is done in the thread.

    def _ready(self) -> None:
        self._all_served()
        with suppress(Refusal, UserError):  # whoever asks for it is told
            self.run(self.first_request())
        self.opening = None

    def first_request(self) -> RunRequest:
        """What a page asks for that was not told what to show."""
        first, *_ = self._all_served()
        sample = first.sample()
        return RunRequest(model=first.name, src=sample["src"], to=sample["to"] or None)

    def models(self) -> dict[str, Any]:
        """The reply of `/api/v1/models`."""
        from sightline.inspection.capture import BEAM, SRC_TOKENS, TGT_TOKENS

        return {
            "models": [each.shown() for each in self._all_served()],
            "limits": {"src_tokens": SRC_TOKENS, "tgt_tokens": TGT_TOKENS, "beam": BEAM, "topk": TOPK},
            "version": version("sightline"),
        }

    def _all_served(self) -> list[Served]:
        return [self.served(name) for name in self.folders]

    def served(self, name: str) -> Served:
        """A model by its name. Raises Refusal if there is none."""
        if name not in self.folders:
            raise Refusal(404, "unknown_model", name=name[:100], known=", ".join(self.folders))
        if name not in self._served:
            import torch

            from sightline.bundle import load_bundle
            from sightline.inspection.capture import model_info, weights_sha256

            torch.set_num_threads(1)  # the operations of one sentence are too small to be shared
            bundle = load_bundle(self.folders[name])
            sha256 = weights_sha256(bundle.model)
            self._served[name] = Served(name, bundle, sha256, model_info(bundle, name, sha256))
        return self._served[name]

    def run(self, asked: RunRequest) -> tuple["Capture", bool]:
        """The capture that is asked for, and whether it is new."""
        from sightline.inspection.capture import Request, capture

        served = self.served(asked.model)
        request = Request(
            model=asked.model,
            src=asked.src,
            tgt=asked.tgt,
            to=_target(served, asked),
            method=asked.decode.method,
            beam=asked.decode.beam,
            length_penalty=asked.decode.length_penalty,
            prefix=tuple(asked.decode.prefix),
        )
        known = self._runs.get(request.id(served.bundle, served.sha256))
        if known is not None:
            self._runs.move_to_end(known.manifest.id)
            return known, False
        found = capture(served.bundle, request, sha256=served.sha256, info=served.info, interrupted=self._closed.is_set)
        self._runs[found.manifest.id] = found
        while len(self._runs) > 1 and sum(each.nbytes for each in self._runs.values()) > HELD:
            self._runs.popitem(last=False)
        return found, True

    def capture(self, id: str) -> "Capture":
        """A capture that was made before. Raises Refusal if it is gone."""
        if id not in self._runs:
            raise Refusal(404, "run_gone", id=id[:32])
        self._runs.move_to_end(id)
        return self._runs[id]

    def pack(self, id: str, names: Sequence[str], dtype: str, pool: int | None) -> bytes:
        """Tensors of a capture as safetensors."""
        return packed(arrays(self.capture(id).tensors), names, dtype, pool)

    def weights(self, name: str, names: Sequence[str]) -> bytes:
        """Parameters of a model as safetensors, float32; one that is shared is given under any of its names."""
        from safetensors.torch import save

        found = named(self.parameters(name), names)
        size = sum(4 * each.numel() for each in found.values())
        if size > WEIGHTS:
            raise Refusal(413, "reply_too_large", bytes=size, limit=WEIGHTS)
        return save({each: tensor.float().clone() for each, tensor in found.items()})

    def parameters(self, name: str) -> "dict[str, Tensor]":
        """Every parameter of a model under every name that it has."""
        model = self.served(name).bundle.model
        return {each: weight.detach() for each, weight in model.named_parameters(remove_duplicate=False)}


def _target(served: Served, asked: RunRequest) -> str:
    from sightline.runtime.translator import target_tag

    try:
        return target_tag(served.bundle, asked.src, asked.to or None)
    except ConfigError as error:
        known = ", ".join(served.languages) or served.bundle.config.tgt_lang
        if asked.to:
            raise Refusal(422, "unknown_language", to=asked.to, known=known) from error
        raise Refusal(422, "language_needed", known=known) from error


def _named(folders: Sequence[Path]) -> list[tuple[str, Path]]:
    """A name for each folder, no two alike."""
    if not folders:
        return [(BUILTIN_NAME, BUILTIN)]
    found: dict[str, Path] = {}
    for folder in folders:
        stem = name = Path(folder).resolve().name or "model"
        number = 1
        while name in found:
            number += 1
            name = f"{stem}-{number}"
        found[name] = Path(folder)
    return list(found.items())


def complain(error: BaseException) -> None:
    """An error of our own, on the terminal."""
    import traceback

    traceback.print_exception(error, file=sys.stderr)
