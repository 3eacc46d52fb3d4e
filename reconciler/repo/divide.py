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
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
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
) -> list[R]:
    """`work` done on each item, in their order, by at most `jobs` processes: each takes every n-th item, and this one is among
    them. `pack` makes plain values (numbers, texts, lists, tuples, dicts) of a result, and `unpack` the result of those."""
    if jobs <= 1 or len(items) <= 1 or threading.active_count() > 1:
        return [work(one) for one in items]
    shares = [items[start::jobs] for start in range(min(jobs, len(items)))]
    sys.stdout.flush()  # a process that is forked has what was not written yet, too
    sys.stderr.flush()
    children = [_fork(share, work, pack) for share in shares[1:]]
    done = [[work(one) for one in shares[0]]]
    for share, (pid, pipe) in zip(shares[1:], children, strict=True):
        packed = _received(pid, pipe)
        done.append([work(one) for one in share] if packed is None else [unpack(one) for one in packed])
    return [done[index % len(shares)][index // len(shares)] for index in range(len(items))]


@contextlib.contextmanager
def unhurried() -> Iterator[None]:
    """No garbage collection while many values are made that all stay."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _fork(share: Sequence[T], work: Callable[[T], R], pack: Callable[[R], Any]) -> tuple[int, int]:
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        _do(theirs, share, work, pack)
    os.close(theirs)
    return pid, ours


def _do(pipe: int, share: Sequence[T], work: Callable[[T], R], pack: Callable[[R], Any]) -> NoReturn:
    """All at once at the end: a pipe holds little, and its reader is busy with a share of its own until then. Signals to
    the group are the parent's to answer; where it is gone, nobody is left to tell."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        rest = memoryview(marshal.dumps([pack(work(one)) for one in share]))
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
