"""What is written within one turn of the loop goes to the socket together, before it is closed, and not after."""

from __future__ import annotations

import asyncio
import re
import socket

import pytest

from reconciler.web.protocol import Together
from tests.web.served import Served


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
