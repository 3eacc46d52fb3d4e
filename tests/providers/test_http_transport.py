"""HTTP/1.1 as servers speak it: what an answer is made of, and which connection may be used again."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import pytest

from reconciler.errors import Retriable
from reconciler.providers.http import transport
from reconciler.providers.http.client import Answer, Client
from reconciler.providers.http.wire import Deadline, Wire

DONE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Talker:
    """Says on each connection, after each request, the next of what it was given for that connection; then hangs up."""

    def __init__(self, said: Sequence[Sequence[bytes]]) -> None:
        self.asked: list[bytes] = []
        self.closed = threading.Event()
        self._said = said
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/in"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Talker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    def _serve(self) -> None:
        for answers in self._said:
            connection, _ = self._listening.accept()
            with connection, connection.makefile("rb") as file:
                for answer in answers:
                    if request := _request(file):
                        self.asked.append(request)
                        connection.sendall(answer)
            self.closed.set()


def _request(file: BinaryIO) -> bytes:
    """The next request; what there is of it where the client hangs up."""
    request = b""
    while line := file.readline():
        request += line
        if line == b"\r\n":
            length = re.search(rb"Content-Length: (\d+)", request)
            return request + file.read(int(length[1]) if length else 0)
    return request


def talking(*said: Sequence[bytes]) -> Talker:
    return Talker(said)


def ask(client: Client, url: str, method: str = "GET", content: bytes | None = None) -> Answer:
    return client.request(method, url, headers={"X-One": "1"}, private={"X-Two": "2"}, content=content)


@pytest.fixture
def client() -> Iterator[Client]:
    with Client(allow_private=True, timeout_s=60) as client:
        yield client


def test_a_request_is_its_lines_and_its_body(client: Client) -> None:
    with talking([DONE, DONE]) as server:
        ask(client, f"{server.url}?a=b%20c")
        ask(client, server.url, "POST", b"body")
    host = server.url.split("/")[2]
    own = "Accept: application/json\r\nUser-Agent: reconciler\r\nAccept-Encoding: gzip\r\nX-One: 1\r\nX-Two: 2\r\n"
    assert [one.decode() for one in server.asked] == [
        f"GET /in?a=b%20c HTTP/1.1\r\nHost: {host}\r\n{own}\r\n",
        f"POST /in HTTP/1.1\r\nHost: {host}\r\n{own}Content-Length: 4\r\n\r\nbody",
    ]


@pytest.mark.parametrize(
    ("said", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", b"abc"),
        (b"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\nX-Sum: 1\r\n\r\n", b"abc"),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", b"a"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + DONE, b"ok"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", b""),
    ],
)
def test_an_answer_ends_where_http_says_that_it_ends(said: bytes, body: bytes, client: Client) -> None:
    with talking([said]) as server:
        assert ask(client, server.url).body == body


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (b"", "Server disconnected without sending a response."),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "Server disconnected without sending a response."),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
            "peer closed connection without sending complete message body (received 3 bytes, expected 5)",
        ),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "illegal status line: bytearray(b'SSH-2.0-OpenSSH_9.6')"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "bad Content-Length"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            "conflicting Content-Length headers",
        ),
    ],
)
def test_what_is_no_whole_answer_can_be_tried_again(said: bytes, message: str, client: Client) -> None:
    with talking([said]) as server, pytest.raises(Retriable) as caught:
        ask(client, server.url)
    assert str(caught.value) == f"GET {server.url}: {message}"


def test_headers_without_an_end_are_not_read_on(client: Client) -> None:
    with talking([b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000]) as server, pytest.raises(Retriable):
        ask(client, server.url)


@pytest.mark.parametrize(
    "first",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        DONE + DONE,
        DONE,
    ],
    ids=["says so", "is of 1.0", "says more than was asked", "hangs up"],
)
def test_a_connection_whose_server_is_done_with_it_is_not_used_again(first: bytes, client: Client) -> None:
    with talking([first], [DONE]) as server:
        assert ask(client, server.url).body == b"ok"
        assert server.closed.wait(60)
        assert ask(client, server.url).body == b"ok"


def test_a_connection_that_was_idle_for_long_is_not_used_again(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "KEEPALIVE_S", -1)
    with talking([DONE, DONE], [DONE]) as server:
        ask(client, server.url)
        ask(client, server.url)
        assert server.closed.wait(60), "the first connection was given up"


def test_an_answer_that_comes_before_all_was_heard_counts() -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
    theirs.close()
    deadline = Deadline()
    deadline.start(60)
    with ours:
        origin = transport.httpcore.URL("http://one.example").origin
        connection = transport.httpcore.HTTP11Connection(origin, Wire(ours, deadline))
        answer = connection.request(
            "POST", "http://one.example/", headers={"Host": "one.example"}, content=b"x" * 1_000_000
        )
        assert (answer.status, answer.content) == (413, b"big")


def test_only_so_many_idle_connections_are_kept(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MAX_KEPT", 1)
    with talking([DONE, DONE]) as one, talking([DONE, DONE]) as other:
        ask(client, one.url)
        ask(client, other.url)
        assert one.closed.wait(60), "the older one makes room"
        ask(client, other.url)
