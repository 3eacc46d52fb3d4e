"""What SQLite's refusals mean for a record, and what to do about each: the one place where that is said.

A record that is damaged is never written to again and never replaced by an empty one; a record that somebody else holds
is as it was before the step that was refused.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from reconciler.errors import RecordUnusable, RecordUnwritable
from reconciler.record.holder import holders

#: How long a step waits for whoever else holds the record.
BUSY_MS: Final = 10_000
#: What helps where the file itself is not sound.
REPAIR: Final = (
    "restore a backup with `reconcile record restore FILE`, or move the state directory away to begin anew "
    "(every job then runs from its beginning)"
)

_HELD: Final = frozenset((sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED))
_DAMAGED: Final = frozenset((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB))
#: The disk or its permissions are in the way.
_DISK: Final = frozenset(
    (
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_NOLFS,
    )
)
#: A text that is no UTF-8, where every text was written as such.
_NO_TEXT: Final = "Could not decode to UTF-8"


def is_refusal(error: sqlite3.Error) -> bool:
    """Whether it is the world's doing: whoever else holds the record, the disk, damage."""
    return _code(error) in _HELD | _DISK | _DAMAGED or str(error).startswith(_NO_TEXT)


def unusable(path: Path, error: sqlite3.Error) -> RecordUnusable:
    """What a refusal of the record at `path` means, and what helps."""
    if _code(error) in _HELD:
        return RecordUnwritable(
            f"{path} has been locked by another process{_by(path)} for more than {BUSY_MS // 1000} s, so nothing of this step "
            "was recorded",
            "end that process, then run `reconcile` again",
        )
    if _code(error) in _DISK:
        return RecordUnwritable(
            f"{path}: the record cannot be written: {error}; nothing of this step was recorded",
            "mend the disk or its permissions, then run `reconcile` again",
        )
    return RecordUnusable(f"{path} cannot be used: {words(error)}; `reconcile record check` says more; {REPAIR}")


def damaged(path: Path, finding: str) -> RecordUnusable:
    """SQLite opens it, and it is not sound all the same."""
    return RecordUnusable(f"{path} is damaged: {finding}; nothing was changed; {REPAIR}")


def words(error: sqlite3.Error) -> str:
    """What SQLite says, without the value that it says it of: that may be anybody's."""
    return str(error).partition(" with text ")[0]


def in_one_line(finding: str) -> str:
    """A finding of SQLite's checks, which may begin with a title of its own."""
    return "; ".join(line for line in finding.splitlines() if line and not line.startswith("***"))


def findings(connection: sqlite3.Connection, check: str, path: Path) -> list[str]:
    """What one of SQLite's checks (`integrity_check(1)`) finds, as clauses; empty for a sound database. A check that damage
    itself cuts off has found something too. Raises RecordUnusable where it could not be made."""
    try:
        found = [str(row[0]) for row in connection.execute(f"PRAGMA {check}")]
    except UnicodeDecodeError:  # a name in the schema
        return ["it holds a name that is no text"]
    except sqlite3.DatabaseError as error:
        if _code(error) in _HELD | _DISK:
            raise unusable(path, error) from error
        return [words(error)]
    return [] if found == ["ok"] else [in_one_line(one) for one in found]


def of_connection(connection: sqlite3.Connection) -> Path:
    """The file behind a connection; `:memory:` where there is none."""
    return Path(connection.execute("PRAGMA database_list").fetchone()[2] or ":memory:")


def _code(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _by(path: Path) -> str:
    found = holders(path)
    return f" ({', '.join(found)})" if found else ""
