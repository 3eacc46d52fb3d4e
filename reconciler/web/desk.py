"""What the endpoints share: who may send, the journal, the keys, and how much is waiting."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from reconciler.clock import Clock
from reconciler.data.journal import listing
from reconciler.web.answers import Refused, busy
from reconciler.web.commits import Commits
from reconciler.web.keys import Keys, key_of
from reconciler.web.limits import Limits
from reconciler.web.metrics import Metrics
from reconciler.web.senders import Senders

#: What waits on the disk is measured again this often; what is accepted in between is added.
MEASURED_MS: Final = 500
_KEY_CHARACTERS: Final = 255


@dataclass(slots=True)
class Pending:
    """A key whose request is being answered: the digest of its body, and the answer once it is there."""

    digest: bytes
    answer: asyncio.Future[dict[str, Any]]


@dataclass(slots=True)
class Desk:
    """Belongs to the loop's thread."""

    folder: Path
    limits: Limits
    clock: Clock
    senders: Senders
    keys: Keys
    commits: Commits
    metrics: Metrics
    in_flight: int = 0
    uploads: int = 0
    pending: dict[bytes, Pending] = field(default_factory=dict)
    _live_bytes: int = 0
    _bulk_bytes: int = 0
    _measured_ms: int = -MEASURED_MS

    # --- how much waits ---

    def check_backlog(self, *, bulk: bool, now_ms: int | None = None) -> None:
        """Raises Refused: 429 where too much waits to be folded, 503 where the disk is nearly full. `now_ms` is the uptime,
        of one who knows it."""
        if self._measure(now_ms):
            self.check_disk()
        if not bulk and self._live_bytes >= self.limits.backlog_bytes:
            raise busy(f"{self._live_bytes:,} bytes of messages wait to be put on their streams; come again later.")
        if bulk and self._bulk_bytes >= self.limits.bulk_backlog_bytes:
            raise busy(
                f"{self._bulk_bytes:,} bytes of bulk bodies wait to be put on their streams; come again later.", 60
            )

    def added(self, size: int) -> None:
        """So many bytes went to the live journal since it was last measured."""
        self._live_bytes += size

    @property
    def backlog(self) -> tuple[int, int]:
        """Bytes of live journals and of bulk bodies."""
        self._measure()
        return self._live_bytes, self._bulk_bytes

    def check_disk(self) -> None:
        """Raises Refused (503) where the disk is nearly full: an upload stops before the journals cannot be written."""
        found = os.statvfs(self.folder)
        if found.f_bavail * found.f_frsize < self.limits.free_bytes:
            raise Refused(503, "The disk is nearly full; nothing is accepted.", retry_after_s=60)

    def _measure(self, now_ms: int | None = None) -> bool:
        """Whether it is time again."""
        now_ms = self.clock.now().alive_ms if now_ms is None else now_ms
        if now_ms - self._measured_ms < MEASURED_MS:
            return False
        self._measured_ms = now_ms
        found = listing(self.folder)
        self._live_bytes = sum(one.size for one in found.live)
        self._bulk_bytes = sum(one.size for one in found.bulk)
        return True

    def has_room(self, size: int) -> bool:
        """Whether one more body of live messages may be in memory."""
        return not self.in_flight or self.in_flight + size <= self.limits.in_flight_bytes

    @contextmanager
    def reading(self, size: int) -> Iterator[None]:
        """A body of live messages is in memory. Raises Refused (429) where too many are."""
        if not self.has_room(size):
            raise busy("Too many bodies are being read; come again in a moment.", 1)
        self.in_flight += size
        try:
            yield
        finally:
            self.in_flight -= size

    @contextmanager
    def uploading(self) -> Iterator[None]:
        """A bulk body is being taken in. Raises Refused (429) where too many are."""
        if self.uploads >= self.limits.uploads:
            raise busy(f"{self.limits.uploads} bulk bodies are being taken in; come again later.", 10)
        self.uploads += 1
        try:
            yield
        finally:
            self.uploads -= 1

    # --- keys ---

    def key(self, headers: Mapping[str, str], sender: str, path: str) -> bytes:
        """What the request's idempotency key is known by; empty where it has none. Raises Refused (400)."""
        said = headers.get("idempotency-key")
        if said is None:
            return b""
        if not 0 < len(said) <= _KEY_CHARACTERS or not (said.isascii() and said.isprintable()):
            raise Refused(400, f"Idempotency-Key: expected 1 to {_KEY_CHARACTERS} printable ASCII characters.")
        return key_of(sender, path, said)


def digest_of(query: str, body: bytes) -> bytes:
    """What a request with a key is compared by."""
    made = blake2b(query.encode("utf-8", "surrogatepass") + b"\0", digest_size=16)
    made.update(body)
    return made.digest()
