"""Work that is divided among processes, one a core: each is forked, does its share, and sends what came of it as text.

Forked, so that nothing is imported or sent before; only where no other thread runs, for a lock that one holds would stay held.
The share of a process that dies is done here.
"""

from __future__ import annotations

import contextlib
import gc
import marshal
import os
import signal
import threading
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def cores() -> int:
    return len(os.sched_getaffinity(0))


def divided(
    items: Sequence[T],
    work: Callable[[T], R],
    *,
    jobs: int,
    pack: Callable[[R], Any],
    unpack: Callable[[Any], R],
    together: bool = False,
) -> list[R]:
    """`work` done on each item, in their order, by at most `jobs` processes: each takes every n-th item (`together`: neighbours,
    as they are better for what lies in folders), and this one is among them. `pack` makes plain values (numbers, texts, lists,
    tuples, dicts) of a result, and `unpack` the result of those."""
    jobs = min(jobs, len(items))
    if jobs <= 1 or threading.active_count() > 1:
        return [work(one) for one in items]
    cuts = [len(items) * share // jobs for share in range(jobs + 1)]
    shares = [items[cuts[n] : cuts[n + 1]] if together else items[n::jobs] for n in range(jobs)]
    children: list[tuple[int, int]] = []
    try:
        children += (_fork(share, work, pack) for share in shares[1:])
        done = [[work(one) for one in shares[0]]]
        for share in shares[1:]:
            packed = _received(*children[0])
            del children[0]
            done.append([work(one) for one in share] if packed is None else [unpack(one) for one in packed])
    except BaseException:
        for pid, pipe in children:  # nothing of theirs is wanted any more
            with contextlib.suppress(OSError):
                os.close(pipe)
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        raise
    if together:
        return [one for share in done for one in share]
    return [done[index % jobs][index // jobs] for index in range(len(items))]


def _fork(share: Sequence[T], work: Callable[[T], R], pack: Callable[[R], Any]) -> tuple[int, int]:
    ours, theirs = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _do(theirs, share, work, pack, parent)
    os.close(theirs)
    return pid, ours


def _do(pipe: int, share: Sequence[T], work: Callable[[T], R], pack: Callable[[R], Any], parent: int) -> NoReturn:
    """All at once at the end: a pipe holds little, and its reader is busy with a share of its own until then. Signals to
    the group are the parent's to answer; where it is gone, nobody is left to tell, and what it held (a lock) is let go."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        gc.disable()
        packed = []
        for one in share:
            if os.getppid() != parent:
                os._exit(code)
            packed.append(pack(work(one)))
        rest = memoryview(marshal.dumps(packed))
        while rest:
            rest = rest[os.write(pipe, rest) :]
        code = 0
    finally:
        os._exit(code)


def _received(pid: int, pipe: int) -> list[Any] | None:
    """What a process has sent; None where it died before it had sent all."""
    with open(pipe, "rb") as file:
        content = file.read()
    try:
        _, status = os.waitpid(pid, 0)
    except ChildProcessError:  # somebody else has waited for it: how it ended is not known
        return None
    return marshal.loads(content) if status == 0 else None
