"""Output that nobody reads never holds the daemon up.

A pipe whose reader hangs (a log shipper, a paused terminal, `| less`) is full after 64 KiB, and whoever writes to it waits for
as long as that lasts. The daemon writes as long as there is room; what comes after waits in memory, in order, for a thread
that writes it when it is read. Beyond KEPT lines the oldest give way, and how many is said. The record and the logs have all
of them anyway.
"""

from __future__ import annotations

import os
import select
import stat
import threading
from collections import deque
from typing import Final, TextIO, cast

#: Lines that wait at most.
KEPT: Final = 10_000
#: What a pipe with any room at all takes at once (POSIX's PIPE_BUF on Linux).
AT_ONCE: Final = 4096
#: How long the end of the program waits for a reader.
LAST_WORDS_S: Final = 2.0


class Outlets:
    """The lines of both outputs in their one order."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._lost = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def write(self, fd: int, data: bytes) -> None:
        """At once where there is room, else later. Raises OSError where it is written at once and cannot be."""
        with self._lock:
            if not self._waiting and self._thread is None and len(data) <= AT_ONCE and _has_room(fd):
                os.write(fd, data)
                return
            if len(self._waiting) >= KEPT:
                self._waiting.popleft()
                self._lost += 1
            self._waiting.append((fd, data))
            if self._thread is None:
                self._thread = threading.Thread(target=self._drain, name="output", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Waits a moment for what is left to be read."""
        thread = self._thread
        if thread is not None:
            thread.join(LAST_WORDS_S)

    def _drain(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                fd, data = self._waiting.popleft()
                lost, self._lost = self._lost, 0
            try:
                if lost:
                    _write_all(fd, f"({lost:,} lines were left out here, because nobody read them)\n".encode())
                _write_all(fd, data)
            except OSError:  # the reader has gone; the daemon goes on in silence
                continue


class Outlet:
    """One text stream of the two, as far as `Terminal` needs it."""

    def __init__(self, stream: TextIO, outlets: Outlets) -> None:
        self._stream = stream
        self._outlets = outlets
        self.encoding = stream.encoding

    def write(self, text: str) -> int:
        self._outlets.write(self.fileno(), text.encode(self.encoding or "ascii", "backslashreplace"))
        return len(text)

    def flush(self) -> None:
        """Nothing is held back here."""

    def fileno(self) -> int:
        return self._stream.fileno()


def outlets_of(out: TextIO | None, err: TextIO | None) -> tuple[TextIO | None, TextIO | None, Outlets]:
    """Both outputs, written to as above where they can be full: pipes and sockets."""
    outlets = Outlets()
    made = [one if one is None or not _can_be_full(one) else cast("TextIO", Outlet(one, outlets)) for one in (out, err)]
    return made[0], made[1], outlets


def _can_be_full(stream: TextIO) -> bool:
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _has_room(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(0))


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]
