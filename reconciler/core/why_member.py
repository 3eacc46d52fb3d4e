"""Why a person was or was not sent by an export of an audience: the first sufficient reason, and what happens next.

The reasons come in this order: who the person is, what the destination holds (the ledger), whether the audience has the
person now, what the mapping makes of it, what the guard and the job's own state hold back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from typing import Any

from reconciler.clock import iso
from reconciler.core.value import dataclass


class Held(StrEnum):
    """What the ledger says that the destination holds of a member."""

    NOTHING = "nothing"  # the ledger does not know the member
    SENT = "sent"
    NOTED = "noted"
    MAYBE = "maybe"
    OUT = "out"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberFacts:
    """What is known of one person and one export. `profile` is None where nobody is known by the identifier. `next` is
    what the next run would do: `add`, `update`, `remove`, `omit` (for `omission`) or nothing. `values` are the attributes
    that the audience's condition reads. `waits` is why the job does not run just now, empty where nothing holds it.
    `is_void`: the identifier was seen, and belongs to nobody. `only_adds`: who changed or left stays as they are;
    `only_exits`: nothing but leaving is sent. `sending`: the run that has sent this member's change and has no answer yet.
    `is_spared`: another member is known now by the identifiers that this one would be removed by; `is_later`: what is done
    waits for the change of another member, which the same run makes. `was_removed`: the run was the last to do anything, and
    removed this member."""

    job: str
    who: str
    profile: str | None
    audience: str
    where: str
    is_member: bool = False
    values: Mapping[str, Any] = field(default_factory=dict)
    held: Held = Held.NOTHING
    reason: str = ""
    run: int | None = None
    moment_ms: int | None = None
    payload: str = ""
    next: str = ""
    omission: str = ""
    waits: str = ""
    behind: int = 0
    is_void: bool = False
    only_adds: bool = False
    only_exits: bool = False
    sending: int | None = None
    is_spared: bool = False
    is_later: bool = False
    was_removed: bool = False


@dataclass(frozen=True, slots=True)
class MemberAnswer:
    """`code` is stable, for programs; `because` and `then` are sentences."""

    code: str
    because: str
    then: str


def why_member(facts: MemberFacts) -> MemberAnswer:
    """The first sufficient reason."""
    if facts.is_void:
        because = f"{facts.who} belongs to nobody: it has come with more values of another key than `maxPerKey` allows."
        return MemberAnswer("Void", because, "nothing, until all Streams with that key have a higher `maxPerKey`.")
    if facts.profile is None:
        newer = f"; {facts.behind:,} messages are not built yet" if facts.behind else ""
        return MemberAnswer("Unknown", f"nobody is known by {facts.who}{newer}.", "nothing, until a message says so.")
    if facts.sending is not None:
        because = f"run {facts.sending} has begun to send this, and there is no answer yet: it may have arrived."
        held = f"; it waits: {facts.waits}" if facts.waits else ""
        return MemberAnswer("UnderWay", because, f"the run's next attempt brings it to its end{held}.")
    match facts.held:
        case Held.MAYBE:
            because = (
                f"run {facts.run} sent an action that may have arrived, and that must not be repeated: {facts.reason}."
            )
            return MemberAnswer("Unsure", because, f"`reconcile rejects {facts.job} --release` tries it again.")
        case Held.OUT:
            return MemberAnswer("Omitted", f"omitted by run {facts.run}: {facts.reason}.", _then(facts, _retry(facts)))
        case Held.SENT | Held.NOTED:
            return _present(facts)
        case Held.NOTHING:
            return _absent(facts)


def _when(facts: MemberFacts) -> str:
    return f"run {facts.run}" + (f" ({iso(facts.moment_ms)})" if facts.moment_ms is not None else "")


def _present(facts: MemberFacts) -> MemberAnswer:
    when = _when(facts)
    if facts.held is Held.NOTED:
        because = (
            f"the audience '{facts.audience}' had this person already when {when} began: with "
            f"`{'events: exit' if facts.only_exits else 'backfill: false'}` that is not sent.{_omitted_now(facts)}"
        )
        then = "nothing, until this person leaves the audience and comes back: this export only adds."
        return MemberAnswer(
            "Noted", because, _then(facts, then if facts.only_adds else "nothing, until something changes.")
        )
    because = f"sent and acknowledged; {when} was the last to do so.{_omitted_now(facts)}"
    if not facts.is_member:
        because += f" But {_not_a_member(facts)}"
    then = "nothing: this export only adds." if facts.only_adds else "nothing, until something changes."
    if facts.is_spared:
        then = "nothing: another member is known now by what this one would be removed by."
    return MemberAnswer("Sent", because, _then(facts, then))


def _omitted_now(facts: MemberFacts) -> str:
    return f" Its last change is omitted: {facts.reason}." if facts.reason else ""


def _absent(facts: MemberFacts) -> MemberAnswer:
    removed = f"{_when(facts)} removed this person; " if facts.was_removed else ""
    if not facts.is_member:
        because = f"{removed}{_not_a_member(facts)}"
        return MemberAnswer("NotAMember", because, "nothing, until the attributes or the audience change.")
    if facts.next == "omit":
        because = f"the audience '{facts.audience}' has this person, and the mapping leaves them out: {facts.omission}."
        return MemberAnswer("Omitted", because, "nothing, until the attributes or the mapping change.")
    if not facts.next:
        because = f"the audience '{facts.audience}' has this person, and the export's mode and events ask for no call."
        return MemberAnswer("NotAsked", because, "nothing.")
    because = f"{removed}the audience '{facts.audience}' has this person, and no run has sent that yet."
    return MemberAnswer("NotYet", because, _then(facts, "nothing."))


def _not_a_member(facts: MemberFacts) -> str:
    values = ", ".join(f"{name} is {_shown(value)}" for name, value in facts.values.items())
    return f"the audience '{facts.audience}' does not have this person: {facts.where}" + (
        f", and {values}." if values else "."
    )


def _shown(value: Any) -> str:
    if value is None:
        return "unknown"
    return str(value).lower() if isinstance(value, bool) else str(value)


#: What the next run does, in words.
_DOES = {"add": "adds", "update": "changes", "remove": "removes"}


def _then(facts: MemberFacts, otherwise: str) -> str:
    if facts.next not in _DOES:
        return otherwise
    held = f"; it waits: {facts.waits}" if facts.waits else ""
    later = ", once another one's change has its outcome" if facts.is_later else ""
    return f"the next run {_DOES[facts.next]} this member{later}{held}."


def _retry(facts: MemberFacts) -> str:
    return f"it is tried again when it changes, or with `reconcile rejects {facts.job} --retry`."
