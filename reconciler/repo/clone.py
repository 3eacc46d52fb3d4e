"""A clone of a repository elsewhere, and the newest commit of its branch that is believed.

The clone is bare, holds the whole history, and of the files only the specs: blobs are asked for once a commit names them,
all at once, so that nobody who reads the clone ever waits for the network. What is known of the remote stands in one file,
`known.json`, which is replaced whole; `current` is a link to the folder of git's, so that a clone which has been damaged
is replaced by a new one in one step, beside which the old one has served until then.

A fetch ends in one of two ways: a newer commit is believed, or the last good one stays and it is known why. No commit is
believed that the keys refuse, that holds no spec, or whose specs are not all here.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from reconciler.clock import Clock
from reconciler.core.policy import FILE_NAME as POLICY_NAME
from reconciler.core.remote import Address, check_branch
from reconciler.core.value import dataclass
from reconciler.errors import ReconcileError
from reconciler.repo.git import SUBMODULE, GitUnusable, Repository
from reconciler.repo.objects import Entry, blob_beside_root, differences, entries, holds_specs
from reconciler.repo.transport import CLONE_TIMEOUT_S, FETCH_TIMEOUT_S, Session, Transport, write_private
from reconciler.repo.verify import refused

#: The folder in the state directory.
CLONE_NAME: Final = "clone"
KNOWN_NAME: Final = "known.json"
CURRENT_NAME: Final = "current"

_VERSION: Final = 1
#: The whole of a clone's own settings, written anew before each fetch: nobody else's count.
_SETTINGS: Final = """\
[core]
	repositoryformatversion = {version}
	filemode = true
	bare = true
[remote "origin"]
	url = {url}
{more}"""
#: The settings of a clone whose ids are of another hash than SHA-1.
_HASHED: Final = """\
[extensions]
	objectFormat = {hashed}
"""
#: What makes a fetch one of history without files. It is told to commands that fetch or tidy, and stands in no settings:
#: to everybody else a file that is not here is simply missing, and is not fetched in passing.
_WITHOUT_FILES: Final = (
    "-c", "remote.origin.promisor=true", "-c", "remote.origin.partialclonefilter=blob:none",
)  # fmt: skip
_FETCH: Final = (
    "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--no-recurse-submodules",
)  # fmt: skip
#: git's words for what no better clone would mend.
_REMOTE: Final = re.compile(
    r"unable to access|could not resolve|connect|could not read (?:from remote|username|password)|authentication|denied|"
    r"not found|does not appear to be|remote end hung up|early eof|timed out|did not end within|find remote ref|rpc failed|"
    r"terminal prompts|not exported|host key|unable to look up|not allowed|access rights|interrupted|returned error|"
    r"kex_exchange|unexpected disconnect|no matching|identification|was not found|upload-pack|protocol",
    re.IGNORECASE,
)
_COMMAND: Final = re.compile(r"^'git [a-z-]+' failed: ")
_NO_BRANCH: Final = re.compile(r"find remote ref")
_OTHER_HASH: Final = re.compile(r"mismatched algorithms: client \w+; server (sha1|sha256)")
_NO_WANT: Final = re.compile(r"not our ref|unadvertised object", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """What is followed. An empty `branch` is the one that the remote's HEAD names when it is first fetched. `prefix` is the
    folder of the specs, empty or ending in a slash."""

    address: Address
    branch: str = ""
    prefix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of a remote. `commit` is the newest one that is believed, empty before the first; `replaced` the one
    before it, where it is no descendant of that: history was rewritten. `plain`: the remote gives no single files, so that
    all are fetched with the history. `remade` counts how often the clone was damaged or gone, and made anew. `hashed` names
    the hash of its ids, empty for SHA-1. `trouble`, a clause, says why the remote could not be fetched or what it holds is
    not believed, since `trouble_ms`; `refused` is the newest commit, where
    that one is not believed; `reached` whether the last attempt at
    fetching came to an end, and `fetched_ms` when one last did."""

    url: str
    prefix: str
    branch: str = ""
    commit: str = ""
    replaced: str = ""
    trouble: str = ""
    trouble_ms: int = 0
    refused: str = ""
    fetched_ms: int = 0
    reached: bool = False
    packs: str = ""
    plain: bool = False
    hashed: str = ""
    remade: int = 0


class NotGiven(GitUnusable):
    """The remote is reached and does not give what is wanted: no better clone would mend that."""


class Clone:
    """The clone in `folder`. `refusal` says why a commit of a git folder is not believed, empty where it is. One thread
    fetches; any may read `known`."""

    def __init__(
        self, folder: Path, remote: Remote, transport: Transport, refusal: Callable[[Path, str], str], clock: Clock
    ) -> None:
        self._folder = folder
        self._remote = remote
        self._transport = transport
        self._refusal = refusal
        self._clock = clock
        self._known = self._read()

    @property
    def known(self) -> Known:
        return self._known

    @property
    def git_dir(self) -> Path:
        """The folder of git's: a link that leads to the same place as long as the clone is sound."""
        return self._folder / CURRENT_NAME

    def repository(self) -> Repository | None:
        """To read the believed commit by; None where there is none."""
        git_dir = self.git_dir
        if not self._known.commit or not git_dir.is_dir():
            return None
        return self._within(git_dir)

    def close(self) -> None:
        """Ends a fetch that is under way, from any thread."""
        self._transport.close()

    # --- fetching ---------------------------------------------------------------------------------------------------

    def fetch(self, *, patient: bool = True) -> Known:
        """Asks the remote for what is new, and believes it or not; what went wrong is in the answer. Where another process
        fetches into this clone, waits for it, or without patience takes what is known. So does a process that may not
        write here."""
        with self._alone(patient) as alone:
            self._known = self._read()
            if not alone:
                return self._known
            try:
                self._transport.sweep()
                self._sweep()
                with self._transport.session() as session:
                    self._known = self._fetched(session)
            except (ReconcileError, OSError) as error:
                self._known = self._failed(error)
            self._write()
        return self._known

    def _fetched(self, session: Session) -> Known:
        branch = self._remote.branch or self._known.branch or self._default_branch(session)
        try:
            return self._brought(session, branch)
        except GitUnusable as error:
            other = _OTHER_HASH.search(str(error))
            if other is None:
                raise
            self._known = replace(self._known, hashed="" if other[1] == "sha1" else other[1])
            return self._cloned(session, branch)

    def _brought(self, session: Session, branch: str) -> Known:
        """Into the clone that there is, or into a new one where that is not sound."""
        git_dir = self._sound(session.transport.local())
        if git_dir is not None:
            try:
                return self._taken(session, git_dir, branch)
            except GitUnusable as error:
                remote = isinstance(error, NotGiven) or _REMOTE.search(str(error))
                if remote or self._is_whole(session.transport.local(), git_dir):
                    raise
        return self._cloned(session, branch)

    def _cloned(self, session: Session, branch: str) -> Known:
        """A new clone beside the one that there may be, in whose place it steps once it holds what is believed."""
        fresh = self._fresh()
        try:
            known = self._taken(session, fresh, branch)
            if known.trouble and known.commit:  # what was believed before still is, if the new clone has it
                known = replace(known, plain=self._complete(session, fresh, known.commit, known))
                known = replace(known, packs=_packs(fresh))
            self._install(fresh)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        return replace(known, remade=known.remade + bool(self._known.commit))

    def _taken(self, session: Session, git_dir: Path, branch: str) -> Known:
        """Fetches the branch into a git folder, and judges its newest commit."""
        here = session.transport.local()
        self._settle(git_dir)
        known = replace(self._known, branch=branch, trouble="", trouble_ms=0, refused="")
        tip = self._tip(session, git_dir, known)
        known = replace(known, reached=True, fetched_ms=self._clock.now().wall_ms)
        refusal = self._refusal(git_dir, tip)
        if not refusal and tip == known.commit and known.packs == _packs(git_dir):
            return known
        if not refusal:
            refusal = "" if holds_specs(self._within(git_dir), tip) else f"it holds no spec{self._where}"
        if refusal:
            known = self._troubled(replace(known, refused=tip), refused(git_dir, tip, refusal))
        else:
            known = replace(known, plain=self._complete(session, git_dir, tip, known))
            known = self._believed(here, git_dir, tip, known)
        self._tidy(here, git_dir)
        return replace(known, packs=_packs(git_dir))

    def _believed(self, here: Session, git_dir: Path, tip: str, known: Known) -> Known:
        here.run(git_dir, "update-ref", "refs/reconciler/believed", tip)
        before = known.commit
        if not before or before == tip:
            return replace(known, commit=tip)
        return replace(known, commit=tip, replaced="" if _is_ancestor(here, git_dir, before, tip) else before)

    @property
    def _where(self) -> str:
        return f" below {self._remote.prefix}" if self._remote.prefix else ""

    def _default_branch(self, session: Session) -> str:
        """The branch that the remote's HEAD names. Raises GitUnusable."""
        url = self._remote.address.url
        answer = session.run(self._folder / "none", "ls-remote", "--symref", "--", url, "HEAD")
        found = re.match(rb"ref: refs/heads/(\S+)\tHEAD\n", answer)
        if found is None:
            raise GitUnusable(f"{url} names no default branch; name one with --branch.")
        branch = os.fsdecode(found[1])
        check_branch(branch)
        return branch

    def _tip(self, session: Session, git_dir: Path, known: Known) -> str:
        """The branch's newest commit, with its history. Raises GitUnusable."""
        timeout_s = FETCH_TIMEOUT_S if known.commit else CLONE_TIMEOUT_S
        without = () if known.plain else _WITHOUT_FILES
        try:
            session.run(git_dir, *without, *_FETCH, "origin", _refs(known.branch), timeout_s=timeout_s)
        except GitUnusable as error:
            if _NO_BRANCH.search(str(error)):
                raise NotGiven(f"{self._remote.address.url} has no branch '{known.branch}'.") from None
            raise
        ours = f"refs/remotes/origin/{known.branch}^{{commit}}"
        return session.transport.local().run(git_dir, "rev-parse", "--verify", ours).decode().strip()

    # --- the files of a commit --------------------------------------------------------------------------------------

    def _within(self, git_dir: Path) -> Repository:
        return Repository(git_dir, git_dir, git_dir, self._remote.prefix)

    def _needed(self, git_dir: Path, commit: str, known: Known) -> set[str]:
        """The blobs of the commit that are read: its specs, and the policy beside them. What the believed commit of this
        very clone holds is here."""
        repository = self._within(git_dir)
        found: Iterable[Entry | None]
        if known.commit and git_dir == self.git_dir:
            found = differences(repository, known.commit, commit).files.values()
        else:
            found = entries(repository, commit).values()
        policy = blob_beside_root(repository, commit, POLICY_NAME)
        return {one.blob for one in found if one is not None and one.mode != SUBMODULE} | (
            {policy} if policy else set()
        )

    def _complete(self, session: Session, git_dir: Path, commit: str, known: Known) -> bool:
        """Sees to it that every spec of the commit is here; whether the remote gives files only with the history. Raises
        GitUnusable."""
        here, plain = session.transport.local(), known.plain
        missing = _missing(here, git_dir, self._needed(git_dir, commit, known))
        if missing:
            plain = not self._fetch_files(session, git_dir, missing) or plain
            if plain:
                session.run(git_dir, *_FETCH, "--refetch", "origin", _refs(known.branch), timeout_s=CLONE_TIMEOUT_S)
            still = _missing(here, git_dir, missing)
            if still:
                raise NotGiven(
                    f"{self._remote.address.url} does not give {len(still):,} files of commit {commit[:12]}."
                )
        return plain

    def _fetch_files(self, session: Session, git_dir: Path, blobs: set[str]) -> bool:
        """As git itself fetches what a clone of this kind misses; False from a server that gives no single files."""
        wanted = "".join(f"{one}\n" for one in sorted(blobs)).encode()
        alone = ("-c", "fetch.negotiationAlgorithm=noop")
        try:
            session.run(git_dir, *_WITHOUT_FILES, *alone, *_FETCH, "--stdin", "origin", stdin=wanted)
        except GitUnusable as error:
            if _NO_WANT.search(str(error)):
                return False
            raise
        return True

    # --- the folder -------------------------------------------------------------------------------------------------

    @contextmanager
    def _alone(self, patient: bool) -> Iterator[bool]:
        """Whether nobody else fetches, and this process may."""
        try:
            for folder in (self._folder.parent, self._folder):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            yield False
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if patient else fcntl.LOCK_NB))
            alone = True
        except BlockingIOError:
            alone = False
        try:
            yield alone
        finally:
            os.close(lock)

    def _sound(self, here: Session) -> Path | None:
        """The clone that there is, if it is as it was left, or else whole; None where a new one is needed."""
        git_dir = self.git_dir
        if not (git_dir / "HEAD").is_file():
            return None
        if _packs(git_dir) == self._known.packs or self._is_whole(here, git_dir):
            return git_dir
        return None

    def _is_whole(self, here: Session, git_dir: Path) -> bool:
        """Whether git finds nothing wrong with the clone, and it holds the believed commit."""
        try:
            if self._known.commit:
                here.run(git_dir, "cat-file", "-e", f"{self._known.commit}^{{tree}}")
            here.run(git_dir, *_WITHOUT_FILES, "fsck", "--no-dangling", "--no-progress", timeout_s=CLONE_TIMEOUT_S)
        except GitUnusable:
            return False
        return True

    def _fresh(self) -> Path:
        """An empty git folder beside the one that there may be."""
        self._sweep()
        there = [*self._folder.glob("*.git"), self.git_dir.resolve()]  # the link may lead to a folder that is gone
        numbers = [int(path.stem) for path in there if path.stem.isdigit()]
        fresh = self._folder / f"{max(numbers, default=0) + 1}.git"
        for name in ("", "objects", "objects/pack", "objects/info", "refs", "refs/heads"):
            (fresh / name).mkdir(mode=0o700, exist_ok=True)
        write_private(fresh / "HEAD", "ref: refs/heads/none\n")
        return fresh

    def _sweep(self) -> None:
        """Removes clones that have been replaced or were not finished."""
        used = self.git_dir.resolve()
        for left in self._folder.glob("*.git"):
            if left.resolve() != used:
                shutil.rmtree(left, ignore_errors=True)

    def _settle(self, git_dir: Path) -> None:
        """Makes the settings those that they should be."""
        quoted = '"' + self._remote.address.url.replace("\\", "\\\\").replace('"', '\\"') + '"'
        hashed = self._known.hashed
        more = _HASHED.format(hashed=hashed) if hashed else ""
        text = _SETTINGS.format(url=quoted, version=1 if hashed else 0, more=more)
        config = git_dir / "config"
        if not config.exists() or config.read_text("utf-8") != text:
            write_private(config, text)

    def _install(self, fresh: Path) -> None:
        beside = self._folder / f".{CURRENT_NAME}"
        beside.unlink(missing_ok=True)
        beside.symlink_to(fresh.name)
        os.replace(beside, self.git_dir)

    def _tidy(self, here: Session, git_dir: Path) -> None:
        """Many fetches leave many packs; git says itself when they are too many."""
        with contextlib.suppress(GitUnusable):
            here.run(git_dir, *_WITHOUT_FILES, "gc", "--auto", "--quiet", timeout_s=CLONE_TIMEOUT_S)

    # --- what is known ----------------------------------------------------------------------------------------------

    def _read(self) -> Known:
        """What was known of this remote; nothing of another one, whose clone is of no use."""
        url, prefix = self._remote.address.url, self._remote.prefix
        none = Known(url=url, prefix=prefix, branch=self._remote.branch)
        try:
            said = json.loads((self._folder / KNOWN_NAME).read_bytes())
            version = said.pop("version")
            known = Known(**said)
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return none
        same = version == _VERSION and (known.url, known.prefix) == (url, prefix)
        was_there = bool(known.commit) or known.reached  # the name of one that never was is not kept
        branch = self._remote.branch or (known.branch if was_there else "")
        return known if same and branch == known.branch else none

    def _write(self) -> None:
        path = self._folder / KNOWN_NAME
        beside = path.with_name(f".{KNOWN_NAME}")
        with contextlib.suppress(OSError):  # the next fetch tries again; until then it is known here alone
            write_private(beside, json.dumps({"version": _VERSION, **asdict(self._known)}, sort_keys=True) + "\n")
            beside.replace(path)

    def _failed(self, error: Exception) -> Known:
        reason = f"the disk refuses: {error.strerror}" if isinstance(error, OSError) else str(error).rstrip(".")
        if not isinstance(error, NotGiven):
            reason = f"{self._remote.address.url} cannot be fetched: {_COMMAND.sub('', reason)}"
        return self._troubled(replace(self._known, reached=False, refused=""), reason)

    def _troubled(self, known: Known, trouble: str) -> Known:
        before = self._known
        since_ms = before.trouble_ms if before.trouble == trouble else self._clock.now().wall_ms
        return replace(known, trouble=trouble, trouble_ms=since_ms)


def _refs(branch: str) -> str:
    return f"+refs/heads/{branch}:refs/remotes/origin/{branch}"


def _is_ancestor(here: Session, git_dir: Path, older: str, newer: str) -> bool:
    try:
        here.run(git_dir, "merge-base", "--is-ancestor", older, newer)
    except GitUnusable:
        return False
    return True


def _missing(here: Session, git_dir: Path, blobs: set[str]) -> set[str]:
    """Those that are not here."""
    if not blobs:
        return set()
    asked = "".join(f"{one}\n" for one in sorted(blobs)).encode()
    answer = here.run(git_dir, "cat-file", "--batch-check=%(objectname)", stdin=asked)
    return {line.split()[0].decode("ascii") for line in answer.splitlines() if line.endswith(b" missing")}


def _packs(git_dir: Path) -> str:
    """What the packs look like from outside: it changes with whatever anybody else does to them."""
    folder = git_dir / "objects" / "pack"
    try:
        seen = sorted((one.name, one.stat().st_size, one.stat().st_mtime_ns) for one in os.scandir(folder))
    except OSError:
        return ""
    return hashlib.sha256(repr(seen).encode()).hexdigest()
