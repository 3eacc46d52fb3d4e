"""Starting the fork server's process (`server.py`). It stands by itself and imports next to nothing, so that a pass that will
start runs can begin it first of all: what the server loads takes longer than anything else that comes before a run.

A pass that has only just begun makes it by a fork, which has an interpreter and many modules already. Who has been at work for a
while has threads, handlers of signals, and things in memory that no run is to find, and starts a fresh interpreter.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

_BOOT: Final = "import sys; sys.path[:] = {path!r}; from reconciler.runner.server import main; main({fd}, {state!r})"


class Forked:
    """A child that was forked: as much of `subprocess.Popen` as is asked of a fork server."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def kill(self) -> None:
        if self.returncode is None:  # until it is waited for, the pid is nobody else's
            os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout_s: float | None = None) -> int:
        """Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            handle = os.pidfd_open(self.pid)
            try:
                if timeout_s is not None and not select.select([handle], [], [], timeout_s)[0]:
                    raise subprocess.TimeoutExpired("fork", timeout_s)
            finally:
                os.close(handle)
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode


class Booted(NamedTuple):
    """The process, and the controller's end of its control socket."""

    process: subprocess.Popen[bytes] | Forked
    control: socket.socket

    def end(self) -> None:
        """Of one that was never told anything."""
        self.process.kill()
        self.control.close()
        self.process.wait()


def fork(state_dir: Path) -> Booted:
    """A fork server that begins to load, out of this process. Where that has several threads, of which a fork would have but
    one, in a fresh interpreter. Raises OSError."""
    if len(os.listdir("/proc/self/task")) > 1:
        return boot(state_dir)
    ours, theirs = _control()
    try:
        pid = os.fork()
    except OSError:
        ours.close()
        theirs.close()
        raise
    if pid == 0:
        try:
            from reconciler.runner.server import become

            become(theirs, str(state_dir))
        except BaseException as error:
            sys.excepthook(type(error), error, error.__traceback__)
        finally:
            os._exit(70)  # it must not go on as a second controller
    theirs.close()
    return Booted(Forked(pid), ours)


def boot(state_dir: Path) -> Booted:
    """A fork server that begins to load, in a fresh interpreter. Raises OSError."""
    ours, theirs = _control()
    path = [os.path.abspath(one) for one in sys.path]
    code = _BOOT.format(path=path, fd=theirs.fileno(), state=str(state_dir))
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", code],
            stdin=subprocess.DEVNULL,
            stdout=2,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # a terminal's Ctrl-C is the controller's to handle
        )
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    return Booted(process, ours)


def _control() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    return ours, theirs
