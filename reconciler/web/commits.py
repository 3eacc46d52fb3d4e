"""The journal's group commit: what has come while the last group was being synced is written and synced together, and
answered together. A thread of its own does it, so that the loop goes on while the disk works.

Whoever waits for the controller is none of its business: it leaves a byte in a pipe that the controller may be reading.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sys
import threading
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from reconciler.clock import Clock
from reconciler.data.journal import LiveJournal, next_number
from reconciler.web.answers import unable
from reconciler.web.keys import Keys

#: A group is not made larger than this.
GROUP_BYTES: Final = 8 << 20

Note = tuple[bytes, bytes, dict[str, Any]]


@dataclass(slots=True)
class _Waiting:
    payload: bytes
    note: Note | None
    done: asyncio.Future[None]


class Commits:
    """The one writer of the live journal. Made in the loop's thread."""

    def __init__(self, folder: Path, floor: int, keys: Keys, clock: Clock, journal_s: float) -> None:
        self._folder = folder
        self._keys = keys
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._journal = LiveJournal(folder, next_number(folder, floor))
        self._journal_ms = int(journal_s * 1000)
        self._began_ms = clock.now().alive_ms
        self._thread = threading.Thread(target=self._work, name="commits", daemon=True)
        self.failure = ""  # of the last group; empty where it is on the disk
        self.groups = 0
        self.bytes = 0

    def start(self) -> None:
        self._thread.start()

    def commit(self, payload: bytes, note: Note | None) -> Awaitable[None]:
        """Done once the payload is on the disk. Raises Refused (503) where the disk refuses it."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._queue.put(_Waiting(payload, note, done))
        return done

    async def close(self) -> None:
        """After the last request was answered."""
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        self._keys.close()
        self._journal.close()

    def _work(self) -> None:
        while True:
            try:
                first = self._queue.get(timeout=self._journal_ms / 1000)
            except queue.Empty:
                self._write([])
                continue
            if first is None:
                return
            group, ended = self._group(first)
            error = self._write(group)
            self._loop.call_soon_threadsafe(_settle, group, error)
            wake(self._folder)
            if ended:
                return

    def _group(self, first: _Waiting) -> tuple[list[_Waiting], bool]:
        """Everything that waits, and whether it is the last of all."""
        group, size = [first], len(first.payload)
        with contextlib.suppress(queue.Empty):
            while size < GROUP_BYTES:
                one = self._queue.get_nowait()
                if one is None:
                    return group, True
                group.append(one)
                size += len(one.payload)
        return group, False

    def _write(self, group: list[_Waiting]) -> str:
        """Why the group is not on the disk; empty where it is."""
        try:
            now = self._clock.now()
            if group:
                self.bytes += self._journal.append(one.payload for one in group)
                self.groups += 1
                self._keys.note((one.note for one in group if one.note), now.wall_ms)
            if self._journal.is_full or (self._journal.size and now.alive_ms - self._began_ms >= self._journal_ms):
                self._keys.sync()
                self._journal.roll()
                self._began_ms = now.alive_ms
            self.failure = ""
        except OSError as error:
            self.failure = error.strerror or str(error)
            print(f"the journal cannot be written: {self.failure}", file=sys.stderr, flush=True)
        return self.failure


def _settle(group: list[_Waiting], error: str) -> None:
    for one in group:
        if one.done.done():
            continue  # the sender has gone away
        if error:
            one.done.set_exception(unable(f"The journal cannot be written: {error}."))
        else:
            one.done.set_result(None)


def wake(folder: Path) -> None:
    """Tells a controller, if one listens, that there is something to fold."""
    try:
        pipe = os.open(folder / "wake", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return  # nobody reads: the next controller looks by itself
    with contextlib.suppress(BlockingIOError, BrokenPipeError):
        os.write(pipe, b"w")
    os.close(pipe)
