"""A few items ahead: the next blocks are read and parsed on a thread of their own while those before them are written.

The thread begins an item only while no more than so many wait to be taken, which bounds the memory.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class _End:
    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class _Ahead(Generic[T]):
    def __init__(self, source: Iterator[T], depth: int) -> None:
        self._source = source
        self._items: queue.Queue[T | _End] = queue.Queue()
        self._turn = threading.Semaphore(depth)
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="ahead", daemon=True)

    def __enter__(self) -> _Ahead[T]:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        self._turn.release()
        self._thread.join()

    def items(self) -> Iterator[T]:
        while True:
            item = self._items.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            self._turn.release()
            yield item

    def _work(self) -> None:
        error: BaseException | None = None
        try:
            while self._turn.acquire() and not self._stopped:
                self._items.put(next(self._source))
        except StopIteration:
            pass
        except BaseException as caught:  # it is raised again where the item would have been taken
            error = caught
        finally:
            close = getattr(self._source, "close", None)
            if close is not None:
                close()
            self._items.put(_End(error))


def ahead(source: Iterator[T], depth: int = 1) -> Iterator[T]:
    """The items of `source`, each made while those before it are in use; at most `depth` wait. Closing it ends the
    thread."""
    with _Ahead(source, depth) as work:
        yield from work.items()
