"""The set of deletions that the budget holds back: one at a time, named by its digest. An approval is of exactly that set;
another one that is held takes its place, and needs an approval of its own."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Final

from reconciler.core.document import canonical
from reconciler.core.prune import Pruning
from reconciler.core.value import dataclass
from reconciler.record.database import transaction

_ASK: Final = (
    "INSERT INTO prune (one, digest, reason, jobs, known, spent, revision, asked_ms) VALUES (1, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (one) DO UPDATE SET reason = excluded.reason, jobs = excluded.jobs, known = excluded.known, "
    "spent = excluded.spent, "
    "revision = excluded.revision, asked_ms = iif(digest = excluded.digest, asked_ms, excluded.asked_ms), "
    "approved_ms = iif(digest = excluded.digest, approved_ms, NULL), "
    "approved_by = iif(digest = excluded.digest, approved_by, ''), digest = excluded.digest"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldSet:
    """Deletions that were held back. `jobs` says since when each is, `known` how many jobs there were; None where they are
    only approved so far. `approved_ms` is None until a person has approved
    them; `approved_by` is who."""

    digest: str
    reason: str
    jobs: Mapping[str, int]
    known: int | None
    spent: int
    revision: str
    asked_ms: int
    approved_ms: int | None
    approved_by: str

    @property
    def is_approved(self) -> bool:
        return self.approved_ms is not None


class Prunes:
    """The `prune` table."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection

    def held(self) -> HeldSet | None:
        """What the budget holds back, approved since or not."""
        row = self._sql.execute("SELECT * FROM prune").fetchone()
        if row is None:
            return None
        fields = {name: value for name, value in dict(row).items() if name not in ("one", "jobs")}
        return HeldSet(jobs=json.loads(row["jobs"]), **fields)

    def hold(self, found: Pruning, revision: str, now_ms: int) -> None:
        """The budget holds these back. Held again, an approval stands; one of another set is forgotten. The statuses of
        the jobs are out of date where that changes something."""
        before = self.held()
        since = {} if before is None else before.jobs
        jobs = {name: since.get(name, now_ms) for name in found.names}
        said = (found.digest, found.reason, jobs, found.spent, revision)
        if before is not None and said == (before.digest, before.reason, before.jobs, before.spent, before.revision):
            return
        with transaction(self._sql):
            self._sql.execute(
                _ASK, (found.digest, found.reason, canonical(jobs), found.jobs, found.spent, revision, now_ms)
            )
            self._mark_dirty({*since, *jobs})

    def approve(self, digest: str, by: str, now_ms: int) -> None:
        """A person approves exactly this set, be it held already or about to be. The first approval of it stands."""
        before = self.held()
        with transaction(self._sql):
            if before is None or before.digest != digest:
                self.clear()
                self._sql.execute(_ASK, (digest, "", "{}", None, 0, "", now_ms))
            self._sql.execute(
                "UPDATE prune SET approved_ms = coalesce(approved_ms, ?), "
                "approved_by = iif(approved_ms IS NULL, ?, approved_by)",
                (now_ms, by),
            )

    def clear(self) -> None:
        """Nothing is held back any more."""
        before = self.held()
        if before is not None:
            with transaction(self._sql):
                self._sql.execute("DELETE FROM prune")
                self._mark_dirty(before.jobs)

    def _mark_dirty(self, names: Mapping[str, int] | set[str]) -> None:
        self._sql.execute(
            "UPDATE resource SET dirty = 1 WHERE kind = 'Job' AND life = 'live' AND name IN (SELECT value FROM json_each(?))",
            (canonical(sorted(names)),),
        )
