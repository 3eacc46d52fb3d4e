"""How a message's own time may be written: `iso8601`, `epoch_s`, `epoch_ms`, or a strptime pattern of what DuckDB reads.

A pattern that names no year is none: whatever it read would lie in 1900.
"""

from __future__ import annotations

import re
from typing import Final

FORMATS: Final = ("iso8601", "epoch_s", "epoch_ms")

_YEAR: Final = "%(-?y|[YGcx])"
_OTHER: Final = "[^%]|%(-?[dmHIMSj]|[aAbBfghnpTuUVwWXzZ%])"

#: A regular expression of Python, of ECMA 262 and of Rust: the JSON Schema of a job type says it too.
PATTERN: Final = f"^(iso8601|epoch_s|epoch_ms|({_OTHER})*{_YEAR}({_OTHER}|{_YEAR})*)$"
EXPECTED: Final = "iso8601, epoch_s, epoch_ms or a strptime pattern with a year"

#: What is said of a field that may be left out.
DESCRIPTION: Final = (
    "`iso8601`, `epoch_s`, `epoch_ms` or a strptime pattern. A time without an offset is UTC. Unless set, as the Stream says "
    "of that field in its `timestamp`, else `iso8601`."
)

_WRITTEN: Final = re.compile(PATTERN)


def is_format(text: str) -> bool:
    """Whether a time can be written so."""
    return _WRITTEN.fullmatch(text) is not None
