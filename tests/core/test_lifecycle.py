"""The life of a job, event by event; times in milliseconds, alive time equal to wall time unless a test says otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.clock import Now
from reconciler.core.gate import Wait, gate
from reconciler.core.happening import (
    Approved,
    AuthorizationChanged,
    ClockSetBack,
    DependencySucceeded,
    Errored,
    Event,
    Expired,
    Held,
    IllegalTransition,
    Interrupted,
    Limited,
    QuietBegan,
    Relaxed,
    RerunAsked,
    RestartAsked,
    Resumed,
    RulesChanged,
    ScheduleChanged,
    Started,
    Step,
    Stopped,
    Succeeded,
    Suspended,
    Ticked,
    Unexpired,
    UnitCommitted,
    Waiting,
    WorkChanged,
)
from reconciler.core.lifecycle import TABLE, accepts_units, advance, created, happenings, is_in_progress, is_legal
from reconciler.core.rules import (
    AfterDependencies,
    Continuous,
    Cron,
    Every,
    JobRules,
    Once,
    Quiet,
    Retry,
    rules_of,
)
from reconciler.core.schedule import backoff_ms
from reconciler.core.state import EventName, JobState, Outcome, Owed, Reason, Status
from reconciler.core.words import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS

T0 = 1_790_000_000_000
HOURLY = JobRules(schedule=Every(HOUR_MS))
ONCE = JobRules()

EXAMPLES: tuple[Event, ...] = (
    Ticked(),
    ClockSetBack(),
    DependencySucceeded("other"),
    Waiting(Reason.QUIET_HOURS),
    Started(7),
    UnitCommitted(),
    Succeeded(),
    Errored("boom"),
    Limited("429"),
    Held("would remove 96 %"),
    Approved("d1"),
    Interrupted(),
    Stopped(),
    QuietBegan(),
    Suspended(),
    Resumed(),
    RerunAsked(),
    RestartAsked(),
    WorkChanged(),
    ScheduleChanged(),
    AuthorizationChanged(),
    Relaxed(),
    RulesChanged(),
    Expired(),
    Unexpired(),
)

#: Written out by hand, beside the table in the code: what can happen to a job in each status.
ALWAYS = {ClockSetBack, RerunAsked, RestartAsked, WorkChanged, ScheduleChanged, AuthorizationChanged, Relaxed, RulesChanged,
          Expired, Unexpired, DependencySucceeded}  # fmt: skip
RUN_ENDS = {Succeeded, Errored, Limited, Held, Interrupted, Stopped}
LEGAL = {
    Status.RUNNING: ALWAYS | RUN_ENDS | {Ticked, UnitCommitted, QuietBegan, Suspended},
    Status.SLEEPING: ALWAYS | {Ticked, Waiting, Started, Approved, Suspended},
    Status.FAILED: ALWAYS | {Suspended},
    Status.COMPLETED: ALWAYS | {Ticked, Suspended},
    Status.PAUSED: ALWAYS | {Ticked, Approved, Resumed},
}


def at(ms: int) -> Now:
    return Now(wall_ms=T0 + ms, alive_ms=ms)


class Life:
    """A job, moved on step by step."""

    def __init__(self, rules: JobRules, ms: int = 0) -> None:
        self.rules = rules
        self.ms = ms
        self.step = created(rules, at(ms))
        self.runs = 0

    @property
    def state(self) -> JobState:
        return self.step.state

    @property
    def log(self) -> list[str]:
        return [str(entry.name) for entry in self.step.log]

    @property
    def status(self) -> tuple[Status, Reason | None]:
        return self.state.status, self.state.reason

    def do(self, *events: Event, after: int = 0, chance: float = 0.5) -> Step:
        self.ms += after
        for event in events:
            self.step = advance(self.state, event, self.rules, at(self.ms), chance)
        return self.step

    def start(self, after: int = 0) -> Step:
        self.runs += self.state.run is None
        return self.do(Started(self.state.run or self.runs), after=after)

    def fail(self, message: str = "boom", after: int = 0, **error: object) -> Step:
        return self.do(Errored(message, **error), after=after)  # type: ignore[arg-type]


def live_in(status: Status) -> JobState:
    """A job in a status, owing nothing beyond what that status needs."""
    life = Life(HOURLY)
    if status is Status.SLEEPING:
        return life.state
    life.start()
    if status is Status.FAILED:
        life.rules = replace(HOURLY, retry=Retry(fail_after_ms=0))
        life.fail()
    if status is Status.COMPLETED:
        life.do(Succeeded(), Expired())
    if status is Status.PAUSED:
        life.do(Succeeded(), Suspended())
    assert life.state.status is status
    return life.state


# --- the table ------------------------------------------------------------------------------------------------------


def test_the_table_has_every_event_in_every_status() -> None:
    assert set(TABLE) == set(get_args(Event)) == {type(event) for event in EXAMPLES}
    assert all(set(row) == set(Status) for row in TABLE.values())


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_every_pair_of_status_and_event_is_legal_by_the_table_or_refused(status: Status, event: Event) -> None:
    state = live_in(status)
    legal = type(event) in LEGAL[status]
    assert is_legal(state, event) == legal
    if legal:
        after = advance(state, event, HOURLY, at(DAY_MS)).state
        assert (after.reason is not None) == (after.status is Status.SLEEPING)
        assert (after.held_status is not None) == (after.status is Status.PAUSED)
    else:
        with pytest.raises(IllegalTransition, match=type(event).__name__):
            advance(state, event, HOURLY, at(DAY_MS))


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_a_run_that_is_being_stopped_for_a_pause_may_still_end_in_every_way(event: Event) -> None:
    life = Life(HOURLY)
    life.start()
    life.do(Suspended())
    expected = (LEGAL[Status.RUNNING] | {Resumed}) - {Suspended, QuietBegan}
    assert is_legal(life.state, event) == (type(event) in expected)
    if type(event) in expected:
        after = life.do(event).state
        assert after.status is (Status.RUNNING if isinstance(event, Resumed) else Status.PAUSED)


def test_a_run_starts_only_where_one_is_owed() -> None:
    life = Life(HOURLY)
    life.start()
    life.do(Succeeded())
    with pytest.raises(IllegalTransition, match="only where one is owed"):
        life.start()
    with pytest.raises(IllegalTransition, match="waits for nothing"):
        life.do(Waiting(Reason.QUIET_HOURS))


# --- a new job ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "owed", "reason"),
    [
        (ONCE, Owed.SCHEDULE, Reason.WAITING_FOR_SLOT),
        (HOURLY, Owed.SCHEDULE, Reason.WAITING_FOR_SLOT),
        (JobRules(schedule=Continuous()), Owed.SCHEDULE, Reason.WAITING_FOR_SLOT),
        (JobRules(schedule=Cron("0 3 * * *")), None, Reason.SCHEDULED),
        (JobRules(schedule=AfterDependencies()), None, Reason.WAITING_FOR_DEPENDENCY),
    ],
)
def test_a_new_job_owes_its_first_run_at_once_except_where_cron_or_a_dependency_decides(
    rules: JobRules, owed: Owed | None, reason: Reason
) -> None:
    life = Life(rules)
    assert (life.state.owed, life.state.reason, life.log) == (owed, reason, ["Created"])


def test_a_rerun_in_a_new_spec_asks_for_nothing() -> None:
    rules = rules_of({"rerun": "now", "restart": "now", "schedule": {"cron": "0 3 * * *"}})
    assert created(rules, at(0)).state.owed is None


def test_a_job_created_suspended_is_paused_and_starts_on_resume() -> None:
    life = Life(replace(ONCE, suspend=True))
    assert life.state.status is Status.PAUSED
    assert life.log == ["Created", "Paused"]
    life.do(Resumed(), after=DAY_MS)
    assert life.status == (Status.SLEEPING, Reason.WAITING_FOR_SLOT)


def test_a_job_created_after_its_end_is_completed_and_never_runs() -> None:
    life = Life(replace(HOURLY, expires_at_ms=T0))
    assert life.status == (Status.COMPLETED, None)
    assert life.log == ["Created", "Completed"]


# --- runs -----------------------------------------------------------------------------------------------------------


def test_started_is_logged_once_until_a_rerun_or_a_restart() -> None:
    life = Life(HOURLY)
    life.start()
    assert life.log == ["Started"]
    life.do(Succeeded(), Ticked())
    life.start()
    assert life.log == []
    for ask in (RerunAsked(), RestartAsked()):
        life.do(Succeeded(), ask)
        life.start()
        assert life.log == ["Started"]


def test_every_counts_from_the_last_start() -> None:
    life = Life(HOURLY)
    life.start(after=5 * MINUTE_MS)
    life.do(Succeeded(), after=20 * MINUTE_MS)
    assert life.state.tick_at_ms == T0 + 5 * MINUTE_MS + HOUR_MS
    assert life.status == (Status.SLEEPING, Reason.SCHEDULED)


def test_ticks_missed_while_a_run_is_in_progress_are_one_run() -> None:
    life = Life(HOURLY)
    life.start()
    life.do(Ticked(), after=HOUR_MS)
    assert life.state.tick_at_ms is None
    life.do(Succeeded(), after=5 * HOUR_MS)
    assert (life.state.owed, life.status) == (Owed.SCHEDULE, (Status.SLEEPING, Reason.WAITING_FOR_SLOT))
    life.start()
    life.do(Succeeded())
    assert life.state.owed is None


def test_a_once_job_is_completed_by_its_success() -> None:
    life = Life(ONCE)
    life.start()
    life.do(Succeeded())
    assert life.status == (Status.COMPLETED, None)
    assert life.log == ["Completed"]
    assert life.state.run is None


def test_a_rerun_asked_for_during_a_run_is_owed_afterwards() -> None:
    life = Life(ONCE)
    life.start()
    life.do(RerunAsked(), Succeeded())
    assert (life.state.owed, life.status) == (Owed.RERUN, (Status.SLEEPING, Reason.WAITING_FOR_SLOT))
    life.start()
    life.do(Succeeded())
    assert life.state.status is Status.COMPLETED


def test_a_continuous_job_is_owed_again_at_once_at_the_back_of_the_queue() -> None:
    life = Life(JobRules(schedule=Continuous()))
    life.start()
    life.do(UnitCommitted(), Succeeded(), after=3 * SECOND_MS)
    assert (life.state.owed, life.state.queued_ms) == (Owed.SCHEDULE, T0 + 3 * SECOND_MS)


def test_a_continuous_job_that_found_nothing_is_owed_after_the_initial_delay() -> None:
    life = Life(JobRules(schedule=Continuous()))
    life.start()
    life.do(Succeeded(found_nothing=True))
    assert (life.state.owed, life.state.tick_at_ms) == (None, T0 + 30 * SECOND_MS)
    assert life.status == (Status.SLEEPING, Reason.SCHEDULED)


def test_a_dependency_makes_only_an_after_dependencies_job_owe_a_run() -> None:
    life = Life(JobRules(schedule=AfterDependencies(), depends_on=("a",)))
    life.do(DependencySucceeded("a"))
    assert life.state.owed is Owed.DEPENDENCY
    other = Life(replace(ONCE, depends_on=("a",)))
    other.start()
    other.do(Succeeded(), DependencySucceeded("a"))
    assert other.state.owed is None


def test_a_job_that_waits_goes_on_waiting_for_the_same_when_another_tick_comes() -> None:
    life = Life(HOURLY)
    life.do(Waiting(Reason.WAITING_FOR_DEPENDENCY), Ticked())
    assert life.state.reason is Reason.WAITING_FOR_DEPENDENCY
    assert life.state.queued_ms is None


def test_the_place_in_the_queue_is_kept_while_a_job_stands_in_it() -> None:
    life = Life(HOURLY)
    life.do(Waiting(Reason.WAITING_FOR_SLOT), after=MINUTE_MS)
    assert life.state.queued_ms == T0


# --- errors ---------------------------------------------------------------------------------------------------------


def test_what_follows_an_error_stands_in_the_same_sentence() -> None:
    life = Life(HOURLY)
    life.start()
    assert [entry.message for entry in life.fail("boom.").log] == ["boom; retry in 30 s"]


def test_an_error_is_retried_with_the_same_run_and_the_next_attempt() -> None:
    life = Life(HOURLY)
    life.start()
    step = life.fail()
    assert life.status == (Status.SLEEPING, Reason.BACKOFF)
    assert [entry.message for entry in step.log] == ["boom; retry in 30 s"]
    assert life.state.not_before_ms == T0 + 30 * SECOND_MS
    life.start(after=30 * SECOND_MS)
    assert (life.state.run, life.state.attempt) == (1, 2)


def test_backoff_doubles_up_to_the_maximum() -> None:
    delays = [backoff_ms(Retry(jitter=0), errors, 0.5) // SECOND_MS for errors in range(1, 10)]
    assert delays == [30, 60, 120, 240, 480, 960, 1800, 1800, 1800]


@given(
    st.builds(
        Retry,
        initial_ms=st.integers(1, HOUR_MS),
        factor=st.floats(1, 1e6),
        max_ms=st.integers(1, DAY_MS),
        jitter=st.floats(0, 1),
        fail_after_ms=st.integers(0, DAY_MS),
    ),
    st.integers(1, 100_000),
    st.floats(0, 1, exclude_max=True),
    st.booleans(),
)
def test_backoff_stays_within_its_jitter_and_never_goes_over_the_maximum(
    retry: Retry, errors: int, chance: float, fatal: bool
) -> None:
    delay = backoff_ms(retry, errors, chance, fatal=fatal)
    plain = backoff_ms(replace(retry, jitter=0), errors, 0, fatal=fatal)
    assert 0 <= delay <= retry.max_ms
    assert plain * (1 - retry.jitter) - 1 <= delay <= plain * (1 + retry.jitter) + 1
    assert not fatal or plain == retry.max_ms


def test_a_fatal_error_is_retried_at_the_maximum_at_once() -> None:
    life = Life(replace(HOURLY, retry=Retry(jitter=0)))
    life.start()
    life.fail(fatal=True)
    assert life.state.not_before_ms == T0 + 30 * MINUTE_MS


@pytest.mark.parametrize("fatal", [False, True])
@pytest.mark.parametrize(
    ("asked", "delay"), [(5 * HOUR_MS, 5 * HOUR_MS), (SECOND_MS, SECOND_MS), (-1, 0), (10**18, 7 * DAY_MS)]
)
def test_retry_after_wins_over_both_and_is_believed_up_to_seven_days(asked: int, delay: int, fatal: bool) -> None:
    life = Life(HOURLY)
    life.start()
    life.fail(fatal=fatal, retry_after_ms=asked)
    assert life.state.not_before_ms == T0 + delay


def test_errors_for_ten_hours_of_alive_time_make_a_job_failed() -> None:
    life = Life(replace(HOURLY, retry=Retry(jitter=0)))
    life.start()
    life.fail(after=MINUTE_MS)
    life.start(after=10 * HOUR_MS - 1)
    life.fail()
    assert life.state.status is Status.SLEEPING
    life.start()
    step = life.fail(after=1)
    assert life.status == (Status.FAILED, None)
    assert [(str(one.name), one.message) for one in step.log] == [("Failed", "boom; 3 errors in 10 h, not run again")]
    assert (life.state.owed, life.state.tick_at_ms, life.state.run) == (None, None, None)


def test_a_machine_that_was_off_did_not_fail_for_ten_hours() -> None:
    life = Life(HOURLY)
    life.start()
    life.fail()
    state = advance(life.state, Started(1), HOURLY, Now(T0 + 30 * DAY_MS, MINUTE_MS)).state
    state = advance(state, Errored("boom"), HOURLY, Now(T0 + 30 * DAY_MS, 2 * MINUTE_MS)).state
    assert (state.status, state.errors) == (Status.SLEEPING, 2)


@pytest.mark.parametrize("closes", [UnitCommitted(moved=True), Succeeded()])
def test_a_success_or_a_unit_that_moves_the_cursor_closes_the_window(closes: Event) -> None:
    life = Life(HOURLY)
    life.start()
    life.fail()
    life.start(after=HOUR_MS)
    life.do(closes)
    assert (life.state.errors, life.state.errors_since_ms, life.state.errors_since_alive_ms) == (0, None, None)
    assert life.state.last_error is None


def test_a_unit_that_does_not_move_the_cursor_leaves_the_window_open() -> None:
    life = Life(HOURLY)
    life.start()
    life.fail()
    life.start(after=HOUR_MS)
    life.do(UnitCommitted(moved=False))
    assert (life.state.errors, life.state.errors_since_ms) == (1, T0)


def test_a_rate_limit_is_not_an_error_and_opens_no_window() -> None:
    life = Life(HOURLY)
    life.start()
    step = life.do(Limited("429 Too Many Requests", retry_after_ms=2 * HOUR_MS))
    assert life.status == (Status.SLEEPING, Reason.RATE_LIMITED)
    assert life.state.errors == 0
    assert life.state.not_before_ms == T0 + 2 * HOUR_MS
    assert [(str(one.name), one.message) for one in step.log] == [
        ("Sleeping", "429 Too Many Requests; next try in 2 h")
    ]


def test_rate_limits_without_retry_after_back_off_by_their_own_count() -> None:
    life = Life(replace(HOURLY, retry=Retry(jitter=0)))
    for expected in (30, 60, 120):
        life.start()
        life.do(Limited("quota"))
        assert life.state.not_before_ms == T0 + expected * SECOND_MS


def test_three_interruptions_in_a_row_without_a_unit_count_as_one_error() -> None:
    life = Life(HOURLY)
    for count in (1, 2):
        life.start()
        life.do(Interrupted("death" if count == 1 else "stop"))
        assert life.status == (Status.SLEEPING, Reason.INTERRUPTED)
        assert (life.state.errors, life.state.interruptions) == (0, count)
        assert life.log == ["Interrupted"]
    life.start()
    life.do(Interrupted())
    assert life.status == (Status.SLEEPING, Reason.BACKOFF)
    assert (life.state.errors, life.state.interruptions) == (1, 0)
    assert life.log == ["Interrupted", "Error"]
    assert life.state.last_error == "cut off 3 times in a row without a unit"


def test_a_unit_between_interruptions_starts_their_count_anew() -> None:
    life = Life(HOURLY)
    for _ in range(10):
        life.start()
        life.do(UnitCommitted(moved=False), Interrupted())
    assert (life.state.errors, life.state.interruptions) == (0, 1)
    assert (life.state.run, life.state.attempt) == (1, 10)


def test_a_run_asked_for_during_the_last_error_leaves_failed_before_it_is_entered() -> None:
    life = Life(replace(ONCE, retry=Retry(fail_after_ms=0)))
    life.start()
    life.do(RerunAsked(), Errored("boom"))
    assert (life.state.status, life.state.owed, life.state.errors) == (Status.SLEEPING, Owed.RERUN, 0)
    assert life.log == ["Error"]


# --- leaving Failed and Completed -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "owed", "drops"),
    [
        (RerunAsked(), Owed.RERUN, False),
        (RestartAsked(), Owed.RESTART, True),
        (WorkChanged(), Owed.CHANGE, False),
        (WorkChanged(resets_cursor=True), Owed.CHANGE, True),
        (ScheduleChanged(), Owed.CHANGE, False),
        (AuthorizationChanged(), Owed.CHANGE, False),
        (Relaxed(), Owed.CHANGE, False),
    ],
)
def test_failed_is_left_by_what_the_design_names_and_its_errors_are_forgotten(
    event: Event, owed: Owed, drops: bool
) -> None:
    state = live_in(Status.FAILED)
    step = advance(state, event, HOURLY, at(HOUR_MS))
    assert (step.state.status, step.state.reason) == (Status.SLEEPING, Reason.WAITING_FOR_SLOT)
    assert (step.state.owed, step.state.errors, step.drop_cursor) == (owed, 0, drops)


@pytest.mark.parametrize("event", [RulesChanged(), DependencySucceeded("x"), ClockSetBack()])
def test_failed_is_left_by_nothing_else(event: Event) -> None:
    assert advance(live_in(Status.FAILED), event, HOURLY, at(HOUR_MS)).state.status is Status.FAILED


@pytest.mark.parametrize("event", [RerunAsked(), RestartAsked(), WorkChanged()])
def test_completed_is_left_by_rerun_restart_and_changed_work(event: Event) -> None:
    life = Life(ONCE)
    life.start()
    life.do(Succeeded(), event)
    assert life.status == (Status.SLEEPING, Reason.WAITING_FOR_SLOT)
    life.start()
    life.do(Succeeded())
    assert life.state.status is Status.COMPLETED


@pytest.mark.parametrize("event", [AuthorizationChanged(), Relaxed(), RulesChanged()])
def test_completed_is_not_left_by_an_authorization_or_retries(event: Event) -> None:
    life = Life(ONCE)
    life.start()
    life.do(Succeeded(), event)
    assert life.state.status is Status.COMPLETED


def test_a_completed_job_with_a_new_schedule_goes_by_it() -> None:
    life = Life(ONCE)
    life.start()
    life.do(Succeeded())
    life.rules = HOURLY
    life.do(ScheduleChanged(), after=10 * MINUTE_MS)
    assert (life.state.owed, life.state.tick_at_ms) == (None, T0 + HOUR_MS)
    assert life.status == (Status.SLEEPING, Reason.SCHEDULED)


# --- pauses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [Status.SLEEPING, Status.FAILED, Status.COMPLETED])
def test_a_pause_ends_in_the_status_before_it(status: Status) -> None:
    before = live_in(status)
    paused = advance(before, Suspended(), HOURLY, at(DAY_MS)).state
    assert (paused.status, paused.held_status, paused.since_ms) == (Status.PAUSED, status, T0 + DAY_MS)
    resumed = advance(paused, Resumed(), HOURLY, at(2 * DAY_MS)).state
    assert (resumed.status, resumed.reason, resumed.since_ms) == (before.status, before.reason, before.since_ms)


def test_a_run_that_is_paused_stops_at_its_next_unit_and_goes_on_after_the_resume() -> None:
    life = Life(ONCE)
    life.start()
    assert life.do(Suspended()).stop_run
    assert is_in_progress(life.state)
    assert accepts_units(life.state)
    life.do(UnitCommitted(), Stopped())
    assert life.state.status is Status.PAUSED
    assert not is_in_progress(life.state)
    life.do(Resumed())
    assert (life.state.owed, life.status) == (Owed.SCHEDULE, (Status.SLEEPING, Reason.WAITING_FOR_SLOT))
    life.start()
    assert (life.state.run, life.state.attempt) == (1, 2)


def test_a_resume_before_the_run_has_stopped_makes_it_start_again_at_once() -> None:
    life = Life(ONCE)
    life.start()
    life.do(Suspended(), Resumed())
    assert life.state.status is Status.RUNNING
    life.do(Stopped())
    assert life.status == (Status.SLEEPING, Reason.WAITING_FOR_SLOT)


def test_ticks_and_reruns_during_a_pause_are_one_run_afterwards() -> None:
    life = Life(HOURLY)
    life.start()
    life.do(Succeeded(), Suspended())
    life.do(Ticked(), after=HOUR_MS)
    life.do(RerunAsked(), after=HOUR_MS)
    assert life.state.status is Status.PAUSED
    life.do(Resumed(), after=HOUR_MS)
    assert (life.state.owed, life.state.status) == (Owed.RERUN, Status.SLEEPING)
    life.start()
    life.do(Succeeded())
    assert life.state.owed is None


def test_a_failed_job_asked_to_rerun_while_paused_runs_after_the_resume() -> None:
    paused = advance(live_in(Status.FAILED), Suspended(), HOURLY, at(0)).state
    asked = advance(paused, RerunAsked(), HOURLY, at(0)).state
    assert (asked.status, asked.held_status) == (Status.PAUSED, Status.SLEEPING)
    assert advance(asked, Resumed(), HOURLY, at(1)).state.owed is Owed.RERUN


# --- changes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", [WorkChanged(), AuthorizationChanged(), RestartAsked()])
@pytest.mark.parametrize("end", [Stopped(), Succeeded(), Errored("x"), Limited("x"), Interrupted()])
def test_a_run_that_a_change_overtakes_is_superseded_however_it_ends(event: Event, end: Event) -> None:
    life = Life(ONCE)
    life.start()
    assert life.do(event).stop_run
    assert not accepts_units(life.state)
    with pytest.raises(IllegalTransition, match="older generation"):
        life.do(UnitCommitted())
    life.do(end)
    assert life.state.last_outcome is Outcome.SUPERSEDED
    assert life.state.owed is (Owed.RESTART if isinstance(event, RestartAsked) else Owed.CHANGE)
    assert (life.status, life.state.run, life.state.errors) == (
        (Status.SLEEPING, Reason.WAITING_FOR_SLOT),
        None,
        0,
    )


def test_a_change_during_a_stop_for_a_pause_supersedes_the_run() -> None:
    life = Life(ONCE)
    life.start()
    life.do(Suspended(), WorkChanged())
    assert not accepts_units(life.state)
    life.do(Stopped(), Resumed())
    assert (life.state.owed, life.state.run) == (Owed.CHANGE, None)


@pytest.mark.parametrize("event", [ScheduleChanged(), Relaxed(), RulesChanged()])
def test_a_changed_schedule_or_other_rules_stop_no_run(event: Event) -> None:
    life = Life(HOURLY)
    life.start()
    step = life.do(event)
    assert not step.stop_run
    assert step.state.stopping is None


def test_a_sleeping_job_whose_config_changes_keeps_its_next_time_and_one_whose_schedule_changes_gets_a_new_one() -> (
    None
):
    life = Life(HOURLY)
    life.start()
    life.do(Succeeded())
    tick_at_ms = life.state.tick_at_ms
    life.do(WorkChanged(), after=MINUTE_MS)
    assert (life.state.tick_at_ms, life.state.owed) == (tick_at_ms, None)
    life.rules = replace(HOURLY, schedule=Every(2 * HOUR_MS))
    life.do(ScheduleChanged())
    assert life.state.tick_at_ms == T0 + 2 * HOUR_MS


@pytest.mark.parametrize("event", [WorkChanged(), AuthorizationChanged(), Relaxed(), RerunAsked(), RestartAsked()])
def test_a_change_clears_the_backoff_of_an_owed_run(event: Event) -> None:
    life = Life(HOURLY)
    life.start()
    life.fail()
    life.do(event)
    assert life.status == (Status.SLEEPING, Reason.WAITING_FOR_SLOT)
    assert life.state.not_before_ms is None


# --- expiry, quiet hours, clocks ------------------------------------------------------------------------------------


def test_an_expired_job_is_completed_and_a_later_date_undoes_only_that() -> None:
    life = Life(HOURLY)
    life.start()
    life.fail()
    before = life.state
    life.do(Expired(), after=SECOND_MS)
    assert (life.status, life.log) == ((Status.COMPLETED, None), ["Completed"])
    life.do(Unexpired(), after=SECOND_MS)
    assert replace(life.state, since_ms=before.since_ms) == before


def test_a_failed_job_that_expired_is_failed_again_when_the_date_moves() -> None:
    expired = advance(live_in(Status.FAILED), Expired(), HOURLY, at(0)).state
    assert expired.status is Status.COMPLETED
    assert advance(expired, Unexpired(), HOURLY, at(1)).state.status is Status.FAILED


def test_a_run_in_progress_at_the_expiry_ends_by_itself_and_is_not_tried_again() -> None:
    life = Life(HOURLY)
    life.start()
    assert not life.do(Expired()).stop_run
    step = life.fail()
    assert life.state.status is Status.COMPLETED
    assert [one.message for one in step.log] == ["boom; the job has expired, it is not tried again", "expired"]


def test_an_expired_job_makes_the_run_that_is_asked_for_and_is_completed_again() -> None:
    life = Life(HOURLY)
    life.start()
    life.do(Succeeded(), Expired(), RerunAsked())
    assert life.status == (Status.SLEEPING, Reason.WAITING_FOR_SLOT)
    life.start()
    life.do(Succeeded())
    assert life.state.status is Status.COMPLETED


def test_a_run_stops_at_its_next_unit_when_quiet_hours_begin_and_goes_on_after_them() -> None:
    minute = T0 // MINUTE_MS % (24 * 60)
    rules = replace(HOURLY, quiet=Quiet((minute - 5) % 1440, (minute + 60) % 1440))
    life = Life(rules)
    life.start()
    assert happenings(life.state, rules, at(0)) == (QuietBegan(),)
    assert life.do(QuietBegan()).stop_run
    assert happenings(life.state, rules, at(0)) == ()
    life.do(Stopped())
    assert life.status == (Status.SLEEPING, Reason.QUIET_HOURS)
    assert (life.state.run, life.state.owed) == (1, Owed.SCHEDULE)


def test_time_alone_brings_ticks_and_expiry() -> None:
    rules = replace(HOURLY, expires_at_ms=T0 + 2 * HOUR_MS)
    life = Life(rules)
    life.start()
    life.do(Succeeded())
    assert happenings(life.state, rules, at(HOUR_MS - 1)) == ()
    assert happenings(life.state, rules, at(HOUR_MS)) == (Ticked(),)
    assert happenings(life.state, rules, at(2 * HOUR_MS)) == (Expired(), Ticked())
    life.do(Expired())
    assert happenings(life.state, HOURLY, at(0)) == (Unexpired(),)


def test_a_clock_that_is_set_back_holds_no_job_for_longer_than_its_rules_do() -> None:
    life = Life(HOURLY, ms=365 * DAY_MS)
    life.start()
    life.fail()
    now = Now(T0, 365 * DAY_MS)
    assert happenings(life.state, HOURLY, now) == (ClockSetBack(),)
    state = advance(life.state, ClockSetBack(), HOURLY, now).state
    assert happenings(state, HOURLY, now) == ()
    assert state.tick_at_ms == T0 + HOUR_MS
    assert state.not_before_ms == T0 + 30 * MINUTE_MS
    assert (state.since_ms, state.errors) == (T0, 1)


def test_a_continuous_job_that_waits_is_not_held_by_a_clock_that_is_set_back() -> None:
    life = Life(JobRules(schedule=Continuous()), ms=365 * DAY_MS)
    life.start()
    life.do(Succeeded(found_nothing=True))
    state = advance(life.state, ClockSetBack(), life.rules, Now(T0, 0)).state
    assert state.tick_at_ms == T0 + 30 * SECOND_MS


def test_rules_are_read_from_a_normalised_spec() -> None:
    spec = {
        "schedule": {"cron": "0 3 * * *", "timezone": "Europe/Paris"},
        "suspend": True,
        "timeout": HOUR_MS,
        "retry": {"initial": 1, "factor": 3, "max": 9, "jitter": 0, "failAfter": 5},
        "dependsOn": ["b", "a"],
        "deletionPolicy": "protect",
        "quiet": {"from": "22:00", "to": "06:30", "timezone": "Europe/Paris"},
        "expiresAt": T0,
    }
    assert rules_of(spec) == JobRules(
        schedule=Cron("0 3 * * *", "Europe/Paris"),
        suspend=True,
        timeout_ms=HOUR_MS,
        retry=Retry(initial_ms=1, factor=3, max_ms=9, jitter=0, fail_after_ms=5),
        depends_on=("a", "b"),
        quiet=Quiet(22 * 60, 6 * 60 + 30, "Europe/Paris"),
        expires_at_ms=T0,
        deletion_policy="protect",
    )
    assert rules_of({}) == JobRules(schedule=Once())
    assert rules_of({"schedule": {"continuous": True}}).schedule == Continuous()
    assert rules_of({"schedule": {"afterDependencies": True}}).schedule == AfterDependencies()
    assert rules_of({"schedule": {"every": 5}}).schedule == Every(5)
    assert rules_of({"schedule": {"once": True}}).schedule == Once()


def test_no_log_entry_is_of_an_event_that_the_controller_logs_itself() -> None:
    own = {EventName.UPDATED, EventName.MOVED, EventName.DELETED, EventName.UNDELETED, EventName.PURGED}
    own |= {EventName.SECRET_ROTATED}
    for status in Status:
        for event in EXAMPLES:
            state = live_in(status)
            if is_legal(state, event):
                assert not {entry.name for entry in advance(state, event, HOURLY, at(DAY_MS)).log} & own


# --- guards ---------------------------------------------------------------------------------------------------------


def running(rules: JobRules) -> Life:
    life = Life(rules)
    life.start()
    return life


def test_a_held_run_waits_for_its_approval_and_goes_on_with_it() -> None:
    life = running(ONCE)
    run = life.state.run
    life.do(Held("would remove 96 of 100 members."))
    assert (life.state.status, life.state.reason, life.state.errors) == (Status.SLEEPING, Reason.AWAITING_APPROVAL, 0)
    assert (life.state.awaiting, life.state.owed is None) == ("would remove 96 of 100 members", False)
    assert gate(life.state, ONCE, at(DAY_MS)) == Wait(Reason.AWAITING_APPROVAL, None, "would remove 96 of 100 members")
    life.do(Approved("d1"))
    assert (life.state.awaiting, life.state.reason, life.log) == (None, Reason.WAITING_FOR_SLOT, ["Approved"])
    assert life.state.run == run


def test_a_run_that_is_approved_while_it_finds_what_to_ask_goes_on_at_once() -> None:
    life = running(HOURLY)
    life.do(Held("x", is_approved=True))
    assert (life.state.awaiting, life.state.reason, life.log) == (None, Reason.WAITING_FOR_SLOT, [])


@pytest.mark.parametrize("event", [Ticked(), RerunAsked(), WorkChanged(), RestartAsked()])
def test_the_next_tick_a_rerun_or_a_change_judges_a_held_difference_anew(event: Event) -> None:
    life = running(HOURLY)
    life.do(Held("x"))
    assert life.state.tick_at_ms is not None
    life.do(event)
    assert (life.state.awaiting, life.state.reason) == (None, Reason.WAITING_FOR_SLOT)


def test_a_continuous_job_that_is_held_looks_again_after_the_longest_delay() -> None:
    life = running(JobRules(schedule=Continuous()))
    life.do(Held("x"))
    assert life.state.tick_at_ms == T0 + life.ms + life.rules.retry.max_ms
