"""When a document that no file declares any more is absent (design, section 3).

In a git work tree it is when HEAD lacks it too: looked for in HEAD's version of its own file, of every spec file that
is gone from disk, and of every one that differs, so that a document that moved is found where it went. What HEAD never
held, and every document outside git, is absent once two looks have seen the same tree. Below a submodule it is the HEAD of that
which is asked. While git is at work, and while anything cannot be read, nothing is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.core.value import dataclass
from reconciler.repo.git import GitUnusable, Repository
from reconciler.repo.look import Absence, Gone, Look, Verdict

if TYPE_CHECKING:
    from reconciler.repo.parse import Parsed

_ABSENT = Verdict(Absence.ABSENT, "no file declares it")
_AGAIN = Verdict(Absence.WAIT, "gone from disk; it is absent once a second look sees the same")
_IN_HEAD = Verdict(Absence.IN_HEAD, "gone from disk but not from HEAD; commit its removal, or restore it")
_NO_SUBMODULE = Verdict(
    Absence.IN_HEAD, "gone from disk with a submodule that HEAD names; `git submodule update --init`"
)
_UNSURE = Verdict(Absence.IN_HEAD, "gone from disk, and HEAD's version of its file cannot be read")


@dataclass(frozen=True, slots=True)
class Trace:
    """Where to look for what is gone. `settled_head` is the commit at the last settled look, empty where none is known.
    `declared` parses blobs (path to id) of a repository."""

    root: Path
    settled_head: str
    declared: Callable[[Repository, Mapping[str, str]], Mapping[str, Parsed]]


def judge(look: Look, gone: Collection[Gone], trace: Trace) -> dict[Gone, Verdict]:
    """A verdict for each of `gone`, in its order."""
    if not gone:
        return {}
    if look.torn is not None:
        return dict.fromkeys(gone, Verdict(Absence.WAIT, look.torn))
    if look.problems:
        place = look.problems[0].path
        return dict.fromkeys(gone, Verdict(Absence.WAIT, f"nothing is deleted while {place} cannot be read"))
    repository = Repository.open(trace.root)
    if repository is None or look.head is None:
        return {one: _after_two_looks(look) for one in gone}
    try:
        return _judge_in_git(look, look.files.keys(), gone, trace, repository, look.head)
    except GitUnusable as error:
        if error.missing:  # somebody else's git makes this tree; its marks were heeded, its history cannot be asked
            return {one: _after_two_looks(look) for one in gone}
        return dict.fromkeys(gone, Verdict(Absence.WAIT, str(error).rstrip(".")))


def _after_two_looks(look: Look) -> Verdict:
    return _ABSENT if look.settled else _AGAIN


def _judge_in_git(
    look: Look, files: Collection[str], gone: Collection[Gone], trace: Trace, repository: Repository, head: str
) -> dict[Gone, Verdict]:
    """`files` are those that are there, by their paths below the root of `trace`."""
    read = repository.read(head)
    blobs = read.blobs
    below = {
        one: verdict
        for path in read.submodules
        if (inner := [one for one in gone if one.path.startswith(f"{path}/")])
        for one, verdict in _judge_in_submodule(look, files, inner, trace, repository, path).items()
    }
    differing = repository.differing()
    linked = {path for path, over in read.over.items() if not differing.isdisjoint(over)}
    suspects = blobs.keys() & ({one.path for one in gone} | differing | linked | (blobs.keys() - set(files)))
    parsed = trace.declared(repository, {path: blobs[path] for path in sorted(suspects)})
    documents: set[tuple[str, str]] = {(one.kind, one.name) for file in parsed.values() for one in file.documents}
    declared = documents | {(one.kind, one.name) for file in parsed.values() for one in file.problems}
    unsure = {path for path in suspects if path not in parsed or any(not one.name for one in parsed[path].problems)}
    moved = _blobs(repository, trace.settled_head) if trace.settled_head != head else {}

    def verdict(one: Gone) -> Verdict:
        if (one.kind, one.name) in declared:
            return _IN_HEAD
        if one.path in unsure:
            return _UNSURE
        return _ABSENT if one.path in moved else _after_two_looks(look)

    return {one: below[one] if one in below else verdict(one) for one in gone}


def _judge_in_submodule(
    look: Look, files: Collection[str], gone: Collection[Gone], trace: Trace, outer: Repository, path: str
) -> dict[Gone, Verdict]:
    """The same of what is gone below a submodule at `path`: by the commit that is checked out there."""
    root = trace.root / path
    repository = Repository.open(root)
    head = None if repository is None or repository.top == outer.top else repository.head()
    if repository is None or head is None:
        return dict.fromkeys(gone, _NO_SUBMODULE)
    if busy := repository.moment().busy:
        return dict.fromkeys(gone, Verdict(Absence.WAIT, f"{path}: {busy}"))
    inner = {one._replace(path=one.path[len(path) + 1 :]): one for one in gone}
    there = [one[len(path) + 1 :] for one in files if one.startswith(f"{path}/")]
    found = _judge_in_git(look, there, inner.keys(), Trace(root, "", trace.declared), repository, head)
    return {inner[one]: verdict for one, verdict in found.items()}


def _blobs(repository: Repository, commit: str) -> Mapping[str, str]:
    """The spec files of an earlier commit; none where that commit is gone."""
    try:
        return repository.read(commit).blobs if commit else {}
    except GitUnusable:
        return {}
