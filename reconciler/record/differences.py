"""The planner's input: where desired and observed differ, found by one join of digests, and what time has made due.

A pass in which nothing changed finds no row here, and so builds no value at all.

Triggers of the record note the names of what changes on either side (`touched`), in the transaction that changes it, and only
these are compared: a change among many costs what it is, not what they are, for a reader too. What was compared and is equal is
taken out (`forget_equal`) by the transactions that take a look in and that enact a plan.
"""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Final

from reconciler.core.words import PURGE_AFTER_MS
from reconciler.record.desired import document_of

if TYPE_CHECKING:  # loaded where something differs
    from reconciler.core.plan import Known, Pair

_KNOWN: Final = (
    "r.id AS r_id, r.kind AS r_kind, r.name AS r_name, r.path AS r_path, r.life AS r_life, r.digest AS r_digest, "
    "r.work_digest AS r_work_digest, r.metadata_digest AS r_metadata_digest, r.generation AS r_generation, "
    "r.spec AS r_spec, r.title AS r_title, r.description AS r_description, r.labels AS r_labels, "
    "j.status AS j_status, j.since_ms AS j_since_ms, j.expired AS j_expired, "
    "j.rows AS j_rows, x.at_ms AS x_at_ms, x.keeps AS x_keeps, x.undeleted_ms AS x_undeleted_ms"
)
_WHAT_IS_KNOWN: Final = "LEFT JOIN job j ON j.id = r.id LEFT JOIN deletion x ON x.job = r.id"
_DIFFERS: Final = (
    "r.id IS NULL OR r.life <> 'live' OR r.digest <> d.digest OR r.metadata_digest <> d.metadata_digest OR r.path <> d.path "
    "OR (d.kind, d.name) IN (SELECT kind, renamed_from FROM document WHERE renamed_from <> '')"
)
#: What no file declares any more, and is held, comes after what a file declares. In a preview documents come from two tables
#: (`Desired.overlay`): sorted by anything but a column of the result, SQLite would copy both of them first.
_DECLARED: Final = (
    f"SELECT d.*, d.held <> '' AS is_held, {_KNOWN} FROM {{documents}} LEFT JOIN resource r "
    f"ON r.kind = d.kind AND r.name = d.name {_WHAT_IS_KNOWN} WHERE {{where}} ORDER BY d.kind, d.name, is_held, d.path, d.ordinal"
)
_GONE: Final = (
    f"SELECT {_KNOWN}, EXISTS (SELECT 1 FROM problem p WHERE p.kind = r.kind AND p.name = r.name) AS invalid "
    f"FROM {{resources}} {_WHAT_IS_KNOWN} WHERE r.life IN ('live', 'purged') AND NOT EXISTS "
    "(SELECT 1 FROM document d WHERE d.kind = r.kind AND d.name = r.name) ORDER BY r.kind, r.name"
)
_DUE: Final = (
    f"SELECT d.*, {_KNOWN} FROM job j JOIN resource r ON r.id = j.id JOIN document d ON d.kind = r.kind AND d.name = r.name "
    "LEFT JOIN deletion x ON x.job = r.id "
    "WHERE j.status IN ('Failed', 'Paused', 'Completed') AND j.since_ms <= ? AND r.life = 'live'"
)

_NOTED: Final = {
    "documents": "touched t CROSS JOIN document d ON d.kind = +t.kind AND d.name = +t.name",
    "resources": "touched t CROSS JOIN resource r ON r.kind = t.kind AND r.name = t.name",
}
_ALL: Final = {"documents": "document d", "resources": "resource r"}
_FORGET_EQUAL: Final = (
    "DELETE FROM touched WHERE NOT EXISTS (SELECT 1 FROM document d LEFT JOIN resource r ON r.kind = d.kind AND r.name = d.name "
    f"WHERE d.kind = touched.kind AND d.name = touched.name AND ({_DIFFERS})) AND NOT EXISTS "
    "(SELECT 1 FROM resource r WHERE r.kind = touched.kind AND r.name = touched.name AND r.life IN ('live', 'purged') AND "
    "NOT EXISTS (SELECT 1 FROM document d WHERE d.kind = r.kind AND d.name = r.name))"
)


class Differences:
    """Pairs of what is declared and what is known."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection

    def pairs(self, now_ms: int, *, whole: bool = False) -> tuple[Pair, ...]:
        """The pairs that differ or whose time has come; all of them with `whole`. Sorted by kind and name."""
        found: dict[tuple[str, str], Pair] = {}
        where = "1" if whole else _DIFFERS
        among = _ALL if whole else _NOTED
        for row in self._sql.execute(_DECLARED.format(where=where, **among)):
            found.setdefault((row["kind"], row["name"]), _pair(row))
        for row in self._sql.execute(_GONE.format(**among)):
            known = _known(row)
            found[(known.kind, known.name)] = _gone(known, row)
        for row in self._sql.execute(_DUE, (now_ms - PURGE_AFTER_MS,)):
            found.setdefault((row["kind"], row["name"]), _pair(row))
        return tuple(found[key] for key in sorted(found))

    def forget_equal(self) -> None:
        """What is equal on both sides is compared no more until it changes again. Inside the transaction that changed it."""
        self._sql.execute(_FORGET_EQUAL)

    def owing(self, now_ms: int) -> dict[str, str]:
        """Live, sleeping jobs that owe a run whose time has come, with why they owe it. All jobs are asked first, whose rows
        are small: few owe any."""
        rows = self._sql.execute(
            "SELECT resource.name, coalesce(owed, 'schedule') FROM job CROSS JOIN resource USING (id) WHERE life = 'live' AND "
            "status = 'Sleeping' AND ((owed IS NOT NULL AND (not_before_ms IS NULL OR not_before_ms <= ?1)) OR "
            "tick_at_ms <= ?1) ORDER BY resource.name",
            (now_ms,),
        )
        return {str(name): str(owed) for name, owed in rows}


def _gone(known: Known, row: sqlite3.Row) -> Pair:
    from reconciler.core.plan import Pair

    return Pair(declared=None, known=known, invalid=bool(row["invalid"]))


def _pair(row: sqlite3.Row) -> Pair:
    from reconciler.core.plan import Pair

    known = None if row["r_id"] is None else _known(row)
    return Pair(declared=document_of(row), known=known, invalid=bool(row["invalid"] or row["held"]))


def _known(row: sqlite3.Row) -> Known:
    from reconciler.core.plan import Known
    from reconciler.core.prune import KEPT_MS
    from reconciler.core.state import Status
    from reconciler.record.deletions import left_of

    spec = json.loads(row["r_spec"])
    return Known(
        kind=row["r_kind"],
        name=row["r_name"],
        path=row["r_path"],
        digest=row["r_digest"],
        work_digest=row["r_work_digest"],
        metadata_digest=row["r_metadata_digest"],
        generation=row["r_generation"],
        spec=spec,
        deletion_policy=spec.get("deletionPolicy", "delete"),
        status=None if row["j_status"] is None else Status(row["j_status"]),
        since_ms=row["j_since_ms"],
        expired=bool(row["j_expired"]),
        life=left_of(row["x_keeps"], row["x_undeleted_ms"]) if row["r_life"] == "orphaned" else row["r_life"],
        title=row["r_title"],
        description=row["r_description"],
        labels=json.loads(row["r_labels"]),
        rows=row["j_rows"] or 0,
        until_ms=None if row["x_at_ms"] is None else row["x_at_ms"] + KEPT_MS,
    )
