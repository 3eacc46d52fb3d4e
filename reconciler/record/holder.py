"""Whether a controller is at work on a record, asked from outside and without touching its lock: a reader that took the
lock, be it for a moment, could make a controller that starts just then believe that another one writes.

The lock file holds the writer's pid; that process must still hold the file open, so a pid that was given to another
process since is not believed.
"""

from __future__ import annotations

import os
from pathlib import Path


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
