"""Streams: which segments they consist of, and where the next message goes. A file that no row names is garbage."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reconciler.core.messages import SegmentRef
from reconciler.core.provider import Staged
from reconciler.record.database import transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRow:
    """A committed segment."""

    file: str
    stream: str
    first: int
    rows: int
    size: int
    schema: str
    min_timestamp_ms: int | None
    max_timestamp_ms: int | None


class Streams:
    """The `stream` and `segment` tables."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection

    def segments(self, stream: str) -> tuple[SegmentRef, ...]:
        """All segments of a stream in order of position."""
        rows = self._sql.execute(
            "SELECT file, first, rows FROM segment WHERE stream = ? AND retired_ms IS NULL ORDER BY first", (stream,)
        )
        return tuple(SegmentRef(file=row["file"], first=row["first"], rows=row["rows"]) for row in rows)

    def segment_rows(self, stream: str) -> list[SegmentRow]:
        rows = self._sql.execute(
            "SELECT * FROM segment WHERE stream = ? AND retired_ms IS NULL ORDER BY first", (stream,)
        )
        return [
            SegmentRow(
                file=row["file"],
                stream=row["stream"],
                first=row["first"],
                rows=row["rows"],
                size=row["size"],
                schema=row["schema_"],
                min_timestamp_ms=row["min_ts_ms"],
                max_timestamp_ms=row["max_ts_ms"],
            )
            for row in rows
        ]

    def ends(self) -> dict[str, int]:
        """The position of the next message of each stream."""
        return {str(row[0]): int(row[1]) for row in self._sql.execute("SELECT name, next FROM stream ORDER BY name")}

    def counts(self, stream: str) -> tuple[int, int]:
        """How many messages and bytes a stream holds."""
        row = self._sql.execute(
            "SELECT coalesce(sum(rows), 0), coalesce(sum(size), 0) FROM segment WHERE stream = ? AND retired_ms IS NULL",
            (stream,),
        ).fetchone()
        return int(row[0]), int(row[1])

    def fragmented(self, at_least: int) -> list[str]:
        """Streams with that many segments or more."""
        rows = self._sql.execute(
            "SELECT stream FROM segment WHERE retired_ms IS NULL GROUP BY stream HAVING count(*) >= ? ORDER BY stream",
            (at_least,),
        )
        return [str(row[0]) for row in rows]

    def append(self, staged: Sequence[Staged]) -> None:
        """Gives each message its position and makes the segments part of their streams. Inside the unit's transaction."""
        for one in staged:
            self._sql.execute("INSERT OR IGNORE INTO stream (name) VALUES (?)", (one.stream,))
            row = self._sql.execute(
                "UPDATE stream SET next = next + ? WHERE name = ? RETURNING next", (one.rows, one.stream)
            ).fetchone()
            self._insert(one, int(row[0]) - one.rows)

    def replace(self, old: Iterable[str], new: Staged, first: int, now_ms: int) -> None:
        """A compaction: `new` holds what the `old` files held, in order; those are retired, not removed."""
        with transaction(self._sql):
            files = list(old)
            self._sql.executemany("UPDATE segment SET retired_ms = ? WHERE file = ?", [(now_ms, one) for one in files])
            self._insert(new, first)

    def drop_retired(self, before_ms: int) -> list[str]:
        """The retired segments that no reader can hold any more; their rows are gone, their files are the caller's."""
        with transaction(self._sql):
            rows = self._sql.execute(
                "DELETE FROM segment WHERE retired_ms <= ? RETURNING file", (before_ms,)
            ).fetchall()
        return [str(row[0]) for row in rows]

    def named_files(self) -> set[str]:
        """Every file of the data folder that a row names."""
        rows = self._sql.execute(
            "SELECT file FROM segment UNION SELECT file FROM reject UNION SELECT file FROM job_file"
        )
        return {str(row[0]) for row in rows}

    def _insert(self, one: Staged, first: int) -> None:
        self._sql.execute(
            "INSERT INTO segment (file, stream, first, rows, size, schema_, min_ts_ms, max_ts_ms) VALUES (?,?,?,?,?,?,?,?)",
            (one.file, one.stream, first, one.rows, one.size, one.schema, one.min_timestamp_ms, one.max_timestamp_ms),
        )
