"""The connections of the http provider, in httpcore's terms: made to nothing but an address that was judged here, and obeying
one deadline for the whole request.

A read timeout alone does not bound a request: a peer that sends one byte every few seconds keeps it open for ever.
"""

from __future__ import annotations

import select
import socket
import ssl
from typing import Any, Final

import httpcore

from reconciler.clock import Clock
from reconciler.errors import Fatal
from reconciler.providers.http.address import refusal, resolve

CONNECT_TIMEOUT_S: Final = 10.0
READ_TIMEOUT_S: Final = 30.0


class Deadline:
    """When the request in progress must be over. `limit` shortens a timeout to what is left."""

    def __init__(self) -> None:
        self._clock = Clock()
        self._ends_ms = 0

    def start(self, seconds: float) -> None:
        self._ends_ms = self.now_ms() + int(seconds * 1000)

    def now_ms(self) -> int:
        return self._clock.now().alive_ms

    def limit(self, timeout_s: float, error: type[httpcore.TimeoutException]) -> float:
        left_s = (self._ends_ms - self.now_ms()) / 1000
        if left_s <= 0:
            raise error("the request took longer than it may")
        return min(timeout_s, left_s)


class Wire(httpcore.NetworkStream):
    """A connected socket, whose every operation ends by the deadline. What is written leaves when an answer is read: a
    request is one write. One that has heard enough may answer before it hangs up; reading shows whether it did."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline
        self._unsent: list[bytes] = []

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - httpcore's signature
        """Empty where the other side has ended."""
        if self._unsent:
            self._send()
        try:
            self._sock.settimeout(self._deadline.limit(READ_TIMEOUT_S, httpcore.ReadTimeout))
            return self._sock.recv(max_bytes)
        except TimeoutError as error:
            raise httpcore.ReadTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        if buffer:
            self._unsent.append(buffer)

    def _send(self) -> None:
        data, self._unsent = b"".join(self._unsent), []
        try:
            self._sock.settimeout(self._deadline.limit(READ_TIMEOUT_S, httpcore.WriteTimeout))
            self._sock.sendall(data)
        except TimeoutError as error:
            raise httpcore.WriteTimeout(str(error)) from error
        except OSError:
            pass

    def close(self) -> None:
        self._sock.close()

    def get_extra_info(self, info: str) -> Any:
        """Whether an idle connection has something to read, which for HTTP means that it was closed."""
        if info != "is_readable":
            return None
        poll = select.poll()
        poll.register(self._sock.fileno(), select.POLLIN)
        return bool(poll.poll(0))


def connect(host: str, port: int, tls: ssl.SSLContext | None, deadline: Deadline, *, allow_private: bool) -> Wire:
    """A connection to the first of the host's addresses that may be connected to and answers. Raises ConnectError or
    ConnectTimeout, and Fatal where all addresses are refused or the certificate is."""
    failure: OSError = OSError("no address")
    for address in _judged(host, port, deadline, allow_private):
        try:
            sock = _connected(address, port, deadline.limit(CONNECT_TIMEOUT_S, httpcore.ConnectTimeout))
            break
        except OSError as error:
            failure = error
    else:
        raise _unreached(failure) from failure
    return Wire(sock if tls is None else _secured(sock, tls, host, deadline), deadline)


def _judged(host: str, port: int, deadline: Deadline, allow_private: bool) -> list[str]:
    """The addresses of the host that may be connected to. Raises Fatal where all of them are refused."""
    try:
        addresses = resolve(host, port, deadline.limit(CONNECT_TIMEOUT_S, httpcore.ConnectTimeout))
    except TimeoutError as error:
        raise httpcore.ConnectTimeout(str(error)) from error
    except OSError as error:
        raise httpcore.ConnectError(f"the host {host!r} is not known") from error
    verdicts = {one: refusal(one, allow_private=allow_private) for one in addresses}
    allowed = [one for one, why in verdicts.items() if not why]
    if not allowed:
        raise Fatal(_refused(host, verdicts))
    return allowed


def _refused(host: str, verdicts: dict[str, str]) -> str:
    address, why = next(iter(verdicts.items()))
    text = f"{host}: the address {address} is {why} and is not connected to."
    if not refusal(address, allow_private=True):
        text += " Set `allowPrivateAddresses: true` in the job's config where that is meant."
    return text


def _connected(address: str, port: int, timeout_s: float) -> socket.socket:
    """Connects to an address, never to a name: nothing is looked up again."""
    family, kind, protocol, _, where = socket.getaddrinfo(
        address, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.settimeout(timeout_s)
        sock.connect(where)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def _secured(sock: socket.socket, tls: ssl.SSLContext, host: str, deadline: Deadline) -> ssl.SSLSocket:
    try:
        sock.settimeout(deadline.limit(CONNECT_TIMEOUT_S, httpcore.ConnectTimeout))
        return tls.wrap_socket(sock, server_hostname=host)
    except BaseException as error:
        sock.close()
        if isinstance(error, ssl.SSLCertVerificationError):
            raise Fatal(f"the certificate of the server is not accepted: {error.verify_message}") from error
        if isinstance(error, OSError):
            raise _unreached(error) from error
        raise


def _unreached(error: OSError) -> httpcore.ConnectError | httpcore.ConnectTimeout:
    return (httpcore.ConnectTimeout if isinstance(error, TimeoutError) else httpcore.ConnectError)(str(error))
