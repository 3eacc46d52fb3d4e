"""Parquet files as tables, types kept, nested ones too.

Only what no reader of ours needs to know is levelled: dictionaries become their values, large and view layouts the
plain ones, half floats floats, and decimals of more than 38 digits exact text. A Parquet file is not appended to, so it
is known by the digest of all its bytes: any change lands it whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from reconciler.core.provider import Block, Json, Locate
from reconciler.data.blocks import CHANGED
from reconciler.data.content import Look, hold_still, look, not_a_mark, opened, trusted
from reconciler.data.names import MAX_COLUMNS, distinct, placeholders
from reconciler.data.render import json_messages
from reconciler.data.row_groups import rows_at_once
from reconciler.errors import Fatal

#: Rows read at once at most, and the bounds of one block: whichever comes first.
BATCH_ROWS: Final = 16_384
BLOCK_ROWS: Final = 131_072

_CHUNK: Final = 1 << 20


def parquet_blocks(path: Path, mark: Json, *, block_bytes: int, now_ms: int) -> Iterator[Block]:
    """The file's rows behind the mark. Raises Retriable and Fatal, without the file's name."""
    with opened(path) as file:
        before = look(path)
        digest = _digest(file)
        if mark is not None and not isinstance(mark.get("rows"), int):
            raise not_a_mark()
        same = mark is not None and mark.get("digest") == digest
        at = mark["rows"] if same else 0
        note = CHANGED if mark is not None and not same else ""
        try:
            for table, last in _tables(file, at, block_bytes):
                at += table.num_rows
                hold_still(path, file, before)
                new = _mark(digest, at, trusted(before, now_ms) if last else None)
                if table.num_rows or new != mark:
                    yield Block(table, (), new, note, _locate(table, at - table.num_rows))
                    note = ""
        except (pa.ArrowException, OSError) as error:
            raise Fatal(f"not a readable Parquet file: {str(error).splitlines()[0]}") from None


def _locate(table: pa.Table, before: int) -> Locate:
    """Rows of a Parquet file stand at their number, and read as JSON."""

    def locate(rows: Sequence[int]) -> Sequence[tuple[int, str]]:
        texts = json_messages(table.take(list(rows)), table.column_names).to_pylist()
        return [(before + row + 1, text) for row, text in zip(rows, texts, strict=True)]

    return locate


def _mark(digest: str, rows: int, seen: Look | None) -> Json:
    return {"digest": digest, "rows": rows} | ({"seen": seen} if seen else {})


def _digest(file: IO[bytes]) -> str:
    found = hashlib.sha256()
    while data := file.read(_CHUNK):
        found.update(data)
    file.seek(0)
    return found.hexdigest()[:32]


def _tables(file: IO[bytes], skip: int, block_bytes: int) -> Iterator[tuple[pa.Table, bool]]:
    """The rows from number `skip` on in tables of bounded size, each with whether it is the last; at least one."""
    source = pa.PythonFile(file, mode="r")
    with pq.ParquetFile(source) as parquet:
        schema = _schema(parquet.schema_arrow)
        left = parquet.metadata.num_rows - skip
        held: list[pa.Table] = []
        for piece in _pieces(parquet, source, skip, schema, block_bytes):
            held.append(piece)
            left -= piece.num_rows
            if left and _is_full(held, block_bytes):
                yield pa.concat_tables(held), False
                held = []
        yield pa.concat_tables(held) if held else schema.empty_table(), True


def _is_full(held: list[pa.Table], block_bytes: int) -> bool:
    rows, size = sum(one.num_rows for one in held), sum(one.nbytes for one in held)
    return bool(rows >= BLOCK_ROWS or size >= block_bytes)


def _pieces(
    parquet: pq.ParquetFile, source: pa.PythonFile, skip: int, schema: pa.Schema, block_bytes: int
) -> Iterator[pa.Table]:
    for group in range(parquet.num_row_groups):
        rows = parquet.metadata.row_group(group).num_rows
        if skip >= rows:
            skip -= rows
            continue
        at_once = rows_at_once(parquet, source, group, BATCH_ROWS, block_bytes)
        for batch in parquet.iter_batches(batch_size=at_once, row_groups=[group], use_threads=False):
            piece = pa.Table.from_batches([batch]).slice(min(skip, batch.num_rows))
            skip = max(0, skip - batch.num_rows)
            if piece.num_rows:
                yield _levelled(piece, schema)


def _levelled(piece: pa.Table, schema: pa.Schema) -> pa.Table:
    piece = piece.rename_columns(placeholders(piece.num_columns))
    columns = [_cast(column, field.type) for column, field in zip(piece.columns, schema, strict=True)]
    table = pa.table(columns, schema=schema)
    table.validate(full=True)
    return table


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if isinstance(column.type, pa.ExtensionType | pa.BaseExtensionType):
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
    return column if column.type == kind else column.cast(kind)


def _schema(found: pa.Schema) -> pa.Schema:
    if len(found) > MAX_COLUMNS:
        raise Fatal(f"{len(found)} columns; a file may have {MAX_COLUMNS}")
    return pa.schema([
        pa.field(name, _level(field.type, name))
        for name, field in zip(distinct(found.names), found, strict=True)
    ])  # fmt: skip


def _level(kind: Any, name: str) -> pa.DataType:
    """The type that is stored for a column of type `kind`. Raises Fatal for one that cannot be kept."""
    is_ = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _level(kind.storage_type, name)
    if is_.is_dictionary(kind) or is_.is_run_end_encoded(kind):
        return _level(kind.value_type, name)
    if is_.is_large_string(kind) or is_.is_string_view(kind):
        return pa.string()
    if is_.is_large_binary(kind) or is_.is_binary_view(kind):
        return pa.binary()
    if is_.is_float16(kind):
        return pa.float32()
    if is_.is_decimal(kind):
        return pa.decimal128(kind.precision, kind.scale) if kind.precision <= 38 else pa.string()
    if is_.is_map(kind):
        return pa.map_(_level(kind.key_type, name), _level(kind.item_type, name))
    if is_.is_list(kind) or is_.is_large_list(kind) or is_.is_fixed_size_list(kind):
        return pa.list_(_level(kind.value_type, name))
    if is_.is_struct(kind):
        return _struct(kind, name)
    if is_.is_primitive(kind) or is_.is_null(kind) or is_.is_string(kind) or is_.is_binary(kind):
        return kind
    if is_.is_boolean(kind) or is_.is_fixed_size_binary(kind):
        return kind
    raise Fatal(f"column {name!r} is of type {kind}, which cannot be kept")


def _struct(kind: pa.StructType, name: str) -> pa.DataType:
    fields = [kind.field(index) for index in range(kind.num_fields)]
    if len({field.name.lower() for field in fields}) < len(fields):
        raise Fatal(f"column {name!r} has fields whose names differ only in case, or not at all")
    return pa.struct([pa.field(field.name, _level(field.type, name)) for field in fields])
