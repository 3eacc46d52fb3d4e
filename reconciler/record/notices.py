"""Troubles, the notices of them that are still to be delivered, and the outcomes of commits that forges are told."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from reconciler.core.notices import Notice, Trouble, What, notice_of, packed
from reconciler.core.value import dataclass
from reconciler.core.words import DAY_MS

#: What was delivered is remembered for so long.
KEPT_MS: Final = 30 * DAY_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitStatus:
    """What a forge is to be told of a commit: `state` is success, failure or pending."""

    forge: str
    commit: str
    branch: str
    state: str
    description: str
    tries: int = 0


class Notices:
    """The tables `trouble`, `notice` and `commit_status`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection

    # --- troubles ---------------------------------------------------------------------------------------------------

    def troubles(self) -> list[Trouble]:
        """Those that last, by key."""
        rows = self._sql.execute("SELECT * FROM trouble ORDER BY key")
        return [_trouble({**dict(row), "commit": row["commit_"]}) for row in rows]

    def over(self) -> list[Trouble]:
        """Those of failed jobs that are well again: gone, or successful since; one that runs again is not well by that."""
        rows = self._sql.execute(
            "SELECT trouble.* FROM trouble LEFT JOIN resource ON (resource.kind, resource.name) = ('Job', trouble.name) "
            "AND life IN ('live', 'purged') LEFT JOIN job USING (id) WHERE what = ? AND (job.id IS NULL OR (status <> 'Failed' "
            "AND coalesce(last_success_ms, 0) >= trouble.since_ms)) ORDER BY key",
            (What.FAILED,),
        )
        return [_trouble({**dict(row), "commit": row["commit_"]}) for row in rows]

    @property
    def changes(self) -> int:
        """A number that grows with whatever this connection changes in the record."""
        return self._sql.total_changes

    def begin(self, trouble: Trouble) -> None:
        self._sql.execute(
            "INSERT OR REPLACE INTO trouble VALUES (?,?,?,?,?,?,?,?,?)",
            (
                trouble.key,
                trouble.what,
                trouble.kind,
                trouble.name,
                trouble.path,
                trouble.message,
                trouble.since_ms,
                trouble.person,
                trouble.commit,
            ),
        )

    def end(self, key: str) -> None:
        self._sql.execute("DELETE FROM trouble WHERE key = ?", (key,))

    # --- notices ----------------------------------------------------------------------------------------------------

    def add(self, rule: str, notice: Notice, due_ms: int) -> None:
        """It goes out with those of its rule that wait already."""
        waiting = self._sql.execute(
            "SELECT min(due_ms) FROM notice WHERE rule = ? AND due_ms IS NOT NULL AND tries = 0", (rule,)
        ).fetchone()[0]
        due_ms = due_ms if waiting is None else min(due_ms, waiting)
        trouble = json.dumps(packed(notice)["trouble"])
        self._sql.execute(
            "INSERT INTO notice (rule, key, recovered, trouble, at_ms, due_ms) VALUES (?,?,?,?,?,?)",
            (rule, notice.trouble.key, notice.recovered, trouble, notice.at_ms, due_ms),
        )

    def waiting(self, rule: str) -> list[tuple[Notice, int, int]]:
        """All of a rule that are not delivered yet, oldest first, with how often that was tried and when it is due."""
        rows = self._sql.execute("SELECT * FROM notice WHERE rule = ? AND due_ms IS NOT NULL ORDER BY id", (rule,))
        return [(_notice(row), int(row["tries"]), int(row["due_ms"])) for row in rows]

    def due(self, now_ms: int) -> list[str]:
        """The rules of which something is to be delivered by now."""
        rows = self._sql.execute("SELECT DISTINCT rule FROM notice WHERE due_ms <= ? ORDER BY rule", (now_ms,))
        return [str(row[0]) for row in rows]

    def next_due_ms(self) -> int | None:
        row = self._sql.execute(
            "SELECT min(due_ms) FROM (SELECT due_ms FROM notice WHERE due_ms IS NOT NULL "
            "UNION ALL SELECT due_ms FROM commit_status WHERE due_ms IS NOT NULL)"
        ).fetchone()
        return None if row[0] is None else int(row[0])

    def told(self, rule: str, keys: Iterable[str]) -> dict[str, Notice]:
        """What was told last of each of these troubles."""
        found = {}
        for key in set(keys):
            row = self._sql.execute(
                "SELECT * FROM notice WHERE rule = ? AND key = ? AND told_ms IS NOT NULL ORDER BY told_ms DESC, id DESC LIMIT 1",
                (rule, key),
            ).fetchone()
            if row is not None:
                found[key] = _notice(row)
        return found

    def settle(self, ids: Sequence[int], told: Sequence[int], now_ms: int) -> None:
        """These need no delivery any more; `told` of them were delivered."""
        self._sql.executemany("UPDATE notice SET due_ms = NULL WHERE id = ?", [(one,) for one in ids])
        self._sql.executemany("UPDATE notice SET told_ms = ? WHERE id = ?", [(now_ms, one) for one in told])
        self._sql.execute(
            "DELETE FROM notice WHERE due_ms IS NULL AND coalesce(told_ms, at_ms) < ?", (now_ms - KEPT_MS,)
        )

    def put_off(self, ids: Sequence[int], due_ms: int) -> None:
        self._sql.executemany(
            "UPDATE notice SET due_ms = ?, tries = tries + 1 WHERE id = ?", [(due_ms, one) for one in ids]
        )

    # --- commits ----------------------------------------------------------------------------------------------------

    def note_commit(self, status: CommitStatus, now_ms: int) -> None:
        """Nothing, where the forge was told, or is to be told, just this."""
        self._sql.execute(
            "INSERT INTO commit_status (forge, commit_, branch, state, description, at_ms, due_ms) VALUES (?1,?2,?3,?4,?5,?6,?6) "
            "ON CONFLICT (forge, commit_) DO UPDATE SET "
            "state = ?4, description = ?5, branch = ?3, at_ms = ?6, due_ms = ?6, tries = 0 "
            "WHERE (state, description) <> (?4, ?5)",
            (status.forge, status.commit, status.branch, status.state, status.description, now_ms),
        )

    def due_commits(self, now_ms: int) -> list[CommitStatus]:
        rows = self._sql.execute(
            "SELECT * FROM commit_status WHERE due_ms <= ? ORDER BY forge, at_ms, commit_", (now_ms,)
        )
        return [
            CommitStatus(
                forge=row["forge"],
                commit=row["commit_"],
                branch=row["branch"],
                state=row["state"],
                description=row["description"],
                tries=row["tries"],
            )
            for row in rows
        ]

    def settle_commit(self, status: CommitStatus, now_ms: int) -> None:
        """The forge was told this, if it is still the last outcome."""
        self._sql.execute(
            "UPDATE commit_status SET due_ms = NULL WHERE (forge, commit_, state, description) = (?,?,?,?)",
            (status.forge, status.commit, status.state, status.description),
        )
        self._sql.execute("DELETE FROM commit_status WHERE due_ms IS NULL AND at_ms < ?", (now_ms - KEPT_MS,))

    def put_off_commit(self, status: CommitStatus, due_ms: int | None) -> None:
        """`due_ms` None gives it up."""
        self._sql.execute(
            "UPDATE commit_status SET due_ms = ?, tries = tries + 1 WHERE forge = ? AND commit_ = ?",
            (due_ms, status.forge, status.commit),
        )


def _trouble(values: Mapping[str, Any]) -> Trouble:
    names = ("what", "kind", "name", "path", "message", "since_ms", "person", "commit")
    return notice_of({"trouble": {name: values[name] for name in names}, "at_ms": 0}).trouble


def _notice(row: sqlite3.Row) -> Notice:
    value = {"trouble": json.loads(row["trouble"]), "at_ms": row["at_ms"], "recovered": bool(row["recovered"])}
    return notice_of({**value, "id": row["id"]})
