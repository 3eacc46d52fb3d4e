"""What was made true of each job, and when the controller must next look at it.

`wake_at_ms` is the heart of a pass that costs nothing: the next time at which a job could have something to do. A job
that only waits for something to happen (a dependency, a slot) has none, and is woken by what happens.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from itertools import islice
from operator import attrgetter
from typing import Any, Final, NamedTuple

from reconciler.core.backfill import BACKFILL, LIVE
from reconciler.core.document import canonical
from reconciler.core.state import JobState, Outcome, Owed, Reason, Status
from reconciler.core.value import dataclass
from reconciler.record.database import transaction

_STATE: Final = tuple(field.name for field in fields(JobState))
_TYPES: Final[dict[str, type]] = {
    "status": Status,
    "reason": Reason,
    "held_status": Status,
    "held_reason": Reason,
    "owed": Owed,
    "last_outcome": Outcome,
    "cause": Owed,
    "stopping": Outcome,
    "announced": bool,
    "expired": bool,
}
#: What a JobRow is made of, in its order; a row is read by position, because by name each column is looked for.
_COLUMNS: Final = (
    "resource.id, resource.name, life, path, title, description, labels, spec, type, digest, generation, observed, created_ms, "
    "created_by, updated_ms, updated_by, revision, condition_, condition_ms, status_digest, wake_at_ms, waiting, cursor, "
    f"rows, added, removed, omitted, {', '.join(_STATE)}"
)
_SELECT: Final = f"SELECT {_COLUMNS} FROM resource JOIN job USING (id)"
#: The queue of live jobs may be long: it is read in its index's order, no further than is asked for, and backfills are found
#: by an index of their own. (A cross join keeps its order.)
_IN_LANE: Final = {
    LIVE: "job INDEXED BY job_queue CROSS JOIN resource USING (id) WHERE spec ->> '$.lane' IS NULL",
    BACKFILL: "resource INDEXED BY resource_backfill CROSS JOIN job USING (id) WHERE spec ->> '$.lane' = 'backfill'",
}
#: Of a live job that has never run: what its status says of it alone, then all else that it can depend on, as one text.
_NEW: Final = (
    "SELECT resource.id, path, name, title, digest, status_digest, json_array(json_remove(spec, '$.config'), type, generation, "
    "observed, created_ms, created_by, updated_ms, updated_by, revision, condition_, condition_ms, waiting, rows, added, "
    f"removed, omitted, {', '.join(_STATE)}) FROM resource JOIN job USING (id) WHERE resource.id IN (SELECT value FROM "
    "json_each(?)) AND life = 'live' AND NOT EXISTS (SELECT 1 FROM run WHERE run.job = resource.id) ORDER BY path, name"
)
_UNDELETED: Final = "life = 'orphaned' AND resource.id IN (SELECT job FROM deletion WHERE undeleted_ms IS NOT NULL)"
_VALUES: Final = attrgetter(*_STATE)
_SAVE: Final = f"UPDATE job SET {', '.join(f'{name} = ?' for name in _STATE)}, wake_at_ms = ?, waiting = ? WHERE id = ?"
_INSERT: Final = f"INSERT INTO job (id, wake_at_ms, {', '.join(_STATE)}) VALUES (?, ?{', ?' * len(_STATE)})"
#: The same state of many jobs, whose ids come last, as JSON.
_INSERT_ALIKE: Final = (
    f"INSERT INTO job (wake_at_ms, {', '.join(_STATE)}, id) SELECT ?{', ?' * len(_STATE)}, value FROM json_each(?)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sums over all runs of a job, or of one run."""

    rows: int = 0
    added: int = 0
    removed: int = 0
    omitted: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """A job as the record knows it."""

    id: int
    name: str
    life: str
    path: str
    title: str
    description: str
    labels: Mapping[str, str]
    spec: Mapping[str, Any]
    type: str
    digest: str
    generation: int
    observed: int
    created_ms: int
    created_by: str
    updated_ms: int
    updated_by: str
    revision: str
    condition: str
    condition_ms: int
    status_digest: str
    state: JobState
    wake_at_ms: int | None
    waiting: str
    cursor: Any
    totals: Totals


class NewRow(NamedTuple):
    """A live job that has never run. Those of equal `alike` have statuses that differ in name, title and digest alone."""

    id: int
    path: str
    name: str
    title: str
    digest: str
    status_digest: str
    alike: str


class Reported(NamedTuple):
    """What the status of a thing says: its condition, since when, whether something is wrong with the spec, and the digest of
    the file."""

    id: int
    condition: str
    condition_ms: int
    troubled: bool
    status_digest: str


class Jobs:
    """The `job` table, with what `resource` knows of each."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection

    def job(self, name: str) -> JobRow | None:
        """The live or purged job of that name, or the one that waits for its spec since it was undeleted (its life is given
        as `undeleted`)."""
        found = self._one("WHERE resource.kind = 'Job' AND resource.name = ? AND life IN ('live', 'purged')", name)
        if found is not None:
            return found
        waits = self._one(f"WHERE resource.kind = 'Job' AND resource.name = ? AND {_UNDELETED}", name)
        return None if waits is None else replace(waits, life="undeleted")

    def by_id(self, job_id: int) -> JobRow | None:
        return self._one("WHERE resource.id = ?", job_id)

    def jobs(self, names: Iterable[str] | None = None) -> list[JobRow]:
        """Live jobs by name; of `names` only, where given."""
        if names is None:
            return self._many("WHERE life = 'live' ORDER BY resource.name")
        wanted = json.dumps(sorted(set(names)))
        return self._many(
            "WHERE life = 'live' AND resource.kind = 'Job' AND resource.name IN (SELECT value FROM json_each(?)) "
            "ORDER BY resource.name",
            wanted,
        )

    def count(self) -> int:
        """How many jobs there are, tombstones included."""
        row = self._sql.execute(
            "SELECT count(*) FROM resource WHERE kind = 'Job' AND life IN ('live', 'purged')"
        ).fetchone()
        return int(row[0])

    def undeleted(self) -> list[JobRow]:
        """Jobs that wait for their spec, by name; their life is given as `undeleted`."""
        return [replace(job, life="undeleted") for job in self._many(f"WHERE {_UNDELETED} ORDER BY +resource.name")]

    def awake(self, now_ms: int) -> list[JobRow]:
        """Live jobs whose time to be looked at has come."""
        return self._many("WHERE life = 'live' AND wake_at_ms <= ? ORDER BY wake_at_ms, resource.name", now_ms)

    def next_wake_ms(self) -> int | None:
        row = self._sql.execute("SELECT min(wake_at_ms) FROM job WHERE wake_at_ms IS NOT NULL").fetchone()
        return None if row[0] is None else int(row[0])

    def is_any_due(self, now_ms: int) -> bool:
        """Whether a live, sleeping job owes a run whose time has come."""
        row = self._sql.execute(
            "SELECT 1 FROM job JOIN resource USING (id) WHERE wake_at_ms <= ?1 AND life = 'live' AND status = 'Sleeping' AND "
            "((owed IS NOT NULL AND (not_before_ms IS NULL OR not_before_ms <= ?1)) OR tick_at_ms <= ?1) LIMIT 1",
            (now_ms,),
        ).fetchone()
        return row is not None

    def queue(self, limit: int, lane: str = LIVE, besides: Container[int] = ()) -> list[JobRow]:
        """The first `limit` jobs of a lane's slot queue, first come first, then by age; those with an id among `besides`
        are left out."""
        rows = self._sql.execute(
            f"SELECT job.id FROM {_IN_LANE[lane]} AND life = 'live' AND status = 'Sleeping' AND "
            "queued_ms IS NOT NULL ORDER BY queued_ms, job.id"
        )
        ids = list(islice((row[0] for row in rows if row[0] not in besides), limit))
        where = "WHERE resource.id IN (SELECT value FROM json_each(?)) ORDER BY queued_ms, resource.id"
        return self._many(where, json.dumps(ids)) if ids else []

    def statuses(self) -> dict[str, int]:
        """How many live jobs have each status; statuses that none has are left out."""
        rows = self._sql.execute(
            "SELECT status, count(*) FROM job JOIN resource USING (id) WHERE life = 'live' GROUP BY status"
        )
        return {str(row[0]): int(row[1]) for row in rows}

    def dependents(self, name: str) -> list[JobRow]:
        """Live jobs that depend on `name`."""
        return self._many(
            "WHERE life = 'live' AND resource.id IN (SELECT job FROM dependency WHERE name = ?) ORDER BY resource.name",
            name,
        )

    def users_of(self, authorization: str) -> list[JobRow]:
        """Live jobs that refer to an authorization."""
        return self._many(
            "WHERE life = 'live' AND spec ->> '$.authorization' = ? ORDER BY resource.name", authorization
        )

    def save_state(self, job_id: int, state: JobState, *, wake_at_ms: int | None, waiting: str = "") -> None:
        """The job's new state; its status file is out of date from here on."""
        with transaction(self._sql):
            self._sql.execute(_SAVE, (*_VALUES(state), wake_at_ms, waiting, job_id))
            self._sql.execute("UPDATE resource SET dirty = 1 WHERE id = ?", (job_id,))

    def insert_state(self, job_id: int, state: JobState, *, wake_at_ms: int | None) -> None:
        """The state of a job that has just been created."""
        self._sql.execute(_INSERT, (job_id, wake_at_ms, *_VALUES(state)))

    def insert_states(self, born: Iterable[tuple[int, JobState, int | None]]) -> None:
        """The same of many: id, state, and when to look at it. Those that share one value of a state, as jobs of the same
        rules do, are written in one statement."""
        alike: dict[tuple[int, int | None], tuple[JobState, list[int]]] = {}
        for job_id, state, wake_at_ms in born:
            alike.setdefault((id(state), wake_at_ms), (state, []))[1].append(job_id)
        for (_, wake_at_ms), (state, ids) in alike.items():
            self._sql.execute(_INSERT_ALIKE, (wake_at_ms, *_VALUES(state), json.dumps(ids)))

    def wake_at(self, job_id: int, at_ms: int | None) -> None:
        """When the job is to be considered next; None where only something that happens can move it."""
        self._sql.execute("UPDATE job SET wake_at_ms = ? WHERE id = ?", (at_ms, job_id))

    def wake(self, job_ids: Iterable[int], at_ms: int) -> None:
        self._sql.executemany("UPDATE job SET wake_at_ms = ? WHERE id = ?", [(at_ms, one) for one in job_ids])

    def wake_dependents(self, names: Iterable[str], at_ms: int) -> None:
        """Live jobs that depend on one of `names` are to be considered."""
        self._sql.executemany(
            "UPDATE job SET wake_at_ms = ? WHERE id IN (SELECT d.job FROM dependency d JOIN resource r ON r.id = d.job "
            "WHERE d.name = ? AND r.life = 'live')",
            [(at_ms, name) for name in names],
        )

    def wake_all(self, at_ms: int) -> None:
        """Every live job is to be considered: the clock cannot be trusted to wake them."""
        self._sql.execute(
            "UPDATE job SET wake_at_ms = ? WHERE id IN (SELECT id FROM resource WHERE kind = 'Job' AND life = 'live')",
            (at_ms,),
        )

    def save_cursor(self, job_id: int, cursor: Any) -> None:
        """The cursor as a person's request has changed it; units save their own."""
        self._sql.execute("UPDATE job SET cursor = ? WHERE id = ?", (canonical(cursor), job_id))

    def drop_cursor(self, job_id: int) -> None:
        """The job begins again: no cursor, and nothing that was about to be sent."""
        with transaction(self._sql):
            self._sql.execute("UPDATE job SET cursor = NULL WHERE id = ?", (job_id,))
            self._sql.execute("DELETE FROM intent WHERE job = ?", (job_id,))

    def orphan(self, name: str) -> tuple[str | None, Totals] | None:
        """The cursor (as JSON text) and totals that a deleted job of that name left to one that is declared again, for
        `restore`."""
        row = self._sql.execute(
            f"{_SELECT} WHERE resource.kind = 'Job' AND resource.name = ? AND life = 'orphaned' AND resource.id NOT IN "
            "(SELECT job FROM deletion WHERE keeps = 0 AND undeleted_ms IS NULL)",
            (name,),
        ).fetchone()
        if row is None:
            return None
        totals = Totals(rows=row["rows"], added=row["added"], removed=row["removed"], omitted=row["omitted"])
        return row["cursor"], totals

    def forget_state(self, job_id: int) -> None:
        self._sql.execute("DELETE FROM job WHERE id = ?", (job_id,))

    def restore(self, job_id: int, kept: tuple[str | None, Totals]) -> None:
        """What an orphan left behind, given to the job that was declared again under its name."""
        cursor, totals = kept
        self._sql.execute(
            "UPDATE job SET cursor = ?, rows = ?, added = ?, removed = ?, omitted = ? WHERE id = ?",
            (cursor, totals.rows, totals.added, totals.removed, totals.omitted, job_id),
        )

    def set_dependencies(self, job_id: int, names: Iterable[str]) -> None:
        self._sql.execute("DELETE FROM dependency WHERE job = ?", (job_id,))
        for name in names:
            self._sql.execute("INSERT OR IGNORE INTO dependency (job, name) VALUES (?, ?)", (job_id, name))

    def add_dependencies(self, needs: Iterable[tuple[int, str]]) -> None:
        """Of jobs that have just been created: id, and the name of one that it depends on."""
        self._sql.executemany("INSERT OR IGNORE INTO dependency (job, name) VALUES (?, ?)", needs)

    def observe(self, job_id: int, generation: int) -> None:
        """The latest run was started under this generation."""
        self._sql.execute("UPDATE resource SET observed = ? WHERE id = ?", (generation, job_id))

    def dirty(self) -> list[int]:
        """The ids of the jobs that are live or wait for their spec, and whose status file is out of date, by path and name."""
        rows = self._sql.execute(
            "SELECT resource.id FROM resource INDEXED BY resource_dirty CROSS JOIN job USING (id) WHERE resource.dirty = 1 AND "
            f"(life = 'live' OR {_UNDELETED}) ORDER BY resource.path, resource.name"
        )
        return [int(row[0]) for row in rows]

    def by_ids(self, ids: Sequence[int]) -> list[JobRow]:
        """Those jobs, by path and name; all of them are in the list or wait for their spec."""
        where = "WHERE resource.id IN (SELECT value FROM json_each(?)) ORDER BY resource.path, resource.name"
        return self._many(where, json.dumps(ids))

    def new(self, ids: Sequence[int]) -> list[NewRow]:
        """Those of these jobs that are live and have never run, by path and name."""
        return [NewRow(*row) for row in self._sql.execute(_NEW, (json.dumps(ids),))]

    def mark_reported(self, reported: Iterable[Reported]) -> None:
        """Their status files say what there is to say."""
        self._sql.executemany(
            "UPDATE resource SET dirty = 0, condition_ = ?2, condition_ms = ?3, troubled = ?4, status_digest = ?5 WHERE id = ?1",
            reported,
        )

    def forget_statuses(self) -> None:
        """No status file says anything any more: there is another place for them. All that have one get it anew."""
        self._sql.execute(
            "UPDATE resource SET dirty = 1, status_digest = '' WHERE status_digest <> '' AND kind IN ('Job', 'Authorization')"
        )

    def mark_dirty(self, ids: Iterable[int]) -> None:
        """Their statuses are to be written again."""
        self._sql.executemany("UPDATE resource SET dirty = 1 WHERE id = ?", ((one,) for one in ids))

    def mark_problems_dirty(self) -> None:
        """What has problems, or had some when its status was last written, gets a new status, and so does what waits for its
        spec."""
        self._sql.execute(
            "UPDATE resource SET dirty = 1 WHERE id IN (SELECT id FROM resource INDEXED BY resource_troubled WHERE troubled = 1 "
            "UNION SELECT r.id FROM problem p CROSS JOIN resource r ON r.kind = p.kind AND r.name = p.name "
            "UNION SELECT r.id FROM problem p CROSS JOIN resource r ON r.path = p.path WHERE p.name = '') "
            "AND life = 'live' AND dirty = 0 AND (troubled <> EXISTS "
            "(SELECT 1 FROM problem p WHERE (p.kind = resource.kind AND p.name = resource.name) OR (p.name = '' AND "
            "p.path = resource.path AND NOT EXISTS (SELECT 1 FROM document d WHERE d.kind = resource.kind AND "
            "d.name = resource.name AND d.held = ''))))"
        )
        self._sql.execute(f"UPDATE resource SET dirty = 1 WHERE dirty = 0 AND {_UNDELETED}")

    def _one(self, where: str, *values: object) -> JobRow | None:
        row = self._sql.execute(f"{_SELECT} {where}", values).fetchone()
        return None if row is None else _job(row)

    def _many(self, where: str, *values: object) -> list[JobRow]:
        return [_job(row) for row in self._sql.execute(f"{_SELECT} {where}", values).fetchall()]


def _state(values: Iterable[Any]) -> JobState:
    """The JobState of the last columns of a row."""
    fields = dict(zip(_STATE, values, strict=True))
    for name, type_ in _TYPES.items():
        if fields[name] is not None:
            fields[name] = type_(fields[name])
    return JobState(**fields)


def cursor_text(cursor: Any) -> str | None:
    return None if cursor is None else canonical(cursor)


def _job(row: sqlite3.Row) -> JobRow:
    """A row of `_SELECT`."""
    (
        id_, name, life, path, title, description, labels, spec, type_, digest, generation, observed, created_ms,
        created_by, updated_ms, updated_by, revision, condition, condition_ms, status_digest, wake_at_ms, waiting, cursor,
        rows, added, removed, omitted, *state,
    ) = row  # fmt: skip
    return JobRow(
        id=id_,
        name=name,
        life=life,
        path=path,
        title=title,
        description=description,
        labels=json.loads(labels),
        spec=json.loads(spec),
        type=type_,
        digest=digest,
        generation=generation,
        observed=observed,
        created_ms=created_ms,
        created_by=created_by,
        updated_ms=updated_ms,
        updated_by=updated_by,
        revision=revision,
        condition=condition,
        condition_ms=condition_ms,
        status_digest=status_digest,
        state=_state(state),
        wake_at_ms=wake_at_ms,
        waiting=waiting,
        cursor=None if cursor is None else json.loads(cursor),
        totals=Totals(rows=rows, added=added, removed=removed, omitted=omitted),
    )
