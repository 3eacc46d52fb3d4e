"""The status of a job that is not running, from its facts, and the small changes of its memory that every event is made
of. What happens when is in `lifecycle.py`; here is what it amounts to.

A status is never carried along: `settle` finds it anew from what is owed, how the latest run ended and whether the job
has expired, so that every way into a status leads to the same one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from reconciler.clock import Now
from reconciler.core.happening import LogEntry, Step
from reconciler.core.rules import AfterDependencies, Continuous, JobRules, Once
from reconciler.core.schedule import next_tick, quiet_until
from reconciler.core.state import EventName, JobState, Outcome, Owed, Reason, Status
from reconciler.core.value import dataclass
from reconciler.core.words import DAY_MS, roughly

#: A `Retry-After` is believed up to this long: a longer one would bury the job.
RETRY_AFTER_LIMIT_MS: Final = 7 * DAY_MS
#: Runs that someone asked for: an expired job makes these, and a Failed one leaves its status for them.
ASKED: Final = (Owed.CHANGE, Owed.RERUN, Owed.RESTART)
#: Reasons that stand for no run which is owed and due.
_TIMED: Final = (Reason.SCHEDULED, Reason.BACKOFF, Reason.RATE_LIMITED, Reason.AWAITING_APPROVAL)


@dataclass(frozen=True, slots=True)
class At:
    """The circumstances of a step."""

    rules: JobRules
    now: Now
    chance: float


def is_held_back(state: JobState, now: Now) -> bool:
    """Whether backoff or Retry-After holds the owed run back."""
    return state.not_before_ms is not None and now.wall_ms < state.not_before_ms


def settle(state: JobState, at: At, *log: LogEntry, reason: Reason | None = None) -> Step:
    """The status of a job that is not running, from its facts; `reason` is for one that owes a run which is due."""
    if state.expired and state.owed not in ASKED:
        return _completed(state, at, log, "expired")
    if state.owed is None and state.last_outcome is Outcome.FAILED:
        return Step(state=enter(state, Status.FAILED, None, at), log=log)
    if state.owed is None and isinstance(at.rules.schedule, Once) and state.last_outcome is Outcome.SUCCEEDED:
        return _completed(state, at, log, "all scheduled work is done")
    return Step(state=sleeping(state, at, _reason_to_sleep(state, at) or _due(reason)), log=log)


def _completed(state: JobState, at: At, log: tuple[LogEntry, ...], why: str) -> Step:
    news = () if state.status is Status.COMPLETED else (LogEntry(EventName.COMPLETED, why),)
    return Step(state=replace(enter(state, Status.COMPLETED, None, at), queued_ms=None), log=(*log, *news))


def _reason_to_sleep(state: JobState, at: At) -> Reason | None:
    """None where a run is owed and due."""
    if state.owed is None:
        after = isinstance(at.rules.schedule, AfterDependencies)
        return Reason.WAITING_FOR_DEPENDENCY if after else Reason.SCHEDULED
    if state.awaiting is not None:
        return Reason.AWAITING_APPROVAL
    if is_held_back(state, at.now):
        return Reason.RATE_LIMITED if state.last_outcome is Outcome.RATE_LIMITED else Reason.BACKOFF
    return None


def _due(reason: Reason | None) -> Reason | None:
    """A reason that can stand for a run that is owed and due; None where it stood for one that was not."""
    return None if reason in _TIMED else reason


def sleeping(state: JobState, at: At, reason: Reason | None) -> JobState:
    """Asleep; a run that is owed and due stands in the slot queue, from its first moment there."""
    reason = reason or Reason.WAITING_FOR_SLOT
    queued = reason in (Reason.WAITING_FOR_SLOT, Reason.INTERRUPTED)
    since = state.queued_ms if state.queued_ms is not None else at.now.wall_ms
    return replace(enter(state, Status.SLEEPING, reason, at), queued_ms=since if queued else None)


def enter(state: JobState, status: Status, reason: Reason | None, at: At) -> JobState:
    since_ms = state.since_ms if state.status is status else at.now.wall_ms
    return replace(state, status=status, reason=reason, since_ms=since_ms)


def unless_running(state: JobState, at: At, before: JobState) -> Step:
    """A run in progress goes on; a job that waited for something goes on waiting for it."""
    if state.status is Status.RUNNING:
        return Step(state=state)
    return settle(state, at, reason=None if before.owed is None else before.reason)


def owe(state: JobState, why: Owed, at: At) -> JobState:
    """A run is owed for `why`, or for a stronger reason that stood already."""
    since_ms = state.owed_since_ms if state.owed_since_ms is not None else at.now.wall_ms
    return replace(state, owed=_stronger(state.owed, why), owed_since_ms=since_ms)


def _stronger(one: Owed | None, other: Owed) -> Owed:
    order = list(Owed)
    return other if one is None else max(one, other, key=order.index)


def anew(state: JobState, at: At, *log: LogEntry) -> Step:
    """What is owed is a new run: one in progress is superseded, one that was to go on is given up."""
    if state.status is Status.RUNNING:
        return Step(state=stopping(state, Outcome.SUPERSEDED), log=log, stop_run=True)
    return settle(forgiven(run_over(state)), at, *log)


def supersede(state: JobState, at: At) -> Step:
    """The end, however it came, of a run of an older generation."""
    owing = owe(owe(state, Owed.CHANGE, at), state.cause or Owed.CHANGE, at)
    over = replace(forgiven(run_over(owing)), last_outcome=Outcome.SUPERSEDED)
    return settle(over, at, LogEntry(EventName.INTERRUPTED, "stopped: its spec has changed; a new run follows"))


def again(state: JobState, outcome: Outcome, at: At, delay_ms: int | None) -> JobState:
    """The run is to go on, after `delay_ms` where given."""
    owing = owe(state, state.cause or Owed.SCHEDULE, at)
    not_before_ms = None if delay_ms is None else at.now.wall_ms + delay_ms
    return replace(owing, last_outcome=outcome, not_before_ms=not_before_ms, stopping=None, queued_ms=None)


def fail(state: JobState, at: At) -> Step:
    """Errors for longer than `failAfter`. A run that was asked for meanwhile leaves Failed before it is entered."""
    if state.owed in ASKED:
        entry = LogEntry(EventName.ERROR, f"{state.last_error}; the run that was asked for meanwhile follows")
        over = replace(forgiven(run_over(state)), last_outcome=Outcome.FAILED)
        return settle(over, at, entry)
    over = replace(
        run_over(state),
        last_outcome=Outcome.FAILED,
        owed=None,
        owed_since_ms=None,
        tick_at_ms=None,
        not_before_ms=None,
    )
    alive_ms = at.now.alive_ms - (state.errors_since_alive_ms or 0)
    entry = LogEntry(
        EventName.FAILED, f"{state.last_error}; {state.errors} errors in {roughly(alive_ms)}, not run again"
    )
    return Step(state=enter(over, Status.FAILED, None, at), log=(entry,))


def is_over(state: JobState, at: At) -> bool:
    """Whether the window of errors has been open for `failAfter` of alive time."""
    opened_ms = state.errors_since_alive_ms
    return opened_ms is not None and at.now.alive_ms - opened_ms >= at.rules.retry.fail_after_ms


def stopping(state: JobState, why: Outcome) -> JobState:
    superseded = Outcome.SUPERSEDED in (state.stopping, why)
    return replace(state, stopping=Outcome.SUPERSEDED if superseded else why)


def run_over(state: JobState) -> JobState:
    return replace(state, run=None, attempt=0, cause=None, stopping=None, awaiting=None)


def forgiven(state: JobState) -> JobState:
    """No errors, limits or interruptions in a row, and nothing held back because of them."""
    return replace(
        state,
        errors=0,
        errors_since_ms=None,
        errors_since_alive_ms=None,
        last_error=None,
        limits=0,
        interruptions=0,
        not_before_ms=None,
    )


def uncovered(state: JobState) -> JobState:
    """The job as it is beneath its pause."""
    return replace(
        state,
        status=state.held_status or Status.SLEEPING,
        reason=state.held_reason,
        since_ms=state.held_since_ms if state.held_since_ms is not None else state.since_ms,
        held_status=None,
        held_reason=None,
        held_since_ms=None,
    )


def scheduled(state: JobState, at: At) -> JobState:
    """A job under a schedule that is new to it: what it owes at once, and its next tick."""
    tick_at_ms = tick_after(state, at)
    waiting = replace(state, tick_at_ms=tick_at_ms)
    if tick_at_ms is not None and tick_at_ms <= at.now.wall_ms:
        return owe(replace(waiting, tick_at_ms=None), Owed.SCHEDULE, at)
    undone = isinstance(at.rules.schedule, Once) and state.last_outcome is not Outcome.SUCCEEDED
    if undone or isinstance(at.rules.schedule, Continuous):
        return owe(waiting, Owed.SCHEDULE, at)
    return waiting


def tick_after(state: JobState, at: At) -> int | None:
    """The next tick of the schedule after the last start."""
    return next_tick(at.rules, state.last_start_ms, at.now.wall_ms)


def has_expired(rules: JobRules, now: Now) -> bool:
    return rules.expires_at_ms is not None and rules.expires_at_ms <= now.wall_ms


def asked_delay(retry_after_ms: int | None) -> int | None:
    return None if retry_after_ms is None else min(max(retry_after_ms, 0), RETRY_AFTER_LIMIT_MS)


def retry_words(state: JobState, delay_ms: int) -> str:
    gone = state.expired and _stronger(state.owed, state.cause or Owed.SCHEDULE) not in ASKED
    return "the job has expired, it is not tried again" if gone else f"retry in {roughly(delay_ms)}"


def reason_to_stop(at: At) -> Reason:
    quiet = quiet_until(at.rules, at.now.wall_ms) is not None
    return Reason.QUIET_HOURS if quiet else Reason.WAITING_FOR_SLOT
