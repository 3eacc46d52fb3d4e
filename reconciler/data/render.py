"""Values as text and messages as JSON, in SQL that DuckDB runs over whole columns.

The same table of forms serves JSON, CSV and the widening of columns to text, so a value is written in one way only:
numbers as they print, without loss; times as ISO 8601 (`2013-01-01T05:00:00`, with `Z` where the type knows its zone);
dates `2013-01-01`; binary as base64; lists, structs and maps as JSON. JSON has no NaN and no infinities: they are null.
Columns that hold JSON text are written as they are.

Columns are `c0`, `c1`, … here, because DuckDB ignores case in names.

Messages are mostly text that JSON holds as it stands, and whole numbers: Arrow puts those together alone, in a fifth of the
time. What it makes is the same, byte for byte: what a run has promised to send must read so for ever.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reconciler.data.engine import query
from reconciler.data.jsontext import is_json, null_is_absent, whole
from reconciler.data.names import placeholders, sql_string

_T: Final = pa.types
#: One Arrow array of texts cannot hold more than 2 GiB; what may come near that is left to DuckDB.
MAX_JOINED_BYTES: Final = 1 << 30


def json_messages(table: pa.Table, names: Sequence[str]) -> pa.ChunkedArray:
    """Each row as the text of a JSON object under these names, one for each column."""
    keys = [f",{json.dumps(name, ensure_ascii=False)}:" for name in names]
    around = sum(len(key.encode("utf-8", "replace")) + 24 for key in keys) * table.num_rows
    if not keys:
        return pa.chunked_array([["{}"] * table.num_rows], pa.string())
    if around + 6 * table.nbytes <= MAX_JOINED_BYTES:
        return _joined(table, keys)
    return _messages_sql(table, keys)


def _messages_sql(table: pa.Table, keys: Sequence[str]) -> pa.ChunkedArray:
    pieces = [
        _member(field, sql_string(key), column)
        for field, key, column in zip(table.schema, keys, placeholders(table.num_columns), strict=True)
    ]
    return _ask(table, f"'{{' || substr(concat({', '.join(pieces)}), 2) || '}}'")


def _joined(table: pa.Table, keys: Sequence[str]) -> pa.ChunkedArray:
    """The same, put together by Arrow; DuckDB is asked for the columns that need it."""
    fields, columns = list(table.schema), [whole(column) for column in table.columns]
    plain = [_plain_json(column, field) for column, field in zip(columns, fields, strict=True)]
    asked = _texts_sql(table, [index for index, one in enumerate(plain) if one is None])
    texts = [one or (asked[index], "") for index, one in enumerate(plain)]
    begins = not (texts[0][0].null_count and null_is_absent(fields[0]))  # every message has its first member
    keys = [keys[0][1:], *keys[1:]] if begins else keys
    pieces: list[pa.Array | str] = []
    before = "{" if begins else ""  # text that stands in every row, up to the next column's
    for field, key, (text, quote) in zip(fields, keys, texts, strict=True):
        if not text.null_count:
            pieces += [before + key + quote, text]
            before = quote
        elif null_is_absent(field):
            pieces += [before, pc.coalesce(_join(key + quote, text, quote), "")]
            before = ""
        else:
            pieces += [before + key, pc.coalesce(_join(quote, text, quote), "null")]
            before = ""
    if begins:
        return pa.chunked_array([_join(*pieces, before + "}")])
    return pa.chunked_array([_join("{", pc.utf8_slice_codeunits(_join(*pieces, before), 1), "}")])


def _join(*pieces: pa.Array | str) -> pa.Array:
    return pc.binary_join_element_wise(*pieces, "")


def _plain_json(column: pa.Array, field: pa.Field) -> tuple[pa.Array, str] | None:
    """A column's JSON texts, and the quote that is to stand around them, where that takes no more than Arrow."""
    kind = field.type
    if is_json(field):
        return column, ""
    if _T.is_string(kind):
        return None if _needs_escapes(column) else (column, '"')
    if _T.is_boolean(kind) or _T.is_integer(kind):
        return pc.cast(column, pa.string()), ""
    return None


def _needs_escapes(column: pa.StringArray) -> bool:
    """Whether JSON has to escape anything in these texts: a quote, a backslash, a control character."""
    _, offsets, data = column.buffers()
    if not len(column) or data is None:
        return False
    ends = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    codes = np.frombuffer(data, np.uint8)[ends[0] : ends[-1]]
    return bool(codes.size and (codes.min() < 0x20 or (codes == ord('"')).any() or (codes == ord("\\")).any()))


def _texts_sql(table: pa.Table, indices: Sequence[int]) -> dict[int, pa.Array]:
    """The JSON texts of these columns."""
    if not indices:
        return {}
    given = _given(table)
    texts = [f"{_json(table.schema.field(index).type, f'c{index}')} AS c{index}" for index in indices]
    found = query(f"SELECT {', '.join(texts)} FROM given", given=given.select([f"c{index}" for index in indices]))
    return {index: whole(column) for index, column in zip(indices, found.columns, strict=True)}


def csv_lines(table: pa.Table, delimiter: str, quote: str) -> pa.ChunkedArray:
    """Each row as a line with its newline. A null is an empty field; a lone empty field is quoted, for an empty line
    would be no row; so is one that begins with U+FEFF, which whoever reads the file would take for its mark."""
    special = "[" + "".join(f"\\x{{{ord(one):x}}}" for one in (delimiter, quote, "\r", "\n")) + r"]|^\x{feff}"
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


def _member(field: pa.Field, key: str, column: str) -> str:
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
    return query(f"SELECT ({expression})::VARCHAR AS text FROM given", given=_given(table)).column("text")


def _given(table: pa.Table) -> pa.Table:
    return table.rename_columns(placeholders(table.num_columns)).replace_schema_metadata(None)
