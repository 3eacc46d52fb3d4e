"""What the ledger of an export knows of those whose fields, identifiers or mapping change while calls are refused or in doubt:
the destination comes to hold the members, and nothing else that was ever sent."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from reconciler.clock import Now
from reconciler.controller.compared import Export
from reconciler.controller.member import judge
from reconciler.core.mirror import Progress
from reconciler.data.forget import held
from reconciler.errors import NeedsApproval, RateLimited, Retriable
from tests.providers.audience_bench import Bench, bench, people, person
from tests.providers.test_http_audience import naming
from tests.servers import Play

BOTH = {"email": {"from": "email"}, "user": {"from": "user"}}
MIRROR = {"mode": "mirror", "events": "both"}
UNSAFE = dict.fromkeys(("add", "update", "remove"), "unsafe")
NOW = Now(wall_ms=0, alive_ms=0)


def release(job: Bench) -> None:
    job.ledger.cursor = {**job.ledger.cursor, "retry": "all"}
    job.completes()


def requests(job: Bench) -> list[tuple[str, Any]]:
    return [(one.json["action"], one.json["members"]) for one in job.server.requests]


def known(number: int, email: str, user: str) -> dict[str, Any]:
    emails, users = ([email] if email else []), ([user] if user else [])
    return {"id": f"{number:032x}", "email": emails, "user": users, "plan": "gold"}


def export(job: Bench) -> Export:
    return Export(
        job="conformance", config=job.job.model(job.place), progress=Progress.load(job.ledger.cursor),
        data=job.place.data_dir, memory_mb=200, approved=sorted(job.place.approved),
    )  # fmt: skip


def announced(job: Bench, *numbers: int) -> dict[int, tuple[str, str]]:
    """What `why --member` says that the next run does with each, and how that is."""
    assert job.place.selection is not None
    found = {}
    for number in numbers:
        judged = judge(export(job), job.place.selection, f"{number:032x}", NOW)
        found[number] = (judged["next"], "".join(one for one in ("is_spared", "is_later") if judged[one]))
    return found


def test_an_identifier_that_the_mapping_sends_no_more_is_named_as_one_by_which_the_member_was_known(
    tmp_path: Path,
) -> None:
    who = {"id": f"{1:032x}", "email": ["a@x.org"], "user": ["1"], "plan": "gold"}
    with bench(tmp_path, fields=BOTH) as job:
        job.receiver._apply = lambda *_: None  # type: ignore[method-assign]
        job.enroll([who], keys=("email", "user"))
        job.completes()
        job.job.settings["fields"] = {"user": BOTH["user"], "plan": {"from": "plan"}}
        job.completes()
        previous = {"user": "1", "email": "a@x.org"}
        assert requests(job)[1:] == [("update", [{"user": "1", "plan": "gold", "previous": previous}])]
        assert job.completes().units == 0


def test_what_a_doubted_update_may_have_left_there_is_removed_once_it_is_released(tmp_path: Path) -> None:
    answers = iter([Play(), Play(drop=True)])
    with bench(tmp_path, [person(1, email=["a@x.org"])], lambda _: next(answers, Play()), replay=UNSAFE) as job:
        job.completes()
        job.enroll([person(1, email=["b@x.org"])])
        job.fails(Retriable)
        assert job.again().how == "completed"
        assert job.facts == {"sent": 0, "noted": 0, "maybe": 2, "out": 0, "amiss": 0}
        whole = [pq.read_schema(job.place.data_dir / one["file"]) for one in job.ledger.cursor["ledger"]["files"]]
        assert {str(one.field("source").type) for one in whole} == {"uint64"}, (
            "a source is a number that is not rounded"
        )
        assert job.last_message == "of 2 concerned: 0 added, 0 changed, 0 removed, 2 omitted, 0 unchanged"
        assert job.completes().units == 0
        release(job)
        assert job.sent[2:] == [("add", ["b@x.org"]), ("remove", ["a@x.org"])]
        assert set(job.receiver.members) == {"b@x.org"}
        assert job.facts == {"sent": 1, "noted": 0, "maybe": 0, "out": 0, "amiss": 0}


def test_who_has_another_address_since_a_doubted_addition_is_not_left_there_by_the_old_one(tmp_path: Path) -> None:
    answers = iter([Play(lose=True)])
    with bench(tmp_path, [person(1, email=["a@x.org"])], lambda _: next(answers, Play()), replay=UNSAFE) as job:
        job.fails(Retriable)
        assert job.again().how == "completed"
        job.enroll([person(1, email=["b@x.org"])])
        release(job)
        assert job.sent[1:] == [("add", ["b@x.org"]), ("remove", ["a@x.org"])]
        assert set(job.receiver.members) == {"b@x.org"}
        assert job.completes().units == 0


def test_what_may_have_arrived_is_removed_once_though_the_plan_that_says_so_was_not_done(tmp_path: Path) -> None:
    answers = iter([Play(lose=True)])
    with bench(
        tmp_path, [person(1, email=["a@x.org"])], lambda _: next(answers, Play()), replay={"add": "unsafe"}
    ) as job:
        job.fails(Retriable)
        assert job.again().how == "completed"
        job.enroll([person(1, email=["b@x.org"])])
        job.ledger.cursor = {**job.ledger.cursor, "retry": "all"}
        job.job.settings["replay"] = {}
        job.run(dies_at=3)  # once it is planned
        release(job)
        assert job.sent[1:] == [("add", ["b@x.org"]), ("remove", ["a@x.org"])]
        assert job.completes().units == 0


def test_who_was_released_while_no_such_call_is_made_may_still_be_there(tmp_path: Path) -> None:
    answers = iter([Play(lose=True)])
    with bench(tmp_path, [person(1)], lambda _: next(answers, Play()), replay=UNSAFE) as job:
        job.fails(Retriable)
        assert job.again().how == "completed"
        job.job.settings |= {"events": "exit", "guard": {"emptyAudience": "allow", "maxRemovePercent": 100}}
        release(job)
        assert len(job.sent) == 1
        job.enroll([])
        job.completes()
        assert job.sent[1:] == [("remove", ["p1@x.org"])]
        assert job.facts == dict.fromkeys(job.facts, 0)


def test_who_was_sent_as_an_update_alone_is_added_later_though_a_further_update_was_refused(tmp_path: Path) -> None:
    bad: set[int] = set()
    with bench(
        tmp_path, [person(1)], lambda asked: naming(bad)(asked), mode="update-only", errors={"path": "errors"}
    ) as job:
        job.completes()
        bad.add(1)
        job.enroll([person(1, "silver")])
        job.completes()
        bad.clear()
        job.enroll([person(1)])
        job.job.settings |= MIRROR
        job.completes()
        assert [action for action, _ in job.sent] == ["update", "update", "add"]
        assert job.completes().units == 0


def test_a_refused_addition_of_one_who_was_sent_as_an_update_alone_is_not_tried_again_by_itself(tmp_path: Path) -> None:
    bad: set[int] = set()
    with bench(
        tmp_path, [person(1)], lambda asked: naming(bad)(asked), mode="update-only", errors={"path": "errors"}
    ) as job:
        job.completes()
        bad.add(1)
        job.job.settings |= MIRROR
        job.completes()
        job.job.settings["events"] = "enter"  # everybody is looked at again
        job.completes()
        assert [action for action, _ in job.sent] == ["update", "add"]


def test_nobody_is_removed_by_an_identifier_that_another_one_keeps_if_its_own_change_is_refused(tmp_path: Path) -> None:
    bad: set[int] = set()
    wide = {"maxRemovePercent": 100}
    here = [person(7)]
    with bench(
        tmp_path, [person(1), *here], lambda asked: naming(bad)(asked), errors={"path": "errors"}, guard=wide
    ) as job:  # fmt: skip
        job.completes()
        bad.update((3, 4))
        job.enroll([person(1, email=["p3@x.org"]), person(2, email=["p1@x.org"]), *here])
        job.completes()  # 1 keeps the address that 2 has, too
        job.enroll([person(1, email=["p4@x.org"]), *here])
        job.completes()
        assert set(job.receiver.members) == {"p1@x.org", "p7@x.org"}
        job.enroll([person(1), *here])
        job.completes()
        assert set(job.receiver.members) == {"p1@x.org", "p7@x.org"}


def test_a_removal_that_was_refused_is_tried_again_when_asked_though_the_member_cannot_be_mapped(
    tmp_path: Path,
) -> None:
    refuses = iter([Play(), Play(400, b"not now")])
    with bench(
        tmp_path, [person(1), person(2)], lambda _: next(refuses, Play()), guard={"maxRemovePercent": 100}
    ) as job:
        job.completes()
        job.enroll([person(1, email=[]), person(2)])
        job.completes()
        assert set(job.receiver.members) == {"p1@x.org", "p2@x.org"}
        job.ledger.cursor = {**job.ledger.cursor, "retry": "refused"}
        job.completes()
        assert set(job.receiver.members) == {"p2@x.org"}


def test_who_was_only_recorded_is_ours_once_what_another_one_was_sent_by_is_left_to_it(tmp_path: Path) -> None:
    bad: set[int] = {5}
    here = [person(7), person(8)]
    with bench(
        tmp_path, [person(1), *here], lambda asked: naming(bad)(asked), errors={"path": "errors"}, backfill=False,
        guard={"maxRemovePercent": 100},
    ) as job:  # fmt: skip
        job.completes()
        job.enroll([person(1, email=["p5@x.org"]), person(2, email=["p1@x.org"]), *here])
        job.completes()  # 1 is still known by what was recorded, and 2 is sent by that
        job.enroll([person(1, email=["p5@x.org"]), *here])
        job.completes()
        bad.clear()
        job.enroll([person(1, email=["p6@x.org"]), *here])
        job.completes()
        job.completes()
        assert set(job.receiver.members) == {"p6@x.org"}
        assert job.completes().units == 0


@pytest.mark.parametrize(("mode", "sent"), [("add-only", []), ("mirror", ["add"]), ("update-only", ["update"])])
def test_who_was_there_before_the_first_run_and_could_not_be_sent_has_not_come_by_becoming_usable(
    tmp_path: Path, mode: str, sent: list[str]
) -> None:
    with bench(tmp_path, [person(1), person(2, email=[])], backfill=False, mode=mode) as job:
        job.completes()
        assert job.facts == {"sent": 0, "noted": 2, "maybe": 0, "out": 0, "amiss": 1}
        assert job.last_message == "of 2 concerned: 0 added, 0 changed, 0 removed, 1 omitted, 1 unchanged"
        assert [one["reason"] for one in job.rejects()] == ["no identifier (email)"]
        job.enroll([person(1), person(2)])
        job.completes()
        assert [action for action, _ in job.sent] == sent
        assert job.facts["noted"] == 2 - len(sent)
        assert job.completes().units == 0


def test_who_could_not_be_sent_when_the_first_run_looked_leaves_without_a_call(tmp_path: Path) -> None:
    with bench(tmp_path, [person(1), person(2, email=[])], backfill=False, events="exit") as job:
        job.completes()
        job.enroll([person(1)])
        job.completes()
        assert job.sent == []
        assert job.facts == {"sent": 0, "noted": 1, "maybe": 0, "out": 0, "amiss": 0}


def test_what_was_left_behind_by_one_who_is_forgotten_goes_whatever_the_mode(tmp_path: Path) -> None:
    with bench(tmp_path, [person(1), person(2)], events="enter") as job:
        job.completes()
        job.enroll([person(1, email=["p3@x.org"]), person(2, email=["p1@x.org"])])
        job.completes()
        job.enroll([person(1, email=["p3@x.org"]), person(2, email=["p4@x.org"])])
        job.completes()
        forgotten = job.place.forgotten = (f"{1:032x}",)
        job.enroll([person(2, email=["p4@x.org"])])
        files = [one["file"] for one in job.ledger.cursor["ledger"]["files"]]
        assert held(job.place.data_dir, files, forgotten)
        job.completes()
        files = [one["file"] for one in job.ledger.cursor["ledger"]["files"]]
        assert not held(job.place.data_dir, files, forgotten)
        assert set(job.receiver.members) == {"p4@x.org"}


def test_a_debt_is_of_the_member_that_left_it_behind(tmp_path: Path) -> None:
    answers = iter([Play(), Play(drop=True)])
    with bench(tmp_path, [person(1)], lambda _: next(answers, Play()), replay=UNSAFE, events="enter") as job:
        job.completes()
        job.enroll([person(1, email=["p3@x.org"])])
        job.fails(Retriable)
        assert job.again().how == "completed"
        release(job)
        assert job.facts["sent"] == 2  # no removals are made, so the old address is still there
        job.place.forgotten = (f"{1:032x}",)
        job.job.settings["guard"] = {"emptyAudience": "allow"}
        job.enroll([])
        job.completes()
        files = [one["file"] for one in job.ledger.cursor["ledger"]["files"]]
        assert not held(job.place.data_dir, files, job.place.forgotten)
        assert job.receiver.members == {}


def test_who_keeps_an_address_with_which_another_one_was_sent_later_is_sent_again(tmp_path: Path) -> None:
    bad: set[int] = {5}
    wide = {"maxRemovePercent": 100}
    here = [person(7)]
    with bench(
        tmp_path, [person(1), *here], lambda asked: naming(bad)(asked), errors={"path": "errors"}, guard=wide
    ) as job:  # fmt: skip
        job.completes()
        job.enroll([person(1, email=["p5@x.org"]), person(2, "silver", email=["p1@x.org"]), *here])
        job.completes()  # 1 keeps the address that 2 has, too
        job.enroll([person(1, email=["p5@x.org"]), person(2, email=["p1@x.org"]), *here])
        job.completes()
        job.enroll([person(1), *here])
        job.completes()
        assert job.receiver.members == {
            "p1@x.org": {"email": "p1@x.org", "plan": "gold"},
            "p7@x.org": {"email": "p7@x.org", "plan": "gold"},
        }
        assert job.completes().units == 0


def test_who_is_only_added_under_another_address_leaves_none_of_before_at_the_destination(tmp_path: Path) -> None:
    with bench(tmp_path, [person(1)], mode="update-only") as job:
        job.completes()
        job.enroll([person(1, email=["p2@x.org"])])
        job.job.settings["mode"] = "add-only"
        job.completes()
        assert set(job.receiver.members) == {"p1@x.org", "p2@x.org"}
        job.job.settings |= MIRROR
        job.completes()
        assert set(job.receiver.members) == {"p2@x.org"}
        assert job.completes().units == 0


def test_a_difference_counts_what_updates_leave_behind_among_the_removals(tmp_path: Path) -> None:
    two = {"email": {"from": "email"}, "plan": {"from": "plan", "identifier": True}}
    who = [person(number, str(number)) for number in range(1, 10)]
    with bench(tmp_path, who, fields=two, guard={"maxRemovePercent": 0}) as job:
        job.receiver._apply = lambda *_: None  # type: ignore[method-assign]
        job.completes()
        job.enroll([person(1, "new", email=["New@x.org"]), person(2, "1"), *who[2:]])
        error = job.fails(NeedsApproval)
        assert "It would add 1, change 1 and remove 1." in str(error)
        job.place.approved = {error.digest}
        job.completes()
        assert [(action, len(rows)) for action, rows in requests(job)[1:]] == [("add", 1), ("update", 1), ("remove", 1)]


def test_a_released_removal_that_waits_for_another_member_s_change_is_settled_in_the_same_run(tmp_path: Path) -> None:
    answers = iter([Play(), Play(drop=True)])
    wide = {"maxRemovePercent": 100}
    with bench(
        tmp_path, [person(1), person(2)], lambda _: next(answers, Play()), replay={"remove": "unsafe"}, guard=wide
    ) as job:  # fmt: skip
        job.completes()
        job.enroll([person(2)])
        job.fails(Retriable)
        assert job.again().how == "completed"
        assert job.facts["maybe"] == 1
        job.enroll([person(2), person(3, email=["p1@x.org"])])
        release(job)
        assert job.sent[2:] == [("add", ["p1@x.org"])]
        assert job.facts == {"sent": 2, "noted": 0, "maybe": 0, "out": 0, "amiss": 0}


def test_who_is_forgotten_is_removed_by_an_address_that_is_sent_of_nobody_any_more(tmp_path: Path) -> None:
    with bench(tmp_path, [person(1), person(2)], events="enter") as job:
        job.completes()
        job.enroll([person(1, email=[]), person(2, email=["p1@x.org"])])
        job.completes()  # of 1 no change can be sent, and no removal is made
        job.place.forgotten = (f"{2:032x}",)
        job.enroll([person(1, email=[])])
        job.completes()
        assert job.receiver.members == {}


def test_why_announces_no_removal_by_an_address_that_another_member_has(tmp_path: Path) -> None:
    with bench(tmp_path, [person(1), person(2), person(3)], guard={"maxRemovePercent": 100}) as job:
        job.completes()
        job.enroll([person(2, email=["p1@x.org"])])
        assert announced(job, 1, 2, 3) == {1: ("", "is_spared"), 2: ("update", ""), 3: ("remove", "")}
        job.completes()
        assert job.sent[1:] == [("update", ["p1@x.org"]), ("remove", ["p3@x.org"])]


def test_why_says_that_a_removal_waits_where_another_one_takes_a_part_of_what_identifies_and_the_rest_goes(
    tmp_path: Path,
) -> None:
    with bench(tmp_path, fields=BOTH, guard={"maxRemovePercent": 100}) as job:
        job.receiver._apply = lambda *_: None  # type: ignore[method-assign]
        job.enroll([known(1, "a@x.org", "1"), known(2, "b@x.org", "2")], keys=("email", "user"))
        job.completes()
        job.enroll([known(2, "a@x.org", "2")], keys=("email", "user"))
        assert announced(job, 1, 2) == {1: ("remove", "is_later"), 2: ("update", "")}
        job.completes()
        assert requests(job)[1:] == [
            ("update", [{"email": "a@x.org", "user": "2", "previous": {"email": "b@x.org", "user": "2"}}]),
            ("remove", [{"email": None, "user": "1"}]),
        ]
        assert job.completes().units == 0


@pytest.mark.parametrize(
    ("here", "told"), [([1, 3], []), ([3], [("remove", ["p1@x.org", "p2@x.org"])])], ids=["a member", "left as well"]
)
def test_who_turned_out_to_be_a_member_under_another_id_has_not_left_where_only_leaving_is_told(
    tmp_path: Path, here: list[int], told: list[Any]
) -> None:
    with bench(tmp_path, people(1, 4), events="exit", guard={"maxRemovePercent": 100}) as job:
        job.completes()
        job.enroll([person(number) for number in here])
        assert job.place.selection is not None
        merged = f"SELECT '{2:032x}' AS alias, '{1:032x}' AS id"
        job.place.selection = replace(job.place.selection, aliases=lambda: merged)
        job.completes()
        assert job.sent == told
        assert job.facts["noted"] == len(here)
        assert job.completes().units == 0


def test_of_one_who_was_only_recorded_no_more_is_removed_than_another_one_was_sent_by(tmp_path: Path) -> None:
    fields = {"email": {**BOTH["email"], "required": True}, "user": BOTH["user"]}
    with bench(tmp_path, fields=fields, backfill=False, guard={"maxRemovePercent": 100}) as job:
        job.receiver._apply = lambda *_: None  # type: ignore[method-assign]
        for crowd in (
            [known(1, "a@x.org", "1"), known(9, "z@x.org", "9")],
            [known(1, "", "1"), known(2, "a@x.org", "2"), known(9, "z@x.org", "9")],  # of 1 nothing can be sent now
            [known(1, "", "1"), known(9, "z@x.org", "9")],
            [known(9, "z@x.org", "9")],
        ):
            job.enroll(crowd, keys=("email", "user"))
            job.completes()
        removed = [one for action, rows in requests(job) if action == "remove" for one in rows]
        assert all(one["user"] != "1" for one in removed), removed
        assert {one["email"] for one in removed} == {None, "a@x.org"}


def test_who_left_while_only_entering_is_told_and_came_back_under_another_address_leaves_none_of_before(
    tmp_path: Path,
) -> None:
    with bench(tmp_path, [person(1), person(2)], events="enter", guard={"maxRemovePercent": 100}) as job:
        job.completes()
        for who in ([person(2)], [person(1, email=["p3@x.org"]), person(2)]):
            job.enroll(who)
            job.completes()
        job.job.settings |= MIRROR
        job.completes()
        assert set(job.receiver.members) == {"p2@x.org", "p3@x.org"}
        assert job.completes().units == 0


@pytest.mark.parametrize("meanwhile", [{"mode": "add-only"}, {"events": "enter"}])
def test_who_moves_on_leaves_none_of_before_where_another_one_was_sent_with_a_part_of_it(
    tmp_path: Path, meanwhile: dict[str, str]
) -> None:
    def answer(request: Any) -> Play:  # the update, which enter makes
        return Play(400, b"not now") if b'"b@x.org"' in request.body else Play()

    with bench(tmp_path, fields=BOTH, answer=answer, guard={"maxRemovePercent": 100}) as job:
        job.receiver._apply = lambda *_: None  # type: ignore[method-assign]
        for settings, crowd in (
            (MIRROR, [known(1, "a@x.org", "1"), known(9, "z@x.org", "9")]),
            (meanwhile, [known(1, "b@x.org", ""), known(2, "", "1"), known(9, "z@x.org", "9")]),
            (MIRROR, [known(1, "c@x.org", ""), known(2, "", "1"), known(9, "z@x.org", "9")]),
        ):
            job.job.settings |= settings
            job.enroll(crowd, keys=("email", "user"))
            job.completes()
        (changed, _), removed = requests(job)[-2:]
        assert changed in ("add", "update")
        assert removed == ("remove", [{"email": "a@x.org", "user": None}])
        assert job.completes().units == 0


def test_why_says_which_run_removed_somebody_for_as_long_as_the_ledger_tells_and_of_nobody_who_was_spared(
    tmp_path: Path,
) -> None:
    with bench(tmp_path, people(0, 4), guard={"maxRemovePercent": 100}) as job:
        job.completes()
        job.enroll([person(0), person(3, email=["p2@x.org"])])
        job.completes()
        assert job.sent[1:] == [("update", ["p2@x.org"]), ("remove", ["p1@x.org"])]
        for plan in ("silver", "gold") * 5:
            job.enroll([person(0, plan), person(3, email=["p2@x.org"])])
            job.completes()
        assert job.place.selection is not None
        judged = [judge(export(job), job.place.selection, f"{number:032x}", NOW) for number in range(4)]
        assert [(one.get("was_removed", False), one.get("run")) for one in judged] == [
            (False, 12), (True, 2), (False, None), (False, 2),
        ]  # fmt: skip
        job.place.forgotten = (f"{1:032x}",)
        job.completes()
        assert "run" not in judge(export(job), job.place.selection, f"{1:032x}", NOW)


def test_the_removal_of_one_who_is_forgotten_is_tried_once_a_run_also_where_the_run_compares_again(
    tmp_path: Path,
) -> None:
    def answer(request: Any) -> Play:
        return Play(400, b"not now") if b'"p1@x.org"' in request.body and b"remove" in request.body else Play()

    with bench(tmp_path, people(1, 4), answer=answer, guard={"maxRemovePercent": 100}) as job:
        job.completes()
        job.place.forgotten = (f"{1:032x}",)
        job.enroll([person(3, email=["p2@x.org"])])
        for _ in range(2):
            job.completes()
        assert job.sent[1:] == [("update", ["p2@x.org"]), *[("remove", ["p1@x.org"])] * 2]


def test_an_address_that_two_who_left_were_sent_with_is_removed_once_where_others_have_the_rest(tmp_path: Path) -> None:
    with bench(tmp_path, fields=BOTH, guard={"maxRemovePercent": 100}) as job:
        job.receiver._apply = lambda *_: None  # type: ignore[method-assign]
        for settings, crowd in (
            (MIRROR, [known(1, "a@x.org", "1")]),
            ({"mode": "add-only"}, [known(1, "", "1"), known(2, "a@x.org", "2")]),
            (MIRROR, [known(3, "c@x.org", "1"), known(4, "d@x.org", "2")]),
        ):
            job.job.settings |= settings
            job.enroll(crowd, keys=("email", "user"))
            job.completes()
        removed = [rows for action, rows in requests(job) if action == "remove"]
        assert removed == [[{"email": "a@x.org", "user": None}]]
        assert job.completes().units == 0


def test_why_says_that_one_is_sent_again_whose_address_may_have_been_overwritten_by_one_that_is_released(
    tmp_path: Path,
) -> None:
    answers = iter([Play(), Play(lose=True)])
    with bench(tmp_path, [person(1)], lambda _: next(answers, Play()), replay={"add": "unsafe"}) as job:
        job.completes()
        job.enroll([person(1), person(2)])
        job.fails(Retriable)
        assert job.again().how == "completed"
        job.enroll([person(1, email=["p2@x.org"]), person(2, email=["p3@x.org"])])
        job.completes()
        job.ledger.cursor = {**job.ledger.cursor, "retry": "all"}
        assert announced(job, 1, 2) == {1: ("add", "is_later"), 2: ("add", "")}
        job.completes()
        assert job.sent[3:] == [("add", ["p3@x.org"]), ("add", ["p2@x.org"])]
        assert job.completes().units == 0


def test_removals_that_take_the_place_of_refused_additions_wait_for_the_guard(tmp_path: Path) -> None:
    def answer(request: Any) -> Play:
        rows = range(len(request.json["members"]) if job.place.run > 1 and request.json["action"] == "add" else 0)
        return Play(body=json.dumps({"errors": [{"index": at, "message": "known"} for at in rows]}).encode())

    with bench(tmp_path, people(0, 20), answer, errors={"path": "errors"}, maxRejects=100) as job:
        job.completes()
        job.enroll([person(number, email=[f"P{number - 100}@x.org"]) for number in range(100, 120)])  # other profiles
        error = job.fails(NeedsApproval)
        assert "It would add 0, change 0 and remove 20. Nothing more was sent; " in str(error)
        assert len(job.receiver.members) == 20
        assert job.again().error.digest == error.digest  # type: ignore[union-attr]
        job.place.approved = {error.digest}
        assert job.again().how == "completed"
        assert job.receiver.members == {}


def test_what_was_approved_with_the_rest_of_a_difference_needs_no_approval_of_its_own_wherever_the_run_is_cut_off(
    tmp_path: Path,
) -> None:
    for dies_at in itertools.count(1):
        with bench(tmp_path / str(dies_at), fields=BOTH, guard={"maxRemovePercent": 0}) as job:
            job.receiver._apply = lambda *_: None  # type: ignore[method-assign]
            job.enroll([known(1, "a@x.org", "1"), known(2, "b@x.org", "2")], keys=("email", "user"))
            job.completes()
            job.enroll([known(2, "a@x.org", "2")], keys=("email", "user"))
            job.place.approved = {job.fails(NeedsApproval).digest}
            made = job.again(dies_at=dies_at)
            if made.how != "completed":
                assert job.again().how == "completed"
            assert [action for action, _ in dict(requests(job)).items()] == ["add", "update", "remove"]
            if made.how == "completed":
                break
    assert dies_at > 5


def test_a_ledger_that_was_put_together_says_when_somebody_was_removed_and_not_by_what_they_were_known(
    tmp_path: Path,
) -> None:
    with bench(tmp_path, people(0, 3), guard={"maxRemovePercent": 100}) as job:
        job.completes()
        for plan in ("silver", "gold") * 5:
            job.enroll([person(0, plan)])
            job.completes()
        rows = [
            row
            for one in job.ledger.cursor["ledger"]["files"]
            for row in pq.read_table(job.place.data_dir / one["file"]).to_pylist()
        ]
        gone = [(int(row["id"], 16), row["run"], row["payload"], row["idents"]) for row in rows if not row["state"]]
        assert sorted(gone) == [(1, 2, None, []), (2, 2, None, [])]


def test_who_left_and_was_known_by_a_part_of_what_another_leaver_was_known_by_is_removed_with_it(
    tmp_path: Path,
) -> None:
    with bench(tmp_path, fields=BOTH, guard={"maxRemovePercent": 100, "emptyAudience": "allow"}) as job:
        job.receiver._apply = lambda *_: None  # type: ignore[method-assign]
        for settings, crowd in (
            ({"mode": "add-only"}, [known(1, "a@x.org", "1")]),
            ({"mode": "add-only"}, [known(1, "a@x.org", ""), known(2, "", "1")]),
            (MIRROR, []),
        ):
            job.job.settings |= settings
            job.enroll(crowd, keys=("email", "user"))
            job.completes()
        removed = [rows for action, rows in requests(job) if action == "remove"]
        assert removed == [[{"email": "a@x.org", "user": "1"}]]
        assert job.facts == dict.fromkeys(job.facts, 0)
        assert job.completes().units == 0


@pytest.mark.parametrize("forgotten", [1, 2])
def test_the_removal_of_one_who_is_forgotten_is_not_left_to_that_of_another_one(tmp_path: Path, forgotten: int) -> None:
    def answer(request: Any) -> Play:
        return Play(400, b"not now") if b"remove" in request.body else Play()

    with bench(tmp_path, answer=answer, guard={"maxRemovePercent": 100, "emptyAudience": "allow"}) as job:
        for crowd in ([person(1)], [person(1, email=[]), person(2, email=["p1@x.org"])]):
            job.job.settings["mode"] = "add-only"
            job.enroll(crowd)
            job.completes()
        job.job.settings |= MIRROR
        job.place.forgotten = (f"{forgotten:032x}",)
        job.enroll([])
        job.completes()
        files = [one["file"] for one in job.ledger.cursor["ledger"]["files"]]
        assert set(job.receiver.members) == {"p1@x.org"}
        assert list(held(job.place.data_dir, files, job.place.forgotten)) == [f"{forgotten:032x}"]


def test_what_a_person_has_approved_is_not_said_to_be_held_also_while_it_waits_for_the_destination(
    tmp_path: Path,
) -> None:
    def answer(request: Any) -> Play:
        return (
            Play(429, headers={"Retry-After": "9"}) if b'"p3@x.org"' in request.body and job.place.run > 1 else Play()
        )

    with bench(tmp_path, people(0, 4), answer, batchSize=1, guard={"maxRemovePercent": 0}) as job:
        job.completes()
        job.enroll([person(0)])
        job.place.approved = {job.fails(NeedsApproval).digest}
        assert objections(job) == []
        job.fails(RateLimited, new_run=False)
        assert job.ledger.cursor["plan"]["done"] == 2
        assert objections(job) == []
        job.place.approved = set()
        assert objections(job) == [
            "it would remove 3 members, 75 % of the 4 that were sent (guard.maxRemovePercent: 0)"
        ]


def objections(job: Bench) -> list[str]:
    """What `plan --data` says that the guard holds."""
    made, chosen = export(job), job.place.selection
    assert chosen is not None
    with made.scratch() as scratch:
        return made.objections(made.difference(chosen, made.progress.ledger, NOW, scratch), chosen, scratch)
