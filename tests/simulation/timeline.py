"""Time that passes only where somebody waits, and everything that is to happen in it, in one order.

The controller runs in the main greenlet; each run is a greenlet of its own. Whoever waits gives way to whatever comes next.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

from greenlet import getcurrent

Deed = Callable[[], object]


@dataclass(order=True)
class Entry:
    """Something that is to happen, unless it is called off before."""

    at_ms: int
    number: int
    deed: Deed | None = field(compare=False)

    def call_off(self) -> None:
        self.deed = None


class Timeline:
    """`true_ms` is how long the world has been; a wall clock shows that with whatever it is wrong by."""

    def __init__(self, began_ms: int) -> None:
        self.true_ms = 0
        self.began_ms = began_ms
        self.wrong_ms = 0  # by how much the wall clock is wrong
        self._entries: list[Entry] = []
        self._count = 0
        self.main = getcurrent()

    @property
    def wall_ms(self) -> int:
        return self.began_ms + self.true_ms + self.wrong_ms

    def after(self, delay_ms: int, deed: Deed) -> Entry:
        """Has something happen, after all that was to happen at that time."""
        self._count += 1
        entry = Entry(self.true_ms + max(0, delay_ms), self._count, deed)
        heapq.heappush(self._entries, entry)
        return entry

    def next_ms(self) -> int | None:
        while self._entries and self._entries[0].deed is None:
            heapq.heappop(self._entries)
        return self._entries[0].at_ms if self._entries else None

    def pass_until(self, until_ms: int, over: Callable[[], bool] = lambda: False) -> None:
        """Lets happen what is to happen up to then, or until `over` says so."""
        while not over():
            at_ms = self.next_ms()
            if at_ms is None or at_ms > until_ms:
                self.true_ms = max(self.true_ms, until_ms)
                return
            entry = heapq.heappop(self._entries)
            self.true_ms = max(self.true_ms, entry.at_ms)
            if entry.deed is not None:
                entry.deed()
