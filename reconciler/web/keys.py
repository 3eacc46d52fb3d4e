"""Idempotency keys: the same key gets the same answer, and its messages land once.

A key is remembered for a day, over restarts. In the journal it stands beside its messages, so that both are there or
neither; a log beside the journals keeps it after the journal has gone: a file an hour, a frame for each key. What is kept
of a key and of the body that came with it are digests of 16 bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import struct
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from reconciler.data.durable import fsync
from reconciler.data.journal import Listing, bulk_of, entry_of, frame, frames, mend
from reconciler.web.answers import Refused, busy, encoded
from reconciler.web.limits import Limits

_HOUR_MS: Final = 3_600_000
_LOG: Final = re.compile(r"keys-(\d{1,12})\.log")
_NOTE: Final = struct.Struct("<16s16sq")
_DIGEST: Final = 16


def key_of(*parts: str) -> bytes:
    """The digest that a key is known by: the sender's and the stream's names belong to it."""
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=_DIGEST).digest()


class Keys:
    """The keys of the last day. Threads that commit note keys, the loop's asks for them."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder = folder
        self._limits = limits
        self._known: dict[bytes, bytes] = {}  # in the order in which they came
        self._owed: list[bytes] = []  # frames that are not in the log yet
        self._due = -1  # the hour whose log they go to
        self._hour = -1  # that of the open log
        self._fd = -1
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._known)

    def load(self, journals: Listing, now_ms: int) -> None:
        """What the logs and the journals know; logs that are too old go."""
        for path in self._logs():
            hour = int(_LOG.fullmatch(path.name)[1])  # type: ignore[index]
            if (hour + 1) * _HOUR_MS + self._limits.key_s * 1000 < now_ms:
                path.unlink(missing_ok=True)
                continue
            mend(path)
            for _, payload in frames(path):
                self._known[payload[:_DIGEST]] = payload[_DIGEST:]
        self._recover(journals)

    def _recover(self, journals: Listing) -> None:
        """Keys of journals that stand in no log, because the process died in between."""
        missing: list[tuple[bytes, bytes, int, dict[str, Any]]] = []
        for journal in journals.live:
            for _, payload in frames(journal.path):
                entry, _ = entry_of(payload)
                answer = {"accepted": entry.messages}
                missing += self._missing(entry.key, entry.digest, entry.received_ms, answer)
        for journal in journals.bulk:
            bulk = bulk_of(journal.path)
            missing += self._missing(bulk.key, bulk.digest, bulk.received_ms, bulk.answer)
        for key, digest, now_ms, answer in missing:
            self.note([(key, digest, answer)], now_ms)
        self.sync()

    def _missing(
        self, key: str, digest: str, now_ms: int, answer: dict[str, Any]
    ) -> Iterable[tuple[bytes, bytes, int, dict[str, Any]]]:
        if key and bytes.fromhex(key) not in self._known:
            yield bytes.fromhex(key), bytes.fromhex(digest), now_ms, answer

    def answer(self, key: bytes, digest: bytes, now_ms: int) -> dict[str, Any] | None:
        """What the key was answered, None for a new one. Raises Refused (422) where it came with another body, and 429
        where no more keys can be remembered."""
        with self._lock:
            self._expire(now_ms)
            known = self._known.get(key)
            if known is None:
                if len(self._known) < self._limits.keys:
                    return None
                raise busy(f"{self._limits.keys:,} idempotency keys are remembered already.", self._oldest_s(now_ms))
        if known[:_DIGEST] != digest:
            raise Refused(422, "This idempotency key was used for another request; use a new one for a new body.")
        answer: dict[str, Any] = json.loads(known[_NOTE.size - _DIGEST :])
        return answer

    def note(self, noted: Iterable[tuple[bytes, bytes, dict[str, Any]]], now_ms: int) -> None:
        """Remembers how keys were answered. What the disk refuses is still owed to the log: the journal beside which the
        keys stand does not go before `sync` has succeeded."""
        values = [(key, _NOTE.pack(key, digest, now_ms) + encoded(answer)) for key, digest, answer in noted]
        if not values:
            return
        with self._lock, contextlib.suppress(OSError):
            for key, value in values:
                self._known[key] = value[_DIGEST:]
                self._owed.append(frame(value))
            self._due = now_ms // _HOUR_MS
            self._pay()

    def sync(self) -> None:
        """What was noted is on the disk: before the journal that also holds it may go. Raises OSError."""
        with self._lock:
            self._pay()
            if self._fd >= 0:
                os.fdatasync(self._fd)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # the journals know it too
            self.sync()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _pay(self) -> None:
        """Writes what is owed to the log, all of it or nothing."""
        data = b"".join(self._owed)
        if not data:
            return
        self._turn(self._due)
        end = os.fstat(self._fd).st_size
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            os.ftruncate(self._fd, end)
            raise
        self._owed.clear()

    def _turn(self, hour: int) -> None:
        """The log of this hour, whose name is on the disk too."""
        if hour == self._hour:
            return
        if self._fd >= 0:
            os.fdatasync(self._fd)
        path = self._folder / f"keys-{hour}.log"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fsync(self._folder)
        except OSError:
            os.close(fd)
            raise
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._hour = fd, hour

    def _expire(self, now_ms: int) -> None:
        """Forgets what is older than a day."""
        oldest_ms = now_ms - self._limits.key_s * 1000
        while self._known:
            key = next(iter(self._known))
            if self._time_ms(key) >= oldest_ms:
                return
            del self._known[key]
            if len(self._known) % 1000 == 0:
                self._drop_logs(oldest_ms)

    def _drop_logs(self, oldest_ms: int) -> None:
        for path in self._logs():
            found = _LOG.fullmatch(path.name)
            if found and (int(found[1]) + 1) * _HOUR_MS < oldest_ms:
                with contextlib.suppress(OSError):
                    path.unlink()

    def _oldest_s(self, now_ms: int) -> int:
        first_ms = self._time_ms(next(iter(self._known)))
        return max(1, self._limits.key_s - (now_ms - first_ms) // 1000)

    def _time_ms(self, key: bytes) -> int:
        return int.from_bytes(self._known[key][_DIGEST : _DIGEST + 8], "little", signed=True)

    def _logs(self) -> list[Path]:
        found = [(int(name[1]), path) for path in self._folder.iterdir() if (name := _LOG.fullmatch(path.name))]
        return [path for _, path in sorted(found)]
