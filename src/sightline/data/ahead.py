"""Items made beside the work on those before them."""

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")

_END = object()


def ahead(items: Iterable[Item], prepare: Callable[[Item], Made], depth: int = 2) -> Generator[Made, None, None]:
    """`prepare(item)` of each item, in order, made in a thread of its own, at most `depth` before they are asked for.

    What is raised there is raised here, when its turn comes. The thread ends with the generator, also when that is closed early.
    """
    made: queue.Queue[object] = queue.Queue(depth)
    closed = threading.Event()
    failed: list[BaseException] = []

    def put(thing: object) -> None:
        while not closed.is_set():
            try:
                return made.put(thing, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                if closed.is_set():
                    return
                put(prepare(item))
        except BaseException as error:
            failed.append(error)
        put(_END)

    thread = threading.Thread(target=work, name="batches", daemon=True)
    thread.start()
    try:
        while (thing := made.get()) is not _END:
            yield thing  # pyright: ignore[reportReturnType]
        if failed:
            raise failed[0]
    finally:
        closed.set()
        thread.join()
