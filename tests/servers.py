"""A real HTTP server on loopback for tests: it records every request and answers as it is told.

`Server(answer)` asks `answer(request)` for a `Play`; a list of plays is played in order, then every request gets 200. What
a play can do: any status, headers and body; hold the answer until the server is released; close the connection without
an answer, before or after the request counts as processed.
"""

from __future__ import annotations

import gzip
import json
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

TLS_CERTIFICATE = Path(__file__).parent / "tls" / "localhost.pem"
TLS_KEY = Path(__file__).parent / "tls" / "localhost.key"


@dataclass(frozen=True)
class Play:
    """How one request is answered. `hold` waits until `Server.release()`; `drop` closes the connection unprocessed;
    `lose` processes it and closes the connection; `trickle` sends the body one byte at a time, never ending it."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    hold: bool = False
    drop: bool = False
    lose: bool = False
    trickle: bool = False


@dataclass(frozen=True)
class Request:
    """One request as it came; `body` is decompressed, `raw` is not. Header names are lower-case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    raw: bytes
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def key(self) -> str:
        return self.headers["idempotency-key"]


def as_json(value: Any, **headers: str) -> Play:
    return Play(body=json.dumps(value).encode(), headers={"Content-Type": "application/json", **headers})


class Server:
    """`requests` are all that came, `processed` those that were taken (not dropped, and answered below 300)."""

    def __init__(self, answer: Callable[[Request], Play] | Iterable[Play] = (), *, tls: bool = False) -> None:
        self.requests: list[Request] = []
        self.processed: list[Request] = []
        self.connections = 0
        self._answer = answer if callable(answer) else _script(answer)
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._http = _Http(("127.0.0.1", 0), _Handler)
        self._http.owner = self
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(TLS_CERTIFICATE, TLS_KEY)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self.scheme = "https" if tls else "http"
        self.port = self._http.server_address[1]
        self.url = f"{self.scheme}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def release(self) -> None:
        """Lets go of every answer that is held."""
        self._released.set()

    def play(self, request: Request) -> Play:
        with self._lock:
            self.requests.append(request)
            play = self._answer(request)
            if not play.drop and play.status < 300:
                self.processed.append(request)
        if play.hold:
            self._released.wait(300)
        return play

    def trickling(self) -> bool:
        return not self._released.wait(0.02)


def _script(plays: Iterable[Play]) -> Callable[[Request], Play]:
    coming = iter(plays)
    return lambda _: next(coming, Play())


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    owner: Server

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else the body waits 40 ms for the headers to be acknowledged
    server: _Http
    timeout = 30

    def setup(self) -> None:
        super().setup()
        self.server.owner.connections += 1

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        raw = self.rfile.read(length)
        if len(raw) < length:  # the client died while it sent: this is no request
            self.close_connection = True
            return
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = gzip.decompress(raw) if headers.get("content-encoding") == "gzip" else raw
        query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        play = self.server.owner.play(Request(self.command, parts.path, query, headers, raw, body))
        if play.drop or play.lose:
            self.close_connection = True
            return
        self.send_response(play.status)
        for name, value in play.headers.items():
            self.send_header(name, value)
        if play.trickle:
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            while self.server.owner.trickling():
                self.wfile.write(b" ")
            self.close_connection = True
            return
        if play.status not in (204, 304):
            self.send_header("Content-Length", str(len(play.body)))
        self.end_headers()
        if self.command != "HEAD" and play.status not in (204, 304):
            self.wfile.write(play.body)

    do_GET = do_POST = do_HEAD = do_OPTIONS = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Silence: what was asked is in `requests`."""


@contextmanager
def serving(answer: Callable[[Request], Play] | Iterable[Play] = (), *, tls: bool = False) -> Iterator[Server]:
    with Server(answer, tls=tls) as server:
        yield server
