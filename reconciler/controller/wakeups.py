"""What wakes the loop: a byte in a pipe. Signals, the watch's thread and the loop's own timer only wake it; what there
is to do is found by looking (house style, "wake, then look")."""

from __future__ import annotations

import os
import select
import signal
from types import FrameType, TracebackType
from typing import Final

_HANDLED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Wakeups:
    """A pipe that signal handlers and other threads write to, and the flags that they leave. A context manager that
    puts the process's signal handlers back. One within another: whoever is told to stop tells the other."""

    def __init__(self) -> None:
        self._read_fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._before: dict[int, object] = {}
        self._before_fd = -1
        self.stopping: signal.Signals | None = None
        self.look_wanted = False
        self.whole_wanted = False
        self.ask_wanted = False

    def __enter__(self) -> Wakeups:
        for number in _HANDLED:
            self._before[number] = signal.signal(number, self._on_signal)
        self._before_fd = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        if (around := self._around()) is not None:
            self.stopping = around.stopping
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(self._before_fd)
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        if (around := self._around()) is not None:
            around.stopping = around.stopping or self.stopping
        os.close(self._read_fd)
        os.close(self._write_fd)

    @property
    def exit_code(self) -> int:
        """That of a daemon which was told to stop: SIGTERM ends it as it should, SIGINT interrupts it."""
        return 0 if self.stopping == signal.SIGTERM else 130

    def _around(self) -> Wakeups | None:
        """The one within which this one is."""
        owner = getattr(self._before[signal.SIGTERM], "__self__", None)
        return owner if isinstance(owner, Wakeups) else None

    def wake(self) -> None:
        """Something may have changed in the tree. May be called from any thread."""
        self.look_wanted = True
        try:
            os.write(self._write_fd, b"w")
        except (BlockingIOError, OSError):
            return  # the pipe is full: the loop will wake anyway; or closed: the loop has ended

    def wake_whole(self) -> None:
        """The same, where nobody names what: the look is to be at everything."""
        self.whole_wanted = True
        self.wake()

    def take_whole(self) -> bool:
        """Whether the look that now begins is to be at everything. A signal may come at any moment: what it sets is cleared
        only where it was seen."""
        if self.whole_wanted:
            self.whole_wanted = False
            return True
        return False

    def wait(self, fds: tuple[int, ...], timeout_s: float | None) -> None:
        """Returns when one of `fds` is readable, something woke the loop, or the time is over."""
        poll = select.poll()
        for fd in (self._read_fd, *fds):
            poll.register(fd, select.POLLIN)
        poll.poll(None if timeout_s is None else max(0, int(timeout_s * 1000) + 1))
        self._drain()

    def is_ready(self, fd: int) -> bool:
        """Whether `wait` would return at once because of `fd`."""
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(0))

    def _drain(self) -> None:
        try:
            while os.read(self._read_fd, 4096):
                pass
        except BlockingIOError:
            return

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self.look_wanted = self.whole_wanted = self.ask_wanted = True
        else:
            self.stopping = signal.Signals(number)
