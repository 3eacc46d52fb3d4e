"""Looking at the tree at a cost that follows change.

A look walks the folders once and compares stamps with the index: only files whose stamp is new are read, only contents
that were never met are parsed, and only what differs from what the controller was last told (`settle`) is handed on.
A look marks nothing; a difference that is not settled is there again at the next.

While a watch names what happens (`hints.py`), a look may ask about that alone. It does so only where the last look left
nothing open and git has not moved since, and only for files whose content is new: as soon as anything is gone, or
looks odd, the whole tree is walked, so nothing is ever absent because of a hint. It is walked now and then in any case
(`rhythm.py`), because a watch may miss something.

No look trusts a tree in the making. While git is at work, and where it was during the look, a changed file counts only
once two looks have seen the same, and nothing is absent.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reconciler.errors import Problem
from reconciler.repo.absence import Trace, judge
from reconciler.repo.git import Moment, Repository
from reconciler.repo.hints import Hints
from reconciler.repo.index import Index, Row
from reconciler.repo.look import FileSeen, Gone, Look, Verdict
from reconciler.repo.rhythm import Rhythm
from reconciler.repo.stamps import Stamp, is_racy, slack_ns
from reconciler.repo.walk import BeingWritten, Listing, Unreadable, content_digest, glance, moment_ns, read, walk

if TYPE_CHECKING:  # imported late: a look that finds nothing new parses nothing
    from reconciler.core.provider import Catalogue
    from reconciler.repo.parse import Parsed
    from reconciler.repo.policy_file import PolicySeen
    from reconciler.repo.source import Watching

#: Two looks are two only when this much time lies between them, in milliseconds.
SETTLE_MS: Final = 400

#: A file of no bytes, or of whole blocks (as buffered writers leave one in the middle), is no content while git is at
#: work, or while it is younger than this, in nanoseconds.
YOUNG_NS: Final = 50_000_000
BLOCK_BYTES: Final = 4096

#: Look again after this many milliseconds where git was at work, and where it waits for a person: in a merge, or with a
#: lock that has stood for STANDING_AFTER_MS.
AT_WORK_MS: Final = 100
STANDING_MS: Final = 2_000
STANDING_AFTER_MS: Final = 10_000

#: Contents are parsed in batches of about this many bytes.
BATCH_BYTES: Final = 16 << 20


@dataclass(slots=True)
class _Found:
    """What one look is finding out. `moved`: a file is new or bears another stamp than at the last look. `unparsed` holds
    bytes by path until there are enough of them for a batch."""

    rows: dict[str, Row] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    touched: list[str] = field(default_factory=list)
    written: set[str] = field(default_factory=set)
    racy: set[str] = field(default_factory=set)
    moved: bool = False
    unparsed: dict[str, bytes] = field(default_factory=dict)
    unparsed_bytes: int = 0


@dataclass(slots=True)
class _Calm:
    """A look that left nothing open: once it is settled, the next may ask about what was named since, and about the `racy`.
    `moment` is git's, `folders` are those that were read."""

    moment: Moment | None
    racy: set[str]
    folders: set[str]


class Tree:
    """The specs below `root`.

    `cache_dir` keeps the index and parsed contents (None: in memory). `identity` names the record that differences are
    against, `version` the format and catalogue that parsing depends on. `catalogue` is asked for only when something
    must be parsed. `told` is false where the record was told of something else since. A tree that is not `writable` reads
    the index of a running daemon and changes nothing on disk. `settle_ms` must lie between two looks that count as two.
    `moment` is the time that the kernel would give a file made now, in nanoseconds since the Unix epoch.
    """

    def __init__(
        self, root: Path, cache_dir: Path | None, *, identity: str, version: str, catalogue: Callable[[], Catalogue],
        writable: bool = True, settle_ms: int = SETTLE_MS, told: bool = True, moment: Callable[[], int] = moment_ns,
    ) -> None:  # fmt: skip
        self.settle_ms = settle_ms
        self._moment = moment
        self._root = os.path.abspath(root)
        self._cache_dir = cache_dir
        self._catalogue = catalogue
        self._index = Index(cache_dir, identity=identity, version=version, writable=writable)
        self._index.told &= told
        self._rows: dict[str, Row] = self._index.rows
        self._told: dict[str, str] = {path: row.digest for path, row in self._rows.items()} if self._index.told else {}
        self._differing = set() if self._index.told else set(self._rows)  # rows whose digest is not what was told
        self._parsed: dict[str, Parsed] = {}  # by content digest, of what is not settled
        self._blobs: dict[str, Parsed] = {}  # by blob id, of what is gone from disk but not from HEAD
        self._held: dict[str, tuple[Row, int]] = {}
        self._hints = Hints()
        self._rhythm = Rhythm(self._root)
        self._calm: _Calm | None = None
        self._missing: Collection[str] | None = None  # the rows that the last look has not seen
        self._equal_since_ms = 0
        self._torn: str | None = None
        self._torn_since_ms = 0

    def close(self) -> None:
        self._index.close()

    def watch(self, wake: Callable[[], None]) -> Watching:
        """Calls `wake`, from any thread, whenever a look may find something new."""
        from reconciler.repo.watch import Watch  # only a daemon watches

        return Watch(Path(self._root), wake, self._hints)

    def ask(self) -> None:
        """A folder is read at every look."""

    # --- looking ----------------------------------------------------------------------------------------------------

    def look(self, now_ms: int, grace_ms: int | None = None, *, hinted: bool = False) -> Look:
        """One look at the whole tree; what is wrong with the tree is in the answer. `now_ms` is any clock that only
        goes forward (alive time will do). So long must a tree have stood still before what it lacks is absent, where no
        commit says so: `grace_ms`, else `settle_ms`. `hinted`: what the watch has named is enough, where that can be."""
        named = self._hints.take()
        repository = Repository.open(Path(self._root))
        before = repository.moment() if repository else None
        kernel_ns = self._moment()
        grace_ms = self.settle_ms if grace_ms is None else grace_ms
        is_due = self._rhythm.is_due(now_ms)
        if hinted and named is not None and not is_due:
            found = self._glance(named, repository, before, now_ms, kernel_ns)
            if found is not None:
                patience_ms = self._patience_left(torn=None, moved=found.moved, now_ms=now_ms, grace_ms=grace_ms)
                return self._answer(found, self._rows, before, settled=patience_ms == 0)
        listing = walk(self._root, self._rows)
        found = self._compare(listing, kernel_ns)
        after = repository.moment() if repository else None
        torn, again_ms = _torn(before, after, kernel_ns)
        unlisted = self._rows.keys() - found.rows.keys()
        missing = unlisted - listing.files.keys()
        moved = found.moved or missing != self._missing
        patience_ms = self._patience_left(torn=torn, moved=moved, now_ms=now_ms, grace_ms=grace_ms)
        settled = patience_ms == 0
        held = self._hold(found, torn is not None, now_ms, kernel_ns)
        vanished = sorted(path for path in missing if path in self._told and listing.knows(path))
        if held:
            again_ms = min(again_ms or self.settle_ms, self.settle_ms)
        elif not settled and (vanished or self._loses_documents(found, held)):
            again_ms = min(again_ms or patience_ms, patience_ms)
        again_ms = self._patience(torn, again_ms, now_ms)
        unseen = {path for path in unlisted if path in self._told}
        self._missing = unseen - listing.files.keys()
        self._differing = found.changed | (self._differing & unseen)
        self._rows = {path: self._rows[path] for path in unseen} | found.rows if unseen else found.rows
        if hinted:
            missed = is_due and named is not None and not named.issuperset((*found.changed, *vanished))
            self._rhythm.walked(now_ms, files=len(self._rows), folders=listing.folders, missed=missed)
        is_calm = not (torn or held or vanished or listing.problems or listing.targets or unseen) and again_ms is None
        self._calm = _Calm(after, found.racy, listing.folders) if is_calm else None
        problems = tuple(problem for _, problem in sorted(listing.problems.items()))
        return self._answer(
            found, found.rows, after, settled=settled, held=held, vanished=vanished, problems=problems, torn=torn,
            again_ms=again_ms,
        )  # fmt: skip

    def _answer(
        self, found: _Found, files: Mapping[str, Row], moment: Moment | None, *, settled: bool,
        held: Collection[str] = (), vanished: Iterable[str] = (), problems: tuple[Problem, ...] = (),
        torn: str | None = None, again_ms: int | None = None,
    ) -> Look:  # fmt: skip
        """`files` are all that there are."""
        return Look(
            whole=not self._index.told,
            changed=tuple(self._seen(path, found.rows[path]) for path in sorted(found.changed.difference(held))),
            vanished=tuple(vanished),
            held=tuple(sorted(held)),
            problems=problems,
            head=moment.head if moment else None,
            torn=torn,
            again_ms=again_ms,
            settled=settled,
            files=files,
            touched=tuple(found.touched),
        )

    def _glance(
        self, named: Collection[str], repository: Repository | None, before: Moment | None, now_ms: int, kernel_ns: int
    ) -> _Found | None:
        """What differs, as far as the watch has named it; None where only a walk can tell."""
        calm = self._calm
        if calm is None or self._differing or calm.moment != before or not self._index.told:
            return None
        stamps = glance(self._root, calm.racy.union(named), self._rows, calm.folders)
        if stamps is None:
            return None
        listing = Listing(files=stamps)
        found = self._compare(listing, kernel_ns)
        after = repository.moment() if repository else None
        is_odd = bool(listing.problems or found.written or len(found.rows) < len(stamps) or after != before)
        is_odd |= any(path in self._rows and self._rows[path].invalid for path in found.changed)
        if is_odd or self._hold(found, False, now_ms, kernel_ns) or self._loses_documents(found, ()):
            return None
        self._rows |= found.rows
        calm.racy, self._differing = found.racy, set(found.changed)
        return found

    def _compare(self, listing: Listing, kernel_ns: int) -> _Found:
        """Reads the files whose stamps say nothing yet, parses what was never met, and finds what differs from what
        was told."""
        known, found = self._rows, _Found(rows=listing.same)
        rows = found.rows
        unread: list[tuple[str, Stamp]] = []
        for path, stamp in listing.files.items():
            row = known.get(path)
            if row is None or row.racy or row[:4] != stamp:
                unread.append((path, stamp))
            else:
                rows[path] = row
        found.changed.update(self._differing & rows.keys())
        for path, stamp in sorted(unread):
            self._read(listing, found, path, stamp, kernel_ns)
        self._parse_batch(found)
        self._recall(listing, found)
        for path in found.changed:
            row = found.rows[path]
            found.rows[path] = row._replace(invalid=bool(self._parsed[row.digest].problems))
        return found

    def _read(self, listing: Listing, found: _Found, path: str, stamp: Stamp, kernel_ns: int) -> None:
        content = self._content(listing, path, stamp, found.written)
        old = self._rows.get(path)
        if path in listing.files and (old is None or old.stamp != stamp):
            found.moved = True
        if content is None:
            return
        digest = content_digest(content)
        row = Row(*stamp, digest, is_racy(stamp, kernel_ns), old is not None and old.invalid)
        found.rows[path] = row
        if row.racy:
            found.racy.add(path)
        # What differed before, and was not told, may have been taken in otherwise all the same: it is told once more.
        if self._told.get(path) == digest and path not in self._differing:
            if row != old:
                found.touched.append(path)
            return
        found.changed.add(path)
        if digest not in self._parsed:
            self._gather(found, path, content)

    def _gather(self, found: _Found, path: str, content: bytes) -> None:
        found.unparsed[path] = content
        found.unparsed_bytes += len(content)
        if found.unparsed_bytes >= BATCH_BYTES:
            self._parse_batch(found)

    def _content(self, listing: Listing, path: str, stamp: Stamp, written: set[str]) -> bytes | None:
        """The bytes of a file; None where it is gone, refused or being written, which is noted."""
        try:
            return read(listing.targets.get(path) or f"{self._root}/{path}", stamp)
        except FileNotFoundError:
            listing.files.pop(path, None)
        except Unreadable as error:
            listing.refuse(path, str(error))
        except BeingWritten:
            written.add(path)
            listing.files[path] = stamp  # it is there
        return None

    def _parse_batch(self, found: _Found) -> None:
        self._learn({content_digest(content): (path, content) for path, content in sorted(found.unparsed.items())})
        found.unparsed.clear()
        found.unparsed_bytes = 0

    def _recall(self, listing: Listing, found: _Found) -> None:
        """What was read by an earlier look and not settled since: from memory, the cache, or the file once more."""
        missing = {path for path in found.changed if found.rows[path].digest not in self._parsed}
        self._fetch({found.rows[path].digest for path in missing})
        for path in sorted(missing):
            row = found.rows[path]
            if row.digest in self._parsed:
                continue
            content = self._content(listing, path, row.stamp, found.written)
            if content is None:
                found.changed.discard(path)
                del found.rows[path]
            else:
                found.rows[path] = row._replace(digest=content_digest(content))
                self._gather(found, path, content)
        self._parse_batch(found)

    def _fetch(self, digests: Collection[str]) -> None:
        texts = self._index.parsed(digests) if digests else {}
        if texts:
            from reconciler.repo.parse import Parsed

            self._parsed |= {digest: Parsed.from_json(text) for digest, text in texts.items()}

    def _learn(self, contents: Mapping[str, tuple[str, bytes]]) -> None:
        """Makes these contents (digest to path and bytes) known: from the cache where they were met before."""
        self._fetch(contents.keys() - self._parsed.keys())
        fresh = {digest: file for digest, file in contents.items() if digest not in self._parsed}
        if not fresh:
            return
        from reconciler.repo.parse import parse_many

        parsed = dict(zip(fresh, parse_many(list(fresh.values()), self._catalogue()), strict=True))
        self._index.keep_parsed({digest: one.to_json() for digest, one in parsed.items()})
        self._parsed |= parsed

    def _seen(self, path: str, row: Row) -> FileSeen:
        return FileSeen(path, row.digest, self._parsed[row.digest].at(path))

    # --- what counts ------------------------------------------------------------------------------------------------

    def _patience(self, torn: str | None, again_ms: int | None, now_ms: int) -> int | None:
        """When to look again: a tree that stays torn, as by a lock that a killed git left, is looked at less often."""
        if torn != self._torn:
            self._torn, self._torn_since_ms = torn, now_ms
        if torn is None or again_ms is None or now_ms - self._torn_since_ms < STANDING_AFTER_MS:
            return again_ms
        return max(again_ms, STANDING_MS)

    def _patience_left(self, *, torn: str | None, moved: bool, now_ms: int, grace_ms: int) -> int:
        """How much longer a listing must equal the earlier ones until the tree is settled; 0 where it is. `moved`: this one
        does not."""
        if torn is not None or moved:
            self._equal_since_ms = now_ms
        return max(0 if torn is None else 1, self._equal_since_ms + grace_ms - now_ms)

    def _hold(self, found: _Found, torn: bool, now_ms: int, kernel_ns: int) -> set[str]:
        """The changed files whose content does not count yet."""
        earlier, self._held = self._held, {}
        held = set(found.written)
        for path in found.changed:
            row = found.rows[path]
            unfinished = row.stamp[0] % BLOCK_BYTES == 0
            young = abs(kernel_ns - row.stamp[2]) < YOUNG_NS
            if not torn and not (unfinished and young):
                continue
            then, since_ms = earlier.get(path, (row, now_ms))
            if then.stamp != row.stamp or then.digest != row.digest:
                since_ms = now_ms
            self._held[path] = (row, since_ms)
            if now_ms - since_ms < self.settle_ms or (torn and unfinished):
                held.add(path)
        return held

    def _loses_documents(self, found: _Found, held: Collection[str]) -> bool:
        """Whether a changed file declares less than it did: then a second look will be wanted."""
        before = {path: self._told[path] for path in found.changed - set(held) if path in self._told}
        texts = self._index.parsed(before.values()) if before else {}
        if not texts:
            return bool(before)
        from reconciler.repo.parse import Parsed

        names = {digest: _names(Parsed.from_json(text)) for digest, text in texts.items()}
        now = {path: _names(self._parsed[found.rows[path].digest]) for path in before}
        return any(digest not in names or names[digest] - now[path] for path, digest in before.items())

    def has_news(self, most: int) -> bool:
        """Whether files are new, or bear another stamp than at the last look, and how many are these, `most` at most. A large
        tree is not walked once more for that."""
        if len(self._rows) > most:
            return False
        seen = walk(self._root, self._rows).files.items()
        return 0 < sum(path not in self._rows or self._rows[path][:4] != stamp for path, stamp in seen) <= most

    # --- after a look -----------------------------------------------------------------------------------------------

    def settle(self, look: Look, keep: Iterable[str] = (), identity: str = "") -> None:
        """The controller has committed what `look` said, except for the files in `keep` (changed or vanished): they
        remain differences. `identity` names the record as it is by that commit: an index that was not told so, because
        of a crash in between, counts as told nothing. Nothing that this writes is needed; without it the next process
        reads more."""
        kept = set(keep)
        changed = {seen.path: seen.digest for seen in look.changed if seen.path not in kept}
        gone = [path for path in look.vanished if path not in kept]
        rows = {path: look.files[path] for path in (*changed, *look.touched)}
        self._index.tell(rows, gone, look.head or "" if look.torn is None else self._index.head, identity)
        self._told |= changed
        for path in gone:
            del self._told[path]
            self._rows.pop(path, None)
        self._differing.difference_update(changed, gone)
        still = {self._rows[path].digest for path in (*kept, *look.held) if path in self._rows}
        self._parsed = {digest: parsed for digest, parsed in self._parsed.items() if digest in still}

    def parsed(self, look: Look, paths: Iterable[str] | None = None) -> dict[str, Parsed]:
        """The parsed form of files of a look, changed or not: of `paths`, or of all. A file that has changed or gone
        since is left out."""
        wanted = sorted(look.files if paths is None else set(paths) & look.files.keys())
        known = {seen.path: seen.parsed for seen in look.changed}
        others = [path for path in wanted if path not in known]
        before = dict(self._parsed)
        self._fetch({look.files[path].digest for path in others} - self._parsed.keys())
        for path in others:
            self._reread(path, look.files[path])
        known |= {
            path: self._parsed[look.files[path].digest].at(path)
            for path in others
            if look.files[path].digest in self._parsed
        }
        self._parsed = before
        return {path: known[path] for path in wanted if path in known}

    def contents(self, paths: Iterable[str]) -> dict[str, bytes]:
        """The bytes of files as they stand now, to say where in them something is; what cannot be read is left out."""
        found = {}
        for path in sorted(set(paths) & self._rows.keys()):
            try:
                found[path] = read(os.path.realpath(f"{self._root}/{path}"), self._rows[path].stamp)
            except (OSError, Unreadable, BeingWritten):
                continue
        return found

    def _reread(self, path: str, row: Row) -> None:
        if row.digest in self._parsed:
            return
        try:
            content = read(os.path.realpath(f"{self._root}/{path}"), row.stamp)
        except (OSError, Unreadable, BeingWritten):
            return
        self._learn({row.digest: (path, content)})

    def policy(self, expected: bool) -> PolicySeen:
        """The policy beside the root. `expected` says that there was one at the last look."""
        from reconciler.repo.policy_file import read_policy

        return read_policy(Path(self._root), self._cache_dir, expected=expected)

    # --- what is missing --------------------------------------------------------------------------------------------

    def absent(self, look: Look, gone: Iterable[Gone]) -> dict[Gone, Verdict]:
        """What it means that no file of `look` declares these documents any more."""
        trace = Trace(Path(self._root), self._index.head, self._declared)
        return judge(look, tuple(gone), trace)

    def _declared(self, repository: Repository, blobs: Mapping[str, str]) -> dict[str, Parsed]:
        """The parsed form of blobs (path to id) of HEAD; what is no file of a spec's size is left out."""
        unknown = {path: blob for path, blob in blobs.items() if blob not in self._blobs}
        contents = repository.contents(unknown)
        digests = {path: content_digest(content) for path, content in contents.items()}
        before = dict(self._parsed)
        self._learn({digests[path]: (path, content) for path, content in contents.items()})
        self._blobs |= {unknown[path]: self._parsed[digest] for path, digest in digests.items()}
        self._parsed = before
        self._blobs = {blob: self._blobs[blob] for blob in set(blobs.values()) & self._blobs.keys()}
        return {path: self._blobs[blob].at(path) for path, blob in blobs.items() if blob in self._blobs}


def _names(parsed: Parsed) -> set[tuple[str, str]]:
    """Of what a file declares, what is invalid included."""
    valid = {(document.kind, document.name) for document in parsed.documents}
    return valid | {(problem.kind, problem.name) for problem in parsed.problems if problem.name}


def _torn(before: Moment | None, after: Moment | None, kernel_ns: int) -> tuple[str | None, int | None]:
    """Why the tree between two moments of git's may be in the making, and when to look again; None where it is not."""
    if before is None and after is None:
        return None, None
    if before is None or after is None:
        return "a git repository came or went while the tree was read", AT_WORK_MS
    if busy := before.busy or after.busy:
        return busy, AT_WORK_MS if "lock" in busy else STANDING_MS
    if before != after or abs(kernel_ns - before.touched_ns) <= slack_ns(before.touched_ns):
        return "git was at work while the tree was read", AT_WORK_MS
    return None, None
