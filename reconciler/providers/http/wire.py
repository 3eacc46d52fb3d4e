"""The connections of the http provider: httpcore's, over a network backend that resolves and judges every address itself,
and with streams that obey one deadline for the whole request. A request goes to httpcore as it is: what httpx's own client
does around one takes as long again as httpcore itself.

A read timeout alone does not bound a request: a peer that sends one byte every few seconds keeps it open for ever.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

import httpcore
import httpx

from reconciler.clock import Clock
from reconciler.errors import Fatal
from reconciler.providers.http.address import refusal, resolve

CONNECT_TIMEOUT_S: Final = 10.0
READ_TIMEOUT_S: Final = 30.0
KEEPALIVE_S: Final = 5.0


class Deadline:
    """When the request in progress must be over. `limit` shortens a timeout to what is left."""

    def __init__(self) -> None:
        self._clock = Clock()
        self._ends_ms = 0

    def start(self, seconds: float) -> None:
        self._ends_ms = self._clock.now().alive_ms + int(seconds * 1000)

    def limit(self, timeout_s: float | None, error: type[Exception]) -> float:
        left_s = (self._ends_ms - self._clock.now().alive_ms) / 1000
        if left_s <= 0:
            raise error("the request took longer than it may")
        return left_s if timeout_s is None else min(timeout_s, left_s)


class _Stream(httpcore.NetworkStream):
    """A stream whose every operation ends by the deadline."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._inner = inner
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._deadline.limit(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if buffer:
            self._inner.write(buffer, self._deadline.limit(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left_s = self._deadline.limit(timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, left_s), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    """Connects to nothing but an address that it has judged."""

    def __init__(self, deadline: Deadline, allow_private: bool) -> None:
        self._deadline = deadline
        self._allow_private = allow_private

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002 - httpcore's signature
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        addresses = self._judged(host, port)
        failure: OSError = OSError("no address")
        for address in addresses:
            left_s = self._deadline.limit(timeout, httpcore.ConnectTimeout)
            try:
                return _Stream(_connect(address, port, left_s), self._deadline)
            except OSError as error:
                failure = error
        if isinstance(failure, TimeoutError):
            raise httpcore.ConnectTimeout(str(failure)) from failure
        raise httpcore.ConnectError(str(failure)) from failure

    def _judged(self, host: str, port: int) -> list[str]:
        """The addresses of the host that may be connected to. Raises Fatal where all of them are refused."""
        try:
            addresses = resolve(host, port, self._deadline.limit(CONNECT_TIMEOUT_S, httpcore.ConnectTimeout))
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.ConnectError(f"the host {host!r} is not known") from error
        verdicts = {one: refusal(one, allow_private=self._allow_private) for one in addresses}
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


def _connect(address: str, port: int, timeout_s: float) -> httpcore.NetworkStream:
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
    return _Socket(sock)


class _Socket(httpcore.NetworkStream):
    """A connected socket in httpcore's terms."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return bytes(
            self._mapped(lambda: self._sock.recv(max_bytes), timeout, httpcore.ReadTimeout, httpcore.ReadError)
        )

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._mapped(lambda: self._sock.sendall(buffer), timeout, httpcore.WriteTimeout, httpcore.WriteError)

    def close(self) -> None:
        self._sock.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        def wrap() -> ssl.SSLSocket:
            return ssl_context.wrap_socket(self._sock, server_hostname=server_hostname)

        try:
            return _Socket(self._mapped(wrap, timeout, httpcore.ConnectTimeout, httpcore.ConnectError))
        except BaseException:
            self._sock.close()
            raise

    def _mapped(
        self, act: Callable[[], Any], timeout_s: float | None, late: type[Exception], broken: type[Exception]
    ) -> Any:
        try:
            self._sock.settimeout(timeout_s)
            return act()
        except TimeoutError as error:
            raise late(str(error)) from error
        except ssl.SSLCertVerificationError as error:
            raise Fatal(f"the certificate of the server is not accepted: {error.verify_message}") from error
        except OSError as error:
            raise broken(str(error)) from error

    def get_extra_info(self, info: str) -> Any:
        if info == "socket":
            return self._sock
        if info == "ssl_object" and isinstance(self._sock, ssl.SSLSocket):
            return self._sock
        if info == "is_readable":
            return _has_input(self._sock)
        return None


def _has_input(sock: socket.socket) -> bool:
    """Whether an idle connection has something to read, which for HTTP means that it was closed."""
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))


@lru_cache(maxsize=64)
def _parsed(url: str) -> tuple[httpcore.URL, bytes]:
    """A URL in httpcore's terms, and what the header `Host` says of it."""
    one = httpx.URL(url)
    return httpcore.URL(scheme=one.raw_scheme, host=one.raw_host, port=one.port, target=one.raw_path), one.netloc


_TIMEOUTS: Final = {
    "timeout": {"connect": CONNECT_TIMEOUT_S, "read": READ_TIMEOUT_S, "write": READ_TIMEOUT_S, "pool": READ_TIMEOUT_S}
}


class Transport:
    """The guarded transport. Errors of the network are httpcore's own, and Fatal where an address is refused."""

    def __init__(self, deadline: Deadline, *, allow_private: bool) -> None:
        self._backend = _Backend(deadline, allow_private)
        self._pools: dict[str, httpcore.ConnectionPool] = {}

    def send(
        self, method: str, url: str, headers: Sequence[tuple[bytes, bytes]], content: bytes | None
    ) -> httpcore.Response:
        """The answer as far as its headers; its stream is to be read, and closed."""
        target, host = _parsed(url)
        all_headers = [(b"Host", host), *headers]
        if content or method in ("POST", "PUT", "PATCH"):
            all_headers.append((b"Content-Length", b"%d" % len(content or b"")))
        pool = self._pool(target.scheme.decode("ascii"))
        return pool.handle_request(
            httpcore.Request(method, target, headers=all_headers, content=content, extensions=_TIMEOUTS)
        )

    def _pool(self, scheme: str) -> httpcore.ConnectionPool:
        """One pool a scheme: reading the certificate authorities takes time that plain HTTP does not need."""
        if scheme not in self._pools:
            self._pools[scheme] = httpcore.ConnectionPool(
                ssl_context=httpx.create_ssl_context() if scheme == "https" else None,
                max_connections=4,
                keepalive_expiry=KEEPALIVE_S,
                network_backend=self._backend,
            )
        return self._pools[scheme]

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()
