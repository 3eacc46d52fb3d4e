"""`export-audience`: the members at the destination are those of the audience, and only what changed is sent."""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import random
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.provider import Secret
from reconciler.core.redact import Redactor
from reconciler.errors import Fatal, NeedsApproval, RateLimited, Retriable
from reconciler.providers.http.batches import MAX_BATCH_BYTES
from reconciler.providers.http.config import ErrorPointers
from reconciler.providers.http.export_audience import named_rows
from tests.providers.audience_bench import bench, people, person
from tests.servers import Play, Request


def test_a_first_run_sends_everyone_and_a_second_one_nothing(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 5), batchSize=2) as job:
        job.completes()
        assert job.sent == [("add", ["p0@x.org", "p1@x.org"]), ("add", ["p2@x.org", "p3@x.org"]), ("add", ["p4@x.org"])]
        assert job.last_message == ("of 5 concerned: 5 added, 0 changed, 0 removed, 0 omitted, 0 unchanged")
        assert job.completes().units == 0
        assert len(job.server.requests) == 3


def test_a_request_is_what_the_receiver_was_promised(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 2)) as job:
        job.completes()
    (request,) = job.server.requests
    assert request.body == (
        b'{"job":"conformance","audience":"people","action":"add","members":['
        b'{"email":"p0@x.org","plan":"gold"},{"email":"p1@x.org","plan":"gold"}]}'
    )
    assert request.key.startswith("1-0-1-")


def test_only_what_changed_is_sent_additions_first_and_removals_last(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 10)) as job:
        job.completes()
        job.enroll([person(0, "silver"), *people(1, 9), person(20)])
        job.completes()
        assert job.sent[1:] == [("add", ["p20@x.org"]), ("update", ["p0@x.org"]), ("remove", ["p9@x.org"])]
        assert job.last_message == ("of 11 concerned: 1 added, 1 changed, 1 removed, 0 omitted, 8 unchanged")
        assert set(job.receiver.members) == {f"p{number}@x.org" for number in [*range(9), 20]}


# --- the guard ------------------------------------------------------------------------------------------------------


def test_an_audience_that_shrinks_by_96_percent_is_not_touched_until_a_person_approves(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 100)) as job:
        job.completes()
        job.enroll(people(0, 4))
        error = job.fails(NeedsApproval)
        assert str(error) == (
            "the guard holds this run: it would remove 96 members, 96 % of the 100 that were sent (guard.maxRemovePercent: "
            "20). It would add 0, change 0 and remove 96. Nothing was sent; `reconcile approve conformance "
            f"{error.digest}` lets exactly this happen"
        )
        assert job.fails(NeedsApproval, new_run=False).digest == error.digest
        assert len(job.server.requests) == 1
        job.place.approved = {error.digest}
        assert job.again().how == "completed"
        assert set(job.receiver.members) == {f"p{number}@x.org" for number in range(4)}


def test_a_difference_that_has_changed_since_needs_a_new_approval(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 100)) as job:
        job.completes()
        job.enroll(people(0, 4))
        first = job.fails(NeedsApproval).digest
        job.place.approved = {first}
        job.enroll(people(0, 5))
        assert job.fails(NeedsApproval, new_run=False).digest != first
        assert len(job.server.requests) == 1


def test_an_audience_that_is_empty_now_waits_for_approval(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 2)) as job:
        job.completes()
        job.enroll([])
        assert "the audience is empty now (guard.emptyAudience: block)" in str(job.fails(NeedsApproval))
        job.job.settings["guard"] = {"emptyAudience": "allow"}
        job.completes()
        assert job.receiver.members == {}


def test_the_guard_counts_what_is_sent_and_not_what_is_only_written_down(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 100), events="enter") as job:
        job.completes()
        job.enroll(people(0, 4))
        job.completes()
        assert (job.facts["sent"], len(job.sent)) == (100, 1)
        assert len(job.receiver.members) == 100


def test_what_is_left_of_an_approved_difference_goes_on_in_the_same_run(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 40), batchSize=10) as job:
        job.completes()
        job.enroll(people(0, 2))
        job.place.approved = {job.fails(NeedsApproval).digest}
        assert job.again(dies_at=6).how == "cut"
        job.place.approved = set()
        assert job.again().how == "completed"
        assert set(job.receiver.members) == {"p0@x.org", "p1@x.org"}


# --- refused --------------------------------------------------------------------------------------------------------


def refusing(bad: set[int], status: int = 422) -> Callable[[Request], Play]:
    addresses = {f"p{number}@x.org" for number in bad}

    def answer(request: Request) -> Play:
        found = any(one["email"] in addresses for one in request.json["members"])
        return Play(status, b'{"error": "bad address"}') if found else Play()

    return answer


def naming(bad: set[int], status: int = 400) -> Callable[[Request], Play]:
    addresses = {f"p{number}@x.org" for number in bad}

    def answer(request: Request) -> Play:
        members = request.json["members"]
        errors = [{"index": at, "message": "no MX"} for at, one in enumerate(members) if one["email"] in addresses]
        return Play(status if errors else 200, json.dumps({"errors": errors}).encode())

    return answer


@pytest.mark.parametrize("bad", [1, 2, 7, 20])
def test_few_bad_members_of_ten_thousand_are_found_and_the_rest_arrives(tmp_path: Path, bad: int) -> None:
    chosen = set(random.Random(bad).sample(range(10_000), bad))
    with bench(tmp_path, people(0, 10_000), refusing(chosen), batchSize=10_000, maxRejects=100) as job:
        job.completes()
        assert len(job.server.requests) <= bad * math.log2(10_000) + 12
        assert len(job.receiver.members) == 10_000 - bad
        assert job.last_message == (
            f"of 10000 concerned: {10_000 - bad} added, 0 changed, 0 removed, {bad} omitted, 0 unchanged"
        )
        assert sum(unit.omitted for unit in job.ledger.units) == bad
        assert {one["reason"] for one in job.rejects()} == {'answered 422: {"error": "bad address"}'}
        assert {json.loads(one["text"])["fields"]["email"] for one in job.rejects()} == {
            f"p{one}@x.org" for one in chosen
        }
        assert job.completes().units == 0


def test_rows_that_an_answer_names_are_left_out_and_the_rest_is_sent_at_once(tmp_path: Path) -> None:
    errors = {"path": "errors"}
    with bench(tmp_path, people(0, 10), naming({0, 4, 9}), errors=errors) as job:
        job.completes()
        assert [len(members) for _, members in job.sent] == [10, 7]
        assert [(one["line"], one["reason"]) for one in job.rejects()] == [(0, "no MX"), (4, "no MX"), (9, "no MX")]
        assert job.facts == {"sent": 7, "noted": 0, "maybe": 0, "out": 3, "amiss": 0}


@pytest.mark.parametrize("dies_at", range(1, 10))
def test_named_rows_stay_left_out_when_the_controller_dies(tmp_path: Path, dies_at: int) -> None:
    with bench(tmp_path, people(0, 6), naming({0, 3, 5}), errors={"path": "errors"}) as job:
        job.run(dies_at=dies_at)
        assert job.again().how == "completed"
        assert set(job.receiver.members) == {"p1@x.org", "p2@x.org", "p4@x.org"}
        assert (job.facts["sent"], job.facts["out"]) == (3, 3)
        assert job.completes().units == 0


def test_of_an_accepted_batch_only_the_named_rows_are_refused(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 4), naming({2}, 207), errors={"path": "errors"}) as job:
        job.completes()
        assert len(job.server.requests) == 1
        assert (job.facts["sent"], job.facts["out"]) == (3, 1)
        assert [unit.rows for unit in job.ledger.units] == [0, 3, 0]


def beside(bad: set[int], named: Callable[[int], int | list[int]]) -> Callable[[Request], Play]:
    """Refuses a batch for its first bad row, and points at others: what is made of that row's index."""
    addresses = {f"p{number}@x.org" for number in bad}

    def answer(request: Request) -> Play:
        members = request.json["members"]
        for at, one in enumerate(members):
            if one["email"] in addresses:
                found = named(at)
                errors = [{"index": row, "message": "no MX"} for row in (found if isinstance(found, list) else [found])]
                return Play(400, json.dumps({"errors": errors}).encode())
        return Play()

    return answer


@pytest.mark.parametrize(
    "named",
    [
        pytest.param(lambda at: at + 1, id="the-row-after"),
        pytest.param(lambda at: at - 1, id="the-row-before"),
        pytest.param(lambda _: 0, id="always-the-first"),
        pytest.param(lambda _: list(range(1000)), id="all"),
        pytest.param(lambda _: list(range(0, 999, 2)), id="every-other"),
        pytest.param(lambda at: [at + 1, at + 2, at + 400], id="many-wrong"),
    ],
)
def test_nobody_is_refused_for_pointers_at_the_wrong_rows(
    tmp_path: Path, named: Callable[[int], int | list[int]]
) -> None:
    bad = {3, 500, 501, 900}
    with bench(tmp_path, people(0, 1000), beside(bad, named), errors={"path": "errors"}, batchSize=1000) as job:
        job.completes()
        refused = {json.loads(one["text"])["fields"]["email"] for one in job.rejects()}
        assert refused == {f"p{number}@x.org" for number in bad}
        assert len(job.receiver.members) == 1000 - len(bad)
        assert len(job.server.requests) <= len(bad) * math.log2(1000) + 12
        assert job.completes().units == 0


@pytest.mark.parametrize("bad", [1, 5, 20])
def test_a_receiver_that_names_only_the_first_bad_row_is_believed_row_by_row(tmp_path: Path, bad: int) -> None:
    chosen = set(random.Random(bad).sample(range(1000), bad))
    with bench(
        tmp_path, people(0, 1000), beside(chosen, lambda at: at), errors={"path": "errors"}, batchSize=1000
    ) as job:
        job.completes()
        assert {one["reason"] for one in job.rejects()} == {"no MX"}
        assert len(job.receiver.members) == 1000 - bad
        assert len(job.server.requests) <= 4 * bad + 1


@pytest.mark.parametrize("end", [0, -1], ids=["first", "last"])
def test_a_receiver_may_name_one_bad_row_at_a_time_however_many_there_are(tmp_path: Path, end: int) -> None:
    bad = {f"p{number}@x.org" for number in range(1, 700, 2)}

    def answer(request: Request) -> Play:
        found = [at for at, one in enumerate(request.json["members"]) if one["email"] in bad]
        errors = [{"index": found[end], "message": "no MX"}] if found else []
        return Play(400, json.dumps({"errors": errors}).encode()) if found else Play()

    with bench(tmp_path, people(0, 700), answer, errors={"path": "errors"}, batchSize=700, maxRejects=350) as job:
        job.completes()
        assert {json.loads(one["text"])["fields"]["email"] for one in job.rejects()} == bad
        assert len(job.receiver.members) == 350
        assert len(job.server.requests) <= 4 * 350 + 1


@pytest.mark.parametrize("dies_at", range(1, 12))
def test_pointers_at_the_wrong_rows_refuse_nobody_when_the_controller_dies(tmp_path: Path, dies_at: int) -> None:
    answer = beside({1, 5}, lambda at: at + 1)
    with bench(tmp_path, people(0, 8), answer, errors={"path": "errors"}) as job:
        job.run(dies_at=dies_at)
        assert job.again().how == "completed"
        assert set(job.receiver.members) == {f"p{number}@x.org" for number in (0, 2, 3, 4, 6, 7)}
        assert (job.facts["sent"], job.facts["out"]) == (6, 2)
        assert job.completes().units == 0


def test_of_an_accepted_batch_any_number_of_rows_may_be_named(tmp_path: Path) -> None:
    config = {"errors": {"path": "errors"}, "batchSize": 1100, "maxRejects": 1100}
    with bench(tmp_path, people(0, 1100), naming(set(range(1050)), 207), **config) as job:
        job.completes()
        assert (job.facts["sent"], job.facts["out"]) == (50, 1050)


def also(row: int, status: int) -> Callable[[Request], Play]:
    """Refuses whoever has the plan `bad`, and names their rows, and another one."""

    def answer(request: Request) -> Play:
        bad = [at for at, one in enumerate(request.json["members"]) if one["plan"] == "bad"]
        errors = [{"index": at, "message": "no MX"} for at in (*bad, row)]
        return Play(status, json.dumps({"errors": errors}).encode()) if bad else Play()

    return answer


@pytest.mark.parametrize("row", [-1, 4, 10**6])
def test_an_answer_that_blames_a_row_that_is_not_there_blames_none(tmp_path: Path, row: int) -> None:
    who = [person(0), person(1, "bad"), *people(2, 4)]
    with bench(tmp_path, who, also(row, 422), errors={"path": "errors"}) as job:
        job.completes()
        assert [len(members) for _, members in job.sent] == [4, 2, 1, 1, 1, 1]
        assert set(job.receiver.members) == {"p0@x.org", "p2@x.org", "p3@x.org"}


@pytest.mark.parametrize("row", [-1, 4])
def test_a_batch_of_which_rows_that_are_not_there_were_refused_is_an_error_until_that_is_mended(
    tmp_path: Path, row: int
) -> None:
    who = [person(0), person(1, "bad"), *people(2, 4)]
    answers = iter([also(row, 207)])
    with bench(tmp_path, who, lambda one: next(answers, naming({1}, 207))(one), errors={"path": "errors"}) as job:
        error = job.fails(Fatal)
        assert str(error) == (
            f"batch {job.server.requests[0].key} was accepted but for some rows, and the answer names row {row + 1} of 4 among "
            "them, so nobody knows who was refused; check `errors.index` and `errors.first`"
        )
        assert job.again().how == "completed"
        assert job.server.requests[0].key == job.server.requests[1].key
        assert (job.facts["sent"], job.facts["out"]) == (3, 1)


def test_an_unsafe_batch_of_which_nobody_knows_who_was_refused_may_have_arrived_and_is_released_by_a_person(
    tmp_path: Path,
) -> None:
    answers = iter([Play(), also(4, 207)])
    how = {"batchSize": 4, "replay": {"add": "unsafe"}, "errors": {"path": "errors"}}
    who = [*people(0, 4), person(4), person(5, "bad"), *people(6, 10)]
    with bench(
        tmp_path, who, lambda one: answer(one) if callable(answer := next(answers, Play())) else answer, **how
    ) as job:
        error = job.fails(Fatal)
        assert str(error).endswith("so nobody knows who was refused; check `errors.index` and `errors.first`")
        assert {one["reason"] for one in job.rejects()} == {
            f"the add may have arrived, and is not repeated; a person has to look and release it: {error}"
        }
        assert not job.ledger.open
        assert job.again().how == "completed"
        assert [len(members) for _, members in job.sent] == [4, 4, 2]
        assert (job.facts["sent"], job.facts["maybe"]) == (6, 4)
        assert job.completes().units == 0
        job.ledger.cursor = {**job.ledger.cursor, "retry": "all"}
        job.completes()
        assert (job.facts["sent"], job.facts["maybe"]) == (10, 0)


def test_pointers_that_lead_nowhere_are_as_none(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 4), refusing({2}), errors={"path": "a.b", "index": "at"}) as job:
        job.completes()
        assert (job.facts["sent"], job.facts["out"]) == (3, 1)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b'{"errors": [{"index": 1, "message": "bad"}, {"index": "3"}]}', {1: "bad", 3: "refused"}),
        (b'{"errors": [{"index": true}, {"index": null}, {"index": -1}, {}, 7, {"index": "x"}]}', {-1: "refused"}),
        (b'{"errors": [{"index": 2, "message": {"code": 7}}]}', {2: '{"code": 7}'}),
        (b'{"errors": [{"index": 2, "message": "a\\nb s3cret"}]}', {2: "a b ***"}),
        (b'{"errors": {"index": 2}}', {}),
        (b"not JSON", {}),
        (b"[" * 100_000, {}),
        (b"", {}),
    ],
)
def test_what_an_answer_names_is_read_with_care(body: bytes, named: dict[int, str]) -> None:
    errors = ErrorPointers.model_validate({"path": "errors"})
    assert named_rows(body, errors, Redactor([Secret("s3cret")])) == named


def test_rows_may_be_counted_from_one(tmp_path: Path) -> None:
    errors = ErrorPointers.model_validate({"path": "e", "index": "row.number", "message": "why", "first": 1})
    assert named_rows(b'{"e": [{"row": {"number": 1}, "why": "x"}]}', errors, Redactor([])) == {0: "x"}


def test_a_receiver_that_refuses_everything_does_not_use_up_the_audience(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 60), lambda _: Play(400)) as job:
        error = job.fails(Fatal)
        assert str(error).startswith("25 members in a row were refused, the last one (")
        assert str(error).endswith("): answered 400; set `maxRejects` where so many are to be omitted")
        assert job.facts["out"] == 0
        job.receiver._answer = lambda _: Play()
        job.again()
        assert len(job.receiver.members) == 60


def test_more_refused_members_than_allowed_fail_the_run(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 8), refusing({1, 3, 6}), maxRejects=2) as job:
        error = job.fails(Fatal)
    assert str(error).startswith("more than maxRejects (2) members were refused, the last one (")


def test_a_refused_member_is_tried_again_when_its_fields_change_and_not_before(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 3), refusing({1})) as job:
        job.completes()
        count = len(job.server.requests)
        job.enroll([*people(0, 3), person(5)])
        job.completes()
        assert job.sent[count:] == [("add", ["p5@x.org"])]
        job.receiver._answer = lambda _: Play()
        job.enroll([person(0), person(1, "silver"), person(2), person(5)])
        job.completes()
        assert job.sent[count + 1 :] == [("add", ["p1@x.org"])]
        assert job.facts == {"sent": 4, "noted": 0, "maybe": 0, "out": 0, "amiss": 0}


def test_refused_members_are_tried_again_when_asked(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 3), refusing({1})) as job:
        job.completes()
        job.receiver._answer = lambda _: Play()
        job.ledger.cursor = {**job.ledger.cursor, "retry": "refused"}
        job.completes()
        assert job.sent[-1] == ("add", ["p1@x.org"])
        assert job.ledger.cursor["retry"] == ""
        assert job.completes().units == 0


def test_a_refused_change_leaves_what_was_acknowledged(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 3)) as job:
        job.completes()
        job.receiver._answer = refusing({1})
        job.enroll([person(0, "silver"), person(1, "silver"), person(2)])
        job.completes()
        assert job.facts == {"sent": 3, "noted": 0, "maybe": 0, "out": 0, "amiss": 1}
        assert job.receiver.members["p1@x.org"]["plan"] == "gold"
        job.receiver._answer = lambda _: Play()
        job.enroll([person(0, "silver"), person(2)])
        job.completes()
        assert job.sent[-1] == ("remove", ["p1@x.org"])
        assert json.loads(job.server.requests[-1].body)["members"] == [{"email": "p1@x.org", "plan": "gold"}]


def test_a_refused_removal_is_not_tried_again_by_itself_but_when_the_member_comes_back_and_leaves(
    tmp_path: Path,
) -> None:
    with bench(tmp_path, people(0, 10)) as job:
        job.completes()
        job.receiver._answer = refusing({1})
        job.enroll([person(number) for number in range(10) if number not in (1, 2)])
        job.completes()
        assert job.facts["amiss"] == 1
        assert job.completes().units == 0
        job.receiver._answer = lambda _: Play()
        job.enroll([person(number) for number in range(10) if number != 2])
        job.completes()
        assert (job.facts["sent"], job.facts["amiss"]) == (9, 0)
        job.enroll([person(number) for number in range(10) if number not in (1, 2)])
        job.completes()
        assert job.sent[-1] == ("remove", ["p1@x.org"])


# --- replays --------------------------------------------------------------------------------------------------------


def test_an_answer_that_was_lost_leads_to_the_same_bytes_under_the_same_key(tmp_path: Path) -> None:
    lost = iter([Play(lose=True)])
    with bench(tmp_path, people(0, 6), lambda _: next(lost, Play()), batchSize=4) as job:
        job.fails(Retriable)
        job.job.settings["batchSize"] = 2
        assert job.again().how == "completed"
    first, second, *rest = job.server.requests
    assert (first.key, first.body) == (second.key, second.body)
    assert [len(one.json["members"]) for one in rest] == [2]
    assert job.receiver.repeated == [first.key]


def test_an_unsafe_batch_that_may_have_arrived_is_omitted_until_a_person_releases_it(tmp_path: Path) -> None:
    lost = iter([Play(), Play(lose=True)])
    with bench(tmp_path, people(0, 6), lambda _: next(lost, Play()), batchSize=2, replay={"add": "unsafe"}) as job:
        job.fails(Retriable)
        assert job.again().how == "completed"
        assert job.sent == [("add", [f"p{one}@x.org", f"p{one + 1}@x.org"]) for one in (0, 2, 4)]
        assert job.facts == {"sent": 4, "noted": 0, "maybe": 2, "out": 0, "amiss": 0}
        assert {one["reason"] for one in job.rejects()} == {
            "the add may have arrived, and is not repeated; a person has to look and release it"
        }
        assert job.completes().units == 0
        job.ledger.cursor = {**job.ledger.cursor, "retry": "all"}
        job.completes()
        assert job.sent[-1] == ("add", ["p2@x.org", "p3@x.org"])
        assert job.facts["sent"] == 6


@pytest.mark.parametrize("answer", [Play(429, headers={"Retry-After": "3"}), Play(401)])
def test_an_unsafe_batch_that_was_turned_away_is_sent_again(tmp_path: Path, answer: Play) -> None:
    turned = iter([answer])
    with bench(tmp_path, people(0, 2), lambda _: next(turned, Play()), replay={"add": "unsafe"}) as job:
        job.fails(RateLimited if answer.status == 429 else Fatal)
        assert not job.ledger.open
        assert job.again().how == "completed"
        assert (job.facts["sent"], job.facts["maybe"]) == (2, 0)


def test_an_unsafe_batch_that_was_never_connected_is_sent_again(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 2), replay={"add": "unsafe"}) as job:
        there = job.job.settings["url"]
        with socket.create_server(("127.0.0.1", 0)) as taken:
            job.job.settings["url"] = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        job.fails(Retriable)
        job.job.settings["url"] = there
        assert job.again().how == "completed"
        assert (job.facts["sent"], job.facts["maybe"]) == (2, 0)


def test_a_batch_whose_bytes_have_changed_is_not_sent(tmp_path: Path) -> None:
    lost = iter([Play(lose=True)])
    with bench(tmp_path, people(0, 2), lambda _: next(lost, Play())) as job:
        job.fails(Retriable)
        (key,) = job.ledger.open
        job.ledger.open[key] = replace(job.ledger.open[key], digest="0" * 64)
        error = job.fails(Fatal, new_run=False)
    assert str(error) == (
        f"batch {key} no longer reads as it did when it was first sent, so it is not sent again; change `restart` to begin "
        "anew"
    )


def test_a_restart_sends_everyone_again_under_new_keys_and_gives_up_what_was_open(tmp_path: Path) -> None:
    lost = iter([Play(lose=True)])
    with bench(tmp_path, people(0, 2), lambda _: next(lost, Play())) as job:
        job.fails(Retriable)
        job.ledger.cursor = None
        job.completes()
        assert job.ledger.units[-4].message == "1 batches are given up: what they were to send is gone"
        assert not job.ledger.open
        assert len({one.key for one in job.server.requests}) == 2


# --- modes, events, backfill ----------------------------------------------------------------------------------------


def changed() -> list[dict[str, Any]]:
    """Of ten, 0 has changed and 9 has left; 20 is new."""
    return [person(0, "silver"), *people(1, 9), person(20)]


@pytest.mark.parametrize(
    ("config", "first", "second"),
    [
        ({}, ["add"], ["add", "update", "remove"]),
        ({"mode": "add-only"}, ["add"], ["add"]),
        ({"mode": "update-only"}, ["update"], ["update"]),
        ({"events": "enter"}, ["add"], ["add", "update"]),
        ({"events": "exit"}, [], ["remove"]),
        ({"backfill": False}, [], ["add"]),
        ({"backfill": False, "events": "exit"}, [], ["remove"]),
        ({"backfill": False, "mode": "add-only"}, [], ["add"]),
        ({"backfill": False, "mode": "update-only"}, [], ["update"]),
    ],
)
def test_modes_and_events_decide_what_is_called(
    tmp_path: Path, config: dict[str, Any], first: list[str], second: list[str]
) -> None:
    with bench(tmp_path, people(0, 10), **config) as job:
        job.completes()
        assert [action for action, _ in job.sent] == first
        job.enroll(changed())
        job.completes()
        assert [action for action, _ in job.sent[len(first) :]] == second
        assert job.completes().units == 0
        account = job.last_message
        assert account.startswith("of 11 concerned: "), account


def test_who_comes_after_a_first_run_that_found_nobody_is_sent_without_a_backfill_too(tmp_path: Path) -> None:
    with bench(tmp_path, [], backfill=False) as job:
        job.completes()
        assert job.last_message == "nobody is a member yet; who comes from now on is sent"
        assert job.completes().units == 0
        job.enroll(people(0, 1))
        job.completes()
        assert job.sent == [("add", ["p0@x.org"])]


def test_a_member_that_was_only_noted_is_ours_once_it_was_sent(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 10), backfill=False) as job:
        job.completes()
        job.enroll(changed())
        job.completes()
        assert job.sent == [("add", ["p0@x.org", "p20@x.org"])]
        job.enroll(people(2, 9))
        job.completes()
        assert job.sent[1:] == [("remove", ["p0@x.org", "p20@x.org"])]


def test_an_add_only_export_without_a_backfill_adds_only_who_comes_from_then_on(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 10), backfill=False, mode="add-only") as job:
        job.completes()
        job.enroll(changed())
        job.completes()
        assert job.sent == [("add", ["p20@x.org"])]
        job.enroll([*changed(), person(9)])
        job.completes()
        assert job.sent[1:] == [("add", ["p9@x.org"])]
        assert job.facts == {"sent": 2, "noted": 9, "maybe": 0, "out": 0, "amiss": 0}


def test_who_was_there_before_and_cannot_be_used_for_a_while_has_not_come_anew(tmp_path: Path) -> None:
    fields = {"email": {"from": "email"}, "plan": {"from": "plan", "required": True}}
    with bench(tmp_path, people(0, 3), backfill=False, mode="add-only", fields=fields) as job:
        job.completes()
        job.enroll([person(0, None), *people(1, 3)])
        job.completes()
        assert job.facts == {"sent": 0, "noted": 3, "maybe": 0, "out": 0, "amiss": 1}
        assert job.last_message.endswith("1 omitted, 2 unchanged")
        job.enroll([person(0, "silver"), *people(1, 4)])
        job.completes()
        assert job.sent == [("add", ["P3@x.org"])]
        assert job.facts == {"sent": 1, "noted": 3, "maybe": 0, "out": 0, "amiss": 0}


@pytest.mark.parametrize(
    ("config", "action"), [({}, "add"), ({"mode": "add-only"}, "add"), ({"mode": "update-only"}, "update")]
)
def test_a_backfill_that_is_asked_for_later_sends_once_who_was_only_recorded(
    tmp_path: Path, config: dict[str, Any], action: str
) -> None:
    with bench(tmp_path, people(0, 3), backfill=False, **config) as job:
        job.completes()
        assert job.sent == []
        job.job.settings["backfill"] = True
        job.completes()
        assert job.sent == [(action, ["p0@x.org", "p1@x.org", "p2@x.org"])]
        assert job.completes().units == 0
        job.job.settings["backfill"] = False
        assert job.completes().units == 0


def test_who_was_only_recorded_and_is_refused_when_sent_later_is_not_tried_again_by_itself(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 3), naming({1}), backfill=False, errors={"path": "errors"}) as job:
        job.completes()
        job.job.settings["backfill"] = True
        job.completes()
        assert set(job.receiver.members) == {"p0@x.org", "p2@x.org"}
        calls = len(job.server.requests)
        assert job.completes().units == 0
        assert len(job.server.requests) == calls


def test_members_that_an_export_of_exits_recorded_are_sent_when_it_tells_of_both(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 2), events="exit") as job:
        job.completes()
        assert job.completes().units == 0
        job.job.settings["events"] = "both"
        job.completes()
        assert job.sent == [("add", ["p0@x.org", "p1@x.org"])]


def test_who_left_an_add_only_destination_is_not_added_again_on_coming_back(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 3), mode="add-only") as job:
        job.completes()
        job.enroll(people(0, 2))
        assert job.completes().units == 0
        job.enroll(people(0, 3))
        assert job.completes().units == 0


def test_who_left_is_added_again_on_coming_back_where_only_entering_is_told(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 3), events="enter") as job:
        job.completes()
        job.enroll(people(0, 2))
        job.completes()
        job.enroll(people(0, 3))
        job.completes()
        assert job.sent[1:] == [("add", ["p2@x.org"])]


@pytest.mark.parametrize(
    "meanwhile", [{"mode": "add-only"}, {"events": "exit"}, {"mode": "update-only"}, {"events": "enter"}]
)
def test_after_a_switch_back_to_all_calls_the_destination_holds_the_members_and_nobody_is_sent_for_nothing(
    tmp_path: Path, meanwhile: dict[str, str]
) -> None:
    with bench(tmp_path, people(0, 5)) as job:
        job.completes()
        job.job.settings |= meanwhile
        job.enroll([person(0, "silver"), *people(1, 4), person(20)])  # 4 has left
        job.completes()
        assert job.completes().units == 0
        before = len(job.sent)
        job.job.settings |= {"mode": "mirror", "events": "both"}
        job.completes()
        held = {address: one["plan"] for address, one in job.receiver.members.items()}
        assert held == {"p0@x.org": "silver"} | {f"p{number}@x.org": "gold" for number in (1, 2, 3, 20)}
        again = {
            "add-only": [("update", ["p0@x.org"]), ("remove", ["p4@x.org"])],
            "exit": [("add", ["p20@x.org"]), ("update", ["p0@x.org"])],
            "update-only": [("add", ["p20@x.org"]), ("remove", ["p4@x.org"])],
            "enter": [("remove", ["p4@x.org"])],
        }
        assert job.sent[before:] == again[next(iter(meanwhile.values()))]
        assert job.completes().units == 0
        assert job.facts == {"sent": 5, "noted": 0, "maybe": 0, "out": 0, "amiss": 0}


def test_a_switch_there_and_back_sends_nothing_where_nothing_has_changed(tmp_path: Path) -> None:
    with bench(tmp_path, [*people(0, 3), person(3, "bad")], naming({3}, 207), errors={"path": "errors"}) as job:
        job.completes()
        for settings in ({"mode": "add-only"}, {"mode": "update-only"}, {"mode": "mirror"}, {"events": "enter"}):
            job.job.settings |= settings
            job.completes()
            assert job.completes().units == 0
        assert len(job.sent) == 1


def test_who_was_only_updated_under_another_address_is_told_of_it_and_then_added(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 2), mode="update-only") as job:
        job.completes()
        job.enroll([person(0), {**person(1), "email": ["new@x.org"]}])
        job.job.settings["mode"] = "mirror"
        job.completes()
        assert job.sent[1:] == [("add", ["p0@x.org"]), ("update", ["new@x.org"]), ("add", ["new@x.org"])]
        assert job.completes().units == 0
        assert set(job.receiver.members) == {"p0@x.org", "new@x.org"}


def test_who_left_and_came_back_while_only_updates_are_made_is_still_added_later(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 2), mode="update-only") as job:
        for who in (people(0, 2), people(0, 1), people(0, 2)):
            job.enroll(who)
            job.completes()
        job.job.settings["mode"] = "mirror"
        job.completes()
        assert [(action, sorted(who)) for action, who in job.sent[1:]] == [
            ("update", ["p1@x.org"]),
            ("add", ["p0@x.org", "p1@x.org"]),
        ]
        assert job.completes().units == 0


def test_who_left_while_only_entering_is_told_and_came_back_with_all_calls_is_not_sent_again(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 2), events="enter") as job:
        job.completes()
        job.enroll(people(0, 1))
        job.completes()
        assert job.facts["sent"] == 2
        job.job.settings["events"] = "both"
        job.enroll(people(0, 2))
        job.completes()
        assert len(job.sent) == 1
        job.enroll(people(0, 1))
        job.completes()
        assert job.sent[1:] == [("remove", ["p1@x.org"])]


# --- mapping --------------------------------------------------------------------------------------------------------


def test_values_are_written_as_json_says_it_best(tmp_path: Path) -> None:
    types = {
        "plan": "text", "n": "integer", "rate": "double", "ok": "boolean", "spent": "decimal(12,2)", "born": "date",
        "seen": "timestamp", "tags": "list(text)",
    }  # fmt: skip
    who = {
        "id": "a" * 32, "email": ["a@x.org", "b@x.org"], "plan": 'quo"te\\\u2028', "n": 7, "rate": 0.5, "ok": True,
        "spent": "12.50", "born": "2000-02-29", "seen": "2026-11-21 10:00:00.5", "tags": ["x", "y"],
    }  # fmt: skip
    fields = {name: {"from": f"attribute:{name}"} for name in types} | {
        "email": {"from": "email"}, "id": {"from": "profile-id"}, "day": {"from": "born", "transform": ["date(%Y-%m-%d)"]},
    }  # fmt: skip
    with bench(tmp_path, [], fields=fields) as job:
        job.enroll([who], types=types)
        job.completes()
    (member,) = json.loads(job.server.requests[0].body)["members"]
    assert list(member) == list(fields)
    assert member == {
        "plan": 'quo"te\\\u2028', "n": 7, "rate": 0.5, "ok": True, "spent": "12.50", "born": "2000-02-29",
        "seen": "2026-11-21T10:00:00.5Z", "tags": ["x", "y"], "email": "a@x.org", "id": "a" * 32, "day": "2000-02-29",
    }  # fmt: skip


def test_what_normalises_to_nothing_is_omitted_and_never_hashed(tmp_path: Path) -> None:
    fields = {
        "email": {"from": "email", "transform": ["meta@1.email"]},
        "plan": {"from": "plan", "transform": ["sha256"]},
    }
    with bench(tmp_path, [person(0, ""), person(1, email=["  "]), person(2, email=[])], fields=fields) as job:
        job.completes()
        (member,) = json.loads(job.server.requests[0].body)["members"]
        assert member == {"email": hashlib.sha256(b"p0@x.org").hexdigest(), "plan": None}
        assert [one["reason"] for one in job.rejects()] == ["no identifier (email)"] * 2
        assert job.last_message == "of 3 concerned: 1 added, 0 changed, 0 removed, 2 omitted, 0 unchanged"
        assert job.completes().units == 0


def test_a_member_without_a_required_field_is_omitted_until_it_has_one(tmp_path: Path) -> None:
    fields = {"email": {"from": "email"}, "plan": {"from": "plan", "required": True}}
    with bench(tmp_path, [person(0), person(1, None)], fields=fields) as job:
        job.completes()
        assert [one["reason"] for one in job.rejects()] == ["no plan"]
        job.enroll([person(0), person(1, "silver")])
        job.completes()
        assert job.sent[-1] == ("add", ["P1@x.org"])


def test_who_can_no_longer_be_mapped_is_removed_and_omitted(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 10)) as job:
        job.completes()
        job.enroll([person(0, email=[]), *people(1, 10)])
        job.completes()
        assert job.sent[-1] == ("remove", ["p0@x.org"])
        assert job.facts == {"sent": 9, "noted": 0, "maybe": 0, "out": 1, "amiss": 0}
        assert job.last_message == "of 10 concerned: 0 added, 0 changed, 1 removed, 0 omitted, 9 unchanged"
        assert job.completes().units == 0


def test_an_update_says_by_which_identifier_the_member_was_known(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 2)) as job:
        job.completes()
        job.enroll([person(0, email=["new@x.org"]), person(1)])
        job.completes()
        assert json.loads(job.server.requests[-1].body) == {
            "job": "conformance", "audience": "people", "action": "update",
            "members": [{"email": "new@x.org", "plan": "gold", "previous": {"email": "p0@x.org"}}],
        }  # fmt: skip
        assert set(job.receiver.members) == {"new@x.org", "p1@x.org"}


def test_two_profiles_that_became_one_are_not_removed_by_what_the_one_is_known_by(tmp_path: Path) -> None:
    with bench(tmp_path, [person(0, email=["a@x.org"]), *people(1, 8)]) as job:
        job.completes()
        job.enroll([person(50, email=["a@x.org"]), *people(1, 8)])
        job.completes()
        assert job.sent[1:] == [("add", ["a@x.org"])]
        assert "a@x.org" in job.receiver.members
        job.enroll(people(1, 8))
        job.completes()
        assert job.sent[-1] == ("remove", ["a@x.org"])


TWO = {"email": {"from": "email"}, "plan": {"from": "plan", "identifier": True}}


def test_what_is_left_of_two_profiles_that_became_one_is_removed_in_the_same_run(tmp_path: Path) -> None:
    with bench(tmp_path, [person(1, "a"), person(2, "b")], fields=TWO, guard={"maxRemovePercent": 100}) as job:
        job.completes()
        job.enroll([person(1, "b")])  # the removal of 2 waits until 1 has the plan that both were known by
        job.completes()
        sent = [(one.json["action"], one.json["members"]) for one in job.server.requests[1:]]
        assert sent == [
            ("update", [{"email": "P1@x.org", "plan": "b", "previous": {"email": "P1@x.org", "plan": "a"}}]),
            ("remove", [{"email": "P2@x.org", "plan": None}]),
        ]
        assert job.completes().units == 0
        assert job.facts["sent"] == 1


def test_the_guard_counts_removals_that_wait_for_a_change(tmp_path: Path) -> None:
    who = [person(number, str(number)) for number in range(8)]
    with bench(tmp_path, who, fields=TWO) as job:
        job.completes()
        job.enroll([person(0, "1"), person(2, "3"), person(4, "5"), *who[6:]])
        error = job.fails(NeedsApproval)
        assert "it would remove 3 members, 37.5 % of the 8 that were sent" in str(error)
        assert "It would add 0, change 3 and remove 3." in str(error)
        job.place.approved = {error.digest}
        job.completes()
        assert [one.json["action"] for one in job.server.requests[1:]] == ["update", "remove"]


@pytest.mark.parametrize("dies_at", [4, 6, 7, 9])
def test_a_removal_that_waited_is_made_whenever_the_controller_dies(tmp_path: Path, dies_at: int) -> None:
    with bench(tmp_path, [person(1, "a"), person(2, "b")], fields=TWO, guard={"maxRemovePercent": 100}) as job:
        job.completes()
        job.enroll([person(1, "b")])
        job.run(dies_at=dies_at)
        job.again()
        assert job.completes().units == 0
        assert set(job.receiver.members) == {"P1@x.org"}


def test_a_source_that_changes_without_changing_what_is_sent_is_no_change(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 2)) as job:
        job.completes()
        job.enroll([person(0, email=[" P0@X.ORG "]), person(1)])
        job.completes()
        assert len(job.server.requests) == 1
        assert job.last_message == "of 2 concerned: 0 added, 0 changed, 0 removed, 0 omitted, 2 unchanged"
        assert job.completes().units == 0


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"email": {"from": "emial"}}, "field email: there is no attribute or identity key 'emial'; did you mean 'email'?"),
        ({"x": {"from": "both"}}, "field x: 'both' is an attribute and an identity key; write attribute:both or key:both"),
        ({"x": {"from": "key:plan"}}, "field x: there is no attribute or identity key 'plan'"),
        ({"x": {"from": "plan"}}, "no field identifies a member: take one from an identity key, or mark one with "
                                  "`identifier: true`"),
        ({"x": {"from": "email", "transform": ["lowr"]}}, "field x: unknown transform 'lowr'; did you mean 'lower'?"),
        ({"x": {"from": "tags", "identifier": True, "transform": ["lower"]}}, "field x: tags is a set, which no transform "
                                                                              "takes"),
    ],
)  # fmt: skip
def test_a_mapping_that_cannot_be_meant_is_an_error(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    with bench(tmp_path, [], fields=fields) as job:
        types = {"plan": "text", "both": "text", "tags": "list(text)"}
        job.enroll([{"id": "1", "email": [], "both": [], "plan": "x"}], keys=("email", "other"), types=types)
        job.enroll([], keys=("email", "both"), types=types)
        assert str(job.fails(Fatal)).replace(" (did you mean", "; did you mean") == said


# --- the rest -------------------------------------------------------------------------------------------------------


def test_requests_are_authorized_signed_compressed_and_sent_where_each_action_goes(tmp_path: Path) -> None:
    with bench(
        tmp_path, people(0, 1), method="bearer", credentials={"token": "t0ken", "signingSecret": "k3y"}, signature={},
        compression="gzip", headers={"X-Team": "growth"}, methods={"remove": "DELETE"}, guard={"emptyAudience": "allow"},
    ) as job:  # fmt: skip
        job.job.settings["urls"] = {"remove": f"{job.server.url}/gone"}
        job.completes()
        job.enroll([])
        job.completes()
    added, removed = job.server.requests
    assert (added.method, added.path, removed.method, removed.path) == ("POST", "/in", "DELETE", "/gone")
    for request in (added, removed):
        assert request.headers["authorization"] == "Bearer t0ken"
        assert request.headers["content-encoding"] == "gzip"
        assert request.headers["x-team"] == "growth"
        assert request.headers["x-signature"] == "sha256=" + hmac.new(b"k3y", request.raw, hashlib.sha256).hexdigest()


def test_a_batch_ends_before_it_grows_too_large(tmp_path: Path) -> None:
    fields = {"email": {"from": "email"}, "plan": {"from": "plan"}}
    with bench(tmp_path, [person(one, "x" * (MAX_BATCH_BYTES // 3)) for one in range(4)], fields=fields) as job:
        job.completes()
        assert [len(members) for _, members in job.sent] == [2, 2]


def test_a_plan_of_another_run_is_not_sent_any_further(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 6), batchSize=2) as job:
        assert job.run(stop_after=2).how == "stopped"
        sent = len(job.server.requests)
        job.enroll([])
        job.job.settings["guard"] = {"emptyAudience": "allow", "maxRemovePercent": 100}
        job.completes()
        assert job.receiver.members == {}
        assert sum(action == "add" for action, _ in job.sent) >= sent


def test_the_ledger_is_put_together_when_its_deltas_have_grown(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 30)) as job:
        job.completes()
        counts = []
        for run in range(12):
            job.enroll([*people(0, 29), person(100 + run)])
            job.completes()
            counts.append(len(job.ledger.cursor["ledger"]["files"]))
        assert max(counts) <= 9
        assert 1 in counts
        kept = {path.name for path in (job.place.data_dir / "jobs" / "conformance").iterdir()}
        named = {Path(one["file"]).name for one in job.ledger.cursor["ledger"]["files"]}
        assert named <= kept
        assert job.facts["sent"] == 30
        assert set(job.receiver.members) == {*(f"p{number}@x.org" for number in range(29)), "p111@x.org"}
