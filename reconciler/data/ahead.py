"""One item ahead: the next block is read and parsed on a thread of its own while this one is written.

The thread begins an item only when the one before it has been taken, so two are in memory at most.
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
    def __init__(self, source: Iterator[T]) -> None:
        self._source = source
        self._items: queue.Queue[T | _End] = queue.Queue()
        self._turn = threading.Semaphore(1)
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


def ahead(source: Iterator[T]) -> Iterator[T]:
    """The items of `source`, each made while the one before it is in use. Closing it ends the thread."""
    with _Ahead(source) as work:
        yield from work.items()
