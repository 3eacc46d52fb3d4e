"""Runs: which are owed and may start, what they send back, how they end.

Record first, world second: a start, a unit, an end are committed before a process is made, answered or stopped. So
whatever a crash cuts off is a run that the record calls live and that has no process, which `recover` finds.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from reconciler.clock import Now
from reconciler.controller.building import Builder
from reconciler.controller.forgetting import Forgetter
from reconciler.controller.hands import Hands
from reconciler.controller.housekeeping import Housekeeper
from reconciler.controller.intake import Intake
from reconciler.controller.lives import Lives
from reconciler.controller.notifying import Notifier
from reconciler.controller.observe import Observer
from reconciler.controller.orders import order_for
from reconciler.controller.units import Units
from reconciler.core import gate as gates
from reconciler.core import happening, lifecycle
from reconciler.core.backfill import BACKFILL, LANES, LIVE
from reconciler.core.gate import (
    DependencyFacts,
    Start,
    Wait,
    facts_of,
    gate,
    owed_by_dependencies,
    wake_at_ms,
)
from reconciler.core.messages import (
    Began,
    Ended,
    Exited,
    FromRun,
    Intended,
    Order,
    Output,
    Produced,
    Reply,
    SecretSeen,
    Wanted,
)
from reconciler.core.rules import PURGE_AFTER_MS, AfterDependencies, JobRules, rules_of
from reconciler.core.state import FINAL, EventName, JobState, Outcome, Reason, Status
from reconciler.errors import RunError
from reconciler.record.database import Refused
from reconciler.record.jobs import JobRow
from reconciler.record.runs import RunRow

#: The wall clock may be slewed by this much without anybody caring.
CLOCK_SLACK_MS: Final = 1_000


@dataclass(slots=True)
class Pass:
    """One pass starts each job at most once: those due when it began, and those that it unblocked. Time stands still
    for schedules and backoff (`began`), so it waits for no timer and retries nothing. Where `only` names jobs, it moves
    and starts none but these."""

    began: Now
    started: set[int] = field(default_factory=set)
    only: frozenset[str] | None = None

    def is_for(self, job: JobRow) -> bool:
        return self.only is None or job.name in self.only


class Conductor:
    """Starts what is owed, commits what runs produce."""

    def __init__(
        self,
        hands: Hands,
        observer: Observer,
        lives: Lives,
        housekeeper: Housekeeper,
        builder: Builder,
        intake: Intake,
        forgetter: Forgetter,
        notifier: Notifier,
        a_pass: Pass | None = None,
    ) -> None:
        self._hands = hands
        self._observer = observer
        self._housekeeper = housekeeper
        self._builder = builder
        self._intake = intake
        self._forgetter = forgetter
        self._notifier = notifier
        self._record = hands.record
        self._runner = hands.runner
        self._lives = lives
        self._pass = a_pass
        self._units = Units(hands, lives, builder)
        self._stopping = False
        self._wall_ms = int(hands.record.setting("wall_ms", 0))
        self._ended: set[tuple[int, int]] = set()
        self._began_ms: dict[int, int] = {}  # of the runs at work: when they were given what they read
        self._lanes: dict[int, str] = {}  # of the runs at work, as they were started
        self._pausing: dict[int, Reply] = {}  # backfills whose unit is committed, and not yet answered
        self._finished: list[tuple[str, int]] = []
        self._has_grown = True  # a stream may have segments to put together
        self.plan_wanted = False  # time has brought about what only a plan can do: a purge
        self.ran = 0
        self.failures: dict[str, str] = {}

    @property
    def rows(self) -> int:
        """How many rows runs have moved."""
        return self._units.rows

    @property
    def busy(self) -> bool:
        """Whether any run has a process, upkeep included."""
        return bool(self._runner.active())

    def idle_slots(self, lane: str) -> int:
        """How many more runs of a lane may start: no lane takes the slots of another."""
        mine = [run for run in self._runner.active() if self._keeper_of(run) is None]
        at_work = sum(self._lanes.get(run, LIVE) == lane for run in mine)
        return self._hands.settings.slots_of(lane) - at_work

    def tell_finished(self) -> None:
        """Tells the listener which runs have ended; after it was told of their last events."""
        finished, self._finished = self._finished, []
        for job, run in finished:
            self._hands.listener.finished(job, run)

    def keep_house(self, now: Now) -> None:
        """Puts small segments together where units have made some, takes in what was sent, builds profiles, and removes
        what nobody reads any more. A pass builds once its runs are over."""
        if self._has_grown and not self._stopping and not self._forgetter.busy:
            self._has_grown = False
            self._housekeeper.compact(pressing=self._pass is not None)
        if not self._stopping:
            self._intake.keep(now, a_pass=self._pass is not None)
        if not self._stopping and not (self._pass and self.busy):
            backfilling = any(self._is_backfill(run) for run in self._runner.active())
            self._builder.keep(now, pressing=self._pass is not None, backfilling=backfilling)
        if self._pausing and not self._builder.is_crowded():
            self._go_on(*self._pausing)
        self._housekeeper.trim(now)
        self._housekeeper.watch_log(now)
        self._housekeeper.tidy(self._oldest_ms(now) - 1)
        if not self._stopping:
            self._forgetter.keep(now)
            if not (self._pass and self.busy):
                self._notifier.keep(now, pressing=self._pass is not None)

    def forget(self, now: Now) -> None:
        """Goes on with forgetting people, and nothing else."""
        self._housekeeper.tidy(self._oldest_ms(now) - 1)
        self._forgetter.keep(now)

    def _oldest_ms(self, now: Now) -> int:
        """When the oldest of those at work was given what it reads."""
        began = [*self._began_ms.values(), self._builder.began_ms, self._forgetter.began_ms]
        return min((one for one in began if one is not None), default=now.wall_ms + 1)

    def _keeper_of(self, run: int) -> Housekeeper | Builder | Intake | Forgetter | Notifier | None:
        """Who looks after a run that is no job's; None for a job's."""
        keepers = (self._housekeeper, self._builder, self._intake, self._forgetter, self._notifier)
        return next((one for one in keepers if one.owns(run)), None)

    # --- what a dead controller left --------------------------------------------------------------------------------

    def recover(self, now: Now) -> int:
        """Ends the processes that an earlier controller left behind, before any run starts; their runs are
        Interrupted. The number of runs."""
        left = self._record.runs.live()
        for run in left:
            if run.pid is not None and run.pid_start is not None:
                self._hands.end_leftover(run.pid, run.pid_start)
        with self._record.transaction():
            for run in left:
                job = self._record.jobs.by_id(run.job)
                self._record.runs.finish(run.id, Outcome.INTERRUPTED, "the controller died", now.wall_ms)
                if job is not None and lifecycle.is_in_progress(job.state):
                    self._lives.advance(job, happening.Interrupted("death"), now)
        self._lives.take_stops()
        return len(left)

    # --- a turn -----------------------------------------------------------------------------------------------------

    def turn(self, messages: Sequence[FromRun], now: Now) -> None:
        """Commits what runs have said, what time has brought about, and the start of what may start, all in one transaction;
        then runs are answered, stopped and made."""
        moment = self._pass.began if self._pass else now
        if messages and all(map(self._is_minor, messages)):
            self._hear_minor(messages, now)
            messages = ()
        with self._record.transaction():
            replies = self._hear(messages, now)
            self._consider(moment, now)
            orders = self._fill_slots(moment, now)
        self._answer(replies)
        for order in orders:
            self._began_ms[order.run] = now.wall_ms
            self._lanes[order.run] = order.lane
            self._runner.start(order)

    def receive(self, messages: Sequence[FromRun], now: Now) -> None:
        """Commits what runs have said, and answers; nothing starts."""
        with self._record.transaction():
            replies = self._hear(messages, now)
        self._answer(replies)

    def _is_minor(self, message: FromRun) -> bool:
        """Whether nothing follows from what a run says: which process it has or had, what it prints."""
        match message:
            case Began() | Output():
                return self._keeper_of(message.run) is None
            case Exited(run=run, attempt=attempt):
                return (run, attempt) in self._ended
            case _:
                return False

    def _hear_minor(self, messages: Sequence[FromRun], now: Now) -> None:
        """Without waiting for the disk: what a power failure takes of it tells of processes that are gone with it."""
        with self._record.transaction(durable=False):
            self._hear(messages, now)

    def _answer(self, replies: Sequence[Reply]) -> None:
        """What follows in the world from what is committed."""
        for reply in replies:
            self._runner.answer(reply.run, reply.accepted, reply.value, reply.refusal)
        self._units.remove_dropped()
        self.tell_stops()

    # --- what is owed -----------------------------------------------------------------------------------------------

    def _consider(self, moment: Now, now: Now) -> None:
        """What time has brought about, and who may start once there is a slot."""
        self._mind_the_clock(now)
        for job in filter(self._is_ours, self._record.jobs.awake(moment.wall_ms)):
            if is_purge_due(job.state, moment):
                self.plan_wanted = True
                self._record.jobs.wake_at(job.id, None)
            else:
                self._weigh(self._catch_up(job, moment), moment)

    def _mind_the_clock(self, now: Now) -> None:
        """After the wall clock was set back, every job's remembered times are judged anew."""
        if now.wall_ms < self._wall_ms - CLOCK_SLACK_MS:
            self._record.jobs.wake_all(now.wall_ms)
        self._wall_ms = now.wall_ms

    def stop_all(self) -> None:
        """No run starts any more; those at work stop at their next unit."""
        self._stopping = True
        self._go_on(*self._pausing)
        for run in self._runner.active():
            self._runner.stop(run)

    def tell_stops(self) -> None:
        """Tells runs to stop that what was committed has made obsolete."""
        active = self._runner.active()
        for run in self._lives.take_stops():
            if run in active:
                self._go_on(run)
                self._runner.stop(run)

    def _catch_up(self, job: JobRow, now: Now) -> JobRow:
        rules = rules_of(job.spec)
        while events := [
            one for one in lifecycle.happenings(job.state, rules, now) if lifecycle.is_legal(job.state, one)
        ]:
            for event in events:
                job = self._lives.advance(job, event, now, rules=rules)
        follow = happening.DependencySucceeded()
        if owed_by_dependencies(job.state, rules, self._dependencies(rules), now) and lifecycle.is_legal(
            job.state, follow
        ):
            job = self._lives.advance(job, follow, now, rules=rules)
        return job

    def _weigh(self, job: JobRow, now: Now) -> bool:
        """Whether the job may start now; if not, it is recorded why, and when to look again."""
        rules = rules_of(job.spec)
        a_pass = self._pass
        in_pass = (
            None if a_pass is None else gates.Pass(began_ms=a_pass.began.wall_ms, started=job.id in a_pass.started)
        )
        decision = gate(job.state, rules, now, self._dependencies(rules), in_pass=in_pass)
        match decision:
            case Start():
                if job.state.queued_ms is None:  # what it waited for has come: it goes to the back of the queue
                    job = self._lives.advance(job, happening.Waiting(Reason.WAITING_FOR_SLOT), now, rules=rules)
                self._record.jobs.wake_at(job.id, wake_at_ms(job.state, rules, now))
                return True
            case Wait(reason, until_ms, message):
                if job.state.reason is not reason or job.waiting != message:
                    job = self._lives.advance(job, happening.Waiting(reason), now, rules=rules, waiting=message)
                self._record.jobs.wake_at(job.id, _sooner(until_ms, wake_at_ms(job.state, rules, now)))
            case None:
                self._record.jobs.wake_at(job.id, wake_at_ms(job.state, rules, now))
        return False

    def _dependencies(self, rules: JobRules) -> tuple[DependencyFacts, ...]:
        if not rules.depends_on:
            return ()
        known = self._record.jobs.jobs(rules.depends_on)
        return tuple(facts_of(job.name, job.state, rules_of(job.spec)) for job in known)

    def _fill_slots(self, moment: Now, now: Now) -> list[Order]:
        """Starts jobs from the front of each lane's queue while there are slots; each is looked at once. The orders to be
        given once that is committed."""
        return [order for lane in LANES for order in self._fill_lane(lane, moment, now)]

    def _fill_lane(self, lane: str, moment: Now, now: Now) -> list[Order]:
        seen = set(self._pass.started) if self._pass else set()
        orders: list[Order] = []
        asked = 0
        while not self._stopping and (free := self.idle_slots(lane) - len(orders)) > 0:
            asked = max(free, 2 * asked)  # each time all of the queue is gone through: many may not start
            waiting = self._record.jobs.queue(asked, lane, besides=seen)
            if not waiting:
                break
            seen.update(job.id for job in waiting)
            orders += self._start(list(filter(self._is_ours, waiting)), free, moment, now)
        return orders

    def _is_ours(self, job: JobRow) -> bool:
        """Whether the pass is for this job; a daemon's every turn is for all."""
        return self._pass is None or self._pass.is_for(job)

    def _start(self, jobs: Sequence[JobRow], most: int, moment: Now, now: Now) -> list[Order]:
        """Starts those that may start, the first ones, and so many at most."""
        active = self._runner.active()
        orders: list[Order] = []
        for job in jobs:
            if len(orders) == most:
                break
            if job.state.run in active or self._observer.is_in_doubt(job.name):
                continue  # a last attempt's process may be about to go
            if self._weigh(job, moment) and (order := self._begin(job, now)) is not None:
                orders.append(order)
        return orders

    def _begin(self, job: JobRow, now: Now) -> Order | None:
        """The run is recorded as started; its order, unless nothing can be ordered."""
        runs = self._record.runs
        if job.state.run is not None and runs.run(job.state.run) is not None:
            run_id = job.state.run
            runs.attempt(run_id, job.generation)
        else:
            run_id = runs.begin(job.id, job.generation, now.wall_ms)
        job = self._lives.advance(job, happening.Started(run_id), now)
        self._record.jobs.observe(job.id, job.generation)
        self._record.jobs.wake_at(job.id, wake_at_ms(job.state, rules_of(job.spec), now))
        if self._pass:
            self._pass.started.add(job.id)
        self.ran += 1
        run = runs.run(run_id)
        assert run is not None
        try:
            return order_for(self._hands, job, run)
        except RunError as error:
            self._finish(job, run, happening.Errored(str(error), fatal=True), Outcome.ERRORED, str(error), now)
            return None

    # --- what runs say ----------------------------------------------------------------------------------------------

    def _hear(self, messages: Sequence[FromRun], now: Now) -> list[Reply]:
        """Records what came; the answers to be given. A message that the record refuses ends its run alone."""
        replies: list[Reply] = []
        for message in messages:
            dropped = self._units.mark()
            try:
                with self._record.savepoint():
                    taken = list(self._take(message, now))
            except Refused as error:
                self._units.take_back(dropped)
                taken = list(self._refuse(message, error, now))
            replies.extend(taken)
        return replies

    def _take(self, message: FromRun, now: Now) -> Iterable[Reply]:
        keeper = self._keeper_of(message.run)
        if isinstance(message, Exited):
            self._pausing.pop(message.run, None)
        if keeper is not None:
            self._has_grown = self._has_grown or isinstance(message, Exited)
            if keeper is self._intake and isinstance(message, Produced):
                self._builder.grown()
            replies = self._but_pausing(keeper.take(message, now))
            self._follow_audiences(now)
            return replies
        match message:
            case Produced():
                self._has_grown = self._has_grown or bool(message.unit.segments)
                accepted = self._units.commit(*self._job_of(message.run, message.attempt), message, now)
                return self._but_pausing([Reply(message.run, accepted)])
            case Intended():
                accepted = self._units.intend(*self._job_of(message.run, message.attempt), message)
                return [Reply(message.run, accepted)]
            case Wanted():
                known = self._job_of(message.run, message.attempt)[1] is not None
                return self._builder.want(message, now) if known else [Reply(message.run, accepted=False)]
            case Began():
                self._record.runs.note_process(message.run, message.pid, message.start_ticks)
            case Output():
                self._record.runs.append_output(message.run, message.text + "\n")
            case SecretSeen():
                self._see_secret(message, now)
            case Ended():
                self._end(message, now)
            case Exited():
                self._bury(message, now)
        return ()

    def _but_pausing(self, replies: Sequence[Reply]) -> list[Reply]:
        """The answers that are given now. A backfill under a daemon gets its only once the profiles have caught up: else
        a run that wants them would wait for all that it had added. Its unit is committed all the same."""
        pausing = [one for one in replies if one.accepted and self._is_backfill(one.run)]
        if self._pass or self._stopping or not pausing or not self._builder.is_crowded():
            return list(replies)
        self._pausing |= {one.run: one for one in pausing}
        return [one for one in replies if one not in pausing]

    def _is_backfill(self, run: int) -> bool:
        return self._lanes.get(run) == BACKFILL or self._intake.is_bulk(run)

    def _go_on(self, *runs: int) -> None:
        """Gives those that pause their answer."""
        for run in runs:
            reply = self._pausing.pop(run, None)
            if reply is not None:
                self._runner.answer(reply.run, reply.accepted, reply.value, reply.refusal)

    def _follow_audiences(self, now: Now) -> None:
        """Exports that follow their dependencies also follow an audience that has changed by itself."""
        moved = self._builder.take_moved()
        for job in self._record.jobs.jobs() if moved else ():
            rules, follow = rules_of(job.spec), happening.DependencySucceeded()
            if (
                self._audience_of(job) in moved
                and isinstance(rules.schedule, AfterDependencies)
                and lifecycle.is_legal(job.state, follow)
            ):
                self._lives.advance(job, follow, now, rules=rules)

    def _audience_of(self, job: JobRow) -> str:
        """The audience that a job exports; empty for any other."""
        provider = self._hands.catalogue().get(job.spec["provider"])
        job_type = None if provider is None else provider.job_type(job.spec["jobType"])
        return "" if job_type is None else str(job.spec.get("config", {}).get(job_type.audience_field, ""))

    def _refuse(self, message: FromRun, error: Exception, now: Now) -> Iterable[Reply]:
        if not isinstance(message, Produced | Intended):
            raise error
        if self._keeper_of(message.run) is not None:
            return [Reply(message.run, accepted=False)]
        job, run = self._job_of(message.run, message.attempt)
        if job is not None and run is not None:
            text = f"the record refused what the run produced: {error}"
            self._finish(job, run, happening.Errored(text), Outcome.ERRORED, text, now)
            self._ended.add((run.id, run.attempt))
        return [Reply(message.run, accepted=False)]

    def _job_of(self, run_id: int, attempt: int) -> tuple[JobRow | None, RunRow | None]:
        """The job and run of a message, None where it is of another attempt or the job is gone."""
        run = self._record.runs.run(run_id)
        if run is None or not run.live or run.attempt != attempt:
            return None, None
        return self._record.jobs.by_id(run.job), run

    def _see_secret(self, message: SecretSeen, now: Now) -> None:
        changed = self._record.runs.note_secret(message.authorization, message.field, message.digest, now.wall_ms)
        run = self._record.runs.run(message.run)
        job = None if run is None else self._record.jobs.by_id(run.job)
        if changed and job is not None:
            text = f"{message.authorization}: the secret behind {message.field} has changed"
            self._lives.tell(job, EventName.SECRET_ROTATED, text, now)

    def _end(self, message: Ended, now: Now) -> None:
        job, run = self._job_of(message.run, message.attempt)
        if job is None or run is None:
            return
        self._ended.add((run.id, run.attempt))
        if message.how == "held":
            self._record.approvals.ask(job.id, message.approval, message.message, now.wall_ms)
        elif message.how == "succeeded":
            self._record.approvals.clear(job.id)
        event, outcome = self._what_happened(message)
        if isinstance(event, happening.Held) and message.approval in self._record.approvals.approved(job.id):
            event = happening.Held(message.message, is_approved=True)
        self._finish(job, run, event, outcome, message.message, now)

    def _what_happened(self, message: Ended) -> tuple[happening.Event, Outcome]:
        retry_after_ms = None if message.retry_after_s is None else int(message.retry_after_s * 1000)
        match message.how:
            case "succeeded":
                return happening.Succeeded(found_nothing=message.found_nothing), Outcome.SUCCEEDED
            case "stopped":
                return self._stopped()
            case "limited":
                return happening.Limited(message.message, retry_after_ms), Outcome.RATE_LIMITED
            case "retriable":
                return happening.Errored(message.message, retry_after_ms=retry_after_ms), Outcome.ERRORED
            case "fatal":
                return happening.Errored(message.message, fatal=True), Outcome.ERRORED
            case "held":
                return happening.Held(message.message), Outcome.STOPPED

    def _stopped(self) -> tuple[happening.Event, Outcome]:
        if self._stopping:
            return happening.Interrupted("stop"), Outcome.INTERRUPTED
        return happening.Stopped(), Outcome.STOPPED

    def _bury(self, message: Exited, now: Now) -> None:
        self._began_ms.pop(message.run, None)
        self._lanes.pop(message.run, None)
        self._builder.forget(message.run)
        self._units.drop_unnamed(message.run, message.attempt)
        self._record.runs.note_exit(
            message.run,
            message.attempt,
            exit_code=message.exit_code,
            signal=message.signal,
            peak_kib=message.peak_kib,
            cpu_s=message.cpu_s,
        )
        if (message.run, message.attempt) in self._ended:
            self._ended.discard((message.run, message.attempt))
            return
        job, run = self._job_of(message.run, message.attempt)
        if job is None or run is None:
            return
        stopped = message.killed or job.state.stopping is not None
        text = _last_words(message, rules_of(job.spec))
        event, outcome = self._stopped() if stopped else (happening.Errored(text), Outcome.ERRORED)
        self._finish(job, run, event, outcome, text, now)

    def _finish(
        self, job: JobRow, run: RunRow, event: happening.Event, outcome: Outcome, message: str, now: Now
    ) -> None:
        """The end of an attempt: the job moves on, and those that wait for it are looked at again."""
        before = job.state
        job = self._lives.advance(job, event, now)
        self._record.runs.finish(run.id, _recorded(outcome, before, job.state), message, now.wall_ms)
        self._record.runs.trim(job.id)
        self._record.events.trim("Job", job.name)
        if outcome is Outcome.ERRORED and before.stopping is not Outcome.SUPERSEDED:
            self.failures[job.name] = message
        succeeded = job.state.last_outcome is Outcome.SUCCEEDED
        for dependent in self._record.jobs.dependents(job.name):
            follow = happening.DependencySucceeded(job.name)
            if succeeded and lifecycle.is_legal(dependent.state, follow):
                self._lives.advance(dependent, follow, now)
            moment = self._pass.began.wall_ms if self._pass else now.wall_ms
            self._record.jobs.wake([dependent.id], moment)
        if self._pass and isinstance(event, happening.Succeeded) and event.found_nothing:
            self._hands.listener.notice(f"{job.name}: nothing new")
        self._finished.append((job.name, run.id))


def _recorded(outcome: Outcome, before: JobState, after: JobState) -> Outcome:
    """What the run's row says: a superseded run was superseded, however it ended, and the last error is Failed."""
    if before.stopping is Outcome.SUPERSEDED:
        return Outcome.SUPERSEDED
    return Outcome.FAILED if after.status is Status.FAILED else outcome


def _last_words(message: Exited, rules: JobRules) -> str:
    """Why a process that said nothing is gone."""
    if message.timed_out:
        return f"timed out after {(rules.timeout_ms or 0) / 1000:g} s"
    if message.killed and not message.pid:
        return "stopped before it had a process"
    if message.killed:
        return "killed: it did not stop at a unit in time"
    if message.signal == signal.SIGKILL:
        return "its process was ended by signal 9; where nobody did that, the machine ran out of memory"
    if message.signal is not None:
        return f"its process was ended by signal {message.signal}"
    return f"its process ended by itself with exit code {message.exit_code}"


def is_purge_due(state: JobState, now: Now) -> bool:
    """Whether a job has been where no run follows for so long that it is purged."""
    return state.status in FINAL and now.wall_ms - state.since_ms >= PURGE_AFTER_MS


def _sooner(one: int | None, other: int | None) -> int | None:
    times = [time for time in (one, other) if time is not None]
    return min(times) if times else None
