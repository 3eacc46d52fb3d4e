"""Why a job is not running: the first sufficient reason, what happens next, and when.

A pure decision over what is known of one name. The rules are asked in order, and the first that holds answers: for a job
that is not there those of `why_absent.py`, else a pause, a final status, and last the reason for which it sleeps. Every answer
names a time at which something happens by itself, or a step that a person takes. Times are wall time; the answer is
words for a person and a code for a program.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, assert_never

from reconciler.core.gate import Wait, blocking, gate, next_start_ms
from reconciler.core.rules import AfterDependencies, Continuous, Once
from reconciler.core.state import JobState, Outcome, Owed, Reason, Status
from reconciler.core.why_absent import why_absent
from reconciler.core.why_facts import (
    Answer,
    Because,
    Cause,
    Deletion,
    Facts,
    Held,
    HeldUpload,
    Other,
    ago,
    by_words,
    count_words,
    in_words,
    nobody,
    notes,
    seen,
    time_words,
    timed,
)
from reconciler.core.words import listed, spelled, with_options

__all__ = ["Answer", "Because", "Cause", "Deletion", "Facts", "Held", "HeldUpload", "Other", "why"]


def why(facts: Facts) -> Answer:
    """The first sufficient reason. Its commands are as they are typed for the folders and settings that were asked about."""
    answer = _reason(facts)
    step = f"{answer.step}{facts.again}" if answer.step.partition(" ")[0] == "reconcile" else answer.step
    because, then = (with_options(one, facts.again) for one in (answer.because, answer.then))
    return replace(answer, because=because, then=then, step=step)


def _reason(facts: Facts) -> Answer:
    if facts.state is None or facts.life != "live":
        return why_absent(facts)
    answer = _present(facts, facts.state)
    if answer.code is not Because.RUNNING and facts.controller is None:
        answer = replace(answer, notes=(*answer.notes, *nobody(facts, answer)))
    return replace(answer, notes=(*answer.notes, *notes(facts)))


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
            because=f"run {state.run} was cut off: the controller that ran it is gone{seen(facts)}.",
            then="the next `reconcile`, or `reconcile --watch`, goes on from its last committed unit.",
            since_ms=state.since_ms,
            step="reconcile",
        )
    attempt = f", attempt {state.attempt}" if state.attempt > 1 else ""
    follow = f"reconcile logs {facts.name} -f"
    if state.stopping is Outcome.SUPERSEDED:
        by = "" if facts.changed is None else f", {ago(facts, facts.changed.at_ms)}{by_words(facts.changed)}"
        return Answer(
            code=Because.SUPERSEDED,
            because=f"run {state.run}{attempt} is superseded: its spec has changed since it started{by}.",
            then="it is stopped at its next unit, and a new run follows at once.",
            since_ms=state.since_ms,
            step=follow,
        )
    return Answer(
        code=Because.RUNNING,
        because=f"it is running: run {state.run}{attempt}, since {ago(facts, state.since_ms)}.",
        then=f"it is stopping at its next unit ({state.stopping})." if state.stopping else "it runs to its end.",
        since_ms=state.since_ms,
        step=follow,
    )


def _suspended(facts: Facts, state: JobState) -> Answer:
    back = f"{state.held_status}" + (f" ({state.held_reason})" if state.held_reason else "")
    owed = "; a run is owed, and starts then" if state.owed else ""
    stopping = "; its run is stopping at its next unit" if state.held_status is Status.RUNNING else ""
    return Answer(
        code=Because.SUSPENDED,
        because=f"it is paused (spec.suspend) since {ago(facts, state.since_ms)}{by_words(facts.paused)}{stopping}.",
        then=f"`reconcile resume {facts.name}` takes it back to {back}{owed}.",
        since_ms=state.since_ms,
        step=f"reconcile resume {facts.name}",
    )


def _failed(facts: Facts, state: JobState) -> Answer:
    since = f" since {ago(facts, state.errors_since_ms)}" if state.errors_since_ms is not None else ""
    return Answer(
        code=Because.FAILED,
        because=f"it failed: errors in a row{since}, longer than retry.failAfter"
        f" ({spelled(facts.rules.retry.fail_after_ms)}). {_last_error(state)}",
        then=f"mend the cause, then `reconcile resume {facts.name}`; a changed config, authorization, retry or timeout "
        "also starts it again.",
        since_ms=state.since_ms,
        step=f"reconcile resume {facts.name}",
    )


def _completed(facts: Facts, state: JobState) -> Answer:
    if state.expired and facts.rules.expires_at_ms is not None:
        return Answer(
            code=Because.EXPIRED,
            because=f"spec.expiresAt has passed: {time_words(facts.rules.expires_at_ms)}.",
            then="a later spec.expiresAt brings it back.",
            since_ms=state.since_ms,
            step="set a later spec.expiresAt",
        )
    once = (
        "its schedule is once, and that run has succeeded"
        if isinstance(facts.rules.schedule, Once)
        else "all scheduled work is done"
    )
    return Answer(
        code=Because.COMPLETED,
        because=f"{once}, {ago(facts, state.since_ms)}.",
        then=f"nothing, until `reconcile rerun {facts.name}` or a changed provider, jobType, schedule or config.",
        since_ms=state.since_ms,
        step=f"reconcile rerun {facts.name}",
    )


# --- jobs that sleep ------------------------------------------------------------------------------------------------


def _sleeping(facts: Facts, state: JobState) -> Answer:
    """The recorded reason where something other than time must happen, else the gate's, as it stands now."""
    match state.reason:
        case Reason.AWAITING_APPROVAL:
            return _unapproved(facts, state)
        case Reason.AWAITING_CONSENT:
            return Answer(
                code=Because.AWAITING_CONSENT,
                because=f"its authorization waits for consent since {ago(facts, state.since_ms)}.",
                then="give the consent; the job goes on by itself.",
                since_ms=state.since_ms,
                step=f"reconcile auth check {facts.authorization}".rstrip(),
            )
        case _ if facts.is_in_doubt:
            return Answer(
                code=Because.HELD_BACK,
                because="a run is due, and its spec is gone or has changed; until it is certain what that means, it starts "
                "nothing.",
                then="it starts, changes or goes with the first look that can tell.",
                since_ms=state.owed_since_ms,
            )
        case _:
            return _by_schedule(facts, state) if state.owed is None else _owing(facts, state, state.owed)


def _unapproved(facts: Facts, state: JobState) -> Answer:
    return Answer(
        code=Because.AWAITING_APPROVAL,
        because=f"since {ago(facts, state.since_ms)}, {state.awaiting or 'it waits for an approval'}.",
        then=f"`reconcile approve {facts.name}` lets it go on"
        + ("." if state.tick_at_ms is None else "; its next scheduled run looks again."),
        since_ms=state.since_ms,
        step=f"reconcile approve {facts.name}",
    )


def _by_schedule(facts: Facts, state: JobState) -> Answer:
    """No run is owed: what will make one owed."""
    if isinstance(facts.rules.schedule, AfterDependencies):
        return Answer(
            code=Because.WAITING_FOR_DEPENDENCY,
            because=f"it runs after {listed(facts.rules.depends_on)}, and none has succeeded since its last start.",
            then="the next success of one of them starts it" + _by_itself(facts),
            since_ms=state.since_ms,
            step=_ask_about(facts.rules.depends_on),
        )
    at_ms = next_start_ms(state, facts.rules, facts.now)
    if at_ms is None:
        return Answer(
            code=Because.SCHEDULED,
            because="its schedule has no further time"
            + (" before spec.expiresAt." if facts.rules.expires_at_ms is not None else "."),
            then=f"nothing; change its spec, or `reconcile rerun {facts.name}`.",
            since_ms=state.since_ms,
            step=f"reconcile rerun {facts.name}",
        )
    if isinstance(facts.rules.schedule, Continuous):
        return timed(
            facts, Because.SCHEDULED, "its last run found nothing to do.", at_ms, "looks again", state.since_ms
        )
    due = at_ms <= facts.now.wall_ms
    because = f"it is due since {ago(facts, at_ms)}." if due else "its schedule's next time has not come."
    return timed(facts, Because.SCHEDULED, because, at_ms, "starts it", at_ms if due else state.since_ms)


def _by_itself(facts: Facts) -> str:
    """The end of a sentence: that an audience which changes though nothing arrives starts an export too."""
    if facts.audience_ms is None:
        return "."
    return f", and so does its audience when it changes by itself: {in_words(facts, facts.audience_ms)}."


def _owing(facts: Facts, state: JobState, owed: Owed) -> Answer:
    """A run is owed: what holds it back."""
    queued = state.reason is Reason.WAITING_FOR_SLOT and facts.controller is not None
    found = gate(state, facts.rules, facts.now, facts.dependencies, slot_free=not queued)
    if isinstance(found, Wait):
        return _held_back(facts, state, found)
    if state.reason is Reason.INTERRUPTED:
        cut = f"run {state.run} was cut off when its controller ended, {ago(facts, state.since_ms)}."
        does = "goes on from its last committed unit"
        return timed(facts, Because.INTERRUPTED, cut, facts.now.wall_ms, does, state.since_ms)
    since = f" since {ago(facts, state.owed_since_ms)}" if state.owed_since_ms is not None else ""
    words = f"a run is owed{since} ({_OWED[owed]})."
    return timed(facts, Because.SCHEDULED, words, facts.now.wall_ms, "starts it", state.owed_since_ms)


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
            because = f"it waits after {count_words(state.errors, 'error')} in a row. {_last_error(state)}"
            note = f"after {spelled(facts.rules.retry.fail_after_ms)} of errors, counted in uptime, it becomes Failed."
            answer = timed(facts, Because.BACKOFF, because, until_ms, "tries again", state.errors_since_ms)
            return replace(answer, notes=(note,))
        case Reason.RATE_LIMITED:
            because = "the other side asks for patience (a rate limit or a quota)."
            return timed(facts, Because.RATE_LIMITED, because, until_ms, "tries again", state.since_ms)
        case Reason.AWAITING_APPROVAL:
            return _unapproved(facts, state)
        case Reason.QUIET_HOURS:
            quiet = "it is quiet now (spec.quiet)."
            return timed(facts, Because.QUIET_HOURS, quiet, until_ms, "starts it", state.since_ms)
        case Reason.WAITING_FOR_DEPENDENCY:
            since = f", since {ago(facts, state.since_ms)}"
            step = _ask_about(blocking(facts.rules, facts.dependencies))
            return Answer(
                code=Because.WAITING_FOR_DEPENDENCY,
                because=f"it {wait.message}{since}.",
                then=f"it starts as soon as that has succeeded; `{step}` says when that may be.",
                since_ms=state.since_ms,
                step=step,
            )
        case _:
            return _queued(facts, state)


#: Of each lane: whose slots they are, and what gives more of them.
_SLOTS: Final = {"live": ("", "--slots"), "backfill": (" of the backfills", "--backfill-slots")}


def _queued(facts: Facts, state: JobState) -> Answer:
    since = ago(facts, state.queued_ms if state.queued_ms is not None else state.since_ms)
    ahead = f"{count_words(facts.ahead, 'job')} before it" if facts.ahead else "no job before it"
    whose, option = _SLOTS[facts.rules.lane]
    return Answer(
        code=Because.WAITING_FOR_SLOT,
        because=f"every slot{whose} is taken; it waits since {since}, {ahead}.",
        then=f"the next free slot is given to the job that has waited longest; {option} N gives more.",
        since_ms=state.queued_ms if state.queued_ms is not None else state.since_ms,
        step="reconcile list --status Running",
    )


# --- words ----------------------------------------------------------------------------------------------------------


def _ask_about(names: Sequence[str]) -> str:
    return f"reconcile why {names[0]}" if names else "reconcile list"


def _last_error(state: JobState) -> str:
    return f"The last error: {state.last_error}" if state.last_error else "No error text is known."
