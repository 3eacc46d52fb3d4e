"""HTTP/1.1 over the guarded connections of `wire.py`: httpcore's own connections, without its pool. A run sends one request at
a time, and the locks and the book-keeping of a pool cost as much again as the request.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import httpcore
import httpx

from reconciler.providers.http.wire import Deadline, connect

#: An idle connection is used again within this time.
KEEPALIVE_S: Final = 5.0
#: So many connections are kept, each to another origin.
MAX_KEPT: Final = 4

#: Scheme, host and port.
Origin = tuple[str, str, int]


class Transport:
    """Sends requests, one at a time. Errors of the network are httpcore's own, and Fatal where an address is refused."""

    def __init__(self, deadline: Deadline, *, allow_private: bool) -> None:
        self._deadline = deadline
        self._allow_private = allow_private
        self._kept: dict[Origin, httpcore.HTTP11Connection] = {}
        self._tls: ssl.SSLContext | None = None

    def send(
        self, method: str, url: str, headers: Sequence[tuple[bytes, bytes]], content: bytes | None
    ) -> httpcore.Response:
        """The answer as far as its headers; its stream is to be read, and closed, before another request is sent."""
        origin, target, host = _parsed(url)
        all_headers = [(b"Host", host), *headers]
        if content or method in ("POST", "PUT", "PATCH"):
            all_headers.append((b"Content-Length", b"%d" % len(content or b"")))
        request = httpcore.Request(method, target, headers=all_headers, content=content)
        return self._connection(origin, target).handle_request(request)

    def _connection(self, origin: Origin, target: httpcore.URL) -> httpcore.HTTP11Connection:
        """One that can be trusted with one more request, or a new one."""
        kept = self._kept.pop(origin, None)
        if kept is not None and (not kept.is_idle() or kept.has_expired()):
            kept.close()
            kept = None
        if kept is None:
            scheme, host, port = origin
            tls = self._context() if scheme == "https" else None
            wire = connect(host, port, tls, self._deadline, allow_private=self._allow_private)
            kept = httpcore.HTTP11Connection(target.origin, wire, KEEPALIVE_S)
        self._kept[origin] = kept
        if len(self._kept) > MAX_KEPT:
            self._kept.pop(next(iter(self._kept))).close()
        return kept

    def _context(self) -> ssl.SSLContext:
        """Made when it is first needed: reading the certificate authorities takes time that plain HTTP does not need."""
        if self._tls is None:
            self._tls = httpx.create_ssl_context()
        return self._tls

    def close(self) -> None:
        for connection in self._kept.values():
            connection.close()
        self._kept.clear()


#: Each URL is parsed once, of all who look at it.
parsed_url = lru_cache(maxsize=64)(httpx.URL)


@lru_cache(maxsize=64)
def _parsed(url: str) -> tuple[Origin, httpcore.URL, bytes]:
    """Where a URL leads, the same in httpcore's terms, and what the header `Host` says of it."""
    one = parsed_url(url)
    port = one.port or {"http": 80, "https": 443}[one.scheme]
    target = httpcore.URL(scheme=one.raw_scheme, host=one.raw_host, port=one.port, target=one.raw_path)
    return (one.scheme, one.raw_host.decode("ascii"), port), target, one.netloc
