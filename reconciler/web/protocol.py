"""uvicorn's HTTP protocol, with an express lane for live messages (`express`) in front of its parser, and with one write to a
socket for an answer's head and body: uvloop writes each piece when it gets it, and to write is half of what a small request
costs."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from reconciler.web.answers import Answer
from reconciler.web.express import Lane, Ticket, wired
from reconciler.web.limits import HEAD_BYTES

_END: Final = b"\r\n\r\n"


class Express:
    """A request in the express lane that the parser reads: what the protocol asks of one (uvicorn's `RequestResponseCycle`),
    and nothing else."""

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
    """What comes between two requests is looked at first: whole requests with a head that is known go to the journal at once,
    however many there are (`_owed` answers, which come in their order). What comes behind them waits until all of them are
    answered."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.transport: Any = Together(transport, self.loop)
        self._lane: Lane = self.app.lane
        self._owed = 0
        self._rest = b""  # what came behind them
        self._head = b""  # with which the parser begins
        self._is_within = False  # the parser is in the midst of a request
        self._is_in_head = False  # of one whose head is not all there
        self._head_bytes = 0  # that have come of it, but for a piece that ends another request
        self._head_end = b""  # the last of them
        self._behind = False  # in the piece at hand a request has ended
        self._late: asyncio.TimerHandle | None = None  # when the head must have come
        self._await_head()
        self._ends = False  # after what is owed
        self._answered_s = 0.0

    def data_received(self, data: bytes) -> None:
        if self._rest:
            self._rest += data
            return
        if self._is_free():
            data = self._swiftly(data)
        if not data:
            return
        if self._owed:
            self._rest = data
            self.flow.pause_reading()
        else:
            self._parse(data)

    def _parse(self, data: bytes) -> None:
        if self._is_head_too_long(data):
            self._refuse(Answer(431, {"error": f"The head of a request may have {HEAD_BYTES:,} bytes."}))
            return
        self._head = b"" if self._is_within else data
        come = self._head_bytes if self._is_in_head else 0
        self._behind = self._is_within and not self._is_in_head
        super().data_received(data)
        if self._is_in_head:
            self._head_bytes = 0 if self._behind else come + len(data)
            self._head_end = (self._head_end + data)[1 - len(_END) :]
            self._await_head()
        elif not self._is_within and self._is_answered() and self.timeout_keep_alive_task is None:
            self._await_head()  # empty lines, for which uvicorn has put its own timer away
        cycle: Any = self.cycle
        if type(cycle) is Express and cycle.more_body and self.parser is not None:
            self._change_lane(cycle)  # the rest may be long in coming

    # --- heads: nobody has said yet who he is, so they are bounded before they are read ---

    def _is_head_too_long(self, data: bytes) -> bool:
        if self._is_within and not self._is_in_head:
            return False
        come, end = (self._head_bytes, self._head_end) if self._is_in_head else (0, b"")
        room = max(HEAD_BYTES - come, 0)
        return len(data) > room and _END not in end + data[: room + len(_END)]

    def _await_head(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(self._lane.head_s, self._end_late)

    def _has_head(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _end_late(self) -> None:
        self._late = None
        if self._owed or not self._is_answered():
            self._await_head()  # what is owed stands before it, and may be long in being read
        elif self._is_in_head:
            self._refuse(
                Answer(408, {"error": f"The head of the request did not come within {self._lane.head_s:g} seconds."})
            )
        else:
            self.transport.close()

    def _refuse(self, answer: Answer) -> None:
        self._has_head()
        self.transport.write(wired(answer, self.server_state.default_headers, stays=False))
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._has_head()
        super().connection_lost(exc)

    # --- requests whose head is known ---

    def _is_free(self) -> bool:
        """Whether a request that comes now can be answered next."""
        if self._is_within or self._ends or self._is_crowded():
            return False
        return self._is_answered()

    def _is_answered(self) -> bool:
        """Whether all requests that the parser has read have their answers."""
        return not self.pipeline and (self.cycle is None or self.cycle.response_complete)

    def _is_crowded(self) -> bool:
        """Whether there are too many connections, or this one does not read its answers."""
        limit = self.limit_concurrency or 0
        return len(self.connections) >= limit or len(self.tasks) >= limit or self.flow.write_paused

    def _swiftly(self, data: bytes) -> bytes:
        """Takes requests as long as none of them raises a question; what is left."""
        at, size = 0, len(data)
        while at < size:
            known = self._lane.known(data, at)
            if known is None:
                break
            ticket, begin = known
            end = begin + ticket.length
            if end > size or not self._lane.take(ticket, data[begin:end], self._answer):
                break
            self._owed += 1
            self._has_head()
            at = end
        return data[at:] if at else data

    def _answer(self, answer: Answer) -> None:
        self._owed -= 1
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        last = self._ends and not self._owed
        write = self.transport.write if self._owed else self.transport.write_whole  # with those that follow
        write(self._lane.wired(answer, self.server_state.default_headers, stays=not last))
        self._answered_s = self.loop.time()
        if last:
            self.transport.close()
        elif not self._owed:
            self._go_on()

    def _go_on(self) -> None:
        """All that was owed is answered."""
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        if self._rest:
            rest, self._rest = self._rest, b""
            self.flow.resume_reading()
            self.data_received(rest)

    def timeout_keep_alive_handler(self) -> None:
        """A timer runs on while answers are given: most often it is not yet time."""
        left_s = self._answered_s + self.timeout_keep_alive - self.loop.time()
        if self._owed or left_s > 0:
            wait_s = self.timeout_keep_alive if self._owed else left_s
            self.timeout_keep_alive_task = self.loop.call_later(wait_s, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()

    def shutdown(self) -> None:
        if self._owed:
            self._ends = True
        else:
            super().shutdown()

    # --- requests that the parser reads ---

    def on_message_begin(self) -> None:
        self._is_within = self._is_in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._has_head()
        ticket = self._ticket()
        if ticket is None:
            super().on_headers_complete()
        else:
            self.cycle = Express(ticket)  # type: ignore[assignment]
            if self._head:
                self._lane.learn(self._head, ticket)
        self._head = b""

    def _ticket(self) -> Ticket | None:
        """What admits the request to the express lane."""
        parser = self.parser
        if self.cycle is not None and not self.cycle.response_complete:
            return None  # it has come before the answer to the one before it
        if self._is_crowded():
            return None
        if parser.get_method() != b"POST" or parser.get_http_version() != "1.1" or not parser.should_keep_alive():
            return None
        return self._lane.admits(self.url, self.headers)

    def on_message_complete(self) -> None:
        self._is_within = False
        self._behind = True
        super().on_message_complete()
        cycle: Any = self.cycle
        if type(cycle) is Express and not self._lane.take(
            cycle.ticket, bytes(cycle.body), partial(self._landed, cycle)
        ):
            self._change_lane(cycle)

    def _change_lane(self, cycle: Express) -> None:
        """To the application, as if the request had come there first."""
        self.cycle = None  # type: ignore[assignment]
        super().on_headers_complete()
        super().on_body(bytes(cycle.body))
        if not cycle.more_body:
            super().on_message_complete()

    def _landed(self, cycle: Express, answer: Answer) -> None:
        cycle.response_complete = True
        if cycle.disconnected or self.transport.is_closing():
            return
        self.transport.write_whole(self._lane.wired(answer, self.server_state.default_headers, stays=cycle.keep_alive))
        if not cycle.keep_alive:
            self.transport.close()
        self._answered_s = self.loop.time()
        self.on_response_complete()


class Together:
    """A transport that writes what it is given within one turn of the loop together."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []
        self.is_closing = transport.is_closing

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
