"""Opening `record.db`: who may write, which version it is, what SQLite must guarantee.

WAL, so that readers (`plan`, `list`, `why`) never wait for the daemon; synchronous=FULL, so that what was answered is
on disk; foreign keys on. The schema is the sequence of files in `migrations/`, numbered, each applied once in its own
transaction; `PRAGMA user_version` counts them. A record newer than this program is refused, never guessed at.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from reconciler.errors import Locked, RecordUnusable

MIGRATIONS: Final = Path(__file__).with_name("migrations")
BUSY_MS: Final = 10_000
#: So much of the record a reader maps into its memory, instead of copying page by page.
MAPPED_BYTES: Final = 1 << 28

#: SQLite's answers that are no bug of ours: locked by a foreign process, read-only, an I/O error, damaged, full, gone.
_REFUSALS: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOTADB,
    }
)


class WriterLock:
    """The one writer's lock: `flock` on `<state>/lock`, which holds the writer's pid. It goes when the process does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def acquire(self) -> None:
        """Raises Locked, naming the pid of the process that holds it."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(fd, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise Locked(
                f"another reconcile (pid {holder}) is at work on {self._path.parent}; stop it first, or use --state"
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd

    def release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def prepare_state(state: Path) -> None:
    """Makes the state directory (0700) with a `.gitignore` of its own."""
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    state.chmod(0o700)
    for name in ("data", "cache"):
        (state / name).mkdir(exist_ok=True, mode=0o700)
    ignore = state / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="ascii")
        ignore.chmod(0o600)


def open_for_writing(state: Path) -> sqlite3.Connection:
    """The writer's connection, migrated to this program's version. The caller holds the lock."""
    path = state / "record.db"
    if not path.exists() or path.stat().st_size == 0:
        _refuse_messages_without_record(state)
        path.touch(mode=0o600)
    connection = _connect(f"file:{_quoted(path)}?mode=rwc", path)
    _migrate(connection, path)
    return connection


def _refuse_messages_without_record(state: Path) -> None:
    """A new record names no file, so what an earlier one had landed would be swept as garbage."""
    data = state / "data"
    if next(data.rglob("*.parquet"), None) is not None:
        raise RecordUnusable(
            f"{state / 'record.db'} is missing or empty, but {data} holds messages that only it names; restore it from a backup, "
            "or move the state directory away to begin anew (every job then runs from its beginning)"
        )


def open_for_reading(state: Path) -> sqlite3.Connection | None:
    """A connection that cannot write the record, None where there is no record yet. Its temporary tables are its own."""
    path = state / "record.db"
    if not path.exists() or path.stat().st_size == 0:
        return None
    return _checked(_connect(f"file:{_quoted(path)}?mode=ro", path), path)


def _checked(connection: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    """A connection to a record of this program's version. Raises RecordUnusable."""
    version = _version(connection, path)
    if version != len(_scripts()):
        raise RecordUnusable(
            f"{path} has version {version}, this program has {len(_scripts())}: run `reconcile` once to bring it up to date"
            if version < len(_scripts())
            else f"{path} was written by a newer reconcile (version {version}); install that one"
        )
    return connection


def open_frozen(state: Path) -> sqlite3.Connection | None:
    """Like `open_for_reading`, and no file is created either: SQLite makes its `-shm` and `-wal` for a mere reader where they
    are not there. Without them the file stands still, and is read as such; with a `-wal` alone, a copy is."""
    path = state / "record.db"
    if not path.exists() or path.stat().st_size == 0:
        return None
    wal, shm = path.with_name("record.db-wal"), path.with_name("record.db-shm")
    if wal.exists() and shm.exists():
        return open_for_reading(state)
    if wal.exists() and wal.stat().st_size:
        return _copied(path)
    return _checked(_connect(f"file:{_quoted(path)}?mode=ro&immutable=1", path), path)


def _copied(path: Path) -> sqlite3.Connection:
    """A record that a crash left without its index of the log, in memory."""
    import shutil
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        for name in ("record.db", "record.db-wal"):
            shutil.copyfile(path.with_name(name), Path(folder) / name)
        copy = _connect(f"file:{_quoted(Path(folder) / 'record.db')}?mode=rwc", path)
        connection = _connect("file::memory:", path)
        try:
            copy.backup(connection)
        except sqlite3.DatabaseError as error:
            raise _unusable(path, error) from error
        finally:
            copy.close()
    return _checked(connection, path)


def open_ephemeral() -> sqlite3.Connection:
    """An empty record in memory, for a plan where nothing was recorded yet."""
    connection = _connect("file::memory:", Path(":memory:"))
    _migrate(connection, Path(":memory:"))
    return connection


def _roll_back(connection: sqlite3.Connection) -> None:
    """Whatever a failed COMMIT or BEGIN left open."""
    if connection.in_transaction:
        connection.rollback()


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """One transaction; inside another it joins it. Raises RecordUnusable where the disk or another process refuses it:
    nothing of it is recorded then."""
    if connection.in_transaction:
        yield connection
        return
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.rollback()
            raise
        connection.commit()
    except sqlite3.DatabaseError as error:
        _roll_back(connection)
        if error.sqlite_errorcode & 0xFF in _REFUSALS:
            raise RecordUnusable(f"the record cannot be written: {error}") from error
        raise


class Refused(Exception):
    """A rule of the schema stands against what was to be recorded; nothing of it is."""


@contextmanager
def savepoint(connection: sqlite3.Connection) -> Iterator[None]:
    """A part of a transaction that can fail alone. Raises Refused where the schema refuses it; the rest goes on."""
    connection.execute("SAVEPOINT part")
    try:
        yield
    except sqlite3.IntegrityError as error:
        connection.execute("ROLLBACK TO part")
        connection.execute("RELEASE part")
        raise Refused(str(error)) from error
    connection.execute("RELEASE part")


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """Inside, a reader sees one moment; inside another one it joins it. Raises RecordUnusable for a damaged record."""
    if connection.in_transaction:
        yield
        return
    try:
        connection.execute("BEGIN")
        try:
            yield
        finally:
            connection.rollback()
    except sqlite3.DatabaseError as error:
        raise RecordUnusable(f"the record cannot be read: {error}; restore it from a backup") from error


def _quoted(path: Path) -> str:
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _connect(uri: str, path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=True)
        connection.row_factory = sqlite3.Row
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        connection.execute("PRAGMA foreign_keys = ON")
        if "mode=ro" in uri:
            connection.execute(f"PRAGMA mmap_size = {MAPPED_BYTES}")
        if "mode=rwc" in uri:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
    except sqlite3.DatabaseError as error:
        raise _unusable(path, error) from error
    return connection


def _unusable(path: Path, error: sqlite3.Error) -> RecordUnusable:
    return RecordUnusable(
        f"{path} cannot be used: {error}; restore it from a backup, or move the state directory away to begin anew "
        "(every job then runs from its beginning)"
    )


def _version(connection: sqlite3.Connection, path: Path) -> int:
    try:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.DatabaseError as error:
        raise _unusable(path, error) from error


def _scripts() -> list[Path]:
    return sorted(MIGRATIONS.glob("*.sql"))


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    version, scripts = _version(connection, path), _scripts()
    if version > len(scripts):
        raise RecordUnusable(f"{path} was written by a newer reconcile (version {version}); install that one")
    for number, script in enumerate(scripts[version:], start=version + 1):
        text = script.read_text(encoding="utf-8")
        try:
            connection.executescript(f"BEGIN IMMEDIATE;\n{text}\nPRAGMA user_version = {number};\nCOMMIT;")
        except sqlite3.DatabaseError as error:
            raise _unusable(path, error) from error
    if version == 0:
        with transaction(connection):
            connection.executemany(
                "INSERT INTO setting (key, value) VALUES (?, ?)",
                [("id", secrets.token_hex(8)), ("secret_key", secrets.token_hex(32)), ("alive_ms", 0)],
            )
