"""What a controller is given that is not the machine's own: a clock, something to wait on, a disk and a record that refuse."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from reconciler.clock import Now
from reconciler.controller.wakeups import Wakeups
from reconciler.repo.hints import Hints
from reconciler.repo.look import Look
from reconciler.repo.write import Writer

if TYPE_CHECKING:
    from tests.simulation.weather import Weather
    from tests.simulation.world import World


class SimulatedClock:
    """Wall time with whatever it is wrong by, and the uptime of one life after those before."""

    def __init__(self, world: World, alive_base_ms: int) -> None:
        self._world = world
        self._base_ms = alive_base_ms
        self._born_ms = world.timeline.true_ms

    def now(self) -> Now:
        timeline = self._world.timeline
        return Now(wall_ms=timeline.wall_ms, alive_ms=self._base_ms + timeline.true_ms - self._born_ms)

    def alive_ms(self) -> int:
        return self.now().alive_ms

    def pause(self, seconds: float) -> None:
        self._world.pause(int(seconds * 1000))


class SimulatedWakeups(Wakeups):
    """Without a pipe and without signals: what is waited for is on the timeline."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.stopping: signal.Signals | None = None
        self.look_wanted = self.whole_wanted = self.ask_wanted = False
        self.is_woken = False

    def __enter__(self) -> SimulatedWakeups:
        self._world.wakeups = self
        return self

    def __exit__(self, *_: object) -> None:
        self._world.wakeups = None

    def wake(self) -> None:
        self.look_wanted = self.is_woken = True

    def ask(self) -> None:
        self.ask_wanted = self.is_woken = True

    def terminate(self) -> None:
        self.stopping = signal.SIGTERM
        self.is_woken = True

    def is_ready(self, fd: int) -> bool:
        return False  # no time passes while the loop is at work, so nothing comes

    def wait(self, fds: tuple[int, ...], timeout_s: float | None) -> None:
        assert timeout_s is not None
        self._world.wait(max(1, int(timeout_s * 1000)))
        self.is_woken = False


class WatchedTree:
    """The real tree; that something has changed in it is told by the world."""

    def __init__(self, tree: Any, world: World) -> None:
        self._tree = tree
        self._world = world

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tree, name)

    def look(self, now_ms: int, grace_ms: int | None = None, *, hinted: bool = False) -> Look:
        self._world.laws.looked()
        look: Look = self._tree.look(now_ms, grace_ms, hinted=hinted)
        return look

    def watch(self, wake: Callable[[], None]) -> Watch:
        hints = None if self._world.mode == "git" else self._tree._hints
        return Watch(self._world, wake, hints)


class Watch:
    """It stands a moment later, and names what happens from then on, as `repo.watch` does."""

    trouble = ""

    def __init__(self, world: World, wake: Callable[[], None], hints: Hints | None) -> None:
        self._world = world
        self._wake = wake
        self._hints = hints
        world.watch = self
        world.timeline.after(5, self.stand)

    def stand(self) -> None:
        if self._world.watch is self:
            if self._hints is not None:
                self._hints.stand()
            self._wake()

    def name(self, path: str) -> None:
        """A path below the root."""
        if self._hints is not None and path:
            self._hints.name([path])
        self._wake()

    def fall(self) -> None:
        if self._hints is not None:
            self._hints.fall()
        self._wake()

    def close(self) -> None:
        self._world.watch = None


class FullDiskWriter(Writer):
    """The real writer, on a disk that may be full."""

    weather: Weather

    @contextlib.contextmanager
    def _folder(self, spec_path: str, *, make: bool = True) -> Iterator[int]:
        if self.weather.strikes("status"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with super()._folder(spec_path, make=make) as folder:
            yield folder


#: What SQLite says, and the code by which that is known.
_SAYS: Final = {
    sqlite3.SQLITE_FULL: "database or disk is full",
    sqlite3.SQLITE_IOERR: "disk I/O error",
    sqlite3.SQLITE_BUSY: "database is locked",
}


class FaultyConnection:
    """SQLite's connection, whose transactions may not begin, and not be committed."""

    def __init__(self, connection: sqlite3.Connection, world: World) -> None:
        self._connection = connection
        self._world = world
        self.execute = self._execute if not world.weather.is_calm else connection.execute

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def commit(self) -> None:
        if self._world.weather.strikes("commit"):
            raise self._refusal(self._world.dice.choice([sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR]))
        self._connection.commit()

    def _execute(self, sql: str, *rest: Any) -> sqlite3.Cursor:
        if sql == "BEGIN IMMEDIATE" and self._world.weather.strikes("locked"):
            raise self._refusal(sqlite3.SQLITE_BUSY)
        return self._connection.execute(sql, *rest)

    def _refusal(self, code: int) -> sqlite3.OperationalError:
        self._world.note(f"SQLite: {_SAYS[code]}")
        error = sqlite3.OperationalError(_SAYS[code])
        error.sqlite_errorcode = code
        return error
