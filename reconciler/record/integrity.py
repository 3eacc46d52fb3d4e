"""Whether the record says what it was made to say: what SQLite itself can tell, and what one table knows of another."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Final, NamedTuple

from reconciler.core.document import WORK_FIELDS, digest_of, digest_of_text
from reconciler.core.drift import RESTORE, Drift, Row
from reconciler.record.database import findings
from reconciler.record.refusals import of_connection, words

#: So many findings of SQLite's own check are named.
NAMED: Final = 10
#: Sums that must agree: what differs, whose it is, and both sides.
_SUMS: Final = (
    "SELECT 'run ' || run.id AS subject, run.units || ' units, ' || run.rows || ' rows' AS found, "
    "count(unit.number) || ' units, ' || coalesce(sum(unit.rows), 0) || ' rows' AS expected "
    "FROM run LEFT JOIN unit ON unit.run = run.id GROUP BY run.id HAVING run.units <> count(unit.number) "
    "OR run.rows <> coalesce(sum(unit.rows), 0) OR run.added <> coalesce(sum(unit.added), 0) "
    "OR run.removed <> coalesce(sum(unit.removed), 0) OR run.omitted <> coalesce(sum(unit.omitted), 0) "
    "UNION ALL SELECT 'Stream ' || stream.name, 'next position ' || stream.next, "
    "'next position ' || max(segment.first + segment.rows) FROM stream JOIN segment ON segment.stream = stream.name "
    "AND retired_ms IS NULL GROUP BY stream.name HAVING stream.next < max(segment.first + segment.rows) "
    "UNION ALL SELECT 'Stream ' || a.stream, a.file || ' at position ' || a.first, 'positions after ' || b.file "
    "FROM segment a JOIN segment b ON a.stream = b.stream AND b.first < a.first AND b.first + b.rows > a.first "
    "AND a.retired_ms IS NULL AND b.retired_ms IS NULL"
)

#: What a person must have done: whose it is, what, and who is said to have done it. What is older than the log is not in it.
_APPROVED: Final = (
    "WITH act AS (SELECT action, name, reason, plan FROM audit WHERE outcome = 'done'), "
    "log AS (SELECT min(time_ms) AS began_ms FROM audit) "
    "SELECT 'Job ' || resource.name, 'approval of ' || approval.digest, approved_by FROM log, approval "
    "JOIN resource ON resource.id = approval.job WHERE approved_ms >= began_ms AND NOT EXISTS (SELECT 1 FROM act WHERE "
    "action = 'approve' AND act.name = resource.name AND act.reason = 'digest ' || approval.digest) "
    "UNION ALL SELECT 'deletions', 'approval of ' || digest, approved_by FROM log, prune WHERE approved_ms >= began_ms "
    "AND NOT EXISTS (SELECT 1 FROM act WHERE action = 'approve-prune' AND act.reason = 'digest ' || prune.digest) "
    "UNION ALL SELECT 'Stream ' || stream, 'approval of upload ' || digest, approved_by FROM log, upload "
    "WHERE approved_ms >= began_ms AND NOT EXISTS (SELECT 1 FROM act WHERE action = 'approve-upload' "
    "AND act.name = upload.stream AND act.reason = 'digest ' || upload.digest) "
    "UNION ALL SELECT 'plan ' || digest, 'such plan applied', by_ FROM log, applied_plan WHERE at_ms >= began_ms "
    "AND NOT EXISTS (SELECT 1 FROM act WHERE action = 'apply' AND act.plan = applied_plan.digest)"
)


class Named(NamedTuple):
    """A file of the data folder that a row names; `size` is None where it was not noted."""

    file: str
    size: int | None


class Integrity:
    """Looks at all tables; changes none."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection

    def drifts(self) -> Iterator[Drift]:
        for one in self.damage():
            yield Drift(what="record", subject="record.db", expected="a sound database", found=one, mends=RESTORE)
        yield from self.contradictions()

    def contradictions(self) -> Iterator[Drift]:
        """What a sound database says that another part of it does not."""
        yield from self._digests()
        yield from self._approvals()
        for subject, found, expected in self._sql.execute(_SUMS):
            yield Drift(what="record", subject=str(subject), expected=str(expected), found=str(found), mends=RESTORE)

    def rows(self) -> dict[tuple[str, str], Row]:
        """What the record holds of each thing, by kind and name."""
        rows = self._sql.execute("SELECT kind, name, generation, digest, life FROM resource")
        return {(kind, name): Row(generation, digest, life) for kind, name, generation, digest, life in rows}

    def files(self) -> list[Named]:
        """The files of the data folder that must be there, sorted; replaced ones may be gone."""
        rows = self._sql.execute(
            "SELECT file, size FROM segment WHERE retired_ms IS NULL UNION "
            "SELECT file, size FROM profile_file WHERE retired_ms IS NULL UNION SELECT file, NULL FROM job_file UNION "
            "SELECT file, NULL FROM reject UNION SELECT file, NULL FROM intake_reject ORDER BY 1"
        )
        return [Named(str(file), size) for file, size in rows]

    def digests(self) -> dict[str, str]:
        """What the bytes of those files digest to whose digest was noted."""
        rows = self._sql.execute("SELECT file, digest FROM segment WHERE retired_ms IS NULL AND digest <> ''")
        return {str(file): str(digest) for file, digest in rows}

    def named_files(self) -> set[str]:
        """Every file that any row names, replaced ones too."""
        rows = self._sql.execute(
            "SELECT file FROM segment UNION SELECT file FROM profile_file UNION SELECT file FROM job_file UNION "
            "SELECT file FROM reject UNION SELECT file FROM intake_reject"
        )
        return {str(row[0]) for row in rows}

    def has_live_runs(self) -> bool:
        return self._sql.execute("SELECT 1 FROM run WHERE live = 1 LIMIT 1").fetchone() is not None

    def damage(self) -> list[str]:
        """What SQLite itself finds wrong, as clauses."""
        found = findings(self._sql, of_connection(self._sql), limit=NAMED)
        found = found or self._unreadable()
        if found:
            return found
        rows = self._sql.execute("PRAGMA foreign_key_check").fetchmany(NAMED)
        return [f"{row[0]} row {row[1]} refers to a {row[2]} that is not there" for row in rows]

    def _unreadable(self) -> list[str]:
        """Texts that are none any more, which SQLite does not look for."""
        found = []
        tables = [str(row[0]) for row in self._sql.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in sorted(tables):
            try:
                for _ in self._sql.execute(f'SELECT * FROM "{table}"'):
                    pass
            except (sqlite3.OperationalError, UnicodeDecodeError) as error:
                what = words(error) if isinstance(error, sqlite3.Error) else "no text"
                found.append(f"table {table} cannot be read: {what}")
        return found

    def _digests(self) -> Iterator[Drift]:
        """A spec is what its digests say."""
        rows = self._sql.execute(
            "SELECT kind, name, spec, digest, work_digest, metadata_digest, title, description, labels FROM resource "
            "ORDER BY kind, name"
        )
        for kind, name, spec, digest, work, metadata, title, description, labels in rows:
            fields = json.loads(spec)
            found = {
                "spec": (digest_of_text(spec), digest),
                "work": (digest_of({one: fields[one] for one in WORK_FIELDS if one in fields}), work),
                "metadata": (digest_of([title, description, json.loads(labels)]), metadata),
            }
            for what, (is_now, was) in found.items():
                if is_now != was:
                    yield Drift(
                        what="record",
                        subject=f"{kind} {name}",
                        expected=f"{what} digest {was[:12]}",
                        found=f"{what} digest {is_now[:12]}",
                        mends=RESTORE,
                    )

    def _approvals(self) -> Iterator[Drift]:
        """Nothing counts as approved, or as applied, that the audit log does not say was."""
        for subject, what, by in self._sql.execute(_APPROVED):
            yield Drift(
                what="record",
                subject=str(subject),
                expected=f"no {what}, by the audit log",
                found=f"one by {by}",
                mends=RESTORE,
            )
