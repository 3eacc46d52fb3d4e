"""The connections of the http provider: made to nothing but an address that was judged here, and obeying one deadline for
the whole request.

A read timeout alone does not bound a request: a peer that sends one byte every few seconds keeps it open for ever.
"""

from __future__ import annotations

import select
import socket
import ssl
from typing import Final

from reconciler.clock import Clock
from reconciler.errors import Fatal
from reconciler.providers.http.address import refusal, resolve

CONNECT_TIMEOUT_S: Final = 10.0
READ_TIMEOUT_S: Final = 30.0


class Lost(Exception):
    """The network, or what the other side sent, is at fault; the text says how."""


class Late(Lost):
    """It took too long."""


class Unreached(Lost):
    """There is no connection: nothing has left."""


class UnreachedInTime(Late, Unreached):
    """There is no connection, and it took too long."""


class Deadline:
    """When the request in progress must be over. `limit` shortens a timeout to what is left."""

    def __init__(self) -> None:
        self._clock = Clock()
        self._ends_ms = 0

    def start(self, seconds: float) -> None:
        self._ends_ms = self.now_ms() + int(seconds * 1000)

    def now_ms(self) -> int:
        return self._clock.now().alive_ms

    def limit(self, timeout_s: float, error: type[Late] = Late) -> float:
        left_s = (self._ends_ms - self.now_ms()) / 1000
        if left_s <= 0:
            raise error("the request took longer than it may")
        return min(timeout_s, left_s)


class Wire:
    """A connected socket, whose every operation ends by the deadline."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline

    def read(self, max_bytes: int) -> bytes:
        """Empty where the other side has ended."""
        try:
            self._sock.settimeout(self._deadline.limit(READ_TIMEOUT_S))
            return self._sock.recv(max_bytes)
        except TimeoutError as error:
            raise Late(str(error)) from error
        except OSError as error:
            raise Lost(str(error)) from error

    def write(self, data: bytes) -> None:
        """All of it, or as much as the other side takes: one that has heard enough may answer before it hangs up."""
        try:
            self._sock.settimeout(self._deadline.limit(READ_TIMEOUT_S))
            self._sock.sendall(data)
        except TimeoutError as error:
            raise Late(str(error)) from error
        except OSError:
            pass  # reading its answer shows whether there is one

    def has_input(self) -> bool:
        """Whether an idle connection has something to read, which for HTTP means that it was closed."""
        poll = select.poll()
        poll.register(self._sock.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        self._sock.close()


def connect(host: str, port: int, tls: ssl.SSLContext | None, deadline: Deadline, *, allow_private: bool) -> Wire:
    """A connection to the first of the host's addresses that may be connected to and answers. Raises Unreached, and Fatal
    where all addresses are refused or the certificate is."""
    failure: OSError = OSError("no address")
    for address in _judged(host, port, deadline, allow_private):
        try:
            sock = _connected(address, port, deadline.limit(CONNECT_TIMEOUT_S, UnreachedInTime))
            break
        except OSError as error:
            failure = error
    else:
        raise _unreached(failure) from failure
    return Wire(sock if tls is None else _secured(sock, tls, host, deadline), deadline)


def _judged(host: str, port: int, deadline: Deadline, allow_private: bool) -> list[str]:
    """The addresses of the host that may be connected to. Raises Fatal where all of them are refused."""
    try:
        addresses = resolve(host, port, deadline.limit(CONNECT_TIMEOUT_S, UnreachedInTime))
    except TimeoutError as error:
        raise UnreachedInTime(str(error)) from error
    except OSError as error:
        raise Unreached(f"the host {host!r} is not known") from error
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
        sock.settimeout(deadline.limit(CONNECT_TIMEOUT_S, UnreachedInTime))
        return tls.wrap_socket(sock, server_hostname=host)
    except BaseException as error:
        sock.close()
        if isinstance(error, ssl.SSLCertVerificationError):
            raise Fatal(f"the certificate of the server is not accepted: {error.verify_message}") from error
        if isinstance(error, OSError):
            raise _unreached(error) from error
        raise


def _unreached(error: OSError) -> Unreached:
    return (UnreachedInTime if isinstance(error, TimeoutError) else Unreached)(str(error))
