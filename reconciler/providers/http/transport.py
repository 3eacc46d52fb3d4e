"""HTTP/1.1 over the guarded connections of `wire.py`: what is sent is put together here, what is received is read by h11.

A request is one write of a few lines and its body, and there is one at a time, so no pool with its locks stands between:
what httpcore does around a request takes twice as long as all the rest of it.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

import h11
import httpx

from reconciler.errors import Fatal
from reconciler.providers.http.wire import Deadline, Lost, Wire, connect

#: An idle connection is used again within this time.
KEEPALIVE_MS: Final = 5_000
#: So many idle connections are kept, each to another origin.
MAX_IDLE: Final = 4
#: Of an answer's headers.
MAX_HEAD_BYTES: Final = 100 * 1024
#: What is read at a time.
READ_BYTES: Final = 256 * 1024

_TARGET: Final = re.compile(rb"[\x21-\x7e]+\Z")

#: Scheme, host and port.
Origin = tuple[str, str, int]


class Transport:
    """Sends requests, one at a time. Raises Lost for every failure of the network, Fatal for an address that is refused."""

    def __init__(self, deadline: Deadline, *, allow_private: bool) -> None:
        self._deadline = deadline
        self._allow_private = allow_private
        self._idle: dict[Origin, Connection] = {}
        self._tls: ssl.SSLContext | None = None

    def send(self, method: str, url: str, headers: Sequence[tuple[bytes, bytes]], content: bytes | None) -> Response:
        """The answer as far as its headers; its body is to be read, and it is to be closed."""
        origin, target, host = _parsed(url)
        all_headers = [(b"Host", host), *headers]
        if content or method in ("POST", "PUT", "PATCH"):
            all_headers.append((b"Content-Length", b"%d" % len(content or b"")))
        lines = [b"%s %s HTTP/1.1" % (method.encode("ascii"), target), *(b"%s: %s" % one for one in all_headers)]
        connection = self._connection(origin)
        try:
            connection.ask(method, b"\r\n".join(lines) + b"\r\n\r\n" + (content or b""))
            return Response(self, connection)
        except BaseException:
            connection.close()
            raise

    def _connection(self, origin: Origin) -> Connection:
        """One that is idle, or a new one."""
        idle = self._idle.pop(origin, None)
        if idle is not None:
            if idle.is_usable(self._deadline.now_ms()):
                return idle
            idle.close()
        scheme, host, port = origin
        tls = self._context() if scheme == "https" else None
        wire = connect(host, port, tls, self._deadline, allow_private=self._allow_private)
        return Connection(origin, wire)

    def _context(self) -> ssl.SSLContext:
        """Made when it is first needed: reading the certificate authorities takes time that plain HTTP does not need."""
        if self._tls is None:
            self._tls = httpx.create_ssl_context()
        return self._tls

    def keep(self, connection: Connection) -> None:
        """An exchange is over: its connection is kept where another one may follow on it."""
        if not connection.rest(self._deadline.now_ms()):
            connection.close()
            return
        self._idle[connection.origin] = connection
        if len(self._idle) > MAX_IDLE:
            self._idle.pop(next(iter(self._idle))).close()

    def close(self) -> None:
        for connection in self._idle.values():
            connection.close()
        self._idle.clear()


class Connection:
    """A connection and h11's state of it, one exchange after the other."""

    def __init__(self, origin: Origin, wire: Wire) -> None:
        self.origin = origin
        self._wire = wire
        self._state = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._idle_ms = 0

    def ask(self, method: str, request: bytes) -> None:
        """Sends a whole request. h11 only needs to know that there was one, and its method, to read the answer."""
        self._state.send(_some_request(method))
        self._state.send(h11.EndOfMessage())
        self._wire.write(request)

    def next_event(self) -> h11.Event | type[h11.PAUSED]:
        """What comes next of the answer. Raises Lost."""
        state = self._state
        while True:
            try:
                event = state.next_event()
            except h11.RemoteProtocolError as error:
                raise Lost(str(error)) from error
            if event is not h11.NEED_DATA:
                assert not isinstance(event, type) or event is h11.PAUSED
                return event
            data = self._wire.read(READ_BYTES)
            if not data and state.their_state is h11.SEND_RESPONSE:
                raise Lost("Server disconnected without sending a response.")
            state.receive_data(data)

    def rest(self, now_ms: int) -> bool:
        """The exchange is over. Whether another one may follow on this connection."""
        if self._state.our_state is not h11.DONE or self._state.their_state is not h11.DONE:
            return False
        self._state.start_next_cycle()
        self._idle_ms = now_ms
        return True

    def is_usable(self, now_ms: int) -> bool:
        """Whether an idle connection can be trusted with one more request."""
        return now_ms - self._idle_ms < KEEPALIVE_MS and not self._wire.has_input()

    def close(self) -> None:
        self._wire.close()


class Response:
    """An answer that has begun: its status and its headers, as they came. Made once they are there."""

    def __init__(self, transport: Transport, connection: Connection) -> None:
        self._transport = transport
        self._connection = connection
        head = connection.next_event()
        while not isinstance(head, h11.Response):  # an answer that only says to wait
            head = connection.next_event()
        self.status = head.status_code
        self.headers: list[tuple[bytes, bytes]] = head.headers.raw_items()

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes. Raises Lost."""
        while isinstance(event := self._connection.next_event(), h11.Data):
            yield bytes(event.data)

    def close(self) -> None:
        """Its connection is used again where the answer was read whole."""
        self._transport.keep(self._connection)


@lru_cache(maxsize=64)
def _parsed(url: str) -> tuple[Origin, bytes, bytes]:
    """Where a URL leads, what is asked for there, and what the header `Host` says."""
    one = httpx.URL(url)
    if not _TARGET.match(one.raw_path):
        raise Fatal("not a URL that can be requested: it holds characters that a request cannot carry")
    port = one.port or {"http": 80, "https": 443}[one.scheme]
    return (one.scheme, one.raw_host.decode("ascii"), port), one.raw_path, one.netloc


@lru_cache(maxsize=16)
def _some_request(method: str) -> h11.Request:
    """What h11 is told of a request, whose lines are its own."""
    return h11.Request(method=method, target="/", headers=[("Host", "")])
