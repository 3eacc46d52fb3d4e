"""The specs of a commit, as `tree.py` has those of a folder: what a look finds comes from git's objects alone, so that a
work tree which is dirty, torn or on another branch says nothing.

A look asks its source for the newest commit (about one ref read) and, where that is not the one that was settled last,
git for what differs between the two: one changed spec among many costs one blob. What a blob says is kept under its id.

In a commit absence is certain: what it lacks was taken out. But a commit without any spec below the root (another
branch, a root that moved) is not believed, and where the source has nothing to believe, or the repository cannot be
read, what was settled last stays. Both are problems of the root itself, so nothing is deleted meanwhile.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import astuple, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reconciler.core.policy import FILE_NAME as POLICY_NAME
from reconciler.core.value import dataclass
from reconciler.errors import SOURCE_PATH, Problem
from reconciler.repo.git import LINK, SUBMODULE, GitUnusable, Repository
from reconciler.repo.history import Commit, Refused, newest_commits
from reconciler.repo.index import Index, Row
from reconciler.repo.look import Absence, FileSeen, Gone, Look, Verdict
from reconciler.repo.names import is_spec_path
from reconciler.repo.objects import (
    Differences,
    Entry,
    beside_root,
    differences,
    entries,
    holds_specs,
    read_blobs,
)
from reconciler.repo.refs import revision
from reconciler.repo.source import Head, Source, Watching
from reconciler.repo.tree import BATCH_BYTES, SETTLE_MS, STANDING_MS
from reconciler.repo.walk import printable

if TYPE_CHECKING:  # imported late: a look that finds nothing new parses nothing
    from reconciler.core.provider import Catalogue
    from reconciler.repo.parse import Parsed
    from reconciler.repo.policy_file import PolicySeen

#: In the place of a mode: the path is no text.
_NOT_UTF_8: Final = "not UTF-8"
#: Why an entry of this mode is no spec that can be read.
_REFUSED: Final = {
    SUBMODULE: "is a submodule, and its specs are in no commit of this repository; they are not read",
    _NOT_UTF_8: "has a name that is not UTF-8",
}

_ABSENT: Final = Verdict(Absence.ABSENT, "no file declares it")


@dataclass(frozen=True, slots=True)
class _Found:
    """What differs at a commit from what was settled. `whole`: from nothing. `trouble` says why nothing of the commit is
    taken. The policy is as it was settled where `same_policy`; else that is not known."""

    whole: bool = False
    changed: Mapping[str, Entry] = field(default_factory=dict)
    vanished: tuple[str, ...] = ()
    trouble: str = ""
    same_policy: bool = False


class CommitTree:
    """The specs of the newest commit that `source` believes.

    `cache_dir`, `version`, `catalogue` and `writable` are as for `Tree`. `mark` is what the last settled look said
    (`Look.mark`), kept by the record beside what it was told: the commit that the desired state is. `reading` names
    whatever else decides what the same commit means; a mark of another reading counts as nothing told.
    """

    def __init__(
        self, source: Source, cache_dir: Path | None, *, mark: str, identity: str, version: str, reading: str = "",
        catalogue: Callable[[], Catalogue], writable: bool = True, settle_ms: int = SETTLE_MS,
    ) -> None:  # fmt: skip
        self.settle_ms = settle_ms
        self._source = source
        self._catalogue = catalogue
        self._reading = f"{version} {reading}"
        self._index = Index(cache_dir, identity=f"{identity} git", version=version, writable=writable)
        self._settled = _Mark.read(mark, self._reading)
        self._looked: _At | None = None
        self._memo: tuple[str, str, _Found] | None = None
        self._cache_dir = cache_dir
        self._policy: tuple[str, bytes | str | None] = "", None  # of which commit, and what it holds (`beside_root`)
        self._parsed: dict[str, Parsed] = {}  # by blob, of what is not settled
        self._said: tuple[Problem, ...] = ()  # what the last look told of the root
        self._refused: Refused | None = None
        self._unread_since_ms: int | None = None

    def close(self) -> None:
        self._source.close()
        self._index.close()

    def watch(self, wake: Callable[[], None]) -> Watching:
        return self._source.watch(wake)

    def ask(self) -> None:
        self._source.ask()

    # --- looking ----------------------------------------------------------------------------------------------------

    def has_news(self, most: int) -> bool:  # noqa: ARG002 (what a commit changes, only a look can tell)
        return False

    def look(self, now_ms: int, grace_ms: int | None = None, *, hinted: bool = False) -> Look:  # noqa: ARG002 (no need)
        """One look at the newest commit; what is wrong with it or its source is in the answer. `now_ms` is any clock
        that only goes forward."""
        head = self._source.head()
        try:
            found = self._find(head)
            seen = self._see(head, found)
            at = self._at(head, found)
        except GitUnusable as error:
            return self._kept(str(error).rstrip("."), now_ms)
        self._looked = at or self._looked
        self._refused = self._refusal(head, found)
        if not head.commit:
            return self._kept(head.why, now_ms)
        self._unread_since_ms = None
        self._said = self._problems(found.trouble or head.why)
        return Look(
            whole=found.whole,
            changed=tuple(seen),
            vanished=found.vanished,
            held=(),
            problems=self._said,
            head=at.commit if at else None,
            torn=None,
            again_ms=None,
            settled=True,
            files=_Files(at, found.changed if found.whole else None),
            touched=(),
            mark=self._mark(at),
        )

    def _kept(self, why: str, now_ms: int) -> Look:
        """Nothing can be read just now, as for a moment while a clone is put in another's place: what was settled last
        stays, and once that has lasted it is said."""
        if self._unread_since_ms is None:
            self._unread_since_ms = now_ms
        lasts = now_ms - self._unread_since_ms >= self.settle_ms
        if lasts:
            self._said = self._problems(why)
        return Look(
            whole=False,
            changed=(),
            vanished=(),
            held=(),
            problems=self._said,
            head=None,
            torn=None,
            again_ms=STANDING_MS if lasts else self.settle_ms,
            settled=False,
            files={},
            touched=(),
            mark=self._settled.text if self._settled else "",
            unseen=True,
        )

    def _problems(self, why: str) -> tuple[Problem, ...]:
        if not why:
            return ()
        stays = f"the last good revision stays, {self.revision()}" if self.revision() else "nothing is done"
        return (Problem(SOURCE_PATH, 1, 1, "", f"{stays}: {why}"),)

    @staticmethod
    def _refusal(head: Head, found: _Found) -> Refused | None:
        if found.trouble:
            return Refused(revision(head.name, head.commit), found.trouble)
        return Refused(head.refused, head.why) if head.refused else None

    def _find(self, head: Head) -> _Found:
        """What differs at the newest commit. Raises GitUnusable."""
        if not head.commit or head.repository is None:
            return _Found()
        settled = self._settled.commit if self._settled and self._settled.prefix == head.repository.prefix else ""
        if self._memo is None or self._memo[:2] != (settled, head.commit):
            self._memo = settled, head.commit, _compared(head.repository, settled, head)
        return self._memo[2]

    def _at(self, head: Head, found: _Found) -> _At | None:
        """The commit that is taken, its policy known: the newest, or where that is not believed the one before. Raises
        GitUnusable."""
        at = self._looked
        if head.repository is not None and head.commit and not found.trouble:
            at = _At(head.repository, head.commit, head.name)
        elif head.repository is not None and at is None and self._settled:
            at = _At(head.repository, self._settled.commit, self._settled.name)
        if at is not None and self._policy[0] != at.commit:
            settled = self._settled
            is_same = found.same_policy or (settled is not None and settled.commit == at.commit)
            free = is_same and settled is not None and not settled.governed
            self._policy = at.commit, None if free else beside_root(at.repository, at.commit, POLICY_NAME)
        return at

    def _see(self, head: Head, found: _Found) -> list[FileSeen]:
        if not found.changed:
            return []
        assert head.repository is not None
        seen = self._declared(head.repository, found.changed)
        return [FileSeen(path, found.changed[path].blob, seen[path]) for path in sorted(found.changed)]

    def _mark(self, at: _At | None) -> str:
        if at is None:
            return ""
        governed = self._policy[1] is not None
        return _Mark(at.commit, at.name, at.repository.prefix, governed, self._reading, self._source.name).text

    # --- parsing ----------------------------------------------------------------------------------------------------

    def _declared(self, repository: Repository, files: Mapping[str, Entry]) -> dict[str, Parsed]:
        """The parsed form of each entry. Raises GitUnusable."""
        from reconciler.repo.parse import Parsed

        refused = {path: wrong for path, entry in files.items() if (wrong := _REFUSED.get(entry.mode))}
        links = {path: entry for path, entry in files.items() if entry.mode == LINK}
        if links:
            refused |= _links(repository, links)
        plain = {path: entry.blob for path, entry in files.items() if path not in refused}
        too_large = self._learn(repository, plain)
        refused |= {path: "is larger than 1 MiB" for path, blob in plain.items() if blob in too_large}
        found = {path: self._parsed[blob].at(path) for path, blob in plain.items() if path not in refused}
        for path, wrong in refused.items():
            found[path] = Parsed((), (Problem(path, 1, 1, "", wrong),)) if wrong else Parsed()
        return found

    def _learn(self, repository: Repository, blobs: Mapping[str, str]) -> set[str]:
        """Makes these blobs (by path) known, from the cache where they were met before; the ids of those that are too
        large for a spec."""
        path_of = {blob: path for path, blob in sorted(blobs.items(), reverse=True)}
        self._fetch(path_of.keys() - self._parsed.keys())
        unparsed: dict[str, bytes] = {}
        too_large: set[str] = set()
        size = 0
        for blob, content in read_blobs(repository, path_of.keys() - self._parsed.keys()):
            if content is None:
                too_large.add(blob)
                continue
            unparsed[blob] = content
            size += len(content)
            if size >= BATCH_BYTES:
                self._parse(unparsed, path_of)
                size = 0
        self._parse(unparsed, path_of)
        return too_large

    def _parse(self, contents: dict[str, bytes], path_of: Mapping[str, str]) -> None:
        if not contents:
            return
        from reconciler.repo.parse import parse_many

        files = [(path_of[blob], content) for blob, content in contents.items()]
        parsed = dict(zip(contents, parse_many(files, self._catalogue()), strict=True))
        self._index.keep_parsed({blob: one.to_json() for blob, one in parsed.items()})
        self._parsed |= parsed
        contents.clear()

    def _fetch(self, blobs: Collection[str]) -> None:
        texts = self._index.parsed(blobs) if blobs else {}
        if texts:
            from reconciler.repo.parse import Parsed

            self._parsed |= {blob: Parsed.from_json(text) for blob, text in texts.items()}

    # --- after a look -----------------------------------------------------------------------------------------------

    def settle(self, look: Look, keep: Iterable[str] = (), identity: str = "") -> None:  # noqa: ARG002
        """The controller has committed what `look` said, and its mark with it. A held document is asked for again."""
        if look.mark:
            self._settled = _Mark.read(look.mark, self._reading)
        self._parsed.clear()
        self._memo = None
        self._index.tell_commit(self._blobs)

    def _blobs(self) -> set[str]:
        """The blobs of the commit that was looked at: of these, what is parsed is worth keeping."""
        at = self._looked
        try:
            return {entry.blob for entry in entries(at.repository, at.commit).values()} if at else set()
        except GitUnusable:
            return set()

    def parsed(self, look: Look, paths: Iterable[str] | None = None) -> dict[str, Parsed]:
        """The parsed form of files of a look, changed or not: of `paths`, or of all. One that the repository refuses by now
        has a problem that says so: it may declare anything."""
        known = {seen.path: seen.parsed for seen in look.changed}
        wanted = None if paths is None else sorted(set(paths))
        at = self._looked
        if at is None or look.head is None or (wanted is not None and known.keys() >= set(wanted)):
            return {path: known[path] for path in sorted(known) if wanted is None or path in wanted}
        before = dict(self._parsed)
        try:
            there = entries(at.repository, at.commit, wanted)
            found = self._declared(at.repository, {path: one for path, one in there.items() if path not in known})
        except GitUnusable as error:
            found = {path: _unreadable(path, error) for path in wanted or () if path not in known}
        self._parsed = before
        found |= {path: one for path, one in known.items() if wanted is None or path in wanted}
        return {path: found[path] for path in sorted(found)}

    def contents(self, paths: Iterable[str]) -> dict[str, bytes]:
        """The bytes of files at the commit that was looked at; what cannot be read is left out."""
        at = self._looked
        if at is None:
            return {}
        try:
            blobs = {path: one.blob for path, one in entries(at.repository, at.commit, paths).items()}
            bytes_of = dict(read_blobs(at.repository, blobs.values()))
        except GitUnusable:
            return {}
        return {path: content for path, blob in sorted(blobs.items()) if (content := bytes_of[blob]) is not None}

    def policy(self, expected: bool) -> PolicySeen:
        """The policy beside the root in the commit that was looked at; beside the repository, on disk, where that is the
        root. While no commit can be read, what nobody can judge is not done: where a policy is `expected`, that is a
        problem."""
        from reconciler.repo.policy_file import PolicySeen, committed_policy, read_policy

        if self._looked is not None and not self._looked.repository.prefix:
            return read_policy(self._looked.repository.top, self._cache_dir, expected=expected)
        at, (commit, content) = self._looked, self._policy
        if at is None or commit != at.commit:
            problem = Problem(f"../{POLICY_NAME}", 1, 1, "", "cannot be read while no commit can")
            return PolicySeen(digest="unreadable", problems=(problem,)) if expected else PolicySeen()
        return committed_policy(content, self._cache_dir)

    def absent(self, look: Look, gone: Iterable[Gone]) -> dict[Gone, Verdict]:
        """What it means that no file of `look` declares these documents any more: what a commit lacks was taken out."""
        if look.problems:
            verdict = Verdict(Absence.UNKNOWN, look.problems[0].message)
            return dict.fromkeys(gone, verdict)
        return dict.fromkeys(gone, _ABSENT)

    # --- where it comes from ----------------------------------------------------------------------------------------

    def revision(self) -> str:
        """`main@sha1:…` of the commit that was looked at last, or else of the one that was settled; empty where there is
        none."""
        at = self._looked or self._settled
        return revision(at.name, at.commit) if at else ""

    def refused(self) -> Refused | None:
        return self._refused

    def authors(self, paths: Iterable[str]) -> Mapping[str, Commit]:
        """The last commit of each path, in the history of the commit that was looked at: of one that is gone, the commit
        that took it out. Raises GitUnusable."""
        at = self._looked
        return {} if at is None else newest_commits(at.repository, at.commit, paths)

    def user(self) -> str:
        return ""


@dataclass(frozen=True, slots=True)
class _At:
    """A commit that was looked at, and the repository that held it."""

    repository: Repository
    commit: str
    name: str


@dataclass(frozen=True, slots=True)
class _Mark:
    """The commit that the record was told, whether it holds a policy, how it was read, and what was asked for it."""

    commit: str
    name: str
    prefix: str
    governed: bool
    reading: str
    source: str

    @property
    def text(self) -> str:
        return json.dumps(astuple(self))

    @classmethod
    def read(cls, text: str, reading: str) -> _Mark | None:
        """None where the text is of another reading, or none."""
        try:
            found = cls(*json.loads(text))
        except (ValueError, TypeError):
            return None
        return found if found.reading == reading else None


def settled_source(mark: str) -> str:
    """The name of the source that a mark speaks of; empty where it is none."""
    try:
        return str(json.loads(mark)[-1])
    except (ValueError, LookupError):
        return ""


class _Files(Mapping[str, Row]):
    """The files of a commit, listed when they are first asked for."""

    def __init__(self, at: _At | None, known: Mapping[str, Entry] | None) -> None:
        self._at = at
        self._known = known

    def _listed(self) -> Mapping[str, Entry]:
        if self._known is None:
            self._known = entries(self._at.repository, self._at.commit) if self._at else {}
        return self._known

    def __getitem__(self, path: str) -> Row:
        return Row(0, 0, 0, 0, self._listed()[path].blob, False, False)

    def __iter__(self) -> Iterator[str]:
        return iter(self._listed())

    def __len__(self) -> int:
        return len(self._listed())


def _compared(repository: Repository, settled: str, head: Head) -> _Found:
    """What differs at a commit from the settled one; where git knows that no more, from nothing."""
    if settled == head.commit:
        return _Found()
    since = _since(repository, settled, head.commit)
    whole = since is None
    differs = dict(entries(repository, head.commit)) if since is None else since.files
    changed = {printable(path): _shown(path, entry) for path, entry in differs.items() if entry is not None}
    vanished = tuple(sorted(printable(path) for path, entry in differs.items() if entry is None))
    if (whole or vanished) and not changed and not holds_specs(repository, head.commit):
        where = f"below {repository.prefix.rstrip('/')}" if repository.prefix else "in it"
        said = f"{revision(head.name, head.commit)} holds no spec {where}, which deletes nothing"
        return _Found(trouble=said)
    return _Found(whole, changed, vanished, same_policy=since is not None and not since.beside)


def _since(repository: Repository, settled: str, commit: str) -> Differences | None:
    """None where nothing was settled, or the settled commit is gone."""
    if not settled:
        return None
    try:
        return differences(repository, settled, commit, beside=POLICY_NAME)
    except GitUnusable as error:
        if error.missing:
            raise
        return None


def _unreadable(path: str, error: GitUnusable) -> Parsed:
    from reconciler.repo.parse import Parsed

    return Parsed((), (Problem(path, 1, 1, "", f"cannot be read: {error}".rstrip(".")),))


def _shown(path: str, entry: Entry) -> Entry:
    return entry if path == printable(path) else entry._replace(mode=_NOT_UTF_8)


def _links(repository: Repository, links: Mapping[str, Entry]) -> dict[str, str]:
    """Why each link is not read: nothing to tell (empty) where it leads to a spec that is read anyway."""
    targets = dict(read_blobs(repository, (entry.blob for entry in links.values())))
    return {path: _link(path, targets[entry.blob]) for path, entry in links.items()}


def _link(path: str, target: bytes | None) -> str:
    text = (target or b"/").decode("utf-8", "replace")
    leads = posixpath.normpath(posixpath.join(posixpath.dirname(path), text))
    if not text.startswith("/") and not leads.startswith("../") and is_spec_path(leads):
        return ""
    return "is a link; of a commit, only the files themselves are read"
