"""Reading `policy.yaml`: what a platform team allows, each rule compiled, each error at its place."""

from __future__ import annotations

import os
from dataclasses import field
from pathlib import Path
from typing import Any, Final

from reconciler.core.policy import FILE_NAME, Policy, policy_of
from reconciler.core.value import dataclass
from reconciler.errors import Problem, SpecInvalid
from reconciler.repo.git import GitUnusable, Repository
from reconciler.repo.plain_file import content_of, digest_of_content, keep_values, known_values, parse_document

CACHE_NAME: Final = "policy.json"
_IN_HEAD: Final = "gone from disk but not from HEAD; commit its removal, or restore it"
_AGAIN: Final = "gone from disk; there is none once a second look sees the same"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySeen:
    """A policy file as it was found. `digest` is empty where there is none. While there are `problems` it says nothing, and
    nothing may be applied. `may_be_gone`: it is not there, and no commit holds it; so there is none, once that has stood."""

    policy: Policy = field(default_factory=Policy)
    digest: str = ""
    problems: tuple[Problem, ...] = ()
    may_be_gone: bool = False


def policy_path(root: Path) -> Path:
    return Path(os.path.abspath(root)).parent / FILE_NAME


def read_policy(root: Path, cache_dir: Path | None, *, expected: bool = False) -> PolicySeen:
    """The policy beside `root`. Where one is `expected` and the file is gone, that is a problem: a tree in the making must
    not be freer than the commit, nor a file that is being replaced than what it says. Raises nothing."""
    path = policy_path(root)
    shown = os.path.relpath(path, os.path.abspath(root))
    try:
        content = content_of(path, shown)
    except SpecInvalid as error:
        return PolicySeen(digest="unreadable", problems=error.problems)
    if content is None:
        if not expected:
            return PolicySeen()
        in_head = _is_in_head(path)
        problem = Problem(shown, 1, 1, "", _IN_HEAD if in_head else _AGAIN)
        return PolicySeen(digest="missing", problems=(problem,), may_be_gone=not in_head)
    return policy_seen(content, shown, cache_dir)


def committed_policy(found: bytes | str | None, cache_dir: Path | None) -> PolicySeen:
    """The policy that a commit holds beside the root, as `beside_root` found it: one that is there and cannot be read is a
    problem, never no policy."""
    shown = f"../{FILE_NAME}"
    if found is None:
        return PolicySeen()
    if isinstance(found, str):
        return PolicySeen(digest="unreadable", problems=(Problem(shown, 1, 1, "", found),))
    return policy_seen(found, shown, cache_dir)


def policy_seen(content: bytes, shown: str, cache_dir: Path | None) -> PolicySeen:
    """The policy in a content, wherever that comes from."""
    digest = digest_of_content(content)
    values = known_values(cache_dir, CACHE_NAME, digest)
    if values is None:
        values, problems = parse_policy(content, shown)
        if problems:
            return PolicySeen(digest=digest, problems=tuple(problems))
        keep_values(cache_dir, CACHE_NAME, digest, values)
    return PolicySeen(policy=policy_of(values), digest=digest)


def parse_policy(content: bytes, shown: str) -> tuple[dict[str, Any], list[Problem]]:
    """The normalised values of a content, or everything that is wrong with it."""
    from reconciler.core.issue import field_text
    from reconciler.core.policy_file import KIND, PolicyFile
    from reconciler.core.policy_judge import rule_problem
    from reconciler.repo.parse import locate

    values, problems = parse_document(content, shown, PolicyFile, KIND)
    if problems:
        return {}, problems
    begins = _first_line(content)
    for index, rule in enumerate(policy_of(values).rules):
        wrong = rule_problem(rule)
        if wrong is not None:
            field, message = wrong
            problems.append(Problem(shown, begins, 1, field_text(("rules", index, *field)), message, KIND, ""))
    return (values, []) if not problems else ({}, locate(problems, {shown: content}))


def _first_line(content: bytes) -> int:
    from reconciler.repo.yaml_text import decode, split

    chunks = split(decode(content))
    return chunks[0].content if chunks else 1


def _is_in_head(path: Path) -> bool:
    repository = Repository.open(path.parent)
    head = repository.head() if repository is not None else None
    if repository is None or head is None:
        return False
    try:
        return bool(repository.run("ls-tree", "--full-tree", head, "--", f"{repository.prefix}{path.name}").strip())
    except GitUnusable as error:
        return not error.missing
