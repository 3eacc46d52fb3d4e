"""The content of a file as a stream of bytes: decompressed, transcoded to UTF-8, and known by what it holds.

Nothing here reads more than it is asked for, so a file that unpacks to a thousand times its size costs no more memory
than any other. A file that changes, shrinks or vanishes under its reader is an error that trying again will mend: no
mixture of two versions ever lands. One that is appended to while it is read lands up to its last whole record.
"""

from __future__ import annotations

import codecs
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import pyarrow as pa

from reconciler.core.provider import Json
from reconciler.errors import Fatal, Retriable

#: The encodings that a file may have, by the names that Python gives them.
ENCODINGS: Final = (
    "utf-8", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "iso-8859-2", "iso-8859-15",
    "cp1250", "cp1251", "cp1252", "shift_jis", "euc-kr", "gb18030", "big5",
)  # fmt: skip
COMPRESSIONS: Final = ("auto", "none", "gzip", "zstd")

#: A file whose time is nearer than this to the moment it was read may change again without showing it in its time:
#: the coarsest file systems count in steps of two seconds (git's rule for racy entries).
RACY_MS: Final = 2_000

_MAGIC: Final = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"))
_BOM: Final = b"\xef\xbb\xbf"
_CHUNK: Final = 1 << 20

Look = list[int]


def _invalid(error: UnicodeError) -> tuple[str, int]:
    """What cannot be decoded becomes a lone surrogate, which is not UTF-8 either: the row it stands in is rejected
    later, where its line is known."""
    assert isinstance(error, UnicodeDecodeError)
    return "\udc80", error.end


codecs.register_error("reconciler-invalid", _invalid)


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The file opened for reading. Raises Retriable where it is gone, Fatal where it cannot be read or is no file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise Retriable("the file vanished before it could be read") from None
    except OSError as error:
        raise Fatal(f"the file cannot be read: {error.strerror}") from None
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Fatal("not a regular file")
        yield file


def look(path: Path) -> Look:
    """What one stat knows of a file: size, times and inode. Raises as `opened` does."""
    try:
        return _look(os.stat(path))
    except FileNotFoundError:
        raise Retriable("the file vanished before it could be read") from None
    except OSError as error:
        raise Fatal(f"the file cannot be read: {error.strerror}") from None


def is_untouched(path: Path, mark: Json) -> bool:
    """Whether one stat shows that the file is as the mark of an earlier reading knows it. Raises as `opened` does."""
    if mark is None:
        return False
    if not isinstance(mark, dict):
        raise not_a_mark()
    return mark.get("seen") is not None and mark["seen"] == look(path)


def not_a_mark() -> Fatal:
    """What is said of a mark that no reading of such a file has left."""
    return Fatal("what the cursor says of it is no mark of such a file; change `restart` to begin anew")


def trusted(seen: Look, now_ms: int) -> Look | None:
    """The look, or None where the file is so young that it may change again unseen."""
    return seen if max(seen[1], seen[2]) // 1_000_000 < now_ms - RACY_MS else None


def hold_still(path: Path, file: IO[bytes], before: Look) -> None:
    """Raises Retriable where the file is not what it was when it was opened."""
    try:
        same = _look(os.stat(path)) == before == _look(os.fstat(file.fileno()))
    except OSError:
        raise Retriable("the file vanished while it was being read; it is read again later") from None
    if not same:
        raise Retriable("the file changed while it was being read; it is read again later")


def has_grown(path: Path, before: Look) -> bool:
    """Whether one stat shows nothing but more bytes in the same file."""
    try:
        now = _look(os.stat(path))
    except OSError:
        return False
    return now[3] == before[3] and now[0] > before[0]


def _look(found: os.stat_result) -> Look:
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


class Damaged(Fatal):
    """What is packed is damaged, or cut off before its end."""


class Source(ABC):
    """Content, front to back, whatever it is made from."""

    is_packed: bool

    def __init__(self, ready: bytes = b"") -> None:
        self._ready = ready
        self._ended = False

    def read(self, size: int) -> bytes:
        """The next `size` bytes; fewer only at the end. Raises Fatal where what it is made from is damaged or cut off."""
        self._fill(size)
        data, self._ready = self._ready[:size], self._ready[size:]
        return data

    def at_end(self) -> bool:
        """Whether nothing is left."""
        self._fill(1)
        return not self._ready

    def _fill(self, size: int) -> None:
        parts = [self._ready]
        missing = size - len(self._ready)
        while missing > 0 and not self._ended:
            part = self._more(missing)
            parts.append(part)
            missing -= len(part)
        if len(parts) > 1:
            self._ready = b"".join(parts)

    @abstractmethod
    def _more(self, wanted: int) -> bytes:
        """What follows, of about the size that is wanted. Sets `_ended` with the last of it."""


class Content(Source):
    """A file's content, front to back. `compression: auto` goes by the file's first bytes, not by its name. What is
    appended once its end was reached is not seen."""

    def __init__(self, file: IO[bytes], *, compression: str, encoding: str) -> None:
        super().__init__()
        self._source = _decompressed(file, compression)
        self.is_packed = self._source is not file
        plain = encoding == "utf-8"
        self._decoder = None if plain else codecs.getincrementaldecoder(encoding)("reconciler-invalid")
        self._fill(len(_BOM))
        self._ready = self._ready.removeprefix(_BOM)

    def _more(self, wanted: int) -> bytes:
        try:
            data = self._source.read(wanted if self._decoder is None else min(wanted, _CHUNK))
        except OSError as error:
            raise Damaged(f"the file cannot be read to its end: {error}") from None
        self._ended = not data
        if self._decoder is None:
            return data
        return self._decoder.decode(data, final=self._ended).encode("utf-8", "surrogatepass")


def _decompressed(file: IO[bytes], compression: str) -> IO[bytes]:
    kind = compression
    if compression == "auto":
        start = os.pread(file.fileno(), 4, 0)
        kind = next((name for magic, name in _MAGIC if start.startswith(magic)), "none")
    if kind == "none":
        return file
    stream: IO[bytes] = pa.CompressedInputStream(pa.PythonFile(file, mode="r"), kind)
    return stream
