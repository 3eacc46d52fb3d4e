"""Streams: which segments they consist of, and where the next message goes. A file that no row names is garbage."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final

from reconciler.core.document import canonical
from reconciler.core.messages import SegmentRef
from reconciler.core.provider import Staged
from reconciler.core.value import dataclass
from reconciler.record.database import transaction

#: What arrives within this time is one arrival: the units of one run follow each other closely.
BURST_MS: Final = 60_000
#: ?1 rows more, ?2 now. The usual gap is a moving mean, in which the latest counts for a quarter.
_ARRIVE: Final = (
    "UPDATE stream SET next = next + ?1, arrived_ms = max(coalesce(arrived_ms, ?2), ?2), gap_ms = CASE "
    "WHEN arrived_ms IS NULL OR ?2 - arrived_ms < ?3 THEN gap_ms "
    "ELSE coalesce((3 * gap_ms + ?2 - arrived_ms) / 4, ?2 - arrived_ms) END WHERE name = ?4 RETURNING next"
)
_SUMS: Final = (
    "SELECT stream.name, stream.arrived_ms, stream.gap_ms, count(file) AS segments, "
    "coalesce(sum(rows - holes), 0) AS messages, "
    "coalesce(sum(size), 0) AS size, coalesce(sum(iif(min_ts_ms IS NULL, rows - holes, 0)), 0) AS untimed, "
    "min(min_ts_ms) AS first_timestamp_ms, max(max_ts_ms) AS last_timestamp_ms "
    "FROM stream LEFT JOIN segment ON segment.stream = stream.name AND retired_ms IS NULL GROUP BY stream.name "
    "ORDER BY stream.name"
)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRow:
    """What a stream holds. `untimed` counts the messages of segments in which no message has a time of its own;
    `first_timestamp_ms` and `last_timestamp_ms` are the extremes of those that have one. `gap_ms` is the usual time
    between two arrivals, None before the second."""

    name: str
    messages: int
    size: int
    segments: int
    untimed: int
    first_timestamp_ms: int | None
    last_timestamp_ms: int | None
    arrived_ms: int | None
    gap_ms: int | None


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
            "SELECT coalesce(sum(rows - holes), 0), coalesce(sum(size), 0) FROM segment "
            "WHERE stream = ? AND retired_ms IS NULL",
            (stream,),
        ).fetchone()
        return int(row[0]), int(row[1])

    def rows(self) -> list[StreamRow]:
        """Every stream that ever held a message, by name."""
        return [StreamRow(**dict(row)) for row in self._sql.execute(_SUMS)]

    def fragmented(self, at_least: int) -> list[str]:
        """Streams with that many segments or more."""
        rows = self._sql.execute(
            "SELECT stream FROM segment WHERE retired_ms IS NULL GROUP BY stream HAVING count(*) >= ? ORDER BY stream",
            (at_least,),
        )
        return [str(row[0]) for row in rows]

    def append(self, staged: Sequence[Staged], now_ms: int) -> None:
        """Gives each message its position and makes the segments part of their streams; they have arrived now. Inside the
        unit's transaction."""
        for one in staged:
            self._sql.execute("INSERT OR IGNORE INTO stream (name) VALUES (?)", (one.stream,))
            row = self._sql.execute(_ARRIVE, (one.rows, now_ms, BURST_MS, one.stream)).fetchone()
            self._insert(one, int(row[0]) - one.rows)

    def replace(self, old: Iterable[str], new: Staged, first: int, now_ms: int) -> None:
        """A compaction: `new` holds what the `old` files held, in order; those are retired, not removed."""
        with transaction(self._sql):
            files = list(old)
            self._sql.executemany("UPDATE segment SET retired_ms = ? WHERE file = ?", [(now_ms, one) for one in files])
            self._insert(new, first)
            self._sql.execute(
                "UPDATE segment SET holes = (SELECT coalesce(sum(holes), 0) FROM segment WHERE file IN "
                "(SELECT value FROM json_each(?))) WHERE file = ?",
                (canonical(files), new.file),
            )

    def hollow(self, old: str, new: Staged, holes: int, now_ms: int) -> bool:
        """`new` holds what `old` held, but for so many messages more that are gone; each other one keeps its position.
        False where `old` is no segment of a stream any more. Inside the caller's transaction."""
        row = self._sql.execute(
            "UPDATE segment SET retired_ms = ? WHERE file = ? AND retired_ms IS NULL RETURNING first, rows, holes",
            (now_ms, old),
        ).fetchone()
        if row is None:
            return False
        assert new.rows == row["rows"], "a segment keeps its length when messages go"
        self._insert(new, row["first"])
        self._sql.execute("UPDATE segment SET holes = ? WHERE file = ?", (row["holes"] + holes, new.file))
        return True

    def empty(self, stream: str, now_ms: int) -> int:
        """All messages of a stream go: its segments are retired, and their files go once no reader can hold them. No
        position is given twice, should messages land on it again. How many they were."""
        rows = self._sql.execute(
            "UPDATE segment SET retired_ms = ? WHERE stream = ? AND retired_ms IS NULL RETURNING rows - holes",
            (now_ms, stream),
        ).fetchall()
        self._sql.execute("UPDATE stream SET arrived_ms = NULL, gap_ms = NULL WHERE name = ?", (stream,))
        return sum(int(row[0]) for row in rows)

    def are_live(self, files: Sequence[str]) -> bool:
        """Whether the segments are still part of their stream."""
        marks = ", ".join("?" * len(files))
        row = self._sql.execute(
            f"SELECT count(*) FROM segment WHERE retired_ms IS NULL AND file IN ({marks})", tuple(files)
        ).fetchone()
        return int(row[0]) == len(files)

    def drop_retired(self, before_ms: int) -> list[str]:
        """The retired segments that no reader can hold any more; their rows are gone, their files are the caller's."""
        due = self._sql.execute("SELECT 1 FROM segment WHERE retired_ms <= ? LIMIT 1", (before_ms,)).fetchone()
        if due is None:  # asked at every turn of the loop
            return []
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
            "INSERT INTO segment (file, stream, first, rows, size, schema_, min_ts_ms, max_ts_ms, digest) "
            "VALUES (?,?,?,?,?,?,?,?,?)",
            (
                one.file,
                one.stream,
                first,
                one.rows,
                one.size,
                one.schema,
                one.min_timestamp_ms,
                one.max_timestamp_ms,
                one.digest,
            ),
        )
