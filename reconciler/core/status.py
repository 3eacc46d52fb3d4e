"""The status document beside a spec (design, section 4), computed; `reconciler.repo` writes it.

A document is a plain dict in the order in which it is written. Its messages speak of lengths of time as of `now`, so
that they differ from look to look: `essence` leaves them out, for whoever asks whether anything has changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from enum import StrEnum
from typing import Any, Final, Literal, assert_never

from reconciler.clock import Now, iso
from reconciler.core.document import canonical
from reconciler.core.gate import next_start_ms
from reconciler.core.rules import JobRules
from reconciler.core.state import JobState, Outcome, Reason, Status
from reconciler.core.value import dataclass
from reconciler.core.words import listed, roughly
from reconciler.errors import Problem

API_VERSION: Final = "reconciler/v1"
#: So many of the latest runs are in a status.
HISTORY: Final = 5

Readiness = Literal["True", "False", "Unknown"]


class ReadyReason(StrEnum):
    """The closed list of reasons of the condition `Ready`."""

    INVALID = "Invalid"  # False: the spec is invalid; the last known good one runs on
    FAILED = "Failed"  # False
    PAUSED = "Paused"  # False
    ERRORS = "Errors"  # False: errors in a row, to be retried
    COMPLETED = "Completed"  # True
    SUCCEEDED = "Succeeded"  # True: the latest run that came to an end succeeded
    UNDELETED = "Undeleted"  # False: it waits for its spec
    NEVER_RUN = "NeverSucceeded"  # Unknown: no run has succeeded yet, none has failed
    CHECKED = "Checked"  # True, of an authorization: a run has resolved its secrets
    UNUSED = "Unused"  # Unknown, of an authorization


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What a run, or all of them, moved."""

    rows: int = 0
    added: int = 0
    removed: int = 0
    omitted: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """One run. `finished_ms` and `outcome` are None while it is in progress or to go on."""

    id: int
    started_ms: int
    finished_ms: int | None = None
    outcome: Outcome | None = None
    attempt: int = 1
    counts: Counts = Counts()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a status says of anything declared. `condition` and `condition_ms` are the Ready condition as it was last
    written (`"True"`, or any text that begins with it) and when it became so. `problems` are those of a spec that has
    become invalid."""

    name: str
    title: str = ""
    provider: str = ""
    created_ms: int = 0
    created_by: str = ""
    updated_ms: int = 0
    updated_by: str = ""
    generation: int = 1
    observed_generation: int = 0
    digest: str = ""
    revision: str = ""
    condition: str = ""
    condition_ms: int = 0
    problems: Sequence[Problem] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFacts(Facts):
    """What a job's status says. `waiting` is what the gate last said in words. `runs` come latest first. `blocked` says why
    the job is not deleted though no file declares it, since `blocked_ms`; `undeleted` what it waits for instead of
    running."""

    state: JobState
    rules: JobRules
    job_type: str = ""
    type: str = ""
    authorization: str = ""
    waiting: str = ""
    totals: Counts = Counts()
    runs: Sequence[RunFacts] = ()
    blocked: str = ""
    blocked_ms: int | None = None
    undeleted: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthFacts(Facts):
    """What an authorization's status says. `secrets` maps each credential to when a run last saw its present value."""

    method: str = ""
    used_by: Sequence[str] = ()
    secrets: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ready:
    """The condition: whether the thing does its work."""

    status: Readiness
    reason: ReadyReason


def job_status(facts: JobFacts, now: Now) -> dict[str, Any]:
    """The whole status document of a job."""
    state = facts.state
    said = message(facts, now)
    return _document(
        "JobStatus",
        facts.name,
        {
            "status": str(state.status),
            "reason": _text(state.reason),
            "message": said,
            "title": facts.title,
            "provider": facts.provider,
            "jobType": facts.job_type,
            "type": facts.type,
            "authorization": facts.authorization or None,
            **_provenance(facts),
            "nextRunAt": None if facts.undeleted else _time(next_start_ms(state, facts.rules, now)),
            "lastRun": _run(facts.runs[0]) if facts.runs else None,
            "errors": {
                "consecutive": state.errors,
                "since": _time(state.errors_since_ms),
                "last": state.last_error,
            },
            "totals": _counts(facts.totals),
            "conditions": [_condition(facts, job_ready(facts), said, now), *_blocked(facts)],
            "history": [_run(run) for run in facts.runs[:HISTORY]],
        },
    )


def auth_status(facts: AuthFacts, now: Now) -> dict[str, Any]:
    """The whole status document of an authorization. It holds no secret and no digest of one."""
    said = _auth_message(facts)
    return _document(
        "AuthorizationStatus",
        facts.name,
        {
            "message": said,
            "title": facts.title,
            "provider": facts.provider,
            "method": facts.method,
            **_provenance(facts),
            "usedBy": sorted(facts.used_by),
            "secrets": [{"field": name, "seenAt": iso(facts.secrets[name])} for name in sorted(facts.secrets)],
            "conditions": [_condition(facts, auth_ready(facts), said, now)],
        },
    )


def essence(document: Mapping[str, Any]) -> str:
    """A text that is equal for two status documents that differ in nothing but how their messages put it."""
    status = {name: value for name, value in document["status"].items() if name != "message"}
    status["conditions"] = [
        {name: value for name, value in one.items() if name != "message"} for one in status["conditions"]
    ]
    return canonical({**document, "status": status})


# --- whether it does its work ---------------------------------------------------------------------------------------


def job_ready(facts: JobFacts) -> Ready:
    """The first of these that holds: undeleted, an invalid spec, Failed, Paused, errors in a row, Completed, a success."""
    state = facts.state
    if facts.undeleted:
        return Ready("False", ReadyReason.UNDELETED)
    if facts.problems:
        return Ready("False", ReadyReason.INVALID)
    if state.status is Status.FAILED:
        return Ready("False", ReadyReason.FAILED)
    if state.status is Status.PAUSED:
        return Ready("False", ReadyReason.PAUSED)
    if state.status is Status.COMPLETED:
        return Ready("True", ReadyReason.COMPLETED)
    if state.errors:
        return Ready("False", ReadyReason.ERRORS)
    if state.last_success_ms is None:
        return Ready("Unknown", ReadyReason.NEVER_RUN)
    return Ready("True", ReadyReason.SUCCEEDED)


def auth_ready(facts: AuthFacts) -> Ready:
    if facts.problems:
        return Ready("False", ReadyReason.INVALID)
    return Ready("True", ReadyReason.CHECKED) if facts.secrets else Ready("Unknown", ReadyReason.UNUSED)


# --- in words -------------------------------------------------------------------------------------------------------


def message(facts: JobFacts, now: Now) -> str:
    """What the job does now, and what comes next, in a line."""
    if facts.undeleted:
        return facts.undeleted
    said = _job_message(facts, now)
    return f"{_invalid(facts.problems)}; the last known good one stays: {said}" if facts.problems else said


def _job_message(facts: JobFacts, now: Now) -> str:
    state = facts.state
    match state.status:
        case Status.RUNNING:
            return f"run {state.run}" + (f", attempt {state.attempt}" if state.attempt > 1 else "")
        case Status.SLEEPING:
            return _sleeping_message(facts, now)
        case Status.FAILED:
            return f"not run again: {state.last_error}; change spec.rerun to try again"
        case Status.PAUSED:
            return "spec.suspend is true"
        case Status.COMPLETED:
            return _completed_message(facts)
        case _:
            assert_never(state.status)


def _sleeping_message(facts: JobFacts, now: Now) -> str:
    state, reason = facts.state, facts.state.reason
    match reason:
        case Reason.SCHEDULED:
            return _scheduled_message(facts, now)
        case Reason.BACKOFF:
            return f"retry {_in(state.not_before_ms, now)} after {_errors(state.errors)}: {state.last_error}"
        case Reason.RATE_LIMITED:
            return f"limited by the other side; next try {_in(state.not_before_ms, now)}"
        case Reason.QUIET_HOURS:
            return f"quiet hours; next run {_in(next_start_ms(state, facts.rules, now), now)}"
        case Reason.WAITING_FOR_DEPENDENCY:
            return facts.waiting or f"waits for {listed(facts.rules.depends_on)}"
        case Reason.WAITING_FOR_SLOT:
            return "waits for a free slot"
        case Reason.INTERRUPTED:
            return "interrupted; goes on from its last committed unit"
        case Reason.AWAITING_APPROVAL:
            return state.awaiting or "waits for an approval"
        case Reason.AWAITING_CONSENT:
            return facts.waiting or "waits for a person's consent"
        case None:
            return ""
        case _:
            assert_never(reason)


def _scheduled_message(facts: JobFacts, now: Now) -> str:
    start_ms = next_start_ms(facts.state, facts.rules, now)
    return "its schedule has no further time" if start_ms is None else f"next run {_in(start_ms, now)}"


def _completed_message(facts: JobFacts) -> str:
    if facts.state.expired and facts.rules.expires_at_ms is not None:
        return f"expired at {iso(facts.rules.expires_at_ms)}"
    return "all scheduled work is done"


def _auth_message(facts: AuthFacts) -> str:
    if facts.problems:
        return f"{_invalid(facts.problems)}; the last known good one stays"
    if not facts.used_by:
        return "no job uses it"
    return f"used by {listed(sorted(facts.used_by))}"


def _invalid(problems: Sequence[Problem]) -> str:
    """The first problem with its place, and how many more there are."""
    first = min(problems)
    where = f"{first.path}:{first.line}:{first.column}"
    what = f"{first.field}: {first.message}" if first.field else first.message
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"the spec is invalid at {where}: {what}{more}"


def _in(time_ms: int | None, now: Now) -> str:
    """`in 42 min`, or `now` for a time that has come."""
    if time_ms is None or time_ms <= now.wall_ms:
        return "now"
    return f"in {roughly(time_ms - now.wall_ms)}"


def _errors(count: int) -> str:
    return "1 error" if count == 1 else f"{count} errors"


# --- the document ---------------------------------------------------------------------------------------------------


def _document(kind: str, name: str, status: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "status": status}


def _provenance(facts: Facts) -> dict[str, Any]:
    return {
        "createdAt": iso(facts.created_ms),
        "createdBy": facts.created_by or None,
        "updatedAt": iso(facts.updated_ms),
        "updatedBy": facts.updated_by or None,
        "generation": facts.generation,
        "observedGeneration": facts.observed_generation,
        "digest": facts.digest,
        "revision": facts.revision or None,
    }


def _condition(facts: Facts, ready: Ready, said: str, now: Now) -> dict[str, Any]:
    """`lastTransitionTime` is when the condition's status, not its reason, last changed."""
    same = facts.condition.split("/")[0].split(" ")[0] == ready.status
    return {
        "type": "Ready",
        "status": ready.status,
        "reason": str(ready.reason),
        "message": said,
        "observedGeneration": facts.observed_generation,
        "lastTransitionTime": iso(facts.condition_ms if same else now.wall_ms),
    }


def _blocked(facts: JobFacts) -> list[dict[str, Any]]:
    """The condition of a job whose deletion the budget holds back."""
    if facts.blocked_ms is None:
        return []
    return [
        {
            "type": "PruneBlocked",
            "status": "True",
            "reason": "OverBudget",
            "message": facts.blocked,
            "observedGeneration": facts.observed_generation,
            "lastTransitionTime": iso(facts.blocked_ms),
        }
    ]


def _run(run: RunFacts) -> dict[str, Any]:
    return {
        "id": run.id,
        "startedAt": iso(run.started_ms),
        "finishedAt": _time(run.finished_ms),
        "outcome": _text(run.outcome),
        **_counts(run.counts),
    }


def _counts(counts: Counts) -> dict[str, int]:
    return {"rows": counts.rows, "added": counts.added, "removed": counts.removed, "omitted": counts.omitted}


def _time(time_ms: int | None) -> str | None:
    return None if time_ms is None else iso(time_ms)


def _text(value: StrEnum | None) -> str | None:
    return None if value is None else str(value)
