"""What a job has moved over time: sums by minute, hour and day, and how a series of them is made ready to be drawn.

Time is UTC, so a day here is a day everywhere. Minutes are kept for 2 days, hours for 60, days for ever; so a year of a
busy job costs a few thousand rows, and a question about last night still has its minutes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final

from reconciler.core.value import dataclass

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS

#: What is counted, in the order in which it is shown.
MEASURES: Final = ("rows", "added", "removed", "omitted")


class Grain(StrEnum):
    """How long the time is that a sum is of."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"


LENGTH_MS: Final[Mapping[Grain, int]] = {Grain.MINUTE: MINUTE_MS, Grain.HOUR: HOUR_MS, Grain.DAY: DAY_MS}
#: How long sums are kept; days, which are not in it, for ever.
KEPT_MS: Final[Mapping[Grain, int]] = {Grain.MINUTE: 2 * DAY_MS, Grain.HOUR: 60 * DAY_MS}
#: The finest grain that shows a length of time in a chart that can be read: up to so long, this one; else days.
_FITTING: Final = ((3 * HOUR_MS, Grain.MINUTE), (4 * DAY_MS, Grain.HOUR))

#: Eighths of a cell, from nothing to all of it.
_EIGHTHS: Final = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The sums of one minute, hour or day, which begins at `start_ms`."""

    start_ms: int
    rows: int = 0
    added: int = 0
    removed: int = 0
    omitted: int = 0

    def of(self, measure: str) -> int:
        """One of MEASURES."""
        value: int = getattr(self, measure)
        return value


def grain_for(length_ms: int) -> Grain:
    """The grain in which so long a time is shown unless another one is asked for."""
    return next((grain for longest_ms, grain in _FITTING if length_ms <= longest_ms), Grain.DAY)


def start_of(at_ms: int, grain: Grain) -> int:
    """When the minute, hour or day began that a moment lies in."""
    return at_ms - at_ms % LENGTH_MS[grain]


def earliest(now_ms: int, grain: Grain) -> int | None:
    """From when on the sums of this grain are there; None for those that are kept for ever."""
    kept_ms = KEPT_MS.get(grain)
    return None if kept_ms is None else start_of(now_ms - kept_ms, grain)


def filled(points: Iterable[Point], grain: Grain, first_ms: int, last_ms: int) -> list[Point]:
    """One point for each minute, hour or day from the one of `first_ms` to the one of `last_ms`, zeros where nothing
    was moved."""
    known = {point.start_ms: point for point in points}
    moments = range(start_of(first_ms, grain), last_ms + 1, LENGTH_MS[grain])
    return [known.get(moment) or Point(start_ms=moment) for moment in moments]


def totals(points: Sequence[Point]) -> dict[str, int]:
    """The sum of each measure."""
    return {measure: sum(point.of(measure) for point in points) for measure in MEASURES}


def squeezed(values: Sequence[int], most: int) -> tuple[list[int], int]:
    """At most `most` values, each the sum of as many neighbours as it takes, the newest whole; and that number."""
    size = max(1, -(-len(values) // max(1, most)))
    cut = len(values) % size
    first = [sum(values[:cut])] if cut else []
    return [*first, *(sum(values[at : at + size]) for at in range(cut, len(values), size))], size


def columns(values: Sequence[int], height: int) -> list[str]:
    """Bars as `height` lines of blocks, the top one first; the highest value fills its column. What is above zero shows
    at least an eighth of a cell."""
    highest = max(values, default=0)
    levels = [_level(value, highest, height * 8) for value in values]
    return ["".join(_EIGHTHS[max(0, min(8, level - 8 * row))] for level in levels) for row in reversed(range(height))]


def sparkline(values: Sequence[int], most: int) -> str:
    """Bars in one line of at most `most` cells."""
    return columns(squeezed(values, most)[0], 1)[0]


def _level(value: int, highest: int, full: int) -> int:
    return 0 if value <= 0 else max(1, round(value * full / highest))
