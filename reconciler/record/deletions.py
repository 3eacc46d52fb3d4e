"""Jobs that were deleted and can still be brought back: their rows stay as they were, with life 'orphaned', and nothing
that asks for live jobs finds them. What was brought back waits here for its spec."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Final, Literal

from reconciler.core.prune import KEPT_MS
from reconciler.core.value import dataclass
from reconciler.record.database import transaction

#: What is left of a job that no file declares: its cursor, for a job declared again (`orphaned`); everything, for a person
#: who undeletes it (`deleted`); everything, for its spec to come back (`undeleted`).
Left = Literal["orphaned", "deleted", "undeleted"]

_SELECT: Final = (
    "SELECT job, name, path, at_ms, commit_, keeps, undeleted_ms, undeleted_by FROM deletion "
    "CROSS JOIN resource ON resource.id = job WHERE kind = 'Job' AND life = 'orphaned'"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """A job that is gone. `path` is the file that declared it, `commit` the one that took it out (empty where none did).
    `keeps`: a job declared again goes on from its cursor, whatever a person does."""

    job: int
    name: str
    path: str
    at_ms: int
    commit: str
    keeps: bool
    undeleted_ms: int | None
    undeleted_by: str

    @property
    def until_ms(self) -> int:
        """When it is gone for good, unless it is undeleted before."""
        return self.at_ms + KEPT_MS


class Deletions:
    """The `deletion` table."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection

    def add(
        self,
        job_id: int,
        now_ms: int,
        *,
        commit: str = "",
        revision: str = "",
        keeps: bool = False,
        approved: bool = False,
    ) -> None:
        """A live job is deleted; all that hangs on it stays for now, but nothing will look at it."""
        with transaction(self._sql):
            self._sql.execute(
                "INSERT INTO deletion (job, at_ms, commit_, revision, keeps, approved) VALUES (?, ?, ?, ?, ?, ?)",
                (job_id, now_ms, commit, revision, keeps, approved),
            )
            self._sql.execute("UPDATE resource SET life = 'orphaned', dirty = 0 WHERE id = ?", (job_id,))
            self._sql.execute("UPDATE job SET wake_at_ms = NULL WHERE id = ?", (job_id,))

    def deletion(self, name: str) -> Deletion | None:
        row = self._sql.execute(f"{_SELECT} AND name = ?", (name,)).fetchone()
        return None if row is None else _deletion(row)

    def deletions(self) -> list[Deletion]:
        """By name."""
        return [_deletion(row) for row in self._sql.execute(f"{_SELECT} ORDER BY name")]

    def undeleted(self) -> list[Deletion]:
        """Those that wait for their spec, by name."""
        return [_deletion(row) for row in self._sql.execute(f"{_SELECT} AND undeleted_ms IS NOT NULL ORDER BY name")]

    def left(self) -> dict[str, Left]:
        """What is left of each deleted job, by name."""
        rows = self._sql.execute(
            "SELECT name, keeps, undeleted_ms FROM resource INDEXED BY resource_orphaned LEFT JOIN deletion ON job = resource.id "
            "WHERE kind = 'Job' AND life = 'orphaned'"
        )
        return {str(name): left_of(keeps, undeleted_ms) for name, keeps, undeleted_ms in rows}

    def undelete(self, job_id: int, by: str, now_ms: int) -> None:
        """It waits for its spec; asked again, the first asking stands."""
        with transaction(self._sql):
            self._sql.execute(
                "UPDATE deletion SET undeleted_ms = ?, undeleted_by = ? WHERE job = ? AND undeleted_ms IS NULL",
                (now_ms, by, job_id),
            )
            self._sql.execute("UPDATE resource SET dirty = 1 WHERE id = ?", (job_id,))

    def revive(self, job_id: int) -> None:
        """Its spec is back: it is live, with all that it had."""
        with transaction(self._sql):
            self._sql.execute("DELETE FROM deletion WHERE job = ?", (job_id,))
            self._sql.execute("UPDATE resource SET life = 'live', dirty = 1 WHERE id = ?", (job_id,))

    def expired(self, now_ms: int) -> list[Deletion]:
        """Those that nobody has undeleted in time."""
        rows = self._sql.execute(
            f"{_SELECT} AND undeleted_ms IS NULL AND at_ms <= ? ORDER BY name", (now_ms - KEPT_MS,)
        )
        return [_deletion(row) for row in rows]

    def end(self, job_id: int) -> None:
        """It can be undone no more. What is left is the caller's."""
        self._sql.execute("DELETE FROM deletion WHERE job = ?", (job_id,))

    def unapproved(self) -> list[tuple[int, str]]:
        """When each job was deleted that nobody had approved, and under which revision."""
        rows = self._sql.execute("SELECT at_ms, revision FROM deletion WHERE approved = 0")
        return [(int(at_ms), str(revision)) for at_ms, revision in rows]

    def files(self, job_ids: Iterable[int]) -> list[str]:
        """What those jobs keep in the data folder: ledgers, rejects."""
        found = []
        for job_id in job_ids:
            rows = self._sql.execute(
                "SELECT file FROM job_file WHERE job = ?1 UNION SELECT file FROM reject WHERE job = ?1", (job_id,)
            )
            found += [str(row[0]) for row in rows]
        return found


def left_of(keeps: int | None, undeleted_ms: int | None) -> Left:
    """An orphan of an earlier version has no row of its own: both are None."""
    if undeleted_ms is not None:
        return "undeleted"
    return "deleted" if keeps == 0 else "orphaned"


def _deletion(row: sqlite3.Row) -> Deletion:
    return Deletion(
        job=row["job"],
        name=row["name"],
        path=row["path"],
        at_ms=row["at_ms"],
        commit=row["commit_"],
        keeps=bool(row["keeps"]),
        undeleted_ms=row["undeleted_ms"],
        undeleted_by=row["undeleted_by"],
    )
