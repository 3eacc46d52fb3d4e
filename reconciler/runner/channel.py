"""The run's end of its socket: what the work says to the controller and is told by it.

One thread, the warden, reads the socket and the pipe that stdout and stderr lead into; the work runs in the main
thread. When the controller is gone, in whatever way, the socket ends and the warden kills the run's whole group at
once, whatever the work is doing: a run never outlives its controller (design, section 5).
"""

from __future__ import annotations

import _thread
import contextlib
import fcntl
import os
import queue
import select
import signal
import socket
import sys
import threading
from typing import Any, Final, NoReturn

from reconciler.core.messages import Ended, Order, Output
from reconciler.errors import Fatal, Retriable
from reconciler.runner.capture import Capture
from reconciler.runner.frames import MAX_MESSAGE, Frames
from reconciler.runner.wire import Answer, Stop, decode_to_run, encode

#: How long the last lines may take to come out of the pipe once the work has ended. Only a child process that still
#: holds the pipe makes a run wait for it.
DRAIN_S: Final = 2.0
#: What stdout and stderr may hold before whoever writes has to wait for the warden.
_PIPE_BYTES: Final = 2**20


class Channel:
    """Made in a fresh run process, from its socket. `order` is what the controller sent first."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._frames = Frames(limit=None)
        self._sending = threading.Lock()
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._drained = threading.Event()
        self._pipe = -1
        self.order = self._receive_order()
        self.capture = Capture(lambda text: self.tell(Output(self.order.run, text)))

    def start(self) -> None:
        """Leads stdout and stderr into the pipe and starts the warden."""
        self._pipe, into = os.pipe()
        with contextlib.suppress(PermissionError):  # where this user's pipes have used up what the kernel grants
            fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        os.dup2(into, 1)
        os.dup2(into, 2)
        os.close(into)
        # A bare thread, without the handshake and the bookkeeping of threading.Thread: half a millisecond of each run.
        _thread.start_new_thread(self._watch, ())

    def tell(self, message: object) -> None:
        """Sends what needs no answer."""
        self._send(encode(message))

    def ask(self, message: object, what: str) -> Any:
        """Sends a unit, intents or a wish and returns once the controller has committed or fulfilled them, with what it
        brought. Where it refuses, because a newer run or generation has taken over, the run ends here and now: no code
        of the provider runs any more. Raises Fatal for what cannot be sent, Retriable for a wish that cannot be
        fulfilled."""
        try:
            data = encode(message)
        except (TypeError, ValueError, RecursionError) as error:
            raise Fatal(f"{what} cannot be kept as JSON: {error}") from error
        if len(data) - 4 > MAX_MESSAGE:
            raise Fatal(f"{what} is {len(data)} bytes as JSON; at most {MAX_MESSAGE} are allowed.")
        self._send(data)
        answer = self._answers.get()
        if not answer.accepted:
            self.end(Ended(run=self.order.run, attempt=self.order.attempt, how="stopped", message="superseded"))
        if answer.refusal:
            raise Retriable(answer.refusal)
        return answer.value

    def stopping(self) -> bool:
        return self._stop.is_set()

    def end(self, ended: Ended) -> NoReturn:
        """Sends the last output and the last message, and leaves without running anything else: the exit handlers of C
        libraries hang or crash in a fork."""
        _flush()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        self.capture.close(whole=self._drained.wait(DRAIN_S))
        self.tell(ended)
        os._exit(0 if ended.how in ("succeeded", "stopped") else 1)

    def _receive_order(self) -> Order:
        while data := self._sock.recv(2**18):
            if payloads := self._frames.feed(data):
                order = decode_to_run(payloads[0])
                assert isinstance(order, Order)
                for payload in payloads[1:]:  # a stop may be close behind
                    self._take(payload)
                return order
        os._exit(1)  # the controller was gone before it said what to do

    def _send(self, data: bytes) -> None:
        try:
            with self._sending:
                self._sock.sendall(data)
        except OSError:
            _die()

    def _watch(self) -> None:
        try:
            self._serve()
        finally:
            _die()  # without its warden a run could outlive its controller

    def _serve(self) -> NoReturn:
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        poll.register(self._pipe, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd != self._pipe:
                    self._hear()
                elif data := os.read(fd, 2**16):
                    self.capture.feed(data)
                else:
                    poll.unregister(fd)
                    self._drained.set()

    def _hear(self) -> None:
        data = self._sock.recv(2**16)
        if not data:
            _die()
        for payload in self._frames.feed(data):
            self._take(payload)

    def _take(self, payload: bytes) -> None:
        match decode_to_run(payload):
            case Answer() as answer:
                self._answers.put(answer)
            case Stop():
                self._stop.set()
            case Order():
                raise AssertionError("a second order")


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # where the provider has closed or replaced it
            stream.flush()


def _die() -> NoReturn:
    """The whole group, so that a command which this run started dies with it."""
    os.killpg(0, signal.SIGKILL)
    os._exit(1)
