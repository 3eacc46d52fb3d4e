"""What is remembered of a job, and what can happen to it: the values of the state machine in `lifecycle.py`.

Every field of `JobState` is a column of the record's `job` table. Times end in `_ms`: wall time since the Unix epoch,
or alive time (the controller's uptime) where the name says so.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from reconciler.core.value import dataclass


class Status(StrEnum):
    """Design, section 3."""

    RUNNING = "Running"
    SLEEPING = "Sleeping"
    FAILED = "Failed"
    PAUSED = "Paused"
    COMPLETED = "Completed"


class Reason(StrEnum):
    """Why a job is Sleeping."""

    SCHEDULED = "Scheduled"
    BACKOFF = "Backoff"
    RATE_LIMITED = "RateLimited"
    QUIET_HOURS = "QuietHours"
    WAITING_FOR_DEPENDENCY = "WaitingForDependency"
    WAITING_FOR_SLOT = "WaitingForSlot"
    INTERRUPTED = "Interrupted"
    AWAITING_APPROVAL = "AwaitingApproval"
    AWAITING_CONSENT = "AwaitingConsent"


class Owed(StrEnum):
    """Why a run is owed. A job owes at most one run; the strongest reason is kept (last in this list)."""

    SCHEDULE = "schedule"
    DEPENDENCY = "dependency"
    CHANGE = "change"  # a changed work digest
    RERUN = "rerun"
    RESTART = "restart"


class Outcome(StrEnum):
    """How a run, or the latest attempt of one, ended."""

    SUCCEEDED = "succeeded"
    ERRORED = "errored"
    RATE_LIMITED = "rate-limited"
    INTERRUPTED = "interrupted"  # the controller died or was stopped
    STOPPED = "stopped"  # paused, quiet hours
    SUPERSEDED = "superseded"  # a newer generation, or a restart
    FAILED = "failed"  # the last error of a window longer than failAfter


#: Where a job stays until someone changes its spec; 90 days later it is purged.
FINAL: Final = (Status.FAILED, Status.PAUSED, Status.COMPLETED)


def back_command(name: str, status: Status) -> str:
    """What brings a purged job back, that was `status` when it was purged."""
    return f"reconcile {'resume' if status is Status.PAUSED else 'rerun'} {name}"


class EventName(StrEnum):
    """One line of a job's log (design, section 4)."""

    STARTED = "Started"
    SYNCED = "Synced"
    ERROR = "Error"
    SLEEPING = "Sleeping"
    FAILED = "Failed"
    COMPLETED = "Completed"
    CREATED = "Created"
    UPDATED = "Updated"
    PAUSED = "Paused"
    RESUMED = "Resumed"
    RERUN = "Rerun"
    RESTARTED = "Restarted"
    MOVED = "Moved"
    DELETED = "Deleted"
    UNDELETED = "Undeleted"
    PURGED = "Purged"
    INTERRUPTED = "Interrupted"
    APPROVED = "Approved"
    SECRET_ROTATED = "SecretRotated"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """What is remembered of a job's life. The defaults are those of a job that has just been created.

    `owed` is why a run is owed, None where none is. `run` is the id of the run in progress, or of one that was cut off
    or failed and is to go on; `attempt` counts its tries. `tick_at_ms` is when the schedule next makes a run owed.
    `not_before_ms` holds an owed run back (backoff, Retry-After). `held` is the status and reason before a pause.
    """

    status: Status = Status.SLEEPING
    reason: Reason | None = Reason.SCHEDULED
    since_ms: int = 0  # when this status was entered
    held_status: Status | None = None
    held_reason: Reason | None = None
    held_since_ms: int | None = None
    owed: Owed | None = None
    owed_since_ms: int | None = None
    tick_at_ms: int | None = None
    not_before_ms: int | None = None
    run: int | None = None
    attempt: int = 0
    last_start_ms: int | None = None
    last_success_ms: int | None = None
    last_outcome: Outcome | None = None
    errors: int = 0  # in a row
    errors_since_ms: int | None = None  # wall time of the first of them
    errors_since_alive_ms: int | None = None
    last_error: str | None = None
    limits: int = 0  # rate limits in a row
    interruptions: int = 0  # in a row without a unit
    announced: bool = False  # Started was logged since created, rerun or restart
    expired: bool = False
    queued_ms: int | None = None  # since when it waits in the slot queue
    cause: Owed | None = None  # why the run that `run` names is made; owed again when it is cut off or fails
    awaiting: str | None = None  # what a guard holds the owed run back for, in words, until a person approves
    stopping: Outcome | None = None  # asked of the run in progress: STOPPED, or SUPERSEDED (its units are refused)
