"""Segments as Parquet: staging new ones and writing small neighbours into one.

New segments are written as costs a unit least: compressed with snappy, without the extremes of raw columns, and with
dictionaries for columns of few values alone. Compacted ones stay, and are written with care: with zstd, and all of that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reconciler.core.provider import Staged
from reconciler.core.value import dataclass
from reconciler.data.durable import file_digest, replaced
from reconciler.data.jsontext import meaning
from reconciler.data.names import META, RECEIVED, stored
from reconciler.data.row_groups import rows_at_once
from reconciler.data.segments import TEMPORARY, compacted_file
from reconciler.data.timestamps import TIME

#: Rows of one row group, and about how many bytes of them, whichever comes first.
GROUP_ROWS: Final = 122_880
GROUP_BYTES: Final = 64 << 20

#: How new segments are written, and those that stay. A dictionary that grows beyond its limit is given up.
_FRESH: Final[Mapping[str, Any]] = {
    "compression": "snappy",
    "write_statistics": list(META),
    "dictionary_pagesize_limit": 1 << 16,
}
_KEPT: Final[Mapping[str, Any]] = {"compression": "zstd"}

_META_TYPES: Final = (TIME, pa.timestamp("ms", "UTC"), pa.string(), pa.int64(), pa.int64())


@dataclass(frozen=True, slots=True)
class Origin:
    """Where and when messages came from: what stands beside every raw row of one unit."""

    received_ms: int
    job: str
    run: int
    unit: int


def described(schema: pa.Schema) -> str:
    """What two schemas have in common if their tables can be one segment."""
    text: str = schema.to_string(show_field_metadata=True)
    return text


def joined(
    tables: Sequence[pa.Table], times: Sequence[pa.Array] | None
) -> Iterator[tuple[pa.Table, pa.ChunkedArray | None]]:
    """Neighbours of one schema put together until they fill a row group, with their times: what is then done to columns
    costs as much for a few rows as for many."""
    at = 0
    for _, alike in groupby(tables, key=lambda one: described(one.schema)):
        for group in _grouped(alike):
            read = None if times is None else pa.chunked_array(times[at : at + len(group)], TIME)
            at += len(group)
            yield pa.concat_tables(group), read


def with_meta(table: pa.Table, times: pa.Array | pa.ChunkedArray | None, origin: Origin) -> pa.Table:
    """The table under its stored names, with what is known of each message behind the raw columns."""
    table = table.rename_columns([stored(name) for name in table.column_names])
    values: tuple[Any, ...] = (origin.received_ms, origin.job, origin.run, origin.unit)
    columns = [pa.nulls(table.num_rows, TIME) if times is None else times]
    columns += [
        pa.repeat(pa.scalar(value, kind), table.num_rows) for value, kind in zip(values, _META_TYPES[1:], strict=True)
    ]
    for name, column in zip(META, columns, strict=True):
        table = table.append_column(name, column)
    return table


def schema_digest(schema: pa.Schema) -> str:
    """The digest of the names, types and meaning of a segment's raw columns."""
    text = repr([(field.name, str(field.type), meaning(field)) for field in schema])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def write_segment(data_dir: Path, stream: str, file: str, tables: Sequence[pa.Table]) -> Staged:
    """Writes tables of one schema as one segment. Raises Retriable where the disk refuses."""
    low, high = _extremes([table.column("_timestamp") for table in tables])
    return _write(data_dir, stream, file, tables[0].schema, iter(tables), low, high, _FRESH)


def untimed(tables: Sequence[pa.Table]) -> int:
    """How many of the messages have no time of their own."""
    return sum(table.column("_timestamp").null_count for table in tables)


def compact(data_dir: Path, stream: str, group: Sequence[Staged], name: str) -> Staged:
    """Writes neighbours of one schema into one segment called `name`, in their order; row groups pass through one at a
    time. The old files stay until they are swept. Raises Retriable where the disk refuses."""
    schema = pq.read_schema(data_dir / group[0].file)
    lows = [one.min_timestamp_ms for one in group if one.min_timestamp_ms is not None]
    highs = [one.max_timestamp_ms for one in group if one.max_timestamp_ms is not None]
    tables = _regrouped(data_dir, group)
    low, high = min(lows, default=None), max(highs, default=None)
    return _write(data_dir, stream, compacted_file(stream, name), schema, tables, low, high, _KEPT)


def hollow(data_dir: Path, old: Staged, file: str, keep: Callable[[int, int], pa.Array]) -> Staged:
    """Writes a segment anew as `file`, with an empty place for each message that is to go: all that is left of it is
    that it was there. `keep` is given a row number and a count, and says which of so many rows from there on stay.
    Raises Retriable where the disk refuses."""
    schema = pq.read_schema(data_dir / old.file)
    extremes: list[tuple[int | None, int | None]] = []

    def tables() -> Iterator[pa.Table]:
        at = 0
        for table in _regrouped(data_dir, [old]):
            places = pa.array(range(table.num_rows), pa.int64())
            table = table.take(pc.if_else(keep(at, table.num_rows), places, pa.scalar(None, pa.int64())))
            extremes.append(_extremes([table.column("_timestamp")]))
            at += table.num_rows
            yield table

    made = _write(data_dir, old.stream, file, schema, tables(), None, None, _KEPT)
    lows = [low for low, _ in extremes if low is not None]
    highs = [high for _, high in extremes if high is not None]
    return replace(made, min_timestamp_ms=min(lows, default=None), max_timestamp_ms=max(highs, default=None))


def has_holes(file: pq.ParquetFile, group: int) -> bool:
    """Whether messages of a row group are gone. Every message was received at some time, and the file counts nulls."""
    metadata = file.metadata
    index = next(one for one in range(metadata.num_columns) if metadata.schema.column(one).path == RECEIVED)
    statistics = metadata.row_group(group).column(index).statistics
    return statistics is None or not statistics.has_null_count or bool(statistics.null_count)


def _write(
    data_dir: Path, stream: str, file: str, schema: pa.Schema, tables: Iterator[pa.Table],
    low: int | None, high: int | None, how: Mapping[str, Any],
) -> Staged:  # fmt: skip
    path = data_dir / file
    rows = 0
    with replaced(path, path.with_name(path.name + TEMPORARY)) as temporary:
        with pq.ParquetWriter(temporary, schema, **how) as writer:
            for group in _grouped(table.cast(schema) for table in tables):
                table = pa.concat_tables(group)
                writer.write_table(table, row_group_size=GROUP_ROWS)
                rows += table.num_rows
        size, digest = temporary.stat().st_size, file_digest(temporary)
    return Staged(
        stream=stream, file=file, rows=rows, size=size, schema=schema_digest(_raw_schema(schema)),
        min_timestamp_ms=low, max_timestamp_ms=high, digest=digest,
    )  # fmt: skip


def _grouped(tables: Iterable[pa.Table]) -> Iterator[list[pa.Table]]:
    """Neighbours until they fill a row group: one of a few rows costs as much as one of many, to write and whenever it is
    read."""
    held: list[pa.Table] = []
    rows = size = 0
    for table in tables:
        if held and (rows + table.num_rows > GROUP_ROWS or size >= GROUP_BYTES):
            yield held
            held, rows, size = [], 0, 0
        held.append(table)
        rows += table.num_rows
        size += table.nbytes
    if held:
        yield held


def _regrouped(data_dir: Path, group: Sequence[Staged]) -> Iterator[pa.Table]:
    """The rows of the group in tables of one row group each, or a part of one."""
    for segment in group:
        path = data_dir / segment.file
        with pq.ParquetFile(path) as file:
            for number in range(file.num_row_groups):
                rows = rows_at_once(file, path, number, GROUP_ROWS, GROUP_BYTES)
                for batch in file.iter_batches(batch_size=rows, row_groups=[number], use_threads=False):
                    yield pa.Table.from_batches([batch])


def _raw_schema(schema: pa.Schema) -> pa.Schema:
    return pa.schema([field for field in schema if field.name not in META])


def _extremes(columns: Sequence[pa.ChunkedArray]) -> tuple[int | None, int | None]:
    """The earliest and latest time in milliseconds."""
    found = pc.min_max(
        pa.chunked_array([chunk.cast(pa.int64()) for one in columns for chunk in one.chunks], pa.int64())
    )
    low, high = found["min"].as_py(), found["max"].as_py()
    return (None, None) if low is None else (low // 1000, high // 1000)
