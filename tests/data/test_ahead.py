import threading
from collections.abc import Iterator

import pytest

from sightline.data.ahead import ahead


def test_items_come_in_order_and_prepared() -> None:
    assert list(ahead(range(50), lambda n: n * n)) == [n * n for n in range(50)]


def test_they_are_made_before_they_are_asked_for_but_not_far_before() -> None:
    made: list[int] = []
    fifth = threading.Event()

    def prepare(n: int) -> int:
        made.append(n)
        if n == 4:
            fifth.set()
        return n

    items = ahead(range(100), prepare, depth=3)
    assert next(items) == 0
    assert fifth.wait(10)  # one taken, three held, one waiting to be put
    items.close()  # waits for the thread, which has made nothing more
    assert made == [0, 1, 2, 3, 4]


def test_what_is_raised_comes_after_the_items_before_it() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("line 2")

    items = ahead(broken(), lambda n: n)
    assert next(items) == 1
    with pytest.raises(ValueError, match="line 2"):
        next(items)


def test_the_thread_ends_when_the_generator_is_closed() -> None:
    items = ahead(iter(int, 1), lambda n: n)
    next(items)
    assert any(thread.name == "batches" for thread in threading.enumerate())
    items.close()
    assert not any(thread.name == "batches" for thread in threading.enumerate())
