"""What we write beside a spec (design, section 4): a status, whole and only when it says something else, and a log
that grows.

Nothing is ever written through a link: every folder on the way is opened without following one, and files are made,
renamed and removed relative to it. Nothing is fsynced: it is a report, made again from the record when it is lost. What
cannot be written (a full or read-only disk, a folder that has gone) is a warning for the caller to show, never a crash.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from reconciler.core.document import Kind
from reconciler.repo.emit import to_yaml
from reconciler.repo.names import ROTATED_LOGS, log_name, status_name

#: A log that would grow beyond this is rotated; ROTATED_LOGS older ones are kept.
MAX_LOG_BYTES: Final = 1 << 20

#: So many logs are known to end as this process left them; beyond that, it looks again.
SURE_LOGS: Final = 1_000

#: How much of a log's end is compared with what is to be appended, after a crash.
TAIL_BYTES: Final = 1 << 16

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SAFE: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Written(NamedTuple):
    """`digest` is of the content that stands on disk now, empty where that is unknown. `warning` is a sentence for
    the user, empty where all went well."""

    changed: bool
    digest: str
    warning: str = ""


class Writer:
    """Writes below `root`, or below `status_dir` in folders that mirror those of the root. Spec paths are relative
    to the root. What is written is for everyone to read, unless `is_private`."""

    def __init__(self, root: Path, status_dir: Path | None = None, *, is_private: bool = False) -> None:
        self._base = root if status_dir is None else status_dir
        self._file_mode, self._folder_mode = (0o600, 0o700) if is_private else (0o644, 0o755)
        self._makes_folders = status_dir is not None
        self._sure: set[str] = set()  # logs whose end this process wrote, SURE_LOGS at most
        self._keeps = False
        self._kept: tuple[str, int] | None = None  # the folder of the last call, by name, while it is kept open

    @contextlib.contextmanager
    def folders_kept(self) -> Iterator[None]:
        """Inside, the folder of one call stays open for the next: the way to a folder of many specs is gone once."""
        self._keeps = True
        try:
            yield
        finally:
            self._keeps = False
            self._leave()

    # --- statuses ---------------------------------------------------------------------------------------------------

    def write_status(
        self, spec_path: str, name: str, document: Mapping[str, Any], kind: Kind = "Job", *, known: str = ""
    ) -> Written:
        """Replaces the status of `name` atomically, unless it says the same already. `known` is the digest that an
        earlier call returned: where it is still right, the disk is not asked."""
        return self.write_rendered(spec_path, name, to_yaml(document), kind, known=known)

    def write_rendered(self, spec_path: str, name: str, status: str, kind: Kind = "Job", *, known: str = "") -> Written:
        """The same of a status that is YAML already."""
        text = status.encode("utf-8")
        digest = hashlib.sha256(text).hexdigest()[:32]
        if digest == known:
            return Written(False, digest)
        file = status_name(kind, name)
        try:
            with self._folder(spec_path) as folder:
                if _content(folder, file, len(text)) == text:
                    return Written(False, digest)
                _replace(folder, file, text, self._file_mode)
        except OSError as error:
            return Written(False, "", self._warning(spec_path, file, error))
        return Written(True, digest)

    # --- logs -------------------------------------------------------------------------------------------------------

    def append_log(self, spec_path: str, name: str, lines: Sequence[str], kind: Kind = "Job") -> str:
        """Appends lines (without line ends), rotating by size. Lines at the head of `lines` that the log already ends
        with, as after a crash between writing and noting so, are not written twice. Returns a warning, or nothing."""
        if not lines:
            return ""
        file = log_name(kind, name)
        key = f"{spec_path}\0{file}"
        try:
            with self._folder(spec_path) as folder:
                _append(folder, file, lines, self._file_mode, sure=key in self._sure)
        except OSError as error:
            self._sure.discard(key)
            return self._warning(spec_path, file, error)
        if len(self._sure) >= SURE_LOGS:
            self._sure.clear()
        self._sure.add(key)
        return ""

    # --- the files as a whole ---------------------------------------------------------------------------------------

    def remove(self, spec_path: str, name: str, kind: Kind = "Job") -> str:
        """Removes status and logs. Returns a warning, or nothing."""
        self._sure.discard(f"{spec_path}\0{log_name(kind, name)}")
        try:
            with self._folder(spec_path, make=False) as folder:
                for file in _files(kind, name):
                    _unlink(folder, file)
        except FileNotFoundError:
            return ""
        except OSError as error:
            return self._warning(spec_path, status_name(kind, name), error)
        return ""

    def move(self, old_path: str, new_path: str, name: str, kind: Kind = "Job", *, old_name: str = "") -> str:
        """Takes status and logs along when a spec moved from `old_path` to `new_path`, or was renamed from `old_name`.
        What stands in the way is replaced. Done again, as after a crash, it loses nothing and completes what is not done.
        Returns a warning, or nothing."""
        if os.path.dirname(old_path) == os.path.dirname(new_path) and (old_name or name) == name:
            return ""
        self._sure.clear()
        try:
            with self._folder(old_path, make=False) as old, self._folder(new_path) as new:
                _take_along(old, _files(kind, old_name or name), new, _files(kind, name))
        except FileNotFoundError:
            return ""
        except OSError as error:
            return self._warning(new_path, status_name(kind, name), error)
        return ""

    # --- folders ----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _folder(self, spec_path: str, *, make: bool = True) -> Iterator[int]:
        """The open folder that a spec's files lie in. Folders are made only below the status folder: beside a spec
        they are there, or the spec has gone."""
        name = os.path.dirname(spec_path)
        keep = make and self._keeps
        if keep and self._kept is not None and self._kept[0] == name and os.fstat(self._kept[1]).st_nlink:
            yield self._kept[1]
            return
        handle = self._open_folder(spec_path, make=make)
        if keep:
            self._leave()
            self._kept = name, handle
            yield handle
            return
        try:
            yield handle
        finally:
            os.close(handle)

    def _open_folder(self, spec_path: str, *, make: bool) -> int:
        *parts, _ = spec_path.split("/")
        may_make = make and self._makes_folders
        if may_make:
            self._base.mkdir(mode=self._folder_mode, parents=True, exist_ok=True)
        handle = os.open(self._base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in parts:
                handle = _enter(handle, part, self._folder_mode if may_make else None)
        except OSError:
            os.close(handle)
            raise
        return handle

    def _leave(self) -> None:
        if self._kept is not None:
            os.close(self._kept[1])
            self._kept = None

    def _warning(self, spec_path: str, file: str, error: OSError) -> str:
        where = self._base / os.path.dirname(spec_path) / file
        why = "it is a link" if error.errno == errno.ELOOP else error.strerror or error
        return f"{where} could not be written: {why}."


def _enter(handle: int, part: str, make: int | None) -> int:
    """The folder `part` of an open one, which is closed where that succeeds. `make` is the mode of one that may be made."""
    if part in ("", ".", ".."):
        raise OSError(0, "the path leaves the root")
    if make is not None:
        with contextlib.suppress(FileExistsError):
            os.mkdir(part, make, dir_fd=handle)
    try:
        inner = os.open(part, _FOLDER, dir_fd=handle)
    except NotADirectoryError as error:
        raise OSError(error.errno, "a folder on the way is a link or a file") from error
    os.close(handle)
    return inner


def _files(kind: Kind, name: str) -> list[str]:
    log = log_name(kind, name)
    return [status_name(kind, name), log, *(f"{log}.{number}" for number in range(1, ROTATED_LOGS + 1))]


def _content(folder: int, file: str, most: int) -> bytes | None:
    """The bytes of a regular file, at most one more than `most`; None where there is none."""
    try:
        handle = os.open(file, os.O_RDONLY | _SAFE, dir_fd=folder)
    except OSError:
        return None
    try:
        return os.read(handle, most + 1) if stat.S_ISREG(os.fstat(handle).st_mode) else None
    finally:
        os.close(handle)


def _replace(folder: int, file: str, content: bytes, mode: int) -> None:
    beside = f".{file}.tmp"
    try:
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFE, mode, dir_fd=folder)
    except FileExistsError:  # left by a process that was killed
        os.unlink(beside, dir_fd=folder)
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFE, mode, dir_fd=folder)
    try:
        try:
            _write(handle, content)
        finally:
            os.close(handle)
        os.rename(beside, file, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        _unlink(folder, beside)
        raise


def _write(handle: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(handle, rest) :]


def _unlink(folder: int, file: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(file, dir_fd=folder)


def _take_along(old: int, was: Sequence[str], new: int, becomes: Sequence[str]) -> None:
    """Status, log and older logs, in this order. The log goes first: while it is there nothing has gone yet, and only then
    may what stands in the way be somebody else's."""
    pairs = list(zip(was, becomes, strict=True))
    status, log, *olders = pairs
    if _is_there(old, log[0]):
        for one, other in olders:
            if not _is_there(old, one):
                _unlink(new, other)
    for one, other in (log, *olders, status):
        with contextlib.suppress(FileNotFoundError):
            os.rename(one, other, src_dir_fd=old, dst_dir_fd=new)


def _is_there(folder: int, file: str) -> bool:
    try:
        os.stat(file, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


# --- appending ------------------------------------------------------------------------------------------------------


def _append(folder: int, file: str, lines: Sequence[str], mode: int, *, sure: bool) -> None:
    """Appends in pieces that fit a log, rotating between them. A last line that a crash cut off is taken back. Unless
    `sure`, the log may end with some of the lines already."""
    handle, size = _open_log(folder, file, mode)
    try:
        if not sure:
            lines = _not_yet(folder, file if size else None, f"{file}.1", lines)
        for piece in _pieces(lines, size):
            if piece is None:
                os.close(handle)
                handle = -1
                _rotate(folder, file)
                handle, _ = _open_log(folder, file, mode)
            else:
                _write(handle, piece)
    finally:
        if handle >= 0:
            os.close(handle)


def _pieces(lines: Sequence[str], size: int) -> Iterator[bytes | None]:
    """What to write one after the other; None means: rotate first. A line longer than a whole log gets its own."""
    piece = bytearray()
    for line in lines:
        content = line.encode("utf-8", "replace").replace(b"\n", b" ") + b"\n"
        if size and size + len(content) > MAX_LOG_BYTES:
            if piece:
                yield bytes(piece)
            yield None
            piece, size = bytearray(), 0
        piece += content
        size += len(content)
    if piece:
        yield bytes(piece)


def _open_log(folder: int, file: str, mode: int) -> tuple[int, int]:
    """The log, ready to be appended to after its last whole line, and its size."""
    handle = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT | _SAFE, mode, dir_fd=folder)
    try:
        seen = os.fstat(handle)
        if not stat.S_ISREG(seen.st_mode):
            raise OSError(0, "it is not a regular file")
        size = seen.st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":
            size = _whole_lines(handle, size)
            os.ftruncate(handle, size)
    except OSError:
        os.close(handle)
        raise
    return handle, size


def _whole_lines(handle: int, size: int) -> int:
    """Where the last whole line ends."""
    while size > 0:
        start = max(0, size - TAIL_BYTES)
        end = os.pread(handle, size - start, start).rfind(b"\n")
        if end >= 0:
            return start + end + 1
        size = start
    return 0


def _rotate(folder: int, file: str) -> None:
    names = [file, *(f"{file}.{number}" for number in range(1, ROTATED_LOGS + 1))]
    for older, newer in zip(reversed(names), reversed(names[:-1]), strict=False):
        with contextlib.suppress(FileNotFoundError):
            os.rename(newer, older, src_dir_fd=folder, dst_dir_fd=folder)


def _not_yet(folder: int, file: str | None, older: str, lines: Sequence[str]) -> Sequence[str]:
    """Those of `lines` that the log does not end with: the longest head of `lines` that is its tail is left out. `file`
    is None where it is empty."""
    tail = _tail(folder, file, older)
    written = [line.encode("utf-8", "replace").replace(b"\n", b" ") for line in lines]
    for count in range(min(len(tail), len(written)), 0, -1):
        if tail[-count:] == written[:count]:
            return lines[count:]
    return lines


def _tail(folder: int, file: str | None, older: str) -> list[bytes]:
    """The last whole lines of a log and, where it was only just rotated, of the one before."""
    ends = [_end(folder, one) for one in (older, file) if one is not None]
    return b"".join(ends).split(b"\n")[:-1]


def _end(folder: int, file: str) -> bytes:
    """The last TAIL_BYTES of a log, from the start of a line to the end of one."""
    try:
        handle = os.open(file, os.O_RDONLY | _SAFE, dir_fd=folder)
    except OSError:
        return b""
    try:
        seen = os.fstat(handle)
        start = max(0, seen.st_size - TAIL_BYTES)
        content = os.pread(handle, TAIL_BYTES, start) if stat.S_ISREG(seen.st_mode) else b""
    finally:
        os.close(handle)
    if start:
        content = content.partition(b"\n")[2]
    return content[: content.rfind(b"\n") + 1]
