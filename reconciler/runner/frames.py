"""Frames: how values travel between a run and its controller. Four bytes of length (big-endian), then that many bytes
of JSON in UTF-8. JSON and not pickle, because what a run sends is input from outside: its process holds a provider's
code, and reading a value must never run any.
"""

from __future__ import annotations

import json
import math
import struct
from typing import Any, Final

#: The largest message that a run may send, in bytes of JSON: a unit with a larger cursor fails.
MAX_MESSAGE: Final = 16 * 2**20
#: How deep lists and objects may be nested in what a run sends.
MAX_DEPTH: Final = 64

_LENGTH: Final = struct.Struct("!I")


class Malformed(Exception):
    """What a run sent is not what a run may send; the text says what is wrong with it."""


def frame(text: str) -> bytes:
    """The frame of one JSON text."""
    payload = text.encode("utf-8")
    return _LENGTH.pack(len(payload)) + payload


class Frames:
    """Puts frames together from what a socket gives, however it is cut. `limit` bounds a frame, None where the other
    side is trusted."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads that are whole now. Raises Malformed as soon as a length above the limit is announced."""
        self._buffer += data
        start, payloads = 0, []
        while (end := self._end_of_frame(start)) is not None:
            payloads.append(bytes(self._buffer[start + _LENGTH.size : end]))
            start = end
        del self._buffer[:start]
        return payloads

    def _end_of_frame(self, start: int) -> int | None:
        if len(self._buffer) - start < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer, start)
        if self._limit is not None and length > self._limit:
            raise Malformed(f"a message of {length} bytes; at most {self._limit} are allowed")
        end = start + _LENGTH.size + int(length)
        return end if end <= len(self._buffer) else None


def parse(payload: bytes) -> Any:
    """The value of a payload. Raises Malformed for what is not JSON in UTF-8, for NaN and infinite numbers, for text
    that is no Unicode (half a surrogate pair), and for nesting beyond `MAX_DEPTH`."""
    try:
        text = payload.decode("utf-8")
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except UnicodeDecodeError:
        raise Malformed("a message that is not UTF-8") from None
    except RecursionError:
        raise Malformed(f"a message nested deeper than {MAX_DEPTH}") from None
    except ValueError as error:
        raise Malformed(f"a message that is not JSON: {error}") from None
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _check_depth(value)
    if "\\ud" in text.lower():
        _check_unicode(value)
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"the number {text[:40]} is too large")
    return number


def _check_depth(value: Any) -> None:
    """Level by level, with no recursion."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [inner for outer in level for inner in _members(outer) if isinstance(inner, list | dict)]
        if not level:
            return
    raise Malformed(f"a message nested deeper than {MAX_DEPTH}")


def _members(value: Any) -> list[Any]:
    match value:
        case dict():
            return list(value.values())
        case list():
            return value
        case _:
            return []


def _check_unicode(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise Malformed("text that is no Unicode: half a surrogate pair") from None
