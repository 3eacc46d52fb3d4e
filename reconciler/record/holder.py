"""Whether a controller is at work on a record, asked from outside and without touching its lock: a reader that took the
lock, be it for a moment, could make a controller that starts just then believe that another one writes.

The lock file holds the writer's pid; that process must still hold the file open, so a pid that was given to another
process since is not believed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

#: Where SQLite locks in a `-shm`: the writer, the checkpointer, recovery, and from here on the readers.
_FIRST_LOCK: Final = 120
_FIRST_READER: Final = 123
_LAST_READER: Final = 127
#: So many processes are named.
_NAMED: Final = 5


def controller_at_work(state: Path) -> int | None:
    """The pid of the controller that writes the record of this state directory; None where none does."""
    lock = state / "lock"
    try:
        pid = int(lock.read_text(encoding="ascii", errors="replace")[:32])
    except (OSError, ValueError):
        return None
    return pid if _holds_open(pid, lock) else None


def last_at_work_ms(state: Path) -> int | None:
    """When a controller last took the lock of this state directory; None where none ever did."""
    try:
        return int((state / "lock").stat().st_mtime * 1000)
    except OSError:
        return None


def _holds_open(pid: int, lock: Path) -> bool:
    folder = Path(f"/proc/{pid}/fd")
    try:
        wanted = os.stat(lock)
        descriptors = os.listdir(folder)
    except PermissionError:
        return True  # another user's process, and alive
    except OSError:
        return False
    return any(_is(folder / one, wanted) for one in descriptors)


def _is(descriptor: Path, wanted: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(descriptor), wanted)
    except OSError:
        return False


def holders(path: Path, *, readers: bool = False) -> list[str]:
    """The other processes that hold a lock on a SQLite file in WAL, as `pid 42 (sqlite3)`: those that write, or with
    `readers` those that are in the middle of reading. Empty where the system does not say."""
    found = set()
    for name in (path.name, f"{path.name}-shm"):
        try:
            inode = path.with_name(name).stat().st_ino
            lines = Path("/proc/locks").read_text(encoding="ascii", errors="replace").splitlines()
        except OSError:
            continue
        found |= {int(one[4]) for one in map(str.split, lines) if _is_held(one, inode, readers, name != path.name)}
    return [_named(pid) for pid in sorted(found - {os.getpid(), 0, -1})[:_NAMED]]


def _is_held(fields: list[str], inode: int, readers: bool, is_index: bool) -> bool:
    """Whether a line of /proc/locks (`1: POSIX ADVISORY WRITE 42 08:01:1234 120 120`) is such a lock."""
    if len(fields) < 8 or fields[1] == "->" or fields[5].rpartition(":")[2] != str(inode) or not fields[6].isdecimal():
        return False
    if not is_index:
        return fields[3] == "WRITE" and not readers
    first = int(fields[6])
    if readers:
        return _FIRST_READER <= first <= _LAST_READER
    return fields[3] == "WRITE" and _FIRST_LOCK <= first < _FIRST_READER


def _named(pid: int) -> str:
    try:
        name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        name = ""
    return f"pid {pid} ({name})" if name else f"pid {pid}"
