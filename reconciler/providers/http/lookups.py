"""Requests about one identifier each, several at a time, no faster than they may be.

Every request that has begun is waited for: its answer is worth keeping whatever happened to another one, for nobody is to
be asked for twice. The identifier stands in no message: errors and logs show the URL's template.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

from reconciler.clock import Clock
from reconciler.core.value import dataclass
from reconciler.errors import RunError
from reconciler.providers.http.client import Answer, Client, label
from reconciler.providers.http.enrich_config import VALUE, EnrichLookup

_SECOND_MS: Final = 1000


@dataclass(frozen=True, slots=True)
class Lookup:
    """What came of one request: the answer, or the error in its place, and when."""

    value: str
    said: int
    answer: Answer | None
    error: RunError | None
    at_ms: int


class Pace:
    """Lets so many begin in a second, evenly. `wait` takes seconds."""

    def __init__(self, per_second: int, wait: Callable[[float], Any] | None = None) -> None:
        self._clock = Clock()
        self._step_ms = _SECOND_MS / per_second
        self._next_ms = 0.0
        self._wait = wait or threading.Event().wait

    def begin(self) -> None:
        """Returns once the next one may begin."""
        now_ms = self._clock.now().alive_ms
        if now_ms < self._next_ms:
            self._wait((self._next_ms - now_ms) / _SECOND_MS)
        self._next_ms = max(self._next_ms, now_ms) + self._step_ms


class Lookups:
    """Sends requests for one run. A client is not shared between threads: each has its own."""

    def __init__(self, config: EnrichLookup, private: Mapping[str, str], now_ms: Callable[[], int]) -> None:
        self._config = config
        self._private = private
        self._now_ms = now_ms
        self._pace = Pace(config.requests_per_second)
        self._threads = ThreadPoolExecutor(config.concurrency, thread_name_prefix="lookup")
        self._mine = threading.local()
        self._clients = ExitStack()
        self._lock = threading.Lock()

    def __enter__(self) -> Lookups:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._clients.close()

    def results(self, wanted: Iterable[tuple[str, int]], go_on: Callable[[], bool]) -> Iterator[Lookup]:
        """The results of `wanted` (identifiers, and what was said of each last), in that order. Once `go_on` says no,
        nothing more begins, and what has begun is waited for."""
        begun: deque[Future[Lookup]] = deque()
        coming = iter(wanted)
        more = True
        while more or begun:
            while more and len(begun) < self._config.concurrency:
                one = next(coming, None) if go_on() else None
                if one is None:
                    more = False
                    break
                self._pace.begin()
                begun.append(self._threads.submit(self._ask, *one))
            if begun:
                yield begun.popleft().result()

    def _ask(self, value: str, said: int) -> Lookup:
        config = self._config
        content = None if config.method == "GET" else _body(config.sent, value)
        headers = {} if content is None else {"Content-Type": "application/json"}
        url = config.url.replace(VALUE, in_url(value))
        try:
            answer = self._client().request(config.method, url, headers=headers, private=self._private, content=content)
        except RunError as error:
            return Lookup(value, said, None, _without(error, url, config.url), self._now_ms())
        return Lookup(value, said, replace(answer, url=config.url), None, self._now_ms())

    def _client(self) -> Client:
        if not hasattr(self._mine, "client"):
            config = self._config
            client = Client(allow_private=config.allow_private_addresses, timeout_s=config.timeout_seconds)
            with self._lock:
                self._mine.client = self._clients.enter_context(client)
        found: Client = self._mine.client
        return found


def can_stand_in_url(value: str) -> bool:
    """Whether a value may be a piece of a path: `.` and `..` would lead elsewhere, however they are written."""
    return value.strip(".") != ""


def in_url(value: str) -> str:
    """The value percent-encoded, so that it is one piece of a path or a query (RFC 3986, 2.3: all but the unreserved)."""
    return quote(value, safe="", errors="replace")


def _body(template: Mapping[str, Any], value: str) -> bytes:
    filled = {name: one.replace(VALUE, value) if isinstance(one, str) else one for name, one in template.items()}
    return json.dumps(filled).encode()


def _without(error: RunError, url: str, template: str) -> RunError:
    """The error, with the template in the place of the URL that was asked, which names a person."""
    error.args = (str(error).replace(label(url), label(template)).replace(url, template), *error.args[1:])
    return error
