"""Which saved plans were applied: a plan is applied once, whatever it says."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple


class Applied(NamedTuple):
    """When a plan was applied, and by whom."""

    at_ms: int
    by: str


class Plans:
    """The `applied_plan` table."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection

    def applied(self, digest: str) -> Applied | None:
        """When the plan of that digest was applied; None where it was not."""
        row = self._sql.execute("SELECT at_ms, by_ FROM applied_plan WHERE digest = ?", (digest,)).fetchone()
        return None if row is None else Applied(int(row[0]), str(row[1]))

    def note_applied(self, digest: str, by: str, now_ms: int) -> None:
        """The plan of that digest becomes true in this transaction."""
        self._sql.execute("INSERT INTO applied_plan (digest, at_ms, by_) VALUES (?, ?, ?)", (digest, now_ms, by))
