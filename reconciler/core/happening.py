"""What can happen to a job, and what follows from it: what the state machine (`lifecycle.py`) takes and gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from reconciler.core.state import EventName, JobState, Reason


@dataclass(frozen=True, slots=True)
class Ticked:
    """The schedule's time has come (`tick_at_ms`)."""


@dataclass(frozen=True, slots=True)
class ClockSetBack:
    """The wall clock shows an earlier time than one that is remembered: times that lie ahead are brought back."""


@dataclass(frozen=True, slots=True)
class DependencySucceeded:
    """A run of a job that this one depends on has succeeded."""

    name: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The gate holds the owed run back, and why."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Started:
    """The owed run has started. `run` is its id: that of `JobState.run` where a run goes on, else a new one."""

    run: int


@dataclass(frozen=True, slots=True)
class UnitCommitted:
    """A unit of the run in progress is committed; `moved` says that it moved the cursor."""

    moved: bool = True
    message: str = ""


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The run has come to its end."""

    found_nothing: bool = False


@dataclass(frozen=True, slots=True)
class Errored:
    """The run has failed, or its process died by itself. `fatal`: nothing will mend by itself."""

    message: str
    fatal: bool = False
    retry_after_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Limited:
    """The other side asked for patience: not an error."""

    message: str
    retry_after_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """A guard ended the run before it did anything: `message` says what a person is to approve."""

    message: str


@dataclass(frozen=True, slots=True)
class Approved:
    """A person approved what the guard holds back, the difference named `digest`."""

    digest: str


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The run was cut off by the controller's own death, or by its stop."""

    by: Literal["death", "stop"] = "death"


@dataclass(frozen=True, slots=True)
class Stopped:
    """The run has ended at a unit because it was asked to (a pause, quiet hours, a change), or was killed for it."""


@dataclass(frozen=True, slots=True)
class QuietBegan:
    """A quiet window has begun while the run is in progress."""


@dataclass(frozen=True, slots=True)
class Suspended:
    """`spec.suspend` became true."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """`spec.suspend` became false."""


@dataclass(frozen=True, slots=True)
class RerunAsked:
    """`spec.rerun` changed."""


@dataclass(frozen=True, slots=True)
class RestartAsked:
    """`spec.restart` changed: the cursor is dropped."""


@dataclass(frozen=True, slots=True)
class WorkChanged:
    """Provider, jobType or config changed; `resets_cursor` where the cursor means nothing under the new ones."""

    resets_cursor: bool = False


@dataclass(frozen=True, slots=True)
class ScheduleChanged:
    """The schedule changed: in the work digest too, but no reason to stop a run."""


@dataclass(frozen=True, slots=True)
class AuthorizationChanged:
    """Another authorization, or the spec of the one that the job uses changed."""


@dataclass(frozen=True, slots=True)
class Relaxed:
    """Retry or timeout changed."""


@dataclass(frozen=True, slots=True)
class RulesChanged:
    """Any other rule changed: quiet hours, dependencies, deletion policy, lane; `judges_anew` where that may set free
    what a guard holds back."""

    judges_anew: bool = False


@dataclass(frozen=True, slots=True)
class Expired:
    """`expiresAt` has come."""


@dataclass(frozen=True, slots=True)
class Unexpired:
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
