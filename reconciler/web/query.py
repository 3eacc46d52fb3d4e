"""What a bulk request says in its query."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

from reconciler.core.issue import quoted
from reconciler.core.suggest import did_you_mean
from reconciler.core.time_format import EXPECTED, is_format
from reconciler.data.journal import Format
from reconciler.data.names import repeated
from reconciler.web.answers import Refused

#: Columns of `headers`, constants of `append`, and characters of one name.
MAX_COLUMNS: Final = 2_000
MAX_CONSTANTS: Final = 100
MAX_NAME: Final = 256
_FILENAME: Final = 255
_DELIMITERS: Final = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A bulk request's options; the fields of `reconciler.data.journal.Bulk` of the same name say what they mean.
    `dryrun` goes through the body and lands nothing. Without a `timestamp_format`, the stream says it."""

    timestamp_field: str = ""
    timestamp_format: str = ""
    headers: Sequence[str] | None = None
    delimiter: str = ","
    append: Mapping[str, str] | None = None
    droperrors: bool = False
    dryrun: bool = False
    filename: str = ""


def query_of(text: str, format: Format) -> Query:
    """Raises Refused (400), naming the parameter."""
    values: dict[str, Any] = {}
    known = {name: read for name, read in _READ.items() if format == "csv" or name not in _CSV_ONLY}
    for name, value in _pairs(text):
        if name not in known:
            raise Refused(
                400, f"There is no parameter {quoted(name)} here{did_you_mean(name[:MAX_NAME], known) or '.'}"
            )
        if name in values:
            raise Refused(400, f"{name}: stands there twice.")
        values[name] = known[name](name, value)
    return Query(**values)


def _pairs(text: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError:
        raise Refused(400, "The query is not text in UTF-8, or has more than 100 parameters.") from None


def _plain(name: str, value: str) -> str:
    if not value or len(value) > MAX_NAME or not value.isprintable():
        raise Refused(400, f"{name}: expected 1 to {MAX_NAME} printable characters.")
    return value


def _format(name: str, value: str) -> str:
    if not is_format(value):
        raise Refused(400, f"{name}: expected {EXPECTED}.")
    return _plain(name, value)


def _flag(name: str, value: str) -> bool:
    if value not in ("true", "false", "1", "0"):
        raise Refused(400, f"{name}: expected true or false.")
    return value in ("true", "1")


def _delimiter(name: str, value: str) -> str:
    value = _DELIMITERS.get(value, value)
    if len(value) != 1 or not (value == "\t" or (value.isascii() and value.isprintable())) or value in "\"'`":
        raise Refused(400, f"{name}: expected one printable ASCII character that is no quote, or tab.")
    return value


def _headers(name: str, value: str) -> list[str]:
    """Names as a JSON array, or separated by commas."""
    names: Any = value.split(",")
    if value.startswith("["):
        try:
            names = json.loads(value)
        except (ValueError, RecursionError):
            names = None
    if not isinstance(names, list) or not 0 < len(names) <= MAX_COLUMNS or not all(map(_is_name, names)):
        raise Refused(
            400,
            f"{name}: expected the columns' names, separated by commas or as a JSON array; at most {MAX_COLUMNS:,}.",
        )
    twice = repeated(names)
    if twice is not None:
        raise Refused(400, f"{name}: {quoted(twice)} stands there twice.")
    return names


def _append(name: str, value: str) -> dict[str, str]:
    """The constants' JSON texts, numbers as they came."""
    try:
        found = json.loads(
            value, parse_float=_Number, parse_int=_Number, parse_constant=_refuse, object_pairs_hook=_once
        )
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not found or len(found) > MAX_CONSTANTS or not all(map(_is_name, found)):
        raise Refused(400, f"{name}: expected a JSON object of 1 to {MAX_CONSTANTS} constants, each once.")
    texts = {}
    for key, constant in found.items():
        if not isinstance(constant, str | bool):
            raise Refused(400, f"{name}: {quoted(key)} is neither text, a number, true nor false.")
        texts[key] = str(constant) if isinstance(constant, _Number) else json.dumps(constant, ensure_ascii=False)
    return texts


class _Number(str):
    """A number's text as it came."""

    __slots__ = ()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a name stands there twice")
    return dict(pairs)


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")


def _is_name(value: Any) -> bool:
    """A column's name: text that can be written."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _filename(name: str, value: str) -> str:
    if not 0 < len(value) <= _FILENAME or not value.isprintable():
        raise Refused(400, f"{name}: expected 1 to {_FILENAME} printable characters.")
    return value


_CSV_ONLY: Final = ("headers", "delimiter")
_READ: Final[Mapping[str, Callable[[str, str], Any]]] = {
    "timestamp_field": _plain,
    "timestamp_format": _format,
    "headers": _headers,
    "delimiter": _delimiter,
    "append": _append,
    "droperrors": _flag,
    "dryrun": _flag,
    "filename": _filename,
}
