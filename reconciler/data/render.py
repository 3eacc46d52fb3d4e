"""Values as text and messages as JSON, in SQL that DuckDB runs over whole columns.

The same table of forms serves JSON, CSV and the widening of columns to text, so a value is written in one way only:
numbers as they print, without loss; times as ISO 8601 (`2013-01-01T05:00:00`, with `Z` where the type knows its zone);
dates `2013-01-01`; binary as base64; lists, structs and maps as JSON. JSON has no NaN and no infinities: they are null.
Columns that hold JSON text are written as they are.

Columns are `c0`, `c1`, … here, because DuckDB ignores case in names.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from reconciler.data.engine import query
from reconciler.data.jsontext import is_json, null_is_absent
from reconciler.data.names import placeholders, sql_string

_T: Final = pa.types


def json_messages(table: pa.Table, names: Sequence[str]) -> pa.ChunkedArray:
    """Each row as the text of a JSON object under these names, one for each column."""
    pieces = [
        _member(field, name, column)
        for field, name, column in zip(table.schema, names, placeholders(table.num_columns), strict=True)
    ]
    return _ask(table, f"'{{' || substr(concat({', '.join(pieces)}), 2) || '}}'")


def csv_lines(table: pa.Table, delimiter: str, quote: str) -> pa.ChunkedArray:
    """Each row as a line with its newline. A null is an empty field; a lone empty field is quoted, for an empty line
    would be no row."""
    special = "[" + "".join(f"\\x{{{ord(one):x}}}" for one in (delimiter, quote, "\r", "\n")) + "]"
    twice = sql_string(quote * 2)
    mark = sql_string(quote)
    fields = []
    for field, column in zip(table.schema, placeholders(table.num_columns), strict=True):
        text = f"coalesce({text_sql(field, column)}, '')"
        quoted = f"{mark} || replace({text}, {mark}, {twice}) || {mark}"
        plain = text if table.num_columns > 1 else f"CASE WHEN {text} = '' THEN {twice} ELSE {text} END"
        fields.append(f"CASE WHEN regexp_matches({text}, {sql_string(special)}) THEN {quoted} ELSE {plain} END")
    return _ask(table, f" || {sql_string(delimiter)} || ".join(fields) + " || chr(10)")


def as_text(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    """A column's values as text; null stays null."""
    return _ask(pa.table([column], schema=pa.schema([field])), text_sql(field, "c0"))


def as_json(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    """A column's values as JSON text; null stays null."""
    return _ask(pa.table([column], schema=pa.schema([field])), json_sql(field, "c0"))


def text_sql(field: pa.Field, column: str) -> str:
    """The SQL of a value's text."""
    return column if is_json(field) else _text(field.type, column)[0]


def json_sql(field: pa.Field, column: str) -> str:
    """The SQL of a value's JSON text."""
    return column if is_json(field) else _json(field.type, column)


def _member(field: pa.Field, name: str, column: str) -> str:
    key = sql_string("," + json.dumps(name, ensure_ascii=False) + ":")
    text = json_sql(field, column)
    if null_is_absent(field):
        return f"CASE WHEN {column} IS NULL THEN '' ELSE {key} || {text} END"
    return f"{key} || coalesce({text}, 'null')"


def _json(kind: pa.DataType, column: str, depth: int = 0) -> str:
    text, literal = _text(kind, column, depth)
    if _T.is_floating(kind):
        return f"CASE WHEN isfinite({column}) THEN {text} END"
    return text if literal else f"to_json({text})"


def _text(kind: pa.DataType, column: str, depth: int = 0) -> tuple[str, bool]:
    """The SQL of a value's text, and whether that text is JSON as it stands."""
    if _T.is_string(kind):
        return column, False
    if _T.is_boolean(kind) or _T.is_integer(kind) or _T.is_floating(kind) or _T.is_decimal(kind):
        return f"{column}::VARCHAR", True
    if _T.is_timestamp(kind):
        naive = f"{column}::TIMESTAMP_NS" if kind.unit == "ns" else f"{column}::TIMESTAMP"
        return f"replace({naive}::VARCHAR, ' ', 'T')" + (" || 'Z'" if kind.tz else ""), False
    if _T.is_binary(kind) or _T.is_fixed_size_binary(kind):
        return f"base64({column})", False
    if _T.is_list(kind):
        return _list(kind.value_type, column, depth), True
    if _T.is_struct(kind):
        return _struct(kind, column, depth), True
    if _T.is_map(kind):
        return _map(kind, column, depth), True
    return f"{column}::VARCHAR", False


def _list(kind: pa.DataType, column: str, depth: int) -> str:
    one = f"x{depth}"
    text = f"coalesce({_json(kind, one, depth + 1)}, 'null')"
    return f"'[' || array_to_string(list_transform({column}, lambda {one}: {text}), ',') || ']'"


def _struct(kind: pa.StructType, column: str, depth: int) -> str:
    pieces = []
    for index in range(kind.num_fields):
        field = kind.field(index)
        value = f"struct_extract({column}, {sql_string(field.name)})"
        key = sql_string(("," if index else "") + json.dumps(field.name, ensure_ascii=False) + ":")
        pieces.append(f"{key} || coalesce({_json(field.type, value, depth)}, 'null')")
    inner = " || ".join(pieces) or "''"
    return f"CASE WHEN {column} IS NOT NULL THEN '{{' || {inner} || '}}' END"


def _map(kind: pa.MapType, column: str, depth: int) -> str:
    """A map is an object; a key that is not text is written as its text."""
    one = f"x{depth}"
    key, value = f"struct_extract({one}, 'key')", f"struct_extract({one}, 'value')"
    name = f"to_json({_text(kind.key_type, key, depth + 1)[0]})"
    text = f"{name} || ':' || coalesce({_json(kind.item_type, value, depth + 1)}, 'null')"
    return f"'{{' || array_to_string(list_transform(map_entries({column}), lambda {one}: {text}), ',') || '}}'"


def _ask(table: pa.Table, expression: str) -> pa.ChunkedArray:
    given = table.rename_columns(placeholders(table.num_columns)).replace_schema_metadata(None)
    return query(f"SELECT ({expression})::VARCHAR AS text FROM given", given=given).column("text")
