"""In a quarter of the worlds messages also come over HTTP: people send them to a process that listens, which puts them into its
journals, and the controller folds those onto streams.

The process is `reconciler.web`, from a request to its answer, with its loop, its group commit, its keys and its limits; only
that it listens is simulated: a request is handed to it. It dies at any moment, also between the bytes of a frame, goes on
without its controller, is started again by it and ended by it. Senders are patient or not: they say a thing again under its
key where no answer came, and only what was refused where it has none.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import select
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pyarrow.parquet as pq

from reconciler.clock import Now
from reconciler.controller.listening import Listening, _Process
from reconciler.controller.requests import Request
from reconciler.data.journal import INTAKE, Bulk, asked_to_close, listing
from reconciler.record.store import Record
from reconciler.web import bulk, live, serve
from reconciler.web.answers import Answer
from reconciler.web.app import Endpoint
from reconciler.web.checking import check
from reconciler.web.desk import Desk
from reconciler.web.express import PATH, Lane
from reconciler.web.limits import Limits
from tests.simulation.asking import ask
from tests.simulation.laws import Broken, require
from tests.simulation.machine import Loop, Strand
from tests.simulation.people import LIVE
from tests.simulation.weather import Weather

if TYPE_CHECKING:
    from reconciler.controller.hands import Hands
    from tests.simulation.world import World

#: How many worlds in a hundred take messages in.
SHARE: Final = 25
STREAM: Final = LIVE
TOKEN: Final = "a-token-that-nobody-guesses"
#: How long a sender waits for an answer, in milliseconds, and how often it tries.
PATIENCE_MS: Final = 30_000
TRIES: Final = 8
DAY_MS: Final = 86_400_000
#: A stream takes so many messages of one upload unasked, where it says so.
MAX_MESSAGES: Final = 6

#: What can go wrong with the process that listens and on the way to it, and how bad that gets.
WORST: Final[Mapping[str, float]] = {
    "unreachable": 0.9,  # no connection
    "lost request": 0.5,  # never arrives, and no answer comes
    "lost answer": 0.6,  # arrives, and no answer comes
    "slow": 0.5,  # takes minutes
    "torn": 0.2,  # the process dies in the middle of a write
    "full": 0.5,  # the disk takes a part of a write, and no more
    "unsynced": 0.4,  # what was written does not get onto the disk
    "not cut": 0.5,  # nor can what was written be cut off again
}

SPECS: Final = """apiVersion: reconciler/v1
kind: Stream
metadata: {{name: {stream}}}
spec: {spec}
---
apiVersion: reconciler/v1
kind: Authorization
metadata: {{name: shop}}
spec: {{provider: collect, method: bearer, credentials: {{token: {{file: "{token}"}}}}}}
"""


@dataclass
class Letter:
    """What one sender has to say, and what came of it. `decided` are the statuses that the process has answered with, whether
    they got back or not; `arrived` how often it was given to it. `doubts` are refusals of which the disk would let nothing go:
    what neither gets onto the disk for certain nor off it again may be read all the same."""

    number: int
    kind: str  # live, csv or json
    ids: list[str]
    body: bytes
    headers: dict[str, str]
    key: str = ""
    tries: int = 0
    arrived: int = 0
    decided: list[int] = field(default_factory=list)
    doubts: int = 0
    following: Letter | None = None

    @property
    def is_accepted(self) -> bool:
        return any(200 <= one < 300 for one in self.decided)

    @property
    def is_refused(self) -> bool:
        """Whether nothing of it may ever be on the stream."""
        return not self.is_accepted and len(self.decided) == self.arrived and not self.doubts


class Intake:
    """What a world that takes messages in has of its own; nothing where it does not."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        dice = self.dice = random.Random(f"intakes:{seed}")
        self.there = dice.randrange(100) < SHARE
        self.weather = Weather(random.Random(f"intake weather {seed}"), WORST)
        self.folder = world.state / INTAKE
        self.process: Listener | None = None
        self._buried: list[Listener] = []
        self._letters: list[Letter] = []
        self._count = 0
        self.synced: dict[int, int] = {}  # by inode: up to where a reader has seen to it that a journal is on the disk
        self.is_cut = True  # whether the disk has let go of all that it refused
        self._is_gated = dice.random() < 0.4
        self._sizes: dict[str, tuple[list[str], list[int], list[int]]] = {}  # by segment: ids, journals, places
        self._checked_rows = -1
        self.limits = Limits(
            free_bytes=0,
            backlog_bytes=dice.choice([2_000, 20_000, 1 << 30]),
            bulk_backlog_bytes=dice.choice([2_000, 1 << 30]),
            journal_s=max(600, world.span_ms // 40_000),
        )

    # --- what is declared

    def specs(self) -> str:
        token = self.world.folder / "token"
        token.write_text(TOKEN)
        spec = f"{{backfill: {{maxMessages: {MAX_MESSAGES}}}}}" if self._is_gated else "{}"
        return SPECS.format(stream=STREAM, spec=spec, token=token)

    # --- who sends

    def send(self) -> str:
        """Somebody sends something, one message or request after the other."""
        first, before, said = None, None, []
        for _ in range(self.dice.choice([1, 1, 2, 4])):
            letter = self._letter()
            said.append(f"{letter.kind} {' '.join(letter.ids)}")
            first = first or letter
            if before is not None:
                before.following = letter
            before = letter
        assert first is not None
        self.world.timeline.after(0, lambda: self._try(first))
        return "; ".join(said)

    def _letter(self) -> Letter:
        dice = self.dice
        kind = dice.choice(("live", "live", "live", "csv", "json"))
        ids = [f"w{self._count + number}" for number in range(dice.choice([1, 2, 5, 9]))]
        self._count += len(ids)
        rows = [{"id": one, "amount": len(one)} for one in ids]
        match kind:
            case "csv":
                text = "id,amount\n" + "".join(f"{one},{len(one)}\n" for one in ids)
            case "live" if dice.random() < 0.5:
                text = json.dumps(rows)
            case _:
                text = "".join(json.dumps(one) + "\n" for one in rows)
        number = len(self._letters)
        key = f"key-{number}" if dice.random() < 0.6 else ""
        body = text.encode()
        headers = {"authorization": f"Bearer {TOKEN}", "content-length": str(len(body))}
        headers |= {"idempotency-key": key} if key else {}
        letter = Letter(number, kind, ids, body, headers, key)
        self._letters.append(letter)
        return letter

    def _try(self, letter: Letter) -> None:
        """Once more, unless the world rests or the sender has had enough."""
        letter.tries += 1
        if self.world.rests or letter.tries > TRIES:
            self._go_on(letter)
            return
        strikes, dice, timeline = self.weather.strikes, self.dice, self.world.timeline
        if strikes("unreachable") or self.process is None or not self.process.is_ready:
            self._try_later(letter, dice.choice([1_000, 60_000, 3_600_000]))
            return
        there_ms = dice.randint(1, 80) + (dice.randint(1_000, 300_000) if strikes("slow") else 0)
        is_mute = strikes("lost answer")
        heard = Heard(letter, letter.tries)
        if strikes("lost request"):
            is_mute = True
        else:
            timeline.after(there_ms, lambda: self._arrive(letter, heard, is_mute))
        timeline.after(PATIENCE_MS, lambda: self._miss(heard))

    def _arrive(self, letter: Letter, heard: Heard, is_mute: bool) -> None:
        if self.process is None or not self.process.is_ready:
            return
        letter.arrived += 1

        def answered(answer: Answer) -> None:
            require(answer.status != 500, f"the process that listens has a bug: {answer.body}")
            require(
                answer.status not in (429, 503) or "Retry-After" in answer.headers,
                f"{answer.body} says not when to come",
            )
            self.world.note(f"request {letter.number} is answered {answer.status}: {dict(answer.body)}")
            letter.decided.append(answer.status)
            letter.doubts += answer.status == 503 and not self.is_cut
            if not is_mute:
                self.world.timeline.after(self.dice.randint(1, 80), lambda: self._hear(heard, answer))

        self.process.take(letter, answered)

    def _hear(self, heard: Heard, answer: Answer) -> None:
        """An answer gets back; it may be too late."""
        if heard.is_over:
            return
        heard.is_over = True
        if answer.status in (409, 429, 503):
            self._try_later(heard.letter, 1_000 * int(answer.headers["Retry-After"]) + self.dice.randint(0, 60_000))
        else:
            self._go_on(heard.letter)

    def _miss(self, heard: Heard) -> None:
        """No answer has come. What has no key is not said twice: it may have arrived."""
        if heard.is_over:
            return
        heard.is_over = True
        if heard.letter.key:
            self._try_later(heard.letter, self.dice.choice([100, 5_000, 600_000]))
        else:
            self._go_on(heard.letter)

    def _try_later(self, letter: Letter, milliseconds: int) -> None:
        self.world.timeline.after(milliseconds, lambda: self._try(letter))

    def _go_on(self, letter: Letter) -> None:
        following = letter.following
        if following is not None and not self.world.rests:
            self._try(following)

    def approve(self) -> str:
        """Somebody approves every upload that waits."""
        with Record.reading(self.world.state) as record:
            waiting = [one for one in record.uploads.all().values() if not one.is_approved]
        for one in waiting:
            ask(
                self.world,
                Request(do="approve-upload", arguments={"stream": one.stream, "digest": one.digest}, by="ann"),
            )
        return ", ".join(one.digest for one in waiting) or "no upload waits"

    def settle_down(self) -> None:
        self.weather.calm()
        for day in range(60):
            self.world.timeline.after(day * DAY_MS, self.approve)

    # --- the process

    def begin(self) -> Listener:
        assert self.process is None
        self.is_cut = True
        self.process = Listener(self, self.world.next_pid())
        return self.process

    def kill(self) -> str:
        if self.process is None:
            return "nothing listens"
        self.process.die("killed")
        return "the process that listens dies"

    def has_died(self, process: Listener) -> None:
        self._buried.append(process)
        if self.process is process:
            self.process = None

    @property
    def has_news(self) -> bool:
        """Whether the controller has word of something to fold, or the process that it started has died."""
        listening = self.world.listening
        return listening is not None and listening.has_news

    def waits(self) -> bool:
        """Whether the loop may have something to fold by itself."""
        return self.there and bool(self._unfolded())

    def _unfolded(self) -> list[int]:
        record = self.world.record
        assert record is not None
        known, found = record.intake.journals(), listing(self.folder)
        held = {number for number, one in record.uploads.all().items() if not one.is_approved}
        left = [
            one.number for one in found.live if one.size > (known[one.number].mark["at"] if one.number in known else 0)
        ]
        left += [one.number for one in found.bulk if not (one.number in known and known[one.number].whole)]
        return [one for one in left if one not in held]

    def close(self) -> None:
        """The world is over."""
        if self.process is not None:
            self.process.die("the world is over")
        for process in self._buried:
            process.bury()

    # --- laws

    def attempted(self) -> set[str]:
        return {one for letter in self._letters if not letter.is_refused for one in letter.ids}

    def accepted(self) -> list[str]:
        return [one for letter in self._letters if letter.is_accepted for one in letter.ids]

    def check(self) -> None:
        """What is on the stream is what was accepted, or may have been: once, whole, and in the order of its journal."""
        record = self.world.record
        if not self.there or record is None:
            return
        rows = sum(segment.rows for segment in record.streams.segments(STREAM))
        if rows == self._checked_rows:
            return
        self._checked_rows = rows
        ids, journals, places = self._landed()
        doubts = {one: letter.doubts for letter in self._letters for one in letter.ids if letter.doubts}
        twice = sorted(one for one, count in Counter(ids).items() if count > 1 + doubts.get(one, 0))
        require(not twice, f"{STREAM}: messages landed twice: {twice[:5]}")
        there = set(ids)
        strange = sorted(there - self.attempted())
        require(not strange, f"{STREAM}: messages landed that were refused, or never sent: {strange[:5]}")
        seen: dict[int, int] = {}
        for one, journal, place in zip(ids, journals, places, strict=True):
            require(
                seen.get(journal, 0) <= place, f"{STREAM}: {one} stands behind what came later to journal {journal}"
            )
            seen[journal] = place
        self._check_whole(ids)

    def _check_whole(self, ids: list[str]) -> None:
        at = {one: position for position, one in enumerate(ids)}
        for letter in self._letters:
            found = [at[one] for one in letter.ids if one in at]
            if letter.kind == "live" and found:
                whole = list(range(found[0], found[0] + len(letter.ids)))
                require(
                    found == whole, f"{STREAM}: of request {letter.number} ({letter.ids}) only a part landed, or mixed"
                )

    def lacking(self) -> list[str]:
        ids = set(self._landed()[0])
        return [one for one in self.accepted() if one not in ids]

    def unfinished(self) -> list[str]:
        if not self.there:
            return []
        lacking = self.lacking()
        return [f"{STREAM} lacks {len(lacking)} messages that were accepted: {lacking[:5]}"] if lacking else []

    def _landed(self) -> tuple[list[str], list[int], list[int]]:
        """What is on the stream: ids, the journals that they came by, and where in those they stood."""
        world = self.world
        assert world.record is not None
        ids, journals, places = list[str](), list[int](), list[int]()
        for segment in world.record.streams.segments(STREAM):
            if segment.file not in self._sizes:
                path = world.state / "data" / segment.file
                table = pq.read_table(path, columns=["id", "_run", "_unit"], use_threads=False)
                require(table.num_rows == segment.rows, f"{segment.file} holds {table.num_rows} rows")
                columns = [table.column(name).to_pylist() for name in ("id", "_run", "_unit")]
                self._sizes[segment.file] = (columns[0], columns[1], columns[2])
            found = self._sizes[segment.file]
            ids += found[0]
            journals += found[1]
            places += found[2]
        return ids, journals, places


@dataclass
class Heard:
    """One try of a sender, and whether it waits no longer."""

    letter: Letter
    number: int
    is_over: bool = False


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
            ticket = self._lane.admits(PATH + STREAM.encode(), named)
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
            "path_params": {"stream": STREAM},
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
