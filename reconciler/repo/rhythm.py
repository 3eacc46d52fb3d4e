"""How often a look walks the whole tree although the watch has named nothing new.

A watch may miss something: what another machine writes on a network file system, a folder that was filled while it was made, a
hard link that is written from elsewhere. So a walk comes each minute. A large tree is walked the less often the more files
it has, so that a daemon with nothing to do costs next to nothing; but each minute where the system does not tell of all
that happens to a file. Where a walk finds what the watch should have named, or folders have come or gone, the next
is a minute later, and they come ever less often from there on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable
from typing import Final

#: A walk for nothing comes as often, in milliseconds, for each so many files; at least so often.
MINUTE_MS: Final = 60_000
FILES_A_MINUTE: Final = 2_000
LONGEST_MS: Final = 3_600_000

#: File systems of this machine alone, whose every change the system tells of (inotify(7): not those of a network, nor pseudo).
TELLING: Final = frozenset(
    {"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "overlay", "ramfs", "reiserfs", "tmpfs", "xfs", "zfs"}
)

#: What the kernel knows of this process's mounts (proc_pid_mountinfo(5)); other systems have none, and are never believed.
MOUNTS: Final = "/proc/self/mountinfo"


def tells_all(root: str) -> bool:
    """Whether the system tells of every change below `root`."""
    try:
        with open(MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
            return all_told(os.path.realpath(root), file)
    except OSError:
        return False


def all_told(root: str, mounts: Iterable[str]) -> bool:
    """Whether `root`, an absolute path without links, and all that is mounted below it, lies on file systems whose every change
    is told of. `mounts` are the lines of proc_pid_mountinfo(5)."""
    mounted = [_mount(line) for line in mounts]
    around = [(len(folder), place, kind) for place, (folder, kind) in enumerate(mounted) if _is_within(root, folder)]
    below = [kind for folder, kind in mounted if folder != root and _is_within(folder, root)]
    return bool(around) and {max(around)[-1], *below} <= TELLING


def _mount(line: str) -> tuple[str, str]:
    """Where, and what kind of file system. Of two at the same place the later hides the earlier."""
    before, _, after = line.partition(" - ")
    folder = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), before.split(" ")[4])
    return folder, after.split(" ")[0]


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


class Rhythm:
    """Belongs to the one who looks at `root`. `tells` says whether the system tells of every change below it."""

    def __init__(self, root: str, tells: Callable[[str], bool] = tells_all) -> None:
        self._root = root
        self._tells = tells
        self._folders: Collection[str] | None = None
        self._interval_ms = LONGEST_MS
        self._due_ms = 0

    def is_due(self, now_ms: int) -> bool:
        return now_ms >= self._due_ms

    def walked(self, now_ms: int, *, files: int, folders: Collection[str], missed: bool) -> None:
        """The tree was walked. `missed`: that found something new which the watch had not named."""
        moved = self._folders is not None and folders != self._folders
        self._folders = folders
        most_ms = min(LONGEST_MS, max(MINUTE_MS, files * MINUTE_MS // FILES_A_MINUTE))
        if missed or moved or (most_ms > MINUTE_MS and not self._tells(self._root)):
            self._interval_ms = MINUTE_MS
        else:
            self._interval_ms = min(most_ms, 2 * self._interval_ms)
        self._due_ms = now_ms + self._interval_ms
