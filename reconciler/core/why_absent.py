"""Why a job is not there: what `why` answers of a name under which nothing lives."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from reconciler.core.state import Status, back_command
from reconciler.core.why_facts import Answer, Because, Facts, ago, by_words, next_pass, notes, time_words, timed
from reconciler.core.words import listed


def why_absent(facts: Facts) -> Answer:
    """The first rule that holds."""
    return next(answer for rule in _ABSENT if (answer := rule(facts)) is not None)


def _invalid(facts: Facts) -> Answer | None:
    if not facts.problems:
        return None
    return Answer(
        code=Because.INVALID,
        because=f"its spec is invalid: {facts.problems[0]}",
        then=f"correct it; {next_pass(facts)} creates it. `reconcile validate` shows every problem.",
        step="reconcile validate",
    )


def _deleted(facts: Facts) -> Answer | None:
    deletion = facts.deletion
    if deletion is None or facts.pending or facts.held:  # a file declares it again
        return None
    if deletion.until_ms is None:
        return Answer(
            code=Because.UNDELETED,
            because=f"it was deleted {ago(facts, deletion.at_ms)} and undeleted since, and no file declares it yet.",
            then=f"restore {restore_words(facts.path, deletion.commit)}; it goes on from where it stood.",
            since_ms=deletion.at_ms,
            step=f"restore {facts.path}",
        )
    stays = "; its cursor is kept (deletionPolicy: orphan)" if deletion.keeps else ""
    by = f" by commit {deletion.commit[:12]}" if deletion.commit else ""
    answer = Answer(
        code=Because.DELETED,
        because=f"no file declares it any more, and it was deleted {ago(facts, deletion.at_ms)}{by}{stays}.",
        then=f"`reconcile undelete {facts.name}` brings it back, until {time_words(deletion.until_ms)}.",
        at_ms=deletion.until_ms,
        since_ms=deletion.at_ms,
        step=f"reconcile undelete {facts.name}",
    )
    if deletion.until_ms > facts.now.wall_ms:
        return answer
    how = "goes on from its cursor" if deletion.keeps else "begins anew"
    step = f"declare a job named {facts.name} again"
    return replace(answer, then=f"declare it again, and it {how}.", at_ms=None, step=step)


def restore_words(path: str, commit: str) -> str:
    """How a file is brought back that a commit took out."""
    return f"{path} (`git checkout {commit[:12]}^ -- {shlex.quote(path)}`)" if commit else path


def _purged(facts: Facts) -> Answer | None:
    if facts.life != "purged" or facts.state is None:
        return None
    state = facts.state
    step = back_command(facts.name, state.status)
    also = "" if state.status is Status.PAUSED else "; so does a changed provider, jobType, schedule or config"
    return Answer(
        code=Because.PURGED,
        because=f"it was purged, 90 days after it became {state.status}; its cursor and totals are kept.",
        then=f"`{step}` brings it back{also}.",
        since_ms=state.since_ms,
        step=step,
        notes=notes(facts),
    )


def _held_whole(facts: Facts) -> Answer | None:
    """What is declared, and may not be made true now."""
    if not facts.held or (facts.state is not None and facts.life not in ("orphaned", "undeleted")):
        return None
    held = facts.held[0]
    answer = Answer(
        code=Because.HELD_BACK,
        because=f"{facts.path or 'a file'} declares it, and that is held back: {held.reason}.",
        then=f"`{held.step or 'reconcile plan'}` shows what is held back; it is created once that has ended.",
        step=held.step or "reconcile plan",
    )
    if held.until_ms is None:
        return answer
    return replace(timed(facts, answer.code, answer.because, held.until_ms, "creates it"), code=Because.HELD_BACK)


def _not_applied(facts: Facts) -> Answer | None:
    if not facts.pending:
        return None
    return Answer(
        code=Because.NOT_APPLIED,
        because=f"{facts.path or 'its spec'} declares it, and no pass has made it true yet.",
        then=f"{next_pass(facts)} creates it.",
        step="reconcile" if facts.controller is None else "",
        at_ms=None if facts.controller is None else facts.now.wall_ms,
    )


def _orphaned(facts: Facts) -> Answer | None:
    if facts.state is None:
        return None
    return Answer(
        code=Because.GONE,
        because="its spec is gone; deletionPolicy orphan kept its cursor.",
        then="declare a job of that name again, and it goes on from there.",
        step=f"declare a job named {facts.name} again",
    )


def _renamed(facts: Facts) -> Answer | None:
    if facts.renamed is None:
        return None
    name, cause = facts.renamed
    return Answer(
        code=Because.RENAMED,
        because=f"it is called '{name}' since {ago(facts, cause.at_ms)}{by_words(cause)}.",
        then=f"`reconcile why {name}` says more.",
        since_ms=cause.at_ms,
        step=f"reconcile why {name}",
    )


def _removed(facts: Facts) -> Answer | None:
    if facts.removed is None:
        return None
    return Answer(
        code=Because.GONE,
        because=f"it was deleted {ago(facts, facts.removed.at_ms)}{by_words(facts.removed)}: no file declared it any more.",
        then="declare a job of that name again, and it begins anew.",
        since_ms=facts.removed.at_ms,
        step=f"declare a job named {facts.name} again",
    )


#: What shows more of a thing that does not run.
_MORE: Final = {
    "Stream": ("reconcile streams", "shows what it holds"),
    "Audience": ("reconcile audience {name}", "shows who is in it"),
    "Authorization": ("reconcile auth check {name}", "tries it"),
}


def _not_a_job(facts: Facts) -> Answer | None:
    """A stream, an audience or an authorization: it is there, or its messages are, but never runs."""
    if facts.other is None:
        return None
    other, kind = facts.other, facts.other.kind.lower()
    article = "a" if kind == "stream" else "an"
    if other.life != "live" and not facts.uploads:
        return Answer(
            code=Because.NOT_A_JOB,
            because=f"it is {article} {kind} whose spec is gone; its messages are kept.",
            then=f"`reconcile stream drop {facts.name}` destroys them; its spec, declared again, takes them up.",
            since_ms=other.since_ms,
            step=f"reconcile stream drop {facts.name}",
        )
    if facts.uploads:
        return _awaited(facts)
    used = f"used by {listed(other.used_by)}" if other.used_by else "no job uses it"
    command, does = _MORE[other.kind]
    step = command.format(name=facts.name)
    return Answer(
        code=Because.NOT_A_JOB,
        because=f"it is {article} {kind}, which never runs by itself; {used}.",
        then=f"`{step}` {does}.",
        since_ms=other.since_ms,
        step=step,
        notes=notes(facts),
    )


def _awaited(facts: Facts) -> Answer:
    """A stream to which something was sent that waits for a person."""
    first, *others = facts.uploads
    return Answer(
        code=Because.AWAITING_APPROVAL,
        because=f"it is a stream, and {first.words}, since {ago(facts, first.since_ms)}.",
        then=f"`{first.step}` puts it on the stream.",
        since_ms=first.since_ms,
        step=first.step,
        notes=notes(replace(facts, uploads=tuple(others))),
    )


def _unreadable(facts: Facts) -> Answer | None:
    if not facts.unreadable:
        return None
    return Answer(
        code=Because.UNREADABLE,
        because=f"no file that can be read declares it, and one that may cannot be: {facts.unreadable[0]}",
        then=f"correct that file; {next_pass(facts)} creates what it declares. `reconcile validate` shows every problem.",
        step="reconcile validate",
    )


def _unknown(facts: Facts) -> Answer:
    return Answer(
        code=Because.UNKNOWN,
        because=f"no spec declares a job '{facts.name}', and the record knows none.",
        then=f"did you mean '{facts.close}'?" if facts.close else "`reconcile list` shows the jobs.",
        step=f"reconcile why {facts.close}" if facts.close else "reconcile list",
    )


#: Why a job is not there, in the order in which it is asked; the last rule always answers.
_ABSENT: Final[tuple[Callable[[Facts], Answer | None], ...]] = (
    _invalid,
    _deleted,
    _purged,
    _held_whole,
    _not_applied,
    _orphaned,
    _not_a_job,
    _renamed,
    _removed,
    _unreadable,
    _unknown,
)
