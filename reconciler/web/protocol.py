"""uvicorn's HTTP protocol, with an express lane for live messages (`express`), and with one write to a socket for an answer's
head and body: uvloop writes each piece when it gets it, and to write is half of what a small request costs."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from reconciler.web.express import Lane, Taken, Ticket, wired


class Express:
    """A request in the express lane: what the protocol asks of one (uvicorn's `RequestResponseCycle`), and nothing else."""

    def __init__(self, ticket: Ticket) -> None:
        self.ticket = ticket
        self.body = bytearray()
        self.more_body = True
        self.keep_alive = True
        self.disconnected = False
        self.response_complete = False
        self.message_event = self

    def set(self) -> None:
        """Nobody waits for its body."""


class Protocol(HttpToolsProtocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.transport: Any = Together(transport, self.loop)
        self._lane: Lane = self.app.lane

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        cycle: Any = self.cycle
        if type(cycle) is Express and cycle.more_body and self.parser is not None:
            self._change_lane(cycle)  # the rest may be long in coming

    def on_headers_complete(self) -> None:
        ticket = self._ticket()
        if ticket is None:
            super().on_headers_complete()
        else:
            self.cycle = Express(ticket)  # type: ignore[assignment]

    def _ticket(self) -> Ticket | None:
        """What admits the request to the express lane."""
        parser, limit = self.parser, self.limit_concurrency or 0
        if self.cycle is not None and not self.cycle.response_complete:
            return None  # it has come before the answer to the one before it
        if len(self.connections) >= limit or len(self.tasks) >= limit:
            return None
        if parser.get_method() != b"POST" or parser.get_http_version() != "1.1" or not parser.should_keep_alive():
            return None
        return self._lane.admits(self.url, self.headers)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        cycle: Any = self.cycle
        if type(cycle) is not Express:
            return
        taken = self._lane.take(cycle.ticket, bytes(cycle.body))
        if taken is None:
            self._change_lane(cycle)
        else:
            taken.done.add_done_callback(partial(self._landed, cycle, taken))

    def _change_lane(self, cycle: Express) -> None:
        """To the application, as if the request had come there first."""
        self.cycle = None  # type: ignore[assignment]
        super().on_headers_complete()
        super().on_body(bytes(cycle.body))
        if not cycle.more_body:
            super().on_message_complete()

    def _landed(self, cycle: Express, taken: Taken, done: asyncio.Future[None]) -> None:
        answer = self._lane.answer(taken, done.exception())
        cycle.response_complete = True
        if cycle.disconnected or self.transport.is_closing():
            return
        self.transport.write_whole(wired(answer, self.server_state.default_headers, stays=cycle.keep_alive))
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()


class Together:
    """A transport that writes what it is given within one turn of the loop together."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)

    def write_whole(self, data: bytes) -> None:
        """Writes what nothing follows."""
        if self._held:
            self._held.append(data)
        else:
            self._transport.write(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        held, self._held = self._held, []
        if held and not self._transport.is_closing():  # the other side may have gone meanwhile
            self._transport.writelines(held)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
