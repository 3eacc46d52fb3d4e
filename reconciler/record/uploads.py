"""Bulk bodies that wait for a person, because they would add more to their stream than it takes unasked."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection

from reconciler.core.value import dataclass

_COLUMNS = "journal, stream, messages, size, max_ AS limit_, timed, digest, asked_ms, approved_ms, approved_by"


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadRow:
    """A body: the number of its journal, what it would add, and the `limit_` it is over. `approved_ms` is None until a person
    has approved it; `approved_by` is who."""

    journal: int
    stream: str
    messages: int
    size: int
    limit_: int
    timed: bool
    digest: str
    asked_ms: int = 0
    approved_ms: int | None = None
    approved_by: str = ""

    @property
    def is_approved(self) -> bool:
        return self.approved_ms is not None


class Uploads:
    """The `upload` table."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection

    def all(self) -> dict[int, UploadRow]:
        """Those that wait, and those that were approved and whose file may still be there, by journal."""
        rows = self._sql.execute(f"SELECT {_COLUMNS} FROM upload ORDER BY journal")
        return {row["journal"]: UploadRow(**dict(row) | {"timed": bool(row["timed"])}) for row in rows}

    def waiting(self) -> list[UploadRow]:
        """Those that nobody has approved, by journal."""
        return [one for one in self.all().values() if not one.is_approved]

    def hold(self, upload: UploadRow, now_ms: int) -> None:
        """It waits from now on; one that waits already is held to its limit of now."""
        self._sql.execute(
            "INSERT INTO upload (journal, stream, messages, size, max_, timed, digest, asked_ms) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (journal) DO UPDATE SET max_ = excluded.max_, timed = excluded.timed",
            (
                upload.journal, upload.stream, upload.messages, upload.size, upload.limit_, upload.timed, upload.digest,
                now_ms,
            ),
        )  # fmt: skip

    def approve(self, journal: int, by: str, now_ms: int) -> None:
        self._sql.execute(
            "UPDATE upload SET approved_ms = ?, approved_by = ? WHERE journal = ? AND approved_ms IS NULL",
            (now_ms, by, journal),
        )

    def forget(self, journals: Collection[int]) -> None:
        """They are on their streams, or need no approval any more."""
        self._sql.executemany("DELETE FROM upload WHERE journal = ?", [(one,) for one in journals])
