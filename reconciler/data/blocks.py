"""A text file read in blocks of whole records, each with a mark from which a later reading goes on.

A mark holds how far reading came (`at`, in bytes of the decompressed UTF-8 content), the SHA-256 of the content up to
there, how the last record ended, and, once the end was reached, what one stat knew of the file. A later reading with
that mark
- does nothing where the stat is the same (`content.is_untouched`, asked before anything is opened);
- reads the content up to the mark again and goes on behind it where the digest is the same: a file that only grew, or
  a run that was cut off;
- reads the whole file anew otherwise, and says so in the first block's note. This includes a last record that had no
  end when it was read and has gone on since.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import IO, Any, Final, Literal, Protocol

import numpy as np
import pyarrow as pa

from reconciler.core.provider import Block, Locate, Reject
from reconciler.core.value import dataclass
from reconciler.data.content import Content, Look, Source, has_grown, hold_still, look, not_a_mark, opened, trusted
from reconciler.errors import Fatal, Retriable

#: About this much content is read, parsed and committed at a time: a run then needs some 200 MiB beyond its libraries,
#: and twice as much would make it no faster.
BLOCK_BYTES: Final = 8 << 20

#: A record longer than this is an error: most likely a quote was left open.
RECORD_BYTES: Final = 32 << 20

#: Newlines in less than this are counted as quickly without numpy.
_FEW_BYTES: Final = 1 << 12

CHANGED: Final = "it has changed, so all of it lands again"
GREW: Final = "it has grown, and goes on from line {line}"

Tail = Literal["", "open", "quote"]  # how the last record ended: whole; without a newline; inside an open quote


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a block's bytes mean: the good rows, the bad ones, and where a good row stood (`Block.locate`)."""

    table: pa.Table
    rejects: tuple[Reject, ...]
    locate: Locate


class Format(Protocol):
    """How records are found in bytes, and what they mean. An instance reads one file once. `returns` says whether a CR
    alone ends a line, as a CR LF and an LF do."""

    returns: bool

    def begin(self, data: bytes, final: bool) -> int | None:
        """The length of what stands before the first record (a header); None where `data` is not enough to tell."""
        ...

    def boundary(self, data: bytes, final: bool) -> int:
        """How many bytes of `data`, which starts at a record, are whole records. Everything where `final`."""
        ...

    def parse(self, data: bytes, line: int) -> Parsed:
        """What whole records' bytes mean; `line` is the number of the first line."""
        ...

    def tail(self, data: bytes) -> Tail:
        """How the last record of the file's last bytes ended."""
        ...


@dataclass(frozen=True, slots=True)
class Mark:
    """Where reading goes on; JSON-able by `to_json`."""

    at: int
    line: int
    digest: str
    tail: Tail = ""
    end: bool = False
    seen: Look | None = None

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value or name in ("at", "line")}

    @classmethod
    def of(cls, value: dict[str, Any] | None) -> Mark | None:
        """Raises Fatal for what no reading has left."""
        if value is None:
            return None
        try:
            mark = cls(**value)
        except TypeError:
            raise not_a_mark() from None
        if not (_is_whole(mark.at) and _is_whole(mark.line) and isinstance(mark.digest, str)):
            raise not_a_mark()
        return mark


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


class _Reading:
    """A front-to-back pass over a content: what is taken is hashed and its lines are counted."""

    def __init__(self, content: Source, block_bytes: int, *, returns: bool = True) -> None:
        self._content = content
        self._returns = returns
        self._block_bytes = block_bytes
        self._hash = hashlib.sha256()
        self._last = b""
        self.buffer = b""
        self.ended = False
        self.at = 0
        self.line = 1

    def fill(self, size: int) -> None:
        """Has at least `size` bytes in the buffer, or all that is left."""
        if not self.ended and len(self.buffer) < size:
            more = self._content.read(size - len(self.buffer))
            self.ended = self._content.at_end()
            self.buffer = self.buffer + more if self.buffer else more

    def take(self, size: int) -> bytes:
        """The first `size` bytes of the buffer, which leave it."""
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        self._hash.update(data)
        self.at += len(data)
        if self._returns:
            self.line += newlines(data) - (self._last == b"\r" and data[:1] == b"\n")
        else:
            self.line += _count(data, b"\n")
        self._last = data[-1:] or self._last
        return data

    def skip_to(self, at: int) -> bool:
        """Takes everything before `at`; False where the content ends sooner."""
        while self.at < at:
            self.fill(min(self._block_bytes, at - self.at))
            if not self.take(min(len(self.buffer), at - self.at)):
                return False
        return True

    def end_line(self) -> None:
        """Takes the LF of a CR LF of which the CR was all there was when the file was read before."""
        if self._last == b"\r" and not self.exhausted() and self.buffer[:1] == b"\n":
            self.take(1)

    def exhausted(self) -> bool:
        """Whether nothing is left."""
        self.fill(1)
        return not self.buffer

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()[:32]

    def mark(self, tail: Tail, end: bool, seen: Look | None) -> Mark:
        return Mark(self.at, self.line, self.digest, tail, end, seen)


def newlines(data: bytes) -> int:
    """How many lines end in `data`: LF, CR LF and CR alone each end one."""
    returns = _count(data, b"\r") if b"\r" in data else 0
    return _count(data, b"\n") + (returns - data.count(b"\r\n") if returns else 0)


def _count(data: bytes, byte: bytes) -> int:
    """The same as `data.count`, which stops at each of the many that a block has, and keeps other threads waiting."""
    if len(data) < _FEW_BYTES:
        return data.count(byte)
    return int(np.count_nonzero(np.frombuffer(data, dtype=np.uint8) == byte[0]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Reads files of one format. `now_ms` is asked once for each file; `block_bytes` bounds the memory."""

    block_bytes: int
    compression: str
    encoding: str
    now_ms: int

    def blocks(self, path: Path, earlier: dict[str, Any] | None, make: Callable[[], Format]) -> Iterator[Block]:
        """The file's blocks behind the mark `earlier`. `make` makes a fresh Format. A block without rows or rejects
        only carries a mark that saves work next time. Raises Retriable and Fatal, without the file's name."""
        mark = Mark.of(earlier)
        went_on = yield from self._pass(path, mark, make(), "")
        if not went_on:
            yield from self._pass(path, None, make(), CHANGED)

    def _pass(self, path: Path, mark: Mark | None, form: Format, note: str) -> Generator[Block, None, bool]:
        """One reading, from the start or behind the mark; False where the content is not what the mark knows."""
        with opened(path) as file:
            before = look(path)
            content = self._content(file)
            reading = _Reading(content, self.block_bytes, returns=form.returns)
            settled = partial(self._settled, path, file, before, content, reading)
            header = self._header(reading, form)
            if mark is not None and not _goes_on(reading, mark):
                hold_still(path, file, before)
                return False
            reading.take(max(0, header - reading.at))
            reading.end_line()
            if mark is not None and mark.end and not reading.exhausted():
                note = GREW.format(line=reading.line)
            for block, tail in self._records(reading, form, "" if mark is None else mark.tail, settled):
                ended = tail is not None
                at = reading.mark(tail or "", ended, trusted(before, self.now_ms) if ended else None)
                holds = bool(block.table.num_rows or block.rejects)
                if holds or (ended and at != mark):
                    yield replace(block, mark=at.to_json(), note=note if holds or note == CHANGED else "")
                    note = ""
            return True

    def _content(self, file: IO[bytes]) -> Source:
        return Content(file, compression=self.compression, encoding=self.encoding)

    def _settled(self, path: Path, file: IO[bytes], before: Look, content: Source, reading: _Reading) -> bool:
        """Whether the file is at its end what it was when it was opened; False where it has only grown since. Raises
        Retriable where it has changed in any other way."""
        try:
            hold_still(path, file, before)
        except Retriable:
            if content.is_packed or not has_grown(path, before):
                raise
            with opened(path) as again:
                fresh = _Reading(self._content(again), self.block_bytes)
                same = fresh.skip_to(reading.at) and fresh.digest == reading.digest
                fresh.fill(len(reading.buffer))
                if not same or not fresh.buffer.startswith(reading.buffer):
                    raise
            return False
        return True

    def _header(self, reading: _Reading, form: Format) -> int:
        size = self.block_bytes
        while True:
            reading.fill(size)
            length = form.begin(reading.buffer, reading.ended)
            if length is not None:
                return length
            if size >= RECORD_BYTES:
                raise Fatal(f"line 1: the header is longer than {RECORD_BYTES >> 20} MiB")
            size *= 2

    def _records(
        self, reading: _Reading, form: Format, tail: Tail, settled: Callable[[], bool]
    ) -> Iterator[tuple[Block, Tail | None]]:
        """Blocks of whole records, the last one with how its last record ended. Of a file that grows meanwhile what
        follows the last whole record is left for another time, and no end is told."""
        last = grows = False
        while not last:
            size = self._whole_records(reading, form)
            last = reading.ended and size == len(reading.buffer)
            if last and not settled():
                size, grows = form.boundary(reading.buffer, False), True
            line = reading.line
            data = reading.take(size)
            if data:
                tail = form.tail(data) if last else ""
            found = form.parse(data, line)
            del data
            block = Block(found.table, found.rejects, None, locate=found.locate)
            yield block, tail if last and not grows else None

    def _whole_records(self, reading: _Reading, form: Format) -> int:
        size = self.block_bytes
        while True:
            reading.fill(size)
            found = form.boundary(reading.buffer, reading.ended)
            if found or not reading.buffer:
                return found
            if size >= RECORD_BYTES:
                limit = f"{RECORD_BYTES >> 20} MiB"
                raise Fatal(f"line {reading.line}: a record is longer than {limit}; is a quote left open?")
            size *= 2


def _goes_on(reading: _Reading, mark: Mark) -> bool:
    """Whether the content up to the mark is what it was, and its last record has not gone on since."""
    if not reading.skip_to(mark.at) or reading.digest != mark.digest:
        return False
    if not mark.tail:
        return True
    return reading.exhausted() or (mark.tail == "open" and reading.buffer[:1] in (b"\r", b"\n"))
