"""Where records end in delimited text (RFC 4180, as Python's csv module reads it).

A field that begins with the quote goes on to the next single quote, and may hold delimiters, newlines and doubled
quotes; what follows the closing quote up to the delimiter belongs to the field. A quote inside a field that does not
begin with one is an ordinary character. LF, CR LF and CR end a record.

Almost always quotes are regular: each one that opens stands at the beginning of a field. Then the number of quotes
before a newline says whether it ends a record, which numpy finds without looking at records one by one. Otherwise a
regular expression reads records one after the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import field
from typing import Final

import numpy as np

from reconciler.core.value import dataclass

_NEWLINES: Final = (10, 13)


@dataclass(frozen=True, slots=True)
class Dialect:
    """One ASCII delimiter, one ASCII quote; an empty quote means that no character quotes."""

    delimiter: str
    quote: str
    record: re.Pattern[bytes] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "record", _record(self.delimiter.encode(), self.quote.encode()))


def _record(delimiter: bytes, quote: bytes) -> re.Pattern[bytes]:
    """A pattern for one record with its newline, which may be missing at the end. It never backtracks."""
    d, q = re.escape(delimiter), re.escape(quote)
    rest = rb"[^" + d + rb"\r\n]*+"
    one = rest
    if quote:
        one = rb"(?:" + q + rb"(?:[^" + q + rb"]++|" + q + q + rb")*+" + q + rest + rb"|(?!" + q + rb")" + rest + rb")"
    return re.compile(one + rb"(?:" + d + one + rb")*+(?:\r\n|\n|\r|\Z)")


def whole(data: bytes, dialect: Dialect) -> int:
    """How many bytes of `data`, which starts at a record, are records with their newline. A CR at the very end is
    not taken for one, because an LF may follow."""
    body = data[:-1] if data.endswith(b"\r") else data
    quotes = _quotes(body, dialect.quote)
    if quotes is None or not len(quotes):
        return max(body.rfind(b"\n"), body.rfind(b"\r")) + 1
    if not _regular(body, quotes, dialect):
        end = 0
        for found in records(body, dialect):
            if body[found[1] - 1] in _NEWLINES:
                end = found[1]
        return end
    return _last_outside(body, quotes)


def _last_outside(body: bytes, quotes: np.ndarray) -> int:
    """The end of the last newline that has an even number of quotes before it."""
    end = len(body)
    while True:
        at = max(body.rfind(b"\n", 0, end), body.rfind(b"\r", 0, end))
        if at < 0:
            return 0
        before = int(np.searchsorted(quotes, at))
        if before % 2 == 0:
            return at + 1
        end = int(quotes[before - 1])


def _quotes(data: bytes, quote: str) -> np.ndarray | None:
    if not quote or quote.encode() not in data:
        return None
    return np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == ord(quote))


def _regular(data: bytes, quotes: np.ndarray, dialect: Dialect) -> bool:
    """Whether every opening quote stands at the beginning of a field, or doubles the closing one before it."""
    opening = quotes[0::2]
    before = np.frombuffer(data, dtype=np.uint8)[opening[opening > 0] - 1]
    allowed = np.zeros(256, dtype=bool)
    allowed[[ord(dialect.delimiter), ord(dialect.quote), *_NEWLINES]] = True
    return bool(allowed[before].all())


def open_quote(data: bytes, dialect: Dialect) -> bool:
    """Whether the last record of `data`, which starts at a record, ends inside a quoted field."""
    quotes = _quotes(data, dialect.quote)
    if quotes is None:
        return False
    if _regular(data, quotes, dialect):
        return len(quotes) % 2 == 1
    end = 0
    for found in records(data, dialect):
        end = found[1]
    return end < len(data)


def records(data: bytes, dialect: Dialect) -> Iterator[tuple[int, int]]:
    """Start and end of each record, newline included, one by one; blank lines are records too. Ends before a record
    whose quote is never closed."""
    at, size, match = 0, len(data), dialect.record.match
    while at < size:
        found = match(data, at)
        if found is None:
            return
        yield at, found.end()
        at = found.end()
