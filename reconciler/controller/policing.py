"""A policy held to: specs that break it count as invalid, actions that break it wait, and in a window nothing is applied.

The policy is read at every look and compiled only when there is something to judge. Specs are judged as they change, all of them
when the policy does. A policy that cannot be read or is wrong holds every action: what nobody can judge is not done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from reconciler.clock import Now, iso
from reconciler.controller.needs import all_of_them_wait, in_need
from reconciler.core.document import Document
from reconciler.core.planned import Action, Plan, Verb, Waiting
from reconciler.core.policy import FILE_NAME
from reconciler.errors import Problem
from reconciler.record.store import Record
from reconciler.repo.policy_file import PolicySeen

if TYPE_CHECKING:
    from reconciler.controller.authors import Authors
    from reconciler.controller.hands import Specs
    from reconciler.core.policy_judge import Judge
    from reconciler.core.provider import Catalogue

#: The record's setting that names the policy by which its documents were judged.
SETTING: Final = "policy"


class Policing:
    """Holds one record to the policy that stands beside one tree."""

    def __init__(self, record: Record, tree: Specs, catalogue: Callable[[], Catalogue]) -> None:
        self._record = record
        self._tree = tree
        self._catalogue = catalogue
        self._seen = PolicySeen()
        self._judge: tuple[str, Judge] | None = None
        self._judged_by: str | None = None  # where the record cannot be told
        self._gone_ms: int | None = None  # since when it is not there
        self.settles_ms: int | None = None  # in so long that is known for certain

    # --- specs ------------------------------------------------------------------------------------------------------

    def look(self, now_ms: int, patience_ms: int) -> bool:
        """Reads the policy; whether it is another than the one that the documents were judged by. One that is gone counts as
        none once it has been so for `patience_ms`; `settles_ms` then says when, and nothing is applied before."""
        seen = self._tree.policy(bool(self._last))
        self._gone_ms = None if not seen.may_be_gone else now_ms if self._gone_ms is None else self._gone_ms
        left_ms = 0 if self._gone_ms is None else self._gone_ms + patience_ms - now_ms
        self.settles_ms = left_ms if left_ms > 0 else None
        self._seen = PolicySeen() if seen.may_be_gone and left_ms <= 0 else seen
        return self._seen.digest != self._last

    @property
    def digest(self) -> str:
        """Of the policy as it was last read; empty where there is none."""
        return self._seen.digest

    @property
    def _last(self) -> str:
        return self._judged_by if self._judged_by is not None else str(self._record.setting(SETTING, ""))

    def check(self, changed: Iterable[str], *, tells: bool) -> None:
        """Judges the documents of the files that have changed, or all where the policy has, within the transaction that takes
        them in. `tells`: the record is told by which policy."""
        desired = self._record.desired
        if self._seen.digest != self._last:
            desired.replace_problems((*self._seen.problems, *self._problems(desired.documents())), "policy")
            if tells:
                self._record.set_setting(SETTING, self._seen.digest)
            else:
                self._judged_by = self._seen.digest
        elif self._seen.digest:
            paths = list(changed)
            documents = [one for declared in desired.documents_of(paths).values() for one in declared]
            desired.replace_problems_of(paths, self._problems(documents), "policy")
        else:
            return
        desired.mark_invalid()

    def _problems(self, documents: Iterable[Document]) -> list[Problem]:
        if not self._seen.policy.on("spec"):
            return []
        from reconciler.core.policy_judge import problem_of
        from reconciler.repo.parse import locate

        judge, catalogue = self._compiled(), self._catalogue()
        found = [
            problem_of(violation, document) for document in documents for violation in judge.spec(document, catalogue)
        ]
        return locate(found, self._tree.contents({problem.path for problem in found})) if found else []

    def _compiled(self) -> Judge:
        from reconciler.core.policy_judge import Judge

        if self._judge is None or self._judge[0] != self._seen.digest:
            self._judge = self._seen.digest, Judge(self._seen.policy)
        return self._judge[1]

    # --- plans ------------------------------------------------------------------------------------------------------

    def hold(self, plan: Plan, now: Now, authors: Callable[[Plan], Authors]) -> Plan:
        """The plan without what may not be applied now; that waits, with the reason, and a broken rule is an error."""
        if not plan.actions:
            return plan
        if self._seen.problems:
            return all_wait(plan, f"{FILE_NAME} is invalid, so nothing is applied")
        closed = self._seen.policy.closed(now.wall_ms)
        if closed is not None:
            window, end_ms = closed
            return all_wait(plan, f"nothing is applied until {iso(end_ms)} (window {window.name})", end_ms)
        if not self._seen.policy.on("plan"):
            return plan
        return judged(plan, self._compiled(), authors(plan), self._document)

    def again_ms(self, now: Now) -> int | None:
        """In so long a window closes that holds things back now; None outside one."""
        closed = self._seen.policy.closed(now.wall_ms)
        return None if closed is None else closed[1] - now.wall_ms

    def _document(self, action: Action) -> Document | None:
        """What is declared; of a deletion, what was last made true."""
        if action.verb is not Verb.DELETE:
            return self._record.desired.document(action.kind, action.name)
        known = self._record.resources.resource(action.kind, action.name)
        if known is None:
            return None
        return Document(
            kind=action.kind, name=action.name, path=known.path, title=known.title, labels=known.labels, spec=known.spec
        )


def judged(plan: Plan, judge: Judge, authors: Authors, document_of: Callable[[Action], Document | None]) -> Plan:
    """The plan without the actions that break a rule over plans, which wait, and so does what needs them. `document_of` gives
    what is declared; of a deletion, what was last made true."""
    refused: dict[tuple[str, str], str] = {}
    problems: list[Problem] = []
    for action in plan.actions:
        document = document_of(action)
        by = authors.of(action.path)
        labels = {} if document is None else document.labels
        facts = {**_facts(action, document), "author": by.author, "commit": by.commit}
        for violation in judge.action(facts, labels):
            message = f"policy {violation.rule}: {action.verb}: {violation.message}"
            line = 1 if document is None or action.verb is Verb.DELETE else document.line
            problems.append(Problem(action.path, line, 1, "", message, action.kind, action.name))
            refused.setdefault((action.kind, action.name), message)
    if not refused:
        return plan
    new = {
        (one.kind, one.name) for one in plan.actions if one.verb is Verb.CREATE and one.kind != "Job"
    } & refused.keys()
    needs = in_need(plan, new, document_of)
    refused |= {job: f"needs {kind} {name}, which the policy holds back" for job, (kind, name) in needs.items()}
    return replace(all_of_them_wait(plan, refused), errors=tuple(sorted({*plan.errors, *problems})))


def all_wait(plan: Plan, reason: str, until_ms: int | None = None) -> Plan:
    waiting = [Waiting(one.kind, one.name, f"{one.verb}: {reason}", until_ms) for one in plan.actions]
    return replace(plan, actions=(), rebuild=None, waiting=(*plan.waiting, *waiting))


def _facts(action: Action, document: Document | None) -> dict[str, Any]:
    labels = {} if document is None else dict(document.labels)
    title = "" if document is None else document.title
    return {
        "kind": action.kind,
        "name": action.name,
        "path": action.path,
        "verb": str(action.verb),
        "resetsCursor": action.resets_cursor,
        "changes": [one.field for one in action.changes],
        "metadata": {"name": action.name, "title": title, "labels": labels},
        "spec": {} if document is None else dict(document.spec),
    }
