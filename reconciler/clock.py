"""The only module that reads a clock or sleeps; everything else is given a `Now`.

Time has two readings (design, section 3): wall time, which schedules and people use, and alive time, the
controller's own uptime added up over all its lives, by which the ten hours of `failAfter` are counted.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Now:
    """One moment: wall time in milliseconds since the Unix epoch, alive time in milliseconds of uptime."""

    wall_ms: int
    alive_ms: int


class Clock:
    """The machine's clock. `alive_base_ms` is the uptime that earlier lives of the controller recorded."""

    def __init__(self, alive_base_ms: int = 0) -> None:
        self._alive_base_ms = alive_base_ms
        self._born_s = time.monotonic()

    def now(self) -> Now:
        return Now(wall_ms=time.time_ns() // 1_000_000, alive_ms=self.alive_ms())

    def alive_ms(self) -> int:
        """The uptime alone."""
        return self._alive_base_ms + int((time.monotonic() - self._born_s) * 1000)

    def pause(self, seconds: float) -> None:
        """Waits. For a look that has nothing to select on until the tree has settled."""
        pause(seconds)


def utc(wall_ms: int) -> datetime:
    """The aware UTC datetime of a wall time."""
    return datetime.fromtimestamp(wall_ms / 1000, UTC)


@lru_cache(maxsize=256)  # what happens at once is told of more than once
def iso(wall_ms: int) -> str:
    """`2026-11-21T10:00:00.000Z`, the one format in which times are written."""
    return utc(wall_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@lru_cache(maxsize=64)
def milliseconds(text: str) -> int:
    """The wall time of what `iso` wrote."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def pause(seconds: float) -> None:
    """Waits. Only a command that has nothing to select on may call this: a settling look, `logs -f`."""
    time.sleep(seconds)
