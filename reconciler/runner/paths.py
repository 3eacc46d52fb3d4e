"""Which files a spec may name: those under the root, and under each `--allow-path`. Decided on the real path, so that
no symlink and no `..` leads out, and what is handed on is that real path, so that what was checked is what is opened.

The state directory is closed to specs, unless what is allowed lies inside it: an export must not replace the record.
Nor may it replace a spec, what is written beside one, or what git keeps.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from reconciler.errors import Fatal
from reconciler.repo.names import is_ours, is_spec

_MAGIC: Final = re.compile(r"[*?\[]")


class Paths:
    """The paths of one spec: relative to `folder`. A spec of a commit has neither `root` nor `folder` where no data root
    is named; then only absolute paths lead anywhere, and only into what is allowed."""

    def __init__(self, root: str, folder: str, allowed: Sequence[str], state: str) -> None:
        self._folder = os.path.abspath(folder) if folder else ""
        self._allowed = (root, *allowed) if root else tuple(allowed)
        self._state = state

    def path(self, text: str) -> Path:
        """Context.path: the real path of a spec's path, or of the fixed part of its glob."""
        fixed, _ = _split(self._absolute(text))
        real = self._checked(fixed, text)
        if _belongs_to_the_tree(real):
            raise Fatal(f"The path {text!r} names a spec, a status, a log or a file of git's; choose another one.")
        return Path(real)

    def expand(self, pattern: str) -> list[tuple[str, Path]]:
        """Context.expand: the files, sorted by their text relative to the spec's folder."""
        fixed, magic = _split(self._absolute(pattern))
        real = self._checked(fixed, pattern)
        if not magic:
            _require_file(real, pattern)
            return [(self._relative(fixed), Path(real))]
        found = {self._relative(path): path for path in _matches(fixed, magic) if os.path.isfile(path)}
        return [(text, Path(self._checked(path, text))) for text, path in sorted(found.items())]

    def _absolute(self, text: str) -> str:
        if not text or "\0" in text:
            raise Fatal(f"{text!r} is not a path.")
        if not self._folder and not os.path.isabs(text):
            raise Fatal(
                f"The path {text!r} is relative, and the spec comes from a commit. Name a folder with --data-root."
            )
        return os.path.normpath(os.path.join(self._folder, text))

    def _relative(self, path: str) -> str:
        text = os.path.relpath(path, self._folder) if self._folder else path
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise Fatal(f"The name of the file {text!a} is not UTF-8. Rename the file.") from None
        return text

    def _checked(self, path: str, text: str) -> str:
        """The real path. Raises Fatal where it lies outside of what is allowed."""
        real, state = os.path.realpath(path), os.path.realpath(self._state)
        base = next((base for base in map(os.path.realpath, self._allowed) if _inside(real, base)), None)
        if base is None:
            raise Fatal(
                f"The path {text!r} leaves the root. Start the controller with --allow-path to allow its folder."
            )
        if _inside(real, state) and not _inside(base, state):
            raise Fatal(f"The path {text!r} leads into the state directory, which belongs to the controller alone.")
        return real


def _belongs_to_the_tree(real: str) -> bool:
    """Whether a file of this path is for people, the controller or git to write."""
    *folders, name = real.split("/")
    return is_spec(name) or is_ours(name) or ".git" in (*folders, name)


def _require_file(real: str, text: str) -> None:
    if os.path.isdir(real):
        raise Fatal(f"{text!r} is a folder; a file or a glob is needed.")
    if not os.path.exists(real):
        raise Fatal(f"There is no file {text!r}.")
    if not os.path.isfile(real):
        raise Fatal(f"{text!r} is not a regular file.")


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _split(path: str) -> tuple[str, list[str]]:
    """The part of an absolute path before the first wildcard, and the parts from there on."""
    parts = path.split("/")
    first = next((number for number, part in enumerate(parts) if _MAGIC.search(part)), len(parts))
    return "/".join(parts[:first]) or "/", parts[first:]


def _matches(folder: str, parts: list[str]) -> Iterator[str]:
    """What a glob matches under a folder. `**` is any depth of folders, and follows no symlink to a folder, so that a
    loop of them ends; names with a leading dot only match a part that begins with one."""
    part, rest = parts[0], parts[1:]
    if part == "**":
        yield from _matches(folder, rest) if rest else ()
        for entry in _entries(folder):
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _matches(entry.path, parts)
            elif not rest:
                yield entry.path
        return
    for path in _matching(folder, part):
        if not rest:
            yield path
        elif os.path.isdir(path):
            yield from _matches(path, rest)


def _matching(folder: str, part: str) -> Iterator[str]:
    if not _MAGIC.search(part):
        yield os.path.join(folder, part)
        return
    hidden = part.startswith(".")
    matches = re.compile(fnmatch.translate(part)).match
    for entry in _entries(folder):
        if entry.name.startswith(".") == hidden and matches(entry.name):
            yield entry.path


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """The entries of a folder; none for what is missing or is no folder."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError:
        raise Fatal(f"The folder {folder!r} may not be read.") from None
