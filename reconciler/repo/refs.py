"""What a REF of `--source git:REF` stands for: a branch, a tag, a remote branch, `HEAD`, or a commit's whole hash.

A ref is read from git's own files, so that a look at a branch that has not moved starts no process; git is asked where
they do not say it alone (an annotated tag, refs kept in git's table form). Where a branch and a tag share a name the
branch is meant, whatever is tagged later; `refs/tags/NAME` names the tag.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from reconciler.core.suggest import did_you_mean
from reconciler.errors import UsageError
from reconciler.repo.git import OBJECT, GitUnusable, Repository

#: Where a short name is looked for, in this order.
FOLDERS: Final = ("refs/heads/", "refs/tags/", "refs/remotes/")

#: What no ref's name holds (git-check-ref-format), and what would be a revision expression instead of a name.
_FORBIDDEN: Final = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^/|/$|\.$|\.lock(/|$)|(^|/)\.|^@$")
_SHORT_HASH: Final = re.compile(r"[0-9a-f]{7,39}")


class Named(NamedTuple):
    """A commit, and the name that a revision shows before it (`main` of `main@sha1:…`)."""

    commit: str
    name: str

    @property
    def revision(self) -> str:
        return revision(self.name, self.commit)


def revision(name: str, commit: str) -> str:
    """`main@sha1:…`"""
    return f"{name}@{'sha1' if len(commit) == 40 else 'sha256'}:{commit}"


def check_ref(text: str) -> None:
    """Raises UsageError where a text cannot name a commit: what looks like an option, or an expression such as `main~1`,
    among them."""
    if not text:
        raise UsageError("the source 'git:' names no branch; write git:REF, for example git:main")
    if text.startswith("-"):
        raise UsageError(f"the source 'git:{text}' looks like an option; expected a branch, a tag or a whole hash")
    if _FORBIDDEN.search(text):
        raise UsageError(
            f"the source 'git:{text}' is no name of a commit; expected a branch, a tag, a remote branch or a whole hash"
        )


def resolve(repository: Repository, text: str, known: dict[str, str]) -> Named | None:
    """The commit that a checked REF stands for now; None where there is no such ref. `known` keeps what git has told of
    objects, which never change. Raises GitUnusable where there is a ref that leads to no commit."""
    if OBJECT.fullmatch(text):
        return _whole_hash(repository, text, known)
    if text == "HEAD":
        head = repository.head()
        return None if head is None else Named(head, repository.branch())
    for ref in _candidates(text):
        found = repository.ref(ref)
        if found:
            commit = found if ref.startswith("refs/heads/") else _peeled(repository, found, known)
            return Named(commit, _short(ref))
    return None


def _short(ref: str) -> str:
    """The name of a ref as people say it."""
    folder = next((folder for folder in FOLDERS if ref.startswith(folder)), "")
    return ref.removeprefix(folder)


def _candidates(text: str) -> Iterator[str]:
    if text.startswith("refs/"):
        yield text
        return
    yield from (folder + text for folder in FOLDERS)


def _whole_hash(repository: Repository, text: str, known: dict[str, str]) -> Named | None:
    try:
        return Named(_peeled(repository, text, known), "HEAD")
    except GitUnusable as error:
        if error.missing:
            raise
        return None


def _peeled(repository: Repository, found: str, known: dict[str, str]) -> str:
    """The commit that an object is, or that a tag leads to. Raises GitUnusable where there is none."""
    if found not in known:
        answer = repository.run("rev-parse", "--verify", "--end-of-options", f"{found}^{{commit}}")
        known[found] = answer.decode("ascii").strip()
    return known[found]


def unknown(repository: Repository, text: str) -> str:
    """What to tell of a REF that leads nowhere, with a near name where there is one."""
    if OBJECT.fullmatch(text):
        return f"there is no commit {text} in {repository.top}"
    names = _names(repository)
    if not names and _whole_hash(repository, "HEAD", {}) is None:
        return f"there is no commit in {repository.top} yet"
    if text == "HEAD":
        return f"HEAD leads to no commit in {repository.top}"
    if _SHORT_HASH.fullmatch(text):
        return f"there is no branch or tag '{text}' in {repository.top}; write the hash of a commit whole"
    return f"there is no branch, tag or remote branch '{text}' in {repository.top}{did_you_mean(text, names)}"


def _names(repository: Repository) -> list[str]:
    try:
        listed = repository.run("for-each-ref", "--format=%(refname)", "--count=10000").splitlines()
    except GitUnusable:
        return []
    return sorted({name.split("/", 2)[2] for ref in listed if (name := os.fsdecode(ref)).startswith(FOLDERS)})
