"""The lane of backfills: what a spec says of it, and when a backfill waits for a person."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.clock import Now
from reconciler.core.backfill import (
    amount,
    digest_beyond,
    digest_of_parts,
    judge,
    judge_next,
    lane_of,
    max_messages_of,
)
from reconciler.core.consequence import spec_events
from reconciler.core.document import Document
from reconciler.core.happening import Approved, Held, RulesChanged, Started
from reconciler.core.issue import Issue
from reconciler.core.lifecycle import advance, created
from reconciler.core.provider import Estimate
from reconciler.core.rules import Every, JobRules, rules_of
from reconciler.core.spec_rules import Rules
from reconciler.core.state import JobState, Reason, Status
from reconciler.core.why import Facts, why
from reconciler.errors import NeedsApproval
from reconciler.providers import files, http
from tests.core.test_spec import job, raw, refused

LAKE = Estimate(messages=5_000_000, size=1_204_500_000, parts=12, exact=False, digest="d" * 32)
CATALOGUE = {one.PROVIDER.name: one.PROVIDER for one in (files, http)}


# --- in a spec ------------------------------------------------------------------------------------------------------


def test_a_job_is_live_and_a_backfill_has_a_limit_unless_it_says_otherwise() -> None:
    assert job() == job(lane="live") == {}
    assert job(lane="backfill") == job(lane="backfill", backfill={"maxMessages": 10_000_000}) == {"lane": "backfill"}
    assert job(lane="backfill", backfill={"maxMessages": 5}) == {
        "backfill": {"maxMessages": 5},
        "lane": "backfill",
    }
    assert (lane_of({}), max_messages_of({})) == ("live", 10_000_000)
    limited = {"lane": "backfill", "backfill": {"maxMessages": 5}}
    assert (lane_of(limited), max_messages_of(limited)) == ("backfill", 5)
    assert (rules_of({}).lane, rules_of(limited).lane) == ("live", "backfill")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lane": "fast"}, "spec.lane: expected live or backfill, found 'fast'"),
        ({"backfill": {"maxMessages": 5}}, "spec.backfill: backfill has a meaning only beside lane: backfill"),
        (
            {"lane": "live", "backfill": {}},
            "spec.backfill: backfill has a meaning only beside lane: backfill",
        ),
        (
            {"lane": "backfill", "backfill": {"maxMessages": 0}},
            "spec.backfill.maxMessages: expected a number of at least 1, found 0",
        ),
        (
            {"lane": "backfill", "backfill": {"maxMessages": "all"}},
            "spec.backfill.maxMessages: expected an integer, found 'all'",
        ),
        (
            {"lane": "backfill", "backfill": {"maxmessages": 5}},
            "spec.backfill.maxmessages: unknown field; did you mean 'maxMessages'?",
        ),
    ],
)
def test_what_is_wrong_with_a_lane_is_said_where_it_stands(fields: dict[str, Any], message: str) -> None:
    spec = {"provider": "s3", "jobType": "import-csv", **fields}
    assert refused("Job", spec) == [message]


def issues(**fields: Any) -> list[Issue]:
    spec = {"provider": "files", "jobType": "import-csv", "config": {"path": "a.csv", "stream": "s"}, **fields}
    return list(Rules(CATALOGUE).issues("Job", raw("Job", spec)))


def test_only_an_import_can_be_a_backfill() -> None:
    assert issues(lane="backfill") == []
    assert issues(lane="backfill", jobType="export-csv") == [
        Issue(("spec", "lane"), "only an import can be a backfill; job type 'export-csv' is an export")
    ]
    assert issues(lane="live", jobType="export-csv") == []


def test_a_limit_is_for_every_import_whether_or_not_anybody_knows_beforehand_how_much_there_is() -> None:
    web = {"provider": "http", "jobType": "import-json", "config": {"url": "https://example.com/", "stream": "s"}}
    assert issues(**web, lane="backfill") == []
    assert issues(**web, lane="backfill", backfill={"maxMessages": 5}) == []


def test_another_lane_is_no_other_work() -> None:
    spec = {"provider": "files", "jobType": "import-csv"}
    live, old = (
        Document(kind="Job", name="a", path="a.yaml", spec=one) for one in (spec, {**spec, "lane": "backfill"})
    )
    assert live.work_digest == old.work_digest
    assert live.digest != old.digest
    assert spec_events(live.spec, old.spec) == (RulesChanged(judges_anew=True),)


# --- the limit ------------------------------------------------------------------------------------------------------


def test_a_backfill_within_its_limit_begins() -> None:
    judge(LAKE, 5_000_000, ())


def test_a_backfill_past_its_limit_says_what_it_would_add_and_names_exactly_that() -> None:
    with pytest.raises(NeedsApproval) as held:
        judge(LAKE, 4_999_999, ("e" * 32,))
    assert str(held.value) == (
        "it would add about 5,000,000 messages from 12 files (1,204.5 MB), more than backfill.maxMessages (4,999,999)"
    )
    assert held.value.digest == LAKE.digest


def test_a_backfill_that_is_counted_as_it_goes_waits_before_the_unit_that_is_too_much() -> None:
    judge_next(60, 40, 100, "d", ())
    judge_next(60, 41, 100, "d", ("d",))
    with pytest.raises(NeedsApproval) as held:
        judge_next(60, 41, 100, "d", ("e",))
    assert held.value.digest == "d"
    assert str(held.value) == (
        "the next 41 messages would take it past backfill.maxMessages (100), and how many are still to come is not known"
    )
    same = {digest_beyond("a", 1, 5), digest_beyond("b", 1, 5), digest_beyond("a", 2, 5), digest_beyond("a", 1, 6)}
    assert len(same) == 4


def test_what_a_person_has_approved_begins() -> None:
    judge(LAKE, 1, ("e" * 32, LAKE.digest))


def test_what_was_counted_is_not_about() -> None:
    one = replace(LAKE, messages=1, parts=1, size=20, exact=True)
    assert amount(one) == "1 message from 1 file (0.0 MB)"


def test_an_approval_is_of_these_files_as_they_are_whatever_their_order() -> None:
    a, b = ("a.csv", 10, 1), ("b.csv", 20, 2)
    assert digest_of_parts([a, b]) == digest_of_parts([b, a])
    others = ([a], [a, ("b.csv", 21, 2)], [a, ("b.csv", 20, 3)], [a, ("c.csv", 20, 2)], [a, b, b])
    assert len({digest_of_parts(one) for one in (*others, [a, b])}) == 6


def test_a_raised_limit_lets_a_held_job_be_judged_anew_and_other_rules_do_not() -> None:
    rules = JobRules(schedule=Every(3_600_000), lane="backfill")
    now = Now(1_000, 1_000)
    state = advance(created(rules, now).state, Started(1), rules, now).state
    held = advance(state, Held("too much"), rules, now).state
    assert (held.reason, held.awaiting) == (Reason.AWAITING_APPROVAL, "too much")
    assert advance(held, RulesChanged(), rules, now).state.awaiting == "too much"
    anew = advance(held, RulesChanged(judges_anew=True), rules, now).state
    assert (anew.status, anew.awaiting, anew.owed) == (Status.SLEEPING, None, held.owed)
    assert anew == advance(held, Approved("d"), rules, now).state


# --- why it waits ---------------------------------------------------------------------------------------------------


def test_a_backfill_that_waits_for_a_slot_is_told_of_its_own_lane_s() -> None:
    state = advance(created(JobRules(), Now(0, 0)).state, Started(1), JobRules(), Now(0, 0)).state
    state = replace(JobState(), owed=state.cause, reason=Reason.WAITING_FOR_SLOT, queued_ms=0)
    answers = {
        lane: why(Facts(name="a", now=Now(60_000, 0), state=state, rules=JobRules(lane=lane), controller=42))
        for lane in ("live", "backfill")
    }
    assert answers["live"].because.startswith("every slot is taken; ")
    assert answers["live"].then.endswith("; --slots N gives more.")
    assert answers["backfill"].because.startswith("every slot of the backfills is taken; ")
    assert answers["backfill"].then.endswith("; --backfill-slots N gives more.")
