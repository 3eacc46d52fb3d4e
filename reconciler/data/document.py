"""One JSON document: the records in it, and single values of it.

Records keep their exact text on the way to columns, as lines of NDJSON do (`lines`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa

from reconciler.core.provider import Block, Json
from reconciler.data.lines import parse_lines
from reconciler.errors import Fatal, Retriable

_WHITE: Final = re.compile(r"[ \t\r\n]*")
_BREAKS: Final = str.maketrans("\r\n", "  ")


def records_block(body: bytes, path: str) -> Block:
    """The records at a dotted path of a document; each one's `line` is its number. Raises Retriable for a body that is
    not JSON and Fatal where the path leads to no array."""
    text, _ = _parsed(body)
    at = _skip(text, 0)
    for step in filter(None, path.split(".")):
        found = _member(text, at, step) if text[at] == "{" else None
        if found is None:
            raise Fatal(f"records: the answer has no {path!r}")
        at = found
    if text[at] == "{" and not path:
        lines = [text[at:].strip()]
    elif text[at] == "[":
        lines = [text[start:end] for start, end in _elements(text, at)]
    else:
        raise Fatal(f"records: {path!r} of the answer is no array" if path else "records: the answer is no array")
    if not lines:
        return Block(pa.table({}), (), None)
    parsed = parse_lines("\n".join(line.translate(_BREAKS) for line in lines).encode("utf-8", "replace"), 1)
    return Block(parsed.table, parsed.rejects, None, locate=parsed.locate)


def pluck(body: bytes, path: str) -> Json:
    """The value at a dotted path (a number steps into an array); None where there is none. Raises Retriable for a body
    that is not JSON."""
    value = _parsed(body)[1]
    for step in filter(None, path.split(".")):
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def _parsed(body: bytes) -> tuple[str, Any]:
    try:
        text = body.decode(json.detect_encoding(body)).removeprefix("\ufeff")
        return text, json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise Retriable(f"the answer is not JSON: {reason}") from None


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")


def _elements(text: str, at: int) -> Iterator[tuple[int, int]]:
    """Where the elements of the array that begins at `at` stand. The text is known to be valid JSON."""
    scan = json.JSONDecoder().raw_decode
    at = _skip(text, at + 1)
    while text[at] != "]":
        _, end = scan(text, at)
        yield at, end
        at = _next(text, end)


def _member(text: str, at: int, key: str) -> int | None:
    """Where the value of `key` begins in the object that begins at `at` (the last one, as every parser takes it); None
    where there is none. The text is known to be valid JSON."""
    scan = json.JSONDecoder().raw_decode
    found = None
    at = _skip(text, at + 1)
    while text[at] != "}":
        name, end = scan(text, at)
        at = _skip(text, _skip(text, end) + 1)
        if name == key:
            found = at
        _, end = scan(text, at)
        at = _next(text, end)
    return found


def _next(text: str, end: int) -> int:
    """Where the next member or the closing bracket stands, after a value that ends at `end`."""
    at = _skip(text, end)
    return _skip(text, at + 1) if text[at] == "," else at


def _skip(text: str, at: int) -> int:
    found = _WHITE.match(text, at)
    assert found is not None
    return found.end()
