"""One world: what it is made of, how a controller lives in it, and how it comes to rest."""

from __future__ import annotations

import hashlib
import math
import random
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from reconciler.clock import iso
from reconciler.controller.hands import Hands
from reconciler.controller.loop import Controller
from reconciler.controller.observe import MARK, identity_of
from reconciler.controller.settings import Settings, Silent
from reconciler.controller.trees import installed
from reconciler.core.prune import Budget
from reconciler.errors import ReconcileError
from reconciler.record import database
from reconciler.record.store import Record
from reconciler.repo.commit import CommitTree
from reconciler.repo.history import WorkTreeOrigin
from reconciler.repo.source import LocalSource
from reconciler.repo.tree import Tree
from tests.end_to_end.inprocess import Died, Fuse, Mortal
from tests.simulation import disk
from tests.simulation.backfills import Backfills
from tests.simulation.changing import Changing
from tests.simulation.drawing import draw_jobs
from tests.simulation.feeds import Feeds
from tests.simulation.forgets import Forgets
from tests.simulation.hands import (
    FaultyConnection,
    FullDiskWriter,
    SimulatedClock,
    SimulatedWakeups,
    Watch,
    WatchedTree,
)
from tests.simulation.intake import Intake
from tests.simulation.laws import Broken, Laws, require
from tests.simulation.listener import SimulatedListening
from tests.simulation.lookups import Lookups
from tests.simulation.machine import simulated
from tests.simulation.mirrors import Mirrors
from tests.simulation.network import Receiver
from tests.simulation.outboxes import Outboxes
from tests.simulation.parts import LATER, Part, has, is_wide
from tests.simulation.people import People, Wanted, make_repository
from tests.simulation.processes import Process, Runner
from tests.simulation.references import References
from tests.simulation.refusals import Refusals
from tests.simulation.renames import Renames
from tests.simulation.returns import Returns
from tests.simulation.slots import Slots
from tests.simulation.streams import Streams
from tests.simulation.terms import Terms
from tests.simulation.timeline import Timeline
from tests.simulation.tokens import Tokens
from tests.simulation.truth import Truth
from tests.simulation.weather import WORST, Weather

SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000
#: The loop looks at least so often when nothing happens; in a simulation that jumps over it, so often.
LOOP_MS: Final = 10_000
#: So many turns no world needs.
MAX_TURNS: Final = 20_000
#: How long a world may take to come to rest once nothing goes wrong any more.
REST_MS: Final = 60 * DAY_MS
#: Worlds begin in the years 2026 to 2028, at a time when clocks are about to be set as well as at any other.
BEGINS: Final = 1_767_225_600_000
EVES: Final = (1_774_656_000_000, 1_792_800_000_000, 1_773_014_400_000, 1_793_491_200_000)
SPANS: Final = (2 * DAY_MS, 9 * DAY_MS, 60 * DAY_MS, 400 * DAY_MS, 1_200 * DAY_MS)


class World:
    """Everything is drawn from `seed`. `live` lives through it; raises Broken where a law does not hold."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed = seed
        self.folder = folder
        dice = self.dice = random.Random(f"world {seed}")
        self.trace: list[str] = []
        self.span_ms = dice.choice(SPANS)
        began_ms = dice.choice([dice.choice(EVES), BEGINS + dice.randrange(700) * DAY_MS]) + dice.randrange(DAY_MS)
        self.timeline = Timeline(began_ms)
        self.is_wide = is_wide(seed)
        self._rests = False
        self.weather = Weather(random.Random(f"weather {seed}"), {**WORST, **disk.WORST} if self.is_wide else WORST)
        self.mode = dice.choices(("daemon", "passes", "git"), (6, 2, 2))[0]
        self.root, self.state, self.inbox = folder / "jobs.d", folder / "state", folder / "inbox"
        self.root.mkdir()
        self.inbox.mkdir()
        self.is_tracked = self.mode != "git" and seed >= LATER and has(seed, "tracked", 50)
        if self.mode == "git" or self.is_tracked:
            make_repository(self.root / ".git")
        self.budget = Budget(max_deletes=dice.choice([1, 5, 100]), max_percent=dice.choice([10, 50, 100]))
        self.slots = Slots()
        self.streams = Streams(self)
        self.receiver = Receiver(
            self.note, lambda one: one.endswith("7") and self.has_poison, lambda one: 1 + self.intake.doubts(one)
        )
        self.has_poison = dice.random() < 0.3
        self.people = People(self, random.Random(f"people {seed}"), self.root)
        self.mirrors = Mirrors(self, seed)
        self.lookups = Lookups(self, seed)
        self.forgets = Forgets(self, seed)
        self.process_at: dict[Any, Process] = {}
        self.intake = Intake(self, seed)
        self.feeds = Feeds(self, seed)
        self.synced = disk.Synced(self)
        self.truth = Truth(self)
        self.changing = Changing(self, seed) if self._has("changing", 60) else None
        self.tokens = Tokens(self, seed) if has(seed, "tokens", 40) else None
        self.refusals = Refusals(self, seed) if self._has("refusals", 70) else None
        self.references = References(self, seed) if self._has("references", 50) else None
        self.backfills = Backfills(self, seed) if self._has("backfills", 50) else None
        self.returns = Returns(self, seed) if has(seed, "returns", 50) else None
        renames = Renames(self, seed) if has(seed, "renames", 40) else None
        parts = (
            self.tokens, self.changing, self.refusals, self.references, self.backfills, self.returns, renames,
            Outboxes(self, seed) if has(seed, "outboxes", 40) else None,
            Terms(self, seed) if seed >= LATER and has(seed, "terms", 60) else None,
        )  # fmt: skip
        self.parts: list[Part] = [one for one in parts if one is not None]
        if self.is_wide and self.mirrors.there:
            self.parts.append(self.truth)
        self.laws = Laws(self)
        self.run_clock = SimulatedClock(self, 0)
        self.record: Record | None = None
        self.wakeups: SimulatedWakeups | None = None
        self.watch: Watch | None = None
        self.listening: SimulatedListening | None = None
        self.runner: Runner | None = None
        self.broken: list[Broken] = []
        self.graveyard: list[Any] = []
        self.job_of_run: dict[int, str] = {}
        self._clock: list[tuple[int, int]] = [(0, 0)]
        self.lives = 0
        self.turns = 0
        self._pids = self._stamps = 0
        self._is_doomed = False
        self._rests_ms = 0
        self.all_streams: list[str] = []
        self.all_jobs: dict[str, Wanted] = {}
        self.idents: dict[str, str] = {}  # of jobs that were renamed, by each of their names
        self.renamed: set[str] = set()  # the names that they had before

    def _has(self, what: str, percent: int) -> bool:
        """Whether it has what only worlds with people can have."""
        return self.mirrors.there and has(self.seed, what, percent)

    # --- small things

    def note(self, text: str) -> None:
        self.trace.append(f"{self.timeline.true_ms:>13,} {iso(self.timeline.wall_ms)} {text}")

    @property
    def digest(self) -> str:
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()[:16]

    @property
    def rests(self) -> bool:
        """Whether nothing goes wrong any more, and nothing new comes."""
        return self._rests

    def new_clock(self) -> SimulatedClock:
        """That of a process which begins now."""
        return SimulatedClock(self, 0)

    def next_pid(self) -> int:
        self._pids += 1
        return 1_000_000 + self._pids

    def next_stamp(self) -> int:
        self._stamps += 1
        return self._stamps

    def tell_of_change(self, path: str) -> None:
        if self.watch is not None:
            self.watch.name(path)

    # --- its life

    def live(self) -> None:
        self.note(f"seed {self.seed}: {self.mode}, {self.span_ms // DAY_MS} days")
        jobs = draw_jobs(self)
        for stream in self.streams.sources:
            (self.inbox / stream).mkdir()
        self.people.declare(jobs)
        self._plan_events()
        while self.timeline.true_ms < self.span_ms:
            self._live_once()
            self._dead_for(self._downtime_ms())
        self._come_to_rest()

    def _plan_events(self) -> None:
        """When what happens; a busy world has a hundred things in it, however long it is."""
        dice = self.dice
        deeds: list[tuple[int, Callable[[], str]]] = [
            (dice.randint(5, 25), self.people.edit),
            (dice.randint(8, 25), self.streams.bring),
            (dice.randint(2, 12), self.weather.change),
            (dice.choice([0, 0, 2, 5]), self._step_clock),
        ]
        if self.mirrors.there:
            deeds += [(dice.choice([0, 2, 4]), self.mirrors.change_limit), (6, self.mirrors.approve)]
        if self.forgets.there:
            deeds += [(dice.randint(1, 4), self.forgets.forget), (dice.randint(0, 3), self.forgets.rebuild)]
        if self.lookups.there:
            deeds += [(dice.randint(1, 8), self.lookups.change)]
        if self.feeds.there:
            deeds += [(dice.randint(5, 15), self.feeds.add)]
        if self.intake.there:
            deeds += [(dice.randint(10, 30), self.intake.send), (dice.choice([0, 2, 6]), self.intake.kill)]
            deeds += [(8, self.intake.weather.change), (6, self.intake.approve)]
        for part in self.parts:
            deeds += part.deeds()
        for count, deed in deeds:
            for _ in range(count):
                self.timeline.after(dice.randrange(self.span_ms), self.noted(deed))

    def noted(self, deed: Callable[[], str]) -> Callable[[], None]:
        def act() -> None:
            if not self._rests:
                self.note(f"{deed.__name__.strip('_')}: {deed()}")

        return act

    def _step_clock(self) -> str:
        wrong_ms = self.dice.choice((0, 0, -700, 700, -5 * MINUTE_MS, HOUR_MS, -HOUR_MS, 40 * DAY_MS, -40 * DAY_MS))
        self._set_clock(wrong_ms)
        return f"the clock is wrong by {wrong_ms} ms"

    def _set_clock(self, wrong_ms: int) -> None:
        if wrong_ms != self.timeline.wrong_ms:
            self.timeline.wrong_ms = wrong_ms
            self._clock.append((self.timeline.true_ms, wrong_ms))

    @property
    def clock_steps(self) -> int:
        return len(self._clock)

    def was_wrong_by(self, since_ms: int) -> int:
        """By how much the clock has been set in all since then."""
        before = [wrong_ms for at_ms, wrong_ms in self._clock if at_ms <= since_ms]
        shown = [before[-1], *(wrong_ms for at_ms, wrong_ms in self._clock if at_ms > since_ms)]
        return max(shown) - min(shown)

    def _downtime_ms(self) -> int:
        if self.mode == "passes":
            return max(SECOND_MS, int(self.span_ms / 60 * self.dice.random()))
        return self.dice.choice([0, SECOND_MS, MINUTE_MS, HOUR_MS, self.span_ms // 30])

    def _dead_for(self, milliseconds: int) -> None:
        self.timeline.pass_until(self.timeline.true_ms + milliseconds)

    def _live_once(self) -> None:
        """A controller lives: until it dies at a call, is killed or told to end, or the world is over."""
        dice = self.dice
        fuse = None
        if not self._rests:
            kind = dice.choice(("call", "call", "kill", "end", "long"))
            if kind == "call":
                fuse = Fuse(round(math.exp(dice.random() * math.log(3_000))) + 1)
            life_ms = self.span_ms if kind == "long" else int(self.span_ms / 6 * dice.random())
            self._end_later(life_ms, kind)
        self.lives += 1
        self._is_doomed = False
        self.note(f"a controller begins{'' if fuse is None else f', and dies at its deed {fuse.left}'}")
        try:
            self._act(fuse)
        except Died as died:
            self.note(f"it dies: {died}")
        except ReconcileError as error:
            self.note(f"it gives up: {type(error).__name__}: {self._without_folder(str(error))}")
            require(not self.weather.is_calm, f"nothing is wrong, and it gives up: {error}")
        if self.broken:
            raise self.broken[0]

    def _without_folder(self, text: str) -> str:
        return text.replace(str(self.folder), "")

    def _end_later(self, life_ms: int, kind: str) -> None:
        number = self.lives + 1

        def end() -> None:
            if self.lives != number or self.wakeups is None or self._rests:
                return
            if kind == "end":
                self.wakeups.terminate()
            else:
                self._is_doomed = True

        self.timeline.after(max(1, min(life_ms, self.span_ms - self.timeline.true_ms)), end)

    def _act(self, fuse: Fuse | None) -> None:
        record = self._open()
        self.record = record
        self.runner = Runner(self)
        try:
            hands = self._hands(record)
        except BaseException:
            record.close()
            raise
        tree: Any = hands.tree
        if fuse is not None:
            mortal: dict[str, Any] = {
                name: Mortal(getattr(hands, name), fuse, name) for name in ("record", "tree", "writer", "runner")
            }
            hands = replace(hands, **mortal)
        try:
            self.laws.begins()
            record.audit.begin(hands.clock.now().wall_ms)
            controller = Controller(hands)
            if self.intake.there:
                self._listen(controller, hands)
            if self.mode == "passes":
                self.note(f"a pass ends: {controller.run_pass().exit_code}")
            else:
                controller.watch()
                self.note("it ends")
            self.laws.check()
        except (Died, ReconcileError):
            self.laws.check()  # what it did before it died, by the tree as it was then
            raise
        finally:
            self.runner.close()
            self.watch = self.listening = None
            tree.close()
            record.close()
            self.record = self.runner = None

    def _listen(self, controller: Controller, hands: Hands) -> None:
        """The controller keeps a process that listens; beside passes goes on what a daemon has left."""
        controller._listening = self.listening = SimulatedListening(hands, self)
        if self.mode == "passes":
            self.listening.begin(hands.clock.now())

    def _open(self) -> Record:
        """The writer's record, on a disk that may refuse."""
        database.prepare_state(self.state)
        lock = database.WriterLock(self.state / "lock")
        lock.acquire()
        try:
            connection: Any = database.open_for_writing(self.state)
        except BaseException:
            lock.release()
            raise
        connection.execute("PRAGMA synchronous = OFF")  # nothing here loses power
        if not self.weather.is_calm:
            connection = FaultyConnection(connection, self)
        return Record(connection, lock, self.state)

    def _hands(self, record: Record) -> Hands:
        settings = Settings(
            root=self.root, state=self.state, allow_paths=(self.inbox,), budget=self.budget, slots=2,
            source="git:main" if self.mode == "git" else "", data_root=self.folder if self.mode == "git" else None,
            status_dir=self.state / "status" if self.mode == "git" else None,
            listen="127.0.0.1:1" if self.intake.there else "",
        )  # fmt: skip
        cache = self.state / "cache"
        tree: Any
        origin: Any
        mark = str(record.setting(MARK, ""))
        if self.mode == "git":
            source = LocalSource(self.root, "git:main")
            tree = CommitTree(source, cache, mark=mark, identity=record.id, version="1", catalogue=installed)
            origin = tree
        else:
            identity = identity_of(record)
            tree = Tree(
                self.root, cache, identity=identity, version="1", catalogue=installed, told=not mark, moment=_long_after
            )
            origin = WorkTreeOrigin(self.root if self.is_tracked else self.folder, cache)
        writer = FullDiskWriter(self.root, settings.status_dir, is_private=settings.keeps_statuses)
        writer.weather = self.weather
        clock: Any = SimulatedClock(self, record.alive_ms)
        return Hands(
            settings=settings,
            record=record,
            tree=WatchedTree(tree, self),
            origin=origin,
            writer=writer,
            runner=self.runner,  # type: ignore[arg-type]
            end_leftover=lambda *_: False,
            clock=clock,
            chance=self.dice.random,
            listener=Silent(),
            catalogue=installed,
            wakeups=lambda: SimulatedWakeups(self),
        )

    # --- waiting

    def wait(self, timeout_ms: int) -> None:
        """The loop has nothing to do: until something happens, or that time is over. Where the loop would only wake to find
        nothing, the world goes on to what comes next."""
        self.turns += 1
        require(self.turns < MAX_TURNS, "the loop turns and turns")
        self._look_after()
        assert self.record is not None
        assert self.runner is not None
        if timeout_ms >= LOOP_MS:
            timeout_ms = self._idle_ms(timeout_ms)
        self.timeline.pass_until(self.timeline.true_ms + timeout_ms, self._has_news)
        self._look_after()
        if self._is_doomed:
            raise Died("killed")

    def _idle_ms(self, timeout_ms: int) -> int:
        assert self.record is not None
        next_ms = self.record.jobs.next_wake_ms()
        is_awaited = self.intake.waits() or self.forgets.is_under_way() or self._awaits_profiles()
        times = [MINUTE_MS if is_awaited else DAY_MS * 10] + (
            [] if next_ms is None else [next_ms - self.timeline.wall_ms]
        )
        return max(timeout_ms, min(times))

    def _awaits_profiles(self) -> bool:
        """Whether they are built by themselves in a moment, and nothing else is to come."""
        return self._rests and self.truth in self.parts and bool(self.truth.unfinished())

    def _has_news(self) -> bool:
        assert self.runner is not None
        assert self.wakeups is not None
        return (
            bool(self.runner.has_news or self.wakeups.is_woken or self._is_doomed or self.broken)
            or self.intake.has_news
        )

    def _look_after(self) -> None:
        if self.broken:
            raise self.broken[0]
        self.laws.check()
        wakeups = self.wakeups
        if (
            self._rests
            and self.mode != "passes"
            and wakeups is not None
            and wakeups.stopping is None
            and self.laws.is_still()
        ):
            wakeups.terminate()
        if self._rests and self.timeline.true_ms > self._rests_ms + REST_MS:
            self.laws.check_end()

    def pause(self, milliseconds: int) -> None:
        self.timeline.pass_until(self.timeline.true_ms + milliseconds)

    # --- the end

    def _come_to_rest(self) -> None:
        """Nothing goes wrong any more; what is wanted comes true, and stays."""
        self.timeline.pass_until(self.timeline.true_ms + MINUTE_MS)  # whatever is under way gets there
        self._rests = True
        self.weather.calm()
        self._set_clock(0)
        self.mirrors.settle_down()
        self.intake.settle_down()
        for part in self.parts:
            part.settle_down()
        self.people.settle_down()
        self.note("it is calm")
        self._rests_ms = self.timeline.true_ms
        self._settle_until(self._rests_ms + REST_MS)
        self._check_still()

    def _settle_until(self, ends_ms: int) -> None:
        while True:
            self._live_once()
            if self._is_still():
                return
            if self.timeline.true_ms >= ends_ms:
                with Record.reading(self.state) as self.record:
                    self.laws.check_end()
            self._dead_for(HOUR_MS)

    def _is_still(self) -> bool:
        with Record.reading(self.state) as self.record:
            still = self.laws.is_still()
        self.record = None
        return still

    def _check_still(self) -> None:
        with Record.reading(self.state) as self.record:
            self.laws.check_end()
            found = self.record.check()
            require(not found, f"the record is not sound: {found}")
            head, wrong = self.record.audit.check()
            require(wrong is None, f"the audit log is broken: {wrong}")
            folded = self.record.setting("foldings", 0)
        self.record = None
        self._rest_once(head.count, folded)

    def _rest_once(self, audited: int, folded: Any) -> None:
        """A further look changes nothing."""
        self._live_once()
        with Record.reading(self.state) as self.record:
            self.laws.check_end()
            entries = self.record.audit.entries(after=audited)
            done = [one for one in entries if one.action != "expire"]  # of what was deleted: that only takes time
            require(
                self.record.setting("foldings", 0) == folded, "a further pass folds something, though nothing has come"
            )
        require(not done, "a further pass does something, though nothing has changed")
        self.record = None
        self.note(f"still: {audited} entries in the audit log")

    def takes_approval(self) -> bool:
        """Whether somebody has approved deletions since this was last asked."""
        return self.returns is not None and self.returns.takes_approval()

    def is_served(self, name: str) -> bool:
        """Whether a job is to do all that it can: nothing holds it back, nor any that it depends on."""
        jobs = self.people.versions[-1].jobs
        job = jobs.get(name)
        return job is not None and not job.suspend and not job.flaw and all(map(self.is_served, job.needs))


def _long_after() -> int:
    """No two contents of a file have one stamp here (`People`), however shortly after one another they are read."""
    return 1 << 62


def live(seed: int) -> World:
    """Lives through the world of a seed, in a folder in memory where there is one. Raises Broken, with the world's trace."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="reconcile-world-", dir=memory if memory.is_dir() else None))
    world = World(seed, folder)
    try:
        with simulated(world):
            world.live()
    except Broken as error:
        error.trace = world.trace  # type: ignore[attr-defined]
        raise
    except Exception as error:
        error.trace = world.trace  # type: ignore[attr-defined]
        raise
    finally:
        world.intake.close()
        _bury(world)
        shutil.rmtree(folder, ignore_errors=True)
    return world


def _bury(world: World) -> None:
    """What was killed while it waited is let go."""
    for code in world.graveyard:
        if not code.dead:
            code.throw()
    world.graveyard.clear()
