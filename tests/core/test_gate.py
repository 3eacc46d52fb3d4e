"""Whether an owed run may start, what it waits for, and when the controller must look again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.clock import Now
from reconciler.core.gate import (
    DependencyFacts,
    Pass,
    Start,
    Wait,
    facts_of,
    gate,
    next_start_ms,
    owed_by_dependencies,
    queue_order,
    wake_at_ms,
)
from reconciler.core.happening import Errored, Expired, Limited, Started, Succeeded, Suspended, Ticked, Waiting
from reconciler.core.lifecycle import advance, created
from reconciler.core.rules import AfterDependencies, Continuous, Every, JobRules, Quiet, Retry
from reconciler.core.state import JobState, Outcome, Reason, Status
from reconciler.core.words import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS

T0 = 1_790_000_000_000  # 2026-09-21T14:13:20Z
RULES = JobRules(schedule=Every(HOUR_MS), retry=Retry(jitter=0))
GOOD = DependencyFacts(name="a", status=Status.SLEEPING, last_outcome=Outcome.SUCCEEDED, last_success_ms=1)


def at(ms: int) -> Now:
    return Now(T0 + ms, ms)


NEW = created(RULES, at(0)).state
RUNNING = advance(NEW, Started(1), RULES, at(0)).state


def test_an_owed_run_that_nothing_holds_may_start() -> None:
    assert gate(NEW, RULES, at(0)) == Start()


@pytest.mark.parametrize(
    "state",
    [RUNNING, advance(RUNNING, Succeeded(), RULES, at(1)).state, advance(NEW, Suspended(), RULES, at(0)).state],
    ids=["running", "owes nothing", "paused"],
)
def test_a_job_that_runs_or_owes_nothing_or_is_paused_is_not_weighed(state: JobState) -> None:
    assert gate(state, RULES, at(0)) is None


def test_backoff_and_rate_limits_hold_until_their_time() -> None:
    failed = advance(RUNNING, Errored("x"), RULES, at(0)).state
    assert gate(failed, RULES, at(0)) == Wait(Reason.BACKOFF, T0 + 30 * SECOND_MS, "waits for its next try")
    assert gate(failed, RULES, at(30 * SECOND_MS)) == Start()
    limited = advance(RUNNING, Limited("x", HOUR_MS), RULES, at(0)).state
    assert gate(limited, RULES, at(0)) == Wait(Reason.RATE_LIMITED, T0 + HOUR_MS, "limited by the other side")


def test_quiet_hours_hold_until_they_end() -> None:
    rules = replace(RULES, quiet=Quiet(14 * 60, 15 * 60))
    answer = gate(NEW, rules, at(0))
    assert isinstance(answer, Wait)
    assert (answer.reason, answer.message) == (Reason.QUIET_HOURS, "quiet hours")
    assert answer.until_ms is not None
    assert gate(NEW, rules, Now(answer.until_ms, 0)) == Start()


def test_without_a_free_slot_it_waits_for_one() -> None:
    assert gate(NEW, RULES, at(0), slot_free=False) == Wait(Reason.WAITING_FOR_SLOT, None, "waits for a free slot")


@pytest.mark.parametrize(
    ("dependency", "message"),
    [
        (GOOD, None),
        (replace(GOOD, status=Status.COMPLETED), None),
        (replace(GOOD, status=Status.PAUSED), None),
        (replace(GOOD, owes=True), "waits for a, which owes a run"),
        (replace(GOOD, in_progress=True, status=Status.RUNNING), "waits for a, which is running"),
        (replace(GOOD, last_outcome=Outcome.ERRORED), "waits for a, whose latest run has not succeeded"),
        (replace(GOOD, last_outcome=None), "waits for a, whose latest run has not succeeded"),
        (replace(GOOD, status=Status.FAILED, last_outcome=Outcome.FAILED), "waits for a, which has failed"),
        (replace(GOOD, status=Status.PAUSED, owes=True), "waits for a, which is paused"),
        (replace(GOOD, continuous=True, owes=True, in_progress=True, last_outcome=Outcome.ERRORED), None),
        (replace(GOOD, continuous=True, last_success_ms=None), "waits for a, which has never succeeded"),
        (DependencyFacts(name="a"), "waits for a, which does not exist"),
    ],
)
def test_a_dependency_holds_while_it_owes_or_makes_a_run_or_its_latest_has_not_succeeded(
    dependency: DependencyFacts, message: str | None
) -> None:
    answer = gate(NEW, replace(RULES, depends_on=("a",)), at(0), [dependency])
    assert answer == (Start() if message is None else Wait(Reason.WAITING_FOR_DEPENDENCY, None, message))


def test_every_dependency_that_holds_is_named_a_missing_one_too() -> None:
    answer = gate(NEW, replace(RULES, depends_on=("a", "b")), at(0), [replace(GOOD, owes=True)])
    assert isinstance(answer, Wait)
    assert answer.message == "waits for a, which owes a run; b, which does not exist"


def test_what_the_gate_knows_of_a_job_comes_from_its_state() -> None:
    assert facts_of("a", NEW, RULES) == DependencyFacts(name="a", status=Status.SLEEPING, owes=True)
    paused = advance(RUNNING, Suspended(), RULES, at(0)).state
    facts = facts_of("a", paused, RULES)
    assert (facts.status, facts.in_progress) == (Status.PAUSED, True)
    expired = advance(NEW, Expired(), RULES, at(0)).state
    assert not facts_of("a", expired, RULES).owes
    assert facts_of("a", NEW, JobRules(schedule=Continuous())).continuous


def test_a_pass_starts_a_job_once_and_waits_for_no_timer() -> None:
    failed = advance(RUNNING, Errored("x"), RULES, at(0)).state
    later = at(10 * MINUTE_MS)
    assert gate(failed, RULES, later, in_pass=Pass(began_ms=T0 + MINUTE_MS)) == Start()
    assert isinstance(gate(failed, RULES, later, in_pass=Pass(began_ms=T0)), Wait)
    assert gate(NEW, RULES, later, in_pass=Pass(began_ms=T0, started=True)) is None


def test_a_job_after_dependencies_owes_a_run_once_one_has_succeeded_since_its_last_start() -> None:
    rules = JobRules(schedule=AfterDependencies(), depends_on=("a",))
    state = created(rules, at(0)).state
    now = at(MINUTE_MS)
    assert not owed_by_dependencies(state, rules, [replace(GOOD, last_success_ms=None)], now)
    assert owed_by_dependencies(state, rules, [GOOD], now)
    started = replace(state, last_start_ms=T0)
    assert not owed_by_dependencies(started, rules, [replace(GOOD, last_success_ms=T0)], now)
    assert owed_by_dependencies(started, rules, [replace(GOOD, last_success_ms=T0 + 1)], now)
    assert not owed_by_dependencies(state, RULES, [GOOD], now)


def test_a_success_from_before_the_clock_was_set_back_is_older_than_any_start_since() -> None:
    rules = JobRules(schedule=AfterDependencies(), depends_on=("a",))
    before, later = replace(GOOD, last_success_ms=T0 + 5), replace(GOOD, last_success_ms=T0 - 10)
    now = at(-10)
    started = replace(created(rules, at(0)).state, last_start_ms=T0 - 10)
    assert not owed_by_dependencies(started, rules, [before], now), "it has run for that"
    assert owed_by_dependencies(replace(started, last_start_ms=T0 + 4), rules, [before], now), "both were before"
    assert owed_by_dependencies(replace(started, last_start_ms=T0 + 9), rules, [later], now), "that one is new"


def test_slots_go_to_who_has_waited_longest_then_by_name() -> None:
    waiting = [("c", replace(NEW, queued_ms=5)), ("b", replace(NEW, queued_ms=9)), ("a", replace(NEW, queued_ms=5))]
    assert queue_order(waiting) == ["a", "c", "b"]


def test_the_next_start_is_the_tick_or_the_end_of_what_holds_the_run() -> None:
    assert next_start_ms(NEW, RULES, at(0)) == T0
    assert next_start_ms(RUNNING, RULES, at(0)) == T0 + HOUR_MS
    slept = advance(RUNNING, Succeeded(), RULES, at(0)).state
    assert next_start_ms(slept, RULES, at(0)) == T0 + HOUR_MS
    assert next_start_ms(slept, replace(RULES, expires_at_ms=T0 + HOUR_MS), at(0)) is None
    failed = advance(RUNNING, Errored("x"), RULES, at(0)).state
    assert next_start_ms(failed, RULES, at(0)) == T0 + 30 * SECOND_MS
    held = advance(NEW, Waiting(Reason.WAITING_FOR_DEPENDENCY), RULES, at(0)).state
    assert next_start_ms(held, RULES, at(0)) is None
    assert next_start_ms(advance(NEW, Suspended(), RULES, at(0)).state, RULES, at(0)) is None


def test_the_controller_looks_again_at_the_next_time_that_can_change_anything() -> None:
    assert wake_at_ms(NEW, RULES, at(0)) is None
    assert wake_at_ms(RUNNING, RULES, at(0)) == T0 + HOUR_MS
    failed = advance(RUNNING, Errored("x"), RULES, at(0)).state
    assert wake_at_ms(failed, RULES, at(0)) == T0 + 30 * SECOND_MS
    assert wake_at_ms(NEW, replace(RULES, expires_at_ms=T0 + 5), at(0)) == T0 + 5
    paused = advance(NEW, Suspended(), RULES, at(0)).state
    assert wake_at_ms(paused, RULES, at(0)) == T0 + 90 * DAY_MS
    hushed = wake_at_ms(RUNNING, replace(RULES, quiet=Quiet(15 * 60, 16 * 60)), at(0))
    assert hushed is not None
    assert T0 < hushed < T0 + HOUR_MS
    quiet = wake_at_ms(NEW, replace(RULES, quiet=Quiet(14 * 60, 15 * 60)), at(0))
    assert quiet is not None
    assert T0 < quiet < T0 + HOUR_MS


def test_a_tick_that_comes_while_a_run_is_in_progress_wakes_nobody_again() -> None:
    ticked = advance(RUNNING, Ticked(), RULES, at(HOUR_MS)).state
    assert wake_at_ms(ticked, RULES, at(HOUR_MS)) is None
