"""Whether an owed run may start now, and what it waits for where it may not.

The gate is looked at anew whenever something has happened; it remembers nothing. Its reasons come in this order: the
job's own backoff, an approval, quiet hours, what it depends on, a free slot. The first one that stands is the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from reconciler.clock import Now
from reconciler.core.lifecycle import is_in_progress
from reconciler.core.rules import PURGE_AFTER_MS, AfterDependencies, Continuous, JobRules
from reconciler.core.schedule import quiet_from, quiet_until
from reconciler.core.settle import is_held_back
from reconciler.core.state import FINAL, JobState, Outcome, Reason, Status
from reconciler.core.value import Value, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DependencyFacts:
    """What the gate must know of a job that another depends on. `status` is None where there is no such job."""

    name: str
    status: Status | None = None
    owes: bool = False
    in_progress: bool = False
    last_outcome: Outcome | None = None
    last_success_ms: int | None = None
    continuous: bool = False


class Pass(Value):
    """A pass without a daemon: it starts each job at most once, and waits for no timer (design, section 3).

    `began_ms` is its wall time; `started` says that it has started this job already.
    """

    began_ms: int
    started: bool = False


class Start(Value):
    """The run may start."""


class Wait(Value):
    """The run may not start yet. `until_ms` is when this reason ends by itself, None where something must happen;
    `message` names no length of time, so that it stays the same from look to look."""

    reason: Reason
    until_ms: int | None
    message: str


def facts_of(name: str, state: JobState, rules: JobRules) -> DependencyFacts:
    """What the gate must know of a live job. A Failed or Completed job owes no run, whatever it will owe when it leaves
    that status."""
    status = state.held_status or state.status
    return DependencyFacts(
        name=name,
        status=state.status,
        owes=state.owed is not None and status not in FINAL,
        in_progress=is_in_progress(state),
        last_outcome=state.last_outcome,
        last_success_ms=state.last_success_ms,
        continuous=isinstance(rules.schedule, Continuous),
    )


def gate(
    state: JobState,
    rules: JobRules,
    now: Now,
    dependencies: Sequence[DependencyFacts] = (),
    *,
    slot_free: bool = True,
    in_pass: Pass | None = None,
) -> Start | Wait | None:
    """Whether the owed run may start; None where none is owed, or the job's status lets none start.

    `dependencies` are those of `rules.depends_on`; one that is not among them counts as missing. `slot_free` says that
    a slot is free and no job stands before this one in the queue. In a pass, backoff is judged by the moment at which
    the pass began, and None also means: not again in this pass.
    """
    if state.status is not Status.SLEEPING or state.owed is None or (in_pass and in_pass.started):
        return None
    return (
        _held_back(state, replace(now, wall_ms=min(now.wall_ms, in_pass.began_ms)) if in_pass else now)
        or _unapproved(state)
        or _quiet(rules, now)
        or _dependencies(rules, dependencies)
        or (None if slot_free else Wait(Reason.WAITING_FOR_SLOT, None, "waits for a free slot"))
        or Start()
    )


def queue_order(waiting: Iterable[tuple[str, JobState]]) -> list[str]:
    """The names in the order in which they get slots: who has waited longest, then by name."""
    return [name for _, name in sorted((_queued_ms(state), name) for name, state in waiting)]


def owed_by_dependencies(state: JobState, rules: JobRules, dependencies: Sequence[DependencyFacts], now: Now) -> bool:
    """Whether a job `afterDependencies` owes a run because one of them has succeeded since its last start. For looking
    again, after a restart or an edit; while running, `DependencySucceeded` says it at once. A time that is still to come is
    from before the clock was set back, and so before any that is not."""
    if not isinstance(rules.schedule, AfterDependencies) or state.owed is not None:
        return False
    latest = [_in_order(one.last_success_ms, now) for one in dependencies if one.last_success_ms is not None]
    return bool(latest) and (state.last_start_ms is None or max(latest) > _in_order(state.last_start_ms, now))


def _in_order(at_ms: int, now: Now) -> tuple[bool, int]:
    """A remembered time, comparable with others across a clock that was set back."""
    return at_ms <= now.wall_ms, at_ms


def next_start_ms(state: JobState, rules: JobRules, now: Now) -> int | None:
    """When the next run may start, by the clock alone: the end of backoff and of quiet hours for an owed run, else the
    next tick. None where no run follows, and where no clock decides."""
    if state.status is Status.RUNNING or (state.status is Status.SLEEPING and state.owed is None):
        start_ms = state.tick_at_ms
    elif state.status in FINAL or state.reason is Reason.WAITING_FOR_DEPENDENCY:
        return None
    elif state.awaiting is not None:
        start_ms = state.tick_at_ms
    else:
        start_ms = max(now.wall_ms, state.not_before_ms or 0)
    if start_ms is None or (rules.expires_at_ms is not None and rules.expires_at_ms <= start_ms and not state.expired):
        return None
    return quiet_until(rules, start_ms) or start_ms


def wake_at_ms(state: JobState, rules: JobRules, now: Now) -> int | None:
    """When the controller must next consider this job though nothing happens; None where only an event can move it.

    A time that has come already stands for: now.
    """
    times = [state.tick_at_ms, _expiry_ms(state, rules), _purge_ms(state), _gate_ms(state, rules, now)]
    if state.status is Status.RUNNING and state.stopping is None:
        times.append(quiet_from(rules, now.wall_ms))
    return min((time for time in times if time is not None), default=None)


def _expiry_ms(state: JobState, rules: JobRules) -> int | None:
    return None if state.expired else rules.expires_at_ms


def _purge_ms(state: JobState) -> int | None:
    return state.since_ms + PURGE_AFTER_MS if state.status in FINAL else None


def _gate_ms(state: JobState, rules: JobRules, now: Now) -> int | None:
    if state.status is not Status.SLEEPING or state.owed is None:
        return None
    if state.awaiting is not None:
        return None
    return state.not_before_ms if is_held_back(state, now) else quiet_until(rules, now.wall_ms)


def _queued_ms(state: JobState) -> int:
    return state.queued_ms if state.queued_ms is not None else max(state.owed_since_ms or 0, state.not_before_ms or 0)


def _held_back(state: JobState, now: Now) -> Wait | None:
    if not is_held_back(state, now):
        return None
    if state.last_outcome is Outcome.RATE_LIMITED:
        return Wait(Reason.RATE_LIMITED, state.not_before_ms, "limited by the other side")
    return Wait(Reason.BACKOFF, state.not_before_ms, "waits for its next try")


def _unapproved(state: JobState) -> Wait | None:
    return None if state.awaiting is None else Wait(Reason.AWAITING_APPROVAL, None, state.awaiting)


def _quiet(rules: JobRules, now: Now) -> Wait | None:
    until_ms = quiet_until(rules, now.wall_ms)
    return None if until_ms is None else Wait(Reason.QUIET_HOURS, until_ms, "quiet hours")


def blocking(rules: JobRules, dependencies: Sequence[DependencyFacts]) -> tuple[str, ...]:
    """The names of the dependencies that hold a job back."""
    return tuple(one.name for one in _facts(rules, dependencies) if _blocks(one))


def _facts(rules: JobRules, dependencies: Sequence[DependencyFacts]) -> list[DependencyFacts]:
    known = {one.name: one for one in dependencies}
    return [known.get(name, DependencyFacts(name=name)) for name in rules.depends_on]


def _dependencies(rules: JobRules, dependencies: Sequence[DependencyFacts]) -> Wait | None:
    blocks = [words for words in map(_blocks, _facts(rules, dependencies)) if words]
    return Wait(Reason.WAITING_FOR_DEPENDENCY, None, f"waits for {'; '.join(blocks)}") if blocks else None


def _blocks(one: DependencyFacts) -> str:
    """How a dependency holds its dependents back, in words; empty where it does not. One that has failed or is paused
    is named as such: it will not move without a person."""
    if one.status is None:
        return f"{one.name}, which does not exist"
    if one.continuous:
        return "" if one.last_success_ms is not None else _named(one, "which has never succeeded")
    if one.in_progress:
        return _named(one, "which is running")
    if one.owes:
        return _named(one, "which owes a run")
    return "" if one.last_outcome is Outcome.SUCCEEDED else _named(one, "whose latest run has not succeeded")


def _named(one: DependencyFacts, why: str) -> str:
    stuck = {Status.FAILED: "which has failed", Status.PAUSED: "which is paused"}
    return f"{one.name}, {stuck.get(one.status, why) if one.status else why}"
