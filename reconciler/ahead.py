"""A few items ahead: the next ones are read and parsed on a thread of their own while those before them are written.

The thread begins an item only while no more than so many, and not too heavy ones, wait to be taken: that bounds the memory.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class _End:
    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class _Ahead(Generic[T]):
    def __init__(
        self, source: Iterator[T], depth: int, weigh: Callable[[T], int], most: int, patience_s: float | None
    ) -> None:
        self._source = source
        self._depth = depth
        self._weigh = weigh
        self._most = most
        self._patience_s = patience_s
        self._items: queue.Queue[T | _End] = queue.Queue()
        self._changed = threading.Condition()
        self._count = self._weight = 0  # of what waits
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="ahead", daemon=True)

    def __enter__(self) -> _Ahead[T]:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join(self._patience_s)

    def items(self) -> Iterator[T]:
        while True:
            item = self._items.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            self._note(-1, -self._weigh(item))
            yield item

    def _is_wanted(self) -> bool:
        """Whether another item is, once there is room for it."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or (self._count < self._depth and self._weight < self._most))
            return not self._stopped

    def _note(self, count: int, weight: int) -> None:
        with self._changed:
            self._count += count
            self._weight += weight
            self._changed.notify()

    def _work(self) -> None:
        error: BaseException | None = None
        try:
            while self._is_wanted():
                item = next(self._source)
                self._note(1, self._weigh(item))
                self._items.put(item)
        except StopIteration:
            pass
        except BaseException as caught:  # it is raised again where the item would have been taken
            error = caught
        finally:
            close = getattr(self._source, "close", None)
            if close is not None:
                close()
            self._items.put(_End(error))


def ahead(
    source: Iterator[T], depth: int = 1, *, weigh: Callable[[T], int] = lambda _: 0, most: int = 1,
    patience_s: float | None = None,
) -> Generator[T, None, None]:  # fmt: skip
    """The items of `source`, each made while those before it are in use; at most `depth` wait, and none is begun while those
    that wait weigh `most` or more. Closing it ends the thread, and waits for that at most `patience_s`."""
    with _Ahead(source, depth, weigh, most, patience_s) as work:
        yield from work.items()
