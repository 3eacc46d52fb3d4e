"""The data hands of one run: what `reconciler.core.provider.Data` promises.

Everything a unit stages is named after job, run, attempt and unit, so nothing here asks a clock or a die for a name,
and a file that its transaction never named can be swept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from reconciler.ahead import ahead
from reconciler.core.provider import Block, Data, Json, Measure, Reject, Staged, TimestampRule
from reconciler.data.blocks import BLOCK_BYTES, Format, Reader
from reconciler.data.columnar import parquet_blocks
from reconciler.data.content import is_untouched
from reconciler.data.delimited import Delimited
from reconciler.data.document import pluck, records_block
from reconciler.data.durable import fsync, make_folder, private
from reconciler.data.export import Kind, write_file
from reconciler.data.jsontext import plain_text
from reconciler.data.lines import JsonLines
from reconciler.data.measure import measure
from reconciler.data.records import Dialect
from reconciler.data.segments import rejects_file, segment_file
from reconciler.data.store import Origin, described, joined, untimed, with_meta, write_segment
from reconciler.data.timestamps import read_times
from reconciler.errors import Retriable

if TYPE_CHECKING:
    from reconciler.data.forget import Landing


#: So many blocks of a file are read and parsed while those before them are written: as many as a unit mostly has. With less,
#: each of the two waits for the other once a unit.
BLOCKS_AHEAD: Final = 4


def open_data(
    data_dir: Path, *, job: str, run: int, attempt: int, unit: Callable[[], int], received_ms: Callable[[], int],
    block_bytes: int = BLOCK_BYTES, landing: Landing | None = None,
) -> Data:  # fmt: skip
    """The data hands of one attempt of a run. `unit` tells the number of the unit that is being made, `received_ms`
    the wall time. `block_bytes` is about how much of a file is read, parsed and committed at a time. What is staged
    passes through `landing`, where anybody is forgotten."""
    return Hands(data_dir, job, run, attempt, unit, received_ms, block_bytes, landing)


class Hands:
    """Implements `Data`."""

    def __init__(
        self, data_dir: Path, job: str, run: int, attempt: int, unit: Callable[[], int],
        received_ms: Callable[[], int], block_bytes: int, landing: Landing | None = None,
    ) -> None:  # fmt: skip
        self._data_dir = data_dir
        self._job = job
        self._run = run
        self._attempt = attempt
        self._unit = unit
        self._received_ms = received_ms
        self._block_bytes = block_bytes
        self._landing = landing
        self._staged = 0
        self._rejects: set[str] = set()
        self._times: list[tuple[pa.Table, TimestampRule, pa.Array]] = []

    # --- reading ---

    def read_csv(
        self, path: Path, mark: Json, *, delimiter: str, quote: str, encoding: str, header: bool,
        columns: Sequence[str] | None, compression: str, timestamp: TimestampRule | None = None,
    ) -> Iterator[Block]:  # fmt: skip
        dialect = Dialect(delimiter, quote)
        return self._read(path, mark, encoding, compression, lambda: Delimited(dialect, header, columns), timestamp)

    def read_ndjson(
        self, path: Path, mark: Json, *, encoding: str, compression: str, timestamp: TimestampRule | None = None
    ) -> Iterator[Block]:
        return self._read(path, mark, encoding, compression, JsonLines, timestamp)

    def _read(
        self, path: Path, mark: Json, encoding: str, compression: str, make: Callable[[], Format],
        rule: TimestampRule | None,
    ) -> Iterator[Block]:  # fmt: skip
        reader = Reader(
            block_bytes=self._block_bytes, compression=compression, encoding=encoding, now_ms=self._received_ms()
        )
        return iter(()) if is_untouched(path, mark) else self._ahead(reader.blocks(path, mark, make), rule)

    def read_parquet(self, path: Path, mark: Json, *, timestamp: TimestampRule | None = None) -> Iterator[Block]:
        if is_untouched(path, mark):
            return iter(())
        blocks = parquet_blocks(path, mark, block_bytes=self._block_bytes, now_ms=self._received_ms())
        return self._ahead(blocks, timestamp)

    def _ahead(self, blocks: Iterator[Block], rule: TimestampRule | None) -> Iterator[Block]:
        """Blocks that are made on a thread of their own. To write them takes longer than to read them, so what can be done
        there is: their timestamps are checked, too."""
        return ahead(blocks if rule is None else (self.check_timestamps(one, rule) for one in blocks), BLOCKS_AHEAD)

    def measure(
        self, path: Path, mark: Json, *, format: Kind, sample: bool, compression: str = "auto", encoding: str = "utf-8",
        delimiter: str = ",", quote: str = '"', header: bool = True, columns: Sequence[str] | None = None,
    ) -> Measure:  # fmt: skip
        forms: dict[str, Format] = {
            "csv": Delimited(Dialect(delimiter, quote), header, columns), "ndjson": JsonLines(),
        }  # fmt: skip
        return measure(path, mark, forms.get(format), sample=sample, compression=compression, encoding=encoding)

    def read_json(self, body: bytes, records: str) -> Block:
        return records_block(body, records)

    def pluck(self, body: bytes, path: str) -> Json:
        return pluck(body, path)

    # --- staging ---

    def check_timestamps(self, block: Block, rule: TimestampRule) -> Block:
        if not block.table.num_columns:
            return block
        times, unread = read_times(block.table, rule)
        table = block.table
        bad = unread.to_numpy(zero_copy_only=False).nonzero()[0].tolist()
        if bad:
            good = pc.invert(unread)
            times, table = times.filter(good), table.filter(good)
            rejects = sorted((*block.rejects, *_unread(block, bad, rule)), key=lambda reject: reject.line)
            block = replace(block, table=table, rejects=tuple(rejects), locate=None)
        self._times.append((table, rule, times))
        return block

    def stage(self, stream: str, table: Any, *, timestamp: TimestampRule | None = None) -> tuple[Staged, ...]:
        tables = [one for one in ([table] if isinstance(table, pa.Table) else table) if one.num_rows]
        origin = Origin(self._received_ms(), self._job, self._run, self._unit())
        times = None if timestamp is None else self._times_of(tables, timestamp)
        ready = [with_meta(one, read, origin) for one, read in joined(tables, times)]
        if self._landing is not None:
            sifted = [self._landing.sift(stream, one) for one in ready]
            ready = [one for one in sifted if one.num_rows]
        alike = [list(group) for _, group in groupby(ready, key=lambda one: described(one.schema))]
        return tuple(self._write(stream, group, timed=timestamp is not None) for group in alike)

    def _times_of(self, tables: Sequence[pa.Table], rule: TimestampRule) -> list[pa.Array]:
        """The times of tables, which have mostly been read when they were checked. What was checked before the last of
        them is not asked for any more; a thread that reads ahead may have checked what comes after them."""
        known = list(self._times)
        place = {id(table): at for at, (table, _, _) in enumerate(known)}
        found = [known[place[id(one)]] if id(one) in place else (one, None, None) for one in tables]
        used = [place[id(one)] for one in tables if id(one) in place]
        del self._times[: max(used, default=len(known) - 1) + 1]
        return [times if by == rule else read_times(one, rule)[0] for one, by, times in found]

    def _write(self, stream: str, tables: Sequence[pa.Table], *, timed: bool) -> Staged:
        self._staged += 1
        file = segment_file(stream, self._job, self._run, self._attempt, self._unit(), self._staged)
        staged = write_segment(self._data_dir, stream, file, tables)
        return replace(staged, untimed=untimed(tables)) if timed else staged

    def stage_rejects(self, source: str, rejects: Iterable[Reject]) -> str:
        file = rejects_file(self._job, self._run, self._unit())
        path = self._data_dir / file
        mode = "ab" if file in self._rejects else "wb"  # what an earlier attempt left under this name goes
        try:
            make_folder(path.parent)
            with open(path, mode, opener=private) as out:
                out.writelines(_reject_line(source, reject) for reject in rejects)
            fsync(path)
            fsync(path.parent)
        except OSError as error:
            raise Retriable(f"cannot write {file}: {error.strerror or error}") from error
        self._rejects.add(file)
        return file

    # --- files ---

    def write_file(
        self, path: Path, format: Kind, reader: Any, first: int, stop: int, *, meta: bool, options: Mapping[str, Any]
    ) -> int:
        temporary = f".{path.name}.{self._job}.tmp"
        return write_file(path, format, reader, first, stop, meta=meta, options=options, temporary=temporary)


def _unread(block: Block, bad: list[int], rule: TimestampRule) -> Iterator[Reject]:
    """The rows whose time cannot be read."""
    column = plain_text(block.table.column(rule.field), block.table.schema.field(rule.field))
    places = [(row + 1, "") for row in bad] if block.locate is None else block.locate(bad)
    for row, (line, text) in zip(bad, places, strict=True):
        value = str(column[row].as_py())
        yield Reject(line, f"timestampField {rule.field!r}: {value!r} is not {rule.format}", text)


def _reject_line(source: str, reject: Reject) -> bytes:
    line = {"source": source, "line": reject.line, "reason": reject.reason, "text": reject.text}
    return json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
