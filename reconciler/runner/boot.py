"""Starting the fork server's process (`server.py`). It stands by itself and imports next to nothing, so that a pass that will
start runs can begin it first of all: what the server loads takes longer than anything else that comes before a run.

A pass that has only just begun makes it by a fork, which has an interpreter and many modules already. Who has been at work for a
while has threads, handlers of signals, and things in memory that no run is to find, and starts a fresh interpreter.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

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
                ended = select.poll()
                ended.register(handle, select.POLLIN)
                if not ended.poll(None if timeout_s is None else timeout_s * 1000):
                    raise subprocess.TimeoutExpired("fork", timeout_s or 0.0)
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
    one, or is told of no child's end, in a fresh interpreter. Raises OSError."""
    if len(os.listdir("/proc/self/task")) > 1 or signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
        return boot(state_dir)
    ours, theirs = _control()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        pid = os.fork()
        if pid == 0:
            _become_server(theirs, state_dir, before)
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return Booted(Forked(pid), ours)


def _become_server(control: socket.socket, state_dir: Path, mask: set[signal.Signals | int]) -> NoReturn:
    """In the fork: keeps nothing open of the controller, nor what it has not written yet. Whatever happens, it does not go on
    as a second one."""
    try:
        os.setsid()  # a terminal's Ctrl-C is the controller's to handle
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        handle = control.detach()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        close_all_but(handle)
        _ours = sys.stdout, sys.stderr  # kept, because what they hold is the controller's to write
        sys.stdin = os.fdopen(0, closefd=False)
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
        from reconciler.runner.server import main

        main(handle, str(state_dir))
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        os._exit(70)


def close_all_but(handle: int) -> None:
    """Everything that is open, besides that and the three of every process."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    os.closerange(3, handle)
    os.closerange(handle + 1, limit if limit != resource.RLIM_INFINITY else 2**20)


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
