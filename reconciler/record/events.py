"""What happened, in order. An event is committed with what it tells of; the log file follows, and an event that is not
yet in it says so here, so that a crash in between loses no line."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from operator import attrgetter
from typing import Final, NamedTuple

from reconciler.core.value import dataclass

#: Events that are kept of each job; older ones go when a run ends.
KEPT_EVENTS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of a log. `path` is the spec's at that time. `commit` and `author` are of the commit that caused it."""

    kind: str
    name: str
    path: str
    time_ms: int
    event: str
    run: int | None = None
    unit: int | None = None
    rows: int | None = None
    added: int | None = None
    removed: int | None = None
    omitted: int | None = None
    message: str = ""
    commit: str = ""
    author: str = ""
    id: int | None = None


class Told(NamedTuple):
    """An event of a job that belongs to no run and counts nothing, as one that is to be logged. `event` is the plain text of
    its name."""

    name: str
    path: str
    time_ms: int
    event: str
    message: str
    commit: str
    author: str


_COLUMNS: Final = "kind, name, path, time_ms, event, run, unit, rows, added, removed, omitted, message, commit_, author"
_VALUES: Final = attrgetter(*_COLUMNS.replace("commit_", "commit").split(", "))
_INSERT: Final = f"INSERT INTO event ({_COLUMNS}, logged) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"


#: The columns that `Told` leaves out are empty.
_TELL: Final = (
    "INSERT INTO event (kind, name, path, time_ms, event, message, commit_, author) VALUES ('Job', ?, ?, ?, ?, ?, ?, ?)"
)


class Events:
    """The `event` table."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection

    def add(self, event: Event, *, logged: bool = False) -> None:
        """`logged`: it goes into no log file, because there is none, or none any more."""
        self._sql.execute(_INSERT, (*_VALUES(event), logged))

    def tell(self, told: Iterable[Told]) -> None:
        """Many, in their order."""
        self._sql.executemany(_TELL, told)

    def unlogged(self, limit: int = 10_000) -> list[Event]:
        """Events that are not in a log file yet, oldest first."""
        rows = self._sql.execute(f"SELECT id, {_COLUMNS} FROM event WHERE logged = 0 ORDER BY id LIMIT ?", (limit,))
        return [_event(row) for row in rows]

    def unlogged_of(self, kind: str, name: str) -> list[int]:
        """The ids of one thing's events that are not in its log file yet."""
        rows = self._sql.execute("SELECT id FROM event WHERE logged = 0 AND kind = ? AND name = ?", (kind, name))
        return [int(row[0]) for row in rows]

    def mark_logged(self, up_to_id: int) -> None:
        """Every event up to this one is in its log file."""
        self._sql.execute("UPDATE event SET logged = 1 WHERE logged = 0 AND id <= ?", (up_to_id,))

    def tail(self, kind: str, name: str, *, limit: int = 20, since_ms: int = 0, after_id: int = 0) -> list[Event]:
        """The newest events of one thing, oldest first."""
        rows = self._sql.execute(
            f"SELECT id, {_COLUMNS} FROM event WHERE kind = ? AND name = ? AND time_ms >= ? AND id > ? "
            "ORDER BY id DESC LIMIT ?",
            (kind, name, since_ms, after_id, limit),
        ).fetchall()
        return [_event(row) for row in reversed(rows)]

    def latest(self, kind: str, name: str, event: str) -> Event | None:
        row = self._sql.execute(
            f"SELECT id, {_COLUMNS} FROM event WHERE kind = ? AND name = ? AND event = ? ORDER BY id DESC LIMIT 1",
            (kind, name, event),
        ).fetchone()
        return None if row is None else _event(row)

    def named(self, event: str, *, after: int) -> list[Event]:
        """Those of one name that happened after that event, oldest first."""
        rows = self._sql.execute(
            f"SELECT id, {_COLUMNS} FROM event WHERE id > ? AND event = ? ORDER BY id", (after, event)
        )
        return [_event(row) for row in rows]

    def last_id(self) -> int:
        """The number of the last event that ever happened, whether it is kept or not; 0 where none did."""
        row = self._sql.execute("SELECT seq FROM sqlite_sequence WHERE name = 'event'").fetchone()
        return 0 if row is None else int(row[0])

    def since(self, event_id: int, *, limit: int) -> list[tuple[str, str]]:
        """What happened after that event, as names of things and events, each pair once, oldest first."""
        rows = self._sql.execute(
            "SELECT name, event FROM event WHERE id > ? GROUP BY name, event ORDER BY min(id) LIMIT ?",
            (event_id, limit),
        )
        return [(str(name), str(event)) for name, event in rows]

    def forget(self, kind: str, name: str, *, besides: str = "") -> None:
        """All of one thing, the logged ones too; those called `besides` stay."""
        self._sql.execute("DELETE FROM event WHERE kind = ? AND name = ? AND event <> ?", (kind, name, besides))

    def seal(self, kind: str, name: str) -> None:
        """Of a thing whose log goes nothing is to be written there any more."""
        self._sql.execute("UPDATE event SET logged = 1 WHERE kind = ? AND name = ? AND logged = 0", (kind, name))

    def trim(self, kind: str, name: str) -> None:
        """Keeps the newest events of one thing."""
        self._sql.execute(
            "DELETE FROM event WHERE kind = ? AND name = ? AND logged = 1 AND id <= "
            "(SELECT id FROM event WHERE kind = ? AND name = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
            (kind, name, kind, name, KEPT_EVENTS),
        )


def _event(row: sqlite3.Row) -> Event:
    """Read by position: by name, each column is looked for."""
    id_, kind, name, path, time_ms, event, run, unit, rows, added, removed, omitted, message, commit, author = row
    return Event(
        id=id_,
        kind=kind,
        name=name,
        path=path,
        time_ms=time_ms,
        event=event,
        run=run,
        unit=unit,
        rows=rows,
        added=added,
        removed=removed,
        omitted=omitted,
        message=message,
        commit=commit,
        author=author,
    )
