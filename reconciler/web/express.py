"""The express lane: live messages, as nearly all of them come, straight from the parser of HTTP to the journal.

A request that raises no question (a small body of JSON with its length, all of it there, no key, no query) is answered
without a task, without ASGI and without Starlette, which were most of what it cost. Whatever raises a question, and be it
only that its sender is not known yet, goes to the application as if it had come there first: what is refused, and in which
words, is decided there alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from reconciler.data.journal import Entry
from reconciler.web.answers import Answer, Refused, encoded
from reconciler.web.body import JSON_TYPES
from reconciler.web.desk import Desk
from reconciler.web.messages import messages_of

#: A longer body is gone through beside the loop.
EXPRESS_BYTES: Final = 64 << 10

PATH: Final = b"/collect/json/"
#: Headers that raise a question.
_ODD: Final = frozenset((b"content-encoding", b"transfer-encoding", b"expect", b"upgrade", b"idempotency-key"))
_TYPES: Final = frozenset((b"", *(one.encode() for one in JSON_TYPES)))


@dataclass(frozen=True, slots=True)
class Ticket:
    """Who sends to which stream, as the head of a request says it."""

    stream: str
    authorization: str


@dataclass(frozen=True, slots=True)
class Taken:
    """Messages that are on their way to the disk; `done` once they are there."""

    done: asyncio.Future[None]
    stream: str
    messages: int
    size: int
    began_ms: int


class Lane:
    """The lane of one process. Belongs to the loop's thread. `endpoint` is the name under which answers are counted."""

    def __init__(self, desk: Callable[[], Desk], endpoint: str) -> None:
        self._desk = desk
        self._endpoint = endpoint

    def admits(self, url: bytes, headers: Sequence[tuple[bytes, bytes]]) -> Ticket | None:
        """The ticket of a POST; None where its head raises a question. Names of headers are in small letters."""
        named = dict(headers)
        if len(named) != len(headers) or not _ODD.isdisjoint(named) or not url.startswith(PATH):
            return None
        length = named.get(b"content-length", b"")
        if not (length.isdigit() and len(length) <= len(str(EXPRESS_BYTES))):
            return None
        desk, stream = self._desk(), url[len(PATH) :].decode("latin-1")
        if int(length) > min(EXPRESS_BYTES, desk.limits.json_bytes) or not desk.senders.has_stream(stream):
            return None
        kind = named.get(b"content-type", b"")
        if kind not in _TYPES and kind.partition(b";")[0].strip().lower() not in _TYPES:
            return None
        return Ticket(stream, named.get(b"authorization", b"").decode("latin-1"))

    def take(self, ticket: Ticket, body: bytes) -> Taken | None:
        """Hands the messages of a body to the journal. None where they raise a question: then nothing was taken."""
        desk = self._desk()
        now = desk.clock.now()
        if not desk.senders.knows(ticket.authorization, now.alive_ms) or not desk.has_room(len(body)):
            return None
        try:
            desk.check_backlog(bulk=False)
            count, lines = messages_of(body)
        except (Refused, OSError):
            return None
        payload = Entry(ticket.stream, now.wall_ms, count).payload(lines)
        desk.in_flight += len(body)
        return Taken(desk.commits.commit(payload, None), ticket.stream, count, len(body), now.alive_ms)

    def answer(self, taken: Taken, error: BaseException | None) -> Answer:
        """What is answered once the messages are on the disk, or once it is known why they are not."""
        desk = self._desk()
        desk.in_flight -= taken.size
        if error is None:
            made = Answer(202, {"accepted": taken.messages})
            desk.added(taken.size)
            desk.metrics.accepted(taken.stream, "live", taken.messages, taken.size)
        else:
            assert isinstance(error, Refused), "the journal says in these words why it cannot be written"
            made = Answer(error.status, error.body, error.headers)
        desk.metrics.answered(self._endpoint, made.status, (desk.clock.now().alive_ms - taken.began_ms) / 1000)
        return made


def wired(answer: Answer, always: Iterable[tuple[bytes, bytes]], *, stays: bool) -> bytes:
    """An answer as bytes, with headers that all answers have. The connection `stays`, or ends with it."""
    body = encoded(answer.body)
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}".encode()]
    lines += [name + b": " + value for name, value in always]
    lines += [f"{name.lower()}: {value}".encode("latin-1") for name, value in answer.headers.items()]
    lines += [b"content-type: application/json", f"content-length: {len(body)}".encode()]
    lines += [] if stays else [b"connection: close"]
    return b"\r\n".join([*lines, b"", body])
