"""The specs of a commit, asked of git's objects: which paths its tree holds, which differ from those of another commit,
and the bytes of blobs.

Paths are relative to the root. An entry is what git's tree says of a path; whether it can be read as a spec is for
`commit.py` to say.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Final, NamedTuple

from reconciler.repo.git import LINK, MAX_ARGUMENTS, MAX_BLOB_BYTES, SUBMODULE, GitUnusable, Repository
from reconciler.repo.names import is_hidden, is_spec_path

_PIECE: Final = 1 << 16


class Entry(NamedTuple):
    """One path of a commit's tree."""

    mode: str
    blob: str


def entries(repository: Repository, commit: str, paths: Iterable[str] | None = None) -> dict[str, Entry]:
    """What the commit holds below the root, or at `paths`. Raises GitUnusable."""
    wanted = None if paths is None else sorted(set(paths))
    if wanted is not None and not wanted:
        return {}
    few = wanted is not None and len(wanted) <= MAX_ARGUMENTS
    scope = [repository.prefix + path for path in wanted] if few and wanted else _scope(repository)
    found = dict(_listed(repository, repository.run("ls-tree", "-r", "-z", "--full-tree", commit, *scope)))
    return found if wanted is None else {path: found[path] for path in wanted if path in found}


def holds_specs(repository: Repository, commit: str) -> bool:
    """Whether the commit holds any spec below the root; asks no more than that takes. Raises GitUnusable."""
    rest = b""
    with closing(repository.stream("ls-tree", "-r", "-z", "--full-tree", commit, *_scope(repository))) as pieces:
        for piece in pieces:
            whole, _, rest = (rest + piece).rpartition(b"\0")
            if any(_spec_of(repository, line) for line in whole.split(b"\0")):
                return True
    return False


class Differences(NamedTuple):
    """Between two commits: the new entries below the root, None for a path that is gone; and whether the file beside the root
    differs that was asked for."""

    files: dict[str, Entry | None]
    beside: bool


def differences(repository: Repository, old: str, new: str, beside: str = "") -> Differences:
    """What differs between two commits, whatever their history; with the file called `beside`, next to the root. Raises
    GitUnusable where git knows one of them not."""
    scope = _scope(repository)
    other = os.fsencode(_beside(repository, beside)) if beside and scope else b""
    answer = repository.run(
        "diff-tree", "-r", "-z", "--raw", "--no-renames", "--full-index", "--no-commit-id", "--no-relative", old, new,
        *scope, *([os.fsdecode(other)] if other else []),
    )  # fmt: skip
    tokens = iter(answer.split(b"\0"))
    found: dict[str, Entry | None] = {}
    is_other = False
    for about in tokens:
        name = next(tokens, None)
        if name is None:
            break
        old_mode, mode, _, blob, kind = about.decode("ascii").lstrip(":").split(" ")
        is_other = is_other or (bool(other) and (name == other or name.startswith(other + b"/")))
        gone = kind == "D"
        path = _path(repository, name, old_mode if gone else mode)
        if path is not None:
            found[path] = None if gone else Entry(mode, blob)
        elif (before := _path(repository, name, old_mode)) is not None:
            found[before] = None  # a submodule that became something else
    return Differences(found, is_other)


def beside_root(repository: Repository, commit: str, name: str) -> bytes | str | None:
    """The content of a file beside the root, or, as text, why it is not read; None where the commit holds none. Raises
    GitUnusable."""
    found = _entry_beside_root(repository, commit, name)
    if found is None:
        return None
    mode, kind, blob = found
    if mode == LINK:
        return "is a link; of a commit, only the files themselves are read"
    if kind != "blob":
        return "is no file"
    content = dict(read_blobs(repository, [blob]))[blob]
    return "is larger than 1 MiB" if content is None else content


def blob_beside_root(repository: Repository, commit: str, name: str) -> str | None:
    """The blob of a file beside the root; None where the commit holds none. Raises GitUnusable."""
    mode, kind, blob = _entry_beside_root(repository, commit, name) or ("", "", "")
    return blob if kind == "blob" and mode != LINK else None


def _entry_beside_root(repository: Repository, commit: str, name: str) -> tuple[str, str, str] | None:
    """Its mode, its kind and its id."""
    if not repository.prefix:
        return None
    listed = repository.run("ls-tree", "-z", "--full-tree", commit, "--", _beside(repository, name))
    if not listed:
        return None
    mode, kind, blob = listed.partition(b"\t")[0].decode("ascii").split(" ")
    return mode, kind, blob


def _beside(repository: Repository, name: str) -> str:
    """The path of a file beside the root, within the repository."""
    folder = repository.prefix.rstrip("/").rpartition("/")[0]
    return f"{folder}/{name}" if folder else name


def _scope(repository: Repository) -> list[str]:
    return ["--", repository.prefix] if repository.prefix else []


def _listed(repository: Repository, answer: bytes) -> Iterator[tuple[str, Entry]]:
    for line in answer.split(b"\0"):
        about, _, name = line.partition(b"\t")
        if name:
            mode, _, blob = about.decode("ascii").split(" ")
            path = _path(repository, name, mode)
            if path is not None:
                yield path, Entry(mode, blob)


def _spec_of(repository: Repository, line: bytes) -> bool:
    path = repository.below(line.partition(b"\t")[2])
    return path is not None and is_spec_path(path)


def _path(repository: Repository, name: bytes, mode: str) -> str | None:
    """A path of git's as one relative to the root, if it is a spec's, or a submodule, of which nothing is known."""
    path = repository.below(name)
    if path is None:
        return None
    if mode == SUBMODULE:
        return None if any(map(is_hidden, path.split("/"))) else path
    return path if is_spec_path(path) else None


# --- blobs ----------------------------------------------------------------------------------------------------------


def read_blobs(repository: Repository, blobs: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
    """The bytes of blobs, each once, as they come; None for one that is larger than a spec may be, which is passed over
    without being held. Raises GitUnusable where one is missing or damaged."""
    ids = sorted(set(blobs))
    if not ids:
        return
    with tempfile.TemporaryFile() as asked:
        asked.write("".join(f"{one}\n" for one in ids).encode("ascii"))
        asked.seek(0)
        with closing(repository.stream("cat-file", "--batch", stdin=asked)) as pieces:
            yield from _batch(_Answer(pieces), len(ids))


def _batch(answer: _Answer, count: int) -> Iterator[tuple[str, bytes | None]]:
    """An answer of `cat-file --batch` is `id type size LF content LF` for each, or `id missing LF`."""
    for _ in range(count):
        about = answer.line().decode("ascii", "replace").split(" ")
        if len(about) != 3 or about[1] != "blob":
            raise GitUnusable(f"The repository is damaged: git says '{' '.join(about)[:200]}' of a blob of the commit.")
        size = int(about[2])
        if size <= MAX_BLOB_BYTES:
            yield about[0], answer.take(size)
        else:
            answer.skip(size)
            yield about[0], None
        answer.skip(1)


class _Answer:
    """What a command says, piece by piece, read by lines and by lengths."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = bytearray()

    def line(self) -> bytes:
        while (end := self._rest.find(b"\n")) < 0:
            self._more()
        line = bytes(self._rest[:end])
        del self._rest[: end + 1]
        return line

    def take(self, size: int) -> bytes:
        while len(self._rest) < size:
            self._more()
        taken = bytes(self._rest[:size])
        del self._rest[:size]
        return taken

    def skip(self, size: int) -> None:
        while size > len(self._rest):
            size -= len(self._rest)
            self._rest.clear()
            self._more()
        del self._rest[:size]

    def _more(self) -> None:
        piece = next(self._pieces, b"")
        if not piece:
            raise GitUnusable("'git cat-file' broke off in the middle of an answer.")
        self._rest += piece
