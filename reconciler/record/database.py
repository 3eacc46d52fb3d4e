"""Opening `record.db`: who may write, which version it is, what SQLite must guarantee.

WAL, so that readers (`plan`, `list`, `why`) never wait for the daemon; synchronous=FULL, so that what was answered is
on disk; foreign keys on. The schema is the sequence of files in `migrations/`, numbered, each applied once in its own
transaction; `PRAGMA user_version` counts them. A record newer than this program is refused, never guessed at.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Final

from reconciler.errors import Locked, RecordUnusable
from reconciler.record import refusals
from reconciler.record.refusals import BUSY_MS, REPAIR, unusable

RECORD: Final = "record.db"
#: How the name of a record that a restore has put aside goes on.
ASIDE: Final = "before-"
MIGRATIONS: Final = Path(__file__).with_name("migrations")
#: So much of the record a reader maps into its memory, instead of copying page by page.
MAPPED_BYTES: Final = 1 << 28
#: `PRAGMA synchronous` under which a commit waits for no disk; the log is on disk before a checkpoint all the same.
_NORMAL: Final = 1

#: No SQLite file that holds something is shorter.
HEADER_BYTES: Final = 100
#: A record of up to this size is looked through whole before it is written to: that takes less than a blink.
LOOKED_THROUGH_BYTES: Final = 8 << 20


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
        ignore.touch(mode=0o600)
        ignore.write_text("*\n", encoding="ascii")


def open_for_writing(state: Path) -> sqlite3.Connection:
    """The writer's connection, migrated to this program's version. The caller holds the lock. Raises RecordUnusable."""
    path = state / RECORD
    if _is_nothing(path):
        refuse_lost(state)
        path.touch(mode=0o600)
    connection = _connect(f"file:{_quoted(path)}?mode=rwc", path)
    try:
        _look_through(connection, path)
        migrate(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _is_nothing(path: Path) -> bool:
    """Whether there is no record yet. Raises RecordUnusable for what SQLite would take for nothing, and begin anew."""
    size = _size(path)
    if 0 < size < HEADER_BYTES:
        raise refusals.damaged(path, f"it is cut off after {size} bytes")
    return size == 0


def refuse_lost(state: Path) -> None:
    """A new record names no file and knows no cursor: what an earlier one had landed would be swept as garbage, and what
    it had sent would be sent again. Raises RecordUnusable where there was one."""
    path, data = state / RECORD, state / "data"
    if next(data.rglob("*.parquet"), None) is not None:
        why = f"{path} is missing or empty, but {data} holds messages that only it names"
    elif path.exists() and _size(state / "audit.log"):
        why = f"{path} is empty, but {state / 'audit.log'} says that it held something"
    elif path.exists() and _size(state / f"{RECORD}-wal"):
        why = f"{path} is empty, but {state / RECORD}-wal says that it held something"
    elif any(state.glob(f"{RECORD}.{ASIDE}*")):
        why = (
            f"{path} is missing, but an earlier one was put aside ({sorted(state.glob(f'{RECORD}.{ASIDE}*'))[-1].name})"
        )
    else:
        return
    raise RecordUnusable(f"{why}; {REPAIR}")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _look_through(connection: sqlite3.Connection, path: Path) -> None:
    """What is not sound is not written to: a flipped bit would spread. Of a large record this is left to `reconcile record
    check`; SQLite itself still refuses the pages that it finds to be wrong."""
    if _size(path) > LOOKED_THROUGH_BYTES:
        return
    found = refusals.findings(connection, "integrity_check(1)", path)
    if found:
        raise refusals.damaged(path, found[0])


def open_for_reading(state: Path) -> sqlite3.Connection | None:
    """A connection that cannot write the record, None where there is no record yet. Its temporary tables are its own."""
    path = state / RECORD
    if _is_nothing(path):
        refuse_lost(state)
        return None
    return _checked(_connect(f"file:{_quoted(path)}?mode=ro", path), path)


def _checked(connection: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    """A connection to a record of this program's version. Raises RecordUnusable."""
    try:
        version = _version(connection, path)
        if version > len(_scripts()):
            raise _newer(path, version)
        if version < len(_scripts()):
            raise _older(connection, path, version)
    except BaseException:
        connection.close()
        raise
    return connection


def _older(connection: sqlite3.Connection, path: Path, version: int) -> RecordUnusable:
    if version < 1 and _holds_tables(connection, path):
        return RecordUnusable(f"{path} is no record of reconcile, but another SQLite database; {REPAIR}")
    return RecordUnusable(
        f"{path} has version {version}, this program has {len(_scripts())}: run `reconcile` once to bring it up to date"
    )


def _holds_tables(connection: sqlite3.Connection, path: Path) -> bool:
    try:
        return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None
    except sqlite3.DatabaseError as error:
        raise unusable(path, error) from error


def _newer(path: Path, version: int) -> RecordUnusable:
    return RecordUnusable(f"{path} was written by a newer reconcile (version {version}); install that one, or {REPAIR}")


def open_frozen(state: Path) -> sqlite3.Connection | None:
    """Like `open_for_reading`, and no file is created either: SQLite makes its `-shm` and `-wal` for a mere reader where they
    are not there. Without them the file stands still, and is read as such; with a `-wal` alone, a copy is."""
    path = state / RECORD
    if _is_nothing(path):
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
            raise unusable(path, error) from error
        finally:
            copy.close()
    return _checked(connection, path)


def refusal(error: BaseException, state: Path) -> RecordUnusable | None:
    """What an error that nobody expected means, where SQLite's refusal is behind it."""
    one: BaseException | None = error
    while one is not None:
        if isinstance(one, sqlite3.DatabaseError) and refusals.is_refusal(one):
            return unusable(state / RECORD, one)
        one = one.__cause__ or one.__context__
    return None


def explanation(error: BaseException, state: Path) -> RecordUnusable | None:
    """What an error that nobody expected means, where the record is behind it: SQLite refused, or the record is damaged and
    said something that it cannot say. None where the record has nothing to do with it."""
    path = state / RECORD
    if isinstance(error, PermissionError) and _lies_in(error.filename, state):
        whose = "run it as the user whose it is, or name another folder with --state DIR"
        return RecordUnusable(f"{state} cannot be used: {error.filename}: {error.strerror}; {whose}")
    if (refused := refusal(error, state)) is not None:
        return refused
    try:
        if _is_nothing(path):
            return None
        with closing(connect_source(path)) as connection:
            found = findings(connection, path)
    except RecordUnusable as unusable_now:
        return unusable_now
    return refusals.damaged(path, found[0]) if found else None


def _lies_in(file: object, state: Path) -> bool:
    return isinstance(file, str) and Path(os.path.abspath(file)).is_relative_to(os.path.abspath(state))


def findings(connection: sqlite3.Connection, path: Path, *, limit: int = 1) -> list[str]:
    """What is wrong with a record of this version, as clauses: what SQLite finds, and tables that are not ours. Raises
    RecordUnusable where that could not be looked at."""
    found = refusals.findings(connection, f"integrity_check({limit})", path)
    if found or _schema(connection) == _schema_of(tuple(_scripts())):
        return found
    return [f"its tables are not those of version {newest_version()}"]


def _schema(connection: sqlite3.Connection) -> list[tuple[bytes, bytes]]:
    """As bytes: what damage has made of a text may be none."""
    rows = connection.execute(
        "SELECT CAST(name AS BLOB), CAST(coalesce(sql, '') AS BLOB) FROM sqlite_master "
        "WHERE type = 'table' AND substr(name, 1, 7) <> 'sqlite_' ORDER BY name"
    )
    return [(row[0], row[1]) for row in rows]


@cache
def _schema_of(_: tuple[Path, ...]) -> list[tuple[bytes, bytes]]:
    """What these scripts make; they take ten milliseconds."""
    with closing(open_ephemeral()) as connection:
        return _schema(connection)


def backlog_bytes(connection: sqlite3.Connection) -> int:
    """How much of the write-ahead log cannot be put into the record because a reader still needs what was before it."""
    _, logged, done = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    size = int(connection.execute("PRAGMA page_size").fetchone()[0])
    return max(0, (int(logged) - int(done)) * size)


def connect_source(path: Path) -> sqlite3.Connection:
    """A database that is only read, whatever its version: nothing is made beside it, unless it has a log of its own. Raises
    RecordUnusable."""
    if not path.is_file():
        raise RecordUnusable(f"there is no file '{path}'")
    still = "" if _size(path.with_name(f"{path.name}-wal")) else "&immutable=1"
    return _connect(f"file:{_quoted(path)}?mode=ro{still}", path)


def connect_copy(path: Path) -> sqlite3.Connection:
    """A file that nobody else knows of, as one file without a log. Raises RecordUnusable."""
    connection = _connect(f"file:{_quoted(path)}?mode=rw", path)
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def open_ephemeral() -> sqlite3.Connection:
    """An empty record in memory, for a plan where nothing was recorded yet."""
    connection = _connect("file::memory:", Path(":memory:"))
    migrate(connection, Path(":memory:"))
    return connection


def _roll_back(connection: sqlite3.Connection) -> None:
    """Whatever a failed COMMIT or BEGIN left open."""
    if connection.in_transaction:
        connection.rollback()


@contextmanager
def transaction(connection: sqlite3.Connection, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
    """One transaction; inside another it joins it. Raises RecordUnusable where the disk or another process refuses it:
    nothing of it is recorded then. One that is not `durable` outlives the death of this process, but is on disk only with
    the next one that is: a power failure before that undoes it, whole."""
    if connection.in_transaction:
        yield connection
        return
    if durable:
        with _transaction(connection):
            yield connection
        return
    level = int(connection.execute("PRAGMA synchronous").fetchone()[0])
    connection.execute(f"PRAGMA synchronous = {min(level, _NORMAL)}")
    try:
        with _transaction(connection):
            yield connection
    finally:
        connection.execute(f"PRAGMA synchronous = {level}")


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
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
        if refusals.is_refusal(error):
            raise unusable(refusals.of_connection(connection), error) from error
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
        raise RecordUnusable(f"the record cannot be read: {error}; {REPAIR}") from error


def _quoted(path: Path) -> str:
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _connect(uri: str, path: Path) -> sqlite3.Connection:
    connection = None
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
            connection.execute("PRAGMA temp_store = MEMORY")  # what one statement would undo is written to no file
    except sqlite3.DatabaseError as error:
        if connection is not None:
            connection.close()
        raise unusable(path, error) from error
    return connection


def _version(connection: sqlite3.Connection, path: Path) -> int:
    try:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.DatabaseError as error:
        raise unusable(path, error) from error


def _scripts() -> list[Path]:
    return sorted(MIGRATIONS.glob("*.sql"))


def newest_version() -> int:
    """The version of a record that this program makes."""
    return len(_scripts())


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Brings a record to this program's version, whole or not at all. Raises RecordUnusable where it is newer, or no record of
    ours."""
    version, scripts = _version(connection, path), _scripts()
    if version > len(scripts):
        raise _newer(path, version)
    if version < 1 and _holds_tables(connection, path):
        raise _older(connection, path, version)
    if version == len(scripts):
        return
    texts = "\n".join(script.read_text(encoding="utf-8") for script in scripts[version:])
    try:
        connection.executescript(f"BEGIN IMMEDIATE;\n{texts}\nPRAGMA user_version = {len(scripts)};")
        if version == 0:
            import secrets  # only a new record needs any

            connection.executemany(
                "INSERT INTO setting (key, value) VALUES (?, ?)",
                [("id", secrets.token_hex(8)), ("secret_key", secrets.token_hex(32)), ("alive_ms", 0)],
            )
        connection.commit()
    except sqlite3.DatabaseError as error:
        _roll_back(connection)
        raise unusable(path, error) from error
