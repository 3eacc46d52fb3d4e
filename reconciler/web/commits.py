"""The journal's group commit: what has come while the last group was being synced is written and synced together, and
answered together. A thread of its own does it, so that the loop goes on while the disk works.

Whoever waits for the controller is none of its business: it leaves a byte in a pipe that the controller may be reading. It
does so a few times a second at most: each byte is a turn of the controller's loop, and groups may come by the thousand.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from reconciler.clock import Clock
from reconciler.data.journal import LiveJournal, next_number
from reconciler.web.answers import Refused, unable
from reconciler.web.keys import Keys

#: A group is not made larger than this.
GROUP_BYTES: Final = 8 << 20
#: The controller, which folds once a second, is told of new groups at most so often, in milliseconds.
WAKES_MS: Final = 200
#: A journal in which the disk refused something is followed by the next one as soon as the disk lets it, tried so often.
RETRY_MS: Final = 5_000

Note = tuple[bytes, bytes, dict[str, Any]]
#: What is told, in the loop, of a payload that is on the disk; or why it is not.
Landed = Callable[[str], None]


@dataclass(slots=True)
class _Waiting:
    payload: bytes
    note: Note | None
    landed: Landed


class Commits:
    """The one writer of the live journal. Made in the loop's thread."""

    def __init__(self, folder: Path, floor: int, keys: Keys, clock: Clock, journal_s: float) -> None:
        self._folder = folder
        self._keys = keys
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._coming: list[_Waiting] = []  # in this turn of the loop
        self._queue: queue.SimpleQueue[list[_Waiting] | None] = queue.SimpleQueue()
        self._journal = LiveJournal(folder, next_number(folder, floor))
        self._journal_ms = int(journal_s * 1000)
        self._began_ms = clock.now().alive_ms
        self._woke_ms = self._began_ms - WAKES_MS
        self._close_by = 0  # a journal up to this number is closed as soon as it may be
        self._owes_word = False  # there are groups of which the controller has not been told
        self._thread = threading.Thread(target=self._work, name="commits", daemon=True)
        self.failure = ""  # of the last group, or of closing its journal; empty where neither failed
        self.groups = 0
        self.bytes = 0

    def start(self) -> None:
        self._thread.start()

    def commit(self, payload: bytes, note: Note | None) -> asyncio.Future[None]:
        """Done once the payload is on the disk. Raises Refused (503) where the disk refuses it."""
        done: asyncio.Future[None] = self._loop.create_future()
        self.put(payload, partial(_settle, done), note)
        return done

    def put(self, payload: bytes, landed: Landed, note: Note | None = None) -> None:
        """The same for one who is told, without a future."""
        if not self._coming:
            self._loop.call_soon(self._hand_over)
        self._coming.append(_Waiting(payload, note, landed))

    def close_by(self, number: int) -> None:
        """The journal is closed soon, if it holds anything and its number is not above this one."""
        if self._journal.size and self._journal.number <= number:
            self._close_by = number
            self._queue.put([])

    def _hand_over(self) -> None:
        """To the thread, once for all that has come in a turn of the loop: each time it is woken both stand in each other's
        way."""
        coming, self._coming = self._coming, []
        if coming:
            self._queue.put(coming)

    def _tell(self, group: list[_Waiting], error: str) -> None:
        """All who wait for a group, in the order in which they came; one who cannot be told keeps no other from it."""
        for one in group:
            try:
                one.landed(error)
            except Exception as problem:
                self._loop.call_exception_handler({"message": "an answer could not be given", "exception": problem})

    async def close(self) -> None:
        """After the last request was answered."""
        self._hand_over()
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        self._end_journal()
        self._keys.close()
        self._journal.close()

    def _work(self) -> None:
        while True:
            try:
                first = self._queue.get(timeout=self._patience_ms() / 1000)
            except queue.Empty:
                self._write([])
                self._give_word()
                continue
            group, ended = self._group(first) if first is not None else ([], True)
            error = self._write(group) if group or not ended else ""
            if group:
                self._loop.call_soon_threadsafe(self._tell, group, error)
                self._owes_word = True
            self._give_word(at_once=ended)
            if ended:
                return

    def _patience_ms(self) -> int:
        """How long nothing may come before there is something else to do."""
        if self._owes_word:
            return WAKES_MS
        return min(RETRY_MS, self._journal_ms) if self._journal.is_spoiled else self._journal_ms

    def _give_word(self, *, at_once: bool = False) -> None:
        """Tells the controller what it was not told yet, unless it has just been told of something."""
        now_ms = self._clock.now().alive_ms
        if self._owes_word and (at_once or now_ms - self._woke_ms >= WAKES_MS):
            wake(self._folder)
            self._owes_word, self._woke_ms = False, now_ms

    def _group(self, first: list[_Waiting]) -> tuple[list[_Waiting], bool]:
        """Everything that waits, and whether it is the last of all."""
        group, size = list(first), sum(len(one.payload) for one in first)
        with contextlib.suppress(queue.Empty):
            while size < GROUP_BYTES:
                more = self._queue.get_nowait()
                if more is None:
                    return group, True
                group += more
                size += sum(len(one.payload) for one in more)
        return group, False

    def _write(self, group: list[_Waiting]) -> str:
        """Why the group is not on the disk; empty where it is, whatever becomes of the journal afterwards."""
        error = self._attempt(lambda: self._append(group)) if group else ""
        self.failure = error or self._attempt(self._roll_in_time)
        return error

    def _attempt(self, work: Callable[[], None]) -> str:
        """Why it could not be done; empty where it was."""
        try:
            work()
        except OSError as error:
            why = error.strerror or str(error)
            print(f"the journal cannot be written: {why}", file=sys.stderr, flush=True)
            return why
        return ""

    def _append(self, group: list[_Waiting]) -> None:
        if self._journal.is_spoiled:
            self._roll()
        self.bytes += self._journal.append(one.payload for one in group)
        self.groups += 1
        self._keys.note((one.note for one in group if one.note), self._clock.now().wall_ms)

    def _roll_in_time(self) -> None:
        if self._is_over(self._clock.now().alive_ms):
            self._roll()

    def _roll(self) -> None:
        self._keys.sync()
        self._owes_word = self._owes_word or self._journal.number <= self._close_by
        self._journal.roll()
        self._began_ms = self._clock.now().alive_ms

    def _is_over(self, alive_ms: int) -> bool:
        journal = self._journal
        is_old = alive_ms - self._began_ms >= self._journal_ms or journal.number <= self._close_by
        return journal.is_spoiled or journal.is_full or (journal.size > 0 and is_old)

    def _end_journal(self) -> None:
        """An empty one follows what holds messages, so that the controller knows that nothing more will come; and what the
        disk refused does not stay there for the next process."""
        with contextlib.suppress(OSError):  # then the next process knows
            if self._journal.size or self._journal.is_spoiled:
                self._keys.sync()
                self._journal.roll()


def _settle(done: asyncio.Future[None], error: str) -> None:
    if done.done():
        return  # the sender has gone away
    if error:
        done.set_exception(unwritable(error))
    else:
        done.set_result(None)


def unwritable(error: str) -> Refused:
    """What is answered where a group is not on the disk."""
    return unable(f"The journal cannot be written: {error}.")


def wake(folder: Path) -> None:
    """Tells a controller, if one listens, that there is something to fold."""
    try:
        pipe = os.open(folder / "wake", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return  # nobody reads: the next controller looks by itself
    with contextlib.suppress(BlockingIOError, BrokenPipeError):
        os.write(pipe, b"w")
    os.close(pipe)
