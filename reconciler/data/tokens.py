"""Where the keys and values of JSON objects stand in bytes, found for all lines at once.

`data` holds lines that are known to be valid JSON objects, each ending in a newline. numpy finds strings by the parity
of their quotes and the depth of nesting by a running sum, so a value's text is taken exactly as it came: no number
passes through a double, no nested value is written anew.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from reconciler.core.value import dataclass

Positions = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

#: Bytes are looked at in pieces of about this size, which stay in the processor's cache.
PIECE_BYTES: Final = 256 << 10

_OPEN: Final = b"{["
_CLOSE: Final = b"}]"
_MARKS: Final = b"{}[]:,\n"
_SPACE: Final = b" \t\r\n"
_TRIM_STEPS: Final = 32


@dataclass(frozen=True, slots=True)
class Members:
    """The members of the objects, in order: the row of each, and where its key (without quotes) and value stand.
    `deepest` is the nesting of each row."""

    row: Positions
    key_start: Positions
    key_end: Positions
    value_start: Positions
    value_end: Positions
    deepest: Positions


def members(data: bytes) -> Members:
    """The members of every line's object."""
    parts = []
    at = rows = 0
    while at < len(data):
        end = data.find(b"\n", min(at + PIECE_BYTES, len(data) - 1)) + 1
        found = _members(data[at:end])
        spans = (found.key_start, found.key_end, found.value_start, found.value_end)
        parts.append((found.row + rows, *(one + at for one in spans), found.deepest))
        rows += len(found.deepest)
        at = end
    return Members(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _members(data: bytes) -> Members:
    text = np.frombuffer(data, dtype=np.uint8)
    quotes = _quotes(text, data)
    marks = _marks(text, quotes)
    kinds = text[marks]
    depth = np.cumsum(_isin(kinds, _OPEN).astype(np.int32) - _isin(kinds, _CLOSE))
    colon = (kinds == ord(":")) & (depth == 1)
    ends = ((kinds == ord(",")) & (depth == 1)) | (_isin(kinds, _CLOSE) & (depth == 0))
    outer = np.flatnonzero(colon | ends)
    at = np.flatnonzero(colon[outer])
    colons = marks[outer[at]]
    stops = marks[outer[at + 1]]
    closing = np.searchsorted(quotes, colons) - 1
    start, end = _trimmed(text, data, colons + 1, stops)
    newlines = np.flatnonzero(kinds == ord("\n"))
    deepest = np.maximum.reduceat(depth, np.concatenate(([0], newlines[:-1] + 1)))
    row = np.searchsorted(marks[newlines], colons)
    return Members(row, quotes[closing - 1] + 1, quotes[closing], start, end, deepest)


def _isin(kinds: Bytes, wanted: bytes) -> npt.NDArray[np.bool_]:
    table = np.zeros(256, dtype=bool)
    table[list(wanted)] = True
    return table[kinds]


def _quotes(text: Bytes, data: bytes) -> Positions:
    """The quotes that open or close a string: those without an odd number of backslashes before them."""
    quotes = np.flatnonzero(text == ord('"'))
    if b"\\" not in data:
        return quotes
    slashes = np.flatnonzero(text == ord("\\"))
    last = np.append(np.flatnonzero(np.diff(slashes) != 1), len(slashes) - 1)
    lengths = np.diff(last, prepend=-1)
    escaped = slashes[last[lengths % 2 == 1]] + 1
    return quotes[~np.isin(quotes, escaped, assume_unique=True)]


def _marks(text: Bytes, quotes: Positions) -> Positions:
    """The structural characters and newlines outside strings."""
    inside = np.zeros(len(text), dtype=np.uint8)
    inside[quotes] = 1
    np.cumsum(inside, dtype=np.uint8, out=inside)
    return np.flatnonzero(_isin(text, _MARKS) & (inside & 1 == 0))


def _trimmed(text: Bytes, data: bytes, start: Positions, end: Positions) -> tuple[Positions, Positions]:
    """The spans without white space around them. All at once for the usual few characters, then one by one."""
    start, end = start.copy(), end.copy()
    space = _isin(np.arange(256, dtype=np.uint8), _SPACE)
    for _ in range(_TRIM_STEPS):
        left = space[text[start]]
        right = space[text[end - 1]]
        if not (left.any() or right.any()):
            return start, end
        start += left
        end -= right
    for index in np.flatnonzero(space[text[start]] | space[text[end - 1]]):
        value = data[start[index] : end[index]]
        start[index] += len(value) - len(value.lstrip())
        end[index] -= len(value) - len(value.rstrip())
    return start, end
