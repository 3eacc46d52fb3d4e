"""One JSON document: the records in it, and single values of it.

Records keep their exact text on the way to columns, as lines of NDJSON do (`lines`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import orjson
import pyarrow as pa

from reconciler.core.provider import Block, Json
from reconciler.data.elements import array_lines
from reconciler.data.flat import flat_table
from reconciler.data.lines import parse_lines
from reconciler.errors import Fatal, Retriable

_WHITE: Final = b" \t\r\n"
_BREAKS: Final = bytes.maketrans(b"\r\n", b"  ")


def records_block(body: bytes, path: str) -> Block:
    """The records at a dotted path of a document; each one's `line` is its number. Raises Retriable for a body that is
    not JSON and Fatal where the path leads to no array."""
    data, document = _read(body)
    steps, found = [step for step in path.split(".") if step], document
    for step in steps:
        if not isinstance(found, dict) or step not in found:
            raise Fatal(f"records: the answer has no {path!r}")
        found = found[step]
    if isinstance(found, dict) and not path:
        return _block(data.strip(_WHITE).translate(_BREAKS), [found])
    if not isinstance(found, list):
        raise Fatal(f"records: {path!r} of the answer is no array" if path else "records: the answer is no array")
    if not found:
        return Block(pa.table({}), (), None)
    table = flat_table(data, document, found)
    if table is None:
        return _block(array_lines(data, steps), found)
    return Block(table, (), None, locate=lambda rows: _lines_at(array_lines(data, steps), rows))


def _lines_at(lines: bytes, rows: Sequence[int]) -> list[tuple[int, str]]:
    texts = lines.split(b"\n")
    return [(row + 1, texts[row].decode().strip()) for row in rows]


def _block(lines: bytes, found: list[Any]) -> Block:
    parsed = parse_lines(lines, 1, are_good=_are_good(lines, found))
    rejects = tuple(replace(one, text=one.text.strip()) for one in parsed.rejects)

    def locate(rows: Sequence[int]) -> Sequence[tuple[int, str]]:
        return [(number, line.strip()) for number, line in parsed.locate(rows)]

    return Block(parsed.table, rejects, None, locate=locate)


def _are_good(lines: bytes, found: list[Any]) -> bool:
    """Whether elements of a valid document are all objects whose texts are certainly Unicode: without an escape there is
    no half of a surrogate pair."""
    return b"\\u" not in lines and set(map(type, found)) == {dict}


def pluck(body: bytes, path: str) -> Json:
    """The value at a dotted path (a number steps into an array); None where there is none. Raises Retriable for a body
    that is not JSON, and for a value in which a number is too large for a double, which nothing could write down."""
    value = _parsed(body)[1]
    for step in filter(None, path.split(".")):
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    if not _is_finite(value):
        raise Retriable(f"the answer has a number at {path!r} that is too large")
    found: Json = value
    return found


def _is_finite(value: Any) -> bool:
    match value:
        case float():
            return math.isfinite(value)
        case dict() | list():
            return all(map(_is_finite, value.values() if isinstance(value, dict) else value))
        case _:
            return True


def _read(body: bytes) -> tuple[bytes, Any]:
    """A document as UTF-8, and what it says. orjson takes half the time, and less than Python's parser does: what it refuses is
    judged by that one."""
    try:
        return body, orjson.loads(body)
    except orjson.JSONDecodeError:
        text, document = _parsed(body)
        return text.encode(), document


def _parsed(body: bytes) -> tuple[str, Any]:
    try:
        text = body.decode(json.detect_encoding(body)).removeprefix("\ufeff")
        return text, json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise Retriable(f"the answer is not JSON: {reason}") from None


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")
