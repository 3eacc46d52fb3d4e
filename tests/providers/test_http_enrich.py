"""`enrich-lookup`: everybody is asked about once, and what is answered is said to whom it is about."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.clock import iso
from reconciler.core.profile import Identity
from reconciler.core.words import DAY_MS
from reconciler.errors import Fatal, RateLimited, Retriable, RunError
from reconciler.providers.http import PROVIDER, client, enrich_lookup
from reconciler.providers.http.enrich_config import EnrichLookup, lookup_schema
from reconciler.providers.http.lookups import Pace, can_stand_in_url, in_url
from tests.providers.enrich_world import NOW_MS, STREAM, Crash, World
from tests.servers import Play, Request, Server, as_json, serving

EMAIL = (Identity(key="email", column="email", normalize=("trim", "lower")),)


def asked(server: Server) -> list[str]:
    return [request.query["q"] for request in server.requests]


def company(request: Request) -> Play:
    return as_json({"person": {"company": f"of {request.query['q']}", "age": None, "tags": ["x", 1]}})


@contextmanager
def world(
    folder: Path, answer: Callable[[Request], Play] = company, *people: str, **config: Any
) -> Iterator[tuple[World, Server]]:
    with serving(answer) as server:
        made = World(
            PROVIDER, "enrich-lookup", folder,
            {
                "url": server.url + "/people?q={value}", "stream": STREAM, "key": {"identity": "email"},
                "attributes": {"company": "person.company"}, "allowPrivateAddresses": True, "requestsPerSecond": 1000,
                **config,
            },
            identities=EMAIL,
        )  # fmt: skip
        made.has_profiles(*([one] for one in people))
        yield made, server


def test_what_is_answered_becomes_a_message_with_the_time_of_the_answer(tmp_path: Path) -> None:
    attributes = {"company": "person.company", "age": "person.age", "first_tag": "person.tags.0", "no": "a.b"}
    with world(tmp_path, company, "a@x.de", "b@x.de", attributes=attributes) as (job, server):
        (unit,) = job.run()
    at = iso(NOW_MS)
    assert job.landed() == [
        {"email": "a@x.de", "enriched_at": at, "company": "of a@x.de", "first_tag": "x"},
        {"email": "b@x.de", "enriched_at": at, "company": "of b@x.de", "first_tag": "x"},
    ]
    assert (unit.rows, unit.omitted, unit.message) == (2, 0, "2 profiles looked up, 2 with news")
    (times,) = {
        row["_timestamp"] for _, table in job.place.stream(STREAM).tables(0, 2, meta=True) for row in table.to_pylist()
    }
    assert times == datetime.fromtimestamp(NOW_MS / 1000, UTC)
    assert {request.method for request in server.requests} == {"GET"}


def test_nobody_is_asked_for_twice_within_the_lifetime_of_an_answer(tmp_path: Path) -> None:
    with world(tmp_path, company, "a", ttl="30d") as (job, server):
        job.run()
        job.now_ms += 30 * DAY_MS - 1
        assert job.run() == []
        job.has_profiles(["a"], ["b"])
        job.run()
        assert asked(server) == ["a", "b"]
        job.now_ms = NOW_MS + 30 * DAY_MS
        job.run()
        assert asked(server) == ["a", "b", "a"]


def test_an_answer_that_says_the_same_is_no_message_again(tmp_path: Path) -> None:
    said = ["one", "one", "two"]
    with world(tmp_path, lambda _: as_json({"person": {"company": said.pop(0)}}), "a", ttl="1d") as (job, _):
        for _number in range(3):
            job.run()
            job.now_ms += DAY_MS
    assert job.facts("company", "enriched_at") == [("one", iso(NOW_MS)), ("two", iso(NOW_MS + 2 * DAY_MS))]
    assert [unit.message for unit in job.place.ledger.units][1] == "1 profile looked up, 0 with news"


@pytest.mark.parametrize(
    "nothing",
    [Play(404), Play(410), Play(204), Play(200), as_json({}), as_json([]), as_json({"person": {"company": None}})],
)
def test_that_there_is_nothing_is_remembered_too(tmp_path: Path, nothing: Play) -> None:
    with world(tmp_path, lambda _: nothing, "a") as (job, server):
        (unit,) = job.run()
        assert job.run() == []
    assert (len(server.requests), job.landed(), unit.rows, unit.omitted) == (1, [], 0, 0)


def test_a_profile_is_asked_about_once_by_its_first_value(tmp_path: Path) -> None:
    with world(tmp_path) as (job, server):
        job.has_profiles(["a@x.de", "b@x.de"], [], ["c@x.de"])
        job.run()
    assert sorted(asked(server)) == ["a@x.de", "c@x.de"]


def test_a_value_is_encoded_wherever_it_stands(tmp_path: Path) -> None:
    hostile = "a/../b?x=1&q=2#é \r\nX: y%2e{value}"
    with world(tmp_path, lambda _: as_json({"person": {"company": "x"}}), hostile) as (job, server):
        job.run()
        assert asked(server) == [hostile]
        job.config["url"] = server.url + "/people/{value}/x"
        job.place.ledger.cursor = None
        job.run()
    assert server.requests[1].path == f"/people/{in_url(hostile)}/x"
    assert "/" not in in_url(hostile)


def test_what_would_lead_elsewhere_in_a_path_is_not_asked_for(tmp_path: Path) -> None:
    assert not can_stand_in_url("..")
    with world(tmp_path, company, "..", "a") as (job, server):
        (unit,) = job.run()
        assert job.run() == []
    assert asked(server) == ["a"]
    assert (unit.rows, unit.omitted) == (1, 1)
    assert [reason for _, reason, _ in job.rejects()] == ["the identifier cannot stand in a URL"]


def test_a_post_sends_the_value_in_its_body(tmp_path: Path) -> None:
    with world(tmp_path, lambda _: as_json({"c": 1}), 'a"b', method="POST", attributes={"c": "c"}) as (job, server):
        job.config["url"] = server.url + "/find"
        job.run()
        job.config["body"] = {"mail": "<{value}>", "deep": True, "n": 3}
        job.place.ledger.cursor = None
        job.run()
    assert [request.json for request in server.requests] == [
        {"value": 'a"b'},
        {"mail": '<a"b>', "deep": True, "n": 3},
    ]
    assert server.requests[0].headers["content-type"] == "application/json"
    assert server.requests[0].path == "/find"


def test_credentials_and_headers_are_sent_and_show_in_no_message(tmp_path: Path) -> None:
    def refuse(request: Request) -> Play:
        return Play(422, json.dumps(request.headers).encode()) if request.query["q"] == "b" else company(request)

    with world(tmp_path, refuse, "a", "b", headers={"X-Team": "growth"}) as (job, server):
        job.method, job.place.credentials = "bearer", {"token": "canary-token-c5a1e0"}
        job.run()
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer canary-token-c5a1e0"}
    assert {request.headers["x-team"] for request in server.requests} == {"growth"}
    ((_, reason, _),) = job.rejects()
    assert "canary" not in reason
    assert reason.startswith("answered 422: ")


# --- limits ---------------------------------------------------------------------------------------------------------


def test_no_more_are_asked_for_in_a_run_than_may_be(tmp_path: Path) -> None:
    with world(tmp_path, company, "a", "b", "c", "d", "e", maxRequestsPerRun=2) as (job, server):
        (unit,) = job.run()
        assert sorted(asked(server)) == ["a", "b"]
        assert unit.message == "2 profiles looked up, 2 with news; 3 left for the next run"
        job.run()
        job.run()
        assert job.run() == []
    assert sorted(asked(server)) == ["a", "b", "c", "d", "e"]


def test_so_many_are_asked_about_at_one_time_and_no_more(tmp_path: Path) -> None:
    at_once, most = [0], [0]
    lock, together = threading.Lock(), threading.Barrier(3)

    def answer(request: Request) -> Play:
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        return company(request)

    class Counting(Server):
        def play(self, request: Request) -> Play:
            play = super().play(request)
            together.wait(60)  # only three requests at one time let each other go
            with lock:
                at_once[0] -= 1
            return play

    with Counting(answer) as server:
        job = World(
            PROVIDER, "enrich-lookup", tmp_path,
            {
                "url": server.url + "/?q={value}", "stream": STREAM, "key": {"identity": "email"}, "concurrency": 3,
                "attributes": {"company": "person.company"}, "allowPrivateAddresses": True, "requestsPerSecond": 1000,
            },
            identities=EMAIL,
        )  # fmt: skip
        job.has_profiles(*([f"{number}"] for number in range(9)))
        job.run()
    assert most[0] == 3
    assert len(job.landed()) == 9


def test_requests_begin_evenly() -> None:
    waited: list[float] = []
    pace = Pace(1, waited.append)  # a wait that takes no time: what is owed adds up
    for _ in range(4):
        pace.begin()
    assert [round(one) for one in waited] == [1, 2, 3]


# --- what goes wrong ------------------------------------------------------------------------------------------------


def fails(job: World, kind: type[RunError]) -> RunError:
    with pytest.raises(kind) as failed:
        job.run()
    return failed.value


def test_one_that_is_refused_is_omitted_with_its_reason_and_left_alone(tmp_path: Path) -> None:
    def answer(request: Request) -> Play:
        return Play(422, b"no\nsuch thing") if request.query["q"] == "b" else company(request)

    with world(tmp_path, answer, "a", "b", "c") as (job, server):
        (unit,) = job.run()
        assert job.run() == []
    assert (unit.rows, unit.omitted, unit.message) == (2, 1, "3 profiles looked up, 2 with news; 1 omitted")
    assert [(reason, text) for _, reason, text in job.rejects()] == [("answered 422: no such thing", '{"email": "b"}')]
    assert len(server.requests) == 3


def test_one_whose_request_fails_is_omitted_and_asked_for_again(tmp_path: Path) -> None:
    broken = {"b"}

    def answer(request: Request) -> Play:
        return Play(500) if request.query["q"] in broken else company(request)

    with world(tmp_path, answer, "a", "b", "c") as (job, server):
        (unit,) = job.run()
        assert (unit.rows, unit.omitted) == (2, 1)
        broken.clear()
        job.run()
    assert asked(server).count("b") == 2
    assert sorted(job.facts("email")) == [("a",), ("b",), ("c",)]
    ((_, reason, _),) = job.rejects()
    assert reason == f"GET {server.url}/people: answered 500"


def test_those_who_fail_again_and_again_neither_fail_the_run_nor_keep_anybody_waiting(tmp_path: Path) -> None:
    broken = [f"b{number}" for number in range(7)]

    def answer(request: Request) -> Play:
        return Play(500) if request.query["q"] in broken else company(request)

    with world(tmp_path, answer, *broken[:4], "c", concurrency=1) as (job, server):
        assert [unit.omitted for unit in job.run()] == [4]
        job.has_profiles(*([one] for one in [*broken, "c", "d"]))
        (unit,) = job.run()
        assert asked(server)[5:9] == ["b4", "b5", "b6", "d"], "those who are new come first"
        assert unit.message == "1 profile looked up, 1 with news; 7 omitted"
        assert [(unit.omitted, unit.message) for unit in job.run()] == [
            (5, "0 profiles looked up, 0 with news; 5 omitted; 2 left for the next run")
        ]
        before, broken[:] = len(server.requests), ["b5", "b6"]
        job.run()
        assert sorted(asked(server)[before:]) == [f"b{number}" for number in range(7)]
    assert sorted(job.facts("email")) == [("b0",), ("b1",), ("b2",), ("b3",), ("b4",), ("c",), ("d",)]


@pytest.mark.parametrize(
    ("play", "kind", "said"),
    [
        (Play(429, headers={"Retry-After": "7"}), RateLimited, "answered 429"),
        (Play(503, headers={"Retry-After": "7"}), RateLimited, "answered 503"),
        (Play(401), Fatal, "answered 401, the credentials are not accepted"),
        (Play(405), Fatal, "answered 405, this address does not take such a request"),
    ],
)
def test_an_error_of_the_whole_ends_the_run_and_what_was_answered_is_kept(
    tmp_path: Path, play: Play, kind: type[RunError], said: str
) -> None:
    with world(
        tmp_path, lambda request: play if request.query["q"] == "c" else company(request), "a", "b", "c", "d", "e",
        concurrency=1,
    ) as (job, server):  # fmt: skip
        error = fails(job, kind)
        assert said in str(error)
        assert getattr(error, "retry_after_s", None) == (7.0 if kind is RateLimited else None)
        assert job.facts("email") == [("a",), ("b",)]
        assert asked(server) == ["a", "b", "c"]


def test_what_was_in_flight_when_a_limit_came_is_kept_too(tmp_path: Path) -> None:
    with world(
        tmp_path, lambda request: Play(429) if request.query["q"] == "a" else company(request), *"abcd", concurrency=4
    ) as (job, server):
        fails(job, RateLimited)
        kept = sorted(email for (email,) in job.facts("email"))
        assert kept == sorted(set(asked(server)) - {"a"})
        with pytest.raises(RateLimited):
            job.run()
    assert max(Counter(asked(server)).values()) == 2  # "a" alone
    assert [one for one, count in Counter(asked(server)).items() if count > 1] == ["a"]


def test_five_failures_in_a_row_are_the_servers(tmp_path: Path) -> None:
    def answer(request: Request) -> Play:
        return company(request) if request.query["q"] == "a" else Play(500, b"boom", {"Retry-After": "3"})

    with world(tmp_path, answer, *"abcdefghij", concurrency=1) as (job, server):
        error = fails(job, Retriable)
    assert str(error) == f"5 lookups in a row failed, the last one: GET {server.url}/people: answered 500: boom"
    assert isinstance(error, Retriable)
    assert error.retry_after_s == 3.0
    assert asked(server) == list("abcdef")
    assert job.facts("email") == [("a",)]
    assert job.rejects() == []


def test_each_attempt_begins_with_others_so_a_few_who_always_fail_keep_nobody_waiting(tmp_path: Path) -> None:
    def answer(request: Request) -> Play:
        return Play(500) if request.query["q"] < "b" else company(request)

    people = [f"{letter}{number}" for letter in "ab" for number in range(6)]
    with world(tmp_path, answer, *people, concurrency=1) as (job, _):
        fails(job, Retriable)
        assert job.facts("email") == []
        for _attempt in range(8):
            with suppress(Retriable):
                job.run(new_run=False)
    assert sorted(job.facts("email")) == [(f"b{number}",) for number in range(6)]


def test_where_nobody_could_be_looked_up_the_run_has_failed(tmp_path: Path) -> None:
    with world(tmp_path, lambda _: Play(drop=True), "secret-person") as (job, server):
        error = fails(job, Retriable)
    assert str(error).startswith(f"nobody could be looked up; the last one: GET {server.url}/people: ")
    assert "secret-person" not in str(error)


def test_an_answer_that_is_not_json_is_a_failure(tmp_path: Path) -> None:
    with world(tmp_path, lambda _: Play(body=b"<html>"), "a") as (job, _):
        assert "the answer is not JSON" in str(fails(job, Retriable))


@pytest.mark.parametrize(
    ("play", "reason"),
    [
        (Play(302, headers={"Location": "ftp://x"}), "only http and https addresses are requested, found 'ftp'"),
        (Play(302, headers={"Location": "http://169.254.169.254/"}), "169.254.169.254"),
        (Play(body=b"x", headers={"Content-Encoding": "br"}), "the answer is encoded as 'br', which was not asked for"),
        (Play(body=b"x" * 2048), "the answer is larger than 0 MiB"),
    ],
)
def test_an_answer_that_is_not_taken_is_a_failure_of_that_one_unless_nothing_else_comes(
    tmp_path: Path, play: Play, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MAX_ANSWER_BYTES", 1024)
    with world(
        tmp_path, lambda request: play if request.query["q"] != "z" else company(request), "a", "z", concurrency=1
    ) as (job, _):
        (unit,) = job.run()
        assert (unit.rows, unit.omitted, job.facts("email")) == (1, 1, [("z",)])
        ((_, said, _),) = job.rejects()
        assert reason in said
    with world(tmp_path / "alone", lambda _: play, "a") as (job, _):
        error = fails(job, Fatal)
    assert str(error).startswith("nobody could be looked up; the last one: ")
    assert reason in str(error)


@pytest.mark.parametrize("value", [b"1e400", b'{"x": [-1e400]}'])
def test_an_answer_with_a_number_that_nothing_could_write_down_is_a_failure_of_that_one(
    tmp_path: Path, value: bytes
) -> None:
    def answer(request: Request) -> Play:
        bad = Play(body=b'{"person":{"company":' + value + b"}}")
        return bad if request.query["q"] == "b" else company(request)

    with world(tmp_path, answer, "a", "b", "c") as (job, _):
        (unit,) = job.run()
        assert (unit.rows, unit.omitted) == (2, 1)
        assert [reason for _, reason, _ in job.rejects()] == [
            "the answer has a number at 'person.company' that is too large"
        ]


def test_many_refused_in_a_row_are_an_error_unless_it_is_said_that_they_may_be(tmp_path: Path) -> None:
    people = [f"{number:02}" for number in range(30)]
    with world(tmp_path, lambda _: Play(400), *people, concurrency=1) as (job, server):
        assert str(fails(job, Fatal)) == (
            "25 profiles in a row were refused, the last one: answered 400; set `maxRejects` where so many are to be omitted"
        )
        assert (len(server.requests), job.rejects()) == (25, [])
        job.config["maxRejects"] = 29
        assert str(fails(job, Fatal)) == "more than maxRejects (29) profiles were omitted; the last one: answered 400"
        job.config["maxRejects"] = 30
        (unit,) = job.run()
        assert unit.omitted == 30
        assert job.run() == []


@pytest.mark.parametrize(
    ("value", "landed"),
    [
        (b'"\\ud800"', None),
        (b'"a\\u0000b\\r\\n"', "a\x00b\r\n"),
        (b"12345678901234567890123", 12345678901234567890123),
        (b'{"x":[1,{"y":null}]}', {"x": [1, {"y": None}]}),
        (b'"' + b"x" * 1_000_000 + b'"', "x" * 1_000_000),
        (b"false", False),
        (b"0", 0),
        (b'""', ""),
    ],
)
def test_whatever_an_answer_holds_lands_as_it_is_or_is_omitted(tmp_path: Path, value: bytes, landed: Any) -> None:
    with world(tmp_path, lambda _: Play(body=b'{"person":{"company":' + value + b"}}"), "a") as (job, _):
        (unit,) = job.run()
        assert job.run() == []
    assert unit.rows + unit.omitted == 1
    assert job.facts("company") == ([] if unit.omitted else [(landed,)])
    assert (landed is None) == bool(unit.omitted)


def test_a_redirect_is_followed_without_the_credentials_of_another_origin(tmp_path: Path) -> None:
    with serving(company) as other:

        def answer(request: Request) -> Play:
            return Play(307, headers={"Location": f"{other.url}/?q={request.query['q']}"})

        with world(tmp_path, answer, "a") as (job, _):
            job.method, job.place.credentials = "bearer", {"token": "canary-token-c5a1e0"}
            job.run()
    assert "authorization" not in other.requests[0].headers
    assert job.facts("company") == [("of a",)]


def test_private_addresses_are_not_asked_unless_it_is_said(tmp_path: Path) -> None:
    with world(tmp_path, company, "a", allowPrivateAddresses=False) as (job, server):
        assert "Set `allowPrivateAddresses: true`" in str(fails(job, Fatal))
    assert server.requests == []


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"attributes": {"email": "x"}}, "attributes: 'email' is the column that holds the identifier"),
        ({"key": {"identity": "mail"}}, "no stream speaks of the identity 'mail'; did you mean 'email'?"),
        (
            {"key": {"identity": "email", "column": "mail"}},
            "the stream facts does not say that its column 'mail' is the identity 'email'",
        ),
    ],
)
def test_what_would_reach_nobody_is_refused_before_anybody_is_asked_for(
    tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    with world(tmp_path, company, "a", **config) as (job, server):
        assert message in str(fails(job, Fatal))
    assert server.requests == []


# --- crashes --------------------------------------------------------------------------------------------------------


def test_a_run_cut_off_anywhere_asks_nobody_of_a_committed_unit_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enrich_lookup, "UNIT_LOOKUPS", 2)
    for dies_at in range(1, 20):
        with world(tmp_path / str(dies_at), company, *"abcdef", concurrency=2) as (job, server):
            try:
                assert len(job.run(dies_at=dies_at)) > 1
            except Crash:
                committed = {email for (email,) in job.facts("email")}
                before = len(server.requests)
                job.run(new_run=False)
                assert not committed & set(asked(server)[before:])
            else:
                break
            assert sorted(job.facts("email")) == [(one,) for one in "abcdef"]
            assert job.run() == []
    assert dies_at > 4


def test_a_run_that_is_stopped_goes_on_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enrich_lookup, "UNIT_LOOKUPS", 2)
    with world(tmp_path, company, *"abcdef", concurrency=2) as (job, server):
        job.run(stop_after=1)
        job.run()
    assert sorted(asked(server)) == list("abcdef")


KINDS = st.sampled_from(["well", "nothing", "refused", "failed", "lost", "limited"])


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.tuples(st.lists(KINDS, min_size=6, max_size=6), st.integers(0, 6)), min_size=1, max_size=4),
    st.integers(1, 4),
)
def test_whatever_the_other_side_does_an_answer_that_was_committed_is_never_asked_for_again(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[tuple[list[str], int]], concurrency: int
) -> None:
    """The law: over refusals, failures, lost answers, limits and crashes, each message stands once, nobody of a committed
    unit is asked for again, and once the other side is well everybody has been said."""
    plays = {
        "nothing": Play(404),
        "refused": Play(422),
        "failed": Play(500),
        "lost": Play(lose=True),
        "limited": Play(429),
    }
    mood: list[str] = []

    def answer(request: Request) -> Play:
        return plays.get(mood[int(request.query["q"])]) or company(request)

    people = [str(number) for number in range(6)]
    with world(tmp_path_factory.mktemp("law"), answer, *people, concurrency=concurrency) as (job, server):
        done: set[str] = set()
        for kinds, dies_at in [*rounds, (["well"] * 6, 0)]:
            mood[:] = kinds
            before = len(server.requests)
            with suppress(Crash, RunError):
                job.run(dies_at=dies_at)
            assert not done & set(asked(server)[before:])
            done |= {email for (email,) in job.facts("email")}
        assert len(job.facts("email")) == len(set(job.facts("email")))
        assert job.run() == []


# --- config ---------------------------------------------------------------------------------------------------------

GOOD = {
    "url": "https://api.example.com/people/{value}",
    "stream": "facts",
    "key": {"identity": "email"},
    "attributes": {"company": "a.b"},
}


@pytest.mark.parametrize(
    ("config", "accepted"),
    [
        ({}, True),
        ({"url": "https://api.example.com/people"}, False),
        ({"url": "https://{value}.example.com/x"}, False),
        ({"url": "https://user@api.example.com/{value}"}, False),
        ({"url": "https://api.example.com/{value}#x"}, False),
        ({"url": "https://api.example.com/people", "method": "POST"}, True),
        ({"method": "PUT"}, False),
        ({"body": {"a": "b"}}, False),
        ({"body": {"a": "b"}, "method": "POST"}, True),
        ({"body": {"a": []}, "method": "POST"}, False),
        ({"ttl": "12h30m"}, True),
        ({"ttl": ""}, False),
        ({"ttl": "soon"}, False),
        ({"ttl": "9999d"}, False),
        ({"attributes": {}}, False),
        ({"attributes": {"enriched_at": "x"}}, False),
        ({"attributes": {"a": ""}}, False),
        ({"key": {"identity": "E mail"}}, False),
        ({"key": {"identity": "email", "column": "mail"}}, True),
        ({"concurrency": 17}, False),
        ({"concurrency": 0}, False),
        ({"requestsPerSecond": 0}, False),
        ({"maxRequestsPerRun": 10**7}, False),
        ({"maxRejects": -1}, False),
        ({"what": 1}, False),
    ],
)  # fmt: skip
def test_schema_and_model_take_the_same_configs(config: dict[str, Any], accepted: bool) -> None:
    config = {**GOOD, **config}
    assert jsonschema.Draft202012Validator(lookup_schema()).is_valid(config) == accepted
    if accepted:
        EnrichLookup.model_validate(config)
    else:
        with pytest.raises(ValueError):
            EnrichLookup.model_validate(config)
