"""What a run writes down as it goes: `log.jsonl`, and TensorBoard curves if that package is installed."""

import contextlib
import json
from pathlib import Path
from typing import Any

from sightline.files import explain_os_errors, write_atomically


class Recorder:
    """One line of JSON per event in `folder/log.jsonl`, and its figures as curves in `folder/tensorboard`.

    After a resume the lines of steps that will be taken again are dropped, so that the log tells one straight story.
    """

    def __init__(self, folder: Path, step: int, tensorboard: bool) -> None:
        self.path = folder / "log.jsonl"
        if self.path.exists():
            kept = [line for line in self.path.read_text(encoding="utf-8").splitlines() if _step(line) <= step]
            write_atomically(self.path, "".join(f"{line}\n" for line in kept))
        self._writer: Any = None
        if tensorboard:
            with contextlib.suppress(ImportError):
                from torch.utils.tensorboard import SummaryWriter

                self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def write(self, event: str, step: int, figures: dict[str, Any]) -> None:
        """Append an event; numbers among the figures also become curves."""
        with explain_os_errors(self.path, doing="write the log"), open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"event": event, "step": step, **figures}, ensure_ascii=False) + "\n")
        if self._writer is not None:
            for name, value in figures.items():
                if isinstance(value, (int, float)) and not isinstance(value, bool):
                    self._writer.add_scalar(f"{event}/{name}", value, step)

    def close(self) -> None:
        """Flush the curves."""
        if self._writer is not None:
            self._writer.close()


class Silent(Recorder):
    """Of a process that is not the first: writes nothing."""

    def __init__(self) -> None:
        self._writer = None

    def write(self, event: str, step: int, figures: dict[str, Any]) -> None:  # noqa: D102
        pass


def _step(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return 1 << 62
