"""What is written within one turn of the loop goes to the socket together, before it is closed, and not after; and live
messages in the express lane are answered as they are in the other."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.clock import Clock
from reconciler.web.protocol import Together
from tests.web.served import TOKEN, Served


class Sock(asyncio.Transport):
    """Where it would go."""

    def __init__(self) -> None:
        self.seen: list[bytes | str] = []
        self.gone = False

    def writelines(self, pieces: list[bytes]) -> None:  # type: ignore[override]
        self.seen.append(b"|".join(pieces))

    def is_closing(self) -> bool:
        return self.gone

    def close(self) -> None:
        self.seen.append("closed")
        self.gone = True


def until(true: Callable[[], bool], patience_s: float = 30) -> bool:
    """Whether something becomes true in time; each look is a request."""
    clock = Clock()
    while not (found := true()) and clock.now().alive_ms < patience_s * 1000:
        pass
    return found


@pytest.mark.parametrize("then", ["wait", "close", "lose"])
def test_pieces_of_one_turn_are_one_write(then: str) -> None:
    sock = Sock()

    async def story() -> None:
        together = Together(sock, asyncio.get_running_loop())
        together.write(b"head")
        together.write(b"body")
        assert sock.seen == []
        if then == "close":
            together.close()
        sock.gone = sock.gone or then == "lose"
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(story())
    assert sock.seen == {"wait": [b"head|body"], "close": [b"head|body", "closed"], "lose": []}[then]


def test_requests_that_come_one_after_the_other_in_one_piece_are_answered_in_order(served: Served) -> None:
    one = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", served.port)) as sock:
        sock.sendall(one + one + b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        said = b""
        while piece := sock.recv(65536):
            said += piece
    assert re.findall(rb"HTTP/1.1 (\d+)", said) == [b"200", b"200", b"404"]


def live(body: bytes, more: str = "") -> bytes:
    head = f"POST /collect/json/orders HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n{more}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def answers(served: Served, *pieces: bytes) -> list[tuple[bytes, bytes]]:
    """The status and the body of each answer on one connection; the pieces are sent apart from each other."""
    last = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", served.port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in (*pieces[:-1], pieces[-1] + last):
            sock.sendall(piece)
        said = b""
        while piece := sock.recv(65536):
            said += piece
    return re.findall(rb"HTTP/1.1 (\d+) .*?\r\n\r\n([^H]*)", said, re.DOTALL)[:-1]


def test_live_messages_that_come_together_are_answered_in_order_and_kept_in_order(served: Served) -> None:
    before = len(served.messages())
    said = answers(served, live(b'{"n": 1}') + live(b'[{"n": 2}, {"n": 3}]') + live(b"1") + live(b'{"n": 4}'))
    assert [status for status, _ in said] == [b"202", b"202", b"422", b"202"]
    assert [body for status, body in said if status == b"202"] == [
        b'{"accepted":1}', b'{"accepted":2}', b'{"accepted":1}'
    ]  # fmt: skip
    assert served.messages()[before:] == [{"n": 1}, {"n": 2}, {"n": 3}, {"n": 4}]


@pytest.mark.parametrize("cut", range(1, 190, 27))
def test_wherever_a_request_is_cut_it_is_answered_alike(served: Served, cut: int) -> None:
    whole = live(b'{"cut": true}', "Content-Type: application/json; charset=utf-8\r\nConnection: keep-alive\r\n")
    before = len(served.messages())
    assert answers(served, whole[:cut], whole[cut:] + live(b"{}")) == [(b"202", b'{"accepted":1}')] * 2
    assert served.messages()[before:] == [{"cut": True}, {}]


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ("Content-Type: text/html\r\n", b"415"),
        ("Content-Encoding: br\r\n", b"415"),
        ("Authorization: Bearer another-token-of-no-one\r\n", b"401"),
        ("Idempotency-Key: \r\n", b"400"),
        ("Expect: 100-continue\r\n", b"100"),
    ],
)
def test_what_raises_a_question_is_decided_in_the_other_lane(served: Served, more: str, status: bytes) -> None:
    assert answers(served, live(b"{}", more))[0][0] == status


def test_what_comes_behind_known_heads_waits_for_its_turn(served: Served) -> None:
    before = len(served.messages())
    many = b"".join(live(b'{"n": %d}' % (100 + number)) for number in range(100))
    other = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    said = answers(served, live(b'{"n": 100}') + many + other + live(b'{"n": 0}', "X-New: 1\r\n") + many)
    assert [status for status, _ in said] == [b"202"] * 101 + [b"200"] + [b"202"] * 101
    numbers = [one["n"] for one in served.messages()[before:]]
    assert numbers == [100, *range(100, 200), 0, *range(100, 200)]


def test_a_known_head_is_not_known_once_it_differs_in_anything(served: Served) -> None:
    assert [status for status, _ in answers(served, live(b"{}"), live(b"{}"))] == [b"202", b"202"]
    for old, new, status in (
        (b"/orders ", b"/ordersx ", b"404"),
        (b"-shop", b"-shqp", b"401"),
        (b"POST", b"PUT", b"405"),
        (b"orders HTTP", b"orders?x=1 HTTP", b"400"),
    ):
        assert answers(served, live(b"{}").replace(old, new))[0][0] == status


def test_a_known_head_counts_only_as_long_as_its_sender_and_its_stream_do(tmp_path: Path) -> None:
    with Served(tmp_path) as alone:
        assert answers(alone, live(b"{}"), live(b"{}"))[1][0] == b"202"
        alone.declare("customers")
        assert until(lambda: answers(alone, live(b"{}"))[0][0] == b"404")
        alone.declare("orders", senders={})
        assert until(lambda: answers(alone, live(b"{}"))[0][0] == b"401")


def test_a_known_head_is_answered_before_the_process_ends(tmp_path: Path) -> None:
    alone = Served(tmp_path)
    many = b"".join(live(b'{"n": %d}' % number) for number in range(10, 99))
    with socket.create_connection(("127.0.0.1", alone.port)) as sock:
        for piece in (live(b'{"n": 10}'), many):
            sock.sendall(piece)
            said = sock.recv(65536)
        alone.process.send_signal(signal.SIGTERM)
        while piece := sock.recv(65536):
            said += piece
    alone.terminate()
    assert said.count(b" 202 ") <= len(alone.messages()) - 1


def test_metrics_count_both_lanes_alike(served: Served) -> None:
    def counted() -> float:
        name = 'reconcile_intake_requests_total{endpoint="json",status="202"}'
        lines = served.client.get("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    before = counted()
    answers(served, live(b"{}") + live(b"{}", "Idempotency-Key: counted\r\n"))
    assert counted() - before == 2
