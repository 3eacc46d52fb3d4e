"""The audit log in the record. An entry is written by the transaction that makes true what it tells of.

Its mirror (`audit_mirror.py`) follows. So there are two copies, and the record has noted where each ended (`audit_head`,
`audit_mirrored`): what is cut off from one of them is found by the other.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from reconciler.core.audit import (
    DONE,
    FIELDS,
    FOUND,
    Broken,
    Deed,
    Entry,
    Head,
    chained,
    check,
    entry_of,
    genesis,
    line_of,
)
from reconciler.errors import RecordUnusable
from reconciler.record.audit_mirror import Mirror
from reconciler.record.database import snapshot, transaction

_NAMES: Final = (*FIELDS, "hash")
_COLUMNS: Final = ", ".join({"commit": "commit_"}.get(name, name) for name in _NAMES)
_SELECT: Final = ", ".join({"commit": "commit_ AS 'commit'"}.get(name, name) for name in _NAMES)
_INSERT: Final = f"INSERT INTO audit ({_COLUMNS}) VALUES ({', '.join('?' * len(_NAMES))})"
_SET: Final = "INSERT INTO setting (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"


_THERE: Final = (
    "SELECT name, generation, digest, life FROM resource WHERE kind = ? AND name IN (SELECT value FROM json_each(?))"
)


class There(NamedTuple):
    """What an entry says of a thing as it is once something was done to it: nothing but this where it is gone."""

    generation: int = 0
    digest: str = ""
    life: str = ""


class Audit:
    """The `audit` table. `folder` is the state directory, None for a record that has none."""

    def __init__(self, connection: sqlite3.Connection, folder: Path | None = None) -> None:
        self._sql = connection
        self._mirror = None if folder is None else Mirror(folder)
        self._is_behind = True  # the mirror may be: it is looked at once, and after every entry

    # --- writing ----------------------------------------------------------------------------------------------------

    def append(self, deeds: Sequence[Deed]) -> None:
        """Adds what was done. Inside the transaction that does it."""
        if not deeds:
            return
        head = self.head()
        last = self._sql.execute("SELECT coalesce(max(seq), 0) FROM audit").fetchone()[0]
        entries = list(chained(Head(max(head.count, last), head.hash), deeds))
        self._sql.executemany(_INSERT, entries)
        self._note("audit_head", Head(entries[-1][0], entries[-1][-1]))
        self._is_behind = True

    def begin(self, now_ms: int) -> None:
        """A record from before there was a log: what it holds already is the log's first entries."""
        if self._setting("audit_head") is not None:
            return
        with transaction(self._sql):
            rows = self._sql.execute(
                "SELECT kind, name, path, generation, digest, life, revision FROM resource ORDER BY kind, name"
            )
            reason = "it was there when this log began"
            self._note("audit_head", self.head())
            self.append([Deed(time_ms=now_ms, action=FOUND, reason=reason, **dict(row)) for row in rows])

    def with_what_is_there(self, deeds: Sequence[Deed]) -> list[Deed]:
        """The deeds with the generation, digest and life that the record has for each thing now."""
        known = self.what_is_there((deed.kind, deed.name) for deed in deeds)
        return [
            deed if (found := known.get((deed.kind, deed.name))) is None else replace(deed, **found._asdict())
            for deed in deeds
        ]

    def what_is_there(self, things: Iterable[tuple[str, str]]) -> dict[tuple[str, str], There]:
        """What the record has for each of these things (kind and name) now, as far as it is there."""
        names: dict[str, set[str]] = {}
        for kind, name in things:
            names.setdefault(kind, set()).add(name)
        return {
            (kind, name): There(*said)
            for kind, some in names.items()
            for name, *said in self._sql.execute(_THERE, (kind, json.dumps(sorted(some))))
        }

    def mirror(self) -> str:
        """Brings the mirror to where the record is. Returns a warning, or nothing. Outside any transaction."""
        if self._mirror is None or not self._is_behind:
            return ""
        head, mirrored = self.head(), self._noted("audit_mirrored") or self.start
        followed = self._mirror.follow(mirrored, head, self)
        self._is_behind = followed.retry
        if followed.head is not None and followed.head != mirrored:
            with transaction(self._sql):
                self._note("audit_mirrored", followed.head)
        return followed.warning

    def _note(self, key: str, head: Head) -> None:
        self._sql.execute(_SET, (key, f"{head.count} {head.hash}"))

    # --- reading ----------------------------------------------------------------------------------------------------

    @property
    def start(self) -> Head:
        """What the first entry follows."""
        return genesis(str(self._setting("id")))

    def head(self) -> Head:
        """Where the log ends, as the record has noted it."""
        return self._noted("audit_head") or self.start

    def _noted(self, key: str) -> Head | None:
        count, _, found = str(self._setting(key) or "").partition(" ")
        return Head(int(count), found) if count.isdecimal() and found else None

    def _setting(self, key: str) -> object:
        row = self._sql.execute("SELECT value FROM setting WHERE key = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def entries(self, *, after: int = 0, since_ms: int = 0) -> Iterator[Entry]:
        """The entries after a number, oldest first."""
        return map(entry_of, self._select("WHERE seq > ? AND time_ms >= ? ORDER BY seq", after, since_ms))

    def lines(self, after: int = 0) -> Iterator[bytes]:
        """The same as the lines of the mirror."""
        return (line_of(dict(row)) for row in self._select("WHERE seq > ? ORDER BY seq", after))

    def line(self, seq: int) -> bytes:
        """The line of one entry; nothing where there is none."""
        return next((line_of(dict(row)) for row in self._select("WHERE seq = ?", seq)), b"")

    def _select(self, where: str, *values: object) -> Iterator[sqlite3.Row]:
        """Raises RecordUnusable where what stands there cannot be read."""
        try:
            # no `yield from`: whoever stops reading may have closed the record, and with it the cursor
            for row in self._sql.execute(f"SELECT {_SELECT} FROM audit {where}", values):  # noqa: UP028
                yield row
        except sqlite3.DatabaseError as error:
            raise RecordUnusable(
                f"the audit log cannot be read: {error}; `reconcile audit verify` says where, and `reconcile record restore "
                "FILE` puts a backup back"
            ) from error

    def of(self, name: str, *, since_ms: int = 0) -> list[Entry]:
        """The entries of whatever has that name or had it, with those of the names that it had before a move."""
        found: dict[int, Entry] = {}
        wanted: list[tuple[str, str, int]] = [("", name, self.head().count + 1)]
        seen = set(wanted)
        while wanted:
            kind, called, before = wanted.pop()
            rows = self._select(
                "WHERE (name = ?1 OR was = ?1) AND (?2 = '' OR kind = ?2) AND seq < ?3", called, kind, before
            )
            for entry in map(entry_of, rows):
                found[entry.seq] = entry
                earlier = (entry.kind, entry.was, entry.seq)
                if entry.was and entry.was != entry.name and earlier not in seen:
                    seen.add(earlier)
                    wanted.append(earlier)
        return [found[seq] for seq in sorted(found) if found[seq].time_ms >= since_ms]

    def last(self, kind: str, name: str) -> Entry | None:
        """What was last done to a thing that had that name, be it a move to another one."""
        where = (
            "WHERE kind = ?1 AND outcome = ?3 AND (name = ?2 OR (was = ?2 AND name <> ?2)) ORDER BY seq DESC LIMIT 1"
        )
        return next(map(entry_of, self._select(where, kind, name, DONE)), None)

    def names(self) -> list[str]:
        """Every name in the log."""
        return [
            str(row[0]) for row in self._sql.execute("SELECT DISTINCT name FROM audit WHERE name <> '' ORDER BY name")
        ]

    def latest(self) -> dict[tuple[str, str], Entry]:
        """The last entry of each thing by kind and name, as far as it was done; what was moved away is not there."""
        found: dict[tuple[str, str], Entry] = {}
        for entry in self.entries():
            if entry.outcome != DONE or not entry.kind:
                continue
            if entry.was and entry.was != entry.name:
                found.pop((entry.kind, entry.was), None)
            found[(entry.kind, entry.name)] = entry
        return found

    # --- checking ---------------------------------------------------------------------------------------------------

    def check(self, noted: str = "") -> tuple[Head, Broken | None]:
        """Where the sound part of the log ends, and what is first wrong: in the record, in its mirror, or against the
        hash of a head that somebody has `noted` elsewhere. What is written meanwhile is no error."""
        mirrored = self._noted("audit_mirrored")
        reading = (
            None if self._mirror is None else self._mirror.reading()
        )  # before the record, which is never behind it
        with snapshot(self._sql):
            head, broken = self._follow()
            broken = broken or _ends_elsewhere(head, self.head())
            if broken is None and reading is not None:
                broken = reading.compare(self.lines(), mirrored or self.start, head)
            return head, broken or self._without(noted)

    def _follow(self) -> tuple[Head, Broken | None]:
        head = self.start
        try:
            for entry in self.entries():
                head, broken = check((entry,), head)
                if broken is not None:
                    return head, broken
        except RecordUnusable as error:
            return head, Broken(head.count + 1, f"entry {head.count + 1} cannot be read: {error.__cause__}")
        return head, None

    def _without(self, noted: str) -> Broken | None:
        """Whether no entry has a hash that was noted elsewhere."""
        known = self._sql.execute("SELECT 1 FROM audit WHERE hash = ?", (noted,)).fetchone()
        if not noted or noted == self.start.hash or known is not None:
            return None
        return Broken(0, f"no entry has the hash {noted}: the log from which it was noted held something else")


def _ends_elsewhere(found: Head, noted: Head) -> Broken | None:
    if found == noted:
        return None
    if found.count < noted.count:
        what = f"entry {noted.count} is" if noted.count == found.count + 1 else f"the entries up to {noted.count} are"
        return Broken(found.count + 1, f"the log ends at entry {found.count}, but {what} known to have been written")
    return Broken(
        noted.count + 1, f"entry {max(noted.count, 1)} is not the one at which the log is known to have ended"
    )
