"""The files of a tree as one walk sees them, and the bytes of one file: every odd thing that a folder can hold is an
answer here (a Problem, or a file that is absent this time), never a traceback.

What is followed: a link to a file or folder inside the root that the walk would not read by itself (a mounted
ConfigMap keeps its files in a hidden folder and links to them). A link to what is read anyway is not read twice. A link
that leaves the root, leads nowhere, or leads back into a folder that it is in, is a Problem.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from stat import S_ISREG
from typing import TYPE_CHECKING, Final

from reconciler.errors import Problem
from reconciler.repo.names import OUR_SUFFIXES, SPEC_SUFFIXES, is_hidden, is_spec_path
from reconciler.repo.stamps import Stamp

if TYPE_CHECKING:
    from reconciler.repo.index import Row

#: A file above this size is not read (design, section 2).
MAX_FILE_BYTES: Final = 1 << 20

_GONE: Final = (FileNotFoundError, NotADirectoryError)
_INODE_BITS: Final = (1 << 63) - 1  # SQLite keeps no more


class Unreadable(Exception):
    """A file that cannot be read; its text is what the user is told."""


class BeingWritten(Exception):
    """A file that changed while it was read: its bytes are no content."""


@dataclass(slots=True)
class Listing:
    """What one walk saw. `files` are specs; `same` are those that bear the stamp they are known by, with what is known;
    `targets` the real path of those that are links. Folders are relative and end in
    a slash, "" is the root: `folders` are those that were read, `blind` those of which nothing is known."""

    files: dict[str, Stamp] = field(default_factory=dict)
    same: dict[str, Row] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    targets: dict[str, str] = field(default_factory=dict)
    problems: dict[str, Problem] = field(default_factory=dict)
    blind: list[str] = field(default_factory=list)

    def refuse(self, path: str, message: str) -> None:
        self.files.pop(path, None)
        self.problems[path] = Problem(printable(path), 1, 1, "", message)

    def knows(self, path: str) -> bool:
        """Whether it is known if this path exists: not below a folder that could not be read, nor refused."""
        return path not in self.problems and not any(path.startswith(folder) for folder in self.blind)


def walk(root: str, known: Mapping[str, Row] | None = None) -> Listing:
    """Every spec below `root`, with its stamp, at the cost of one scandir a folder and one lstat a spec. Those of which the
    stamp that is `known` says enough are told apart, so that nothing is kept of them that is there already."""
    listing, known = Listing(), known or {}
    links = _descend(listing, [("", root)], known)
    real_root = os.path.realpath(root) if links else root
    followed: set[str] = set()
    while links:
        onward = [found for path, link in sorted(links) for found in _follow(listing, path, link, real_root, followed)]
        links = _descend(listing, onward, known)
    return listing


@contextmanager
def _entries(folder: str) -> Iterator[Iterator[os.DirEntry[str]]]:
    """What stands in a folder. By its handle the kernel finds each entry in one step, not by the whole path to it. An entry's
    `path` is its name alone."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with os.scandir(handle) as entries:
            yield entries
    finally:
        os.close(handle)


def _descend(listing: Listing, stack: list[tuple[str, str]], known: Mapping[str, Row]) -> list[tuple[str, str]]:
    """Lists folders (relative prefix, path) and all below them into `listing`; returns the links it met."""
    links: list[tuple[str, str]] = []
    while stack:
        prefix, folder = stack.pop()
        listing.folders.add(prefix)
        try:
            with _entries(folder) as entries:
                for entry in entries:
                    name = entry.name
                    if name.endswith(OUR_SUFFIXES):
                        if not entry.is_dir(follow_symlinks=False):
                            continue
                    elif name[0] == "." or (
                        name.endswith(SPEC_SUFFIXES) and _is_plain(listing, entry, prefix + name, known)
                    ):
                        continue
                    if name[0] != ".":
                        _see(listing, entry, prefix, f"{folder}/{name}", stack, links)
        except OSError as error:
            if prefix and isinstance(error, _GONE):
                continue  # absent this time
            listing.blind.append(prefix)
            listing.refuse(prefix.rstrip("/") or ".", _folder_refused(prefix, error))
    return links


def glance(root: str, paths: Iterable[str], known: Container[str], folders: Container[str]) -> dict[str, Stamp] | None:
    """The stamps of these paths, where a walk would find what it found before but for the content of files, and files that
    are new in a folder that it has read: else None, and only a walk can tell. `known` and `folders` are what the last walk
    listed; what it did not list, and is not there now, says nothing."""
    found: dict[str, Stamp] = {}
    for path in paths:
        try:
            seen = os.lstat(f"{root}/{path}")
        except OSError as error:
            if isinstance(error, _GONE) and path not in known and f"{path}/" not in folders:
                continue
            return None
        is_sound = S_ISREG(seen.st_mode) and seen.st_size <= MAX_FILE_BYTES and path.isascii()
        if not (is_sound and is_spec_path(path) and (path in known or path[: path.rfind("/") + 1] in folders)):
            return None
        found[path] = _stamp(seen)
    return found


def _is_plain(listing: Listing, entry: os.DirEntry[str], path: str, known: Mapping[str, Row]) -> bool:
    """Lists what most entries are: a sound spec, of which one lstat says so."""
    try:
        seen = entry.stat(follow_symlinks=False)
    except OSError:
        return False
    if not (S_ISREG(seen.st_mode) and seen.st_size <= MAX_FILE_BYTES and path.isascii()):
        return False
    row = known.get(path)
    if (
        row is not None
        and row[1] == seen.st_mtime_ns
        and row[0] == seen.st_size
        and row[2] == seen.st_ctime_ns
        and row[3] == seen.st_ino & _INODE_BITS
        and not row[5]  # racy; asked by position, as nearly every file comes by here
    ):
        listing.same[path] = row
    else:
        listing.files[path] = _stamp(seen)
    return True


def _see(
    listing: Listing, entry: os.DirEntry[str], prefix: str, place: str,
    stack: list[tuple[str, str]], links: list[tuple[str, str]],
) -> None:  # fmt: skip
    """An entry that is neither hidden, nor ours, nor plainly a spec; `place` is where it lies."""
    name = entry.name
    if name.endswith(SPEC_SUFFIXES):
        mode = _note(listing, prefix + name, entry)
        if stat.S_ISDIR(mode):
            stack.append((f"{prefix}{name}/", place))
        elif stat.S_ISLNK(mode):
            links.append((prefix + name, place))
    elif entry.is_symlink():
        links.append((prefix + name, place))
    elif entry.is_dir(follow_symlinks=False):
        stack.append((f"{prefix}{name}/", place))


def _note(listing: Listing, path: str, entry: os.DirEntry[str] | str) -> int:
    """Lists one spec: an entry, or the file that a link leads to. Returns its mode where it is a folder or a link, which
    is for the caller to follow, else 0."""
    try:
        seen = os.lstat(entry) if isinstance(entry, str) else entry.stat(follow_symlinks=False)
    except _GONE:
        return 0
    except OSError as error:
        listing.refuse(path, f"cannot be read: {error.strerror}")
        return 0
    if S_ISREG(seen.st_mode) and seen.st_size <= MAX_FILE_BYTES and path.isascii():
        listing.files[path] = _stamp(seen)
    elif stat.S_ISDIR(seen.st_mode) or stat.S_ISLNK(seen.st_mode):
        return seen.st_mode
    elif not S_ISREG(seen.st_mode):
        listing.refuse(path, "is not a regular file")
    elif seen.st_size > MAX_FILE_BYTES:
        listing.refuse(path, f"is larger than 1 MiB ({seen.st_size:,} bytes)")
    elif not _is_unicode(path):
        listing.refuse(path, "has a name that is not UTF-8")
    else:
        listing.files[path] = _stamp(seen)
    return 0


def _follow(listing: Listing, path: str, link: str, real_root: str, followed: set[str]) -> Iterator[tuple[str, str]]:
    """Reads a link to a file, or yields the folder that a link leads to, if it has not been read."""
    named_spec = is_spec_path(path)
    try:
        target = os.path.realpath(link, strict=True)
    except _GONE:
        if named_spec and os.path.lexists(link):
            listing.refuse(path, "is a link that leads nowhere")
        return
    except OSError:
        listing.refuse(path, "is a link that leads in a circle")
        return
    is_folder = os.path.isdir(target)
    if not is_folder and not named_spec:
        return
    if target != real_root and not target.startswith(real_root.rstrip("/") + "/"):
        listing.refuse(path, "is a link that leaves the root; it is not followed")
        if is_folder:
            listing.blind.append(f"{path}/")
    elif is_folder:
        home = os.path.realpath(os.path.dirname(link))
        if home == target or home.startswith(target.rstrip("/") + "/"):
            listing.refuse(path, "is a link that leads back into a folder that it is in")
        elif target not in followed and _is_out_of_sight(target, real_root):
            followed.add(target)
            yield f"{path}/", target
    elif not is_spec_path(os.path.relpath(target, real_root)):
        listing.targets[path] = target
        _note(listing, path, target)


def _is_out_of_sight(target: str, real_root: str) -> bool:
    return any(is_hidden(part) for part in os.path.relpath(target, real_root).split("/"))


def _folder_refused(prefix: str, error: OSError) -> str:
    if prefix:
        return f"the folder cannot be read: {error.strerror}"
    if isinstance(error, FileNotFoundError):
        return "the root folder does not exist"
    return f"the root folder cannot be read: {error.strerror}"


def read(path: str, stamp: Stamp) -> bytes:
    """The content of the file that had this stamp in the walk. Raises FileNotFoundError where it has gone,
    BeingWritten where it is another file by now or changed during the reading, else Unreadable. Never reads more than
    1 MiB and a byte, never waits for a pipe, never follows a link."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except _GONE as error:
        raise FileNotFoundError(path) from error
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from error
    try:
        return _read_whole(handle, stamp)
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from error
    finally:
        os.close(handle)


def _read_whole(handle: int, stamp: Stamp) -> bytes:
    if _stamp(os.fstat(handle)) != stamp:
        raise BeingWritten
    size = min(stamp[0], MAX_FILE_BYTES)  # a byte more is asked for, but no room for the largest file
    content = os.read(handle, size + 1)
    while len(content) < size and (piece := os.read(handle, size + 1 - len(content))):
        content += piece
    if _stamp(os.fstat(handle)) != stamp or len(content) != stamp[0]:  # a longer file has another size
        raise BeingWritten
    return content


def _stamp(seen: os.stat_result) -> Stamp:
    return seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino & _INODE_BITS


def _is_unicode(path: str) -> bool:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def content_digest(content: bytes) -> str:
    """The first 32 hexadecimal digits of SHA-256: what a file's content is known by."""
    return hashlib.sha256(content).hexdigest()[:32]


def printable(path: str) -> str:
    """A path for a message: what is no text in it is escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def moment_ns() -> int:
    """The time that the kernel would give a file made now, in nanoseconds since the Unix epoch: asked of a new pipe,
    because it is coarser than any clock, and because stamps are compared with it."""
    ends = os.pipe()
    try:
        return os.fstat(ends[0]).st_mtime_ns
    finally:
        for end in ends:
            os.close(end)
