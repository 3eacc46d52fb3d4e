"""Batches that are committed together: their intents before a byte leaves, and what came of them in the same transaction as
the intents of the group that follows. So a group costs one write to the disk, and not two for each batch.

What was accepted and is not committed yet is sent again after a crash, the same bytes under the same keys, and what was
intended is sent whatever the spec says by then. So that both stay little however slow a destination is, an outcome waits
for others only for a moment, and a group grows only where the one before it went within that moment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

#: So many batches are intended in the first commit of a run, and in any; fewer where they reach so many bytes before.
FIRST_AHEAD: Final = 8
MAX_AHEAD: Final = 128
MAX_AHEAD_BYTES: Final = 8 * 1024 * 1024
#: How long what was accepted waits to be committed, in milliseconds, while another batch can be sent.
WAITS_MS: Final = 100


class Pace:
    """How many batches the next group may have, and how long an outcome has been waiting, by a clock that only goes
    forward."""

    def __init__(self, alive_ms: Callable[[], int]) -> None:
        self._alive_ms = alive_ms
        self._ahead = FIRST_AHEAD
        self._began_ms = 0
        self._since_ms: int | None = None

    def is_full(self, count: int, size: int) -> bool:
        """Whether so many batches of so many bytes are a group."""
        return count >= self._ahead or size >= MAX_AHEAD_BYTES

    def begin(self) -> None:
        """A group is sent from now on."""
        self._began_ms = self._alive_ms()

    def end(self) -> None:
        """It has its outcome."""
        taken_ms = self._alive_ms() - self._began_ms
        if taken_ms * 2 <= WAITS_MS:
            self._ahead = min(self._ahead * 2, MAX_AHEAD)
        elif taken_ms > WAITS_MS:
            self._ahead = max(self._ahead // 2, FIRST_AHEAD)

    def wait(self) -> None:
        """There is an outcome; it may not be the first."""
        if self._since_ms is None:
            self._since_ms = self._alive_ms()

    def commit(self) -> None:
        """All outcomes are being committed."""
        self._since_ms = None

    @property
    def is_over(self) -> bool:
        """Whether the oldest outcome has waited for long enough."""
        return self._since_ms is not None and self._alive_ms() - self._since_ms >= WAITS_MS
