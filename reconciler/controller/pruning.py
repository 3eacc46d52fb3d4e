"""Who keeps the deletion budget (`core/prune.py` says what it is): what was spent of it, what it holds back, what a person
has approved.

The budget is of a pass. A daemon makes no passes, it looks; so there deletions that follow each other within a minute, and
that no commit separates, are one deletion, however many looks they arrive in: ten commits have ten budgets, a tree that is
torn down slice by slice has one. What such slices have spent counts until the rest is approved or its files are back.

A wrong folder looks like many deletions too, or, where it holds some of the specs, like a few. So once the specs come from
another one than before, the first deletions need an approval, however few they are.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from reconciler.clock import Now
from reconciler.core.planned import Verb
from reconciler.core.prune import Budget, Pruning, Purse, spent
from reconciler.repo.git import Repository

if TYPE_CHECKING:
    from reconciler.controller.settings import Settings
    from reconciler.core.planned import Plan
    from reconciler.record.store import Record


#: The record's setting that says where the specs came from when nothing was missing there.
PLACE: Final = "place"
#: How a place begins, in a repository and outside.
_WITHIN: Final = "git:"
_OUTSIDE: Final = "dir:"


def place_of(settings: Settings) -> str:
    """Where the specs come from: the root's folder within its repository, or outside git as seen from the record."""
    if settings.followed is not None:
        return _WITHIN + settings.followed.prefix
    repository = Repository.around(settings.root) if settings.source else Repository.open(settings.root)
    if repository is not None:
        return _WITHIN + repository.prefix
    return _OUTSIDE + os.path.relpath(os.path.realpath(settings.root), os.path.realpath(settings.state))


def _moved(before: str, now: str) -> str:
    """That the specs come from elsewhere now: a clause. A folder that became a repository is the same one."""
    if not before or before == now or before[:4] != now[:4]:
        return ""
    old, new = (one[4:] or "the top of the repository" for one in (before, now))
    return f"the specs come from {new} now, and came from {old} before"


@dataclass(slots=True)
class Pruner:
    """`revision` says which commit is looked at, empty where there is none. `place` is where the specs come from (`place_of`).
    `began_ms` is when a pass began, which has a budget of its own; None for a daemon."""

    record: Record
    budget: Budget
    revision: Callable[[], str]
    place: str
    began_ms: int | None = None
    _told: str = field(default="")
    _jobs: int | None = None  # when the tree began to move that has not settled yet

    def look(self, *, is_open: bool) -> None:
        """What a look has found, before anything is made of it. `is_open`: the tree has not settled, so nothing is deleted
        yet; what appears in it meanwhile makes no room for what is missing."""
        if is_open and self._jobs is None:
            self._jobs = self.record.jobs.count()

    def purse(self, now: Now) -> Purse:
        """What may be deleted now."""
        held = self.record.prunes.held()
        known = self.record.jobs.count()
        jobs = known if self._jobs is None else self._jobs
        gone = sum(document.kind == "Job" for document, _ in self.record.desired.held())  # though not for certain
        return Purse(
            budget=self.budget,
            jobs=jobs,
            there=known - gone,
            spent=self._spent(now),
            held="" if held is None else held.digest,
            held_jobs=jobs if held is None or held.known is None else held.known,
            is_approved=held is not None and held.is_approved,
            moved=_moved(str(self.record.setting(PLACE, "")), self.place),
        )

    def note(self, made: Plan, now: Now) -> None:
        """Records what is held back, for those who ask, and forgets an approval that is of another set or was used. Inside
        the transaction that enacts the plan, where one does."""
        if made.hold:
            return
        self._jobs = None
        if made.blocked is not None:
            self._hold(made.blocked, now)
            return
        if made.prune is None or _is_done(made.prune, made):
            self.record.prunes.clear()
            self._settle_in()

    def _settle_in(self) -> None:
        """Nothing that is missing waits: the specs come from where they should."""
        if self.record.setting(PLACE, "") != self.place:
            with self.record.transaction():
                self.record.set_setting(PLACE, self.place)

    def _hold(self, found: Pruning, now: Now) -> None:
        from reconciler.core.audit import BLOCKED, Deed  # only where something is held back

        held, revision = self.record.prunes.held(), self.revision()
        with self.record.transaction():
            self.record.prunes.hold(found, revision, now.wall_ms)
            if held is None or held.digest != found.digest:
                reason = f"{found.reason}; digest {found.digest}"
                self.record.audit.append(
                    [Deed(time_ms=now.wall_ms, action="delete", reason=reason, revision=revision, outcome=BLOCKED)]
                )

    def news(self, made: Plan) -> Pruning | None:
        """What is held back, once; a look that can judge no deletion at all is none in between."""
        if made.hold:
            return None
        digest = "" if made.blocked is None else made.blocked.digest
        told, self._told = self._told, digest
        return made.blocked if digest != told else None

    def _spent(self, now: Now) -> int:
        deletions = self.record.deletions.unapproved()
        if self.began_ms is not None:
            return sum(at_ms >= self.began_ms for at_ms, _ in deletions)
        revision = self.revision()
        held = self.record.prunes.held()
        stands = held.spent if held is not None and held.revision == revision else 0
        return max(stands, spent(deletions, now.wall_ms, revision))


def _is_done(prune: Pruning, made: Plan) -> bool:
    """Whether the plan deletes what was approved; a policy may hold that back, and a saved plan may not speak of it."""
    deleted = {(one.kind, one.name) for one in made.actions if one.verb is Verb.DELETE}
    return deleted.issuperset((one.kind, one.name) for one in prune.doomed)
