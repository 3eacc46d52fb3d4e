"""What a run prints, as lines for the log: redacted, and bounded, because a run may print without end.

Nothing passes before the run's secrets are known (`redact_with`): until then what came is held back, since it may hold
one that a command printed while it was fetched. A line is redacted before it is cut; one that is too long even for that
loses as much of its end as could be the half of a secret.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from reconciler.core.redact import Redactor
from reconciler.runner.wire import MAX_LINE

#: What one attempt may print, in lines and in characters; what is beyond is counted as cut by one marker line.
MAX_LINES: Final = 10_000
MAX_CHARACTERS: Final = 2**20
#: A longer line is cut here before it is redacted; the rest of it is dropped.
LONGEST_LINE_BYTES: Final = 2**16

LINE_CUT: Final = " … (the rest of the line is cut)"
OUTPUT_CUT: Final = f"… (output beyond {MAX_LINES} lines or {MAX_CHARACTERS} characters is cut)"
OUTPUT_DROPPED: Final = "… (what was printed before the secrets could be resolved is dropped)"


class Capture:
    """Takes bytes as they come and sends whole lines. `send` is given one redacted line at a time."""

    def __init__(self, send: Callable[[str], None]) -> None:
        self._send = send
        self._redactor: Redactor | None = None
        self._held = bytearray()
        self._line = bytearray()
        self._skipping = False
        self._lines = 0
        self._characters = 0
        self._cut = False
        self._lock = threading.RLock()

    def redact_with(self, redactor: Redactor) -> None:
        """From here on lines pass; those held back come first."""
        with self._lock:
            self._redactor = redactor
            held, self._held = bytes(self._held), bytearray()
            self.feed(held if len(held) < MAX_CHARACTERS else held[: held.rfind(b"\n") + 1])

    def feed(self, data: bytes) -> None:
        with self._lock:
            if self._redactor is None:
                self._held += data[: MAX_CHARACTERS - len(self._held)]
                return
            *whole, rest = data.split(b"\n")
            for part in whole:
                self._extend(part)
                self._end_line()
            self._extend(rest)

    def line(self, text: str) -> None:
        """One line or several that the run itself has to say."""
        with self._lock:
            if self._redactor is None:
                return
            for one in text.splitlines() or [""]:
                self._emit(one[:LONGEST_LINE_BYTES], cut=len(one) > LONGEST_LINE_BYTES)

    def close(self, *, whole: bool = True) -> None:
        """Sends a last line that has no end. What is still held back is dropped: its secrets were never known. Where not
        `whole`, more was printed than has come, and the last line may be half a secret."""
        with self._lock:
            if self._held:
                self._held.clear()
                self._send(OUTPUT_DROPPED)
            if self._line:
                self._skipping = self._skipping or not whole
                self._end_line()

    def _extend(self, part: bytes) -> None:
        room = LONGEST_LINE_BYTES - len(self._line)
        self._line += part[:room]
        self._skipping = self._skipping or len(part) > room

    def _end_line(self) -> None:
        text = self._line.decode("utf-8", "replace").removesuffix("\r")
        cut, self._skipping = self._skipping, False
        self._line.clear()
        self._emit(text, cut=cut)

    def _emit(self, text: str, *, cut: bool) -> None:
        if self._cut or self._redactor is None:
            return
        text = self._redactor.redact_beginning(text) if cut else self._redactor.redact(text)
        room = MAX_LINE - len(LINE_CUT)
        if cut or len(text) > MAX_LINE:
            text = text[:room] + LINE_CUT
        self._lines += 1
        self._characters += len(text)
        self._cut = self._lines > MAX_LINES or self._characters > MAX_CHARACTERS
        self._send(OUTPUT_CUT if self._cut else text)
