"""What `stat` says of a file, by which it is known whether its content may have changed."""

from __future__ import annotations

from typing import Final

#: size, mtime_ns, ctime_ns, inode: a file whose stamp is the same has the same content (but see `is_racy`).
Stamp = tuple[int, int, int, int]

#: A stamp younger than this when the file was read may be borne by a later change too: kernels stamp files by ticks of
#: at most 10 ms, and some file systems keep only (two) seconds.
SLACK_NS: Final = 20_000_000
COARSE_SLACK_NS: Final = 2_000_000_000


def is_racy(stamp: Stamp, moment_ns: int) -> bool:
    """Whether a file read after `moment_ns` may change without changing this stamp. The change time is asked too: a
    program can set a file's modification time, but not that."""
    return max(stamp[1], stamp[2]) >= moment_ns - slack_ns(stamp[2])


def slack_ns(time_ns: int) -> int:
    """How far apart two changes must lie for their times to differ, judged by one of these times."""
    return COARSE_SLACK_NS if time_ns % 1_000_000 == 0 else SLACK_NS
