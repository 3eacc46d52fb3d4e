"""Live messages over HTTP: 202 means that they are in the journal, and every refusal says why."""

from __future__ import annotations

import gzip
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.web.served import HEADERS, TOKEN, Served

PATH = "/collect/json/orders"


def until(holds: Callable[[], bool], patience_s: float = 60) -> None:
    end_s = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < end_s, "it never was"


def said(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]


@pytest.mark.parametrize(
    ("body", "messages"),
    [
        ('{"one": 1}', [{"one": 1}]),
        ('[{"one": 1},\n {"two": 2}]', [{"one": 1}, {"two": 2}]),
        ('{"one": 1}\n{"two": 2}\n', [{"one": 1}, {"two": 2}]),
    ],
    ids=["one", "array", "lines"],
)
@pytest.mark.parametrize("packed", [False, True])
def test_what_is_accepted_is_in_the_journal_when_the_answer_comes(
    served: Served, body: str, messages: list[Any], packed: bool
) -> None:
    data = gzip.compress(body.encode()) if packed else body.encode()
    answer = served.post(PATH, data, **({"Content-Encoding": "gzip"} if packed else {}))
    assert (answer.status_code, answer.json()) == (202, {"accepted": len(messages)})
    assert served.entries()[-1][1] == messages
    assert served.entries()[-1][0].stream == "orders"


def test_the_type_that_clients_say_by_themselves_says_nothing(served: Served) -> None:
    said = {**HEADERS, "Content-Type": "application/x-www-form-urlencoded"}
    assert served.client.post(PATH, content=b"{}", headers=said).status_code == 202


def test_a_body_without_a_type_and_in_pieces_is_taken(served: Served) -> None:
    pieces = iter([b'{"in":', b' "pieces"}'])
    answer = served.client.post(PATH, content=pieces, headers={"Authorization": f"bearer {TOKEN}"})
    assert answer.status_code == 202
    assert served.messages()[-1] == {"in": "pieces"}


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "Say who you are: Authorization: Bearer TOKEN."),
        ({"Authorization": f"Basic {TOKEN}"}, "Say who you are: Authorization: Bearer TOKEN."),
        ({"Authorization": "Bearer"}, "Say who you are: Authorization: Bearer TOKEN."),
        ({"Authorization": "Bearer wrong"}, "No declared authorization of the provider 'collect' has this token."),
        ({"Authorization": f"Bearer {TOKEN}x"}, "No declared authorization of the provider 'collect' has this token."),
    ],
)
@pytest.mark.parametrize("stream", ["orders", "nowhere"])
def test_without_a_declared_token_nothing_is_taken_nor_told(
    served: Served, headers: dict[str, str], message: str, stream: str
) -> None:
    answer = served.client.post(f"/collect/json/{stream}", content=b"{}", headers=headers)
    assert said(answer) == (401, message)
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_an_unknown_stream_is_refused_with_a_near_name(served: Served) -> None:
    assert said(served.post("/collect/json/order", b"{}")) == (
        404,
        "There is no stream 'order'; did you mean 'orders'?",
    )
    assert said(served.post("/collect/json/zzzzzzzz", b"{}")) == (404, "There is no stream 'zzzzzzzz'.")
    assert said(served.client.get("/nowhere")) == (
        404,
        "There is nothing at /nowhere; /openapi.json says what there is.",
    )


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_only_post_is_answered(served: Served, method: str) -> None:
    answer = served.client.request(method, PATH, headers=HEADERS)
    assert said(answer) == (405, "Only POST is answered here.")
    assert answer.headers["Allow"] == "POST"
    assert said(served.client.post("/healthz")) == (405, "Method Not Allowed.")


@pytest.mark.parametrize(
    ("headers", "status", "message"),
    [
        (
            {"Content-Type": "multipart/form-data"}, 415,
            "A body of type 'multipart/form-data' is not taken here; send application/json.",
        ),
        ({"Content-Encoding": "br"}, 415, "A body encoded as 'br' is not taken; send gzip, or none."),
        ({"Content-Encoding": "gzip"}, 400, "The body is not gzip, although its Content-Encoding says so."),
        ({"Idempotency-Key": ""}, 400, "Idempotency-Key: expected 1 to 255 printable ASCII characters."),
        ({"Idempotency-Key": "x" * 256}, 400, "Idempotency-Key: expected 1 to 255 printable ASCII characters."),
    ],
)  # fmt: skip
def test_a_header_that_cannot_be_followed_is_named(
    served: Served, headers: dict[str, str], status: int, message: str
) -> None:
    assert said(served.post(PATH, b'{"a": 1}', **headers)) == (status, message)


def test_parameters_are_for_bulk_bodies(served: Served) -> None:
    expected = "There are no parameters here; those of /collect/bulk are for bulk bodies."
    assert said(served.post(f"{PATH}?append=1", b"{}")) == (400, expected)


def test_a_malformed_message_is_named_by_its_line_and_nothing_is_accepted(served: Served) -> None:
    before = len(served.entries())
    answer = served.post(PATH, b'{"a": 1}\n{"a": \n[]\n')
    assert answer.status_code == 422
    assert answer.json() == {
        "error": "Nothing was accepted: 2 messages are malformed (line 2: not JSON: it goes on in the next line).",
        "bad": 2,
        "errors": [
            {"line": 2, "reason": "not JSON: it goes on in the next line"},
            {"line": 3, "reason": "not a JSON object"},
        ],
    }
    many = served.post(PATH, b"1\n" * 5000).json()
    assert (many["bad"], len(many["errors"])) == (5000, 20)
    assert len(served.entries()) == before


def test_a_gzip_body_is_taken_in_members_and_refused_without_its_end(served: Served) -> None:
    whole = gzip.compress(b'{"a": 1}\n') + gzip.compress(b'{"a": 2}\n')
    assert served.post(PATH, whole, **{"Content-Encoding": "gzip"}).json() == {"accepted": 2}
    cut = gzip.compress(json.dumps({"a": list(range(1000))}).encode())[:-9]
    assert said(served.post(PATH, cut, **{"Content-Encoding": "gzip"})) == (
        400,
        "The gzip body is cut off before its end.",
    )


def test_a_body_of_ten_mebibytes_is_taken_and_not_one_byte_more(served: Served) -> None:
    body = b'{"a": "' + b"x" * ((10 << 20) - 9) + b'"}'
    assert served.post(PATH, body).status_code == 202
    message = "A body of live messages may have 10,485,760 bytes."
    assert said(served.post(PATH, body + b" ")) == (413, message)
    assert said(served.client.post(PATH, content=iter([body, b" "]), headers=HEADERS)) == (413, message)


def test_a_gzip_bomb_is_refused_and_costs_no_memory(served: Served) -> None:
    bomb = gzip.compress(b"[" + b" " * (1 << 28) + b"]", 1)
    before = served.peak_kib()
    answer = served.post(PATH, bomb, **{"Content-Encoding": "gzip"})
    assert said(answer) == (413, "A body of live messages may have 10,485,760 bytes.")
    assert served.peak_kib() - before < 48 << 10


def test_a_sender_that_goes_away_leaves_nothing(served: Served) -> None:
    import socket

    before = len(served.entries())
    with socket.create_connection(("127.0.0.1", served.port)) as sock:
        sock.sendall(
            f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 100\r\n\r\n{{".encode()
        )
    assert served.post(PATH, b'{"after": 1}').status_code == 202
    assert len(served.entries()) == before + 1


# --- keys -------------------------------------------------------------------------------------------------------------


def test_the_same_key_gets_the_same_answer_and_lands_once(served: Served) -> None:
    answers = [served.post(PATH, b'{"key": "once"}', **{"Idempotency-Key": "once"}) for _ in range(3)]
    assert [answer.json() for answer in answers] == [{"accepted": 1}] * 3
    assert [answer.headers.get("Idempotency-Replayed") for answer in answers] == [None, "true", "true"]
    assert served.messages().count({"key": "once"}) == 1


def test_a_key_is_the_streams_own_and_never_for_another_body(served: Served) -> None:
    assert served.post(PATH, b'{"key": 1}', **{"Idempotency-Key": "own"}).status_code == 202
    assert served.post("/collect/json/customers", b'{"key": 2}', **{"Idempotency-Key": "own"}).status_code == 202
    expected = "This idempotency key was used for another request; use a new one for a new body."
    assert said(served.post(PATH, b'{"key": 2}', **{"Idempotency-Key": "own"})) == (422, expected)


def test_a_refused_request_does_not_use_its_key_up(served: Served) -> None:
    assert served.post(PATH, b"{", **{"Idempotency-Key": "again"}).status_code == 422
    assert served.post(PATH, b'{"a": 1}', **{"Idempotency-Key": "again"}).status_code == 202


# --- how it is --------------------------------------------------------------------------------------------------------


def test_it_is_ready_while_the_controller_looks(tmp_path: Path) -> None:
    with Served(tmp_path / "state") as served:
        assert served.client.get("/healthz").json() == {"status": "ok"}
        assert served.client.get("/readyz").status_code == 200
        served.look(ago_s=200)
        stale = served.client.get("/readyz")
        assert said(stale) == (503, "the controller last looked at its files 200 s ago")
        with subprocess.Popen(["true"]) as gone:
            pass
        served.look(pid=gone.pid)
        earlier = f"the controller that last looked at its files (pid {gone.pid}) is gone, and no other has looked yet"
        assert said(served.client.get("/readyz")) == (503, earlier)
        (served.folder / "heartbeat").unlink()
        assert said(served.client.get("/readyz")) == (503, "no controller has looked at its files yet")
        assert served.client.get("/healthz").status_code == 200  # messages are accepted all the same
        assert served.post(PATH, b"{}").status_code == 202


def test_prometheus_is_told_what_was_accepted(served: Served) -> None:
    def metrics() -> dict[str, float]:
        lines = served.client.get("/metrics").text.splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}

    before = metrics()
    served.post("/collect/json/customers", b"[{}, {}, {}]")
    served.post("/collect/json/customers", b"[{}, 1]")
    after = metrics()
    messages = 'reconcile_intake_messages_total{lane="live",stream="customers"}'
    refused = 'reconcile_intake_requests_total{endpoint="json",status="422"}'
    assert after[messages] - before.get(messages, 0) == 3
    assert after[refused] - before.get(refused, 0) == 1
    assert after["reconcile_intake_backlog_bytes"] > 0
    assert after["reconcile_last_look_seconds"] <= time.time()


def test_a_token_or_a_stream_counts_at_once_and_one_that_is_taken_back_soon_does_not(tmp_path: Path) -> None:
    with Served(tmp_path / "state") as served:
        assert served.post("/collect/json/fresh", b"{}").status_code == 404
        served.declare("orders", "fresh")
        assert served.post("/collect/json/fresh", b"{}").status_code == 202
        served.declare("orders", senders={})
        until(lambda: served.post(PATH, b"{}").status_code == 401)
        served.declare("orders")
        assert served.post(PATH, b"{}").status_code == 202
        served.declare("orders", token={"env": "NOT_SET_ANYWHERE"})
        until(lambda: served.post(PATH, b"{}").status_code == 401)
        served.declare("orders")
        assert served.post(PATH, b"{}").status_code == 202
        log = (served.state / "log").read_text()
        assert log == "authorization shop: credentials.token: the environment variable NOT_SET_ANYWHERE is not set\n"
        assert TOKEN not in (served.folder / "rules.json").read_text() + log


def test_before_anybody_has_looked_at_what_is_declared_a_sender_is_asked_to_come_again(tmp_path: Path) -> None:
    with Served(tmp_path / "state") as served:
        served.declare("orders", senders={}, known=False)
        until(lambda: served.post(PATH, b"{}").status_code == 503)
        answer = served.post(PATH, b"{}")
        assert said(answer) == (503, "Nobody has looked yet at what is declared; nothing was accepted.")
        assert answer.headers["Retry-After"] == "1"
        served.declare("orders")
        assert served.post(PATH, b"{}").status_code == 202


def test_a_token_may_be_short_and_not_empty(tmp_path: Path) -> None:
    with Served(tmp_path / "state") as served:
        (served.state / "short").write_text("s3cret")
        served.declare("orders", token={"file": "short"})
        answer = served.client.post(PATH, content=b"{}", headers={"Authorization": "Bearer s3cret"})
        assert answer.status_code == 202
        (served.state / "short").write_text("")
        served.declare("orders", "more", token={"file": "short"})
        assert served.client.post(PATH, content=b"{}", headers={"Authorization": "Bearer"}).status_code == 401
