"""The fork server: a process of one thread that has every heavy library loaded (`loading.py`), and becomes a run by a fork, in
a few milliseconds instead of the second that importing takes.

It is the parent of every run: it alone kills them (a pid that it has not reaped is nobody else's), at a run's timeout,
when asked to, and all of them when its controller is gone; and it reports how each ended. It speaks with the controller
over one socket of whole packets (SOCK_SEQPACKET), each one JSON object:

    controller -> server    {"do": "start", "run", "attempt", "timeout_s", "of"} with the run's end of its own socket attached;
                            `of` is its provider and job type
                            {"do": "prepare"} with a socket attached        a process that waits there for a run's order
                            {"do": "give", "pid", "run", "attempt", "timeout_s"}   that run is the process's from now on
                            {"do": "kill", "run", "within_s", "why": "killed" | "cut"}
    server -> controller    {"is": "broken", "message"}                     it cannot serve, and ends
                            {"is": "began", "run", "attempt", "pid", "start_ticks"}
                            {"is": "failed", "run", "attempt", "message"}   no process could be made
                            {"is": "prepared", "pid", "start_ticks"}
                            {"is": "unprepared", "pid"}                     no process waits, or that one not any more
                            {"is": "astray", "run"}                         it was given to one that waited no more
                            {"is": "exited", …}                             the fields of `messages.Exited`

A process that was prepared is told its order by the controller itself, after the server was told whose it is. So a start
waits for no fork and for no second process; and whatever ends such a process, the server knows whose end it reports.

It must have one thread when it forks: a lock that another thread holds at that moment stays locked in the fork for ever.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import resource
import select
import signal
import socket
import sys
import time
import traceback
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from reconciler.clock import Clock
from reconciler.core.backfill import LIVE
from reconciler.runner.boot import close_all_but
from reconciler.runner.channel import Channel
from reconciler.runner.loading import CannotLoad, Loading
from reconciler.runner.processes import (
    adopt_orphans,
    children,
    die_with_parent,
    give_way,
    go_first,
    hide_memory,
    kill_group,
    name_process,
    start_ticks,
)
from reconciler.runner.wire import MAX_TEXT

#: The largest packet between controller and server.
MAX_PACKET: Final = 2**16


@dataclass(slots=True)
class _Child:
    """A run's process; one that waits for a run has the number 0. `why` is what the next kill is for, and after it what it
    was for."""

    run: int
    attempt: int
    pid: int
    deadline_s: float | None
    why: str = "timed_out"
    killed: bool = False


class Server:
    """The loop: requests, deaths, deadlines."""

    def __init__(self, control: socket.socket, loading: Loading, state_dir: str) -> None:
        self._control = control
        self._loading = loading
        self._is_asked_for = False
        self._state_dir = state_dir
        self._rehearsed_with = 0  # so many modules
        self._children: dict[int, _Child] = {}
        self._woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)

    def serve(self) -> None:
        """Returns when the controller is gone; no run is left then. Until a first run is started, everything is loaded that any
        run may need, in pieces; from then on what the next one needs. Raises CannotLoad."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while True:
                is_idle = not self._is_asked_for and not self._is_asked() and self._loading.step()
                ready = {fd for fd, _ in poll.poll(0 if is_idle else self._wait_ms())}
                if self._woken in ready:
                    os.read(self._woken, 4096)
                if not self._obey():
                    break
                self._reap()
                self._kill_overdue()
        self._kill_all()

    # --- requests ----------------------------------------------------------------------------------------------------

    def _obey(self) -> bool:
        """All that is asked so far. False where the controller is gone."""
        while True:
            if not self._is_asked():
                return True
            packet, handles, _, _ = socket.recv_fds(self._control, MAX_PACKET, 1)
            if not packet:
                return False
            request = json.loads(packet)
            match request.pop("do"):
                case "start":
                    self._start(handles, **request)
                case "prepare":
                    self._prepare(handles)
                case "give":
                    self._give(**request)
                case _:
                    self._kill_within(**request)

    def _is_asked(self) -> bool:
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        return bool(poll.poll(0))

    def _start(self, handles: list[int], run: int, attempt: int, timeout_s: float | None, of: list[str]) -> None:
        self._is_asked_for = True
        self._loading.load_for(*of)
        try:
            pid = self._fork(handles)
        except OSError as error:
            message = f"No process could be started for the run: {error.strerror}."
            self._say("failed", run=run, attempt=attempt, message=message)
            return
        self._children[pid] = _Child(run, attempt, pid, _deadline_s(timeout_s))
        self._say("began", run=run, attempt=attempt, pid=pid, start_ticks=start_ticks(pid))

    def _prepare(self, handles: list[int]) -> None:
        self._loading.load_all()  # whose run it will be is not known
        try:
            pid = self._fork(handles, waits=True)
        except OSError:
            self._say("unprepared", pid=0)  # the next start says why
            return
        self._children[pid] = _Child(0, 0, pid, None)
        self._say("prepared", pid=pid, start_ticks=start_ticks(pid))

    def _give(self, pid: int, run: int, attempt: int, timeout_s: float | None) -> None:
        child = self._children.get(pid)
        if child is None:  # it had ended before, and so before it was told an order
            self._say("astray", run=run)
        else:
            child.run, child.attempt, child.deadline_s = run, attempt, _deadline_s(timeout_s)

    def _fork(self, handles: list[int], *, waits: bool = False) -> int:
        """The pid of a process that reads its order from the socket; whether that `waits` to be sent. Raises OSError."""
        server = os.getpid()
        try:
            if not handles:  # the kernel drops what a process with too many open files is sent
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            self._rehearse()
            gc.freeze()
            pid = os.fork()
            if pid == 0:
                self._become_run(handles[0], server, waits=waits)
        finally:
            for handle in handles:
                os.close(handle)
        return pid

    def _rehearse(self) -> None:
        """Again where more was loaded since: of that, the interpreter has remembered other things instead."""
        from reconciler.runner.rehearsal import UNTIL_FAMILIAR, rehearse  # loaded already

        if self._rehearsed_with != len(sys.modules):
            self._rehearsed_with = len(sys.modules)
            for _ in range(UNTIL_FAMILIAR):
                rehearse(self._state_dir)

    def _kill_within(self, run: int, within_s: float, why: str) -> None:
        """Later kills never put off earlier ones."""
        child = next((one for one in self._children.values() if one.run == run), None)
        due_s = time.monotonic() + within_s
        if child is not None and not child.killed and (child.deadline_s is None or due_s < child.deadline_s):
            child.deadline_s, child.why = due_s, why
            self._kill_overdue()

    # --- ends --------------------------------------------------------------------------------------------------------

    def _wait_ms(self) -> float | None:
        due = [child.deadline_s for child in self._children.values() if child.deadline_s is not None]
        return max(0.0, (min(due) - time.monotonic()) * 1000 + 1) if due else None

    def _kill_overdue(self) -> None:
        now_s = time.monotonic()
        for child in self._children.values():
            if child.deadline_s is not None and child.deadline_s <= now_s:
                child.deadline_s, child.killed = None, True
                kill_group(child.pid)

    def _kill_all(self) -> None:
        """Until no child is left: with its runs gone, what they had started becomes the server's own."""
        with contextlib.suppress(ChildProcessError):
            while True:
                for pid in children() | self._children.keys():
                    kill_group(pid)
                pid, _ = os.wait()
                self._children.pop(pid, None)

    def _reap(self) -> None:
        """Reports runs that have ended, and kills what they leave behind: commands in sessions of their own."""
        with contextlib.suppress(ChildProcessError):
            while found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                pid = found.si_pid
                if pid in self._children and not self._children[pid].run:
                    self._obey()  # whose it is was said before it was told its order, and so before it could end
                kill_group(pid)  # the pid, and so the group, is its own until it is waited for
                _, status, usage = os.wait4(pid, 0)
                for orphan in children() - self._children.keys():
                    kill_group(orphan)
                child = self._children.pop(pid, None)
                if child is not None and child.run:
                    self._report(child, status, usage)
                elif child is not None:
                    self._say("unprepared", pid=pid)

    def _report(self, child: _Child, status: int, usage: resource.struct_rusage) -> None:
        code = os.waitstatus_to_exitcode(status)
        by_us = child.killed and code == -signal.SIGKILL
        self._say(
            "exited",
            run=child.run,
            attempt=child.attempt,
            pid=child.pid,
            exit_code=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            peak_kib=usage.ru_maxrss,
            cpu_s=round(usage.ru_utime + usage.ru_stime, 6),
            timed_out=by_us and child.why == "timed_out",
            killed=by_us and child.why == "killed",
        )

    def _say(self, what: str, **fields: Any) -> None:
        self._control.send(json.dumps({"is": what, **fields}).encode())

    # --- in the fork -------------------------------------------------------------------------------------------------

    def _become_run(self, handle: int, server: int, *, waits: bool) -> NoReturn:
        """Never returns: whatever happens, the fork must not go on as a second server."""
        try:
            die_with_parent(server)
            os.setsid()
            name_process("next run")
            go_first()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            gc.enable()
            close_all_but(handle)
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, handle)
            if waits:
                from reconciler.runner.rehearsal import rehearse, rehearse_thread  # loaded already

                rehearse(self._state_dir)
                rehearse_thread()
            channel = Channel(sock)
            name_process(f"run {channel.order.run}")
            if channel.order.lane != LIVE:
                give_way()
            channel.start()
        except BaseException:
            traceback.print_exc()  # no secret is known yet, and nobody else can be told
            os._exit(70)
        from reconciler.runner.work import Work  # loaded already

        try:
            channel.end(Work(channel, self._loading.catalogue, self._state_dir, Clock()).run())
        finally:
            os._exit(70)


def _deadline_s(timeout_s: float | None) -> float | None:
    return None if timeout_s is None else time.monotonic() + timeout_s


def main(handle: int, state_dir: str) -> NoReturn:
    """The process that `local.LocalRunner` starts, with its end of the control socket."""
    name_process("reconcile-forks")
    hide_memory()
    adopt_orphans()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, handle)
    gc.disable()  # what is loaded stays, and is nobody's garbage
    loading = Loading()
    try:
        loading.begin()
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(line_buffering=True)
        Server(control, loading, state_dir).serve()
    except CannotLoad as error:
        control.send(json.dumps({"is": "broken", "message": str(error)[:MAX_TEXT]}).encode())
        os._exit(1)
    os._exit(0)  # DuckDB's exit handlers print what they believe has leaked
