"""Why a person was or was not sent: for everything that can be known of one, one reason and a next step."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.core.why_member import Held, MemberFacts, why_member

BASE = MemberFacts(
    job="crm", who="email=ada@example.org", profile="p1", audience="big", where="spent > 1000", values={"spent": 12}
)
MEMBER = replace(BASE, is_member=True, values={"spent": 1200})
SENT = replace(MEMBER, held=Held.SENT, run=7, moment_ms=1_790_000_000_000)

CASES = {
    "Unknown": (
        replace(BASE, profile=None, behind=1200),
        "nobody is known by email=ada@example.org; 1,200 messages are not built yet.",
        "nothing, until a message says so.",
    ),
    "NotAMember": (
        BASE,
        "the audience 'big' does not have this person: spent > 1000, and spent is 12.",
        "nothing, until the attributes or the audience change.",
    ),
    "NotAMember, removed": (
        replace(BASE, was_removed=True, run=7, moment_ms=1_790_000_000_000),
        "run 7 (2026-09-21T14:13:20.000Z) removed this person; the audience 'big' does not have this person: "
        "spent > 1000, and spent is 12.",
        "nothing, until the attributes or the audience change.",
    ),
    "NotYet, removed": (
        replace(MEMBER, next="add", was_removed=True, run=7),
        "run 7 removed this person; the audience 'big' has this person, and no run has sent that yet.",
        "the next run adds this member.",
    ),
    "NotYet": (
        replace(MEMBER, next="add", waits="the job is Paused"),
        "the audience 'big' has this person, and no run has sent that yet.",
        "the next run adds this member; it waits: the job is Paused.",
    ),
    "Omitted": (
        replace(MEMBER, next="omit", omission="no value for the required field 'phone'"),
        "the audience 'big' has this person, and the mapping leaves them out: no value for the required field 'phone'.",
        "nothing, until the attributes or the mapping change.",
    ),
    "NotAsked": (
        MEMBER,
        "the audience 'big' has this person, and the export's mode and events ask for no call.",
        "nothing.",
    ),
    "Sent": (
        SENT,
        "sent and acknowledged; run 7 (2026-09-21T14:13:20.000Z) was the last to do so.",
        "nothing, until something changes.",
    ),
    "Sent, leaving": (
        replace(SENT, is_member=False, values={"spent": None, "active": True}, next="remove", waits="a guard holds it"),
        "sent and acknowledged; run 7 (2026-09-21T14:13:20.000Z) was the last to do so. "
        "But the audience 'big' does not have this person: spent > 1000, and spent is unknown, active is true.",
        "the next run removes this member; it waits: a guard holds it.",
    ),
    "Sent, leaving later": (
        replace(SENT, is_member=False, next="remove", is_later=True, waits="a guard holds it"),
        "sent and acknowledged; run 7 (2026-09-21T14:13:20.000Z) was the last to do so. "
        "But the audience 'big' does not have this person: spent > 1000, and spent is 1200.",
        "the next run removes this member, once another one's change has its outcome; it waits: a guard holds it.",
    ),
    "Sent, spared": (
        replace(SENT, is_member=False, is_spared=True),
        "sent and acknowledged; run 7 (2026-09-21T14:13:20.000Z) was the last to do so. "
        "But the audience 'big' does not have this person: spent > 1000, and spent is 1200.",
        "nothing: another member is known now by what this one would be removed by.",
    ),
    "Sent, amiss": (
        replace(SENT, reason="answered 422: bad name"),
        "sent and acknowledged; run 7 (2026-09-21T14:13:20.000Z) was the last to do so. "
        "Its last change is omitted: answered 422: bad name.",
        "nothing, until something changes.",
    ),
    "Noted": (
        replace(SENT, held=Held.NOTED, next="update"),
        "the audience 'big' had this person already when run 7 (2026-09-21T14:13:20.000Z) began: with `backfill: false` that is not sent.",
        "the next run changes this member.",
    ),
    "Noted, only adds": (
        replace(SENT, held=Held.NOTED, only_adds=True),
        "the audience 'big' had this person already when run 7 (2026-09-21T14:13:20.000Z) began: with `backfill: false` that is not sent.",
        "nothing, until this person leaves the audience and comes back: this export only adds.",
    ),
    "Noted, only exits": (
        replace(SENT, held=Held.NOTED, only_exits=True, reason="no value for the required field 'phone'"),
        "the audience 'big' had this person already when run 7 (2026-09-21T14:13:20.000Z) began: with `events: exit` that is not "
        "sent. Its last change is omitted: no value for the required field 'phone'.",
        "nothing, until something changes.",
    ),
    "Sent, only adds": (
        replace(SENT, only_adds=True),
        "sent and acknowledged; run 7 (2026-09-21T14:13:20.000Z) was the last to do so.",
        "nothing: this export only adds.",
    ),
    "UnderWay": (
        replace(MEMBER, next="add", sending=9, waits="the job is Paused"),
        "run 9 has begun to send this, and there is no answer yet: it may have arrived.",
        "the run's next attempt brings it to its end; it waits: the job is Paused.",
    ),
    "Unsure": (
        replace(SENT, held=Held.MAYBE, reason="no answer"),
        "run 7 sent an action that may have arrived, and that must not be repeated: no answer.",
        "`reconcile rejects crm --release` tries it again.",
    ),
    "Omitted, refused": (
        replace(SENT, held=Held.OUT, reason="answered 400: no such plan"),
        "omitted by run 7: answered 400: no such plan.",
        "it is tried again when it changes, or with `reconcile rejects crm --retry`.",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_everything_that_can_be_known_has_one_reason_and_a_next_step(case: str) -> None:
    facts, because, then = CASES[case]
    answer = why_member(facts)
    assert (answer.code, answer.because, answer.then) == (case.split(",")[0], because, then)
