"""The specs of a folder as they stand on disk now, without a record: for `validate` and for the commands that edit.

The same hands as a pass uses (walk, parse, check) in the same order, so that what is accepted here is accepted there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reconciler.core.document import Document
from reconciler.errors import Problem

if TYPE_CHECKING:
    from reconciler.core.provider import Catalogue
    from reconciler.repo.walk import Listing

#: How often a folder is looked at again because a file in it was just being written.
TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class Specs:
    """What a folder declares. `contents` are the files that could be read, by path relative to it, with forward slashes;
    `files` all that were looked at."""

    files: tuple[str, ...]
    contents: dict[str, bytes]
    documents: tuple[Document, ...]
    problems: tuple[Problem, ...]

    def job(self, name: str) -> Document | None:
        return next((one for one in self.documents if one.kind == "Job" and one.name == name), None)

    def problems_of(self, kind: str, name: str) -> tuple[Problem, ...]:
        return tuple(one for one in self.problems if (one.kind, one.name) == (kind, name))


def read_specs(root: Path, only: Collection[str] | None = None) -> Specs:
    """All specs below `root`, or only the files named, checked one by one and across."""
    from reconciler.providers import catalogue
    from reconciler.repo.parse import check_across, parse_many

    known = catalogue()
    contents, problems = _contents(root, only)
    parsed = parse_many(sorted(contents.items()), known)
    documents = [document for one in parsed for document in one.documents]
    problems += [problem for one in parsed for problem in one.problems]
    problems += check_across(documents, problems, known, lambda _: contents)
    if only is None:
        problems += by_policy(root, documents, contents, known)
    files = {*contents, *(problem.path for problem in problems)}
    return Specs(tuple(sorted(files)), contents, tuple(documents), tuple(sorted(set(problems))))


def by_policy(
    root: Path, documents: Sequence[Document], contents: Mapping[str, bytes], known: Catalogue
) -> list[Problem]:
    """What the policy beside the root says of these documents; nothing where it is wrong itself."""
    from reconciler.repo.policy_file import read_policy

    policy = read_policy(root, None).policy
    if not policy.on("spec"):
        return []
    from reconciler.core.policy_judge import Judge, problem_of
    from reconciler.repo.parse import locate

    judge = Judge(policy)
    found = [problem_of(one, document) for document in documents for one in judge.spec(document, known)]
    return locate(found, contents)


def _contents(root: Path, only: Collection[str] | None) -> tuple[dict[str, bytes], list[Problem]]:
    """What can be read, and why the rest cannot; a file that is being written is read again."""
    from reconciler.repo.walk import walk

    contents: dict[str, bytes] = {}
    problems: list[Problem] = []
    for _ in range(TRIES):
        listing = walk(str(root))
        chosen = sorted(path for path in listing.files if only is None or path in only)
        problems = [problem for path, problem in listing.problems.items() if only is None or path in only]
        contents = {}
        unread = [problem for path in chosen if (problem := read_one(root, listing, path, contents)) is not None]
        problems += unread
        if not any(problem.message == BEING_WRITTEN for problem in unread):
            break
    return contents, problems


BEING_WRITTEN: Final = "changes while it is read; try again"


def read_one(root: Path, listing: Listing, path: str, contents: dict[str, bytes]) -> Problem | None:
    """Reads a file into `contents`, or says why it cannot be; a file that has gone is no spec any more."""
    from reconciler.repo.walk import BeingWritten, Unreadable, read

    try:
        contents[path] = read(listing.targets.get(path, str(root / path)), listing.files[path])
    except FileNotFoundError:
        return None
    except BeingWritten:
        return Problem(path, 1, 1, "", BEING_WRITTEN)
    except Unreadable as error:
        return Problem(path, 1, 1, "", str(error))
    return None
