"""Two commits that are compared, and the specs that a commit holds: the pull request's view of a repository.

Compared is with the commit from which both parted (git's three dots), so what has only come to the base meanwhile is not
shown as taken back. Nothing is fetched and nothing written; what a shallow or partial clone lacks is an error that says how
to get it, never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Final

from reconciler.core.value import dataclass
from reconciler.errors import Problem, UsageError
from reconciler.repo.git import GitUnusable, Repository
from reconciler.repo.walk import MAX_FILE_BYTES, printable

#: What to do where a clone does not reach back far enough.
WHOLE: Final = (
    "get the whole history and all branches with `git fetch --unshallow origin '+refs/heads/*:refs/remotes/origin/*'` "
    "(in GitHub's actions/checkout: `fetch-depth: 0`; in GitLab: `GIT_DEPTH: 0`)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What is compared. `base` and `head` are as they were asked for, `head` empty for the work tree; commits are whole
    hashes. `merge_base` is the commit from which both parted, and `behind` how many commits the base is further on."""

    base: str
    base_commit: str
    head: str
    head_commit: str
    merge_base: str
    behind: int

    @property
    def hash_name(self) -> str:
        return "sha1" if len(self.merge_base) == 40 else "sha256"


def compare(repository: Repository, base: str, head: str) -> Compared:
    """The commits that `base` and `head` (empty: HEAD) stand for, and where they parted. Raises UsageError where there is no
    such commit, or where the clone does not reach back to the one from which they parted."""
    base_commit = _commit(repository, base, "--base")
    head_commit = _commit(repository, head or "HEAD", "--head" if head else "")
    try:
        merge_base = repository.run("merge-base", base_commit, head_commit).decode("ascii").strip()
    except GitUnusable as error:
        raise UsageError(_parted(repository, base, head or "HEAD")) from error
    behind = repository.run("rev-list", "--count", f"{merge_base}..{base_commit}")
    return Compared(
        base=base,
        base_commit=base_commit,
        head=head,
        head_commit=head_commit,
        merge_base=merge_base,
        behind=int(behind),
    )


def _commit(repository: Repository, ref: str, option: str) -> str:
    try:
        answer = repository.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    except GitUnusable as error:
        if error.missing:
            raise
        if not option:
            raise UsageError(f"{repository.top} has no commit yet, so there is nothing to compare") from error
        remote, _, branch = ref.partition("/")
        fetch = f"`git fetch {remote} {branch}`" if branch else "`git fetch`"
        hint = f"the clone is shallow: {WHOLE}" if repository.shallow() else f"{fetch} may bring it"
        raise UsageError(f"{option}: there is no commit '{ref}' in {repository.top}; {hint}") from error
    return answer.decode("ascii").strip()


def _parted(repository: Repository, base: str, head: str) -> str:
    if repository.shallow():
        return f"this clone is shallow and does not hold the commit from which {base} and {head} parted; {WHOLE}"
    return f"{base} and {head} have no commit in common, so there is nothing to compare"


# --- the specs of a commit ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Committed:
    """The spec files of a commit below the root: their bytes by path, and what cannot be read of them."""

    contents: dict[str, bytes] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    blobs: dict[str, str] = field(default_factory=dict)


def committed(repository: Repository, commit: str, known: Committed | None = None) -> Committed:
    """What a look at a work tree of that commit would read; blobs that are `known` from another one are not read again.
    Raises UsageError where the clone lacks a part of it."""
    try:
        return _read(repository, commit, known or Committed())
    except GitUnusable as error:
        if "lazy fetching" in str(error) or "promisor" in str(error):
            raise _lacking(commit) from error
        raise


def _lacking(commit: str) -> UsageError:
    return UsageError(
        f"this clone lacks files of commit {commit[:12]} (a partial clone fetches them only when they are checked out); clone "
        "without --filter, or fetch them with `git fetch --refetch --no-filter`"
    )


def _read(repository: Repository, commit: str, known: Committed) -> Committed:
    found = Committed()
    wanted: dict[str, str] = {}
    for path, blob in repository.read(commit).blobs.items():
        if _is_unicode(path):
            wanted[path] = blob
        else:
            found.problems.append(Problem(printable(path), 1, 1, "", "has a name that is not UTF-8"))
    there = {known.blobs[path]: content for path, content in known.contents.items()}
    found.blobs.update(wanted)
    found.contents.update({path: there[blob] for path, blob in wanted.items() if blob in there})
    wanted = {path: blob for path, blob in wanted.items() if blob not in there}
    sizes = _sizes(repository, commit, wanted)
    for path, blob in sorted(wanted.items()):
        if sizes[blob] > MAX_FILE_BYTES:
            message = f"is larger than 1 MiB ({sizes[blob]:,} bytes)"
            found.problems.append(Problem(path, 1, 1, "", message))
    small = {path: blob for path, blob in wanted.items() if sizes[blob] <= MAX_FILE_BYTES}
    found.contents.update(repository.contents(small))
    return found


def _sizes(repository: Repository, commit: str, blobs: Mapping[str, str]) -> dict[str, int]:
    """The bytes of each blob. Raises UsageError where one is not in this clone."""
    ids = sorted(set(blobs.values()))
    asked = "".join(f"{one}\n" for one in ids).encode("ascii")
    answer = repository.run("cat-file", "--batch-check", stdin=asked) if ids else b""
    found: dict[str, int] = {}
    for line in answer.decode("ascii", "replace").splitlines():
        blob, kind, *size = line.split(" ")
        if kind != "blob":
            raise _lacking(commit)
        found[blob] = int(size[0])
    return found


def _is_unicode(path: str) -> bool:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
