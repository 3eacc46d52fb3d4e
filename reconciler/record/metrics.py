"""What each job has moved by minute, hour and day (UTC). The sums are added to in the transaction that commits a unit, so
they never say more or less than the units; they go with the job's runs."""

from __future__ import annotations

import sqlite3
from typing import Final

from reconciler.core.metrics import KEPT_MS, Grain, Point, start_of

_ADD: Final = (
    "INSERT INTO metric (job, grain, start_ms, rows, added, removed, omitted) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO "
    "UPDATE SET rows = rows + excluded.rows, added = added + excluded.added, removed = removed + excluded.removed, "
    "omitted = omitted + excluded.omitted"
)


class Metrics:
    """The `metric` table."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection

    def add(self, job_id: int, counts: tuple[int, int, int, int], now_ms: int) -> None:
        """The rows, added, removed and omitted of a unit. Inside the unit's transaction."""
        if any(counts):
            self._sql.executemany(_ADD, [(job_id, grain, start_of(now_ms, grain), *counts) for grain in Grain])

    def points(self, job_id: int, grain: Grain, since_ms: int = 0) -> list[Point]:
        """The sums above zero of a job, oldest first; from the minute, hour or day of `since_ms` on."""
        rows = self._sql.execute(
            "SELECT start_ms, rows, added, removed, omitted FROM metric WHERE job = ? AND grain = ? AND start_ms >= ? "
            "ORDER BY start_ms",
            (job_id, grain, start_of(since_ms, grain)),
        )
        return [Point(**dict(row)) for row in rows]

    def trim(self, now_ms: int) -> None:
        """Minutes and hours that have been kept for as long as they are kept go."""
        for grain, kept_ms in KEPT_MS.items():
            self._sql.execute(
                "DELETE FROM metric WHERE grain <> 'day' AND grain = ? AND start_ms < ?",
                (grain, start_of(now_ms - kept_ms, grain)),
            )
