"""The daemon outlives what passes: a full disk, an error of reading or writing, a record that somebody else holds, too many
open files.

What such a fault has cut off is what a crash cuts off, so it is mended in the same way: everything is let go of (runs end,
the lock is given up), and after a while a new controller begins, recovers what the record calls unfinished, and goes on. A
fault on the very first opening is told to whoever started the daemon, and ends it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from reconciler.clock import Clock
from reconciler.controller.wakeups import Wakeups
from reconciler.errors import Locked, ReconcileError, RecordUnwritable
from reconciler.record.database import refusal

if TYPE_CHECKING:
    from pathlib import Path

    from reconciler.controller.loop import Controller
    from reconciler.controller.settings import Listener

#: How long the daemon waits before it begins again: at first, and at most.
SHORTEST_WAIT_MS: Final = 1_000
LONGEST_WAIT_MS: Final = 30_000
#: A life of this length was a good one: the next fault is waited for as the first.
GOOD_LIFE_MS: Final = 60_000

#: Errors of the system that pass by themselves, or when a person has mended what is behind them.
PASSING: Final = frozenset(
    (
        errno.EACCES, errno.EAGAIN, errno.EDQUOT, errno.EINTR, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM,
        errno.ENOSPC, errno.EPERM, errno.EROFS, errno.ESTALE, errno.ETIMEDOUT,
    )
)  # fmt: skip


def endure(begin: Callable[[], Controller], state: Path, listener: Listener) -> int:
    """The daemon until a signal ends it; the exit code. `begin` opens a controller of the record in `state`. Raises what does
    not pass, and whatever keeps the first controller from beginning."""
    clock = Clock()
    wait_ms, told, has_lived = SHORTEST_WAIT_MS, "", False
    with ExitStack() as stack:
        wakeups: Wakeups | None = None
        while True:
            born_ms = clock.now().alive_ms
            try:
                with begin() as controller:
                    has_lived = True
                    if told:
                        listener.notice("That has passed; the daemon goes on from what the record says.")
                    return controller.watch()
            except Exception as error:
                why = passing(error, state)
                if not why or not has_lived:
                    raise
            if wakeups is None:  # from here on no signal is missed, whichever controller lives or is about to
                wakeups = stack.enter_context(Wakeups())
            if clock.now().alive_ms - born_ms >= GOOD_LIFE_MS:
                wait_ms, told = SHORTEST_WAIT_MS, ""
            if why != told:
                told = why
                listener.notice(
                    f"{why}. Runs at work were cut off, and nothing is lost; the daemon tries again by itself."
                )
            if _is_stopped_within(wait_ms, clock, wakeups):
                return wakeups.exit_code
            wait_ms = min(2 * wait_ms, LONGEST_WAIT_MS)


def passing(error: Exception, state: Path) -> str:
    """What is in the way, as a sentence without its end, where it passes; empty where it does not."""
    match error:
        case RecordUnwritable():
            return error.what
        case Locked():
            return str(error)
        case OSError() if error.errno in PASSING:
            where = f"{error.filename}: " if isinstance(error.filename, str) else ""
            return f"{where}{error.strerror}"
        case _:
            refused = None if isinstance(error, ReconcileError) else refusal(error, state)
            return refused.what if isinstance(refused, RecordUnwritable) else ""


def _is_stopped_within(wait_ms: int, clock: Clock, wakeups: Wakeups) -> bool:
    """Whether a signal ends the wait."""
    until_ms = clock.now().alive_ms + wait_ms
    while (left_ms := until_ms - clock.now().alive_ms) > 0 and wakeups.stopping is None:
        wakeups.wait((), left_ms / 1000)
    return wakeups.stopping is not None
