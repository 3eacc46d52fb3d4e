"""The process that listens, and the daemon's side of it: `reconciler.web` in a loop of its own, to which requests are handed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from reconciler.clock import Now
from reconciler.controller.listening import Listening, _Process
from reconciler.data.journal import Bulk, asked_to_close
from reconciler.web import bulk, live, serve
from reconciler.web.answers import Answer
from reconciler.web.app import Endpoint
from reconciler.web.checking import check
from reconciler.web.desk import Desk
from reconciler.web.express import PATH, Lane
from tests.simulation.laws import Broken
from tests.simulation.machine import Loop, Strand
from tests.simulation.people import LIVE

if TYPE_CHECKING:
    from reconciler.controller.hands import Hands
    from tests.simulation.intake import Intake, Letter
    from tests.simulation.world import World


class Checker(bulk.Checker):
    """Goes through bodies in no process of its own."""

    async def check(self, bulk: Bulk, path: str) -> dict[str, Any]:
        return check(asdict(bulk), path)


class Listener:
    """The process that listens: it is born a moment later, and dies whole."""

    def __init__(self, intake: Intake, pid: int) -> None:
        self.intake = intake
        self.world = intake.world
        self.pid = pid
        self.is_dead = self.is_ready = False
        self.strands: list[Strand] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self._desk: Desk | None = None
        self._loop = Loop(self)
        self._loop.set_exception_handler(self._fail)
        self.world.timeline.after(intake.dice.randint(20, 2_000), self._begin)

    def _begin(self) -> None:
        if not self.is_dead:
            self._work(self._open())

    def _work(self, what: Any) -> asyncio.Task[Any]:
        task = self._loop.create_task(what)
        self._tasks.append(task)
        self.spin()
        return task

    async def _open(self) -> None:
        self._desk = desk = serve._open_desk(self.intake.folder, self.intake.limits)
        await desk.senders.read(0)
        desk.commits.start()
        self.is_ready = True
        self.world.note("the process that listens is there")
        self._lane = Lane(lambda: desk, "json")

    def mind(self) -> None:
        """What it does by itself every two seconds; the world has it do so when there is a reason."""
        if self._desk is not None and self.is_ready:
            self._desk.commits.close_by(asked_to_close(self.intake.folder))

    def take(self, letter: Letter, answered: Callable[[Answer], None]) -> None:
        if letter.kind == "live":
            named = [(name.encode(), value.encode()) for name, value in letter.headers.items()]
            ticket = self._lane.admits(PATH + LIVE.encode(), named)
            if ticket is not None and self._lane.take(ticket, letter.body, answered):
                self.spin()
                return
        task = self._work(self._answer(letter))
        task.add_done_callback(lambda done: answered(done.result()))
        self.spin()

    async def _answer(self, letter: Letter) -> Answer:
        desk = self._desk
        assert desk is not None

        async def work(stream: str, headers: Mapping[str, str], query: str, receive: Any) -> Answer:
            if letter.kind == "live":
                return await live.collect(desk, stream, headers, query, receive)
            return await bulk.collect(desk, Checker(), letter.kind, stream, headers, query, receive)  # type: ignore[arg-type]

        pieces = self._pieces(letter.body)

        async def receive() -> dict[str, Any]:
            piece = pieces.pop(0)
            await self._pause(self.intake.dice.choice([0, 5, 200]))
            return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

        scope = {
            "headers": [(name.encode(), value.encode()) for name, value in letter.headers.items()],
            "query_string": b"",
            "path_params": {"stream": LIVE},
        }
        return await Endpoint(letter.kind, lambda: desk, work)._answer(scope, receive)

    def _pieces(self, body: bytes) -> list[bytes]:
        cut = self.intake.dice.randrange(len(body))
        return [body[:cut], body[cut:]] if cut else [body]

    async def _pause(self, milliseconds: int) -> None:
        if milliseconds:
            future = self._loop.create_future()

            def go_on() -> None:
                if not self.is_dead:
                    future.set_result(None)
                    self.spin()

            self.world.timeline.after(milliseconds, go_on)
            await future

    def spin(self) -> None:
        """Whatever can go on in its loop does."""
        while not self.is_dead and self._loop.is_busy:
            self._loop.call_soon(self._loop.stop)
            self._loop.run_forever()

    def _fail(self, _: Any, context: Mapping[str, Any]) -> None:
        error = context.get("exception")
        if not self.is_dead:
            self.world.broken.append(
                error if isinstance(error, Broken) else Broken(f"the process that listens: {context}")
            )

    # --- its end

    def terminate(self) -> None:
        """What is being answered is answered, and all that was accepted is in the journal."""
        self.is_ready = False
        timeline = self.world.timeline
        if self._desk is None:
            self.die("told to end before it was there")
            return
        timeline.pass_until(timeline.true_ms + 10_000, lambda: self.is_dead or all(one.done() for one in self._tasks))
        if self.is_dead:
            return
        ending = self._work(self._desk.commits.close())
        timeline.pass_until(timeline.true_ms + 10_000, lambda: self.is_dead or ending.done())
        if ending.done():
            self._desk = None  # it has closed its files
        self.die("it has ended")

    def die(self, why: str) -> None:
        if self.is_dead:
            return
        self.world.note(f"the process that listens is gone: {why}")
        self.is_dead, self.is_ready = True, False
        self.world.graveyard += [one.code for one in self.strands]
        if self._desk is not None:
            for fd in {self._desk.commits._journal._fd, self._desk.keys._fd} - {-1}:
                _close(fd)
        self.intake.has_died(self)

    def bury(self) -> None:
        """Nothing waits for anything any more."""
        for task in self._tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            if not task.done():
                task.get_coro().close()
        self._tasks.clear()
        self._loop.close()


def _close(fd: int) -> None:
    with contextlib.suppress(OSError):  # it had closed it itself
        os.close(fd)


class SimulatedListening(Listening):
    """The daemon's side of it, where the process is one of the world."""

    def __init__(self, hands: Hands, world: World) -> None:
        super().__init__(hands)
        self._world = world
        self._known: Listener | None = None

    @property
    def has_news(self) -> bool:
        if self._known is not None and self._known.is_dead:
            return True
        if self._pipe < 0:
            return False
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        return bool(poll.poll(0))

    def begin(self, now: Now) -> None:
        """For passes, beside which goes on what a daemon has left."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._has_looked = True
        self.tell()
        if self._world.intake.process is None:
            self._world.intake.begin()

    def _take_over(self, now: Now) -> bool:
        return self._holds(self._world.intake.process, now)

    def _start(self, now: Now) -> None:
        self._holds(self._world.intake.begin(), now)

    def _holds(self, listener: Listener | None, now: Now) -> bool:
        self._known = listener
        if listener is not None:
            self._process = _Process(listener.pid, os.open(os.devnull, os.O_RDONLY), now.alive_ms)
        return listener is not None

    def _has_died(self, process: _Process) -> bool:
        return self._known is None or self._known.is_dead

    def close(self) -> None:
        if self._process is not None and self._known is not None:
            self._known.terminate()
        self._leave()
        super().close()

    def let_go(self) -> None:
        self._leave()
        super().close()

    def _leave(self) -> None:
        if self._process is not None:
            os.close(self._process.handle)
        self._process = self._known = None
