"""What the process that listens has of its machine: threads, a queue between them, a disk; and what else the product takes from
Python and the system by itself.

The product's own code runs here unchanged. Its threads are coroutines, so that a process can be killed wherever one of them
waits: between the bytes of a frame, or before they are on the disk. Nothing of a dead process runs on.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import math
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from greenlet import GreenletExit, getcurrent, greenlet

from reconciler.data import content, durable, fold, hands, journal
from reconciler.providers.http import import_json
from reconciler.providers.http import lookups as asking
from reconciler.runner import work
from reconciler.web import commits, keys, serve
from tests.simulation.processes import client_of

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.simulation.listener import Listener
    from tests.simulation.timeline import Entry
    from tests.simulation.world import World

#: The longest that the disk takes for what is to be on it, in milliseconds.
SYNC_MS: Final = 30


class Strand:
    """A thread of a simulated process."""

    current: Strand | None = None

    def __init__(self, process: Listener, work: Callable[[], object]) -> None:
        self.process = process
        self.is_over = False
        self._work = work
        self._code = greenlet(self._run)
        self._wake: Entry | None = None
        self._awaited_by: list[Strand] = []
        process.strands.append(self)

    @property
    def code(self) -> Any:
        return self._code

    def start(self) -> None:
        self.wake_in(0)

    def join(self) -> None:
        """Called in another strand."""
        strand = Strand.current
        if not self.is_over and strand is not None:
            self._awaited_by.append(strand)
            strand.give_way()

    def wake_in(self, milliseconds: int) -> None:
        """It goes on then, and not at any time that was said before."""
        if self._wake is not None:
            self._wake.call_off()
        self._wake = self.process.world.timeline.after(milliseconds, self._go_on)

    def sleep(self, milliseconds: int) -> None:
        self.wake_in(milliseconds)
        self.give_way()

    def give_way(self) -> None:
        """Until it is woken; for good, where its process dies."""
        self.process.world.timeline.main.switch()
        if self.process.is_dead:
            raise GreenletExit

    def _go_on(self) -> None:
        if self.process.is_dead or self.is_over:
            return
        Strand.current = self
        try:
            self._code.switch()
        finally:
            Strand.current = None
        self.process.spin()

    def _run(self) -> None:
        self._work()
        self.is_over = True
        for one in self._awaited_by:
            one.wake_in(0)


class Queue:
    """`queue.SimpleQueue` between strands."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self._waiting: Strand | None = None

    def put(self, item: object) -> None:
        self._items.append(item)
        if self._waiting is not None:
            self._waiting.wake_in(0)

    def get(self, timeout: float) -> Any:
        strand = Strand.current
        assert strand is not None
        if not self._items:
            self._waiting = strand
            strand.sleep(int(timeout * 1000))
            self._waiting = None
        return self.get_nowait()

    def get_nowait(self) -> Any:
        if not self._items:
            raise queue.Empty
        return self._items.popleft()


class Loop(asyncio.SelectorEventLoop):
    """The loop of a simulated process. What it leaves to another thread a strand does."""

    def __init__(self, process: Listener) -> None:
        super().__init__()
        self._process = process

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]
        future = self.create_future()

        def do() -> None:
            try:
                value = func(*args)
            except Exception as error:
                self.call_soon(_settle, future.set_exception, error, future)
            else:
                self.call_soon(_settle, future.set_result, value, future)

        Strand(self._process, do).start()
        return future

    @property
    def is_busy(self) -> bool:
        return bool(self._ready)  # type: ignore[attr-defined]


def _settle(how: Callable[[Any], None], value: Any, future: asyncio.Future[Any]) -> None:
    if not future.done():
        how(value)


class Disk:
    """`os`, where the process that listens writes journals and keys: the disk may refuse, write half, and take its time, and
    the process may die meanwhile."""

    def __init__(self, world: World, *, is_slow: bool) -> None:
        self._world = world
        self._is_slow = is_slow

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def write(self, fd: int, data: Any) -> int:
        strand, strikes, dice = Strand.current, self._world.intake.weather.strikes, self._world.intake.dice
        if strand is None:
            return os.write(fd, data)
        if strikes("torn"):
            os.write(fd, data[: dice.randrange(len(data))])
            strand.process.die("in the middle of a frame")
            strand.give_way()
        if strikes("full"):
            os.write(fd, data[: dice.randrange(len(data))])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(fd, data[: dice.randint(1, len(data))] if dice.random() < 0.3 else data)

    def open(self, path: Any, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT and Strand.current is not None and self._world.intake.weather.strikes("no file"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.open(path, flags, mode)

    def fdatasync(self, fd: int) -> None:
        strand, strikes, dice = Strand.current, self._world.intake.weather.strikes, self._world.intake.dice
        if strand is not None:
            if self._is_slow:
                strand.sleep(dice.randint(0, SYNC_MS))
            about = os.fstat(fd)
            if about.st_size > self._world.intake.synced.get(about.st_ino, 0) and strikes("unsynced"):
                raise OSError(errno.EIO, os.strerror(errno.EIO))

    def ftruncate(self, fd: int, size: int) -> None:
        intake = self._world.intake
        intake.is_cut = Strand.current is None or not intake.weather.strikes("not cut")
        if not intake.is_cut:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        os.ftruncate(fd, size)

    def replace(self, old: Any, new: Any) -> None:
        os.replace(old, new)
        at_ns = self._world.timeline.wall_ms * 1_000_000
        os.utime(new, ns=(at_ns, at_ns))


class AtOnce:
    """An executor that does what it is given before it goes on."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def submit(self, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(work(*arguments))
        return future

    def shutdown(self, **_: object) -> None:
        """Nothing is at work."""


class Log:
    """Where the process that listens says what went wrong."""

    def __init__(self, world: World) -> None:
        self._world = world

    def write(self, text: str) -> None:
        if text.strip():
            self._world.note(f"intake.log: {text.strip()}")

    def flush(self) -> None:
        """There is nothing that waits."""


class _Patient:
    """`os`, where a run would become the slowest of all: here it is not a process of its own."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def nice(self, _: int) -> int:
        return 0


@contextlib.contextmanager
def simulated(world: World) -> Iterator[None]:
    """While a world is lived through, this is its machine."""

    def thread(*, target: Callable[[], object], name: str, daemon: bool) -> Strand:
        assert world.intake.process is not None
        return Strand(world.intake.process, target)

    def read_ahead(source: Any, depth: int, **_: object) -> Generator[Any, None, None]:
        return _ahead(source, world.dice.randint(1, 3))

    def client(**_: object) -> Any:
        return client_of(world.process_at[getcurrent()])

    def event() -> Any:
        process = world.process_at[getcurrent()]
        return SimpleNamespace(wait=lambda seconds: process.sleep(math.ceil(seconds * 1000)))

    def sync(path: Any) -> None:
        """What whoever reads has got onto the disk, the disk has not refused."""
        world.synced.sync(path)
        about = os.stat(path)
        world.intake.synced[about.st_ino] = about.st_size

    def look_at(found: os.stat_result) -> list[int]:
        """A file has no other times than those which the world gives it."""
        return [found.st_size, found.st_mtime_ns, found.st_mtime_ns, found.st_ino]

    places: list[tuple[Any, str, Any]] = [
        (durable, "fsync", world.synced.sync),
        (hands, "fsync", world.synced.sync),
        (journal, "fsync", world.synced.sync),
        (keys, "fsync", world.synced.sync),
        (content, "_look", look_at if world.is_wide else content._look),
        (journal, "os", Disk(world, is_slow=True)),
        (fold, "fsync", sync),
        (keys, "os", Disk(world, is_slow=False)),
        (commits, "threading", SimpleNamespace(Thread=thread)),
        (commits, "queue", SimpleNamespace(SimpleQueue=Queue, Empty=queue.Empty)),
        (commits, "sys", SimpleNamespace(stderr=Log(world))),
        (serve, "Clock", world.new_clock),
        (work, "os", _Patient()),
        (import_json, "ahead", read_ahead),
        (asking, "ThreadPoolExecutor", AtOnce),
        (asking, "Client", client),
        (asking, "Clock", world.new_clock),
        (asking, "threading", SimpleNamespace(Event=event, local=threading.local, Lock=threading.Lock)),
    ]
    before = [getattr(module, name) for module, name, _ in places]
    for module, name, value in places:
        setattr(module, name, value)
    try:
        yield
    finally:
        for (module, name, _), value in zip(places, before, strict=True):
            setattr(module, name, value)


def _ahead(source: Iterator[Any], depth: int) -> Generator[Any, None, None]:
    """So many items are there before the first is taken; an error comes where its item would have."""
    held: deque[Any] = deque()
    failure: BaseException | None = None
    is_over = False
    while held or not is_over:
        while not is_over and len(held) < depth:
            try:
                held.append(next(source))
            except StopIteration:
                is_over = True
            except Exception as error:
                failure, is_over = error, True
        if held:
            yield held.popleft()
    if failure is not None:
        raise failure
