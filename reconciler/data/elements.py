"""A JSON array as lines: each element becomes one line of NDJSON, so that an array of any length is read as lines are, in
the memory of a piece of it, and the number of a line is that of its element.

Only the array's own structure is looked at: strings, brackets, and the commas between elements. What an element holds is
left as it came, but for line breaks between its tokens, which become spaces; one inside a string, where JSON has none,
becomes a character that is as wrong there. So whoever reads the lines refuses exactly what is no JSON.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from reconciler.data.content import Content, Source
from reconciler.errors import Fatal

#: About so much is gone through at a time.
PIECE_BYTES: Final = 1 << 20
_BEGINNING_BYTES: Final = 1 << 16

_WHITE: Final = b" \t\r\n"
_QUOTE, _COMMA, _COLON, _RETURN, _LINE, _SPACE, _BACKSLASH, _OPENS, _CLOSES = b'",:\r\n \\{}'
#: In the place of a line break inside a string.
_BROKEN: Final = 1
_AFTER: Final = "something follows the array"

_Codes = npt.NDArray[np.uint8]
_Depths = npt.NDArray[np.int32]
_Places = npt.NDArray[np.intp]


def begins_array(content: Content) -> bool:
    """Whether a content is a JSON array. Its beginning is read."""
    return _beginning(content)[:1] == b"["


def _beginning(content: Content) -> bytes:
    """The content from its first character on, as far as it was read to find that."""
    while data := content.read(_BEGINNING_BYTES):
        if data := data.lstrip(_WHITE):
            return data
    return b""


class Elements(Source):
    """The elements of a content that is one array, as lines. Raises Fatal where the array itself is broken, naming the
    element at which."""

    def __init__(self, content: Content) -> None:
        beginning = _beginning(content)
        assert beginning[:1] == b"[", "whoever asks has looked"
        self.is_packed = content.is_packed
        self._content = content
        self._cut = _Cut()
        super().__init__(self._cut.feed(beginning[1:]))

    def _more(self, _wanted: int) -> bytes:
        raw = self._content.read(PIECE_BYTES)
        self._ended = not raw
        return self._cut.feed(raw) if raw else self._cut.finish()


def array_lines(data: bytes, path: Sequence[str]) -> bytes:
    """The elements of the array at a path of keys, as lines. The document is known to be valid JSON in UTF-8, and to have
    an array there."""
    codes = np.frombuffer(data, dtype=np.uint8)
    quotes = _quotes(codes)
    inside = np.cumsum(quotes, dtype=np.uint8) & np.uint8(1)
    cut = _Cut()
    depth = cut.depths(codes, inside == 0)
    at = _place(data, codes, np.flatnonzero(quotes), inside, depth, path) + 1
    below = depth[at:] < depth[at - 1]
    stop = at + int(np.argmax(below))
    return cut.elements(data[at:stop], inside[at:stop], depth[at:stop] - depth[at - 1]) + cut.last()


def _place(data: bytes, codes: _Codes, quotes: _Places, inside: _Codes, depth: _Depths, path: Sequence[str]) -> int:
    """Where the value at a path begins. Of keys that stand there twice the last one counts, as for every parser."""
    first, end = 0, len(data)
    for level, step in enumerate(path, 1):
        here = slice(first, end)
        colons = np.flatnonzero((codes[here] == _COLON) & (inside[here] == 0) & (depth[here] == level)) + first
        closing = np.searchsorted(quotes, colons) - 1
        keys = (json.loads(data[quotes[one - 1] : quotes[one] + 1]) for one in reversed(closing.tolist()))
        last = next(len(colons) - 1 - index for index, key in enumerate(keys) if key == step)
        first, end = int(colons[last]) + 1, int(colons[last + 1]) if last + 1 < len(colons) else end
    return first + len(data[first:end]) - len(data[first:end].lstrip(_WHITE))


class _Cut:
    """Cuts an array behind its opening bracket, piece by piece. `number` is that of the element it is in, `solid` whether
    there is anything of it yet."""

    def __init__(self) -> None:
        self.number = 1
        self._solid = False
        self._depth = 0
        self._inside = 0
        self._held = b""
        self._ended = False

    def feed(self, raw: bytes) -> bytes:
        """The lines of a piece. A backslash at its end waits for what it escapes."""
        raw = self._held + raw
        self._held = b"\\" if (len(raw) - len(raw.rstrip(b"\\"))) % 2 else b""
        raw = raw[:-1] if self._held else raw
        if self._ended:
            return self._nothing(raw)
        codes = np.frombuffer(raw, dtype=np.uint8)
        inside = (np.cumsum(_quotes(codes), dtype=np.uint8) + np.uint8(self._inside)) & np.uint8(1)
        depth = self.depths(codes, inside == 0)
        below = np.flatnonzero(depth < 0)
        if not len(below):
            return self.elements(raw, inside, depth)
        stop = int(below[0])
        lines = self.elements(raw[:stop], inside[:stop], depth[:stop])
        if raw[stop : stop + 1] != b"]":
            raise Fatal(f"element {self.number}: not JSON: a brace closes the array")
        self._ended = True
        return lines + self.last() + self._nothing(raw[stop + 1 :])

    def finish(self) -> bytes:
        """At the end of the content. Raises Fatal where the array has none."""
        if not self._ended:
            raise Fatal(f"element {self.number}: not JSON: the array does not end, a quote or a brace may be left open")
        return self._nothing(self._held)

    def depths(self, codes: _Codes, outside: npt.NDArray[np.bool_]) -> _Depths:
        """How deep each place is in the element. In ASCII `{` and `[` differ by one bit, as `}` and `]` do."""
        folded = codes | np.uint8(0x20)
        steps = ((folded == _OPENS) & outside).view(np.int8) - ((folded == _CLOSES) & outside).view(np.int8)
        return np.cumsum(steps, dtype=np.int32) + np.int32(self._depth)

    def elements(self, raw: bytes, inside: _Codes, depth: _Depths) -> bytes:
        """What is left of the array, with an end of line for each comma between elements."""
        if not raw:
            return b""
        lines = np.frombuffer(raw, dtype=np.uint8).copy()
        commas = np.flatnonzero((lines == _COMMA) & (inside == 0) & (depth == 0))
        broken = np.flatnonzero((lines == _LINE) | (lines == _RETURN))
        lines[broken] = np.where(inside[broken] == 1, _BROKEN, _SPACE)
        missing = self._missing(raw, commas)
        lines[commas] = _LINE
        self.number += len(commas)
        self._inside, self._depth = int(inside[-1]), int(depth[-1])
        # in the place of an element that is missing: as little JSON as nothing, but no blank line, which is passed over
        return (np.insert(lines, missing, _COMMA) if missing else lines).tobytes()

    def _missing(self, raw: bytes, commas: _Places) -> list[int]:
        """The commas before which there is no element."""
        begins = np.concatenate(([0], commas + 1))
        ends = np.frombuffer(b"," + raw, dtype=np.uint8)[commas]  # the byte before each comma
        doubtful = np.flatnonzero((ends <= _SPACE) | (ends == _COMMA))
        missing = [int(commas[one]) for one in doubtful if not raw[begins[one] : commas[one]].strip(_WHITE)]
        if self._solid and missing and missing[0] == commas[0]:
            del missing[0]
        rest = bool(raw[begins[-1] :].strip(_WHITE))
        self._solid = rest or (self._solid and not len(commas))
        return missing

    def last(self) -> bytes:
        """The end of the last element; a comma before the closing bracket is as wrong as two."""
        if self._solid:
            return b"\n"
        return b",\n" if self.number > 1 else b""

    def _nothing(self, raw: bytes) -> bytes:
        if raw.strip(_WHITE):
            raise Fatal(_AFTER)
        return b""


def _quotes(codes: _Codes) -> npt.NDArray[np.bool_]:
    """Where a string begins or ends: quotes before which there is no odd number of backslashes."""
    quotes: npt.NDArray[np.bool_] = codes == _QUOTE
    others = codes != _BACKSLASH
    if not others.all():
        places = np.flatnonzero(quotes)
        before = np.maximum.accumulate(np.where(others, np.arange(len(codes)), -1))  # the last that is no backslash
        after = places[places > 0] - 1
        quotes[after[(after - before[after]) % 2 == 1] + 1] = False
    return quotes
