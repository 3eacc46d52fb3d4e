"""A stream as it stood when a run began: its segments in order, read a few thousand messages at a time.

A segment's schema is its own: a message is shown as JSON in the types of the segment that it landed in, so its text
stays the same whatever other segments hold and whatever compaction does (which joins segments of one schema only).
Files are opened one after the other, when their turn comes, so they must stay while a run that was given them is in
progress (`segments.sweep` is told which those are).

A place whose message is gone (`data.forget`) is passed over: positions then have a gap.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reconciler.ahead import ahead
from reconciler.core.messages import SegmentRef
from reconciler.data.jsontext import plain, plain_type
from reconciler.data.names import META, RECEIVED, raw, without_meta
from reconciler.data.render import json_messages
from reconciler.data.row_groups import rows_at_once
from reconciler.data.store import has_holes
from reconciler.data.widen import EXACT_INTEGER, as_plain, cast_to, widened
from reconciler.errors import Fatal, Retriable

#: Messages in one table, unless a caller asks for another number.
TABLE_ROWS: Final = 65_536
#: A table is smaller where its messages are so many bytes, as Parquet counts them.
PIECE_BYTES: Final = 64 * 1024 * 1024


def open_stream(
    data_dir: Path, name: str, segments: Sequence[SegmentRef], columns: Mapping[str, str] | None = None
) -> SegmentReader:
    """The reader of a stream. `segments` are in order of position; `columns` are the types that the stream declares."""
    return SegmentReader(data_dir, name, segments, columns or {})


class SegmentReader:
    """Implements `StreamReader`. Raises Retriable where a segment is missing, Fatal where one is damaged."""

    def __init__(self, data_dir: Path, name: str, segments: Sequence[SegmentRef], columns: Mapping[str, str]) -> None:
        self.name = name
        self.end = segments[-1].first + segments[-1].rows if segments else 0
        self.columns = columns
        self._data_dir = data_dir
        self._segments = tuple(segments)
        self._schemas: dict[str, pa.Schema] = {}

    def tables(
        self, first: int, stop: int, *, meta: bool = False, rows: int = TABLE_ROWS
    ) -> Iterator[tuple[int, pa.Table]]:
        """Messages `first <= position < stop` in tables of one segment each, with the first position of each. Names
        are raw; with `meta` they are as stored, so that the message's own columns can stand beside them."""
        for segment in self._between(first, stop):
            for position, table in self._pieces(segment, max(first, segment.first), stop, meta, rows):
                yield position, table if meta else table.rename_columns([raw(name) for name in table.column_names])

    def schema(self, first: int, stop: int, *, meta: bool = False) -> pa.Schema:
        """The one schema that `unified` yields: columns in the order in which they first came."""
        fields = self._fields(first, stop)
        known = [fields[name] if meta else fields[name].with_name(raw(name)) for name in without_meta(list(fields))]
        return pa.schema(known + ([fields[name] for name in META if name in fields] if meta else []))

    def unified(self, first: int, stop: int, *, meta: bool = False, rows: int = TABLE_ROWS) -> Iterator[pa.Table]:
        """The same messages with one schema for all."""
        wanted = self.schema(first, stop, meta=meta)
        for _, table in self.tables(first, stop, meta=meta, rows=rows):
            yield pa.table([_as(table, field) for field in wanted], schema=wanted)

    def json_messages(
        self, first: int, stop: int, *, meta: bool = False, rows: int = TABLE_ROWS
    ) -> Iterator[tuple[int, list[str]]]:
        """The same messages as JSON object texts, each list with its first position. Where there may be several lists, one
        is made while the one before it is in use."""
        lists = self._json_messages(first, stop, meta, rows)
        yield from ahead(lists) if stop - first > rows else lists

    def _json_messages(self, first: int, stop: int, meta: bool, rows: int) -> Iterator[tuple[int, list[str]]]:
        for position, table in self.tables(first, stop, meta=meta, rows=rows):
            yield position, json_messages(table, table.column_names).to_numpy().tolist()

    # --- segments ---

    def _between(self, first: int, stop: int) -> Iterator[SegmentRef]:
        for segment in self._segments:
            if segment.first < stop and segment.first + segment.rows > first:
                yield segment

    def _pieces(
        self, segment: SegmentRef, first: int, stop: int, meta: bool, rows: int
    ) -> Iterator[tuple[int, pa.Table]]:
        """The segment's messages from position `first` on, row groups before it unread."""
        with self._open(segment) as file:
            self._expect(segment, file)
            names = file.schema_arrow.names
            position = segment.first
            for group in range(file.num_row_groups):
                after = position + file.metadata.row_group(group).num_rows
                if after > first and position < stop:
                    at_once = rows_at_once(file, self._data_dir / segment.file, group, rows, PIECE_BYTES)
                    hollow = has_holes(file, group)
                    wanted = names if meta or hollow else without_meta(names)
                    for batch in file.iter_batches(at_once, row_groups=[group], columns=wanted, use_threads=False):
                        table = pa.Table.from_batches([batch])
                        start, end = max(first, position), min(stop, position + table.num_rows)
                        if start < end:
                            piece = table.slice(start - position, end - start)
                            yield from _between_holes(start, piece, meta) if hollow else [(start, piece)]
                        position += table.num_rows
                position = after

    def _open(self, segment: SegmentRef) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self._data_dir / segment.file)
        except FileNotFoundError:
            raise Retriable(f"segment {segment.file} of stream {self.name} is missing") from None
        except (pa.ArrowException, OSError) as error:
            raise Fatal(f"segment {segment.file} of stream {self.name} is damaged: {error}") from None

    def _expect(self, segment: SegmentRef, file: pq.ParquetFile) -> None:
        if file.metadata.num_rows != segment.rows:
            found = f"holds {file.metadata.num_rows} messages instead of {segment.rows}"
            raise Fatal(f"segment {segment.file} of stream {self.name} is damaged: it {found}")

    def _schema(self, segment: SegmentRef) -> pa.Schema:
        if segment.file not in self._schemas:
            with self._open(segment) as file:
                self._schemas[segment.file] = file.schema_arrow
        return self._schemas[segment.file]

    # --- one schema ---

    def _fields(self, first: int, stop: int) -> dict[str, pa.Field]:
        """The widened fields by stored name."""
        found: dict[str, pa.Field] = {}
        for segment in self._between(first, stop):
            for field in self._schema(segment):
                known = found.get(field.name)
                if known is None:
                    found[field.name] = as_plain(field)
                elif not known.equals(as_plain(field), check_metadata=True):
                    fits = lambda name=field.name: self._fits_double(name, first, stop)  # noqa: E731
                    found[field.name] = widened(known, field, fits)
        return found

    def _fits_double(self, name: str, first: int, stop: int) -> bool:
        return all(self._exact(segment, name) for segment in self._between(first, stop))

    def _exact(self, segment: SegmentRef, name: str) -> bool:
        """Whether the segment's integers of that name are doubles without loss."""
        schema = self._schema(segment)
        index = schema.get_field_index(name)
        if index < 0 or not pa.types.is_integer(plain_type(schema.field(index)) or pa.null()):
            return True
        with self._open(segment) as file:
            for batch in file.iter_batches(columns=[name], use_threads=False):
                values = plain(pa.chunked_array([batch.column(0)]), schema.field(index))
                low_high = pc.min_max(values).as_py()
                if any(abs(value or 0) > EXACT_INTEGER for value in low_high.values()):
                    return False
        return True


def _between_holes(position: int, table: pa.Table, meta: bool) -> Iterator[tuple[int, pa.Table]]:
    """The messages that are left of neighbours of which some are gone, each run with its first position."""
    there = pc.is_valid(table.column(RECEIVED)).to_numpy(zero_copy_only=False)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], there, [False]))))
    for start, end in edges.reshape(-1, 2).tolist():
        piece = table.slice(start, end - start)
        yield position + start, piece if meta else piece.select(without_meta(piece.column_names))


def _as(table: pa.Table, wanted: pa.Field) -> pa.ChunkedArray:
    """The table's column as the widened field has it; nulls where it has none."""
    index = table.schema.get_field_index(wanted.name)
    if index < 0:
        return pa.chunked_array([pa.nulls(table.num_rows, wanted.type)])
    try:
        return cast_to(table.column(index), table.schema.field(index), wanted)
    except pa.ArrowInvalid as error:
        raise Fatal(f"column {wanted.name!r} cannot be read as {wanted.type}: {error}") from None
