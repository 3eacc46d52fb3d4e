"""Why a job is not running: the first sufficient reason, what happens next, and when.

A pure decision over what is known of one job. The rules are asked in order, and the first that holds answers: a job
that nobody declared, a spec that is invalid, a pause, a final status, and last the reason for which it sleeps. Times
are wall time; the answer is words for a person and a code for a program.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, assert_never

from reconciler.clock import Now, iso
from reconciler.core.gate import DependencyFacts, Wait, gate, next_start_ms
from reconciler.core.rules import AfterDependencies, Continuous, JobRules, Once
from reconciler.core.state import JobState, Owed, Reason, Status
from reconciler.core.words import listed, roughly, spelled
from reconciler.errors import Problem


class Because(StrEnum):
    """The codes of an answer; fields and codes are added, never changed."""

    RUNNING = "Running"
    UNKNOWN = "Unknown"
    INVALID = "Invalid"
    NOT_APPLIED = "NotApplied"
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
    DELETED = "Deleted"
    UNDELETED = "Undeleted"
    AWAITING_CONSENT = "AwaitingConsent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a job.

    `state` is None where the record has no job of that name; `life` is that of its row. `path` is the file that
    declares it, or did when it was last applied; empty where no file ever did. `problems` are those of its own spec,
    `pending` the reasons of the plan's actions for it. `ahead` counts the jobs before it in the queue for a slot.
    `controller` is the pid of the controller at work, None where none is. `close` is a name like the one asked for.
    `kept` says why a job that no file declares is not deleted. `deletion` is of one that was.
    """

    name: str
    now: Now
    state: JobState | None = None
    life: str = "live"
    path: str = ""
    rules: JobRules = field(default_factory=JobRules)
    problems: tuple[Problem, ...] = ()
    pending: tuple[str, ...] = ()
    dependencies: tuple[DependencyFacts, ...] = ()
    ahead: int = 0
    paused_by: str = ""
    controller: int | None = None
    close: str = ""
    kept: str = ""
    deletion: Deletion | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """A job that no file declared any more, and that was deleted at `at_ms`. Until `until_ms` it can be undeleted; None where
    it was. `commit` is the one that took it out of its file, `keeps` says that its cursor stays for good."""

    at_ms: int
    until_ms: int | None
    commit: str = ""
    keeps: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`because` and `then` are sentences; `at_ms` is when what comes next comes, None where that is not known."""

    code: Because
    because: str
    then: str
    at_ms: int | None = None
    notes: tuple[str, ...] = ()


def why(facts: Facts) -> Answer:
    """The first sufficient reason."""
    if facts.state is None or facts.life != "live":
        return _absent(facts)
    answer = _present(facts, facts.state)
    return replace(answer, notes=(*answer.notes, *_notes(facts)))


# --- jobs that are not there ----------------------------------------------------------------------------------------


def _absent(facts: Facts) -> Answer:
    if facts.problems:
        return _invalid(facts)
    if facts.deletion is not None and not facts.pending:
        return _deleted(facts, facts.deletion)
    if facts.life == "purged" and facts.state is not None:
        return replace(_purged(facts, facts.state), notes=_notes(facts))
    if facts.pending:
        return Answer(
            code=Because.NOT_APPLIED,
            because=f"{facts.path or 'its spec'} declares it, and no pass has made it true yet.",
            then=f"{_next_pass(facts)} creates it.",
        )
    if facts.state is not None:
        return Answer(
            code=Because.GONE,
            because="its spec is gone; deletionPolicy orphan kept its cursor.",
            then="declare a job of that name again, and it goes on from there.",
        )
    return Answer(
        code=Because.UNKNOWN,
        because=f"no spec declares a job '{facts.name}', and the record knows none.",
        then=f"did you mean '{facts.close}'?" if facts.close else "`reconcile list` shows the jobs.",
    )


def _invalid(facts: Facts) -> Answer:
    return Answer(
        code=Because.INVALID,
        because=f"its spec is invalid: {facts.problems[0]}",
        then=f"correct it; {_next_pass(facts)} creates it. `reconcile validate` shows every problem.",
    )


def _deleted(facts: Facts, deletion: Deletion) -> Answer:
    if deletion.until_ms is None:
        return Answer(
            code=Because.UNDELETED,
            because=f"it was deleted {_ago(facts, deletion.at_ms)} and undeleted since, and no file declares it yet.",
            then=f"restore {restore_words(facts.path, deletion.commit)}; it goes on from where it stood.",
        )
    stays = "; its cursor is kept (deletionPolicy: orphan)" if deletion.keeps else ""
    by = f" by commit {deletion.commit[:12]}" if deletion.commit else ""
    if deletion.until_ms <= facts.now.wall_ms:
        return Answer(
            code=Because.DELETED,
            because=f"no file declares it any more, and it was deleted {_ago(facts, deletion.at_ms)}{by}{stays}.",
            then="declare it again, and it goes on from its cursor."
            if deletion.keeps
            else "declare it again, and it begins anew.",
        )
    return Answer(
        code=Because.DELETED,
        because=f"no file declares it any more, and it was deleted {_ago(facts, deletion.at_ms)}{by}{stays}.",
        then=f"`reconcile undelete {facts.name}` brings it back, until {_time(deletion.until_ms)}.",
        at_ms=deletion.until_ms,
    )


def restore_words(path: str, commit: str) -> str:
    """How a file is brought back that a commit took out."""
    return f"{path} (`git checkout {commit[:12]}^ -- {path}`)" if commit else path


def _purged(facts: Facts, state: JobState) -> Answer:
    if state.status is Status.PAUSED:
        then = f"`reconcile resume {facts.name}` brings it back."
    else:
        then = (
            f"`reconcile rerun {facts.name}` brings it back; so does a changed provider, jobType, schedule or config."
        )
    return Answer(
        code=Because.PURGED,
        because=f"it was purged, 90 days after it became {state.status}; its cursor and totals are kept.",
        then=then,
    )


# --- jobs that are there --------------------------------------------------------------------------------------------


def _present(facts: Facts, state: JobState) -> Answer:
    match state.status:
        case Status.RUNNING:
            return _running(facts, state)
        case Status.PAUSED:
            return _suspended(facts, state)
        case Status.FAILED:
            return _failed(facts, state)
        case Status.COMPLETED:
            return _completed(facts, state)
        case Status.SLEEPING:
            return _sleeping(facts, state)
        case _:
            assert_never(state.status)


def _running(facts: Facts, state: JobState) -> Answer:
    if facts.controller is None:
        return Answer(
            code=Because.NO_CONTROLLER,
            because=f"run {state.run} was cut off: the controller that ran it is gone.",
            then="the next `reconcile`, or `reconcile --watch`, goes on from its last committed unit.",
        )
    attempt = f", attempt {state.attempt}" if state.attempt > 1 else ""
    return Answer(
        code=Because.RUNNING,
        because=f"it is running: run {state.run}{attempt}, since {_ago(facts, state.since_ms)}.",
        then=f"it is stopping at its next unit ({state.stopping})." if state.stopping else "it runs to its end.",
    )


def _suspended(facts: Facts, state: JobState) -> Answer:
    by = f" by {facts.paused_by}" if facts.paused_by else ""
    back = f"{state.held_status}" + (f" ({state.held_reason})" if state.held_reason else "")
    owed = "; a run is owed, and starts then" if state.owed else ""
    return Answer(
        code=Because.SUSPENDED,
        because=f"it is paused (spec.suspend) since {_ago(facts, state.since_ms)}{by}.",
        then=f"`reconcile resume {facts.name}` takes it back to {back}{owed}.",
    )


def _failed(facts: Facts, state: JobState) -> Answer:
    since = f" since {_ago(facts, state.errors_since_ms)}" if state.errors_since_ms is not None else ""
    return Answer(
        code=Because.FAILED,
        because=f"it failed: errors in a row{since}, longer than retry.failAfter"
        f" ({spelled(facts.rules.retry.fail_after_ms)}). {_last_error(state)}",
        then=f"mend the cause, then `reconcile resume {facts.name}`; a changed config, authorization, retry or timeout "
        "also starts it again.",
    )


def _completed(facts: Facts, state: JobState) -> Answer:
    if state.expired and facts.rules.expires_at_ms is not None:
        return Answer(
            code=Because.EXPIRED,
            because=f"spec.expiresAt has passed: {_time(facts.rules.expires_at_ms)}.",
            then="a later spec.expiresAt brings it back.",
        )
    once = (
        "its schedule is once, and that run has succeeded"
        if isinstance(facts.rules.schedule, Once)
        else "all scheduled work is done"
    )
    return Answer(
        code=Because.COMPLETED,
        because=f"{once}, {_ago(facts, state.since_ms)}.",
        then=f"nothing, until `reconcile rerun {facts.name}` or a changed provider, jobType, schedule or config.",
    )


# --- jobs that sleep ------------------------------------------------------------------------------------------------


def _sleeping(facts: Facts, state: JobState) -> Answer:
    """The recorded reason where something other than time must happen, else the gate's, as it stands now."""
    match state.reason:
        case Reason.AWAITING_APPROVAL:
            return Answer(
                code=Because.AWAITING_APPROVAL,
                because=f"since {_ago(facts, state.since_ms)}, {state.awaiting or 'it waits for an approval'}.",
                then=f"`reconcile approve {facts.name}` lets it go on; its next scheduled run looks again.",
            )
        case Reason.AWAITING_CONSENT:
            return Answer(
                code=Because.AWAITING_CONSENT,
                because=f"its authorization waits for consent since {_ago(facts, state.since_ms)}.",
                then="give the consent; the job goes on by itself.",
            )
        case _:
            return _by_schedule(facts, state) if state.owed is None else _owing(facts, state, state.owed)


def _by_schedule(facts: Facts, state: JobState) -> Answer:
    """No run is owed: what will make one owed."""
    if isinstance(facts.rules.schedule, AfterDependencies):
        return Answer(
            code=Because.WAITING_FOR_DEPENDENCY,
            because=f"it runs after {listed(facts.rules.depends_on)}, and none has succeeded since its last start.",
            then="the next success of one of them starts it.",
        )
    at_ms = next_start_ms(state, facts.rules, facts.now)
    if at_ms is None:
        return Answer(
            code=Because.SCHEDULED,
            because="its schedule has no further time"
            + (" before spec.expiresAt." if facts.rules.expires_at_ms is not None else "."),
            then=f"nothing; change its spec, or `reconcile rerun {facts.name}`.",
        )
    if isinstance(facts.rules.schedule, Continuous):
        return _timed(facts, Because.SCHEDULED, "its last run found nothing to do.", at_ms, "looks again")
    due = at_ms <= facts.now.wall_ms
    because = f"it is due since {_ago(facts, at_ms)}." if due else "its schedule's next time has not come."
    return _timed(facts, Because.SCHEDULED, because, at_ms, "starts it")


def _owing(facts: Facts, state: JobState, owed: Owed) -> Answer:
    """A run is owed: what holds it back."""
    queued = state.reason is Reason.WAITING_FOR_SLOT and facts.controller is not None
    found = gate(state, facts.rules, facts.now, facts.dependencies, slot_free=not queued)
    if isinstance(found, Wait):
        return _held_back(facts, state, found)
    if state.reason is Reason.INTERRUPTED:
        cut = f"run {state.run} was cut off when its controller ended, {_ago(facts, state.since_ms)}."
        return _timed(facts, Because.INTERRUPTED, cut, facts.now.wall_ms, "goes on from its last committed unit")
    since = f" since {_ago(facts, state.owed_since_ms)}" if state.owed_since_ms is not None else ""
    return _timed(facts, Because.SCHEDULED, f"a run is owed{since} ({_OWED[owed]}).", facts.now.wall_ms, "starts it")


_OWED: Final = {
    Owed.SCHEDULE: "its schedule",
    Owed.DEPENDENCY: "a dependency has succeeded",
    Owed.CHANGE: "its spec has changed",
    Owed.RERUN: "spec.rerun has changed",
    Owed.RESTART: "spec.restart has changed",
}


def _held_back(facts: Facts, state: JobState, wait: Wait) -> Answer:
    until_ms = wait.until_ms if wait.until_ms is not None else facts.now.wall_ms
    match wait.reason:
        case Reason.BACKOFF:
            because = f"it waits after {_count(state.errors, 'error')} in a row. {_last_error(state)}"
            note = f"after {spelled(facts.rules.retry.fail_after_ms)} of errors, counted in uptime, it becomes Failed."
            return replace(_timed(facts, Because.BACKOFF, because, until_ms, "tries again"), notes=(note,))
        case Reason.RATE_LIMITED:
            because = "the other side asks for patience (a rate limit or a quota)."
            return _timed(facts, Because.RATE_LIMITED, because, until_ms, "tries again")
        case Reason.QUIET_HOURS:
            return _timed(facts, Because.QUIET_HOURS, "it is quiet now (spec.quiet).", until_ms, "starts it")
        case Reason.WAITING_FOR_DEPENDENCY:
            since = f", since {_ago(facts, state.since_ms)}"
            then = "it starts as soon as that has succeeded."
            return Answer(code=Because.WAITING_FOR_DEPENDENCY, because=f"it {wait.message}{since}.", then=then)
        case _:
            return _queued(facts, state)


#: Of each lane: whose slots they are, and what gives more of them.
_SLOTS: Final = {"live": ("", "--slots"), "backfill": (" of the backfills", "--backfill-slots")}


def _queued(facts: Facts, state: JobState) -> Answer:
    since = _ago(facts, state.queued_ms if state.queued_ms is not None else state.since_ms)
    ahead = f"{_count(facts.ahead, 'job')} before it" if facts.ahead else "no job before it"
    whose, option = _SLOTS[facts.rules.lane]
    return Answer(
        code=Because.WAITING_FOR_SLOT,
        because=f"every slot{whose} is taken; it waits since {since}, {ahead}.",
        then=f"the next free slot is given to the job that has waited longest; {option} N gives more.",
    )


# --- words ----------------------------------------------------------------------------------------------------------


def _timed(facts: Facts, code: Because, because: str, at_ms: int, does: str) -> Answer:
    """What comes at a time: by the controller at work, or by the next pass where none is."""
    if facts.controller is not None:
        return Answer(code=code, because=because, then=f"{_next_pass(facts)} {does} {_in(facts, at_ms)}.", at_ms=at_ms)
    if at_ms <= facts.now.wall_ms:
        return Answer(
            code=Because.NO_CONTROLLER,
            because=f"{because.removesuffix('.')}; no controller is at work.",
            then=f"{_next_pass(facts)} {does}.",
            at_ms=at_ms,
        )
    return Answer(
        code=code,
        because=because,
        then=f"the first `reconcile` after {_time(at_ms)} (in {roughly(at_ms - facts.now.wall_ms)}) {does}; "
        "no controller is at work (`reconcile --watch` keeps time).",
        at_ms=at_ms,
    )


def _next_pass(facts: Facts) -> str:
    if facts.controller is not None:
        return f"the controller at work (pid {facts.controller})"
    return "the next `reconcile`"


def _in(facts: Facts, at_ms: int) -> str:
    if at_ms <= facts.now.wall_ms:
        return "at once"
    return f"at {_time(at_ms)}, in {roughly(at_ms - facts.now.wall_ms)}"


def _ago(facts: Facts, at_ms: int) -> str:
    return f"{_time(at_ms)} ({roughly(max(0, facts.now.wall_ms - at_ms))} ago)"


def _time(at_ms: int) -> str:
    return f"{iso(at_ms)[:19]}Z"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _last_error(state: JobState) -> str:
    return f"The last error: {state.last_error}" if state.last_error else "No error text is known."


def _notes(facts: Facts) -> tuple[str, ...]:
    """What else matters to whoever asks."""
    notes = [facts.kept] if facts.kept else []
    if facts.problems:
        notes.append(f"its spec is invalid, so it goes on as it was last valid: {facts.problems[0]}")
    notes.extend(f"its spec has changed, and no pass has applied that yet: {reason}" for reason in facts.pending)
    return tuple(notes)
