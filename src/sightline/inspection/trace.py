"""What attention looks at while a model runs, seen from outside: the model does not know of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from sightline.inspection.recorder import Recorder
from sightline.nn.cores import AttentionCore


class Trace(dict[str, Tensor]):
    """Attention weights [b, h, tq, tk] by the address of the attention they belong to, such as "decoder.2.cross_attn": those of
    the last time it ran, and in a recurrent layer, which asks once a step, those of all steps of the last time the layer ran.
    """


@contextmanager
def trace(model: nn.Module, pattern: str = "*") -> Iterator[Trace]:
    """Watch every attention whose address fits the pattern, as in "decoder.*.cross_attn".

    Each core is asked for its `weights` beside its `forward`, which may be a faster way to the same result and is left as it is:
    outputs are the same, bit for bit.

    Raises ValueError if no attention fits, as in a model that has none.
    """
    seen = Trace()
    cores = {
        name.removesuffix(".core"): module
        for name, module in model.named_modules()
        if isinstance(module, AttentionCore) and fnmatchcase(name.removesuffix(".core"), pattern)
    }
    if not cores:
        raise ValueError(f"no attention of the model has an address like {pattern!r}")
    recorder = Recorder(model, seen)

    def watch(address: str) -> Any:
        def before(core: AttentionCore, given: tuple[Any, ...]) -> None:
            q, k, _, mask = given
            with torch.no_grad():
                recorder.keep(address, core.weights(q, k, mask), along=2)

        return before

    recorder.handles += [core.register_forward_pre_hook(watch(address)) for address, core in cores.items()]
    try:
        yield seen
    finally:
        recorder.close()
