"""`audit.log` in the state directory: the entries of the audit log as lines of JSON, appended and fsynced after the record
has them. For whoever collects logs, and as the second copy against which the record's own is checked.

What a crash keeps from it is made up from the record; what it holds that the record does not say is left as it is, and
named: one of the two has been changed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

from reconciler.core.audit import Broken, Head
from reconciler.core.value import dataclass

NAME: Final = "audit.log"
#: Entries that are written at a time.
AT_ONCE: Final = 10_000
#: No line is longer: its texts are names, places and a reason of limited length.
MAX_LINE: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Followed:
    """`head` is where the mirror ends now, None where that is not known. `retry`: it can be tried again later."""

    head: Head | None
    warning: str = ""
    retry: bool = False


class Lines(Protocol):
    """The record's own entries as lines."""

    def lines(self, after: int = 0) -> Iterator[bytes]: ...

    def line(self, seq: int) -> bytes: ...


class Mirror:
    """The file, for the one writer and for readers."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME

    def follow(self, mirrored: Head, head: Head, log: Lines) -> Followed:
        """Appends what the record has and the mirror has not. `mirrored` is where the mirror is known to have ended, `head`
        where the record ends."""
        if not head.count:
            return Followed(head)
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            return Followed(None, f"{self._path} could not be written: {error.strerror}.", retry=True)
        try:
            size, last = _last_line(handle)
            ended = _end_of(last, log)
            if ended is None:
                said = "does not end as the record says it did; nothing is added to it"
                return Followed(None, f"{self._path} {said}. `reconcile audit verify` names the first difference.")
            if ended == head.count and size == os.fstat(handle).st_size:
                return Followed(head)
            os.ftruncate(handle, size)
            _append(handle, log.lines(ended))
            os.fsync(handle)
        except OSError as error:
            return Followed(None, f"{self._path} could not be written: {error.strerror}.", retry=True)
        finally:
            os.close(handle)
        lost = mirrored.count - ended
        warning = (
            f"{self._path} had lost its last {lost:,} entries; they were added again from the record."
            if lost > 0
            else ""
        )
        return Followed(head, warning)

    def reading(self) -> Reading:
        """What it holds from its beginning to where it ends now."""
        try:
            return Reading(self._path, self._path.stat().st_size)
        except OSError:
            return Reading(self._path, 0)


@dataclass(frozen=True, slots=True)
class Reading:
    """The first `size` bytes of the mirror."""

    path: Path
    size: int

    def compare(self, expected: Iterable[bytes], mirrored: Head, head: Head) -> Broken | None:
        """The first line that is not `expected`, among those that are known to have been written (`mirrored`) or are there.
        `head` is where the record ends."""
        lines = self._lines()
        for seq, wanted in enumerate(expected, start=1):
            line = next(lines, b"")
            if line == wanted:
                continue
            if not line.endswith(b"\n") and seq > mirrored.count and next(lines, None) is None:
                return None  # as far as it has come
            if not line:
                return Broken(seq, f"{self.path} ends at entry {seq - 1}, but had {mirrored.count}")
            return Broken(seq, f"{self.path}:{seq}: entry {seq} is not what the record holds")
        if next(lines, None) is None:
            return None
        return Broken(
            head.count + 1,
            f"{self.path}:{head.count + 1}: there is an entry that the record does not have: its last entries were cut off, "
            "or it was restored from an older copy",
        )

    def _lines(self) -> Iterator[bytes]:
        """Lines with their ends; the last one may have none."""
        left = self.size
        with suppress(OSError), open(self.path, "rb") as file:
            while left > 0 and (line := file.readline(min(left, MAX_LINE))):
                left -= len(line)
                yield line


def first_of(folder: Path) -> str:
    """What the first line says that it follows: it tells whose log this is. Empty where there is none."""
    try:
        with open(folder / NAME, "rb") as file:
            found = json.loads(file.readline(MAX_LINE))["prev"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ""
    return found if isinstance(found, str) else ""


def _last_line(handle: int) -> tuple[int, bytes]:
    """Where the last whole line ends, and that line; 0 and nothing where there is none."""
    size = os.fstat(handle).st_size
    start = max(0, size - 2 * MAX_LINE)
    content = os.pread(handle, size - start, start)
    end = content.rfind(b"\n") + 1
    return start + end if end else 0, content[content.rfind(b"\n", 0, max(end - 1, 0)) + 1 : end]


def _end_of(line: bytes, log: Lines) -> int | None:
    """The number of the entry that a last line is; None where it is none of the record's."""
    if not line:
        return 0
    try:
        seq = json.loads(line)["seq"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return seq if type(seq) is int and 0 < seq < 1 << 62 and log.line(seq) == line else None


def _append(handle: int, lines: Iterator[bytes]) -> None:
    while some := list(islice(lines, AT_ONCE)):
        rest = memoryview(b"".join(some))
        while rest:
            rest = rest[os.write(handle, rest) :]
