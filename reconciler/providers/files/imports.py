"""Files onto a stream. The cursor is a mark for each file: `{"files": {"data/a.csv": …}}`.

A unit is a block of a big file, or several small files at once: at a million small files a commit each would be all
that a run does. A file that is as its mark knows it costs a stat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from reconciler.core.provider import Block, Context, Json, Reject, Table, TimestampRule, Unit
from reconciler.errors import Fatal, Retriable
from reconciler.providers.cursors import fields_of

#: A unit is committed once it holds about this much: a few blocks, so that a large file makes few segments.
UNIT_BYTES: Final = 48 << 20

#: And once it holds about so many rows, however little each of them says: beside each stands what is known of the message,
#: and a few thousand bytes of Parquet may say many million rows.
UNIT_ROWS: Final = 2_000_000

#: And once so much was read to find that nothing of it is new, which no other run is to do again.
SPARED_BYTES: Final = 8 << 20

#: What is said of that.
SPARED: Final = "nothing new; what the files hold was read again and is remembered"

#: And once it holds this many pieces of files.
UNIT_PIECES: Final = 1_000

#: A unit's line in the log tells of this many files, and counts the others.
NOTES: Final = 3

Read = Callable[[Context, Path, Json, TimestampRule | None], Iterator[Block]]


def _csv(context: Context, path: Path, mark: Json, rule: TimestampRule | None) -> Iterator[Block]:
    return context.data.read_csv(path, mark, **dialect(context.config), timestamp=rule)


def _ndjson(context: Context, path: Path, mark: Json, rule: TimestampRule | None) -> Iterator[Block]:
    return context.data.read_ndjson(path, mark, **dialect(context.config), timestamp=rule)


def dialect(config: Any) -> dict[str, Any]:
    """How a file of this config is written, as its reader is told."""
    return {name: getattr(config, name) for name in _DIALECT if hasattr(config, name)}


_DIALECT: Final = ("delimiter", "quote", "encoding", "header", "columns", "compression")


def _parquet(context: Context, path: Path, mark: Json, rule: TimestampRule | None) -> Iterator[Block]:
    return context.data.read_parquet(path, mark, timestamp=rule)


@dataclass
class _Batch:
    """What the next unit is made of."""

    tables: list[Table] = field(default_factory=list)
    rejects: dict[str, list[Reject]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    size: int = 0
    rows: int = 0
    spared: int = 0
    pieces: int = 0

    def add(self, name: str, block: Block, path: Path) -> None:
        if block.table.num_rows:
            self.tables.append(block.table)
            self.rows += block.table.num_rows
        if block.rejects:
            self.rejects.setdefault(name, []).extend(block.rejects)
        if block.note:
            self.notes.append(f"{name}: {block.note}")
        if block.table.num_rows or block.rejects:
            self.size += int(block.table.nbytes) + sum(len(reject.text) for reject in block.rejects)
        else:
            self.spared += size_of(path)
        self.pieces += 1

    @property
    def omitted(self) -> int:
        return sum(len(rejects) for rejects in self.rejects.values())

    @property
    def is_worth_a_unit(self) -> bool:
        return bool(self.tables or self.rejects or self.notes)

    @property
    def is_full(self) -> bool:
        if self.size >= UNIT_BYTES or self.rows >= UNIT_ROWS:
            return True
        return self.spared >= SPARED_BYTES or self.pieces >= UNIT_PIECES


def land(read: Read, context: Context) -> Iterator[Unit]:
    """The units of an import: everything in the files of `config.path` that is new since the cursor."""
    rule = _rule(context, is_optional=read is _ndjson)
    marks = _marks(context.cursor)
    batch = _Batch()
    for name, path in context.expand(context.config.path):
        for block in _blocks(read, context, name, path, marks.get(name), rule):
            batch.add(name, block, path)
            _within_limit(context, batch)
            marks[name] = block.mark
            if batch.is_full or (batch.is_worth_a_unit and context.stopping()):
                yield _unit(context, batch, marks, rule)
                batch = _Batch()
    if batch.is_worth_a_unit:
        yield _unit(context, batch, marks, rule)


def _marks(cursor: Json) -> dict[str, Json]:
    """A mark for each file; one that another job type has left begins anew."""
    files = {} if cursor is None else fields_of(cursor, "an import of files", {}).get("files", {})
    return dict(fields_of(files, "an import of files", {}))


def _rule(context: Context, *, is_optional: bool) -> TimestampRule | None:
    config = context.config
    if config.timestamp_field is None:
        return None
    written = config.timestamp_format or context.time_format(config.stream, config.timestamp_field)
    return TimestampRule(field=config.timestamp_field, format=written, is_optional=is_optional)


def size_of(path: Path) -> int:
    """The bytes of a file; 0 where it is gone."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _blocks(
    read: Read, context: Context, name: str, path: Path, mark: Json, rule: TimestampRule | None
) -> Iterator[Block]:
    """The file's blocks, their timestamps checked; errors say which file it was."""
    try:
        yield from read(context, path, mark, rule)
    except Fatal as error:
        raise Fatal(f"{name}: {error}") from None
    except Retriable as error:
        raise Retriable(f"{name}: {error}", retry_after_s=error.retry_after_s) from None


def _within_limit(context: Context, batch: _Batch) -> None:
    allowed = context.config.max_rejects
    omitted = context.omitted + batch.omitted
    if batch.omitted and omitted > allowed:
        name, rejects = next(iter(batch.rejects.items()))
        first = f"{name}:{rejects[0].line}: {rejects[0].reason}"
        rows = "1 bad row" if omitted == 1 else f"{omitted} bad rows"
        raise Fatal(f"{rows}, and maxRejects is {allowed}; the first: {first}")


def _unit(context: Context, batch: _Batch, marks: dict[str, Json], rule: TimestampRule | None) -> Unit:
    segments = context.data.stage(context.config.stream, batch.tables, timestamp=rule)
    kept = [context.data.stage_rejects(name, rejects) for name, rejects in batch.rejects.items()]
    files = tuple(dict.fromkeys(kept))
    return Unit(
        cursor={"files": dict(marks)},
        rows=sum(segment.rows for segment in segments),
        omitted=batch.omitted,
        segments=segments,
        rejects=files,
        message=_message(batch),
        moved=batch.is_worth_a_unit,
    )


def _message(batch: _Batch) -> str:
    parts = batch.notes[:NOTES]
    if len(batch.notes) > NOTES:
        parts.append(f"and so for {len(batch.notes) - NOTES} more files")
    if batch.omitted:
        parts.append("1 bad row" if batch.omitted == 1 else f"{batch.omitted} bad rows")
    if not batch.is_worth_a_unit:
        parts.append(SPARED)
    return "; ".join(parts)


RUNS: Final = {kind: partial(land, read) for kind, read in (("csv", _csv), ("ndjson", _ndjson), ("parquet", _parquet))}
