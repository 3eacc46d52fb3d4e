"""The life of a job: one table of statuses and events (design, section 3).

`advance` takes what is remembered of a job and one thing that happened, and gives what is remembered from then on. It
reads no clock and draws no lots: `now` and `chance` are given. A pair of status and event that the table does not have
is a bug of the caller and raises `IllegalTransition`.

How the pieces fit:

- A job that is not running has the status that its facts give it (`settle.py`): what is owed, how the latest run ended,
  whether it has expired. So every way into a status leads to the same one.
- A pause lies over the status beneath it: `held_status` goes on living by the same table while `status` is Paused, and
  a resume uncovers it. A run that is being stopped for a pause is a `held_status` of Running.
- Ticks, reruns and changes only make a run owed. Whether an owed run may start is for the gate (`gate.py`) to say.
- The caller logs what it did to the record itself (Updated, Moved, Deleted, Purged); everything else comes from here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from reconciler.clock import Now
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
from reconciler.core.rules import AfterDependencies, Continuous, JobRules
from reconciler.core.schedule import backoff_ms, next_tick, quiet_until
from reconciler.core.settle import (
    At,
    again,
    anew,
    asked_delay,
    enter,
    fail,
    forgiven,
    has_expired,
    is_over,
    owe,
    reason_to_stop,
    retry_words,
    run_over,
    scheduled,
    settle,
    sleeping,
    stopping,
    supersede,
    tick_after,
    uncovered,
    unless_running,
)
from reconciler.core.state import EventName, JobState, Outcome, Owed, Reason, Status
from reconciler.core.words import roughly

#: So many interruptions in a row without a unit count as one error.
INTERRUPTIONS_PER_ERROR: Final = 3
#: An error's message is kept up to this many characters.
MESSAGE_LIMIT: Final = 2_000
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


# --- the ways in ----------------------------------------------------------------------------------------------------


def created(rules: JobRules, now: Now) -> Step:
    """A job that was just created: its first run is owed at once, except where cron or a dependency decides. A `rerun`
    or `restart` that its spec already has asks for nothing."""
    at = At(rules, now, 0.0)
    state = replace(JobState(since_ms=now.wall_ms), expired=has_expired(rules, now))
    step = settle(scheduled(state, at), at, LogEntry(EventName.CREATED))
    if not rules.suspend:
        return step
    paused = _suspend(step.state, Suspended(), at)
    return replace(paused, log=(*step.log, *paused.log))


def advance(state: JobState, event: Event, rules: JobRules, now: Now, chance: float = 0.5) -> Step:
    """What follows from `event`. `rules` are those that hold from now on; `chance`, in [0, 1), places a delay within
    its jitter. Raises IllegalTransition."""
    return _handler(state.status, event)(state, event, At(rules, now, chance))


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
    if state.expired != has_expired(rules, now):
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


# --- what follows: time and the gate --------------------------------------------------------------------------------


def _tick(state: JobState, _event: Ticked, at: At) -> Step:
    return unless_running(owe(replace(state, tick_at_ms=None, awaiting=None), Owed.SCHEDULE, at), at, state)


def _set_back(state: JobState, _event: ClockSetBack, at: At) -> Step:
    """Nothing that is remembered as past lies ahead, and nothing that lies ahead is further than its rule puts it."""
    now_ms = at.now.wall_ms
    past = {name: min(getattr(state, name), now_ms) for name in _PAST if getattr(state, name) is not None}
    state = replace(state, **past)
    if state.not_before_ms is not None:
        state = replace(state, not_before_ms=min(state.not_before_ms, now_ms + at.rules.retry.max_ms))
    if state.tick_at_ms is None:
        return Step(state=state)
    tick_at_ms = tick_after(state, at)
    pause_ms = now_ms + at.rules.retry.initial_ms
    return Step(state=replace(state, tick_at_ms=min(state.tick_at_ms, pause_ms) if tick_at_ms is None else tick_at_ms))


def _follow(state: JobState, _event: DependencySucceeded, at: At) -> Step:
    if not isinstance(at.rules.schedule, AfterDependencies):
        return Step(state=state)
    return unless_running(owe(replace(state, awaiting=None), Owed.DEPENDENCY, at), at, state)


def _wait(state: JobState, event: Waiting, at: At) -> Step:
    if state.owed is None:
        raise IllegalTransition("a job that owes no run waits for nothing")
    return Step(state=sleeping(state, at, event.reason))


def _hush(state: JobState, _event: QuietBegan, _at: At) -> Step:
    return Step(state=stopping(state, Outcome.STOPPED), stop_run=True)


def _expire(state: JobState, _event: Expired, at: At) -> Step:
    return unless_running(replace(state, expired=True), at, state)


def _unexpire(state: JobState, _event: Unexpired, at: At) -> Step:
    """What was Completed because it had expired enters its status anew, be it Completed again."""
    since_ms = at.now.wall_ms if state.status is Status.COMPLETED else state.since_ms
    return unless_running(replace(state, expired=False, since_ms=since_ms), at, state)


# --- what follows: a run --------------------------------------------------------------------------------------------


def _start(state: JobState, event: Started, at: At) -> Step:
    if state.owed is None:
        raise IllegalTransition("a run starts only where one is owed")
    wall_ms = at.now.wall_ms
    running = replace(
        enter(state, Status.RUNNING, None, at),
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


def _commit(state: JobState, event: UnitCommitted, _at: At) -> Step:
    if not accepts_units(state):
        raise IllegalTransition("a unit of an older generation is refused")
    log = (LogEntry(EventName.SYNCED, event.message),)
    return Step(state=forgiven(state) if event.moved else replace(state, interruptions=0), log=log)


def _succeed(state: JobState, event: Succeeded, at: At) -> Step:
    if state.stopping is Outcome.SUPERSEDED:
        return supersede(state, at)
    over = replace(
        forgiven(run_over(state)), last_outcome=Outcome.SUCCEEDED, last_success_ms=at.now.wall_ms, queued_ms=None
    )
    if isinstance(at.rules.schedule, Continuous):
        if event.found_nothing and over.owed is None:
            over = replace(over, tick_at_ms=at.now.wall_ms + at.rules.retry.initial_ms)
        else:
            over = owe(over, Owed.SCHEDULE, at)
    return settle(over, at)


def _err(state: JobState, event: Errored, at: At) -> Step:
    if state.stopping is Outcome.SUPERSEDED:
        return supersede(state, at)
    message = _clause(event.message)
    wrong = replace(
        state,
        errors=state.errors + 1,
        errors_since_ms=state.errors_since_ms if state.errors else at.now.wall_ms,
        errors_since_alive_ms=state.errors_since_alive_ms if state.errors else at.now.alive_ms,
        last_error=message,
        interruptions=0,
    )
    if is_over(wrong, at):
        return fail(wrong, at)
    delay_ms = asked_delay(event.retry_after_ms)
    if delay_ms is None:
        delay_ms = backoff_ms(at.rules.retry, wrong.errors, at.chance, fatal=event.fatal)
    entry = LogEntry(EventName.ERROR, f"{message}; {retry_words(wrong, delay_ms)}")
    return settle(again(wrong, Outcome.ERRORED, at, delay_ms), at, entry)


def _limit(state: JobState, event: Limited, at: At) -> Step:
    if state.stopping is Outcome.SUPERSEDED:
        return supersede(state, at)
    limited = replace(state, limits=state.limits + 1, interruptions=0)
    delay_ms = asked_delay(event.retry_after_ms)
    if delay_ms is None:
        delay_ms = backoff_ms(at.rules.retry, limited.limits, at.chance)
    entry = LogEntry(EventName.SLEEPING, f"{_clause(event.message)}; next try in {roughly(delay_ms)}")
    return settle(again(limited, Outcome.RATE_LIMITED, at, delay_ms), at, entry)


def _hold(state: JobState, event: Held, at: At) -> Step:
    """Not an error. Its next tick judges the difference anew; a continuous job has none, and is given one."""
    if state.stopping is Outcome.SUPERSEDED:
        return supersede(state, at)
    if event.is_approved:
        return settle(again(forgiven(state), Outcome.STOPPED, at, None), at)
    message = _clause(event.message)
    tick_at_ms = state.tick_at_ms
    if isinstance(at.rules.schedule, Continuous):
        tick_at_ms = at.now.wall_ms + at.rules.retry.max_ms
    held = replace(again(forgiven(state), Outcome.STOPPED, at, None), awaiting=message, tick_at_ms=tick_at_ms)
    return settle(held, at, LogEntry(EventName.SLEEPING, message))


def _approve(state: JobState, event: Approved, at: At) -> Step:
    entry = LogEntry(EventName.APPROVED, f"difference {event.digest}")
    return settle(replace(state, awaiting=None), at, entry)


def _interrupt(state: JobState, event: Interrupted, at: At) -> Step:
    if state.stopping is Outcome.SUPERSEDED:
        return supersede(state, at)
    why = "the controller died" if event.by == "death" else "the controller was stopped"
    entry = LogEntry(EventName.INTERRUPTED, f"{why}; the run goes on from its last committed unit")
    count = state.interruptions + 1
    if count >= INTERRUPTIONS_PER_ERROR:
        step = _err(state, Errored(f"cut off {count} times in a row without a unit"), at)
        return replace(step, log=(entry, *step.log))
    cut = replace(again(state, Outcome.INTERRUPTED, at, None), interruptions=count)
    return settle(cut, at, entry, reason=Reason.INTERRUPTED)


def _stop(state: JobState, _event: Stopped, at: At) -> Step:
    if state.stopping is Outcome.SUPERSEDED:
        return supersede(state, at)
    entry = LogEntry(EventName.INTERRUPTED, "stopped at a unit; the run goes on from there later")
    return settle(again(state, Outcome.STOPPED, at, None), at, entry, reason=reason_to_stop(at))


# --- what follows: an edited spec -----------------------------------------------------------------------------------


def _suspend(state: JobState, _event: Suspended, at: At) -> Step:
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
        state=stopping(paused, Outcome.STOPPED) if running else paused,
        log=(LogEntry(EventName.PAUSED),),
        stop_run=running,
    )


def _resume(state: JobState, _event: Resumed, at: At) -> Step:
    resumed = uncovered(state)
    entry = LogEntry(EventName.RESUMED)
    if resumed.status is not Status.SLEEPING or resumed.owed is None:
        return Step(state=resumed, log=(entry,))
    return settle(replace(resumed, queued_ms=None), at, entry)


def _rerun(state: JobState, _event: RerunAsked, at: At) -> Step:
    entry = LogEntry(EventName.RERUN)
    asked = replace(owe(state, Owed.RERUN, at), announced=False, awaiting=None)
    if state.status is Status.RUNNING:
        return Step(state=asked, log=(entry,))
    return settle(forgiven(asked), at, entry)


def _restart(state: JobState, _event: RestartAsked, at: At) -> Step:
    asked = replace(owe(state, Owed.RESTART, at), announced=False)
    return replace(anew(asked, at, LogEntry(EventName.RESTARTED)), drop_cursor=True)


def _new_work(state: JobState, event: WorkChanged, at: At) -> Step:
    owing = owe(state, Owed.CHANGE, at) if state.status is not Status.SLEEPING else state
    return replace(anew(owing, at), drop_cursor=event.resets_cursor)


def _new_auth(state: JobState, _event: AuthorizationChanged, at: At) -> Step:
    return anew(state if state.status is Status.SLEEPING else owe(state, Owed.CHANGE, at), at)


def _new_schedule(state: JobState, _event: ScheduleChanged, at: At) -> Step:
    match state.status:
        case Status.RUNNING:
            return Step(state=replace(state, tick_at_ms=tick_after(state, at)))
        case Status.FAILED:
            return _relax(state, Relaxed(), at)
        case _:
            return settle(scheduled(forgiven(state), at), at)


def _relax(state: JobState, _event: Relaxed, at: At) -> Step:
    if state.status is Status.FAILED:
        state = owe(state, Owed.CHANGE, at)
    return settle(forgiven(state), at)


def _look_again(state: JobState, event: RulesChanged, at: At) -> Step:
    return settle(replace(state, awaiting=None) if event.judges_anew else state, at)


def _nothing(state: JobState, _event: Event, _at: At) -> Step:
    return Step(state=state)


def _beneath(state: JobState, event: Event, at: At) -> Step:
    """An event during a pause happens to the status beneath it."""
    step = _handler(state.held_status or Status.SLEEPING, event)(uncovered(state), event, at)
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

_Handler = Callable[[JobState, Any, At], Step]
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
    (Held,                  _hold,          None,           None,           None,           _beneath),
    (Approved,              None,           _approve,       None,           None,           _beneath),
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


def _clause(message: str) -> str:
    """An error's message, cut to size and without its full stop, for more to follow."""
    return message[:MESSAGE_LIMIT].rstrip().removesuffix(".")


def _handler(status: Status, event: Event) -> _Handler:
    handler = TABLE[type(event)][status]
    if handler is None:
        raise IllegalTransition(f"{type(event).__name__} cannot happen to a job that is {status}")
    return handler
