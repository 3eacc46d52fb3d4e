"""Journals become segments: what the intake accepted, on its streams with the types that an import would give it.

Beside every message stands where it came from: `_job` is `collect`, `_run` the journal's number, `_unit` where in the
journal its request stands. A unit goes on where the last committed one ended (`Unit.cursor` says which journal, from which
mark to which), so a message lands once, whatever dies meanwhile.

What was accepted was checked before, line by line; what no column can hold all the same is left out with its reason, and
never keeps the messages behind it waiting.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from reconciler.ahead import ahead
from reconciler.core.provider import Block, Reject, Staged, TimestampRule, Unit
from reconciler.core.value import dataclass
from reconciler.data.blocks import BLOCK_BYTES, CHANGED, Format, Reader
from reconciler.data.content import Content, Source, opened
from reconciler.data.delimited import Delimited
from reconciler.data.durable import fsync
from reconciler.data.elements import Elements, begins_array
from reconciler.data.engine import EngineError
from reconciler.data.hands import Hands
from reconciler.data.journal import Bulk, Entry, body_path, bulk_of, bulk_path, entry_of, frames, live_path
from reconciler.data.lines import JsonLines, parse_lines
from reconciler.data.records import Dialect
from reconciler.data.segments import segment_file
from reconciler.data.store import Origin, with_meta, write_segment
from reconciler.data.timestamps import read_times
from reconciler.errors import Fatal

if TYPE_CHECKING:
    from reconciler.data.forget import Landing

#: What stands in `_job`, and before the names of segments.
JOB: Final = "collect"
#: A unit of live messages is committed once it holds so much of a journal.
UNIT_BYTES: Final = 8 << 20
#: A bulk body may unpack to so much.
BULK_BYTES: Final = 64 << 30


@dataclass(frozen=True, slots=True)
class Start:
    """Where folding begins: the journal, how many units of it are committed, and the mark of the last one. `size` is
    that of a live journal to which nothing more will come."""

    journal: int
    units: int = 0
    mark: Any = None
    size: int | None = None


class Folding:
    """One folding: a process beside the loop. `run` is its number, by which it names its segments. What lands passes
    through `landing`, where anybody is forgotten."""

    def __init__(self, data_dir: Path, folder: Path, run: int, landing: Landing | None = None) -> None:
        self._landing = landing
        self._data_dir = data_dir
        self._folder = folder
        self._run = run
        self._unit = 0
        self._hands = Hands(data_dir, JOB, run, 1, lambda: self._unit, lambda: 0, BLOCK_BYTES)

    # --- live ---

    def live(self, starts: Sequence[Start]) -> Iterator[Unit]:
        """The units of live journals, one after the other. One that is damaged before its end holds up no other; after
        the last, Fatal is raised for all of them."""
        damages = []
        for start in starts:
            end = yield from self._live(start)
            if start.size is not None and end != start.size:
                damages.append(f"journal {start.journal} is damaged at byte {end} of {start.size}")
        if damages:
            raise Fatal("; ".join(damages))

    def _live(self, start: Start) -> Generator[Unit, None, int]:
        """The units of one journal; where its last whole frame ends."""
        path = live_path(self._folder, start.journal)
        size = path.stat().st_size
        fsync(path)
        before, units = start.mark, start.units
        end = at = (before or {}).get("at", 0)
        for end, requests in _batches(path, at, size):
            mark = {"at": end}
            yield self._landed(start.journal, units, before, mark, requests)
            before, units = mark, units + 1
        return int(end)

    def _landed(
        self, journal: int, units: int, before: Any, mark: Any, requests: Sequence[tuple[int, Entry, bytes]]
    ) -> Unit:
        self._unit += 1
        segments: list[Staged] = []
        rejects: list[Reject] = []
        by_stream: dict[str, list[tuple[int, Entry, bytes]]] = {}
        for request in requests:
            by_stream.setdefault(request[1].stream, []).append(request)
        for stream, ours in by_stream.items():
            tables = list(_tables(_lines(ours), journal, rejects))
            segments += self._write(stream, tables, len(segments))
        return self._made(journal, units, before, mark, segments, rejects, whole=False)

    # --- bulk ---

    def bulk(self, starts: Sequence[Start]) -> Iterator[Unit]:
        """The units of bulk bodies, one after the other; the last unit of each is `whole`. One that is damaged holds up
        no other; after the last, Fatal is raised for all of them."""
        damages = []
        for start in starts:
            try:
                yield from self._bulk(start)
            except Fatal as error:
                damages.append(f"journal {start.journal}: {error}")
        if damages:
            raise Fatal("; ".join(damages))

    def _bulk(self, start: Start) -> Iterator[Unit]:
        bulk = bulk_of(bulk_path(self._folder, start.journal))
        before, units, whole = start.mark, start.units, False
        for block in bulk_blocks(bulk, body_path(self._folder, start.journal), start.mark):
            self._unit += 1
            tables = [] if not block.table.num_rows else [self._with_meta(bulk, block.table, start.journal, before)]
            whole = bool(block.mark.get("end"))
            segments = self._write(bulk.stream, tables, 0)
            yield self._made(start.journal, units, before, block.mark, segments, block.rejects, whole=whole)
            before, units = block.mark, units + 1
        if not whole:
            self._unit += 1
            yield self._made(start.journal, units, before, before, [], [], whole=True)

    def _with_meta(self, bulk: Bulk, table: pa.Table, journal: int, mark: Any) -> pa.Table:
        times = read_times(table, _rule(bulk))[0] if bulk.timestamp_field else None
        return with_meta(table, times, Origin(bulk.received_ms, JOB, journal, (mark or {}).get("at", 0)))

    # --- both ---

    def _write(self, stream: str, tables: Sequence[pa.Table], staged: int) -> list[Staged]:
        """A segment for neighbours of one schema each."""
        made: list[Staged] = []
        if self._landing is not None:
            sifted = [self._landing.sift(stream, one) for one in tables]
            tables = [one for one in sifted if one.num_rows]
        for _, alike in groupby(tables, key=lambda one: one.schema.to_string(show_field_metadata=True)):
            file = segment_file(stream, JOB, self._run, 1, self._unit, staged + len(made) + 1)
            made.append(write_segment(self._data_dir, stream, file, list(alike)))
        return made

    def _made(
        self, journal: int, units: int, before: Any, mark: Any, segments: Sequence[Staged], rejects: Sequence[Reject],
        *, whole: bool,
    ) -> Unit:  # fmt: skip
        file = self._hands.stage_rejects(f"journal {journal}", rejects) if rejects else ""
        return Unit(
            cursor={"journal": journal, "units": units, "before": before, "mark": mark, "whole": whole},
            rows=sum(one.rows for one in segments),
            omitted=len(rejects) + (0 if self._landing is None else self._landing.take_dropped()),
            segments=tuple(segments),
            rejects=(file,) if file else (),
        )


# --- live messages ----------------------------------------------------------------------------------------------------


def _batches(path: Path, at: int, limit: int) -> Iterator[tuple[int, list[tuple[int, Entry, bytes]]]]:
    """Requests of about a unit together, of the first `limit` bytes, and where in the journal the last of them ends."""
    held: list[tuple[int, Entry, bytes]] = []
    size, end = 0, at
    for end, payload in frames(path, at, limit):
        held.append((at, *entry_of(payload)))
        size, at = size + len(payload), end
        if size >= UNIT_BYTES:
            yield end, held
            held, size = [], 0
    if held:
        yield end, held


@dataclass(frozen=True, slots=True)
class _Lines:
    """Lines of JSON, and for each of them when it was received and where its request stands."""

    data: bytes
    received: Any
    places: Any

    def halves(self) -> tuple[_Lines, _Lines]:
        lines = self.data.splitlines(keepends=True)
        middle = len(lines) // 2
        return (
            _Lines(b"".join(lines[:middle]), self.received[:middle], self.places[:middle]),
            _Lines(b"".join(lines[middle:]), self.received[middle:], self.places[middle:]),
        )


def _lines(requests: Sequence[tuple[int, Entry, bytes]]) -> _Lines:
    counts = [lines.count(b"\n") for _, _, lines in requests]
    return _Lines(
        data=b"".join(lines for _, _, lines in requests),
        received=np.repeat(np.array([entry.received_ms for _, entry, _ in requests], dtype=np.int64), counts),
        places=np.repeat(np.array([at for at, _, _ in requests], dtype=np.int64), counts),
    )


def _tables(lines: _Lines, journal: int, rejects: list[Reject]) -> Iterator[pa.Table]:
    """The messages as tables, with what is known of each; what cannot land is added to `rejects`. Requests that have too
    many different keys together land apart from each other."""
    try:
        parsed = parse_lines(lines.data, 1)
    except (Fatal, EngineError, pa.ArrowException) as error:
        if len(lines.places) > 1:
            for half in lines.halves():
                yield from _tables(half, journal, rejects)
        else:
            text = lines.data.decode(errors="backslashreplace").rstrip("\n")
            rejects.append(Reject(int(lines.places[0]), str(error), text))
        return
    bad = [reject.line - 1 for reject in parsed.rejects]
    rejects += [replace(one, line=int(lines.places[one.line - 1])) for one in parsed.rejects]
    if parsed.table.num_rows:
        yield _dated(parsed.table, journal, np.delete(lines.received, bad), np.delete(lines.places, bad))


def _dated(table: pa.Table, journal: int, received: Any, places: Any) -> pa.Table:
    assert table.num_rows == len(places), "every line is a message or a reject"
    table = with_meta(table, None, Origin(0, JOB, journal, 0))
    for name, values in (("_received", received), ("_unit", places)):
        index = table.schema.get_field_index(name)
        field = table.schema.field(index)
        table = table.set_column(index, field, pa.array(values).cast(field.type))
    return table


# --- bulk bodies ------------------------------------------------------------------------------------------------------


def bulk_blocks(bulk: Bulk, path: Path, mark: Any) -> Iterator[Block]:
    """The blocks of a body behind a mark: good rows with the constant columns of `append`, and bad ones. Raises Fatal,
    or Retriable where the disk refuses."""
    made = _Array if is_array(bulk, path) else Reader
    reader = made(block_bytes=BLOCK_BYTES, compression=_compression(bulk), encoding="utf-8", now_ms=0)
    for block in ahead(reader.blocks(path, mark, lambda: _format(bulk))):
        if block.note == CHANGED:
            raise Fatal("the body is not what it was when it was accepted")
        if block.mark["at"] > BULK_BYTES:
            raise Fatal(f"the body unpacks to more than {BULK_BYTES:,} bytes")
        if bulk.timestamp_field:
            block = Hands(path.parent, JOB, 0, 1, lambda: 0, lambda: 0, BLOCK_BYTES).check_timestamps(
                block, _rule(bulk)
            )
        yield replace(block, table=_appended(block.table, bulk.append))


class _Array(Reader):
    """Reads a body that is one array: a line for each element."""

    def _content(self, file: IO[bytes]) -> Source:
        return Elements(Content(file, compression=self.compression, encoding=self.encoding))


def is_array(bulk: Bulk, path: Path) -> bool:
    """Whether a body is one JSON array, not an object a line: then what is called a line of it is an element. Raises
    Fatal, or Retriable where the disk refuses."""
    if bulk.format != "json":
        return False
    with opened(path) as file:
        return begins_array(Content(file, compression=_compression(bulk), encoding="utf-8"))


def _compression(bulk: Bulk) -> str:
    return "gzip" if bulk.gzip else "none"


def _format(bulk: Bulk) -> Format:
    if bulk.format == "json":
        return JsonLines()
    return Delimited(Dialect(bulk.delimiter, '"'), bulk.headers is None, bulk.headers, is_strict=True)


def _rule(bulk: Bulk) -> TimestampRule:
    return TimestampRule(field=bulk.timestamp_field, format=bulk.timestamp_format, is_optional=bulk.format == "json")


def _appended(table: pa.Table, constants: dict[str, str]) -> pa.Table:
    """With a column for each constant, typed as the same value in a line of JSON would be. Raises Fatal where the body
    has such a column itself."""
    if not constants or not table.num_rows:
        return table
    line = b"{" + b",".join(f"{_quoted(name)}:{text}".encode() for name, text in constants.items()) + b"}\n"
    extra = parse_lines(line, 1).table
    for field in extra.schema:
        if field.name in table.column_names:
            raise Fatal(f"append: the body has a column {field.name!r} itself")
        value = extra.column(field.name)[0]
        table = table.append_column(field, pa.repeat(value, table.num_rows))
    return table


def _quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


def starts_of(values: Iterable[dict[str, Any]]) -> list[Start]:
    """What an order says."""
    return [Start(**one) for one in values]
