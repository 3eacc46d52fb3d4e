"""The life of a job: one table of statuses and events (design, section 3).

`advance` takes what is remembered of a job and one thing that happened, and gives what is remembered from then on. It
reads no clock and draws no lots: `now` and `chance` are given. A pair of status and event that the table does not have
is a bug of the caller and raises `IllegalTransition`.

How the pieces fit:

- A job that is not running has the status that its facts give it (`_settle`): what is owed, how the latest run ended,
  whether it has expired. So every way into a status leads to the same one.
- A pause lies over the status beneath it: `held_status` goes on living by the same table while `status` is Paused, and
  a resume uncovers it. A run that is being stopped for a pause is a `held_status` of Running.
- Ticks, reruns and changes only make a run owed. Whether an owed run may start is for the gate (`gate.py`) to say.
- The caller logs what it did to the record itself (Updated, Moved, Deleted, Purged); everything else comes from here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from reconciler.clock import Now
from reconciler.core.happening import (
    AuthorizationChanged,
    ClockSetBack,
    DependencySucceeded,
    Errored,
    Event,
    Expired,
    IllegalTransition,
    Interrupted,
    Limited,
    LogEntry,
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
from reconciler.core.rules import AfterDependencies, Continuous, JobRules, Once
from reconciler.core.schedule import backoff_ms, next_tick, quiet_until
from reconciler.core.state import EventName, JobState, Outcome, Owed, Reason, Status
from reconciler.core.words import DAY_MS, roughly

#: So many interruptions in a row without a unit count as one error.
INTERRUPTIONS_PER_ERROR: Final = 3
#: A `Retry-After` is believed up to this long: a longer one would bury the job.
RETRY_AFTER_LIMIT_MS: Final = 7 * DAY_MS
#: An error's message is kept up to this many characters.
MESSAGE_LIMIT: Final = 2_000
#: Runs that someone asked for: an expired job makes these, and a Failed one leaves its status for them.
ASKED: Final = (Owed.CHANGE, Owed.RERUN, Owed.RESTART)
#: What is remembered of the past: none of these lies ahead unless the clock has been set back.
_PAST: Final = (
    "since_ms",
    "held_since_ms",
    "owed_since_ms",
    "last_start_ms",
    "last_success_ms",
    "errors_since_ms",
    "queued_ms",
)


@dataclass(frozen=True, slots=True)
class _At:
    """The circumstances of a step."""

    rules: JobRules
    now: Now
    chance: float


# --- the ways in ----------------------------------------------------------------------------------------------------


def created(rules: JobRules, now: Now) -> Step:
    """A job that was just created: its first run is owed at once, except where cron or a dependency decides. A `rerun`
    or `restart` that its spec already has asks for nothing."""
    at = _At(rules, now, 0.0)
    state = replace(JobState(since_ms=now.wall_ms), expired=_has_expired(rules, now))
    step = _settle(_scheduled(state, at), at, LogEntry(EventName.CREATED))
    if not rules.suspend:
        return step
    paused = _suspend(step.state, Suspended(), at)
    return replace(paused, log=(*step.log, *paused.log))


def advance(state: JobState, event: Event, rules: JobRules, now: Now, chance: float = 0.5) -> Step:
    """What follows from `event`. `rules` are those that hold from now on; `chance`, in [0, 1), places a delay within
    its jitter. Raises IllegalTransition."""
    return _handler(state.status, event)(state, event, _At(rules, now, chance))


def is_legal(state: JobState, event: Event) -> bool:
    """Whether the table has this event for the status that the job has, and for the one beneath a pause."""
    rule = TABLE[type(event)][state.status]
    if rule is _beneath and state.held_status is not None:
        return TABLE[type(event)][state.held_status] is not None
    return rule is not None


def happenings(state: JobState, rules: JobRules, now: Now) -> tuple[Event, ...]:
    """What time alone has brought about by `now`; to be advanced through in this order."""
    found: list[Event] = []
    if any((getattr(state, name) or 0) > now.wall_ms for name in _PAST):
        return (ClockSetBack(),)
    if state.expired != _has_expired(rules, now):
        found.append(Unexpired() if state.expired else Expired())
    if state.tick_at_ms is not None and state.tick_at_ms <= now.wall_ms:
        found.append(Ticked())
    running = state.status is Status.RUNNING and state.stopping is None
    if running and quiet_until(rules, now.wall_ms) is not None:
        found.append(QuietBegan())
    return tuple(found)


def is_in_progress(state: JobState) -> bool:
    """Whether a run is in progress, be it one that is being stopped for a pause."""
    return Status.RUNNING in (state.status, state.held_status)


def accepts_units(state: JobState) -> bool:
    """Whether a unit of the run in progress may be committed: not one of an older generation."""
    return is_in_progress(state) and state.stopping is not Outcome.SUPERSEDED


def is_held_back(state: JobState, now: Now) -> bool:
    """Whether backoff or Retry-After holds the owed run back."""
    return state.not_before_ms is not None and now.wall_ms < state.not_before_ms


# --- what follows: time and the gate --------------------------------------------------------------------------------


def _tick(state: JobState, _event: Ticked, at: _At) -> Step:
    return _unless_running(_owe(replace(state, tick_at_ms=None), Owed.SCHEDULE, at), at, state)


def _set_back(state: JobState, _event: ClockSetBack, at: _At) -> Step:
    """Nothing that is remembered as past lies ahead, and nothing that lies ahead is further than its rule puts it."""
    now_ms = at.now.wall_ms
    past = {name: min(getattr(state, name), now_ms) for name in _PAST if getattr(state, name) is not None}
    state = replace(state, **past)
    if state.not_before_ms is not None:
        state = replace(state, not_before_ms=min(state.not_before_ms, now_ms + at.rules.retry.max_ms))
    if state.tick_at_ms is None:
        return Step(state=state)
    tick_at_ms = _next_tick(state, at)
    pause_ms = now_ms + at.rules.retry.initial_ms
    return Step(state=replace(state, tick_at_ms=min(state.tick_at_ms, pause_ms) if tick_at_ms is None else tick_at_ms))


def _follow(state: JobState, _event: DependencySucceeded, at: _At) -> Step:
    if not isinstance(at.rules.schedule, AfterDependencies):
        return Step(state=state)
    return _unless_running(_owe(state, Owed.DEPENDENCY, at), at, state)


def _wait(state: JobState, event: Waiting, at: _At) -> Step:
    if state.owed is None:
        raise IllegalTransition("a job that owes no run waits for nothing")
    return Step(state=_sleeping(state, at, event.reason))


def _hush(state: JobState, _event: QuietBegan, _at: _At) -> Step:
    return Step(state=_stopping(state, Outcome.STOPPED), stop_run=True)


def _expire(state: JobState, _event: Expired, at: _At) -> Step:
    return _unless_running(replace(state, expired=True), at, state)


def _unexpire(state: JobState, _event: Unexpired, at: _At) -> Step:
    """What was Completed because it had expired enters its status anew, be it Completed again."""
    since_ms = at.now.wall_ms if state.status is Status.COMPLETED else state.since_ms
    return _unless_running(replace(state, expired=False, since_ms=since_ms), at, state)


# --- what follows: a run --------------------------------------------------------------------------------------------


def _start(state: JobState, event: Started, at: _At) -> Step:
    if state.owed is None:
        raise IllegalTransition("a run starts only where one is owed")
    wall_ms = at.now.wall_ms
    running = replace(
        _enter(state, Status.RUNNING, None, at),
        run=event.run,
        attempt=state.attempt + 1 if event.run == state.run else 1,
        cause=state.owed,
        owed=None,
        owed_since_ms=None,
        not_before_ms=None,
        queued_ms=None,
        stopping=None,
        last_start_ms=wall_ms,
        tick_at_ms=next_tick(at.rules, wall_ms, wall_ms),
        announced=True,
    )
    return Step(state=running, log=() if state.announced else (LogEntry(EventName.STARTED),))


def _commit(state: JobState, event: UnitCommitted, _at: _At) -> Step:
    if not accepts_units(state):
        raise IllegalTransition("a unit of an older generation is refused")
    log = (LogEntry(EventName.SYNCED, event.message),)
    return Step(state=_forgiven(state) if event.moved else replace(state, interruptions=0), log=log)


def _succeed(state: JobState, event: Succeeded, at: _At) -> Step:
    if state.stopping is Outcome.SUPERSEDED:
        return _supersede(state, at)
    over = replace(
        _forgiven(_run_over(state)), last_outcome=Outcome.SUCCEEDED, last_success_ms=at.now.wall_ms, queued_ms=None
    )
    if isinstance(at.rules.schedule, Continuous):
        if event.found_nothing and over.owed is None:
            over = replace(over, tick_at_ms=at.now.wall_ms + at.rules.retry.initial_ms)
        else:
            over = _owe(over, Owed.SCHEDULE, at)
    return _settle(over, at)


def _err(state: JobState, event: Errored, at: _At) -> Step:
    if state.stopping is Outcome.SUPERSEDED:
        return _supersede(state, at)
    message = event.message[:MESSAGE_LIMIT]
    wrong = replace(
        state,
        errors=state.errors + 1,
        errors_since_ms=state.errors_since_ms if state.errors else at.now.wall_ms,
        errors_since_alive_ms=state.errors_since_alive_ms if state.errors else at.now.alive_ms,
        last_error=message,
        interruptions=0,
    )
    if _is_over(wrong, at):
        return _fail(wrong, at)
    delay_ms = _asked_delay(event.retry_after_ms)
    if delay_ms is None:
        delay_ms = backoff_ms(at.rules.retry, wrong.errors, at.chance, fatal=event.fatal)
    entry = LogEntry(EventName.ERROR, f"{message}; {_retry_words(wrong, delay_ms)}")
    return _settle(_again(wrong, Outcome.ERRORED, at, delay_ms), at, entry)


def _limit(state: JobState, event: Limited, at: _At) -> Step:
    if state.stopping is Outcome.SUPERSEDED:
        return _supersede(state, at)
    limited = replace(state, limits=state.limits + 1, interruptions=0)
    delay_ms = _asked_delay(event.retry_after_ms)
    if delay_ms is None:
        delay_ms = backoff_ms(at.rules.retry, limited.limits, at.chance)
    entry = LogEntry(EventName.SLEEPING, f"{event.message[:MESSAGE_LIMIT]}; next try in {roughly(delay_ms)}")
    return _settle(_again(limited, Outcome.RATE_LIMITED, at, delay_ms), at, entry)


def _interrupt(state: JobState, event: Interrupted, at: _At) -> Step:
    if state.stopping is Outcome.SUPERSEDED:
        return _supersede(state, at)
    why = "the controller died" if event.by == "death" else "the controller was stopped"
    entry = LogEntry(EventName.INTERRUPTED, f"{why}; the run goes on from its last committed unit")
    count = state.interruptions + 1
    if count >= INTERRUPTIONS_PER_ERROR:
        step = _err(state, Errored(f"cut off {count} times in a row without a unit"), at)
        return replace(step, log=(entry, *step.log))
    cut = replace(_again(state, Outcome.INTERRUPTED, at, None), interruptions=count)
    return _settle(cut, at, entry, reason=Reason.INTERRUPTED)


def _stop(state: JobState, _event: Stopped, at: _At) -> Step:
    if state.stopping is Outcome.SUPERSEDED:
        return _supersede(state, at)
    entry = LogEntry(EventName.INTERRUPTED, "stopped at a unit; the run goes on from there later")
    return _settle(_again(state, Outcome.STOPPED, at, None), at, entry, reason=_reason_to_stop(at))


# --- what follows: an edited spec -----------------------------------------------------------------------------------


def _suspend(state: JobState, _event: Suspended, at: _At) -> Step:
    paused = replace(
        state,
        status=Status.PAUSED,
        reason=None,
        since_ms=at.now.wall_ms,
        held_status=state.status,
        held_reason=state.reason,
        held_since_ms=state.since_ms,
    )
    running = state.status is Status.RUNNING
    return Step(
        state=_stopping(paused, Outcome.STOPPED) if running else paused,
        log=(LogEntry(EventName.PAUSED),),
        stop_run=running,
    )


def _resume(state: JobState, _event: Resumed, at: _At) -> Step:
    uncovered = _uncovered(state)
    entry = LogEntry(EventName.RESUMED)
    if uncovered.status is not Status.SLEEPING or uncovered.owed is None:
        return Step(state=uncovered, log=(entry,))
    return _settle(replace(uncovered, queued_ms=None), at, entry)


def _rerun(state: JobState, _event: RerunAsked, at: _At) -> Step:
    entry = LogEntry(EventName.RERUN)
    asked = replace(_owe(state, Owed.RERUN, at), announced=False)
    if state.status is Status.RUNNING:
        return Step(state=asked, log=(entry,))
    return _settle(_forgiven(asked), at, entry)


def _restart(state: JobState, _event: RestartAsked, at: _At) -> Step:
    asked = replace(_owe(state, Owed.RESTART, at), announced=False)
    return replace(_anew(asked, at, LogEntry(EventName.RESTARTED)), drop_cursor=True)


def _new_work(state: JobState, event: WorkChanged, at: _At) -> Step:
    owing = _owe(state, Owed.CHANGE, at) if state.status is not Status.SLEEPING else state
    return replace(_anew(owing, at), drop_cursor=event.resets_cursor)


def _new_auth(state: JobState, _event: AuthorizationChanged, at: _At) -> Step:
    return _anew(state if state.status is Status.SLEEPING else _owe(state, Owed.CHANGE, at), at)


def _new_schedule(state: JobState, _event: ScheduleChanged, at: _At) -> Step:
    match state.status:
        case Status.RUNNING:
            return Step(state=replace(state, tick_at_ms=_next_tick(state, at)))
        case Status.FAILED:
            return _relax(state, Relaxed(), at)
        case _:
            return _settle(_scheduled(_forgiven(state), at), at)


def _relax(state: JobState, _event: Relaxed, at: _At) -> Step:
    if state.status is Status.FAILED:
        state = _owe(state, Owed.CHANGE, at)
    return _settle(_forgiven(state), at)


def _look_again(state: JobState, _event: RulesChanged, at: _At) -> Step:
    return _settle(state, at)


def _nothing(state: JobState, _event: Event, _at: _At) -> Step:
    return Step(state=state)


def _beneath(state: JobState, event: Event, at: _At) -> Step:
    """An event during a pause happens to the status beneath it."""
    step = _handler(state.held_status or Status.SLEEPING, event)(_uncovered(state), event, at)
    covered = replace(
        step.state,
        status=Status.PAUSED,
        reason=None,
        since_ms=state.since_ms,
        held_status=step.state.status,
        held_reason=step.state.reason,
        held_since_ms=step.state.since_ms,
    )
    return replace(step, state=covered)


# --- the table ------------------------------------------------------------------------------------------------------

_Handler = Callable[[JobState, Any, _At], Step]
_Row = tuple[type[Event], _Handler | None, _Handler | None, _Handler | None, _Handler | None, _Handler | None]
_COLUMNS: Final = (Status.RUNNING, Status.SLEEPING, Status.FAILED, Status.COMPLETED, Status.PAUSED)

# fmt: off
_ROWS: Final[tuple[_Row, ...]] = (
    # event                  Running         Sleeping        Failed          Completed       Paused
    (Ticked,                _tick,          _tick,          None,           _tick,          _beneath),
    (ClockSetBack,          _set_back,      _set_back,      _set_back,      _set_back,      _set_back),
    (DependencySucceeded,   _follow,        _follow,        _nothing,       _follow,        _beneath),
    (Waiting,               None,           _wait,          None,           None,           None),
    (Started,               None,           _start,         None,           None,           None),
    (UnitCommitted,         _commit,        None,           None,           None,           _beneath),
    (Succeeded,             _succeed,       None,           None,           None,           _beneath),
    (Errored,               _err,           None,           None,           None,           _beneath),
    (Limited,               _limit,         None,           None,           None,           _beneath),
    (Interrupted,           _interrupt,     None,           None,           None,           _beneath),
    (Stopped,               _stop,          None,           None,           None,           _beneath),
    (QuietBegan,            _hush,          None,           None,           None,           None),
    (Suspended,             _suspend,       _suspend,       _suspend,       _suspend,       None),
    (Resumed,               None,           None,           None,           None,           _resume),
    (RerunAsked,            _rerun,         _rerun,         _rerun,         _rerun,         _beneath),
    (RestartAsked,          _restart,       _restart,       _restart,       _restart,       _beneath),
    (WorkChanged,           _new_work,      _new_work,      _new_work,      _new_work,      _beneath),
    (ScheduleChanged,       _new_schedule,  _new_schedule,  _new_schedule,  _new_schedule,  _beneath),
    (AuthorizationChanged,  _new_auth,      _new_auth,      _new_auth,      _nothing,       _beneath),
    (Relaxed,               _nothing,       _relax,         _relax,         _nothing,       _beneath),
    (RulesChanged,          _nothing,       _look_again,    _nothing,       _nothing,       _beneath),
    (Expired,               _expire,        _expire,        _expire,        _expire,        _beneath),
    (Unexpired,             _unexpire,      _unexpire,      _unexpire,      _unexpire,      _beneath),
)
# fmt: on

#: What follows from an event in a status; None where it cannot happen.
TABLE: Final[Mapping[type[Event], Mapping[Status, _Handler | None]]] = MappingProxyType(
    {row[0]: MappingProxyType(dict(zip(_COLUMNS, row[1:], strict=True))) for row in _ROWS}
)


def _handler(status: Status, event: Event) -> _Handler:
    handler = TABLE[type(event)][status]
    if handler is None:
        raise IllegalTransition(f"{type(event).__name__} cannot happen to a job that is {status}")
    return handler


# --- the pieces -----------------------------------------------------------------------------------------------------


def _settle(state: JobState, at: _At, *log: LogEntry, reason: Reason | None = None) -> Step:
    """The status of a job that is not running, from its facts; `reason` is for one that owes a run which is due."""
    if state.expired and state.owed not in ASKED:
        return _completed(state, at, log, "expired")
    if state.owed is None and state.last_outcome is Outcome.FAILED:
        return Step(state=_enter(state, Status.FAILED, None, at), log=log)
    if state.owed is None and isinstance(at.rules.schedule, Once) and state.last_outcome is Outcome.SUCCEEDED:
        return _completed(state, at, log, "all scheduled work is done")
    return Step(state=_sleeping(state, at, _reason_to_sleep(state, at) or _due(reason)), log=log)


def _completed(state: JobState, at: _At, log: tuple[LogEntry, ...], why: str) -> Step:
    news = () if state.status is Status.COMPLETED else (LogEntry(EventName.COMPLETED, why),)
    return Step(state=replace(_enter(state, Status.COMPLETED, None, at), queued_ms=None), log=(*log, *news))


def _reason_to_sleep(state: JobState, at: _At) -> Reason | None:
    """None where a run is owed and due."""
    if state.owed is None:
        after = isinstance(at.rules.schedule, AfterDependencies)
        return Reason.WAITING_FOR_DEPENDENCY if after else Reason.SCHEDULED
    if is_held_back(state, at.now):
        return Reason.RATE_LIMITED if state.last_outcome is Outcome.RATE_LIMITED else Reason.BACKOFF
    return None


def _due(reason: Reason | None) -> Reason | None:
    """A reason that can stand for a run that is owed and due; None where it stood for one that was not."""
    return None if reason in (Reason.SCHEDULED, Reason.BACKOFF, Reason.RATE_LIMITED) else reason


def _sleeping(state: JobState, at: _At, reason: Reason | None) -> JobState:
    """Asleep; a run that is owed and due stands in the slot queue, from its first moment there."""
    reason = reason or Reason.WAITING_FOR_SLOT
    queued = reason in (Reason.WAITING_FOR_SLOT, Reason.INTERRUPTED)
    since = state.queued_ms if state.queued_ms is not None else at.now.wall_ms
    return replace(_enter(state, Status.SLEEPING, reason, at), queued_ms=since if queued else None)


def _enter(state: JobState, status: Status, reason: Reason | None, at: _At) -> JobState:
    since_ms = state.since_ms if state.status is status else at.now.wall_ms
    return replace(state, status=status, reason=reason, since_ms=since_ms)


def _unless_running(state: JobState, at: _At, before: JobState) -> Step:
    """A run in progress goes on; a job that waited for something goes on waiting for it."""
    if state.status is Status.RUNNING:
        return Step(state=state)
    return _settle(state, at, reason=None if before.owed is None else before.reason)


def _owe(state: JobState, why: Owed, at: _At) -> JobState:
    """A run is owed for `why`, or for a stronger reason that stood already."""
    since_ms = state.owed_since_ms if state.owed_since_ms is not None else at.now.wall_ms
    return replace(state, owed=_stronger(state.owed, why), owed_since_ms=since_ms)


def _stronger(one: Owed | None, other: Owed) -> Owed:
    order = list(Owed)
    return other if one is None else max(one, other, key=order.index)


def _anew(state: JobState, at: _At, *log: LogEntry) -> Step:
    """What is owed is a new run: one in progress is superseded, one that was to go on is given up."""
    if state.status is Status.RUNNING:
        return Step(state=_stopping(state, Outcome.SUPERSEDED), log=log, stop_run=True)
    return _settle(_forgiven(_run_over(state)), at, *log)


def _supersede(state: JobState, at: _At) -> Step:
    """The end, however it came, of a run of an older generation."""
    owing = _owe(_owe(state, Owed.CHANGE, at), state.cause or Owed.CHANGE, at)
    over = replace(_forgiven(_run_over(owing)), last_outcome=Outcome.SUPERSEDED)
    return _settle(over, at, LogEntry(EventName.INTERRUPTED, "stopped: its spec has changed; a new run follows"))


def _again(state: JobState, outcome: Outcome, at: _At, delay_ms: int | None) -> JobState:
    """The run is to go on, after `delay_ms` where given."""
    owing = _owe(state, state.cause or Owed.SCHEDULE, at)
    not_before_ms = None if delay_ms is None else at.now.wall_ms + delay_ms
    return replace(owing, last_outcome=outcome, not_before_ms=not_before_ms, stopping=None, queued_ms=None)


def _fail(state: JobState, at: _At) -> Step:
    """Errors for longer than `failAfter`. A run that was asked for meanwhile leaves Failed before it is entered."""
    if state.owed in ASKED:
        entry = LogEntry(EventName.ERROR, f"{state.last_error}; the run that was asked for meanwhile follows")
        over = replace(_forgiven(_run_over(state)), last_outcome=Outcome.FAILED)
        return _settle(over, at, entry)
    over = replace(
        _run_over(state),
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
    return Step(state=_enter(over, Status.FAILED, None, at), log=(entry,))


def _is_over(state: JobState, at: _At) -> bool:
    """Whether the window of errors has been open for `failAfter` of alive time."""
    opened_ms = state.errors_since_alive_ms
    return opened_ms is not None and at.now.alive_ms - opened_ms >= at.rules.retry.fail_after_ms


def _stopping(state: JobState, why: Outcome) -> JobState:
    superseded = Outcome.SUPERSEDED in (state.stopping, why)
    return replace(state, stopping=Outcome.SUPERSEDED if superseded else why)


def _run_over(state: JobState) -> JobState:
    return replace(state, run=None, attempt=0, cause=None, stopping=None)


def _forgiven(state: JobState) -> JobState:
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


def _uncovered(state: JobState) -> JobState:
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


def _scheduled(state: JobState, at: _At) -> JobState:
    """A job under a schedule that is new to it: what it owes at once, and its next tick."""
    tick_at_ms = _next_tick(state, at)
    waiting = replace(state, tick_at_ms=tick_at_ms)
    if tick_at_ms is not None and tick_at_ms <= at.now.wall_ms:
        return _owe(replace(waiting, tick_at_ms=None), Owed.SCHEDULE, at)
    undone = isinstance(at.rules.schedule, Once) and state.last_outcome is not Outcome.SUCCEEDED
    if undone or isinstance(at.rules.schedule, Continuous):
        return _owe(waiting, Owed.SCHEDULE, at)
    return waiting


def _next_tick(state: JobState, at: _At) -> int | None:
    return next_tick(at.rules, state.last_start_ms, at.now.wall_ms)


def _has_expired(rules: JobRules, now: Now) -> bool:
    return rules.expires_at_ms is not None and rules.expires_at_ms <= now.wall_ms


def _asked_delay(retry_after_ms: int | None) -> int | None:
    return None if retry_after_ms is None else min(max(retry_after_ms, 0), RETRY_AFTER_LIMIT_MS)


def _retry_words(state: JobState, delay_ms: int) -> str:
    gone = state.expired and _stronger(state.owed, state.cause or Owed.SCHEDULE) not in ASKED
    return "the job has expired, it is not tried again" if gone else f"retry in {roughly(delay_ms)}"


def _reason_to_stop(at: _At) -> Reason:
    quiet = quiet_until(at.rules, at.now.wall_ms) is not None
    return Reason.QUIET_HOURS if quiet else Reason.WAITING_FOR_SLOT
