"""Who may send, and what for: the declared streams and tokens, as the controller wrote them down in `rules.json`.

The file holds references to tokens, never a token: this process resolves them itself, and keeps only their digests. It is
read again whenever it has changed; tokens are resolved again from time to time, and when a token comes that is unknown,
so that a secret which was replaced is known without a restart.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from reconciler.clock import Clock
from reconciler.core.backfill import DEFAULT_MAX_MESSAGES
from reconciler.core.suggest import did_you_mean
from reconciler.errors import Fatal
from reconciler.secrets import resolve
from reconciler.web.answers import Refused, unable

#: What is taken back counts within this time; what is new, at once.
LOOK_MS: Final = 250
#: Tokens are resolved again this often, and for unknown ones not more often than that.
FRESH_MS: Final = 30_000
UNKNOWN_MS: Final = 2_000


@dataclass(frozen=True, slots=True)
class Rules:
    """What is declared: streams by name, senders by the digest of their token, and the secret of the push hook, which is
    empty where it cannot be had, and None where there is no such hook. `trouble` is what the controller has with where its
    specs come from. `limits` are of the streams that say themselves how large an upload they take unasked; `times` of those
    that say in which format a field holds a message's own time, where that is not iso8601. Where they are not `known`, no
    controller has looked at its files yet."""

    streams: frozenset[str] = frozenset()
    push: bytes | None = None
    trouble: str = ""
    senders: Mapping[bytes, str] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    times: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    known: bool = True


class Senders:
    """The rules as they stand. Everything but `_read` belongs to the loop's thread."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._rules = Rules()
        self._signature: tuple[int, ...] | None = None
        self._read_ms = -FRESH_MS
        self._look_ms = 0
        self._reading = asyncio.Lock()
        self._complaints: dict[str, str] = {}

    def knows(self, digest: bytes, alive_ms: int) -> bool:
        """Whether the digest of a token says who sends, by rules that need no look."""
        return alive_ms < self._look_ms and digest in self._rules.senders

    def has_stream(self, name: str) -> bool:
        """Whether there is such a stream, as far as is known."""
        return name in self._rules.streams

    async def sender(self, authorization: str) -> str:
        """The name of whoever sends, by the header. Raises Refused (401; 503 where nobody is known yet)."""
        digest = digest_of_token(authorization)
        if not digest:
            raise _unauthorized("Say who you are: Authorization: Bearer TOKEN.")
        if self._clock.now().alive_ms >= self._look_ms:
            await self._look()
        if digest not in self._rules.senders:
            await self._look()
        if digest not in self._rules.senders:
            await self.read(UNKNOWN_MS)
        found = self._rules.senders.get(digest)
        if found is None and not self._rules.known:
            raise unable("Nobody has looked yet at what is declared; nothing was accepted.", retry_after_s=1)
        if found is None:
            raise _unauthorized("No declared authorization of the provider 'collect' has this token.")
        return found

    async def check_stream(self, name: str) -> None:
        """Raises Refused (404), naming near ones."""
        if name not in self._rules.streams:
            await self._look()
        if name not in self._rules.streams:
            shown = name if len(name) <= 63 else f"{name[:63]}…"
            raise Refused(404, f"There is no stream '{shown}'{did_you_mean(shown, self._rules.streams) or '.'}")

    def limit(self, stream: str) -> int:
        """An upload of more messages waits for approval."""
        return self._rules.limits.get(stream, DEFAULT_MAX_MESSAGES)

    def time_format(self, stream: str, column: str) -> str:
        """How a column of a stream's messages says their own time, where a request does not say: as the stream declares."""
        declared = self._rules.times.get(stream, {})
        return declared["format"] if declared.get("field") == column else "iso8601"

    async def trouble(self) -> str:
        """What is wrong with where the specs come from; empty where nothing is."""
        await self._look()
        return self._rules.trouble

    async def push_secret(self) -> bytes | None:
        """The secret of the push hook: not older than that of a sender who is unknown."""
        await self.read(UNKNOWN_MS)
        return self._rules.push

    async def _look(self) -> None:
        """Reads the rules again where they have changed, or are old."""
        self._look_ms = self._clock.now().alive_ms + LOOK_MS
        if _signature(self._path) != self._signature or self._age_ms() >= FRESH_MS:
            await self.read(0)

    async def read(self, older_than_ms: int) -> None:
        """Reads the rules again, unless somebody else just has."""
        async with self._reading:
            signature = _signature(self._path)
            if signature == self._signature and self._age_ms() < older_than_ms:
                return
            self._rules = await asyncio.to_thread(self._read)
            self._signature, self._read_ms = signature, self._clock.now().alive_ms

    def _age_ms(self) -> int:
        return self._clock.now().alive_ms - self._read_ms

    def _read(self) -> Rules:
        try:
            told: dict[str, Any] = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return Rules(known=False)
        senders = {}
        for name, authorization in sorted(told["senders"].items()):
            try:
                senders[_token(told, authorization)] = name
                self._complaints.pop(f"authorization {name}", None)
            except Fatal as error:
                self._complain(f"authorization {name}", str(error))
        return Rules(
            streams=frozenset(told["streams"]),
            push=self._push(told),
            trouble=told.get("trouble", ""),
            senders=senders,
            limits=told.get("limits", {}),
            times=told.get("times", {}),
            known=told.get("known", True),
        )

    def _push(self, told: Mapping[str, Any]) -> bytes | None:
        hook = told.get("push")
        if hook is None:
            return None
        try:
            secrets = resolve({"secret": hook["secret"]}, base_dir=Path(hook["folder"]), allow_exec=told["allow_exec"])
        except Fatal as error:
            self._complain("hooks.push", str(error).removeprefix("credentials."))
            return b""
        self._complaints.pop("hooks.push", None)
        return secrets["secret"].reveal().encode()

    def _complain(self, name: str, why: str) -> None:
        """Once for each reason, into the log of the process."""
        if self._complaints.get(name) != why:
            self._complaints[name] = why
            print(f"{name}: {why}", file=sys.stderr, flush=True)


def digest_of_token(authorization: str) -> bytes:
    """That of the token in a header; empty where there is none."""
    kind, _, token = authorization.partition(" ")
    if kind.lower() != "bearer" or not token:
        return b""
    return hashlib.sha256(token.strip().encode("utf-8", "surrogatepass")).digest()


def _token(told: Mapping[str, Any], authorization: Mapping[str, Any]) -> bytes:
    """The digest of a declared token. Raises Fatal."""
    folder = authorization["folder"]
    secrets = resolve(
        authorization["credentials"], base_dir=Path(folder) if folder else None, allow_exec=told["allow_exec"]
    )
    return hashlib.sha256(secrets["token"].reveal().encode()).digest()


def _signature(path: Path) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return ()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _unauthorized(message: str) -> Refused:
    return Refused(401, message, headers={"WWW-Authenticate": "Bearer"})
