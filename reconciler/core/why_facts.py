"""What `why` is told and what it answers, and the words that its answers have in common."""

from __future__ import annotations

from dataclasses import field, replace
from enum import StrEnum

from reconciler.clock import Now, iso
from reconciler.core.gate import DependencyFacts
from reconciler.core.rules import JobRules
from reconciler.core.state import JobState, Status
from reconciler.core.value import dataclass
from reconciler.core.words import roughly, with_options
from reconciler.errors import Problem


class Because(StrEnum):
    """The codes of an answer; fields and codes are added, never changed."""

    RUNNING = "Running"
    UNKNOWN = "Unknown"
    INVALID = "Invalid"
    NOT_APPLIED = "NotApplied"
    UNREADABLE = "Unreadable"
    HELD_BACK = "HeldBack"
    RENAMED = "Renamed"
    NOT_A_JOB = "NotAJob"
    SUPERSEDED = "Superseded"
    PURGED = "Purged"
    GONE = "Gone"
    SUSPENDED = "Suspended"
    FAILED = "Failed"
    EXPIRED = "Expired"
    COMPLETED = "Completed"
    NO_CONTROLLER = "NoController"
    SCHEDULED = "Scheduled"
    BACKOFF = "Backoff"
    RATE_LIMITED = "RateLimited"
    QUIET_HOURS = "QuietHours"
    WAITING_FOR_DEPENDENCY = "WaitingForDependency"
    WAITING_FOR_SLOT = "WaitingForSlot"
    INTERRUPTED = "Interrupted"
    AWAITING_APPROVAL = "AwaitingApproval"
    AWAITING_CONSENT = "AwaitingConsent"
    DELETED = "Deleted"
    UNDELETED = "Undeleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Who did something, in which commit, and when."""

    at_ms: int
    author: str = ""
    commit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What keeps the plan from doing something now, in words: a window, a policy, a budget, a file that may be on its way.
    `until_ms` is when that ends by itself, `step` what a person can do about it."""

    reason: str
    until_ms: int | None = None
    step: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """A job that no file declared any more, and that was deleted at `at_ms`. Until `until_ms` it can be undeleted; None where
    it was. `commit` is the one that took it out of its file, `keeps` says that its cursor stays for good."""

    at_ms: int
    until_ms: int | None
    commit: str = ""
    keeps: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """A thing of another kind that has the name. `used_by` are the jobs that refer to it."""

    kind: str
    life: str = "live"
    since_ms: int = 0
    used_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldUpload:
    """A bulk body that waits since `since_ms`: `words` are what it is and why, `step` is the command that approves it."""

    words: str
    since_ms: int
    step: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a job.

    `state` is None where the record has no job of that name; `life` is that of its row. `path` is the file that
    declares it, or did when it was last applied; empty where no file ever did. `problems` are those of its own spec,
    `pending` the reasons of the plan's actions for it, `held` those for which the plan does nothing. `unreadable` are the
    problems of files that say no name and may declare it. `ahead` counts the jobs before it in the queue for a slot.
    `paused` is who suspended it, `changed` who changed its spec last, `renamed` what it is called now and who did that,
    `removed` who took it out of its file for good, `deletion` is of one that can be undone, `other` the thing of another
    kind that has the name. `uploads` wait for approval, to the stream of that name or to one that the job writes or reads.
    `audience_ms` is when the audience that the job exports changes next though nothing arrives. `is_in_doubt`: a run is due, and
    starts only once it is certain what has become of the spec.
    `controller` is the pid of the controller at work, None where none is; one was last at work at
    `seen_ms`. `close` is a name like the one asked for. `again` are the options by which a command finds the same record
    and specs, each after a space.
    """

    name: str
    now: Now
    state: JobState | None = None
    life: str = "live"
    path: str = ""
    rules: JobRules = field(default_factory=JobRules)
    problems: tuple[Problem, ...] = ()
    pending: tuple[str, ...] = ()
    held: tuple[Held, ...] = ()
    unreadable: tuple[Problem, ...] = ()
    dependencies: tuple[DependencyFacts, ...] = ()
    authorization: str = ""
    ahead: int = 0
    paused: Cause | None = None
    changed: Cause | None = None
    renamed: tuple[str, Cause] | None = None
    removed: Cause | None = None
    deletion: Deletion | None = None
    other: Other | None = None
    uploads: tuple[HeldUpload, ...] = ()
    audience_ms: int | None = None
    is_in_doubt: bool = False
    controller: int | None = None
    seen_ms: int | None = None
    close: str = ""
    again: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`because` and `then` are sentences. `since_ms` is since when it is so; `at_ms` is when what comes next comes, None
    where no clock decides; `step` is then what a person does: a command, or a few words."""

    code: Because
    because: str
    then: str
    at_ms: int | None = None
    since_ms: int | None = None
    step: str = ""
    notes: tuple[str, ...] = ()


# --- words -----------------------------------------------------------------------------------------------------------


def timed(facts: Facts, code: Because, because: str, at_ms: int, does: str, since_ms: int | None = None) -> Answer:
    """What comes at a time: by the controller at work, or by the next pass where none is."""
    answer = Answer(code=code, because=because, then="", at_ms=at_ms, since_ms=since_ms)
    if facts.controller is not None:
        return replace(answer, then=f"{next_pass(facts)} {does} {in_words(facts, at_ms)}.")
    if at_ms <= facts.now.wall_ms:
        return replace(
            answer,
            code=Because.NO_CONTROLLER,
            because=f"{because.removesuffix('.')}, and {nobody_at_work(facts)}.",
            then=f"{next_pass(facts)} {does}.",
            step="reconcile",
        )
    return replace(
        answer,
        then=f"the first `reconcile` after {time_words(at_ms)} (in {roughly(at_ms - facts.now.wall_ms)}) {does}; "
        "`reconcile --watch` keeps time.",
        step="reconcile --watch",
    )


def nobody(facts: Facts, answer: Answer) -> tuple[str, ...]:
    """That nothing happens by itself, where the answer does not say so already."""
    waits = facts.state is not None and facts.state.status is Status.SLEEPING
    return (f"{nobody_at_work(facts)}.",) if waits and answer.code is not Because.NO_CONTROLLER else ()


def nobody_at_work(facts: Facts) -> str:
    return f"no reconcile is at work on this record{seen(facts)}"


def seen(facts: Facts) -> str:
    return "" if facts.seen_ms is None else f"; last seen {ago(facts, facts.seen_ms)}"


def by_words(cause: Cause | None) -> str:
    """` by Ada (commit 19a412f0a408)`; what is not known of it is left out."""
    if cause is None:
        return ""
    author = f" by {cause.author}" if cause.author else ""
    return f"{author} (commit {cause.commit[:12]})" if cause.commit else author


def next_pass(facts: Facts) -> str:
    if facts.controller is not None:
        return f"the controller at work (pid {facts.controller})"
    return "the next `reconcile`"


def in_words(facts: Facts, at_ms: int) -> str:
    if at_ms <= facts.now.wall_ms:
        return "at once"
    return f"at {time_words(at_ms)}, in {roughly(at_ms - facts.now.wall_ms)}"


def ago(facts: Facts, at_ms: int) -> str:
    return f"{time_words(at_ms)} ({roughly(max(0, facts.now.wall_ms - at_ms))} ago)"


def time_words(at_ms: int) -> str:
    return f"{iso(at_ms)[:19]}Z"


def count_words(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def notes(facts: Facts) -> tuple[str, ...]:
    """What else matters to whoever asks."""
    found = []
    if facts.problems:
        found.append(f"its spec is invalid, so it goes on as it was last valid: {facts.problems[0]}")
    found.extend(f"its spec has changed, and no pass has applied that yet: {reason}" for reason in facts.pending)
    found.extend(f"{one.reason}." if one.reason[-1:].isalnum() else one.reason for one in facts.held)
    found.extend(upload_words(facts, one) for one in facts.uploads)
    return tuple(found)


def upload_words(facts: Facts, one: HeldUpload) -> str:
    return with_options(
        f"{one.words}, since {ago(facts, one.since_ms)}; `{one.step}` puts it on the stream.", facts.again
    )
