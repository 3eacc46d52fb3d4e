"""What can happen to a job, and what follows from it: what the state machine (`lifecycle.py`) takes and gives."""

from __future__ import annotations

from typing import Literal

from reconciler.core.state import EventName, JobState, Reason
from reconciler.core.value import Value, dataclass


class Ticked(Value):
    """The schedule's time has come (`tick_at_ms`)."""


class ClockSetBack(Value):
    """The wall clock shows an earlier time than one that is remembered: times that lie ahead are brought back."""


class DependencySucceeded(Value):
    """A run of a job that this one depends on has succeeded."""

    name: str = ""


class Waiting(Value):
    """The gate holds the owed run back, and why."""

    reason: Reason


class Started(Value):
    """The owed run has started. `run` is its id: that of `JobState.run` where a run goes on, else a new one."""

    run: int


class UnitCommitted(Value):
    """A unit of the run in progress is committed; `moved` says that it moved the cursor."""

    moved: bool = True
    message: str = ""


class Succeeded(Value):
    """The run has come to its end."""

    found_nothing: bool = False


class Errored(Value):
    """The run has failed, or its process died by itself. `fatal`: nothing will mend by itself."""

    message: str
    fatal: bool = False
    retry_after_ms: int | None = None


class Limited(Value):
    """The other side asked for patience: not an error."""

    message: str
    retry_after_ms: int | None = None


class Held(Value):
    """A guard ended the run before it did anything: `message` says what a person is to approve. `is_approved`: somebody did
    while the run was on its way."""

    message: str
    is_approved: bool = False


class Approved(Value):
    """A person approved what the guard holds back, the difference named `digest`."""

    digest: str


class Interrupted(Value):
    """The run was cut off by the controller's own death, or by its stop."""

    by: Literal["death", "stop"] = "death"


class Stopped(Value):
    """The run has ended at a unit because it was asked to (a pause, quiet hours, a change), or was killed for it."""


class QuietBegan(Value):
    """A quiet window has begun while the run is in progress."""


class Suspended(Value):
    """`spec.suspend` became true."""


class Resumed(Value):
    """`spec.suspend` became false."""


class RerunAsked(Value):
    """`spec.rerun` changed."""


class RestartAsked(Value):
    """`spec.restart` changed: the cursor is dropped."""


class WorkChanged(Value):
    """Provider, jobType or config changed; `resets_cursor` where the cursor means nothing under the new ones."""

    resets_cursor: bool = False


class ScheduleChanged(Value):
    """The schedule changed: in the work digest too, but no reason to stop a run."""


class AuthorizationChanged(Value):
    """Another authorization, or the spec of the one that the job uses changed."""


class Relaxed(Value):
    """Retry or timeout changed."""


class RulesChanged(Value):
    """Any other rule changed: quiet hours, dependencies, deletion policy, lane; `judges_anew` where that may set free
    what a guard holds back."""

    judges_anew: bool = False


class Expired(Value):
    """`expiresAt` has come."""


class Unexpired(Value):
    """`expiresAt` lies ahead again, or is gone."""


Event = (
    Ticked
    | ClockSetBack
    | DependencySucceeded
    | Waiting
    | Started
    | UnitCommitted
    | Succeeded
    | Errored
    | Limited
    | Held
    | Approved
    | Interrupted
    | Stopped
    | QuietBegan
    | Suspended
    | Resumed
    | RerunAsked
    | RestartAsked
    | WorkChanged
    | ScheduleChanged
    | AuthorizationChanged
    | Relaxed
    | RulesChanged
    | Expired
    | Unexpired
)


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One line for the job's log."""

    name: EventName
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What follows from an event. `stop_run`: the run in progress is to be told to stop at its next unit."""

    state: JobState
    log: tuple[LogEntry, ...] = ()
    drop_cursor: bool = False
    stop_run: bool = False


class IllegalTransition(AssertionError):
    """An event that the table does not have for this status: a bug of the caller."""
