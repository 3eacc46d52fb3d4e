"""Items that are made ahead: how many, in which order, and what becomes of the thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from reconciler.ahead import ahead
from reconciler.errors import Fatal


def test_one_item_is_made_ahead_and_no_more() -> None:
    made: list[int] = []
    ready = threading.Event()

    def source() -> Iterator[int]:
        for number in range(10):
            made.append(number)
            if number == 1:
                ready.set()
            yield number

    items = ahead(source())
    assert next(items) == 0
    assert ready.wait(60)
    assert made == [0, 1]
    items.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "ahead"]


def test_no_more_items_are_made_than_may_wait() -> None:
    made: list[int] = []
    ready = threading.Event()

    def source() -> Iterator[int]:
        for number in range(9):
            made.append(number)
            if number == 3:
                ready.set()
            yield number

    items = ahead(source(), 3)
    assert next(items) == 0
    assert ready.wait(60)
    assert made == [0, 1, 2, 3]
    items.close()


def test_an_error_ahead_is_raised_where_the_item_would_have_been() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise Fatal("broken")

    items = ahead(source())
    assert next(items) == 1
    with pytest.raises(Fatal, match=r"^broken$"):
        next(items)


def test_nothing_is_made_ahead_while_what_waits_is_heavy() -> None:
    made: list[int] = []
    ready = threading.Event()

    def source() -> Iterator[int]:
        for number in range(9):
            made.append(number)
            if number == 2:
                ready.set()
            yield number

    items = ahead(source(), 9, weigh=lambda _: 5, most=10)
    assert next(items) == 0
    assert ready.wait(60)
    assert made == [0, 1, 2], "two that wait weigh enough"
    assert list(items) == list(range(1, 9))


def test_the_end_does_not_wait_for_ever_for_an_item_that_nobody_wants() -> None:
    is_over = threading.Event()

    def source() -> Iterator[int]:
        yield 1
        assert is_over.wait(60)
        yield 2

    items = ahead(source(), patience_s=0.0)
    assert next(items) == 1
    items.close()
    is_over.set()
