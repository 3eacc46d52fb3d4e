"""Backups of the record: made beside a writer at work, checked before they are believed, put in the record's place.

A backup is one SQLite file. What it says of the world ends when it was taken, so what is put in the record's place is
told so first, in the copy: numbers that must never be given twice go on from where the replaced record was, statuses are
written anew, and the first look at the data folder keeps what no row names (`RESTORED`), where it would be swept otherwise.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from reconciler.core.value import dataclass
from reconciler.errors import ReconcileError, RecordUnusable
from reconciler.record import database, refusals
from reconciler.record.database import ASIDE, RECORD

#: The setting that says when a backup was taken.
TAKEN: Final = "backup_ms"
#: The setting that names the folder below `lost+found` for what a restored record does not name; empty afterwards.
RESTORED: Final = "restored"
#: Settings from which numbers are given that must never be given twice: names of files are made of them.
COUNTERS: Final = ("builds", "compactions", "deliveries", "foldings", "forgettings", "journals")
#: Where nobody knows how far a replaced record had come, its numbers go on so much further.
LEAP: Final = 1_000_000
#: A number beyond this one was never given: the record that says so is damaged.
BELIEVED: Final = 1 << 46
_LEAPT: Final = ("event", "forget_request", "notice", "resource", "run")
#: What reading a damaged record may come to.
_UNREADABLE: Final = (sqlite3.DatabaseError, RecordUnusable, ValueError, TypeError)
_WITHIN: Final = f"{RECORD}.restoring"


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """What a backup holds. `taken_ms` is None for a copy that `reconcile record backup` did not make."""

    id: str
    taken_ms: int | None
    files: tuple[tuple[str, int | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Since:
    """What a record knows that a backup of it does not: units by job, and requests to forget a person."""

    units: tuple[tuple[str, int], ...]
    forgotten: tuple[int, ...]


def back_up(connection: sqlite3.Connection, target: Path, now_ms: int, *, force: bool = False) -> Copy:
    """Writes what is true at one moment to a new file, whole and on the disk, or not at all. The writer goes on meanwhile.
    Raises ReconcileError, RecordUnusable."""
    if not force and os.path.lexists(target):
        raise ReconcileError(f"{target} is there already; name another file, or replace it with --force")
    import tempfile

    beside = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        os.close(handle)
        beside = Path(name)
        copied = _written(connection, beside, now_ms)
        _sync(beside)
        _into_place(beside, target, force=force)
        _sync(target.parent)
    except OSError as error:
        raise ReconcileError(f"{target} cannot be written: {error.strerror}") from error
    finally:
        if beside is not None:
            beside.unlink(missing_ok=True)
    return copied


def _written(connection: sqlite3.Connection, beside: Path, now_ms: int) -> Copy:
    path = refusals.of_connection(connection)
    try:
        connection.execute("VACUUM INTO ?", (str(beside),))
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
            raise ReconcileError(f"{beside.parent} is full: nothing was written there") from error
        raise refusals.unusable(path, error) from error
    with closing(database.connect_copy(beside)) as copy:
        finding = _finding(copy)
        if finding:
            raise refusals.damaged(path, finding)
        copy.execute("INSERT OR REPLACE INTO setting (key, value) VALUES (?, ?)", (TAKEN, now_ms))
        return _copy_of(copy)


def _into_place(beside: Path, target: Path, *, force: bool) -> None:
    """Raises ReconcileError where somebody else has made the file meanwhile."""
    if force:
        beside.replace(target)
        return
    try:
        os.link(beside, target)
    except FileExistsError:
        raise ReconcileError(f"{target} is there already; name another file, or replace it with --force") from None


# --- restoring ------------------------------------------------------------------------------------------------------


def prepare(source: Path, state: Path) -> Copy:
    """A checked copy of a backup beside the record, of this program's version; what it holds. Raises ReconcileError with
    what is wrong: nothing was changed then."""
    beside = state / _WITHIN
    discard(state)
    beside.touch(mode=0o600)
    try:
        with closing(database.connect_copy(beside)) as copy:
            with closing(database.connect_source(source)) as original:
                original.backup(copy)
            version = copy.execute("PRAGMA user_version").fetchone()[0]
            if version < 1 or not _is_record(copy):
                raise ReconcileError(f"{source} is no record of reconcile, but another SQLite database")
            if version > database.newest_version():
                raise ReconcileError(
                    f"{source} was written by a newer reconcile (version {version}, this program has "
                    f"{database.newest_version()}); install that one, then restore it"
                )
            found = refusals.findings(copy, "integrity_check(1)", source)
            if not found:
                database.migrate(copy, beside)
            finding = found[0] if found else _finding(copy)
            if finding:
                raise ReconcileError(f"{source} is damaged and was not restored: {finding}; take an older backup")
            return _copy_of(copy)
    except (sqlite3.DatabaseError, ValueError) as error:
        raise ReconcileError(f"{source} cannot be restored: {error}; take another backup") from error


def discard(state: Path) -> None:
    """The copy that `prepare` made is not wanted."""
    for ending in ("", "-journal", "-wal", "-shm"):
        (state / f"{_WITHIN}{ending}").unlink(missing_ok=True)


def since(state: Path) -> Since | None:
    """What the record knows and the prepared copy does not; None where the record cannot be read any more."""
    try:
        with closing(database.connect_source(state / RECORD)) as old:
            old.execute("ATTACH ? AS kept", (str(state / _WITHIN),))
            units = old.execute(
                "SELECT resource.name, count(*) FROM unit JOIN run ON run.id = unit.run "
                "JOIN resource ON resource.id = run.job WHERE NOT EXISTS (SELECT 1 FROM kept.unit k "
                "WHERE k.run = unit.run AND k.number = unit.number) GROUP BY resource.name ORDER BY resource.name"
            ).fetchall()
            asked = old.execute(
                "SELECT id FROM forget_request WHERE id NOT IN (SELECT id FROM kept.forget_request) ORDER BY id"
            ).fetchall()
    except _UNREADABLE:
        return None
    return Since(
        units=tuple((str(name), int(count)) for name, count in units), forgotten=tuple(int(one[0]) for one in asked)
    )


def record_id(state: Path) -> str | None:
    """The id of the record that is there; None where it cannot be read."""
    try:
        with closing(database.connect_source(state / RECORD)) as old:
            return str(old.execute("SELECT value FROM setting WHERE key = 'id'").fetchone()[0])
    except _UNREADABLE:
        return None


def tell(state: Path, folder: str) -> sqlite3.Connection:
    """The prepared copy, once it knows that it is a restored one: `folder` is where it keeps what it does not name. The
    caller adds what else it must know, commits and closes it."""
    copy = database.connect_copy(state / _WITHIN)
    reached, given = _reached(state)
    copy.execute("BEGIN IMMEDIATE")
    for key in COUNTERS:
        copy.execute(
            "INSERT INTO setting (key, value) VALUES (?1, ?2 + ?3) "
            "ON CONFLICT (key) DO UPDATE SET value = max(value, ?2) + ?3",
            (key, reached.get(key, 0), 0 if reached else LEAP),
        )
    for table in _LEAPT:
        copy.execute("INSERT INTO sqlite_sequence (name, seq) SELECT ?1, 0 WHERE NOT EXISTS "
                     "(SELECT 1 FROM sqlite_sequence WHERE name = ?1)", (table,))  # fmt: skip
        copy.execute(
            "UPDATE sqlite_sequence SET seq = max(seq, ?) + ? WHERE name = ?",
            (given.get(table, 0), 0 if reached else LEAP, table),
        )
    copy.execute("DELETE FROM setting WHERE key IN ('audit_mirrored', ?)", (TAKEN,))
    copy.execute("UPDATE resource SET dirty = 1, status_digest = ''")
    copy.execute("INSERT OR REPLACE INTO setting (key, value) VALUES (?, ?)", (RESTORED, folder))
    return copy


def _reached(state: Path) -> tuple[dict[str, int], dict[str, int]]:
    """How far the numbers of the record that is there have come: settings and rows; empty where it cannot be read."""
    marks = ", ".join("?" * len(COUNTERS))
    try:
        with closing(database.connect_source(state / RECORD)) as old:
            settings = old.execute(f"SELECT key, value FROM setting WHERE key IN ({marks}, 'alive_ms')", COUNTERS)
            reached = {str(key): int(value) for key, value in settings}
            given = {str(name): int(seq) for name, seq in old.execute("SELECT name, seq FROM sqlite_sequence")}
    except _UNREADABLE:
        return {}, {}
    if max(*reached.values(), *given.values(), 0) > BELIEVED:
        return {}, {}
    return reached, given


def put_in_place(state: Path, stamp: str) -> Path | None:
    """The prepared copy becomes the record; where the one before it is now. Cut off anywhere, there is the old record, the
    new one, or none: and none is refused by whoever comes next, because an earlier one was put aside."""
    path = state / RECORD
    aside = path.with_name(f"{RECORD}.{ASIDE}{stamp}")
    kept = None
    _sync(state / _WITHIN)
    if path.exists():
        path.rename(aside)
        kept = aside
    wal = state / f"{RECORD}-wal"
    if wal.exists() and not wal.stat().st_size:
        wal.unlink()
    elif wal.exists():
        wal.rename(aside.with_name(f"{aside.name}-wal"))
    (state / f"{RECORD}-shm").unlink(missing_ok=True)
    _sync(state)
    (state / _WITHIN).rename(path)
    _sync(state)
    return kept


# --- both -----------------------------------------------------------------------------------------------------------


def _copy_of(copy: sqlite3.Connection) -> Copy:
    from reconciler.record.integrity import Integrity

    settings = {
        key: copy.execute("SELECT value FROM setting WHERE key = ?", (key,)).fetchone() for key in ("id", TAKEN)
    }
    taken = settings[TAKEN]
    return Copy(
        id=str(settings["id"][0]),
        taken_ms=None if taken is None else int(taken[0]),
        files=tuple(Integrity(copy).files()),
    )


def _is_record(copy: sqlite3.Connection) -> bool:
    with suppress(sqlite3.DatabaseError):
        return copy.execute("SELECT 1 FROM setting WHERE key = 'id'").fetchone() is not None
    return False


def _finding(copy: sqlite3.Connection) -> str:
    """What is first wrong with a record of this version; nothing where it is sound."""
    from reconciler.record.integrity import Integrity

    return next(iter(Integrity(copy).damage()), "")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
