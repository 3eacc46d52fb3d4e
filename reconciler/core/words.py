"""How lengths of time and lists of names read in messages.

Two spellings of a length, for two readers: `spelled` is the spec's own (`1h30m`, exact), `roughly` is a person's
(`42 min`, one unit, rounded).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
WEEK_MS: Final = 7 * DAY_MS

_COMMAND: Final = re.compile("`(reconcile(?: [^`]*)?)`")

#: Failed, Paused and Completed jobs are purged this long after they got there.
PURGE_AFTER_MS: Final = 90 * DAY_MS

_SPELLED: Final = (("w", WEEK_MS), ("d", DAY_MS), ("h", HOUR_MS), ("m", MINUTE_MS), ("s", SECOND_MS), ("ms", 1))

#: From this length on, the unit is used: two of a unit read better than a hundred of the one below it.
_ROUGHLY: Final = (
    (2 * DAY_MS, DAY_MS, "days"),
    (2 * HOUR_MS, HOUR_MS, "h"),
    (2 * MINUTE_MS, MINUTE_MS, "min"),
    (SECOND_MS, SECOND_MS, "s"),
)


def with_options(text: str, again: str) -> str:
    """The text, each command of ours in backticks with the options by which it finds the same folders (`again`)."""
    return _COMMAND.sub(lambda found: f"`{found[1]}{again}`", text) if again else text


def spelled(length_ms: int) -> str:
    """`1h30m`: a duration as a spec writes it; parsing it gives the same number of milliseconds."""
    parts, rest = [], length_ms
    for unit, size in _SPELLED:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def roughly(length_ms: int) -> str:
    """`42 min`: a length of time for a person, rounded to one unit; below a second it is a moment."""
    for least, size, unit in _ROUGHLY:
        if length_ms >= least:
            return f"{round(length_ms / size)} {unit}"
    return "a moment"


def listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)
