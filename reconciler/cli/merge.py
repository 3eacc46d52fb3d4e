"""`reconcile plan --base REF`: the pull request's view. What a merge of this work tree, or of `--head REF`, into REF would
do: offline, in a fresh clone, without a record, and without writing anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from reconciler.cli.options import Call
from reconciler.clock import iso
from reconciler.core.value import dataclass
from reconciler.errors import Problem, UsageError

if TYPE_CHECKING:
    from reconciler.controller.authors import Authors
    from reconciler.controller.looking import Preview
    from reconciler.controller.merging import Declaration
    from reconciler.controller.settings import Settings
    from reconciler.core.planned import Plan
    from reconciler.core.provider import Catalogue
    from reconciler.repo.git import Repository
    from reconciler.repo.parse import Parsed
    from reconciler.repo.policy_file import PolicySeen
    from reconciler.repo.revisions import Committed, Compared


#: Digits of a commit's hash for people, and files that are named.
SHORT: Final = 12
NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class Merge:
    """What a merge would do, and what was compared. `unsure` are the problems of the base: what they are about counts as not
    there. `closed` is the policy's window that is closed now, and until when."""

    preview: Preview
    compared: Compared
    unsure: tuple[Problem, ...]
    closed: tuple[str, int] | None = None


def preview_merge(call: Call, base: str, head: str) -> Merge:
    """What a merge of `head` would do: by default of the work tree, or of the commit that `--source` names. Raises UsageError
    where there is no repository, or it lacks what is to be compared."""
    from reconciler import __version__
    from reconciler.clock import Clock
    from reconciler.controller.basis import shaping
    from reconciler.controller.looking import Preview
    from reconciler.controller.merging import Rules, plan_merge
    from reconciler.controller.trees import installed
    from reconciler.providers import fingerprint
    from reconciler.repo.revisions import compare

    settings = call.settings(record=False)
    if settings.source and not head:
        from reconciler.repo.source import ref_of

        head = ref_of(settings.source)
    repository = _repository(call.root, settings.source, head)
    compared = compare(repository, base, head)
    reader = Reader(repository, installed())
    before = reader.committed(compared.merge_base)
    policy = _policy(repository, compared.head_commit if head else "", call.root)
    after = reader.committed(compared.head_commit, policy, settings) if head else reader.on_disk(call.root, policy)
    rules = Rules(seen=policy, authors=lambda made: _authors(repository, compared, call.root, made))
    now = Clock().now()
    made = plan_merge(before, after, installed(), settings.budget, now, rules)
    window = policy.policy.closed(now.wall_ms)
    closed = None if window is None else (window[0].name, window[1])
    revision = f"{head}@{compared.hash_name}:{compared.head_commit}" if head else repository.revision()
    more = _sides(compared, before, after) | {
        "basis": {
            "program": __version__,
            "policy": policy.digest,
            "providers": fingerprint(),
            "settings": shaping(settings),
        },
        **({} if closed is None else {"window": {"name": closed[0], "until": iso(closed[1])}}),
    }
    preview = Preview(root=str(call.root), plan=made, problems=made.errors, revision=revision, more=more)
    return Merge(preview, compared, tuple(sorted(before.problems)), closed)


def _sides(compared: Compared, before: Declaration, after: Declaration) -> dict[str, Any]:
    """What was compared, as JSON."""
    return {
        "base": {
            "ref": compared.base,
            "commit": compared.base_commit,
            "mergeBase": compared.merge_base,
            "specs": before.digest,
        },
        "head": {"ref": compared.head or None, "commit": compared.head_commit, "specs": after.digest},
    }


def _repository(root: Path, source: str, head: str) -> Repository:
    """The repository that the root lies in, a bare one too where what is merged is a commit. Raises UsageError."""
    from reconciler.repo.git import Repository

    found, around = Repository.open(root), Repository.around(root)
    repository = around or found if source else found or around if head else found
    if repository is None:
        hint = "; in a bare repository, --head names what is merged" if around is not None else ""
        raise UsageError(f"{root} is in no git work tree; --base compares the specs of two commits{hint}")
    return repository


class Reader:
    """Reads both sides, and parses each content once, whichever of them it is on."""

    def __init__(self, repository: Repository, catalogue: Catalogue) -> None:
        self._repository = repository
        self._catalogue = catalogue
        self._read: Committed | None = None
        self._parsed: dict[bytes, Parsed] = {}

    def committed(self, commit: str, policy: PolicySeen | None = None, settings: Settings | None = None) -> Declaration:
        """What a commit declares; judged by a policy where one is given, and as `settings` have it."""
        from reconciler.cli.specs import by_policy
        from reconciler.controller.merging import Declaration
        from reconciler.repo.parse import check_across
        from reconciler.repo.revisions import committed

        found = committed(self._repository, commit, self._read)
        self._read = found
        parsed = self._parse(sorted(found.contents.items()), self._catalogue)
        documents = [document for one in parsed for document in one.documents]
        problems = [*found.problems, *(problem for one in parsed for problem in one.problems)]
        problems += check_across(
            documents,
            problems,
            self._catalogue,
            lambda _: found.contents,
            needs_data_root=settings is not None and settings.needs_data_root,
        )
        if policy is not None:
            problems += [*by_policy(policy, documents, lambda _: found.contents, self._catalogue), *policy.problems]
        return Declaration(tuple(documents), tuple(problems), is_bare=not found.contents and not found.problems)

    def on_disk(self, root: Path, policy: PolicySeen) -> Declaration:
        """What the work tree declares."""
        from reconciler.cli.specs import read_specs
        from reconciler.controller.merging import Declaration

        found = read_specs(root, parse=self._parse, policy=policy)
        return Declaration(found.documents, (*found.problems, *policy.problems), is_bare=not found.files)

    def _parse(self, files: Sequence[tuple[str, bytes]], catalogue: Catalogue) -> list[Parsed]:
        from reconciler.repo.parse import parse_many

        new = {content: path for path, content in reversed(files) if content not in self._parsed}
        fresh = [(path, content) for content, path in new.items()]
        self._parsed |= zip(new, parse_many(fresh, catalogue), strict=True)
        return [self._parsed[content].at(path) for path, content in files]


def _policy(repository: Repository, commit: str, root: Path) -> PolicySeen:
    """The policy beside the root: in the commit that is merged; on disk for a work tree, or where the root is the repository."""
    from reconciler.core.policy import FILE_NAME
    from reconciler.repo.objects import beside_root
    from reconciler.repo.policy_file import committed_policy, read_policy

    if not commit or not repository.prefix:
        return read_policy(root, None)
    return committed_policy(beside_root(repository, commit, FILE_NAME), None)


def _authors(repository: Repository, compared: Compared, root: Path, made: Plan) -> Authors:
    """Who a merge's changes are by, as far as the clone knows."""
    from reconciler.controller.authors import Authors, by_of
    from reconciler.record.resources import By
    from reconciler.repo.git import GitUnusable
    from reconciler.repo.history import WorkTreeOrigin, newest_commits, os_user

    paths = {action.path for action in made.actions}
    try:
        if compared.head:
            commits = newest_commits(repository, compared.head_commit, paths)
        else:
            commits = dict(WorkTreeOrigin(root, None).authors(paths))
    except GitUnusable:
        commits = {}
    by_path = {path: by_of(commit) for path, commit in commits.items()}
    otherwise = By(author="", commit=compared.head_commit) if compared.head else By(author=os_user())
    return Authors(by_path=by_path, otherwise=otherwise)


# --- in words -------------------------------------------------------------------------------------------------------


def compared_lines(merge: Merge, shown: Callable[[str], str] = str) -> list[str]:
    """Which commits were compared, as whole sentences. `shown` dresses what others have named."""
    found = merge.compared
    at, parted = shown(found.head_commit[:SHORT]), shown(found.merge_base[:SHORT])
    head = f"{shown(found.head)} ({at})" if found.head else f"the work tree, at {at}"
    lines = [f"What a merge into {shown(found.base)} would do: {parted}, where both parted, against {head}."]
    if found.behind:
        commits = "1 commit" if found.behind == 1 else f"{found.behind:,} commits"
        base = f"{shown(found.base)} ({shown(found.base_commit[:SHORT])})"
        lines.append(f"{base} is {commits} further on; what those changed is not shown.")
    if merge.closed is not None and (merge.preview.plan.actions or merge.preview.plan.blocked):
        name, until_ms = merge.closed
        lines.append(
            f"Nothing is applied until {iso(until_ms)} (window {shown(name)}): what is merged before waits for that."
        )
    if merge.unsure:
        files = sorted({problem.path for problem in merge.unsure})
        more = f" and {len(files) - NAMED} more" if len(files) > NAMED else ""
        named = ", ".join(map(shown, files[:NAMED]))
        lines.append(f"What is invalid at {parted} counts as not there: {named}{more}.")
    return lines
