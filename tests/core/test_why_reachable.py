"""`why` on every state that a job can reach: one reason, and a time at which something happens or a step to take.

The states are found by walking the state machine from the jobs that can be created: time passes, the gate is asked as the
controller asks it, then any event happens that the table allows. Two states that `why` cannot tell apart are one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest

from reconciler.clock import Now, milliseconds
from reconciler.core import happening
from reconciler.core.gate import DependencyFacts, Start, Wait, gate
from reconciler.core.lifecycle import advance, created, happenings, is_legal
from reconciler.core.rules import AfterDependencies, Continuous, Cron, Every, JobRules, Once, Quiet
from reconciler.core.state import JobState, Outcome, Reason, Status
from reconciler.core.why import Because, Facts, Held, why

T0 = milliseconds("2026-11-21T10:00:00.000Z")
MIN, HOUR = 60_000, 3_600_000
#: What passes between two events: nothing, or longer than failAfter and any backoff.
STEPS = (0, 11 * HOUR)

RULES = {
    "once": JobRules(schedule=Once()),
    "every": JobRules(schedule=Every(HOUR)),
    "suspended": JobRules(schedule=Every(HOUR), suspend=True),
    "quiet": JobRules(schedule=Every(HOUR), quiet=Quiet(9 * 60, 11 * 60)),
    "cron": JobRules(schedule=Cron("0 3 * * *", "UTC")),
    "continuous": JobRules(schedule=Continuous(), lane="backfill"),
    "after": JobRules(schedule=AfterDependencies(), depends_on=("first",)),
    "gated": JobRules(schedule=Every(HOUR), depends_on=("first",)),
    "expiring": JobRules(schedule=Every(HOUR), expires_at_ms=T0 + 12 * HOUR),
}
DEPENDENCIES = (
    (),
    (DependencyFacts(name="first", status=Status.SLEEPING, last_outcome=Outcome.SUCCEEDED, last_success_ms=T0),),
    (DependencyFacts(name="first", status=Status.FAILED, last_outcome=Outcome.FAILED),),
    (DependencyFacts(name="first", status=Status.RUNNING, in_progress=True),),
)
EVENTS = (
    happening.DependencySucceeded("first"),
    happening.Waiting(Reason.AWAITING_CONSENT),
    happening.Started(7),
    happening.UnitCommitted(),
    happening.Succeeded(),
    happening.Succeeded(found_nothing=True),
    happening.Errored("HTTP 500"),
    happening.Errored("no such table", fatal=True),
    happening.Limited("HTTP 429", retry_after_ms=MIN),
    happening.Held("it would remove 96 % of the audience"),
    happening.Approved("0a1b"),
    happening.Interrupted("death"),
    happening.Interrupted("stop"),
    happening.Stopped(),
    happening.Suspended(),
    happening.Resumed(),
    happening.RerunAsked(),
    happening.RestartAsked(),
    happening.WorkChanged(),
    happening.ScheduleChanged(),
    happening.AuthorizationChanged(),
    happening.Relaxed(),
    happening.RulesChanged(judges_anew=True),
)  # fmt: skip


def reachable(rules: JobRules) -> Iterator[tuple[JobState, Now]]:
    """Every state that a job of these rules can reach, once, with a moment at which it is in it."""
    start = Now(wall_ms=T0, alive_ms=0)
    queue = deque([(created(rules, start).state, start)])
    seen = set()
    while queue:
        state, now = queue.popleft()
        if _kind(state, now) in seen:
            continue
        seen.add(_kind(state, now))
        yield state, now
        for step_ms in STEPS:
            then = Now(wall_ms=now.wall_ms + step_ms, alive_ms=now.alive_ms + step_ms)
            queue.extend((one, then) for one in _next(state, rules, then))


def _next(state: JobState, rules: JobRules, now: Now) -> Iterable[JobState]:
    for event in happenings(state, rules, now):
        if is_legal(state, event):
            state = advance(state, event, rules, now).state
    for dependencies in DEPENDENCIES if rules.depends_on else DEPENDENCIES[:1]:
        found = gate(state, rules, now, dependencies)
        if isinstance(found, Wait):
            yield advance(state, happening.Waiting(found.reason), rules, now).state
        elif isinstance(found, Start):
            yield advance(state, happening.Waiting(Reason.WAITING_FOR_SLOT), rules, now).state
    for event in EVENTS:
        waits = isinstance(event, happening.Waiting | happening.Started) and state.owed is None
        refused = isinstance(event, happening.UnitCommitted) and state.stopping is Outcome.SUPERSEDED
        if is_legal(state, event) and not waits and not refused:
            yield advance(state, event, rules, now).state


def _kind(state: JobState, now: Now) -> tuple[object, ...]:
    """All of a state that an answer can depend on: times only by whether they lie ahead."""
    held = state.not_before_ms is not None and state.not_before_ms > now.wall_ms
    tick = state.tick_at_ms is not None and state.tick_at_ms > now.wall_ms
    return (
        state.status, state.reason, state.held_status, state.held_reason, state.owed, state.last_outcome, state.stopping,
        state.expired, state.awaiting, held, tick, state.tick_at_ms is None, state.errors > 0, state.queued_ms is None,
    )  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_every_reachable_state_has_one_reason_and_a_time_or_a_step(name: str) -> None:
    rules, count = RULES[name], 0
    for state, now in reachable(rules):
        count += 1
        for dependencies in DEPENDENCIES if rules.depends_on else DEPENDENCIES[:1]:
            for life, controller in (("live", 42), ("live", None), ("purged", None), ("orphaned", None)):
                facts = Facts(
                    name="orders", now=now, state=state, life=life, rules=rules, dependencies=dependencies,
                    controller=controller, seen_ms=T0, authorization="main",
                )  # fmt: skip
                _judge(facts)
    assert count > 20


def _judge(facts: Facts) -> None:
    state, answer = facts.state, why(facts)
    assert state is not None
    said = f"{answer.because} {answer.then} {' '.join(answer.notes)}".lower()
    assert answer.code is not Because.UNKNOWN
    assert "unknown" not in said
    assert "none." not in said.split()
    assert answer.because.strip()
    assert answer.then.strip()
    assert answer.at_ms is not None or answer.step
    assert (answer.code is Because.RUNNING) == (
        facts.life == "live"
        and state.status is Status.RUNNING
        and facts.controller is not None
        and state.stopping is not Outcome.SUPERSEDED
    )
    if facts.life == "live" and facts.controller is None and state.status in (Status.SLEEPING, Status.RUNNING):
        assert "no reconcile is at work on this record" in said or "the controller that ran it is gone" in said
    if facts.life == "live" and state.status is Status.SLEEPING and facts.controller is not None:
        _agrees(facts, answer.code)


def _agrees(facts: Facts, code: Because) -> None:
    """The answer is the gate's, where a run is owed and the gate is what holds it back."""
    state = facts.state
    assert state is not None
    if state.owed is None or state.reason in (Reason.AWAITING_APPROVAL, Reason.AWAITING_CONSENT):
        return
    slot_free = state.reason is not Reason.WAITING_FOR_SLOT
    found = gate(state, facts.rules, facts.now, facts.dependencies, slot_free=slot_free)
    if isinstance(found, Wait):
        assert code == found.reason
    else:
        assert isinstance(found, Start)
        assert code in (Because.SCHEDULED, Because.INTERRUPTED)


def test_what_the_plan_holds_back_is_a_reason_in_every_life() -> None:
    for life in ("live", "orphaned"):
        state = None if life == "live" else JobState()
        now = Now(wall_ms=T0, alive_ms=0)
        held = replace(Facts(name="orders", now=now, state=state, life=life), held=(Held(reason="budget: 7 of 5"),))
        answer = why(held)
        assert answer.code is Because.HELD_BACK
        assert answer.step == "reconcile plan"
