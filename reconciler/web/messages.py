"""A body of JSON as messages: one object, an array of objects, or one object a line (NDJSON).

Every message becomes one line, its text as it came. What is refused here is what an import of the same lines would
reject, so that what was accepted lands (`reconciler.data.lines`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from reconciler.web.answers import Refused, Row
from reconciler.web.limits import MAX_CELLS, MAX_DEPTH, MAX_KEYS
from reconciler.web.quick import quickly

_WHITE: Final = re.compile(r"[ \t\r\n]*")
_BREAKS: Final = str.maketrans("\r\n", "  ")


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")


#: Reads a value in C, objects as tuples of their pairs: so that a key which stands there twice is seen.
_SCAN: Final = json.JSONDecoder(object_pairs_hook=tuple, parse_constant=_refuse).scan_once  # type: ignore[attr-defined]
#: A message that is no longer cannot be nested too deeply.
_SHORT: Final = 2 * MAX_DEPTH
_NOT_TEXT: Final = "not valid text in UTF-8"


def messages_of(body: bytes) -> tuple[int, bytes]:
    """How many messages there are, and a line for each. Raises Refused (422), naming the line of each that is bad."""
    found = quickly(body)
    if found is None:
        return carefully(body)
    texts, keys = found
    _check_size(len(texts), len(keys))
    return len(texts), b"\n".join(texts) + b"\n"


def carefully(body: bytes) -> tuple[int, bytes]:
    """The same, of any body."""
    try:
        text = body.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise _refused([Row(body.count(b"\n", 0, error.start) + 1, _NOT_TEXT)]) from None
    start = _skip(text, 0)
    if start == len(text):
        raise Refused(422, "The body holds no message.")
    found = _Messages(text)
    if text[start] == "[":
        found.array(start)
    elif not found.single(start):
        found.lines()
    if found.bad:
        raise _refused(found.bad)
    return found.accepted()


def _refused(bad: list[Row]) -> Refused:
    what = "a message is" if len(bad) == 1 else f"{len(bad):,} messages are"
    return Refused(422, f"Nothing was accepted: {what} malformed (line {bad[0].line}: {bad[0].reason}).", rows=bad)


def _check_size(messages: int, keys: int) -> None:
    if keys > MAX_KEYS:
        raise Refused(
            422, f"The messages have more than {MAX_KEYS:,} different keys; keys that are data cannot be columns."
        )
    if messages * keys > MAX_CELLS:
        raise Refused(422, f"{keys:,} different keys in {messages:,} messages are too many for one request.")


class _Messages:
    """The messages of a text, and what is wrong with it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._escapes = "\\u" in text
        self._breaks = "\n" in text or "\r" in text
        self._found: list[str] = []
        self._keys: set[str] = set()
        self.bad: list[Row] = []

    def accepted(self) -> tuple[int, bytes]:
        count = len(self._found)
        _check_size(count, len(self._keys))
        return count, ("\n".join(self._found) + "\n").encode()

    def single(self, start: int) -> bool:
        """Whether the text is one document, or else a broken one that is not made of lines."""
        try:
            value, end = self._decode(start)
        except _Broken as broken:
            if broken.line == self._line_of(start):
                return False
            self.bad.append(broken.row)
            return True
        if _skip(self._text, end) != len(self._text):
            return False
        self._take(value, start, end, self._line_of(start))
        return True

    def lines(self) -> None:
        at = 0
        for number, line in enumerate(self._text.split("\n"), start=1):
            start = _skip(self._text, at)
            stop = at + len(line)
            at = stop + 1
            if start >= stop:
                continue  # a blank line is no message
            self._line(start, stop, number)

    def array(self, start: int) -> None:
        """The elements of an array, which ends the text."""
        at = _skip(self._text, start + 1)
        line, counted = self._line_of(at), at
        if self._text[at : at + 1] == "]":
            raise Refused(422, "The body holds no message: the array is empty.")
        try:
            while True:
                if self._breaks:
                    line, counted = line + self._text.count("\n", counted, at), at
                value, end = self._decode(at)
                self._take(value, at, end, line)
                at = end if self._text[end : end + 1] == "," else _skip(self._text, end)
                if self._text[at : at + 1] != ",":
                    break
                at = _skip(self._text, at + 1)
                if not (self._breaks or self._escapes):
                    at = self._swiftly(at)
            self._close(at)
        except _Broken as broken:
            self.bad.append(broken.row)

    def _swiftly(self, at: int) -> int:
        """Takes elements as long as none of them raises a question; where the first begins that does, or is the last."""
        text, found, keys = self._text, self._found, self._keys
        while True:
            try:
                value, end = _SCAN(text, at)
            except (StopIteration, ValueError, RecursionError):
                return _skip(text, at)
            if text[end : end + 1] != "," or type(value) is not tuple:
                return at
            fields, message = dict(value), text[at:end]
            if len(fields) != len(value) or (len(message) > _SHORT and not _is_shallow(message)):
                return at
            if not keys.issuperset(fields):
                keys.update(fields)
            found.append(message)
            at = end + 2 if text[end + 1 : end + 2] == " " else end + 1  # more of it is left to the careful way

    def _close(self, at: int) -> None:
        if self._text[at : at + 1] != "]":
            raise _Broken(self._line_of(at), "not JSON: expected ',' or ']' after an element of the array")
        if _skip(self._text, at + 1) != len(self._text):
            raise _Broken(self._line_of(at), "not JSON: something follows the array")

    def _line(self, start: int, stop: int, number: int) -> None:
        try:
            value, end = self._decode(start)
        except _Broken as broken:
            self.bad.append(
                Row(number, broken.row.reason if broken.line == number else "not JSON: it goes on in the next line")
            )
            return
        if end > stop:
            self.bad.append(Row(number, "not JSON: it goes on in the next line"))
        elif _skip(self._text, end) < stop:
            self.bad.append(Row(number, "not JSON: something follows the object"))
        else:
            self._take(value, start, end, number)

    def _take(self, value: Any, start: int, end: int, line: int) -> None:
        reason = self._complaint(value, start, end)
        if reason:
            self.bad.append(Row(line, reason))
            return
        message = self._text[start:end]
        self._found.append(message.translate(_BREAKS) if self._breaks else message)

    def _complaint(self, value: Any, start: int, end: int) -> str:
        """Why a value is no message; empty where it is one."""
        if type(value) is not tuple:
            return "not a JSON object"
        fields = dict(value)
        if len(fields) != len(value):
            return f"the key {_twice(value)!r} stands there twice"
        if not _is_shallow(self._text[start:end]) and _depth(value) > MAX_DEPTH:
            return f"nested deeper than {MAX_DEPTH}"
        if self._escapes and not _encodable(value):
            return "not JSON: a string holds half of a surrogate pair"
        self._keys.update(fields)
        return ""

    def _decode(self, at: int) -> tuple[Any, int]:
        try:
            found: tuple[Any, int] = _SCAN(self._text, at)
            return found
        except StopIteration as stopped:
            raise self._broken("Expecting value", stopped.value) from None
        except json.JSONDecodeError as error:
            raise self._broken(error.msg.removesuffix(" at"), error.pos) from None
        except RecursionError:
            raise _Broken(self._line_of(at), f"nested deeper than {MAX_DEPTH}") from None
        except ValueError as error:
            raise _Broken(self._line_of(at), f"not JSON: {error}") from None

    def _broken(self, what: str, at: int) -> _Broken:
        column = at - self._text.rfind("\n", 0, at)
        return _Broken(self._line_of(at), f"not JSON: {what} at column {column}")

    def _line_of(self, at: int) -> int:
        return self._text.count("\n", 0, at) + 1


class _Broken(Exception):
    """Text that is not JSON."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line
        self.row = Row(line, reason)


def _skip(text: str, at: int) -> int:
    if text[at : at + 1] not in " \t\r\n":  # the usual case; an empty text is in every other
        return at
    found = _WHITE.match(text, at)
    assert found is not None
    return found.end()


def _twice(pairs: tuple[tuple[str, Any], ...]) -> str:
    seen: set[str] = set()
    return next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]


def _is_shallow(message: str) -> bool:
    """Whether a message cannot be nested too deeply, without a look at what is in it."""
    return len(message) <= _SHORT or message.count("{") + message.count("[") <= MAX_DEPTH


def _depth(value: Any) -> int:
    deepest, waiting = 0, [(value, 1)]
    while waiting:
        one, depth = waiting.pop()
        inner = _inner(one)
        if inner is not None:
            deepest = max(deepest, depth)
            waiting += [(each, depth + 1) for each in inner]
    return deepest


def _inner(value: Any) -> Iterator[Any] | None:
    if isinstance(value, tuple):
        return (inner for _, inner in value)
    return iter(value) if isinstance(value, list) else None


def _encodable(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
