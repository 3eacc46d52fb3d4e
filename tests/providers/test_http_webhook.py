"""`export-webhook`: every message arrives, in order; repeats come under their own key."""

from __future__ import annotations

import hashlib
import hmac
import json
import math
from collections.abc import Callable
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.core.provider import Staged
from reconciler.data.store import hollow
from reconciler.errors import Fatal, RateLimited, Retriable
from reconciler.providers.groups import FIRST_AHEAD
from reconciler.providers.http.batches import MAX_BATCH_BYTES
from tests.providers.http_bench import STREAM, Bench, bench
from tests.servers import Play, Request, Server, serving


def orders(first: int, stop: int) -> list[dict[str, Any]]:
    return [{"id": number, "sku": f"{number:05}"} for number in range(first, stop)]


def arrived(server: Server) -> list[Any]:
    """What the receiver holds, when it takes each key once."""
    by_key = {one.key: one.json["messages"] for one in server.processed}
    return [message for messages in by_key.values() for message in messages]


def refusing(bad: set[int], status: int = 422, body: bytes = b'{"error": "bad id"}') -> Callable[[Request], Play]:
    def answer(request: Request) -> Play:
        found = any(message["id"] in bad for message in request.json["messages"])
        return Play(status, body) if found else Play()

    return answer


def test_a_request_is_what_the_receiver_was_promised(tmp_path: Path) -> None:
    with serving() as server, bench(
        tmp_path, "export-webhook", url=f"{server.url}/hook?a=1", messages=orders(0, 2), headers={"X-Team": "growth"},
        method="bearer", credentials={"token": "t0ken"},
    ) as job:  # fmt: skip
        made = job.run()
    assert (made.how, made.units) == ("completed", 1)
    (request,) = server.requests
    assert (request.method, request.path, request.query) == ("POST", "/hook", {"a": "1"})
    assert request.body == (
        b'{"job":"conformance","stream":"orders","messages":[{"id":0,"sku":"00000"},{"id":1,"sku":"00001"}]}'
    )
    assert request.headers["content-type"] == "application/json"
    assert request.headers["authorization"] == "Bearer t0ken"
    assert request.headers["x-team"] == "growth"
    assert request.key.startswith("2-0-1-")


def test_messages_are_sent_in_order_and_in_batches(tmp_path: Path) -> None:
    with (
        serving() as server,
        bench(tmp_path, "export-webhook", url=server.url, batchSize=3, messages=orders(0, 8)) as job,
    ):
        job.run()
    assert [[one["id"] for one in request.json["messages"]] for request in server.requests] == [
        [0, 1, 2],
        [3, 4, 5],
        [6, 7],
    ]
    assert [(unit.cursor, unit.rows) for unit in job.ledger.units] == [({"next": 8}, 8)]
    assert server.connections == 1


def test_a_later_run_sends_only_what_is_new(tmp_path: Path) -> None:
    with serving() as server, bench(tmp_path, "export-webhook", url=server.url, messages=orders(0, 3)) as job:
        job.run()
        assert job.run().units == 0
        job.put(orders(3, 5))
        job.run()
    assert [message["id"] for message in arrived(server)] == [0, 1, 2, 3, 4]


def test_a_batch_ends_before_it_grows_too_large(tmp_path: Path) -> None:
    messages = [{"id": number, "text": "x" * (MAX_BATCH_BYTES // 3)} for number in range(4)]
    with serving() as server, bench(tmp_path, "export-webhook", url=server.url, messages=messages) as job:
        job.run()
    assert [len(one.json["messages"]) for one in server.requests] == [2, 2]


def test_several_batches_are_intended_in_one_commit(tmp_path: Path) -> None:
    with (
        serving() as server,
        bench(tmp_path, "export-webhook", url=server.url, batchSize=1, messages=orders(0, 20)) as job,
    ):
        made = job.run(dies_at=2)
        assert (made.how, len(server.requests)) == ("cut", 0)
        assert len(job.ledger.open) == FIRST_AHEAD
        job.again()
    assert [message["id"] for message in arrived(server)] == list(range(20))


def test_an_answer_that_was_lost_leads_to_the_same_bytes_under_the_same_key(tmp_path: Path) -> None:
    with (
        serving([Play(lose=True)]) as server,
        bench(tmp_path, "export-webhook", url=server.url, batchSize=4, messages=orders(0, 6)) as job,
    ):
        job.fails(Retriable)
        job.job.settings["batchSize"] = 2
        assert job.again().how == "completed"
    first, second, *rest = server.requests
    assert (first.key, first.body) == (second.key, second.body)
    assert [message["id"] for message in arrived(server)] == list(range(6))
    assert len({one.key for one in rest} | {first.key}) == 2


def test_a_restart_sends_everything_again_under_new_keys(tmp_path: Path) -> None:
    with serving() as server, bench(tmp_path, "export-webhook", url=server.url, messages=orders(0, 3)) as job:
        job.run()
        job.ledger.cursor = None
        job.run()
    first, second = server.requests
    assert first.body == second.body
    assert first.key != second.key


def test_a_restart_with_a_batch_left_open_skips_nothing(tmp_path: Path) -> None:
    with (
        serving([Play(), Play(lose=True)]) as server,
        bench(tmp_path, "export-webhook", url=server.url, batchSize=3, messages=orders(0, 9)) as job,
    ):
        job.fails(Retriable)
        job.ledger.cursor = None
        job.run()
    ids = [[message["id"] for message in one.json["messages"]] for one in server.requests]
    assert ids == [[0, 1, 2], [3, 4, 5], [3, 4, 5], [6, 7, 8], [0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert server.requests[1].key == server.requests[2].key
    assert len({one.key for one in server.requests}) == 6


def test_a_batch_keeps_the_name_of_the_job_that_first_sent_it(tmp_path: Path) -> None:
    with (
        serving([Play(lose=True)]) as server,
        bench(tmp_path, "export-webhook", url=server.url, messages=orders(0, 2)) as job,
    ):
        job.fails(Retriable)
        (intent,) = job.ledger.open.values()
        assert intent.detail["job"] == "conformance"
        job.again()
    assert server.requests[0].body == server.requests[1].body


def test_a_batch_whose_bytes_have_changed_is_not_sent(tmp_path: Path) -> None:
    with (
        serving([Play(lose=True)]) as server,
        bench(tmp_path, "export-webhook", url=server.url, messages=orders(0, 2)) as job,
    ):
        job.fails(Retriable)
        job.ledger.segments.clear()
        job.put(orders(7, 9))
        error = job.fails(Fatal, new_run=False)
    (key,) = job.ledger.open
    assert str(error) == (
        f"messages 0 to 1 of stream orders no longer read as they did when batch {key} was first sent, "
        "so it is not sent again; change `restart` to begin anew"
    )
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("gone", "after"),
    [
        ({5}, [[3, 4], [6, 7, 8], [9]]),
        ({3}, [[4, 5], [6, 7, 8], [9]]),
        ({4}, [[3], [5], [6, 7, 8], [9]]),
        ({3, 4, 5}, [[6, 7, 8], [9]]),
        ({7}, [[3, 4, 5], [6], [8], [9]]),
        ({5, 6, 9}, [[3, 4], [7, 8]]),
        (set(range(3, 10)), []),
    ],
)
def test_what_is_left_of_a_batch_whose_people_are_forgotten_takes_its_place(
    tmp_path: Path, gone: set[int], after: list[list[int]]
) -> None:
    with (
        serving([Play(), Play(lose=True)]) as server,
        bench(tmp_path, "export-webhook", url=server.url, batchSize=3, messages=orders(0, 9)) as job,
    ):
        job.fails(Retriable)
        assert len(job.ledger.open) == 2  # 3 to 5, whose answer was lost, and 6 to 8
        job.put(orders(9, 10))
        for number, whole in enumerate(job.ledger.segments[STREAM]):
            file = f"streams/orders/forget-1-1-1-{number}.parquet"
            left = [whole.first + row not in gone for row in range(whole.rows)]
            old = Staged(stream=STREAM, file=whole.file, rows=whole.rows, size=1, schema="")
            hollow(job.place.data_dir, old, file, lambda first, count, left=left: pa.array(left[first : first + count]))  # type: ignore[misc]
            job.ledger.segments[STREAM][number] = replace(whole, file=file)
        key = server.requests[1].key
        assert job.again().how == "completed"
        assert job.again().how == "completed"
        assert job.ledger.open == {}
    ids = [[message["id"] for message in one.json["messages"]] for one in server.requests]
    assert ids == [[0, 1, 2], [3, 4, 5], *after]
    assert (f"batch {key} is sent without people who are forgotten since it was made" in job.place.lines) == bool(
        gone & {3, 4, 5}
    )


def test_a_batch_of_a_stream_that_the_job_no_longer_reads_is_given_up(tmp_path: Path) -> None:
    with (
        serving([Play(lose=True)]) as server,
        bench(tmp_path, "export-webhook", url=server.url, messages=orders(0, 2)) as job,
    ):
        job.fails(Retriable)
        job.ledger.cursor = None
        job.place.put("returns", orders(5, 6))
        job.job.settings["stream"] = "returns"
        job.run()
    assert job.ledger.open == {}
    assert [message["id"] for message in server.requests[-1].json["messages"]] == [5]
    assert f"batch {server.requests[0].key} is given up: it is not of stream returns" in job.place.lines


def test_a_cursor_of_another_job_type_is_not_guessed_at(tmp_path: Path) -> None:
    with serving() as server, bench(tmp_path, "export-webhook", url=server.url, messages=orders(0, 2)) as job:
        job.ledger.cursor = {"position": 1}
        error = job.fails(Fatal)
    assert str(error) == "the cursor is not one of export-webhook; change `restart` to begin anew"


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("asked", "seconds"), [("7", 7), ("0", 0), (" 12 ", 12), ("9999999", 86_400)])
def test_retry_after_holds_the_job(tmp_path: Path, status: int, asked: str, seconds: float) -> None:
    with (
        serving([Play(status, headers={"Retry-After": asked})]) as server,
        bench(tmp_path, "export-webhook", url=server.url, messages=orders(0, 1)) as job,
    ):
        error = job.fails(RateLimited)
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == seconds
    assert str(error) == f"POST {server.url}: answered {status}"


def test_retry_after_may_be_a_date(tmp_path: Path) -> None:
    from reconciler.clock import Clock

    date = formatdate(Clock().now().wall_ms / 1000 + 60, usegmt=True)
    with (
        serving([Play(503, headers={"Retry-After": date})]) as server,
        bench(tmp_path, "export-webhook", url=server.url, messages=orders(0, 1)) as job,
    ):
        error = job.fails(RateLimited)
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == pytest.approx(60, abs=5)


def test_too_many_requests_holds_the_job_without_a_time_too(tmp_path: Path) -> None:
    with (
        serving([Play(429)]) as server,
        bench(tmp_path, "export-webhook", url=server.url, messages=orders(0, 1)) as job,
    ):
        error = job.fails(RateLimited)
    assert isinstance(error, RateLimited)
    assert error.retry_after_s is None


@pytest.mark.parametrize("status", [408, 409, 425, 500, 502, 503, 504])
def test_a_failure_that_may_mend_is_tried_again(tmp_path: Path, status: int) -> None:
    with (
        serving([Play(status)]) as server,
        bench(tmp_path, "export-webhook", url=server.url, messages=orders(0, 1)) as job,
    ):
        job.fails(Retriable)
        assert job.again().how == "completed"
    assert [one.key for one in server.requests] == [server.requests[0].key] * 2


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (401, ", the credentials are not accepted: no"),
        (403, ", the credentials do not allow this: no"),
        (404, ", there is nothing at this address: no"),
        (405, ", this address does not take such a request: no"),
        (410, ", what was at this address is gone: no"),
        (415, ", the server does not take this kind of body; if `compression` is set, try without it: no"),
        (418, ": no"),
    ],
)
def test_an_answer_that_condemns_the_request_is_fatal(tmp_path: Path, status: int, hint: str) -> None:
    with (
        serving([Play(status, b"no")]) as server,
        bench(tmp_path, "export-webhook", url=f"{server.url}/in?key=1", messages=orders(0, 4)) as job,
    ):
        error = job.fails(Fatal)
    assert str(error) == f"POST {server.url}/in: answered {status}{hint}"
    assert len(server.requests) == 1


def test_what_was_accepted_before_a_failure_stays_accepted(tmp_path: Path) -> None:
    with (
        serving([Play(), Play(drop=True)]) as server,
        bench(tmp_path, "export-webhook", url=server.url, batchSize=2, messages=orders(0, 6)) as job,
    ):
        job.fails(Retriable)
        assert job.ledger.cursor == {"next": 2}
        job.again()
    assert [message["id"] for message in arrived(server)] == list(range(6))


def test_a_refused_message_is_omitted_with_its_reason_and_the_rest_arrives(tmp_path: Path) -> None:
    with (
        serving(refusing({5})) as server,
        bench(tmp_path, "export-webhook", url=server.url, messages=orders(0, 16)) as job,
    ):
        assert job.run().how == "completed"
    assert [message["id"] for message in arrived(server)] == [one for one in range(16) if one != 5]
    assert sum(unit.rows for unit in job.ledger.units) == 15
    assert sum(unit.omitted for unit in job.ledger.units) == 1
    (reject,) = job.rejects()
    assert reject == {
        "source": "orders",
        "line": 5,
        "reason": 'answered 422: {"error": "bad id"}',
        "text": '{"id":5,"sku":"00005"}',
    }
    assert job.ledger.open == {}
    assert job.ledger.cursor == {"next": 16}


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_single_message_may_be_the_one_that_is_refused(tmp_path: Path, status: int) -> None:
    with (
        serving(refusing({0}, status)) as server,
        bench(tmp_path, "export-webhook", url=server.url, messages=orders(0, 1)) as job,
    ):
        assert job.run().how == "completed"
        assert job.run().units == 0
    assert [unit.omitted for unit in job.ledger.units] == [1]
    assert len(server.requests) == 1


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data(), size=st.integers(2, 200))
def test_k_refused_of_n_take_about_k_log_n_requests(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, size: int
) -> None:
    bad = data.draw(st.sets(st.integers(0, size - 1), max_size=6))
    with (
        serving(refusing(bad)) as server,
        bench(tmp_path_factory.mktemp("k"), "export-webhook", url=server.url, messages=orders(0, size)) as job,
    ):
        assert job.run().how == "completed"
    assert len(server.requests) <= 1 + 2 * len(bad) * math.ceil(math.log2(size))
    assert {message["id"] for message in arrived(server)} == set(range(size)) - bad
    assert {one["line"] for one in job.rejects()} == bad


def test_a_receiver_that_refuses_everything_uses_up_nothing(tmp_path: Path) -> None:
    bad = set(range(100))
    with (
        serving(refusing(bad, 400)) as server,
        bench(tmp_path, "export-webhook", url=server.url, messages=orders(0, 100)) as job,
    ):
        error = job.fails(Fatal)
        assert str(error) == (
            '25 messages in a row were refused, the last one (24) answered 400: {"error": "bad id"}; '
            "set `maxRejects` where so many are to be omitted"
        )
        assert job.ledger.units == []
        calls = len(server.requests)
        assert calls < 75
        bad.clear()
        assert job.again().how == "completed"
    assert sorted(message["id"] for message in arrived(server)) == list(range(100))


def test_more_refused_than_max_rejects_fail_the_run(tmp_path: Path) -> None:
    with (
        serving(refusing({1, 4, 6})) as server,
        bench(tmp_path, "export-webhook", url=server.url, maxRejects=2, messages=orders(0, 8)) as job,
    ):
        error = job.fails(Fatal)
        assert str(error) == (
            'more than maxRejects (2) messages were refused; the last one (6) answered 422: {"error": "bad id"}'
        )
        assert isinstance(job.again().error, Fatal)
        job.job.settings["maxRejects"] = 3
        assert job.again().how == "completed"
    assert sum(unit.omitted for unit in job.ledger.units) == 3
    assert len(arrived(server)) == 5


def test_a_body_is_compressed_where_the_spec_says_so(tmp_path: Path) -> None:
    with (
        serving() as server,
        bench(tmp_path, "export-webhook", url=server.url, compression="gzip", messages=orders(0, 500)) as job,
    ):
        job.run()
    (request,) = server.requests
    assert request.headers["content-encoding"] == "gzip"
    assert len(request.raw) < len(request.body) / 3
    assert len(request.json["messages"]) == 500


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_a_body_is_signed_as_it_is_sent(tmp_path: Path, compression: str) -> None:
    with serving() as server, bench(
        tmp_path, "export-webhook", url=server.url, messages=orders(0, 5), method="none", compression=compression,
        credentials={"signingSecret": "k3y"}, signature={"header": "X-Hub-Signature-256"},
    ) as job:  # fmt: skip
        job.run()
    (request,) = server.requests
    expected = "sha256=" + hmac.new(b"k3y", request.raw, hashlib.sha256).hexdigest()
    assert request.headers["x-hub-signature-256"] == expected


def test_a_signature_needs_its_secret(tmp_path: Path) -> None:
    with (
        serving() as server,
        bench(tmp_path, "export-webhook", url=server.url, messages=orders(0, 1), signature={}) as job,
    ):
        error = job.fails(Fatal)
    assert str(error) == "`signature` needs the credential `signingSecret` in the job's authorization"


def test_an_answer_that_echoes_the_credentials_is_not_quoted(tmp_path: Path) -> None:
    def echo(request: Request) -> Play:
        return Play(422, json.dumps({"you sent": request.headers["authorization"]}).encode())

    with serving(echo) as server, bench(
        tmp_path, "export-webhook", url=server.url, messages=orders(0, 1), method="basic",
        credentials={"username": "maria", "password": "geheim-77"},
    ) as job:  # fmt: skip
        job.run()
    (reject,) = job.rejects()
    assert reject["reason"] == 'answered 422: {"you sent": "Basic ***"}'


@pytest.mark.parametrize(
    ("method", "credentials", "header", "value"),
    [
        ("basic", {"username": "a", "password": "b:c"}, "authorization", "Basic YTpiOmM="),
        ("api-key", {"key": "k"}, "x-api-key", "k"),
        ("none", {}, "authorization", None),
    ],
)
def test_every_method_authorizes_in_its_way(
    tmp_path: Path, method: str, credentials: dict[str, str], header: str, value: str | None
) -> None:
    with (
        serving() as server,
        bench(
            tmp_path, "export-webhook", url=server.url, messages=orders(0, 1), method=method, credentials=credentials
        ) as job,
    ):
        job.run()
    assert server.requests[0].headers.get(header) == value


def test_a_redirect_that_keeps_the_method_is_followed(tmp_path: Path) -> None:
    with (
        serving([Play(308, headers={"Location": "/new"})]) as server,
        bench(tmp_path, "export-webhook", url=server.url, messages=orders(0, 1)) as job,
    ):
        job.run()
    assert server.requests[0].body == server.requests[1].body
    assert server.requests[1].path == "/new"
    assert server.requests[0].key == server.requests[1].key


def test_a_run_asked_to_stop_leaves_what_it_intended_for_the_next(tmp_path: Path) -> None:
    with (
        serving() as server,
        bench(tmp_path, "export-webhook", url=server.url, batchSize=1, messages=orders(0, 12)) as job,
    ):
        assert job.run(stop_after=1).how == "stopped"
        assert len(server.requests) == FIRST_AHEAD + 1
        assert len(job.ledger.open) == 3
        job.run()
    assert [message["id"] for message in arrived(server)] == list(range(12))
    assert len(server.requests) == 12


def moody(seed: list[int]) -> Callable[[Request], Play]:
    """A receiver that answers as a list of moods says, and well from then on."""
    moods = [
        Play(), Play(), Play(429, headers={"Retry-After": "1"}), Play(503), Play(drop=True), Play(lose=True),
        Play(500), Play(),
    ]  # fmt: skip
    coming = iter(seed)

    def answer(request: Request) -> Play:
        play = moods[next(coming, 0)]
        if play.status < 300 and not play.drop and any(one["id"] % 10 == 7 for one in request.json["messages"]):
            return Play(422, lose=play.lose)
        return play

    return answer


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    moods=st.lists(st.integers(0, 7), max_size=25),
    cuts=st.lists(st.integers(0, 9), max_size=12),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4),
)
def test_whatever_the_receiver_and_the_controller_do_every_message_arrives_once(
    tmp_path_factory: pytest.TempPathFactory, moods: list[int], cuts: list[int], sizes: list[int]
) -> None:
    with (
        serving(moody(moods)) as server,
        bench(tmp_path_factory.mktemp("moody"), "export-webhook", url=server.url, messages=orders(0, 23)) as job,
    ):
        _until_completed(job, cuts, sizes)
    assert [message["id"] for message in arrived(server)] == [one for one in range(23) if one % 10 != 7]
    assert {one["line"] for one in job.rejects()} == {7, 17}
    bodies: dict[str, set[bytes]] = {}
    for one in server.requests:
        bodies.setdefault(one.key, set()).add(one.body)
    assert all(len(some) == 1 for some in bodies.values())


def _until_completed(job: Bench, cuts: list[int], sizes: list[int]) -> None:
    made = None
    for number in range(80):
        job.job.settings["batchSize"] = sizes[number % len(sizes)]
        dies_at = cuts[number] if number < len(cuts) else 0
        made = job.run(new_run=number % 5 == 0, dies_at=dies_at)
        if made.how == "completed":
            return
    raise AssertionError(f"never completed: {made}")
