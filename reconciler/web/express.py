"""The express lane: live messages, as nearly all of them come, straight from the socket to the journal.

A request that raises no question (a small body of JSON with its length, all of it there, no key, no query) is answered
without a task, without ASGI and without Starlette, which were most of what it cost. Whatever raises a question, and be it
only that its sender is not known yet, goes to the application as if it had come there first: what is refused, and in which
words, is decided there alone.

A sender says the same in the head of each request. So a head that was admitted once is known again, byte by byte, without
a parser: by its digest, since a token stands in it. Who may send, and whether there is such a stream, is asked each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from typing import Final

from reconciler.data.journal import payload
from reconciler.web.answers import Answer, Refused, encoded
from reconciler.web.body import JSON_TYPES
from reconciler.web.commits import unwritable
from reconciler.web.desk import Desk
from reconciler.web.messages import messages_of
from reconciler.web.senders import digest_of_token

#: A longer body is gone through beside the loop.
EXPRESS_BYTES: Final = 64 << 10

PATH: Final = b"/collect/json/"
#: Headers that raise a question.
_ODD: Final = frozenset((b"content-encoding", b"transfer-encoding", b"expect", b"upgrade", b"idempotency-key"))
_TYPES: Final = frozenset((b"", *(one.encode() for one in JSON_TYPES)))
#: Heads that are known again, and how long each may be.
_HEADS: Final = 4096
_HEAD_BYTES: Final = 4096
_END: Final = b"\r\n\r\n"

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Ticket:
    """Who sends to which stream, and how long the body is, as the head of a request says it. `sender` is the digest of the
    token."""

    stream: str
    sender: bytes
    length: int


class Lane:
    """The lane of one process. Belongs to the loop's thread. `endpoint` is the name under which answers are counted."""

    def __init__(self, desk: Callable[[], Desk], endpoint: str) -> None:
        self._desk = desk
        self._endpoint = endpoint
        self._heads: dict[bytes, Ticket] = {}
        self._always: Headers = ()
        self._wired: dict[int, bytes] = {}

    @property
    def head_s(self) -> float:
        """The seconds within which the head of a request must have come."""
        return self._desk().limits.body_s

    def admits(self, url: bytes, headers: Headers) -> Ticket | None:
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
        return Ticket(stream, digest_of_token(named.get(b"authorization", b"").decode("latin-1")), int(length))

    def learn(self, data: bytes, ticket: Ticket) -> None:
        """Knows the head again with which `data` begins: one that was admitted."""
        end = data.find(_END) + len(_END)
        if len(_END) <= end <= _HEAD_BYTES and data.count(b"\n", 0, end) == data.count(b"\r\n", 0, end):
            if len(self._heads) >= _HEADS:
                self._heads.clear()
            self._heads[sha256(data[:end]).digest()] = ticket

    def known(self, data: bytes, at: int) -> tuple[Ticket, int] | None:
        """The ticket of the request that begins there, and where its body does; None where its head is not known."""
        end = data.find(_END, at, at + _HEAD_BYTES) + len(_END)
        ticket = self._heads.get(sha256(data[at:end]).digest()) if end >= len(_END) else None
        return None if ticket is None else (ticket, end)

    def take(self, ticket: Ticket, body: bytes, answered: Callable[[Answer], None]) -> bool:
        """Hands the messages of a body to the journal; whoever sent them is `answered` once they are on the disk, or once it
        is known why they are not. False where they raise a question: then nothing was taken."""
        desk = self._desk()
        now = desk.clock.now()
        if not desk.senders.knows(ticket.sender, now.alive_ms) or not desk.senders.has_stream(ticket.stream):
            return False
        size = len(body)
        if not desk.has_room(size):
            return False
        try:
            desk.check_backlog(bulk=False, now_ms=now.alive_ms)
            count, lines = messages_of(body)
        except (Refused, OSError):
            return False
        desk.in_flight += size

        def landed(error: str) -> None:
            desk.in_flight -= size
            if error:
                refused = unwritable(error)
                made = Answer(refused.status, refused.body, refused.headers)
            else:
                made = Answer(202, {"accepted": count})
                desk.added(size)
                desk.metrics.accepted(ticket.stream, "live", count, size)
            seconds = (desk.clock.alive_ms() - now.alive_ms) / 1000
            desk.metrics.answered(self._endpoint, made.status, seconds)
            answered(made)

        desk.commits.put(payload(ticket.stream, now.wall_ms, count, lines), landed)
        return True

    def wired(self, answer: Answer, always: Headers, *, stays: bool) -> bytes:
        """An answer as bytes, with headers that all answers have: most are alike, and made once as long as those are."""
        if answer.status != 202 or not stays:
            return wired(answer, always, stays=stays)
        if always is not self._always:
            self._always, self._wired = always, {}
        count = answer.body["accepted"]
        made = self._wired.get(count)
        if made is None:
            made = self._wired[count] = wired(answer, always, stays=True)
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
