"""The intake's journals: what was accepted over HTTP, on the disk before it is acknowledged, until it is on its stream.

    live-<n>.journal    requests of live messages, one frame each; appended to, rolled by size
    bulk-<n>.body       one bulk body, byte for byte as it came, and
    bulk-<n>.json       what it is: the body counts once this file is there
    keys-<hour>.log     which idempotency keys were answered how (`reconciler.web.keys`)
    number              the last number that a journal was given

Numbers are shared by both kinds, and never given twice. A frame is the length and the CRC-32 of its payload, then the
payload; that of a request is a line of JSON (`Entry`) and the messages, a line of JSON each. Whoever writes never goes on
in a file of an earlier life: it cuts off what a crash left half written, and begins a new one. So only the newest live
journal can end in the middle of a frame, and a bad frame anywhere else is damage.

Whoever reads syncs a journal first, and reads no further than it went then: nothing reaches a stream that a power failure
could still take from the journal, or the disk refuse.
This module knows files alone, so that the process that accepts messages loads neither DuckDB nor PyArrow.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import struct
import threading
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, field
from pathlib import Path
from typing import Any, Final, Literal

from reconciler.core.value import dataclass
from reconciler.data.durable import fsync, private
from reconciler.errors import Fatal

#: The folder of the journals in the state directory.
INTAKE: Final = "intake"
#: The file there that grows by a byte whenever word comes of a push to a repository.
PUSHES: Final = "pushes"
#: A live journal is closed at this size, and removed once all of it is on its streams.
ROLL_BYTES: Final = 16 << 20
#: A frame longer than this is damage: no request that is accepted is so large.
FRAME_BYTES: Final = 64 << 20

Format = Literal["csv", "json"]

_NUMBERING: Final = threading.Lock()
_HEAD: Final = struct.Struct("<II")
#: An entry as `payload` writes it, which is read so in a third of the time.
_WRITTEN: Final = re.compile(
    rb'\{"stream": "([a-z0-9_.-]{1,63})", "received_ms": (\d{1,15}), "messages": (\d{1,9}), '
    rb'"key": "([0-9a-f]*)", "digest": "([0-9a-f]*)"\}\n'
)
_LIVE: Final = re.compile(r"live-(\d{1,18})\.journal")
_BULK: Final = re.compile(r"bulk-(\d{1,18})\.json")
_CLOSE: Final = "close"
_BODY: Final = re.compile(r"bulk-(\d{1,18})\.(?:body|json\.tmp)")


# --- frames ---------------------------------------------------------------------------------------------------------


def frame(payload: bytes) -> bytes:
    """The bytes of a frame."""
    return _HEAD.pack(len(payload), zlib.crc32(payload)) + payload


def frames(path: Path, offset: int = 0, size: int | None = None) -> Iterator[tuple[int, bytes]]:
    """The whole frames from `offset` on, of the first `size` bytes or all: where each ends, and its payload. Ends before the
    first that is not whole."""
    with path.open("rb") as file:
        file.seek(offset)
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            length, checksum = _HEAD.unpack(head)
            if not 0 < length <= FRAME_BYTES:
                return
            payload = file.read(length)
            if len(payload) < length or zlib.crc32(payload) != checksum:
                return
            offset += _HEAD.size + length
            if size is not None and offset > size:
                return
            yield offset, payload


def mend(path: Path) -> int:
    """Cuts off what follows the last whole frame; the size that is left, which is on the disk."""
    end = max((end for end, _ in frames(path)), default=0)
    if path.stat().st_size != end:
        os.truncate(path, end)
    fsync(path)
    return end


# --- live journals --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """One accepted request: `messages` of them for one stream, received together. `key` names its idempotency key and
    `digest` the body that came with it, both in hexadecimal digits; empty where it had none."""

    stream: str
    received_ms: int
    messages: int
    key: str = ""
    digest: str = ""

    def payload(self, lines: bytes) -> bytes:
        """With the messages: each a line of JSON, ending in a newline."""
        return payload(self.stream, self.received_ms, self.messages, lines, self.key, self.digest)


def payload(stream: str, received_ms: int, messages: int, lines: bytes, key: str = "", digest: str = "") -> bytes:
    """That of an entry. Names of streams and hexadecimal digits need no escape."""
    head = (
        f'{{"stream": "{stream}", "received_ms": {received_ms}, "messages": {messages}, '
        f'"key": "{key}", "digest": "{digest}"}}\n'
    )
    return head.encode() + lines


def entry_of(payload: bytes) -> tuple[Entry, bytes]:
    """The request and its messages. Raises ValueError or TypeError where the payload is not one."""
    usual = _WRITTEN.match(payload)
    if usual is not None:
        stream, received_ms, messages, key, digest = usual.groups()
        entry = Entry(stream.decode(), int(received_ms), int(messages), key.decode(), digest.decode())
        return entry, payload[usual.end() :]
    head, _, lines = payload.partition(b"\n")
    return Entry(**json.loads(head)), lines


class LiveJournal:
    """The one writer of the live journals of a folder. Every call returns with the disk holding what it says.

    A journal that `is_spoiled` is never gone on with, only followed by the next one: whoever reads may have been where the
    next group would stand, or may have seen another journal behind it, and then takes it for closed and removes it."""

    def __init__(self, folder: Path, number: int, *, roll_bytes: int = ROLL_BYTES) -> None:
        self._folder = folder
        self._roll_bytes = roll_bytes
        self._fd = -1
        self.number = number
        self.size = 0
        self.is_spoiled = False
        self._begin(number)

    def append(self, payloads: Iterable[bytes]) -> int:
        """Writes a group of frames and syncs them together, in the next journal where this one `is_spoiled`; the bytes.

        Raises OSError: then none of them is there, but for one case. A disk that failed to sync and then refuses to cut off
        what it failed on may still hold it. That is tried again before anything else is written; whoever reads meanwhile, or
        after this process has died, finds frames that are as whole as any, and takes them for accepted."""
        if self.is_spoiled:
            self.roll()
        data = b"".join(map(frame, payloads))
        try:
            _write(self._fd, data)
            os.fdatasync(self._fd)
        except OSError:
            self.is_spoiled = True
            with contextlib.suppress(OSError):  # it is tried again before the next journal is begun
                self._take_back()
            raise
        self.size += len(data)
        return len(data)

    @property
    def is_full(self) -> bool:
        """Whether the next journal is due."""
        return self.size >= self._roll_bytes

    def roll(self) -> None:
        """Closes this journal and begins the next. Raises OSError: then this one is still open, and `is_spoiled` where the
        next one was seen."""
        if self.is_spoiled:
            self._take_back()  # what the disk would not let go must not stand before what is accepted later
        before = self._fd
        self._begin(next_number(self._folder))
        os.close(before)

    def close(self) -> None:
        os.close(self._fd)

    def _begin(self, number: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        path = live_path(self._folder, number)
        fd = os.open(path, flags, 0o600)
        try:
            fsync(self._folder)
        except OSError:
            self.is_spoiled = True  # also if the next one goes: it may have been seen, and may come back
            os.close(fd)
            with contextlib.suppress(OSError):  # an empty journal does no harm
                path.unlink()
            raise
        self._fd, self.number, self.size, self.is_spoiled = fd, number, 0, False

    def _take_back(self) -> None:
        os.ftruncate(self._fd, self.size)
        os.fsync(self._fd)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


# --- bulk bodies ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Bulk:
    """One bulk body. `gzip` says how it came. `headers` are the columns of a CSV body that has no row of names. `append`
    are constant columns, as JSON text by name. `droperrors` leaves bad rows out. `messages` and `omitted` are what was
    found when it was accepted; `answer` is what its sender was told."""

    stream: str
    format: Format
    received_ms: int
    gzip: bool = False
    timestamp_field: str = ""
    timestamp_format: str = "iso8601"
    headers: Sequence[str] | None = None
    delimiter: str = ","
    append: dict[str, str] = field(default_factory=dict)
    droperrors: bool = False
    filename: str = ""
    size: int = 0
    messages: int = 0
    omitted: int = 0
    key: str = ""
    digest: str = ""
    answer: dict[str, Any] = field(default_factory=dict)


def publish(folder: Path, number: int, bulk: Bulk) -> None:
    """From here on the body, which must be on the disk, is accepted. Raises OSError: then it is not, and nobody finds it."""
    path = bulk_path(folder, number)
    try:
        _place(path, json.dumps(asdict(bulk)))
    except OSError:
        path.unlink(missing_ok=True)  # it was there already where the folder could not be synced
        raise


def _place(path: Path, text: str) -> None:
    """A small file, whole and on the disk."""
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "w", encoding="utf-8", opener=private) as file:
        file.write(text)
    fsync(temporary)
    os.replace(temporary, path)
    fsync(path.parent)


def bulk_of(path: Path) -> Bulk:
    """What a body is. Raises Fatal where its file is damaged."""
    try:
        return Bulk(**json.loads(path.read_bytes()))
    except (ValueError, TypeError) as error:
        raise Fatal(f"{path.name} is damaged: {error}") from None


# --- what there is --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Journal:
    """A journal as one look found it. `size` is that of the live journal or of the bulk body; the newest live journal
    is `open`: more may come."""

    number: int
    path: Path
    size: int
    open: bool = False


@dataclass(frozen=True, slots=True)
class Listing:
    """The journals of a folder by number; a body that does not count yet is none."""

    live: tuple[Journal, ...] = ()
    bulk: tuple[Journal, ...] = ()

    def without(self, numbers: Collection[int]) -> Listing:
        """The same, but for some journals."""
        return Listing(
            live=tuple(one for one in self.live if one.number not in numbers),
            bulk=tuple(one for one in self.bulk if one.number not in numbers),
        )

    @property
    def last(self) -> int:
        return max((one.number for one in (*self.live, *self.bulk)), default=0)

    @property
    def size(self) -> int:
        return sum(one.size for one in (*self.live, *self.bulk))


def listing(folder: Path) -> Listing:
    """What there is; nothing where there is no such folder."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return Listing()
    live = _sorted(folder, names, _LIVE)
    bulk = _sorted(folder, names, _BULK)
    newest = live[-1][0] if live else 0
    return Listing(
        live=tuple(Journal(number, path, _size(path), open=number == newest) for number, path in live),
        bulk=tuple(Journal(number, path, _size(body_path(folder, number))) for number, path in bulk),
    )


def live_path(folder: Path, number: int) -> Path:
    return folder / f"live-{number}.journal"


def bulk_path(folder: Path, number: int) -> Path:
    return folder / f"bulk-{number}.json"


def body_path(folder: Path, number: int) -> Path:
    return folder / f"bulk-{number}.body"


def ask_to_close(folder: Path, number: int) -> None:
    """Asks whoever writes live journals to close those up to a number soon, full or not."""
    _place(folder / _CLOSE, f"{number}\n")


def asked_to_close(folder: Path) -> int:
    """The number up to which that was asked; 0 where it never was."""
    return _noted(folder / _CLOSE)


def _noted(path: Path) -> int:
    try:
        return int(path.read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return 0


def next_number(folder: Path, floor: int = 0) -> int:
    """A number that no journal had; on the disk before it is used. `floor` is the last one that the record knows of. For
    the one process that writes, from any of its threads."""
    with _NUMBERING:
        return _next_number(folder, floor)


def _next_number(folder: Path, floor: int) -> int:
    path = folder / "number"
    number = max(_noted(path), floor, listing(folder).last) + 1
    _place(path, f"{number}\n")
    return number


def remove(folder: Path, numbers: Iterable[int]) -> None:
    """Removes journals whose messages are all on their streams; gone for good when it returns."""
    for number in numbers:
        for path in (live_path(folder, number), bulk_path(folder, number), body_path(folder, number)):
            path.unlink(missing_ok=True)
    fsync(folder)


def sweep(folder: Path) -> None:
    """Removes bodies that were never accepted. Only for the writer, at its start."""
    for name in os.listdir(folder):
        found = _BODY.fullmatch(name)
        if found and not bulk_path(folder, int(found[1])).exists():
            (folder / name).unlink(missing_ok=True)


def _sorted(folder: Path, names: Iterable[str], pattern: re.Pattern[str]) -> list[tuple[int, Path]]:
    return sorted((int(found[1]), folder / name) for name in names if (found := pattern.fullmatch(name)))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
