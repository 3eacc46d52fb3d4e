"""Who changed a spec last, and in which commit: read for the whole root in one `git log`, kept on disk under the HEAD
it was read at, and read again only when HEAD moves (then only the new commits, where history went on).

A commit that only merges changes nothing itself: the author is the one who wrote the change that was merged.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

from reconciler.core.value import dataclass
from reconciler.repo.git import MAX_ARGUMENTS, Repository

CACHE_NAME: Final = "authors.json"

_FORMAT: Final = "--format=%x01%H%x00%aN%x00%aE%x00%ct"
_HEADER: Final = re.compile(rb"\n?\x01[0-9a-f]{40,64}")
_CACHE_VERSION: Final = 2


@dataclass(frozen=True, slots=True)
class Commit:
    """The commit that last changed a file. `boundary` says that a shallow clone's history ends here, so that an older
    commit may have been the one."""

    hash: str
    author: str
    email: str
    time_ms: int
    boundary: bool = False

    @property
    def person(self) -> str:
        return f"{self.author} <{self.email}>" if self.email else self.author


class History:
    """The commits behind a root's specs. `cache_dir` may be None or read-only: then they are kept in memory."""

    def __init__(self, repository: Repository, cache_dir: Path | None) -> None:
        self._repository = repository
        self._cache = cache_dir / CACHE_NAME if cache_dir is not None else None
        self._head = ""
        self._commits: dict[str, Commit] = {}
        self._over: Mapping[str, tuple[str, ...]] = {}  # of what is read through links: these, and the file

    def authors(self, paths: Iterable[str]) -> Mapping[str, Commit]:
        """The last commit of each of `paths` (relative to the root): of one that is gone, the commit that took it out. A
        file on disk that HEAD does not hold, or that differs from it, has none: the OS user is its author. Raises
        GitUnusable."""
        wanted = set(paths)
        head = self._repository.head()
        if head is None or not wanted:
            return {}
        if head != self._head:
            if self._is_work_in_progress(wanted):
                return {}
            self._read(head)
        known = wanted & self._commits.keys()
        gone = {path: self._repository.ways(path) for path in wanted - known if not self._repository.is_on_disk(path)}
        over = {path: self._over.get(path, (path,)) for path in known}
        differing = self._repository.differing(one for some in over.values() for one in some)
        found = {path: self._commits[path] for path in known if differing.isdisjoint(over[path])}
        found |= self._log(head, set(gone), gone) if gone else {}
        return {path: found[path] for path in sorted(found)}

    def _is_work_in_progress(self, wanted: set[str]) -> bool:
        """Whether these few are there and all differ from HEAD: then no commit made them, and none need be read."""
        is_there = len(wanted) <= MAX_ARGUMENTS and all(map(self._repository.is_on_disk, wanted))
        return is_there and wanted <= self._repository.differing(wanted)

    def _read(self, head: str) -> None:
        blobs, self._over, _ = self._repository.read(head)
        old_head, old = (self._head, self._commits) if self._head else self._load()
        if old_head == head and blobs.keys() <= old.keys():
            commits = old
        else:
            commits = self._follow(head, blobs.keys(), old_head, old)
            self._save(head, commits)
        self._head, self._commits = head, {path: one for path, one in commits.items() if path in blobs}

    def _follow(self, head: str, paths: Iterable[str], old_head: str, old: Mapping[str, Commit]) -> dict[str, Commit]:
        """The commits at `head`: those since `old_head` where history went on from there, else all."""
        wanted = set(paths)
        if old_head and self._repository.is_ancestor(old_head, head):
            fresh = self._log(f"{old_head}..{head}", wanted, self._over)
            carried = {path: old[path] for path in wanted - fresh.keys() if path in old}
            if len(fresh) + len(carried) == len(wanted):
                return carried | fresh
        return self._log(head, wanted, self._over)

    def _log(self, revisions: str, wanted: set[str], over: Mapping[str, Collection[str]]) -> dict[str, Commit]:
        scope = [self._repository.prefix] if self._repository.prefix else []
        return _newest(self._repository, revisions, wanted, scope, over)

    def _load(self) -> tuple[str, dict[str, Commit]]:
        """What an earlier process read; a cache that is missing, damaged or of another root is none."""
        try:
            kept: Any = json.loads(self._cache.read_bytes()) if self._cache is not None else {}
            if kept["version"] != _CACHE_VERSION or kept["prefix"] != self._repository.prefix:
                return "", {}
            commits = [Commit(**one) for one in kept["commits"]]
            return str(kept["head"]), {path: commits[number] for path, number in kept["paths"].items()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return "", {}

    def _save(self, head: str, commits: Mapping[str, Commit]) -> None:
        if self._cache is None:
            return
        number: dict[Commit, int] = {}
        paths = {path: number.setdefault(commit, len(number)) for path, commit in sorted(commits.items())}
        kept = {
            "version": _CACHE_VERSION, "prefix": self._repository.prefix, "head": head,
            "commits": [asdict(commit) for commit in number], "paths": paths,
        }  # fmt: skip
        beside = self._cache.with_name(f".{CACHE_NAME}.{os.getpid()}")
        try:
            beside.touch(mode=0o600)
            beside.write_text(json.dumps(kept), "utf-8")
            beside.replace(self._cache)
        except OSError:
            beside.unlink(missing_ok=True)  # the cache is disposable: without it the history is read again


class Refused(NamedTuple):
    """A newer commit than the one that is desired, and why it is not believed."""

    revision: str
    why: str


class Origin(Protocol):
    """Where the desired state comes from: what a plan, a status and an event say of it."""

    def revision(self) -> str:
        """`main@sha1:…`; empty where no commit stands behind it."""
        ...

    def refused(self) -> Refused | None:
        """The newest commit, where it is not the desired state."""
        ...

    def authors(self, paths: Iterable[str]) -> Mapping[str, Commit]:
        """The last commit of each path. Raises GitUnusable."""
        ...

    def user(self) -> str:
        """Who is behind what no commit of a path is; empty where the desired state is a commit, which is then all that is
        known."""
        ...


class WorkTreeOrigin:
    """That of a folder: HEAD of the git work tree it lies in, if any."""

    def __init__(self, root: Path, cache_dir: Path | None) -> None:
        self._repository = Repository.open(root)
        self._history = None if self._repository is None else History(self._repository, cache_dir)

    def revision(self) -> str:
        return "" if self._repository is None else self._repository.revision()

    def refused(self) -> Refused | None:
        return None

    def authors(self, paths: Iterable[str]) -> Mapping[str, Commit]:
        return {} if self._history is None else self._history.authors(paths)

    def user(self) -> str:
        return os_user()


def newest_commits(repository: Repository, head: str, paths: Iterable[str]) -> dict[str, Commit]:
    """The last commit of each path in the history of a commit: of one that is gone, the commit that took it out. Few paths
    are asked for alone; many, by reading the root's history until each has one. Raises GitUnusable."""
    wanted = set(paths)
    scope = (
        [repository.prefix + path for path in sorted(wanted)] if len(wanted) <= MAX_ARGUMENTS else [repository.prefix]
    )
    return _newest(repository, head, wanted, [one for one in scope if one])


def _newest(
    repository: Repository, revisions: str, wanted: set[str], scope: Sequence[str],
    over: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> dict[str, Commit]:  # fmt: skip
    """The newest commit of each path, reading history only until every path has one; of what is read `over` others, the newest
    of these."""
    if not wanted:
        return {}
    readers: dict[str, list[str]] = {}
    for path in over.keys() & wanted:
        for one in over[path]:
            readers.setdefault(one, []).append(path)
    pieces = repository.stream(
        "log", "-z", "--no-renames", "--no-ext-diff", "--no-color", "--no-relative", "--encoding=UTF-8", "--name-only",
        _FORMAT, revisions, *(("--", *scope) if scope else ()),
    )  # fmt: skip
    found: dict[str, Commit] = {}
    with closing(pieces):
        for commit, name in _changes(pieces, repository.shallow()):
            changed = repository.below(name) or ""
            for path in (changed, *readers.get(changed, ())):
                if path in wanted:
                    found.setdefault(path, commit)
            if len(found) == len(wanted):
                break
    return found


def os_user() -> str:
    """The author of what no commit holds: the name of the user that this process runs as."""
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container may run as a user that has no name
        return str(os.geteuid())


def _changes(pieces: Iterable[bytes], shallow: frozenset[str]) -> Iterator[tuple[Commit, bytes]]:
    """Commits, newest first, each with one file it changed. Tokens end in NUL; a header is four of them, and a line
    feed stands before the first name."""
    commit: Commit | None = None
    tokens = _tokens(pieces)
    for token in tokens:
        if _HEADER.fullmatch(token):
            name, email, when = (next(tokens, b"").decode("utf-8", "replace") for _ in range(3))
            of = token.lstrip(b"\n\x01").decode("ascii")
            commit = Commit(of, name, email, int(when) * 1000, of in shallow)
        elif commit is not None and token:
            yield commit, token.removeprefix(b"\n")


def _tokens(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\0")
        yield from whole
