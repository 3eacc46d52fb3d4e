"""What a merge would do, without a record: what one set of specs declares is taken as made true, and planned is what the
other one declares. What only a record knows (rows, statuses, what is due) is not in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.clock import Now
from reconciler.controller.needs import unsound, without_the_unsound
from reconciler.controller.observe import reason_to_hold
from reconciler.controller.planning import cursor_resets
from reconciler.controller.policing import all_wait, judged
from reconciler.core.canonical_json import canonical_digest
from reconciler.core.document import Document, Kind
from reconciler.core.plan import Difference, Known, Pair, differing, plan
from reconciler.core.planned import Action, Plan, Verb
from reconciler.core.policy import FILE_NAME
from reconciler.core.provider import Catalogue
from reconciler.core.prune import Budget, Purse
from reconciler.core.value import dataclass
from reconciler.errors import Problem

if TYPE_CHECKING:
    from reconciler.controller.authors import Authors
    from reconciler.repo.policy_file import PolicySeen

Key = tuple[Kind, str]


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a tree declares, and what is wrong with it; a document that a rule across files finds invalid is among both.
    `is_bare`: it holds no spec file at all, not even an empty one."""

    documents: Sequence[Document]
    problems: Sequence[Problem]
    is_bare: bool = False

    @property
    def digest(self) -> str:
        """Over everything declared, wherever it stands in its file."""
        said = [
            [one.kind, one.name, one.path, one.renamed_from, one.digest, one.metadata_digest] for one in self.documents
        ]
        return canonical_digest(sorted(said))

    def invalid(self) -> set[tuple[str, str]]:
        """The kinds and names that have problems of their own."""
        return {(one.kind, one.name) for one in self.problems if one.name}

    def by_key(self) -> dict[Key, Document]:
        """The first document of each name."""
        found: dict[Key, Document] = {}
        for one in sorted(self.documents, key=lambda document: (document.path, document.ordinal)):
            found.setdefault((one.kind, one.name), one)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The policy that judges a merge, and who its changes are by. Its windows hold nothing back here: they are of the time at
    which something is applied."""

    seen: PolicySeen
    authors: Callable[[Plan], Authors]


def plan_merge(
    before: Declaration,
    after: Declaration,
    catalogue: Catalogue,
    budget: Budget,
    now: Now,
    rules: Rules | None = None,
) -> Plan:
    """What becomes of what `before` declares once `after` is what is declared, within a deletion budget and by a policy's
    rules over plans. What is invalid in `before` counts as not there, and what is invalid in `after` stays as it was, as in
    a pass."""
    known = {key: one for key, one in before.by_key().items() if key not in before.invalid()}
    declared, invalid = after.by_key(), after.invalid()
    keys = sorted(known.keys() | declared.keys())
    pairs = [
        Pair(
            declared=declared.get(key),
            known=_known(known[key]) if key in known else None,
            invalid=key in invalid,
        )
        for key in keys
    ]
    jobs = sum(kind == "Job" for kind, _ in known)
    gone = [pair.key for pair in pairs if pair.declared is None and pair.key[0] != "Job"]

    def is_known(kind: str, name: str) -> bool:
        return any(key == (kind, name) for key in known)

    difference = Difference(
        pairs=differing(pairs, now),
        hold_deletions=_bare(after) or reason_to_hold(after.problems, is_known),
        resets=cursor_resets(catalogue),
        references={key: _referrers(known.values(), *key) for key in gone},
        purse=Purse(budget=budget, jobs=jobs, there=jobs),
    )
    made = without_the_unsound(
        plan(difference, now),
        unsound(after.problems, is_known),
        lambda action: declared.get((action.kind, action.name)),
    )
    made = replace(made, errors=tuple(sorted(after.problems)))
    return made if rules is None else _held(made, rules, known, declared)


def _bare(after: Declaration) -> str:
    """Why a merge that takes the last spec file away deletes nothing: a branch without any is not believed."""
    if not after.is_bare:
        return ""
    return "a commit that holds no spec file deletes nothing; to mean it, leave one, which may be empty"


def _held(made: Plan, rules: Rules, known: Mapping[Key, Document], declared: Mapping[Key, Document]) -> Plan:
    """The plan without what the policy does not allow, as the controller would hold it."""
    if rules.seen.problems and made.actions:
        return all_wait(made, f"{FILE_NAME} is invalid, so nothing is applied")
    if not made.actions or not rules.seen.policy.on("plan"):
        return made
    from reconciler.core.policy_judge import Judge

    def document_of(action: Action) -> Document | None:
        return (known if action.verb is Verb.DELETE else declared).get((action.kind, action.name))

    return judged(made, Judge(rules.seen.policy), rules.authors(made), document_of)


def _known(document: Document) -> Known:
    return Known(
        kind=document.kind,
        name=document.name,
        path=document.path,
        digest=document.digest,
        work_digest=document.work_digest,
        metadata_digest=document.metadata_digest,
        spec=document.spec,
        deletion_policy=document.spec.get("deletionPolicy", "delete"),
        title=document.title,
        description=document.description,
        labels=document.labels,
    )


def _referrers(documents: Iterable[Document], kind: Kind, name: str) -> list[str]:
    """The jobs whose spec refers to an Authorization, Stream or Audience of that name."""
    return sorted(one.name for one in documents if one.kind == "Job" and _refers(one, kind) == name)


def _refers(job: Document, kind: Kind) -> object:
    if kind == "Authorization":
        return job.spec.get("authorization")
    return job.spec.get("config", {}).get("stream" if kind == "Stream" else "audience")
