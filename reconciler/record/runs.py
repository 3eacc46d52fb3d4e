"""Runs, their units and their intents. `commit_unit` is the one place where data, cursor, counts and event become
true together (design, section 5); it refuses what is of another attempt or of an older generation."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from reconciler.core.document import canonical
from reconciler.core.provider import Intent, Unit
from reconciler.core.state import Outcome
from reconciler.core.value import dataclass
from reconciler.record.database import transaction
from reconciler.record.jobs import Totals, cursor_text
from reconciler.record.metrics import Metrics
from reconciler.record.streams import Streams

#: Finished runs that are kept of each job.
KEPT_RUNS: Final = 100
#: Characters of captured output that are kept of a run: the last ones.
KEPT_OUTPUT: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run as the record knows it."""

    id: int
    job: int
    generation: int
    attempt: int
    live: bool
    started_ms: int
    finished_ms: int | None
    outcome: Outcome | None
    message: str
    units: int
    totals: Totals
    pid: int | None
    pid_start: int | None
    exit_code: int | None
    signal: int | None
    peak_kib: int | None
    cpu_s: float | None
    output: str
    untimed: int = 0


class Runs:
    """The `run`, `unit`, `intent` and `reject` tables."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection
        self._streams = Streams(connection)
        self._metrics = Metrics(connection)

    def run(self, run_id: int) -> RunRow | None:
        row = self._sql.execute("SELECT * FROM run WHERE id = ?", (run_id,)).fetchone()
        return None if row is None else _run(row)

    def last_id(self) -> int:
        """The number of the last run that ever began; 0 where none did."""
        row = self._sql.execute("SELECT seq FROM sqlite_sequence WHERE name = 'run'").fetchone()
        return 0 if row is None else int(row[0])

    def live(self) -> list[RunRow]:
        """Runs with a process at work, or left behind by a controller that died."""
        return [_run(row) for row in self._sql.execute("SELECT * FROM run WHERE live = 1 ORDER BY +id")]

    def history(self, job_id: int, limit: int = 5) -> list[RunRow]:
        """The newest runs of a job, newest first."""
        rows = self._sql.execute("SELECT * FROM run WHERE job = ? ORDER BY id DESC LIMIT ?", (job_id, limit))
        return [_run(row) for row in rows]

    def begin(self, job_id: int, generation: int, now_ms: int) -> int:
        """A new run, its first attempt; its id, which never repeats."""
        cursor = self._sql.execute(
            "INSERT INTO run (job, generation, attempt, live, started_ms) VALUES (?, ?, 1, 1, ?)",
            (job_id, generation, now_ms),
        )
        return int(cursor.lastrowid or 0)

    def attempt(self, run_id: int, generation: int) -> int:
        """One more try at a run; its number."""
        row = self._sql.execute(
            "UPDATE run SET attempt = attempt + 1, live = 1, generation = ?, outcome = NULL, finished_ms = NULL, pid = NULL, "
            "pid_start = NULL, exit_code = NULL, signal = NULL WHERE id = ? RETURNING attempt",
            (generation, run_id),
        ).fetchone()
        return int(row[0])

    def note_process(self, run_id: int, pid: int, pid_start: int) -> None:
        self._sql.execute("UPDATE run SET pid = ?, pid_start = ? WHERE id = ?", (pid, pid_start, run_id))

    def accepts(self, run_id: int, attempt: int, generation: int) -> bool:
        """Whether units of this attempt may still be committed: it is live, and no newer one or generation is there."""
        row = self._sql.execute(
            "SELECT 1 FROM run JOIN resource ON resource.id = run.job "
            "WHERE run.id = ? AND run.live = 1 AND run.attempt = ? AND resource.life = 'live' AND run.generation = ?",
            (run_id, attempt, generation),
        ).fetchone()
        return row is not None

    def commit_unit(self, run: RunRow, number: int, unit: Unit, now_ms: int, *, untimed: int = 0) -> None:
        """The unit's data, cursor, counts, metrics, rejects, closed intents and new ones; `untimed` of its messages have no
        time of their own, where that matters. Inside the caller's transaction."""
        self._sql.execute(
            "INSERT INTO unit (run, number, attempt, committed_ms, rows, added, removed, omitted) VALUES (?,?,?,?,?,?,?,?)",
            (run.id, number, run.attempt, now_ms, unit.rows, unit.added, unit.removed, unit.omitted),
        )
        self._streams.append(unit.segments, now_ms)
        self._sql.executemany(
            "INSERT INTO reject (file, job, run, unit) VALUES (?, ?, ?, ?)",
            [(file, run.job, run.id, number) for file in unit.rejects],
        )
        self._sql.executemany("DELETE FROM intent WHERE key = ? AND job = ?", [(key, run.job) for key in unit.closes])
        if unit.intends:
            self.commit_intents(run, unit.intends)
        if unit.keeps is not None:
            self._keep(run.job, unit.keeps)
        counts = (unit.rows, unit.added, unit.removed, unit.omitted)
        self._sql.execute(
            "UPDATE run SET units = units + 1, rows = rows + ?, added = added + ?, removed = removed + ?, "
            "omitted = omitted + ?, untimed = untimed + ? WHERE id = ?",
            (*counts, untimed, run.id),
        )
        self._sql.execute(
            "UPDATE job SET cursor = ?, rows = rows + ?, added = added + ?, removed = removed + ?, omitted = omitted + ? "
            "WHERE id = ?",
            (cursor_text(unit.cursor), *counts, run.job),
        )
        self._metrics.add(run.job, counts, now_ms)

    def _keep(self, job: int, files: Sequence[str]) -> None:
        self._sql.execute("DELETE FROM job_file WHERE job = ?", (job,))
        self._sql.executemany("INSERT INTO job_file (file, job) VALUES (?, ?)", [(file, job) for file in files])

    def own_files(self, job: int) -> tuple[str, ...]:
        """The files that the job keeps for itself, sorted."""
        rows = self._sql.execute("SELECT file FROM job_file WHERE job = ? ORDER BY file", (job,))
        return tuple(str(row[0]) for row in rows)

    def commit_intents(self, run: RunRow, intents: Sequence[Intent]) -> None:
        """What the run is about to send. Raises sqlite3.IntegrityError for a key that is open already."""
        start = self._sql.execute(
            "SELECT coalesce(max(ordinal), 0) + 1 FROM intent WHERE job = ?", (run.job,)
        ).fetchone()[0]
        self._sql.executemany(
            "INSERT INTO intent (key, job, run, ordinal, first, last, digest, detail) VALUES (?,?,?,?,?,?,?,?)",
            [
                (one.key, run.job, run.id, start + index, one.first, one.last, one.digest, _detail(one.detail))
                for index, one in enumerate(intents)
            ],
        )

    def open_intents(self, job_id: int) -> tuple[Intent, ...]:
        """In the order in which they were committed."""
        rows = self._sql.execute("SELECT * FROM intent WHERE job = ? ORDER BY ordinal", (job_id,))
        return tuple(
            Intent(
                key=row["key"],
                first=row["first"],
                last=row["last"],
                digest=row["digest"],
                detail=None if row["detail"] is None else json.loads(row["detail"]),
            )
            for row in rows
        )

    def rejects(self, job_id: int) -> list[tuple[int, int, str]]:
        """The run, the unit and the file (relative to the data folder) of everything that was left out and is still
        kept, newest first."""
        rows = self._sql.execute(
            "SELECT run, unit, file FROM reject WHERE job = ? ORDER BY run DESC, unit DESC, file", (job_id,)
        )
        return [(int(row[0]), int(row[1]), str(row[2])) for row in rows]

    def reject_files(self) -> set[str]:
        """The files of everything that was left out and is still kept, of all jobs."""
        return {str(row[0]) for row in self._sql.execute("SELECT file FROM reject")}

    def reject_files_of(self, job: str) -> list[str]:
        """The same of one live job, sorted."""
        rows = self._sql.execute(
            "SELECT file FROM reject JOIN resource ON resource.id = reject.job "
            "WHERE resource.kind = 'Job' AND resource.name = ? AND resource.life = 'live' ORDER BY file",
            (job,),
        )
        return [str(row[0]) for row in rows]

    def finish(self, run_id: int, outcome: Outcome, message: str, now_ms: int) -> None:
        """The end of an attempt."""
        self._sql.execute(
            "UPDATE run SET live = 0, outcome = ?, message = ?, finished_ms = ? WHERE id = ?",
            (outcome, message, now_ms, run_id),
        )

    def note_exit(
        self, run_id: int, attempt: int, *, exit_code: int | None, signal: int | None, peak_kib: int, cpu_s: float
    ) -> None:
        self._sql.execute(
            "UPDATE run SET exit_code = ?, signal = ?, peak_kib = max(coalesce(peak_kib, 0), ?), cpu_s = coalesce(cpu_s, 0) + ? "
            "WHERE id = ? AND attempt = ?",
            (exit_code, signal, peak_kib, cpu_s, run_id, attempt),
        )

    def append_output(self, run_id: int, text: str) -> None:
        self._sql.execute("UPDATE run SET output = substr(output || ?, -?) WHERE id = ?", (text, KEPT_OUTPUT, run_id))

    def trim(self, job_id: int) -> list[str]:
        """Keeps the newest runs of a job; the rejects files of those that went, relative to the data folder."""
        with transaction(self._sql):
            row = self._sql.execute(
                "SELECT id FROM run WHERE job = ? AND live = 0 ORDER BY id DESC LIMIT 1 OFFSET ?", (job_id, KEPT_RUNS)
            ).fetchone()
            if row is None:
                return []
            gone = self._sql.execute(
                "DELETE FROM reject WHERE job = ? AND run <= ? RETURNING file", (job_id, row[0])
            ).fetchall()
            self._sql.execute("DELETE FROM run WHERE job = ? AND live = 0 AND id <= ?", (job_id, row[0]))
        return [str(one[0]) for one in gone]

    def forget(self, job_id: int) -> None:
        """All runs of a job (a purge), and what they moved when."""
        self._sql.execute("DELETE FROM metric WHERE job = ?", (job_id,))
        self._sql.execute("DELETE FROM reject WHERE job = ?", (job_id,))
        self._sql.execute("DELETE FROM run WHERE job = ?", (job_id,))

    def secrets_seen(self, authorization: str) -> dict[str, int]:
        """When a run last resolved each credential of an authorization."""
        rows = self._sql.execute("SELECT field, seen_ms FROM secret WHERE authorization = ?", (authorization,))
        return {str(row[0]): int(row[1]) for row in rows}

    def note_secret(self, authorization: str, field: str, digest: str, now_ms: int) -> bool:
        """Whether the secret has changed since it was last seen; False for one that is new. A value that was not seen
        before puts the authorization's status out of date."""
        with transaction(self._sql):
            row = self._sql.execute(
                "SELECT digest FROM secret WHERE authorization = ? AND field = ?", (authorization, field)
            ).fetchone()
            self._sql.execute(
                "INSERT INTO secret (authorization, field, digest, seen_ms) VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET digest = excluded.digest, seen_ms = excluded.seen_ms",
                (authorization, field, digest, now_ms),
            )
            if row is None or row[0] != digest:
                self._sql.execute(
                    "UPDATE resource SET dirty = 1 WHERE kind = 'Authorization' AND name = ?", (authorization,)
                )
        return row is not None and row[0] != digest


def _detail(value: Any) -> str | None:
    return None if value is None else canonical(value)


def _run(row: sqlite3.Row) -> RunRow:
    return RunRow(
        id=row["id"],
        job=row["job"],
        generation=row["generation"],
        attempt=row["attempt"],
        live=bool(row["live"]),
        started_ms=row["started_ms"],
        finished_ms=row["finished_ms"],
        outcome=None if row["outcome"] is None else Outcome(row["outcome"]),
        message=row["message"],
        units=row["units"],
        totals=Totals(rows=row["rows"], added=row["added"], removed=row["removed"], omitted=row["omitted"]),
        pid=row["pid"],
        pid_start=row["pid_start"],
        exit_code=row["exit_code"],
        signal=row["signal"],
        peak_kib=row["peak_kib"],
        cpu_s=row["cpu_s"],
        output=row["output"],
        untimed=row["untimed"],
    )
