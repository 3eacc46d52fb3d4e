"""What earlier looks learned, kept so that the next costs what has changed: the stamp and content digest of every file
that was settled, and the parsed form of every content that was met.

One SQLite file in the cache folder. It is disposable: missing, damaged or of another format it is built anew, and where
it cannot be written the same is kept in memory. It may be behind the truth, never ahead of it: a file's row is written
only once the controller has committed what the file said.

Two rules keep it honest. *Racy entries*, as in git: a file that was stamped so shortly before it was read that a
later change could bear the same stamp is read again next time. *Identity*: the rows say what one record, at one
format, was told; for another they are still true about files and digests, but count as nothing told.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from reconciler.repo.stamps import Stamp

INDEX_NAME: Final = "index.db"

#: Parsed contents are kept for each file and this many more; beyond that those that no file has are dropped.
SPARE_PARSED: Final = 1_000

_FORMAT: Final = 1
_BUSY_S: Final = 2.0
_CHUNK: Final = 500

_SCHEMA: Final = f"""
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE file (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL,
    inode INTEGER NOT NULL, digest TEXT NOT NULL, racy INTEGER NOT NULL, invalid INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE parsed (
    digest TEXT NOT NULL, version TEXT NOT NULL, text TEXT NOT NULL, PRIMARY KEY (digest, version)
) STRICT;
PRAGMA user_version = {_FORMAT};
"""


class Row(NamedTuple):
    """What is known of one file. It begins with its stamp; `invalid` says that its content has problems. Flat, as the
    database keeps it: every look makes as many of these as there are files."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    digest: str
    racy: bool
    invalid: bool

    @property
    def stamp(self) -> Stamp:
        return self[:4]


class Index:
    """The file `index.db` in `cache_dir`. `version` names the format and catalogue that parsed texts depend on;
    `identity` the record that the rows were told to. `rows` are all that was kept; `told` says whether they were told
    to this identity and version. `head` is git's commit when they were."""

    def __init__(self, cache_dir: Path | None, *, identity: str, version: str, writable: bool) -> None:
        self._path = cache_dir / INDEX_NAME if cache_dir is not None else None
        self._writable = writable
        self._version = version
        self._identity = f"{identity}\n{version}"
        self.rows: dict[str, Row] = {}
        self.told = False
        self.head = ""
        self._fresh = 0
        self._database = self._open()

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    # --- opening ----------------------------------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection | None:
        try:
            return self._attempt()
        except sqlite3.DatabaseError:
            self.rows, self.told, self.head = {}, False, ""
        if not self._writable or self._path is None:
            return None
        try:
            for suffix in ("", "-journal"):
                self._path.with_name(INDEX_NAME + suffix).unlink(missing_ok=True)
            return self._attempt()
        except (sqlite3.DatabaseError, OSError):
            return None

    def _attempt(self) -> sqlite3.Connection | None:
        if self._path is None or not (self._writable or self._path.exists()):
            return None
        mode = "rwc" if self._writable else "ro"
        if self._writable:
            with contextlib.suppress(OSError):  # what is in the way of the file is in SQLite's way too
                self._path.touch(mode=0o600)
        database = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode={mode}", uri=True, timeout=_BUSY_S, isolation_level=None,
            check_same_thread=False,
        )  # fmt: skip
        try:
            self._prepare(database)
            self._load(database)
        except BaseException:
            database.close()
            raise
        return database

    def _prepare(self, database: sqlite3.Connection) -> None:
        if self._writable:
            # A rollback journal, so that readers need to write nothing; no fsync, because losing this loses no truth.
            database.execute("PRAGMA journal_mode = DELETE")
            database.execute("PRAGMA synchronous = OFF")
        found = database.execute("PRAGMA user_version").fetchone()[0]
        if found == 0 and self._writable:
            with _transaction(database):
                for statement in _SCHEMA.split(";"):
                    database.execute(statement)
        elif found != _FORMAT:
            raise sqlite3.DatabaseError("the index has another format")

    def _load(self, database: sqlite3.Connection) -> None:
        meta = dict(database.execute("SELECT name, value FROM meta"))
        self.told = meta.get("identity") == self._identity
        self.head = meta.get("head", "") if self.told else ""
        make = partial(tuple.__new__, Row)  # without the check of the length that `_make` has
        self.rows = {row[0]: make(row[1:]) for row in database.execute("SELECT * FROM file")}

    # --- parsed contents --------------------------------------------------------------------------------------------

    def parsed(self, digests: Iterable[str]) -> dict[str, str]:
        """The kept texts of these contents."""
        wanted = sorted(set(digests))
        found: dict[str, str] = {}
        if self._database is None:
            return found
        with contextlib.suppress(sqlite3.DatabaseError):
            for start in range(0, len(wanted), _CHUNK):
                some = wanted[start : start + _CHUNK]
                marks = ",".join("?" * len(some))
                query = f"SELECT digest, text FROM parsed WHERE version = ? AND digest IN ({marks})"
                found.update(self._database.execute(query, (self._version, *some)))
        return found

    def keep_parsed(self, texts: Mapping[str, str]) -> None:
        rows = [(digest, self._version, text) for digest, text in texts.items()]
        self._fresh += len(rows)
        self._change(lambda database: _insert(database, "parsed", 3, rows))

    # --- rows -------------------------------------------------------------------------------------------------------

    def tell(self, rows: Mapping[str, Row], gone: Collection[str], head: str, identity: str = "") -> None:
        """The controller has committed what these files say, and that those are gone. Where earlier rows were told to
        another record, they are dropped. `identity` is the record's from here on, where that is another one now."""
        known, self._identity = self._identity, f"{identity}\n{self._version}" if identity else self._identity

        def work(database: sqlite3.Connection) -> None:
            if not self.told:
                database.execute("DELETE FROM file")
            database.executemany("DELETE FROM file WHERE path = ?", [(path,) for path in gone])
            _insert(database, "file", 8, [(path, *row) for path, row in rows.items()])
            _insert(database, "meta", 2, [("identity", self._identity), ("head", head)])
            if self._fresh:
                self._prune(database)

        if rows or gone or not self.told or head != self.head or known != self._identity:
            self._change(work)
            self._fresh = 0
        self.told, self.head = True, head

    def tell_commit(self, blobs: Callable[[], Collection[str]]) -> None:
        """The controller has committed what a commit's files say: the rows of files hold no more. Once as many contents
        have been parsed as there are `blobs` of the commit, those of no blob among them are dropped."""

        def work(database: sqlite3.Connection) -> None:
            database.execute("DELETE FROM file")
            _insert(database, "meta", 2, [("identity", self._identity), ("head", "")])

        if not self.told:
            self._change(work)
            self.rows, self.told = {}, True
        if self._fresh:
            self._change(lambda database: self._prune_blobs(database, blobs))
            self._fresh = 0

    def _prune_blobs(self, database: sqlite3.Connection, blobs: Callable[[], Collection[str]]) -> None:
        """`parsed` counts the contents kept since the last pruning, `blobs` those that there were to keep then."""
        meta = dict(database.execute("SELECT name, value FROM meta WHERE name IN ('parsed', 'blobs')"))
        parsed, before = int(meta.get("parsed", 0)) + self._fresh, int(meta.get("blobs", 0))
        if parsed > before + SPARE_PARSED:
            wanted = blobs()
            database.execute("CREATE TEMP TABLE wanted (digest TEXT PRIMARY KEY) WITHOUT ROWID")
            _insert(database, "wanted", 1, [(one,) for one in wanted])
            database.execute("DELETE FROM parsed WHERE digest NOT IN (SELECT digest FROM wanted)")
            database.execute("DROP TABLE wanted")
            parsed, before = 0, len(wanted)
        _insert(database, "meta", 2, [("parsed", str(parsed)), ("blobs", str(before))])

    def _prune(self, database: sqlite3.Connection) -> None:
        """As of blobs, but that the contents to keep are those of the files. They are counted only where enough were parsed
        since: counting reads all of them."""
        meta = dict(database.execute("SELECT name, value FROM meta WHERE name IN ('parsed', 'blobs')"))
        parsed, before = int(meta.get("parsed", 0)) + self._fresh, int(meta.get("blobs", 0))
        if parsed > before + SPARE_PARSED:
            parsed, before = 0, self._prune_files(database)
        _insert(database, "meta", 2, [("parsed", str(parsed)), ("blobs", str(before))])

    @staticmethod
    def _prune_files(database: sqlite3.Connection) -> int:
        """How many files there are."""
        kept, files = database.execute("SELECT (SELECT count(*) FROM parsed), (SELECT count(*) FROM file)").fetchone()
        if files and kept > 2 * files + SPARE_PARSED:  # without files the first look was of a tree in the making
            database.execute("DELETE FROM parsed WHERE digest NOT IN (SELECT digest FROM file)")
        return int(files)

    def _change(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Does `work` in a transaction. What fails is not kept, nor is anything after it: the next process finds it
        out anew."""
        if self._database is None or not self._writable:
            return
        try:
            with _transaction(self._database):
                work(self._database)
        except sqlite3.DatabaseError:
            self.close()


@contextlib.contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def _insert(database: sqlite3.Connection, table: str, width: int, rows: Sequence[tuple[object, ...]]) -> None:
    database.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({','.join('?' * width)})", rows)
