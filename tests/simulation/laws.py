"""What must hold, whatever happens: all along, and once nothing goes wrong any more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from reconciler.core.rules import Cron, Every, JobRules, rules_of
from reconciler.core.state import Outcome, Owed
from tests.simulation.asking import waits
from tests.simulation.people import FACTS, FEED, LIVE

if TYPE_CHECKING:
    from reconciler.core.messages import Order
    from reconciler.record.jobs import JobRow
    from tests.simulation.people import Version, Wanted
    from tests.simulation.world import World

#: A decision rests on a look, and a look on trees that have stood for a moment.
HINDSIGHT_MS: Final = 10_000
#: What was gone at a look so long ago, and still is, is gone.
BELIEVED_MS: Final = 6_000
#: What a run may still do after its job was suspended: stop at its next unit, or be killed.
STOPPING_MS: Final = 35_000


class Broken(AssertionError):
    """A law does not hold."""


def require(holds: object, what: str) -> None:
    if not holds:
        raise Broken(what)


@dataclass
class Start:
    """A run as it first began, and by which clock."""

    run: int
    true_ms: int
    wall_ms: int
    cause: Owed | None
    rules: JobRules
    clock_steps: int


@dataclass
class Laws:
    """Watches one world."""

    world: World
    starts: dict[str, Start] = field(default_factory=dict)
    _looked_ms: int = 0
    _looks: list[int] = field(default_factory=list)
    _audited: int = 0
    _deleted: dict[str, int] = field(default_factory=dict)
    _checked: Counter[str] = field(default_factory=Counter)

    # --- what was in force

    def begins(self) -> None:
        """A controller that has not looked at anything yet."""
        self._looks = []

    def looked(self) -> None:
        """The controller is looking at the tree."""
        self._looked_ms = self.world.timeline.true_ms
        self._looks.append(self._looked_ms)

    def in_force(self, since_ms: int) -> list[Version]:
        """The versions of the tree that were in force at any time since then."""
        versions = self.world.people.versions
        later = [number for number, one in enumerate(versions) if one.since_ms > since_ms]
        first = (later[0] if later else len(versions)) - 1
        return versions[max(0, first) :]

    def _implied(self, name: str, since_ms: int) -> list[bool]:
        """For each version in force, whether it lets the job run; nothing for one that lacks it."""
        versions = self.in_force(since_ms)
        if any(name in one.flawed for one in versions):
            return [True]
        return [not job.suspend for one in versions for job in self._called(one, name)]

    def _called(self, version: Version, name: str) -> list[Wanted]:
        """The job of this name, also where it has another name there."""
        if name in version.jobs:
            return [version.jobs[name]]
        ident = self.world.idents.get(name, name)
        return [job for job in version.jobs.values() if job.ident == ident]

    def _is_held(self, name: str, *, starts: bool = False) -> bool:
        """Whether the deletion of a job waits: for an approval, because something cannot be read, or because nobody has seen
        for long enough that it is gone; but then nothing `starts`."""
        record = self.world.record
        held = None if record is None else record.prunes.held()
        is_there = any(self._called(one, name) or one.is_flawed for one in self._believed())
        is_unseen = not starts and not self._long_ago()
        return held is not None or is_there or is_unseen or self.world.people.is_making

    def _is_certainly_gone(self, name: str) -> bool:
        """Whether a commit had taken a job out when the controller looked, and nothing held its deletion back."""
        record, people, last = self.world.record, self.world.people, self.world.people.versions[-1]
        held = None if record is None else record.prunes.held()
        is_whole = not people.is_making and people.whole_ms < self._looked_ms and not last.is_flawed
        return self.world.is_tracked and is_whole and held is None and not self._called(last, name)

    def _is_news(self, name: str, *, starts: bool = False) -> bool:
        """Whether nobody has seen for long enough that a job has another name, and what is said of it there."""
        is_there = any(name in one.jobs or one.is_flawed for one in self._believed())
        is_unseen = not starts and not self._long_ago()
        return name in self.world.renamed and (is_there or is_unseen or self.world.people.is_making)

    def _long_ago(self) -> list[int]:
        """The looks at which what is still gone was believed to be."""
        return [at_ms for at_ms in self._looks if at_ms <= self.world.timeline.true_ms - BELIEVED_MS]

    def _believed(self) -> list[Version]:
        """The trees that were in force since the last of those looks."""
        return self.in_force(([self._looked_ms, *self._long_ago()][-1]) - HINDSIGHT_MS)

    # --- runs

    def may_start(self, order: Order, active: Iterable[int]) -> None:
        world = self.world
        if order.provider.startswith("-"):
            return
        self._checked["starts"] += 1
        world.note(f"start {order.job} run {order.run} attempt {order.attempt}")
        require(order.run not in active, f"run {order.run} of {order.job} overlaps itself")
        ident = world.idents.get(order.job, order.job)
        busy = [one for one in active if world.job_of_run.get(one) == ident]
        require(not busy, f"{order.job} runs twice at once: {busy} and {order.run}")
        world.job_of_run[order.run] = ident
        self._check_gate(order.job)
        implied = self._implied(order.job, self._looked_ms - HINDSIGHT_MS)
        require(implied or self._is_held(order.job, starts=True), f"{order.job} runs, and no spec asks for it")
        require(
            not implied or any(implied) or self._is_news(order.job, starts=True),
            f"{order.job} runs while it is suspended",
        )
        require(not self._is_certainly_gone(order.job), f"{order.job} runs, and its removal is committed")
        self._check_slot(order)
        for part in world.parts:
            part.starts(order.job)

    def _check_gate(self, name: str) -> None:
        """Nothing that it depends on is at work, or has ended otherwise than well."""
        record = self.world.record
        assert record is not None
        job = record.jobs.job(name)
        assert job is not None
        for one in rules_of(job.spec).depends_on:
            before = record.jobs.job(one)
            is_at_work = before is not None and any(run.live for run in record.runs.history(before.id, 1))
            outcome = None if before is None else before.state.last_outcome
            require(outcome is Outcome.SUCCEEDED and not is_at_work, f"{name} starts, and {one} has ended {outcome}")

    def _check_slot(self, order: Order) -> None:
        """What the schedule owes is started once."""
        world = self.world
        assert world.record is not None
        job = world.record.jobs.job(order.job)
        assert job is not None
        timeline = world.timeline
        found = Start(
            order.run, timeline.true_ms, timeline.wall_ms, job.state.cause, rules_of(job.spec), world.clock_steps
        )
        ident = world.idents.get(order.job, order.job)
        before = self.starts.get(ident)
        if order.attempt > 1 and before is not None and before.run == order.run:
            return  # the same run goes on
        self.starts[ident] = found
        if before is None or found.cause is not Owed.SCHEDULE or before.cause is not Owed.SCHEDULE:
            return
        schedule = found.rules.schedule
        if before.rules.schedule != schedule or self._is_new_since(order.job, before):
            return
        if self._came_to_nothing(before, order.generation):
            return
        match schedule:
            case Every(every_ms) if before.clock_steps == found.clock_steps:
                gap_ms = found.wall_ms - before.wall_ms
                require(gap_ms >= every_ms, f"{order.job} ran {gap_ms} ms after its last start, every {every_ms} ms")
            case Cron(expression, timezone) if not expression.split()[1].startswith("*"):
                slots = [world.slots.latest(expression, timezone, one.wall_ms) for one in (before, found)]
                require(
                    slots[0] != slots[1] or world.was_wrong_by(before.true_ms) > world.slots.WRONG_MS,
                    f"{order.job} ran twice for its slot {slots[0]} ({expression}): runs {before.run} and {found.run}",
                )
            case _:
                pass

    def _came_to_nothing(self, start: Start, generation: int) -> bool:
        """Whether the run was cut off, or was to be tried again, and was then superseded by a change of its job: what it was
        for is still owed."""
        assert self.world.record is not None
        run = self.world.record.runs.run(start.run)
        if run is None or run.outcome in (Outcome.INTERRUPTED, Outcome.SUPERSEDED):
            return run is not None
        return run.outcome in (Outcome.ERRORED, Outcome.RATE_LIMITED) and run.generation != generation

    def _is_new_since(self, name: str, before: Start) -> bool:
        """Whether people have had their hand in since: what is resumed or declared anew may run at once."""
        seen = [
            tuple((job.schedule, job.suspend) for job in self._called(one, name))
            for one in self.in_force(before.true_ms - HINDSIGHT_MS)
        ]
        return len(set(seen)) > 1

    def may_send(self, order: Order, url: str) -> None:
        since_ms = max(0, self.world.timeline.true_ms - STOPPING_MS) - HINDSIGHT_MS
        since_ms = min(since_ms, self._looked_ms - HINDSIGHT_MS)
        self._checked["sends"] += 1
        implied = self._implied(order.job, since_ms)
        is_over = self._deleted.get(order.job, since_ms) > since_ms  # it may have been told to stop a moment ago
        require(implied or is_over or self._is_held(order.job), f"{order.job} sends to {url}, and no spec asks for it")
        is_wanted = not implied or any(implied) or is_over or self._is_news(order.job)
        require(is_wanted, f"{order.job} sends to {url} while it is suspended")

    # --- the record

    def check(self) -> None:
        """What was done to jobs since this was last asked."""
        record = self.world.record
        assert record is not None
        self.world.intake.check()
        self.world.synced.look()
        for part in self.world.parts:
            part.look()
        fresh = list(record.audit.entries(after=self._audited))
        if not fresh:
            return
        self._audited = fresh[-1].seq
        deleted: Counter[str] = Counter()
        versions = self.in_force(self._looked_ms - HINDSIGHT_MS)
        for entry in fresh:
            if entry.kind != "Job" or not entry.name:
                continue
            self._checked[entry.action] += 1
            self.world.note(f"{entry.action} {entry.name}: {entry.reason}")
            there = [one.jobs[entry.name] for one in versions if entry.name in one.jobs]
            match entry.action:
                case "delete":
                    require(len(there) < len(versions), f"{entry.name} was deleted, and every tree declared it")
                    is_there = entry.name in self.world.renamed and all(
                        self._called(one, entry.name) for one in versions
                    )
                    require(not is_there, f"{entry.name} was deleted, and has another name")
                    deleted[entry.plan] += 1
                    self._deleted[entry.name] = self.world.timeline.true_ms
                case _ if any(entry.name in one.flawed for one in versions):
                    pass  # whether its document is valid depends on when somebody looked
                case "pause" | "resume":
                    is_pause = entry.action == "pause"
                    require(
                        any(one.suspend == is_pause for one in there), f"nothing said to {entry.action} {entry.name}"
                    )
                case "create" | "update" | "rerun" | "move":
                    require(there, f"{entry.action} of {entry.name}, which no tree declared")
                case _:
                    pass
        self._check_budget(deleted)

    def _check_budget(self, deleted: Counter[str]) -> None:
        record, budget = self.world.record, self.world.budget
        assert record is not None
        left = len(self._there())
        for count in deleted.values():
            allowed = budget.allows(left + count)
            is_over = count > allowed or not left
            require(not is_over or self.world.takes_approval(), f"{count} jobs were deleted at once, of {left + count}")

    def _there(self) -> dict[str, JobRow]:
        """The jobs that are known, those that were purged among them."""
        record = self.world.record
        assert record is not None
        known = ((name, record.jobs.job(name)) for name in sorted({*self.world.all_jobs, *self.world.renamed}))
        return {name: job for name, job in known if job is not None and job.life in ("live", "purged")}

    # --- the end

    def is_still(self) -> bool:
        """Whether all that is wanted has come true."""
        return not self._unfinished()

    def _unfinished(self) -> list[str]:
        record, people = self.world.record, self.world.people
        assert record is not None
        found = [*self.world.intake.unfinished(), *self.world.forgets.unfinished()]
        found += ["somebody waits for an answer"] if waits(self.world) else []
        found += [one for part in self.world.parts for one in part.unfinished()]
        wanted, jobs = people.versions[-1].jobs, self._there()
        held = record.prunes.held()
        flawed = people.versions[-1].flawed
        gone = jobs.keys() - wanted.keys() - flawed
        may_be_renamed = flawed - jobs.keys()  # an invalid document of a new name holds all deletions back
        if gone and held is None and not may_be_renamed:
            found.append(f"{sorted(gone)} are not declared any more, and are there")
        found += [f"{name} is declared, and not there" for name in sorted(wanted.keys() - jobs.keys() - flawed)]
        for name in sorted((wanted.keys() & jobs.keys()) - flawed):
            job, want = jobs[name], wanted[name]
            if want.suspend != (job.state.status == "Paused"):
                found.append(f"{name} is {job.state.status}, and suspend is {want.suspend}")
            if job.spec.get("rerun", "") != want.rerun or job.path != want.file:
                found.append(f"{name} is not as it is declared")
            if want.suspend:
                continue
            if want.imports and (lacking := self.world.streams.lacking(name)):
                found.append(f"{name} lacks {len(lacking)} messages: {lacking[:5]}")
            in_vain = not want.imports and any(map(self._waits_in_vain, want.needs))
            if want.mirrors:
                differs = "" if in_vain else self.world.mirrors.differs(want.ident)
                found += [f"{name}: {differs}"] if differs else []
            elif not (want.imports or want.looks_up or want.work or in_vain) and (
                left := self.world.streams.undelivered(want.ident, want.reads)
            ):
                found.append(f"{name} has not delivered {len(left)} messages: {left[:5]}")
        if record.runs.live():
            found.append("runs are in progress")
        return found

    def _waits_in_vain(self, name: str) -> bool:
        """Whether a dependency is paused or not there, so that nothing follows it, or waits in vain itself."""
        jobs = self.world.people.versions[-1].jobs
        return name not in jobs or jobs[name].suspend or any(map(self._waits_in_vain, jobs[name].needs))

    def check_end(self) -> None:
        """Once it is calm and still: the record is sound, all is where it belongs, and a further pass does nothing."""
        world = self.world
        unfinished = self._unfinished()
        require(not unfinished, "; ".join(unfinished))
        if world.forgets.there:
            world.forgets.check(world.mirrors.landed())
        if world.lookups.there:
            world.lookups.check()
        for part in world.parts:
            part.check()
        for name in sorted(set(world.all_streams) - {FACTS}):
            ids = world.streams.messages(name)
            if name == FEED:
                world.feeds.check(ids)
            twice = [] if name in (FEED, LIVE) else sorted(one for one, count in Counter(ids).items() if count > 1)
            require(not twice, f"{name}: messages landed twice: {twice[:5]}")
            strange = sorted(set(ids) - world.streams.sent_in(name))
            require(not strange, f"{name}: messages landed that nobody sent: {strange[:5]}")
            world.streams.check_positions(name)
