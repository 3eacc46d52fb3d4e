"""Processes by pid and start time. A pid alone names nobody: it is given to another process once its own is gone. With
the start time (field 22 of /proc/PID/stat, in clock ticks since boot) it names one process for as long as the machine
is up, which is what the record keeps of a run.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
from typing import Final

from reconciler.errors import ReconcileError

#: How long a killed process may take to be gone; one that hangs in the kernel for longer is reported.
GONE_WITHIN_S: Final = 30.0

#: How low the priority of a backfill is, from 0 (a live run) to 19.
BACKFILL_NICE: Final = 10

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
#: ioprio_set(2) has no function in the C library.
_IOPRIO_SET: Final = {"x86_64": 251, "aarch64": 30, "riscv64": 30}
_IOPRIO_WHO_PROCESS: Final = 1
_LOWEST_BEST_EFFORT: Final = 2 << 13 | 7
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NAME: Final = 15
_PR_SET_CHILD_SUBREAPER: Final = 36


def start_ticks(pid: int) -> int | None:
    """When the process started; None where there is none of that pid."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            fields = file.read(4096)
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(fields[fields.rindex(b")") + 2 :].split(maxsplit=20)[19])


def end_leftover(pid: int, started: int) -> bool:
    """Kills a process that an earlier controller left behind, with its children, and waits until it is gone.

    False, and nothing is touched, where no process has both this pid and this start time. Raises ReconcileError where
    it may not be killed or does not go within `GONE_WITHIN_S`: no run may start beside it.
    """
    try:
        handle = os.pidfd_open(pid)
    except (OverflowError, OSError):
        return False
    try:
        # The start time is read after the handle was opened: if they agree, the handle is that process for good.
        if pid <= 0 or start_ticks(pid) != started:
            return False
        _kill_behind(handle, pid)
        gone = select.poll()
        gone.register(handle, select.POLLIN)
        if not gone.poll(GONE_WITHIN_S * 1000):
            raise ReconcileError(f"The process {pid} of an earlier run does not end. Restart the machine, or end it.")
        return True
    finally:
        os.close(handle)


def _kill_behind(handle: int, pid: int) -> None:
    try:
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(pid) == pid:
                os.killpg(pid, signal.SIGKILL)
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    except PermissionError:
        raise ReconcileError(
            f"The process {pid} of an earlier run belongs to another user and cannot be ended. End it, and start again."
        ) from None


def kill_group(pid: int) -> None:
    """Kills a child and all that it started in its group, also where it has not yet made the group its own. Only for
    a child that is not reaped yet: its pid is nobody else's."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def adopt_orphans() -> None:
    """What a run has started and left becomes a child of this process when the run is gone."""
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children() -> set[int]:
    """The children of this process, of its main thread: the adopted ones too. Empty where the kernel does not tell."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb", buffering=0) as file:
            return {int(pid) for pid in file.read(2**20).split()}
    except FileNotFoundError:
        return set()


def hide_memory() -> None:
    """No core dump and no debugger of another process of this user sees the secrets of this one or of its forks."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _LIBC.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def die_with_parent(parent: int) -> None:
    """The kernel kills this process when its parent dies, even one that holds the interpreter's lock for ever. Exits
    at once where the parent is dead already."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def give_way() -> None:
    """This process, and what it starts, has a low priority from now on: beside another it gets a tenth of a core, alone
    all of it. Of the disk it has the lowest that is still served in its turn: an idle one that holds the file
    system's journal would hold up all others. Where the kernel knows no such thing, nothing changes."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, BACKFILL_NICE)
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "wb", buffering=0) as file:
        file.write(str(BACKFILL_NICE).encode())  # a session is a group of its own, in which `nice` alone means little
    number = _IOPRIO_SET.get(os.uname().machine)
    if number is not None:
        _LIBC.syscall(number, _IOPRIO_WHO_PROCESS, 0, _LOWEST_BEST_EFFORT)


def go_first() -> None:
    """Where the machine runs out of memory, the kernel ends this process rather than the controller."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "wb", buffering=0) as file:
        file.write(b"500")


def name_process(name: str) -> None:
    """The name that `ps` and `top` show, at most 15 bytes."""
    _LIBC.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def threads() -> list[str]:
    """The names of this process's threads, those of C libraries among them."""
    names = []
    for task in sorted(os.listdir("/proc/self/task"), key=int):
        with open(f"/proc/self/task/{task}/comm", encoding="utf-8", errors="replace") as file:
            names.append(file.read().strip())
    return names
