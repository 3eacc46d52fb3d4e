"""The record as one thing: its lock, its connection, and its tables by subject.

with Record.writing(state) as record:      the one writer; raises Locked
Record.reading(state)                      a reader; never waits for the writer; an empty one where there is none
"""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from reconciler.record import database
from reconciler.record.desired import Desired
from reconciler.record.differences import Differences
from reconciler.record.holder import holders

if TYPE_CHECKING:
    from reconciler.record.approvals import Approvals
    from reconciler.record.audit import Audit
    from reconciler.record.copies import Copy
    from reconciler.record.deletions import Deletions
    from reconciler.record.events import Events
    from reconciler.record.forgotten import Forgotten
    from reconciler.record.intake import Intake
    from reconciler.record.integrity import Integrity
    from reconciler.record.jobs import Jobs
    from reconciler.record.metrics import Metrics
    from reconciler.record.notices import Notices
    from reconciler.record.plans import Plans
    from reconciler.record.profiles import Profiles
    from reconciler.record.prunes import Prunes
    from reconciler.record.resources import Resources
    from reconciler.record.runs import Runs
    from reconciler.record.streams import Streams
    from reconciler.record.uploads import Uploads


#: A write-ahead log of less is nothing to speak of.
BACKLOG_BYTES: Final = 16 << 20


class Record:
    """SQLite's memory of what was made true (design, section 5)."""

    def __init__(
        self, connection: sqlite3.Connection, lock: database.WriterLock | None = None, state: Path | None = None
    ) -> None:
        self._connection = connection
        self._lock = lock
        self._state = state
        self.desired = Desired(connection)
        self.differences = Differences(connection)

    # The other tables are loaded when they are first asked for: a plan in which nothing differs needs none of them.

    @cached_property
    def resources(self) -> Resources:
        from reconciler.record.resources import Resources

        return Resources(self._connection)

    @cached_property
    def jobs(self) -> Jobs:
        from reconciler.record.jobs import Jobs

        return Jobs(self._connection)

    @cached_property
    def runs(self) -> Runs:
        from reconciler.record.runs import Runs

        return Runs(self._connection)

    @cached_property
    def streams(self) -> Streams:
        from reconciler.record.streams import Streams

        return Streams(self._connection)

    @cached_property
    def profiles(self) -> Profiles:
        from reconciler.record.profiles import Profiles

        return Profiles(self._connection)

    @cached_property
    def intake(self) -> Intake:
        from reconciler.record.intake import Intake

        return Intake(self._connection)

    @cached_property
    def events(self) -> Events:
        from reconciler.record.events import Events

        return Events(self._connection)

    @cached_property
    def metrics(self) -> Metrics:
        from reconciler.record.metrics import Metrics

        return Metrics(self._connection)

    @cached_property
    def notices(self) -> Notices:
        from reconciler.record.notices import Notices

        return Notices(self._connection)

    @cached_property
    def plans(self) -> Plans:
        from reconciler.record.plans import Plans

        return Plans(self._connection)

    @cached_property
    def approvals(self) -> Approvals:
        from reconciler.record.approvals import Approvals

        return Approvals(self._connection)

    @cached_property
    def uploads(self) -> Uploads:
        from reconciler.record.uploads import Uploads

        return Uploads(self._connection)

    @cached_property
    def audit(self) -> Audit:
        from reconciler.record.audit import Audit

        return Audit(self._connection, self._state)

    @cached_property
    def deletions(self) -> Deletions:
        from reconciler.record.deletions import Deletions

        return Deletions(self._connection)

    @cached_property
    def prunes(self) -> Prunes:
        from reconciler.record.prunes import Prunes

        return Prunes(self._connection)

    @cached_property
    def forgotten(self) -> Forgotten:
        from reconciler.record.forgotten import Forgotten

        return Forgotten(self._connection)

    @classmethod
    def writing(cls, state: Path) -> Record:
        """The writer's record; made and migrated where needed. Raises Locked, RecordUnusable."""
        database.prepare_state(state)
        lock = database.WriterLock(state / "lock")
        lock.acquire()
        try:
            return cls(database.open_for_writing(state), lock, state)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def reading(cls, state: Path) -> Record:
        """A reader's record. Raises RecordUnusable."""
        return cls(database.open_for_reading(state) or database.open_ephemeral(), state=state)

    @classmethod
    def frozen(cls, state: Path) -> Record | None:
        """A reader's record for which no file is created, None where there is none. Raises RecordUnusable."""
        connection = database.open_frozen(state)
        return None if connection is None else cls(connection, state=state)

    @cached_property
    def integrity(self) -> Integrity:
        from reconciler.record.integrity import Integrity

        return Integrity(self._connection)

    @property
    def id(self) -> str:
        """Made once with the record; caches that were built for another one are not believed."""
        return str(self.setting("id"))

    @property
    def alive_ms(self) -> int:
        """The controller's uptime over all its lives, as last saved."""
        return int(self.setting("alive_ms"))

    def setting(self, key: str, default: Any = None) -> Any:
        row = self._connection.execute("SELECT value FROM setting WHERE key = ?", (key,)).fetchone()
        return default if row is None else row[0]

    def set_setting(self, key: str, value: str | int) -> None:
        self._connection.execute(
            "INSERT INTO setting (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (key, value),
        )

    def transaction(self, *, durable: bool = True) -> AbstractContextManager[sqlite3.Connection]:
        """Everything inside becomes true together, and is on disk afterwards; where that need not be `durable`, with the next
        transaction that is: what is lost with the machine's power must be found again by looking."""
        return database.transaction(self._connection, durable=durable)

    def savepoint(self) -> AbstractContextManager[None]:
        """A part of a transaction that can fail alone. Raises Refused."""
        return database.savepoint(self._connection)

    def reading_at_once(self) -> AbstractContextManager[None]:
        """Everything that is read inside is of one moment."""
        return database.snapshot(self._connection)

    def backlog(self) -> tuple[int, list[str]]:
        """How many bytes of the write-ahead log a reader keeps from being put into the record, and which processes read."""
        wal = None if self._state is None else self._state / f"{database.RECORD}-wal"
        if wal is None or not wal.exists() or wal.stat().st_size < BACKLOG_BYTES:
            return 0, []
        return database.backlog_bytes(self._connection), holders(wal.with_name(database.RECORD), readers=True)

    def back_up(self, target: Path, now_ms: int, *, force: bool = False) -> Copy:
        """A backup in a new file, while the writer goes on. Raises ReconcileError."""
        from reconciler.record.copies import back_up

        return back_up(self._connection, target, now_ms, force=force)

    def check(self) -> list[str]:
        """What SQLite's own integrity check finds; empty for a sound record."""
        found = [str(row[0]) for row in self._connection.execute("PRAGMA integrity_check")]
        return [] if found == ["ok"] else found

    def close(self) -> None:
        try:
            self._connection.close()
        finally:
            if self._lock is not None:
                self._lock.release()

    def __enter__(self) -> Record:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
