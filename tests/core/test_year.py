"""A year in a second: jobs live through a year of ticks, errors, rate limits, pauses, reruns, edits, deaths of the
controller and clocks that are set wrong, in pure values. The simulation jumps from one time at which something happens
to the next; after every step the invariants below are checked against a record of its own.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from time import process_time

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.clock import Now
from reconciler.core.gate import DependencyFacts, Start, Wait, facts_of, gate, owed_by_dependencies, wake_at_ms
from reconciler.core.happening import (
    AuthorizationChanged,
    DependencySucceeded,
    Errored,
    Event,
    Interrupted,
    Limited,
    Relaxed,
    RerunAsked,
    RestartAsked,
    Resumed,
    ScheduleChanged,
    Started,
    Stopped,
    Succeeded,
    Suspended,
    UnitCommitted,
    Waiting,
    WorkChanged,
)
from reconciler.core.lifecycle import (
    accepts_units,
    advance,
    created,
    happenings,
    is_in_progress,
    is_legal,
)
from reconciler.core.rules import (
    PURGE_AFTER_MS,
    AfterDependencies,
    Continuous,
    Cron,
    Every,
    JobRules,
    Once,
    Quiet,
    Retry,
    Schedule,
)
from reconciler.core.schedule import quiet_until
from reconciler.core.settle import ASKED, RETRY_AFTER_LIMIT_MS
from reconciler.core.state import FINAL, EventName, JobState, Outcome, Owed, Status
from reconciler.core.words import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS

T0 = 1_767_225_600_000  # 2026-01-01T00:00:00Z
YEAR_MS = 365 * DAY_MS
SLOTS = 2
SCHEDULES: list[Schedule] = [
    Once(),
    Every(6 * HOUR_MS),
    Every(3 * DAY_MS),
    Cron("30 2 * * *", "Europe/Paris"),
    Cron("0 9 * * mon", "America/New_York"),
    Continuous(),
    AfterDependencies(),
]


@dataclass
class Job:
    """A job, and what its watcher remembers of it beside its state."""

    name: str
    rules: JobRules
    state: JobState
    runs_at: int | None = None  # wall time at which the run in progress ends, by the world's plan
    window_alive_ms: int | None = None  # the watcher's own window of errors
    purged: bool = False
    starts: int = 0
    log: set[EventName] = field(default_factory=set)
    statuses: set[Status] = field(default_factory=set)
    purges: int = 0


class World:
    """A controller in pure values, with a dice."""

    def __init__(self, seed: int, jobs: int) -> None:
        self.dice = random.Random(seed)
        self.now = Now(T0, 0)
        self.run = 0
        self.steps = 0
        self.jobs = {f"job-{number}": self._new(f"job-{number}", number) for number in range(jobs)}

    def _new(self, name: str, number: int) -> Job:
        dice = self.dice
        rules = JobRules(
            schedule=dice.choice(SCHEDULES),
            retry=Retry(
                initial_ms=dice.choice([30 * SECOND_MS, HOUR_MS]),
                max_ms=dice.choice([30 * MINUTE_MS, 4 * HOUR_MS]),
                jitter=dice.choice([0, 0.2, 1]),
            ),
            depends_on=tuple(sorted({f"job-{dice.randrange(number)}"})) if number and dice.random() < 0.4 else (),
            quiet=dice.choice([None, Quiet(22 * 60, 6 * 60, "Europe/Paris")]),
            expires_at_ms=dice.choice([None, None, T0 + dice.randrange(YEAR_MS)]),
            suspend=dice.random() < 0.1,
        )
        return Job(name, rules, created(rules, self.now).state)

    # --- the order of things ---

    def live(self, until_ms: int) -> None:
        end_alive_ms = until_ms - T0
        while self.now.alive_ms < end_alive_ms:
            self.look()
            self.meddle()
            self.sleep()

    def look(self) -> None:
        """One look of the controller: what time has brought, runs that end, runs that start, purges."""
        for job in self.jobs.values():
            if job.runs_at is not None and job.runs_at <= self.now.wall_ms:
                self.end_run(job)
            while events := happenings(job.state, job.rules, self.now):
                for event in events:
                    if is_legal(job.state, event):
                        self.do(job, event)
            if owed_by_dependencies(job.state, job.rules, self.dependencies(job), self.now):
                self.do(job, DependencySucceeded())
            if job.state.stopping is not None and job.runs_at is not None:
                job.runs_at = self.now.wall_ms
            if job.state.status in FINAL and not job.purged:
                job.purged = self.now.wall_ms - job.state.since_ms >= PURGE_AFTER_MS
                job.purges += job.purged
        for job in sorted(self.jobs.values(), key=lambda one: (one.state.queued_ms or 0, one.name)):
            self.weigh(job)

    def weigh(self, job: Job) -> None:
        free = sum(one.runs_at is not None for one in self.jobs.values()) < SLOTS
        match gate(job.state, job.rules, self.now, self.dependencies(job), slot_free=free):
            case Start():
                if job.state.run is None:
                    self.run += 1
                self.do(job, Started(job.state.run or self.run))
                job.starts += 1
                job.runs_at = self.now.wall_ms + self.dice.choice([SECOND_MS, 20 * MINUTE_MS, 9 * HOUR_MS])
            case Wait(reason, _, _):
                self.do(job, Waiting(reason))

    def dependencies(self, job: Job) -> list[DependencyFacts]:
        named = [self.jobs[name] for name in job.rules.depends_on]
        return [facts_of(one.name, one.state, one.rules) for one in named]

    def end_run(self, job: Job) -> None:
        dice = self.dice
        job.runs_at = None
        if accepts_units(job.state) and dice.random() < 0.5:
            self.do(job, UnitCommitted(moved=dice.random() < 0.8))
        if job.state.stopping is not None and dice.random() < 0.8:
            self.do(job, Stopped())
            return
        lucky = dice.random() < (0.9 if job.name != "job-0" else 0.05)
        if lucky:
            self.do(job, Succeeded(found_nothing=dice.random() < 0.5))
        else:
            self.do(job, dice.choice([self._error(), self._error(), Limited("429", self._retry_after())]))
        if job.state.last_outcome is Outcome.SUCCEEDED:
            for one in self.jobs.values():
                if job.name in one.rules.depends_on:
                    self.do(one, DependencySucceeded(job.name))

    def _error(self) -> Errored:
        return Errored("boom", fatal=self.dice.random() < 0.2, retry_after_ms=self._retry_after())

    def _retry_after(self) -> int | None:
        return self.dice.choice([None, None, HOUR_MS, 10 * HOUR_MS, 10**15])

    def meddle(self) -> None:
        """People edit specs; the machine dies; clocks are set wrong."""
        dice = self.dice
        if dice.random() < 0.05:
            self.edit(dice.choice(list(self.jobs.values())))
        if dice.random() < 0.01:
            self.die(off_ms=dice.choice([SECOND_MS, HOUR_MS, 3 * DAY_MS]))
        if dice.random() < 0.003:
            step_ms = dice.choice([-40 * DAY_MS, -HOUR_MS, -5, HOUR_MS])
            self.now = replace(self.now, wall_ms=self.now.wall_ms + step_ms)
            for job in self.jobs.values():  # a run lasts as long as it lasts, whatever the clock shows
                job.runs_at = None if job.runs_at is None else job.runs_at + step_ms

    def edit(self, job: Job) -> None:
        dice = self.dice
        event: Event = dice.choice(
            [
                Resumed() if job.state.status is Status.PAUSED else Suspended(),
                RerunAsked(),
                RestartAsked(),
                WorkChanged(),
                ScheduleChanged(),
                AuthorizationChanged(),
                Relaxed(),
            ]
        )
        if isinstance(event, ScheduleChanged):
            job.rules = replace(job.rules, schedule=dice.choice(SCHEDULES))
        self.do(job, event)

    def die(self, off_ms: int) -> None:
        """The controller is killed, and starts again: runs are cut off; wall time passes and alive time does not."""
        self.now = replace(self.now, wall_ms=self.now.wall_ms + off_ms)
        for job in self.jobs.values():
            if job.runs_at is not None:
                job.runs_at = None
                self.do(job, Interrupted("death"))

    def sleep(self) -> None:
        """To the next time at which anything can happen, at most a day."""
        wakes = [wake_at_ms(job.state, job.rules, self.now) for job in self.jobs.values() if not job.purged]
        ends = [job.runs_at for job in self.jobs.values()]
        times = [one for one in (*wakes, *ends) if one is not None and one > self.now.wall_ms]
        step_ms = min(min(times, default=self.now.wall_ms + DAY_MS) - self.now.wall_ms, DAY_MS)
        self.now = Now(self.now.wall_ms + max(step_ms, 1), self.now.alive_ms + max(step_ms, 1))

    # --- what must hold, whatever happens ---

    def do(self, job: Job, event: Event) -> None:
        before = job.state
        step = advance(before, event, job.rules, self.now, self.dice.random())
        job.state = step.state
        job.log |= {entry.name for entry in step.log}
        job.statuses.add(job.state.status)
        self.steps += 1
        if job.purged and job.state.status is not before.status:
            job.purged = False
        check_shape(job.state)
        check_clock(job, before, event, self.now)
        check_window(job, before, event, self.now)
        check_left(before, job.state, event)
        assert step.stop_run <= is_in_progress(before), "only a run in progress is stopped"


def check_shape(state: JobState) -> None:
    """What the record's own CHECKs demand, and more."""
    assert (state.reason is not None) == (state.status is Status.SLEEPING)
    assert (state.held_status is not None) == (state.status is Status.PAUSED)
    assert state.held_status is not Status.PAUSED
    assert not is_in_progress(state) or (state.run is not None and state.cause is not None)
    assert (state.stopping is None) or is_in_progress(state)
    assert (state.owed is None) == (state.owed_since_ms is None)
    assert (state.errors == 0) == (state.errors_since_alive_ms is None) == (state.errors_since_ms is None)
    assert state.interruptions < 3
    assert state.queued_ms is None or (state.owed is not None and Status.SLEEPING in (state.status, state.held_status))
    if Status.FAILED in (state.status, state.held_status):
        assert (state.owed, state.tick_at_ms, state.last_outcome) == (None, None, Outcome.FAILED)
    if Status.COMPLETED in (state.status, state.held_status):
        assert state.owed not in ASKED, "what was asked for is not forgotten"


def check_clock(job: Job, before: JobState, event: Event, now: Now) -> None:
    """Nothing starts in a pause, in quiet hours or before its time; delays stay within their bounds."""
    state = job.state
    if isinstance(event, Started):
        assert before.status is Status.SLEEPING
        assert before.owed is not None
        assert quiet_until(job.rules, now.wall_ms) is None
        assert before.not_before_ms is None or before.not_before_ms <= now.wall_ms
        assert not before.expired or before.owed in ASKED
        assert (state.owed, state.last_start_ms) == (None, now.wall_ms)
    if isinstance(event, Errored | Limited) and state.not_before_ms is not None:
        delay_ms = state.not_before_ms - now.wall_ms
        if event.retry_after_ms is not None:
            assert delay_ms == min(event.retry_after_ms, RETRY_AFTER_LIMIT_MS)
        else:
            assert 0 <= delay_ms <= job.rules.retry.max_ms
            least = job.rules.retry.max_ms if isinstance(event, Errored) and event.fatal else job.rules.retry.initial_ms
            assert delay_ms >= round(min(least, job.rules.retry.max_ms) * (1 - job.rules.retry.jitter))
    if isinstance(job.rules.schedule, Every) and state.tick_at_ms is not None and isinstance(event, Started):
        assert state.tick_at_ms == now.wall_ms + job.rules.schedule.every_ms


def check_window(job: Job, before: JobState, event: Event, now: Now) -> None:
    """The ten hours, counted by the watcher itself, in alive time."""
    was_superseded = before.stopping is Outcome.SUPERSEDED
    counts = isinstance(event, Errored) or (isinstance(event, Interrupted) and before.interruptions == 2)
    if counts and not was_superseded:
        if job.window_alive_ms is None:
            job.window_alive_ms = now.alive_ms
        long = now.alive_ms - job.window_alive_ms >= job.rules.retry.fail_after_ms
        failed = Status.FAILED in (job.state.status, job.state.held_status)
        assert failed == (long and before.owed not in ASKED), "Failed exactly after ten hours of errors alive"
    elif Status.FAILED in (job.state.status, job.state.held_status):
        assert Status.FAILED in (before.status, before.held_status) or before.expired, (
            "only an error makes a job Failed"
        )
    if job.state.errors == 0:
        job.window_alive_ms = None
    if isinstance(event, Succeeded) or (isinstance(event, UnitCommitted) and event.moved):
        assert job.state.errors == 0, "a success and a unit that moves the cursor close the window"


def check_left(before: JobState, after: JobState, event: Event) -> None:
    """Failed and Completed are left by what the design names, and by nothing else."""
    old, new = before.held_status or before.status, after.held_status or after.status
    if old is Status.FAILED and new not in (Status.FAILED, Status.COMPLETED):
        assert isinstance(
            event, RerunAsked | RestartAsked | WorkChanged | ScheduleChanged | AuthorizationChanged | Relaxed
        )
    if old is Status.COMPLETED and new is not Status.COMPLETED and not before.expired:
        assert isinstance(event, RerunAsked | RestartAsked | WorkChanged | ScheduleChanged)
    if old in (Status.FAILED, Status.COMPLETED) and new is Status.SLEEPING and after.owed in ASKED:
        assert after.errors == 0


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32))
def test_whatever_a_year_brings_the_life_of_every_job_stays_within_its_rules(seed: int) -> None:
    world = World(seed, jobs=5)
    world.live(T0 + YEAR_MS)
    assert world.steps > 20
    for job in world.jobs.values():
        goes_by_time = isinstance(job.rules.schedule, Cron | Every | Continuous)
        if goes_by_time and job.state.status is Status.SLEEPING and job.state.owed is None:
            assert wake_at_ms(job.state, job.rules, world.now) is not None, "no job is forgotten"


def test_a_year_takes_about_a_second_and_visits_every_status_and_every_event_of_the_log() -> None:
    seen: set[EventName] = set()
    statuses: set[Status] = set()
    steps, purges = 0, 0
    began = process_time()
    for seed in range(4):
        world = World(seed, jobs=5)
        world.live(T0 + YEAR_MS)
        for job in world.jobs.values():
            seen |= job.log
            statuses |= job.statuses
            purges += job.purges
        steps += world.steps
    assert process_time() - began < 4 * 5, "a year of five jobs takes seconds at the very most"
    assert steps > 4_000
    assert purges
    assert statuses == set(Status)
    of_a_life = {"Started", "Synced", "Error", "Sleeping", "Failed", "Completed", "Paused", "Resumed", "Rerun",
                 "Restarted", "Interrupted"}  # fmt: skip
    assert of_a_life <= {str(name) for name in seen}


def lone(rules: JobRules) -> tuple[JobState, JobRules]:
    return created(rules, Now(T0, 0)).state, rules


def test_a_job_that_only_fails_is_failed_after_ten_alive_hours_and_purged_ninety_days_later() -> None:
    state, rules = lone(JobRules(schedule=Every(HOUR_MS)))
    now, starts = Now(T0, 0), 0
    while state.status is not Status.FAILED:
        wall_ms = max(now.wall_ms, state.not_before_ms or 0)
        now = Now(wall_ms, now.alive_ms + wall_ms - now.wall_ms)
        state = advance(state, Started(1), rules, now).state
        state = advance(state, Errored("boom"), rules, now).state
        starts += 1
    assert 10 * HOUR_MS <= now.alive_ms <= 10 * HOUR_MS + 30 * MINUTE_MS
    assert 20 < starts < 40
    assert happenings(state, rules, Now(now.wall_ms + YEAR_MS, now.alive_ms)) == ()
    assert wake_at_ms(state, rules, now) == now.wall_ms + 90 * DAY_MS


def test_a_daily_cron_job_runs_three_hundred_and_sixty_five_times_a_year_through_both_changes_of_the_clock() -> None:
    state, rules = lone(JobRules(schedule=Cron("30 2 * * *", "Europe/Paris")))
    now, runs = Now(T0, 0), 0
    while state.tick_at_ms is not None and state.tick_at_ms < T0 + YEAR_MS:
        now = Now(state.tick_at_ms, now.alive_ms)
        for event in (*happenings(state, rules, now), Started(runs + 1), Succeeded()):
            state = advance(state, event, rules, now).state
        runs += 1
    assert runs == 365


def test_a_machine_that_is_off_for_a_month_makes_up_what_it_missed_once() -> None:
    state, rules = lone(JobRules(schedule=Every(HOUR_MS)))
    for event in (Started(1), Succeeded()):
        state = advance(state, event, rules, Now(T0, 0)).state
    now = Now(T0 + 30 * DAY_MS, 0)
    for event in happenings(state, rules, now):
        state = advance(state, event, rules, now).state
    assert (state.owed, happenings(state, rules, now)) == (Owed.SCHEDULE, ())
    for event in (Started(2), Succeeded()):
        state = advance(state, event, rules, now).state
    assert (state.owed, state.tick_at_ms) == (None, now.wall_ms + HOUR_MS)
