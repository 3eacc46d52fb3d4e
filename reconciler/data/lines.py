"""Lines of JSON (NDJSON) as tables, with a type only where every value has it and nothing is lost.

A column is text, int64, double or bool where all its values are, and where the value written out again is what came;
everything else is exact JSON text (`jsontext`). A string that looks like a date stays a string. A key that a line does
not have is absent there, which is not `null`.

DuckDB says which lines are valid. Its parser forgives a trailing comma, NaN and Infinity, so lines where those could
stand are asked again, one by one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from reconciler.core.provider import Reject
from reconciler.data.blocks import Parsed, Tail
from reconciler.data.engine import query
from reconciler.data.jsontext import ABSENT, TYPES, json_field, whole
from reconciler.data.tokens import Members, Positions, members
from reconciler.errors import Fatal

#: More different keys in one block are an error: they are data in the place of names.
MAX_KEYS: Final = 2_000

#: Lines nested deeper than this are rejected.
MAX_DEPTH: Final = 128

#: A block with more cells than this (rows times keys, most of them empty) is an error: it would not fit its memory.
MAX_CELLS: Final = 50_000_000

_DUBIOUS: Final = r"[:\[,]\s*-?(?i:nan|inf)|,\s*[}\]]"
_VALID: Final = (
    f"SELECT json_valid(c0) AS valid, regexp_matches(c0, '{_DUBIOUS}') AS dubious, "
    r"regexp_matches(c0, '^[\s]*\{') AS object FROM given"
)
_EMPTY: Final = pa.table({})
_UNREADABLE: Final = "not valid text in the file's encoding"
_TOO_DEEP: Final = f"nested deeper than {MAX_DEPTH}"

_STRING, _NUMBER, _BOOL, _NULL, _NESTED = range(5)
_CLASS: Final = np.full(256, _NESTED, dtype=np.uint8)
_CLASS[ord('"')] = _STRING
_CLASS[list(b"-0123456789")] = _NUMBER
_CLASS[list(b"tf")] = _BOOL
_CLASS[ord("n")] = _NULL


class JsonLines:
    """An NDJSON file's records: one line each, and a CR alone ends none."""

    returns = False

    def begin(self, data: bytes, final: bool) -> int | None:  # noqa: ARG002
        return 0

    def boundary(self, data: bytes, final: bool) -> int:
        return len(data) if final else data.rfind(b"\n") + 1

    def tail(self, data: bytes) -> Tail:
        return "" if data.endswith(b"\n") else "open"

    def parse(self, data: bytes, line: int) -> Parsed:
        return parse_lines(data, line)


def parse_lines(data: bytes, line: int, *, are_good: bool = False) -> Parsed:
    """The table of the good lines, and the bad ones with their line numbers (`line` is the first). Blank lines are
    left out. `are_good`: each line is known to be a valid JSON object."""
    if not data.endswith(b"\n"):
        data += b"\n"
    starts = _starts(data)
    reasons = {} if are_good else _bad(data, starts)
    good, numbers = _without(data, starts, set(reasons))
    table, refused = _table(good)
    reasons |= {int(numbers[row]): reason for row, reason in refused.items()}
    if refused:
        good, numbers = _without(data, starts, set(reasons))
        table, _ = _table(good)
    rejects = [
        Reject(line + row, reason, _line(data, starts, row).decode(errors="backslashreplace"))
        for row, reason in sorted(reasons.items())
        if reason
    ]

    def locate(rows: Sequence[int]) -> Sequence[tuple[int, str]]:
        found = [int(numbers[row]) for row in rows]
        return [(line + row, _line(data, starts, row).decode()) for row in found]

    return Parsed(table, tuple(rejects), locate)


def _starts(data: bytes) -> Positions:
    ends = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == ord("\n"))
    return np.concatenate(([0], ends + 1))


def _line(data: bytes, starts: Positions, row: int) -> bytes:
    return data[starts[row] : starts[row + 1]].rstrip(b"\r\n")


def _slices(data: bytes, offsets: Positions) -> pa.BinaryArray:
    """Arrow's view of the pieces of `data` between neighbouring offsets, nothing copied."""
    buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.binary(), len(offsets) - 1, buffers)


# --- which lines are good ---------------------------------------------------------------------------------------------


def _bad(data: bytes, starts: Positions) -> dict[int, str]:
    """The rows that are no objects, with the reason; an empty reason for blank lines."""
    if not data.strip():
        return dict.fromkeys(range(len(starts) - 1), "")
    reasons = _undecodable(data, starts)
    texts = _slices(data, starts)
    if reasons:
        keep = np.ones(len(texts), dtype=bool)
        keep[list(reasons)] = False
        texts = pc.if_else(pa.array(keep), texts, b"0")
    found = query(_VALID, given=pa.table({"c0": texts.cast(pa.string())}))
    valid, dubious, objects = (whole(found.column(index)).to_numpy(zero_copy_only=False) for index in range(3))
    for row in np.flatnonzero(~valid | dubious | ~objects).tolist():
        if row not in reasons:
            reason = _complaint(_line(data, starts, row))
            if reason is not None or not valid[row]:
                reasons[row] = "not JSON" if reason is None else reason
    return reasons


def _undecodable(data: bytes, starts: Positions) -> dict[int, str]:
    try:
        data.decode()
        return {}
    except UnicodeDecodeError as error:
        first = int(np.searchsorted(starts, error.start, side="right")) - 1
    return {row: _UNREADABLE for row in range(first, len(starts) - 1) if not _decodes(_line(data, starts, row))}


def _decodes(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _complaint(line: bytes) -> str | None:
    """Why a line is no JSON object; empty for a blank line, None where nothing is wrong with it."""
    if not line.strip():
        return ""
    try:
        value = json.loads(line.decode(), parse_constant=_refuse)
    except json.JSONDecodeError as error:
        return f"not JSON: {error.msg.removesuffix(' at')} at column {error.colno}"
    except RecursionError:
        return _TOO_DEEP
    except ValueError as error:
        return f"not JSON: {error}"
    if not isinstance(value, dict):
        return "not a JSON object"
    return None if _strictly_encodable(value) else "not JSON: a string holds half of a surrogate pair"


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")


def _strictly_encodable(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _without(data: bytes, starts: Positions, rows: set[int]) -> tuple[bytes, Positions]:
    """The lines without some of them, and which rows are left."""
    keep = np.ones(len(starts) - 1, dtype=bool)
    keep[list(rows)] = False
    left = np.flatnonzero(keep)
    if not rows:
        return data, left
    pieces = _slices(data, starts).filter(pa.array(keep))
    return b"".join(pieces.to_pylist()), left


# --- columns ----------------------------------------------------------------------------------------------------------


def _table(data: bytes) -> tuple[pa.Table, dict[int, str]]:
    """The table of valid lines; or the rows that are nested too deep or repeat a key, and no table."""
    if not data:
        return _EMPTY, {}
    count = data.count(b"\n")
    found = members(data)
    if not len(found.row):
        return _rows_without_columns(count), {}
    names, codes = _keys(data, found)
    if count * len(names) > MAX_CELLS:
        raise Fatal(f"{len(names)} different keys in {count} lines; keys that are data cannot be columns")
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(len(names) + 1))
    groups = [order[bounds[index] : bounds[index + 1]] for index in range(len(names))]
    refused = _doubled(found, names, groups) | {
        int(row): _TOO_DEEP for row in np.flatnonzero(found.deepest > MAX_DEPTH)
    }
    if refused:
        return _EMPTY, refused
    texts = _spans(data, found.value_start, found.value_end)
    classes = _CLASS[np.frombuffer(data, dtype=np.uint8)[found.value_start]]
    fields, columns = [], []
    for name, group in zip(names, groups, strict=True):
        field, column = _column(name, _take(texts, group), classes[group])
        fields.append(field)
        columns.append(_spread(column, found.row[group], count))
    return pa.table(columns, schema=pa.schema(fields)), {}


def _rows_without_columns(count: int) -> pa.Table:
    """Objects without members are messages too; a table must have a column to have rows."""
    return pa.table([pa.nulls(count, pa.string())], schema=pa.schema([json_field("column0")]))


def _spans(data: bytes, starts: Positions, ends: Positions) -> pa.StringArray:
    """The texts between starts and ends, which must rise and not overlap."""
    between = np.empty(2 * len(starts), dtype=np.int64)
    between[0::2], between[1::2] = starts, ends
    pieces = _slices(data, between)
    taken = pieces.take(pa.array(np.arange(0, len(pieces), 2)))
    return taken.view(pa.string())


def _keys(data: bytes, found: Members) -> tuple[list[str], npt.NDArray[np.int64]]:
    """The different keys in order of appearance, and which of them each member has."""
    encoded = _spans(data, found.key_start, found.key_end).dictionary_encode()
    written = encoded.dictionary.to_pylist()
    if len(written) > MAX_KEYS:
        raise Fatal(f"more than {MAX_KEYS} different keys in one block; keys that are data cannot be columns")
    keys = [json.loads(f'"{key}"') if "\\" in key else key for key in written]
    names = list(dict.fromkeys(keys))
    number = {name: index for index, name in enumerate(names)}
    return names, np.array([number[key] for key in keys])[encoded.indices.to_numpy()]


def _doubled(found: Members, names: list[str], groups: list[Positions]) -> dict[int, str]:
    rows = {}
    for name, group in zip(names, groups, strict=True):
        row = found.row[group]
        for repeated in row[1:][row[1:] == row[:-1]]:
            rows[int(repeated)] = f"the key {name!r} stands there twice"
    return rows


def _take(texts: pa.StringArray, group: Positions) -> pa.StringArray:
    return texts if len(group) == len(texts) else texts.take(pa.array(group))


def _spread(column: pa.Array, rows: Positions, count: int) -> pa.Array:
    """The column with a null for each row that it lacks."""
    if len(rows) == count:
        return column
    source = np.zeros(count, dtype=np.int64)
    missing = np.ones(count, dtype=bool)
    source[rows] = np.arange(len(rows))
    missing[rows] = False
    return column.take(pa.array(source, mask=missing))


def _column(name: str, texts: pa.StringArray, classes: Any) -> tuple[pa.Field, pa.Array]:
    """The values of one key as a typed column where that loses nothing, else as JSON text."""
    kinds = set(np.unique(classes).tolist())
    inner, typed = _typed(texts, kinds - {_NULL}, _NULL in kinds)
    if typed is None or _NULL in kinds:
        return json_field(name, inner), texts
    return pa.field(name, TYPES[inner], metadata={ABSENT: b"1"}), typed


def _typed(texts: pa.StringArray, kinds: set[int], nulls: bool) -> tuple[str, pa.Array | None]:
    """The type that all values have (empty where there is none), and the values in it where writing them out again
    gives what came."""
    if nulls and kinds:
        texts = texts.filter(pc.not_equal(texts, "null"))
    if kinds == {_STRING}:
        return _strings(texts)
    if kinds == {_BOOL}:
        return "bool", pc.equal(texts, "true")
    return _numbers(texts) if kinds == {_NUMBER} else ("", None)


def _strings(texts: pa.StringArray) -> tuple[str, pa.Array]:
    if not pc.any(pc.match_substring(texts, "\\")).as_py():
        return "string", pc.binary_slice(texts.view(pa.binary()), 1, -1).view(pa.string())
    found = query("SELECT json_extract_string(c0, '$') AS c0 FROM given", given=pa.table({"c0": texts}))
    return "string", whole(found.column("c0"))


_AS_DOUBLE: Final = r"""
SELECT value AS c0, bool_and(value::VARCHAR = c0) OVER () AS same, bool_and(isfinite(value) AND (
  value::VARCHAR = c0 OR (length(ltrim(regexp_replace(c0, '[eE].*|[-.]', '', 'g'), '0')) <= 15
                          AND (value = 0 OR abs(value) BETWEEN 1e-290 AND 1e290)))) OVER () AS kept
FROM (SELECT c0, c0::DOUBLE AS value FROM given)
"""


def _numbers(texts: pa.StringArray) -> tuple[str, pa.Array | None]:
    try:
        typed = texts.cast(pa.int64())
        return "int64", typed if not pc.any(pc.equal(texts, "-0")).as_py() else None
    except pa.ArrowInvalid:
        pass
    found = query(_AS_DOUBLE, given=pa.table({"c0": texts}))
    if not found.column("kept")[0].as_py():
        return "", None
    return "double", whole(found.column("c0")) if found.column("same")[0].as_py() else None
