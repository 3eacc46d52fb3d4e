"""What a guard holds back until a person says yes: one difference a job, named by its digest. An approval is of exactly
that difference; another one that is asked for takes its place, and needs an approval of its own."""

from __future__ import annotations

import sqlite3

from reconciler.core.value import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A difference that was held back. `message` says what the run would have done. `approved_ms` is None until a
    person has approved it; `approved_by` is who."""

    job: int
    digest: str
    message: str
    asked_ms: int
    approved_ms: int | None
    approved_by: str

    @property
    def is_approved(self) -> bool:
        return self.approved_ms is not None


class Approvals:
    """The `approval` table."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection

    def ask(self, job_id: int, digest: str, message: str, now_ms: int) -> None:
        """The guard holds this difference back. Asked again for the same one, the first asking and an approval stand;
        one of another difference is forgotten."""
        self._sql.execute(
            "INSERT INTO approval (job, digest, message, asked_ms) VALUES (?, ?, ?, ?) ON CONFLICT (job) DO UPDATE SET "
            "message = excluded.message, "
            "asked_ms = iif(digest = excluded.digest, asked_ms, excluded.asked_ms), "
            "approved_ms = iif(digest = excluded.digest, approved_ms, NULL), "
            "approved_by = iif(digest = excluded.digest, approved_by, ''), "
            "digest = excluded.digest",
            (job_id, digest, message, now_ms),
        )

    def held(self, job_id: int) -> Approval | None:
        """What the guard last held back of a job, approved since or not."""
        row = self._sql.execute("SELECT * FROM approval WHERE job = ?", (job_id,)).fetchone()
        return None if row is None else Approval(**dict(row))

    def approve(self, job_id: int, digest: str, by: str, now_ms: int) -> bool:
        """A person approves exactly this difference; False where it is not the one that is held. The first approval
        of it stands."""
        changed = self._sql.execute(
            "UPDATE approval SET approved_ms = coalesce(approved_ms, ?), "
            "approved_by = iif(approved_ms IS NULL, ?, approved_by) WHERE job = ? AND digest = ?",
            (now_ms, by, job_id, digest),
        )
        return changed.rowcount == 1

    def approved(self, job_id: int) -> tuple[str, ...]:
        """The digests that a run of the job may act on."""
        rows = self._sql.execute("SELECT digest FROM approval WHERE job = ? AND approved_ms IS NOT NULL", (job_id,))
        return tuple(str(row[0]) for row in rows)

    def waiting(self) -> list[str]:
        """The jobs of which something is held that nobody has approved, by name."""
        rows = self._sql.execute(
            "SELECT name FROM approval JOIN resource ON resource.id = approval.job WHERE approved_ms IS NULL ORDER BY name"
        )
        return [str(row[0]) for row in rows]

    def clear(self, job_id: int) -> None:
        """Nothing is held any more: what was approved has been done, or there is nothing to hold."""
        self._sql.execute("DELETE FROM approval WHERE job = ?", (job_id,))
