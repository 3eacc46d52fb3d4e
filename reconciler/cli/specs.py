"""The specs of a folder as they stand on disk now, or of the commit that is the desired state, without a record: for
`validate` and for the commands that edit.

The same hands as a pass uses (walk, parse, check) in the same order, so that what is accepted here is accepted there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reconciler.core.document import Document
from reconciler.core.value import dataclass
from reconciler.errors import Problem, UsageError
from reconciler.record.holder import controller_at_work
from reconciler.repo.git import GitUnusable

if TYPE_CHECKING:
    from reconciler.cli.options import Call
    from reconciler.core.provider import Catalogue
    from reconciler.repo.parse import Parsed
    from reconciler.repo.policy_file import PolicySeen
    from reconciler.repo.walk import Listing

#: So much of a file is read where it is only looked through: no spec is longer.
MOST_READ: Final = 1 << 20

#: How often a folder is looked at again because a file in it was just being written.
TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class Specs:
    """What a folder declares. `contents` are the files that could be read, by path relative to it, with forward slashes;
    `files` all that were looked at. Of a commit there is its `revision`, and the root's path in the repository. `policy` is the
    one by which all of a folder was judged."""

    files: tuple[str, ...]
    contents: dict[str, bytes]
    documents: tuple[Document, ...]
    problems: tuple[Problem, ...]
    revision: str = ""
    prefix: str = ""
    policy: PolicySeen | None = None

    def job(self, name: str) -> Document | None:
        return next((one for one in self.documents if one.kind == "Job" and one.name == name), None)

    def problems_of(self, kind: str, name: str) -> tuple[Problem, ...]:
        return tuple(one for one in self.problems if (one.kind, one.name) == (kind, name))


def declared_specs(call: Call, *, contents: bool = False) -> Specs:
    """What is desired: the specs of the commit that `--source` names, else those below the root. Of a commit, `contents`
    are read only where they are asked for. Raises UsageError where there is no such commit."""
    return _commit_specs(call, contents=contents) if call.source else read_specs(call.root)


def _commit_specs(call: Call, *, contents: bool) -> Specs:
    from reconciler.controller.trees import open_source
    from reconciler.core.policy import FILE_NAME
    from reconciler.providers import catalogue
    from reconciler.repo.commit import CommitTree
    from reconciler.repo.parse import check_across

    known = catalogue()
    settings = call.settings(record=False)
    source = open_source(settings, fetches=controller_at_work(call.state) is None)
    head = source.head()
    if head.repository is None or not head.commit:
        raise UsageError(head.why)
    tree = CommitTree(source, None, mark="", identity="", version="", catalogue=lambda: known, settle_ms=0)
    look = tree.look(0)
    documents = [document for seen in look.changed for document in seen.parsed.documents]
    problems = [*look.problems, *(problem for seen in look.changed for problem in seen.parsed.problems)]
    problems += check_across(documents, problems, known, tree.contents, needs_data_root=settings.needs_data_root)
    policy = tree.policy(False)
    problems += [*policy.problems, *by_policy(policy, documents, tree.contents, known)]
    files = tuple(sorted({seen.path for seen in look.changed}))
    read = tree.contents(files) if contents else {}
    revision = tree.revision()
    tree.close()
    files = (*files, *(("../" + FILE_NAME,) if policy.digest else ()))
    return Specs(files, read, tuple(documents), tuple(sorted(set(problems))), revision, head.repository.prefix)


def desired_content(call: Call, path: str) -> bytes | None:
    """The bytes of a spec file as it is desired now: of the commit that `--source` names, else on disk. None where there
    is no such file. Raises OSError and GitUnusable where it cannot be read."""
    if not call.source:
        try:
            with open(call.root / path, "rb") as file:
                return file.read(MOST_READ)
        except FileNotFoundError:
            return None
    from reconciler.controller.trees import open_source
    from reconciler.repo.objects import entries, read_blobs

    source = open_source(call.settings(record=False), fetches=False)
    head = source.head()
    source.close()
    if head.repository is None or not head.commit:
        raise GitUnusable(head.why)
    found = entries(head.repository, head.commit, [path]).get(path)
    return None if found is None else dict(read_blobs(head.repository, [found.blob]))[found.blob]


def is_there(call: Call, path: str) -> bool:
    """Whether there is such a file; one that cannot be read may be."""
    try:
        return desired_content(call, path) is not None
    except (OSError, GitUnusable):
        return True


#: Parses files (path and content), in their order.
Parse = Callable[[Sequence[tuple[str, bytes]], "Catalogue"], Sequence["Parsed"]]


def read_specs(
    root: Path, only: Collection[str] | None = None, parse: Parse | None = None, policy: PolicySeen | None = None
) -> Specs:
    """All specs below `root`, or only the files named, checked one by one and across; all of them are judged by `policy`,
    else by the one beside the root."""
    from reconciler.providers import catalogue
    from reconciler.repo.parse import parse_many

    known = catalogue()
    contents, problems = _contents(root, only)
    parsed = (parse or parse_many)(sorted(contents.items()), known)
    files = {*contents, *(problem.path for problem in problems)}
    return _specs(root, files, parsed, problems, lambda _: contents, known, policy, is_whole=only is None)


def check_specs(root: Path, only: Collection[str] | None = None) -> Specs:
    """The same for whoever needs no contents: files are read where they are parsed, and again where they have problems."""
    import gc

    from reconciler.repo.bulk import collection_paused

    with collection_paused():
        found = _checked(root, only)
        gc.freeze()  # all of it stays until the command ends: nobody looks for garbage in it
    return found


def _checked(root: Path, only: Collection[str] | None) -> Specs:
    from reconciler.providers import catalogue
    from reconciler.repo.parse import read_and_parse
    from reconciler.repo.walk import walk

    known = catalogue()
    for _ in range(TRIES):
        listing = walk(str(root))
        problems = [problem for path, problem in listing.problems.items() if only is None or path in only]
        chosen = sorted(path for path in listing.files if only is None or path in only)
        size = sum(listing.files[path][0] for path in chosen)
        parsed = read_and_parse(chosen, size, _reader(root, listing), known)
        if not any(_is_being_written(one) for one in parsed):
            break
    files = {path for path, one in zip(chosen, parsed, strict=True) if GONE not in one.problems}
    files |= {problem.path for problem in problems}
    found = [one for one in parsed if GONE not in one.problems]

    def contents(paths: Collection[str]) -> dict[str, bytes]:
        again: dict[str, bytes] = {}
        for path in sorted(paths):
            if path in listing.files:
                read_one(root, listing, path, again)
        return again

    return _specs(root, files, found, problems, contents, known, None, is_whole=only is None)


def _specs(
    root: Path,
    files: Collection[str],
    parsed: Sequence[Parsed],
    unread: Sequence[Problem],
    contents: Callable[[Collection[str]], dict[str, bytes]],
    known: Catalogue,
    policy: PolicySeen | None,
    *,
    is_whole: bool,
) -> Specs:
    from reconciler.repo.parse import check_across
    from reconciler.repo.policy_file import read_policy

    documents = [document for one in parsed for document in one.documents]
    problems = [*unread, *(problem for one in parsed for problem in one.problems)]
    problems += check_across(documents, problems, known, contents)
    if is_whole:
        policy = policy or read_policy(root, None)
        problems += by_policy(policy, documents, contents, known)
    kept = contents(())
    return Specs(tuple(sorted(files)), kept, tuple(documents), tuple(sorted(set(problems))), policy=policy)


def by_policy(
    seen: PolicySeen,
    documents: Sequence[Document],
    contents: Callable[[Collection[str]], Mapping[str, bytes]],
    known: Catalogue,
) -> list[Problem]:
    """What the policy beside the root says of these documents; nothing where it is wrong itself."""
    policy = seen.policy
    if not policy.on("spec"):
        return []
    from reconciler.core.policy_judge import Judge, problem_of
    from reconciler.repo.parse import locate

    judge = Judge(policy)
    found = [problem_of(one, document) for document in documents for one in judge.spec(document, known)]
    return locate(found, contents({problem.path for problem in found})) if found else []


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
#: Stands for a file that has gone since it was listed.
GONE: Final = Problem("", 0, 0, "", "")


def _reader(root: Path, listing: Listing) -> Callable[[str], bytes | Problem]:
    """What reads a file of the listing, or says why it cannot be; GONE for one that is not there any more."""
    from reconciler.repo.walk import BeingWritten, Unreadable, read

    top = str(root)

    def read_file(path: str) -> bytes | Problem:
        try:
            return read(listing.targets.get(path) or f"{top}/{path}", listing.files[path])
        except FileNotFoundError:
            return GONE
        except BeingWritten:
            return Problem(path, 1, 1, "", BEING_WRITTEN)
        except Unreadable as error:
            return Problem(path, 1, 1, "", str(error))

    return read_file


def _is_being_written(parsed: Parsed) -> bool:
    return any(problem.message == BEING_WRITTEN for problem in parsed.problems)


def read_one(root: Path, listing: Listing, path: str, contents: dict[str, bytes]) -> Problem | None:
    """Reads a file into `contents`, or says why it cannot be; a file that has gone is no spec any more."""
    found = _reader(root, listing)(path)
    if isinstance(found, bytes):
        contents[path] = found
        return None
    return None if found is GONE else found
