"""Messages of a stream as one file: CSV, NDJSON or Parquet.

The file is written under a temporary name beside its own and renamed once it is on the disk, so nobody sees half of it,
and memory does not grow with it: DuckDB writes whole lines as text columns, whose buffers are the file's bytes.
A stream without messages makes a file too.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reconciler.data.durable import replaced
from reconciler.data.jsontext import whole
from reconciler.data.render import csv_lines, json_messages
from reconciler.data.store import GROUP_ROWS
from reconciler.data.stream import SegmentReader

#: Arrow's own gzip uses level 9: ten times slower for files hardly smaller.
GZIP_LEVEL: Final = 6

Kind = Literal["csv", "ndjson", "parquet"]

#: How a path's ending names a compression, where none is asked for.
ENDINGS: Final = {".gz": "gzip", ".zst": "zstd"}


def write_file(
    path: Path, kind: Kind, reader: SegmentReader, first: int, stop: int, *, meta: bool, options: Mapping[str, Any],
    temporary: str,
) -> int:  # fmt: skip
    """Writes messages `first <= position < stop` to `path` and returns how many. `temporary` is the name under which
    the file is written first. Options: `delimiter`, `quote`, `header` for CSV; `compression`: `auto` (by the path's
    ending; zstd inside Parquet), `none`, `gzip`, `zstd`. Raises Retriable where the disk refuses."""
    with replaced(path, path.with_name(temporary), is_private=False) as unfinished:
        if kind == "parquet":
            return _parquet(unfinished, reader, first, stop, meta, options)
        pieces = _csv(reader, first, stop, meta, options) if kind == "csv" else _ndjson(reader, first, stop, meta)
        return write_text(unfinished, pieces, path, options)


def _compression(path: Path, options: Mapping[str, Any]) -> str:
    asked = options.get("compression", "auto")
    return ENDINGS.get(path.suffix, "none") if asked == "auto" else str(asked)


def write_text(unfinished: Path, pieces: Iterator[tuple[int, pa.Array]], path: Path, options: Mapping[str, Any]) -> int:
    """Writes pieces of (rows, lines), compressed as the options or the ending of `path` say; the rows written."""
    rows = 0
    with pa.OSFile(str(unfinished), "wb") as file, _compressed(file, _compression(path, options)) as out:
        for count, lines in pieces:
            out.write(_bytes(lines))
            rows += count
    return rows


def _compressed(file: pa.NativeFile, compression: str) -> Any:
    if compression == "none":
        return nullcontext(file)
    if compression == "gzip":  # without a time in its header: the same messages make the same file
        return gzip.GzipFile(fileobj=file, mode="wb", compresslevel=GZIP_LEVEL, mtime=0, filename="")
    return pa.CompressedOutputStream(file, compression)


def _bytes(lines: pa.Array) -> Any:
    """The texts of an array one after the other, as they stand in its buffer."""
    if not len(lines):
        return b""
    width = 8 if pa.types.is_large_string(lines.type) else 4
    _, offsets, data = lines.buffers()
    ends = memoryview(offsets).cast("q" if width == 8 else "i")
    return data.slice(ends[lines.offset], ends[lines.offset + len(lines)] - ends[lines.offset])


def _csv(
    reader: SegmentReader, first: int, stop: int, meta: bool, options: Mapping[str, Any]
) -> Iterator[tuple[int, pa.Array]]:
    delimiter, quote = options.get("delimiter", ","), options.get("quote", '"')
    schema = reader.schema(first, stop, meta=meta)
    if options.get("header", True) and len(schema):
        names = pa.table([pa.array([name]) for name in schema.names], names=[str(i) for i in range(len(schema))])
        yield 0, whole(csv_lines(names, delimiter, quote))
    for table in reader.unified(first, stop, meta=meta):
        yield table.num_rows, whole(csv_lines(table, delimiter, quote))


def _ndjson(reader: SegmentReader, first: int, stop: int, meta: bool) -> Iterator[tuple[int, pa.Array]]:
    for _, table in reader.tables(first, stop, meta=meta):
        lines = pc.binary_join_element_wise(json_messages(table, table.column_names), "\n", "")
        yield table.num_rows, whole(lines)


def _parquet(path: Path, reader: SegmentReader, first: int, stop: int, meta: bool, options: Mapping[str, Any]) -> int:
    asked = options.get("compression", "auto")
    schema = reader.schema(first, stop, meta=meta).remove_metadata()
    schema = pa.schema([field.remove_metadata() for field in schema])
    rows = 0
    with pq.ParquetWriter(path, schema, compression="zstd" if asked == "auto" else asked) as writer:
        for table in _row_groups(reader.unified(first, stop, meta=meta)):
            writer.write_table(table.cast(schema))
            rows += table.num_rows
    return rows


def _row_groups(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The tables joined to about one row group each."""
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        if sum(one.num_rows for one in held) >= GROUP_ROWS:
            yield pa.concat_tables(held)
            held = []
    if held:
        yield pa.concat_tables(held)
