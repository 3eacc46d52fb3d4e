"""Runs as processes of this machine, behind one file descriptor.

`LocalRunner` belongs to the controller's one thread and never blocks it: sockets are non-blocking both ways, timeouts
and kills are the fork server's. Everything that happens comes out of `messages()`, in this order for each run: `Began`,
what the run says, at most one `Ended`, and last `Exited`, after which no process of the run is left.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from reconciler.core.messages import (
    Began,
    Ended,
    Exited,
    FromRun,
    Intended,
    Order,
    Output,
    Produced,
    SecretSeen,
    Wanted,
)
from reconciler.runner.boot import Booted, Forked, boot
from reconciler.runner.capture import MAX_LINES
from reconciler.runner.frames import MAX_MESSAGE, Frames, Malformed
from reconciler.runner.processes import end_leftover
from reconciler.runner.wire import MAX_TEXT, Answer, Stop, decode_from_run, encode

#: How long a run's process may linger after its last message before it is killed.
LINGER_S: Final = 5.0
#: What is read of one run before the next has its turn, in bytes.
TURN: Final = 2**18
#: So many processes wait for the order of a run.
STANDBYS: Final = 2
#: A run that was given its order has the machine for itself so long, until it says something: nothing is made ahead meanwhile.
YOUNG_S: Final = 0.05
#: How long the fork server may take to end its runs and itself.
CLOSE_S: Final = 10.0
#: How long it may take to begin a run, or to end one that is overdue.
STUCK_S: Final = 60.0


@dataclass(slots=True, eq=False)
class _Run:
    """One active run: its socket while that is open, and what is known of its process."""

    order: Order
    sock: socket.socket | None = None
    frames: Frames = field(default_factory=lambda: Frames(MAX_MESSAGE))
    outgoing: bytearray = field(default_factory=bytearray)
    began: Began | None = None
    open_question: bool = False
    ended: bool = False
    given_s: float = 0.0
    has_spoken: bool = False
    is_unwanted: bool = False
    lines: int = 0
    secrets: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)


@dataclass(slots=True, eq=False)
class _Standby:
    """A process that waits for the order of a run, at the other end of the socket. The fork server has made it once it has a
    pid."""

    sock: socket.socket
    pid: int = 0
    start_ticks: int = 0


@dataclass(slots=True, eq=False)
class _Server:
    """The fork server, and the packets (with the sockets that go along) it has not taken yet."""

    process: subprocess.Popen[bytes] | Forked
    control: socket.socket
    outgoing: deque[tuple[bytes, socket.socket | None]] = field(default_factory=deque)
    broken: str = ""
    owes: dict[int, float] = field(
        default_factory=dict
    )  # by run: until when it is to report on it (monotonic, seconds)
    suspected_s: float | None = None  # since when it is late
    is_used: bool = False


class LocalRunner:
    """Starts, answers, stops and kills runs. `grace_s` is how long a run that was told to stop may take to get to its
    next unit, `stuck_s` how long the fork server may take to do what it was told before another takes its place. Starts no
    process until the first `start` or `prepare`, where it is given none that is `booted` already."""

    def __init__(
        self, state_dir: Path, *, grace_s: float = 30.0, stuck_s: float = STUCK_S, booted: Booted | None = None
    ) -> None:
        self._state_dir = state_dir
        self._grace_s = grace_s
        self.stuck_s = stuck_s
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._server: _Server | None = None
        self._standbys: list[_Standby] = []  # in the order in which they were asked for
        self._hopeful: list[_Run] = []  # runs that get the next processes which are being made ahead
        self._can_make_ahead = False  # no more where one could not be made, until the next start
        self._runs: dict[int, _Run] = {}
        self._handlers: dict[int, Callable[[], None]] = {}
        self._pending: list[FromRun] = []
        if booted is not None:
            self._adopt(booted)

    def __enter__(self) -> LocalRunner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- what the controller says ------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """Readable whenever `messages` has something to do; the same for as long as the runner lives."""
        return self._epoll.fileno()

    def active(self) -> tuple[int, ...]:
        """The runs whose `Exited` has not been given out yet, in order of their start."""
        ended = [one.run for one in self._pending if isinstance(one, Exited)]
        return (*ended, *self._runs)

    def prepare(self) -> None:
        """A run will probably be started soon: what takes time about that begins now."""
        if self._server is None:
            with contextlib.suppress(OSError):  # then `start` tries again, and says why it cannot
                self._spawn()

    def start(self, order: Order) -> None:
        """Starts an attempt of a run. Where no process can be made, that comes as `Ended` and `Exited`."""
        assert order.run not in self._runs, f"run {order.run} is active already"
        run = self._runs[order.run] = _Run(order)
        self._can_make_ahead = True
        try:
            server = self._server or self._spawn()
            server.is_used = True
            if not self._give(server, run) and not self._hope(server, run):
                self._fork(server, run)
        except OSError as error:
            self._give_up(run, f"No process could be started for the run: {error.strerror}.")

    def make_ahead(self) -> None:
        """Has a process made ahead for a next run, which then waits for no fork. Nothing before the first `start`, nor beside a
        run that is just beginning."""
        if self._server is None or not self._can_make_ahead or len(self._standbys) >= STANDBYS:
            return
        if any(map(_is_young, self._runs.values())):
            return
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError:
            return  # the next start makes its own, or says why not
        ours.setblocking(False)
        self._standbys.append(_Standby(ours))
        self._post(self._server, {"do": "prepare"}, theirs)

    def answer(self, run: int, accepted: bool, value: Any = None, refusal: str = "") -> None:
        """To the run's open unit, intents or wish; nothing where the run is gone meanwhile. Not accepted means
        superseded: the run ends itself at once, without another effect. `value` fulfils a wish; a `refusal` says why it
        cannot be."""
        one = self._runs.get(run)
        if one is None or one.sock is None:
            return
        assert one.open_question, f"run {run} has asked nothing"
        one.open_question = False
        one.outgoing += encode(Answer(accepted, value, refusal))
        self._flush_run(one)

    def stop(self, run: int) -> None:
        """The run stops at its next unit, and is killed `grace_s` from now if it has not got there."""
        one = self._runs.get(run)
        if one is not None and not self._call_off(one):
            one.is_unwanted = True
            self._kill(one, self._grace_s, "killed")
            if one.sock is not None:
                one.outgoing += encode(Stop())
                self._flush_run(one)

    def kill(self, run: int) -> None:
        """At once."""
        one = self._runs.get(run)
        if one is not None and not self._call_off(one):
            one.is_unwanted = True
            self._kill(one, 0.0, "killed")

    def _call_off(self, run: _Run) -> bool:
        """Whether a run that is to end had no process yet; it gets none."""
        if run not in self._hopeful:
            return False
        self._hopeful.remove(run)
        self._exited(run, replace(_gone(run.order, 0, None), killed=True))
        os.eventfd_write(self._wake, 1)
        return True

    def messages(self, timeout_s: float) -> list[FromRun]:
        """What has come; waits for it at most `timeout_s`, not at all for 0."""
        until_s = time.monotonic() + timeout_s
        wait_s = 0.0 if self._pending else timeout_s
        while True:
            for fd, _ in self._epoll.poll(max(0.0, wait_s)):
                self._handlers.get(fd, self._clear_wake)()
            self._end_stuck()
            if self._pending or (wait_s := until_s - time.monotonic()) <= 0:
                break
        out, self._pending = self._pending, []
        return out

    def close(self) -> None:
        """Ends every run and the fork server, and waits until they are gone. The runner is done then."""
        if self._server is not None:
            self._end_server(self._server)
        for run in self._runs.values():
            self._hang_up(run)
        self._runs.clear()
        if not self._epoll.closed:
            self._epoll.close()
            os.close(self._wake)

    # --- the fork server ---------------------------------------------------------------------------------------------

    def _spawn(self) -> _Server:
        return self._adopt(boot(self._state_dir))

    def _adopt(self, booted: Booted) -> _Server:
        self._server = server = _Server(booted.process, booted.control)
        self._watch(booted.control, select.EPOLLIN, lambda: self._serve(server))
        return server

    def _fork(self, server: _Server, run: _Run) -> None:
        """Raises OSError."""
        order = run.order
        run.sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        run.sock.setblocking(False)
        which = {"run": order.run, "attempt": order.attempt, "of": [order.provider, order.job_type]}
        start = {"do": "start", **which, "timeout_s": order.timeout_s}
        self._owes(server, order.run, 0.0)
        self._post(server, start, theirs)
        run.outgoing += encode(order)
        self._flush_run(run)

    def _give(self, server: _Server, run: _Run) -> bool:
        """Whether a process that waits has the run now. The fork server is told first, in the order in which it will learn of
        that process's end."""
        standby, order = next((one for one in self._standbys if one.pid), None), run.order
        if standby is None or server.outgoing:
            return False
        timeout_s = order.timeout_s
        give = {"do": "give", "pid": standby.pid, "run": order.run, "attempt": order.attempt, "timeout_s": timeout_s}
        try:
            server.control.send(json.dumps(give).encode())
        except OSError:  # it is busy, or gone
            return False
        server.owes.pop(order.run, None)
        if order.timeout_s is not None:
            self._owes(server, order.run, order.timeout_s)
        self._standbys.remove(standby)
        run.sock, run.given_s = standby.sock, time.monotonic()
        run.began = Began(order.run, order.attempt, standby.pid, standby.start_ticks)
        self._pending.append(run.began)
        os.eventfd_write(self._wake, 1)
        self._watch(run.sock, select.EPOLLIN, lambda: self._serve_run(run))
        run.outgoing += encode(order)
        self._flush_run(run)
        return True

    def _hope(self, server: _Server, run: _Run) -> bool:
        """Whether a process that is being made ahead will be the run's: it is there sooner than one asked for only now."""
        if not self._may_hope(len(self._hopeful) + 1):
            return False
        self._owes(server, run.order.run, 0.0)
        run.given_s = time.monotonic()
        self._hopeful.append(run)
        return True

    def _may_hope(self, runs: int) -> bool:
        """Whether as many processes are being made, and none is there already."""
        return runs <= len(self._standbys) and not any(one.pid for one in self._standbys)

    def _fulfil(self, server: _Server) -> None:
        """Those that hope get the processes that are there; where fewer come than were hoped for, others."""
        while self._hopeful and not self._may_hope(len(self._hopeful)):
            run = self._hopeful.pop(0)
            if not self._give(server, run):
                self._start_anew(server, run)

    def _start_anew(self, server: _Server, run: _Run) -> None:
        try:
            self._fork(server, run)
        except OSError as error:
            self._give_up(run, f"No process could be started for the run: {error.strerror}.")

    def _post(self, server: _Server, request: dict[str, Any], attached: socket.socket | None = None) -> None:
        server.outgoing.append((json.dumps(request).encode(), attached))
        self._flush_server(server)

    def _flush_server(self, server: _Server) -> None:
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            while server.outgoing:
                packet, attached = server.outgoing[0]
                socket.send_fds(server.control, [packet], [attached.fileno()] if attached else [])
                server.outgoing.popleft()
                if attached is not None:
                    attached.close()
        self._epoll.modify(server.control, select.EPOLLIN | (select.EPOLLOUT if server.outgoing else 0))

    def _serve(self, server: _Server) -> None:
        """Its end is noticed here alone: a broken pipe on sending is followed by an end on receiving."""
        self._flush_server(server)
        try:
            while packet := server.control.recv(2**16):
                self._hear_server(server, json.loads(packet))
        except BlockingIOError:
            return
        except ConnectionResetError:
            pass
        self._server_gone(server)

    def _hear_server(self, server: _Server, report: dict[str, Any]) -> None:
        what = report.pop("is")
        match what:
            case "broken":
                server.broken = report["message"]
                return
            case "prepared" | "unprepared":
                self._hear_of_standby(**report)
                self._fulfil(server)
                return
        run = self._runs[report["run"]]
        server.owes.pop(run.order.run, None)
        match what:
            case "began":
                if run.order.timeout_s is not None:
                    self._owes(server, run.order.run, run.order.timeout_s)
                run.began = Began(**report)
                self._pending.append(run.began)
                if run.sock is not None:
                    self._watch(run.sock, select.EPOLLIN, lambda: self._serve_run(run))
                    self._flush_run(run)
            case "failed":
                self._give_up(run, report["message"])
            case "astray":
                self._gone_astray(server, run)
            case _:
                self._exited(run, Exited(**report))

    def _owes(self, server: _Server, run: int, within_s: float) -> None:
        """It is to report on a run within that time, or shortly after."""
        until_s = time.monotonic() + within_s + self.stuck_s
        server.owes[run] = min(until_s, server.owes.get(run, until_s))

    def _end_stuck(self) -> None:
        """A fork server that hangs would keep its runs for ever: it starts none, and ends none that is overdue. It is late only
        if it still is a while after that was seen: whoever was stopped together with it may have woken first."""
        server, now_s = self._server, time.monotonic()
        if server is None or min(server.owes.values(), default=now_s) >= now_s:
            if server is not None:
                server.suspected_s = None
            return
        if server.suspected_s is None:
            server.suspected_s = now_s
        if now_s - server.suspected_s >= self.stuck_s / 6:
            server.broken = f"It did nothing for {self.stuck_s:.0f} s, and was ended."
            server.process.kill()
            self._server_gone(server)

    def _gone_astray(self, server: _Server, run: _Run) -> None:
        """The process that it was given to had ended before: nothing of it was done, so it gets another one."""
        self._hang_up(run)
        run.began = None
        run.outgoing.clear()
        if run.is_unwanted:
            self._exited(run, replace(_gone(run.order, 0, None), killed=True))
            return
        self._start_anew(server, run)

    def _hear_of_standby(self, pid: int, start_ticks: int | None = None) -> None:
        """One was made, which is the first that was asked for; or that pid has ended, or (0) the first cannot be made."""
        standby = next((one for one in self._standbys if one.pid == (pid if start_ticks is None else 0)), None)
        if standby is None:
            return  # a run has been given to it meanwhile
        if start_ticks is not None:
            standby.pid, standby.start_ticks = pid, start_ticks
        else:
            self._can_make_ahead = False
            standby.sock.close()
            self._standbys.remove(standby)

    def _server_gone(self, server: _Server) -> None:
        """It died by itself, and its runs with it: the kernel kills them. They are reported once that is certain."""
        self._end_server(server)
        for run in list(self._runs.values()):
            if run.began is None:
                why = server.broken or f"It ended with {server.process.returncode}."
                self._give_up(run, f"The process that runs are forked from does not start. {why}"[:MAX_TEXT])
            else:
                end_leftover(run.began.pid, run.began.start_ticks)
                self._exited(run, _gone(run.order, run.began.pid, int(signal.SIGKILL)))

    def _end_server(self, server: _Server) -> None:
        """Closing its socket tells it to end its runs and itself; one that was never asked for a run may not hear it yet."""
        self._server = None
        if not server.is_used:
            server.process.kill()
        for standby in self._standbys:
            standby.sock.close()
        self._standbys.clear()
        self._hopeful.clear()
        self._unwatch(server.control)
        server.control.close()
        for _, attached in server.outgoing:
            if attached is not None:
                attached.close()
        try:
            server.process.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            server.process.kill()
            server.process.wait()

    def _kill(self, run: _Run, within_s: float, why: str) -> None:
        if self._server is not None:
            self._owes(self._server, run.order.run, within_s)
            self._post(self._server, {"do": "kill", "run": run.order.run, "within_s": within_s, "why": why})

    # --- runs --------------------------------------------------------------------------------------------------------

    def _serve_run(self, run: _Run) -> None:
        self._flush_run(run)
        if run.sock is not None and not self._read_some(run, run.sock):
            self._hang_up(run)
            self._kill(run, 0.0 if not run.ended else LINGER_S, "cut")

    def _read_some(self, run: _Run, sock: socket.socket) -> bool:
        """What one turn gives. False where nothing more will come."""
        try:
            data = sock.recv(TURN)
            for payload in run.frames.feed(data):
                self._hear(run, decode_from_run(payload, run.order))
        except BlockingIOError:
            return True
        except ConnectionResetError:
            return False
        except Malformed as error:
            self._refuse(run, str(error))
            return False
        return bool(data)

    def _hear(self, run: _Run, message: FromRun) -> None:
        if run.ended:
            raise Malformed("a message after its last")
        run.has_spoken = True
        match message:
            case Produced() | Intended() | Wanted():
                if run.open_question:
                    raise Malformed("a unit or intents while the ones before have no answer yet")
                run.open_question = True
                _check_new_files(run, message)
            case Ended():
                run.ended = True
                self._kill(run, LINGER_S, "cut")
            case Output():
                run.lines += 1
                if run.lines > MAX_LINES + 2:  # the captured ones and two markers
                    raise Malformed(f"more than {MAX_LINES} lines of output")
            case SecretSeen():
                if message.field in run.secrets:
                    raise Malformed("a secret that was reported before")
                run.secrets.add(message.field)
            case _:
                pass
        self._pending.append(message)

    def _refuse(self, run: _Run, what: str) -> None:
        """A run that says what none may say ends as an error. What it says after its end is its own affair."""
        if not run.ended:
            run.ended = True
            message = f"The provider broke the protocol of a run: {what}."
            self._pending.append(_fatal(run.order, message))

    def _exited(self, run: _Run, exited: Exited) -> None:
        """The process is gone; what it said before still lies in the socket. Bounded, in case that something which it
        left behind goes on talking."""
        for _ in range(MAX_MESSAGE // TURN):
            if run.sock is None or run.began is None or _is_empty(run.sock) or not self._read_some(run, run.sock):
                break
        self._hang_up(run)
        if self._server is not None:
            self._server.owes.pop(run.order.run, None)
        del self._runs[run.order.run]
        self._pending.append(exited)

    def _give_up(self, run: _Run, message: str) -> None:
        """No process came to be."""
        order = run.order
        self._pending.append(Ended(run=order.run, attempt=order.attempt, how="retriable", message=message))
        self._exited(run, _gone(order, 0, None))
        os.eventfd_write(self._wake, 1)

    def _flush_run(self, run: _Run) -> None:
        """A run that is gone takes nothing; its end comes by another way."""
        if run.sock is None:
            return
        with contextlib.suppress(BlockingIOError):
            try:
                while run.outgoing:
                    del run.outgoing[: run.sock.send(run.outgoing)]
            except (BrokenPipeError, ConnectionResetError):
                run.outgoing.clear()
        if run.began is not None:
            self._epoll.modify(run.sock, select.EPOLLIN | (select.EPOLLOUT if run.outgoing else 0))

    def _hang_up(self, run: _Run) -> None:
        if run.sock is not None:
            self._unwatch(run.sock)
            run.sock.close()
            run.sock = None

    # --- the one file descriptor -------------------------------------------------------------------------------------

    def _watch(self, sock: socket.socket, events: int, handler: Callable[[], None]) -> None:
        self._epoll.register(sock, events)
        self._handlers[sock.fileno()] = handler

    def _unwatch(self, sock: socket.socket) -> None:
        if self._handlers.pop(sock.fileno(), None) is not None:
            self._epoll.unregister(sock)

    def _clear_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)


def _is_young(run: _Run) -> bool:
    return not run.has_spoken and time.monotonic() - run.given_s < YOUNG_S


def _check_new_files(run: _Run, message: Produced | Intended | Wanted) -> None:
    """A segment lands once."""
    if isinstance(message, Produced):
        files = {staged.file for staged in message.unit.segments}
        if files & run.files:
            raise Malformed("a segment that an earlier unit has named already")
        run.files |= files


def _fatal(order: Order, message: str) -> Ended:
    return Ended(run=order.run, attempt=order.attempt, how="fatal", message=message)


def _gone(order: Order, pid: int, by: int | None) -> Exited:
    """An end that the fork server could not report."""
    return Exited(run=order.run, attempt=order.attempt, pid=pid, exit_code=None, signal=by, peak_kib=0, cpu_s=0.0)


def _is_empty(sock: socket.socket) -> bool:
    try:
        return not sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return True
