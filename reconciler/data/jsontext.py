"""Columns that hold exact JSON text.

What JSON holds cannot always be a column of one type: nested values, a mixture of types, numbers that no double keeps,
an explicit `null` among values. Such a column keeps every value's JSON text as it came, and its field says so in its
metadata. `null` in the column itself means that the key was absent. Where all values but `null` are of one type, the
field also names that type, so that a reader who wants one can have it.
"""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa

from reconciler.data.engine import query

#: On a field: its values are JSON text. The value is the type that all of them have, empty where there is none.
JSON: Final = b"reconciler.json"

#: On a field: a null means that the key was absent, not that it was null.
ABSENT: Final = b"reconciler.absent"

#: The types that a JSON column may name, and how a value's text becomes one.
_DECODED: Final = {
    "string": "json_extract_string(c0, '$')",
    "int64": "TRY_CAST(c0 AS BIGINT)",
    "double": "TRY_CAST(c0 AS DOUBLE)",
    "bool": "TRY_CAST(c0 AS BOOLEAN)",
}
TYPES: Final = {"string": pa.string(), "int64": pa.int64(), "double": pa.float64(), "bool": pa.bool_()}


def is_json(field: pa.Field) -> bool:
    """Whether the column holds JSON text."""
    return JSON in (field.metadata or {})


def null_is_absent(field: pa.Field) -> bool:
    """Whether a null in the column says that the key was absent."""
    return ABSENT in (field.metadata or {})


def meaning(field: pa.Field) -> list[tuple[bytes, bytes]]:
    """What the field's metadata says beyond its type."""
    return [(key, field.metadata[key]) for key in (JSON, ABSENT) if key in (field.metadata or {})]


def plain_type(field: pa.Field) -> pa.DataType | None:
    """The type of the column's values; None where JSON text is all that they have in common."""
    if not is_json(field):
        return field.type
    return TYPES.get(field.metadata[JSON].decode())


def json_field(name: str, inner: str = "") -> pa.Field:
    """A field of JSON text; `inner` is one of `TYPES` or empty."""
    return pa.field(name, pa.string(), metadata={JSON: inner.encode(), ABSENT: b"1"})


def plain(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    """The column in its `plain_type`; as it is where it has none."""
    if not is_json(field) or plain_type(field) is None:
        return column
    return _ask(column, _DECODED[field.metadata[JSON].decode()])


def plain_text(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    """The column with JSON text read: strings without their quotes, everything else as it stands."""
    return _ask(column, _DECODED["string"]) if is_json(field) else column


def whole(column: Any) -> pa.Array:
    """A column as one array."""
    joined = column.combine_chunks()
    return joined if isinstance(joined, pa.Array) else pa.concat_arrays(joined.chunks)


def _ask(column: pa.ChunkedArray, expression: str) -> pa.ChunkedArray:
    return query(f"SELECT {expression} AS c0 FROM given", given=pa.table({"c0": column})).column("c0")
