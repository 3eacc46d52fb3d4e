"""Bodies as they come over the wire: in pieces, within their limits, unpacked where they are packed."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

from reconciler.web.answers import Gone, Refused

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

#: What an empty Content-Type is taken for, too.
JSON_TYPES: Final = (
    "application/json",
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "text/plain",
)
CSV_TYPES: Final = ("text/csv", "application/csv", "text/plain")
#: What `curl -d` and Python's urllib say of any body where nobody told them: it says nothing.
_UNSAID: Final = ("", "application/x-www-form-urlencoded")


def check_type(headers: Mapping[str, str], types: tuple[str, ...]) -> None:
    """Raises Refused (415)."""
    said = headers.get("content-type", "").partition(";")[0].strip().lower()
    if said not in _UNSAID and said not in types:
        raise Refused(415, f"A body of type '{said[:80]}' is not taken here; send {types[0]}.")


def is_packed(headers: Mapping[str, str]) -> bool:
    """Whether the body is compressed. Raises Refused (415) for another encoding than gzip."""
    said = headers.get("content-encoding", "").strip().lower()
    if said not in ("", "identity", "gzip"):
        raise Refused(
            415,
            f"A body encoded as '{said[:80]}' is not taken; send gzip, or none.",
            headers={"Accept-Encoding": "gzip"},
        )
    return said == "gzip"


def declared(headers: Mapping[str, str], limit: int, what: str) -> int | None:
    """The length that the sender has announced, if any. Raises Refused (413) where it is over the limit."""
    said = headers.get("content-length", "")
    length = int(said) if said.isascii() and said.isdigit() else None
    if length is not None and length > limit:
        raise too_large(limit, what)
    return length


def too_large(limit: int, what: str) -> Refused:
    return Refused(413, f"{what} may have {limit:,} bytes.")


async def pieces(receive: Receive, piece_s: float) -> AsyncIterator[bytes]:
    """The body as it comes. Raises Gone where the sender goes away, Refused (408) where a piece takes too long."""
    more = True
    while more:
        try:
            async with asyncio.timeout(piece_s):
                message = await receive()
        except TimeoutError:
            raise Refused(408, f"Nothing came for {piece_s:g} seconds.", headers={"Connection": "close"}) from None
        if message["type"] == "http.disconnect":
            raise Gone
        more = message.get("more_body", False)
        if message.get("body"):
            yield message["body"]


async def whole(receive: Receive, *, packed: bool, limit: int, piece_s: float) -> bytes:
    """A body of at most `limit` bytes, unpacked: what unpacks to more is never held. Raises Gone, Refused."""
    held: list[bytes] = []
    size = 0
    unpack = Unpacking(limit) if packed else None
    async for piece in pieces(receive, piece_s):
        part = piece if unpack is None else unpack.feed(piece)
        size += len(part)
        if size > limit:
            raise too_large(limit, "A body of live messages")
        held.append(part)
    if unpack is not None:
        unpack.finish()
    return held[0] if len(held) == 1 else b"".join(held)


class Unpacking:
    """Gzip, of one member or many, up to one byte over a limit."""

    def __init__(self, limit: int) -> None:
        self._left = limit + 1
        self._member = zlib.decompressobj(31)

    def feed(self, data: bytes) -> bytes:
        """What the data unpacks to, as far as the limit goes. Raises Refused (400)."""
        parts = []
        try:
            while data and self._left > 0:
                if self._member.eof:
                    self._member = zlib.decompressobj(31)
                part = self._member.decompress(data, self._left)
                parts.append(part)
                self._left -= len(part)
                data = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
        except zlib.error:
            raise Refused(400, "The body is not gzip, although its Content-Encoding says so.") from None
        return b"".join(parts)

    def finish(self) -> None:
        """Raises Refused (400) where the end is missing."""
        if not self._member.eof and self._left > 0:
            raise Refused(400, "The gzip body is cut off before its end.")
