"""Durations as people write them (`1h30m`), read into integers of milliseconds.

A duration is integers with the units `w d h m s ms`, joined without spaces, the larger unit first and each at most
once (design, section 2). There are no fractions: `1.5h` is written `1h30m`. At most ten years (`3660d`), so that no sum
of two durations and a time leaves the range of a date. `format_duration` is the way back.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from reconciler.core.words import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, WEEK_MS, spelled

#: Milliseconds of each unit, the largest first.
UNITS: Final = (("w", WEEK_MS), ("d", DAY_MS), ("h", HOUR_MS), ("m", MINUTE_MS), ("s", SECOND_MS), ("ms", 1))

#: The longest duration that can be written.
MAX_MS: Final = 3660 * DAY_MS

#: The same grammar for editors: what a JSON Schema can say of it.
PATTERN: Final = "^" + "".join(f"([0-9]+{unit})?" for unit, _ in UNITS) + "$"

_DURATION: Final = re.compile("".join(rf"(?:([0-9]{{1,15}}){unit}(?![a-z]))?" for unit, _ in UNITS))
_JOINED: Final = re.compile("(?:[0-9]+(?:ms|[wdhms]))+")
_DIGITS: Final = re.compile("[0-9]+")
_EXAMPLES: Final = "such as 30s, 15m, 1h30m or 7d"

#: The canonical text of a duration; reading it gives the same number of milliseconds.
format_duration = spelled


class BadDuration(ValueError):
    """Not a duration; its text says what was expected, not what was found."""


@lru_cache(maxsize=4096)
def parse_duration(text: str) -> int:
    """Milliseconds of `text`. Raises BadDuration, whose text reads on after "expected"."""
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        raise BadDuration(_expected(text))
    total = sum(int(count) * ms for count, (_, ms) in zip(match.groups(), UNITS, strict=True) if count)
    if total > MAX_MS:
        raise BadDuration("a duration of at most 3660d")
    return total


def _expected(text: str) -> str:
    if _DIGITS.fullmatch(text):
        return f"a duration with a unit (w, d, h, m, s or ms), {_EXAMPLES}"
    if _JOINED.fullmatch(text):
        return f"a duration whose units stand from large to small, each once, {_EXAMPLES}"
    return f"a duration {_EXAMPLES}"
