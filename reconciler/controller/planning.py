"""The planner's input from the record, and what a plan needs beside it: authors, cursor resets, runs that are due."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from reconciler.clock import Now
from reconciler.controller.authors import Authors, by_of
from reconciler.controller.needs import unsound, without_the_unsound
from reconciler.controller.observe import reason_to_hold
from reconciler.core.document import Kind
from reconciler.core.planned import Plan, PlannedRun, Waiting
from reconciler.core.prune import undeleted_words
from reconciler.record.store import Record
from reconciler.repo.git import GitUnusable

if TYPE_CHECKING:
    from reconciler.controller.policing import Policing
    from reconciler.controller.pruning import Pruner
    from reconciler.core.document import Document
    from reconciler.core.plan import Pair
    from reconciler.core.planned import Action
    from reconciler.core.provider import Catalogue
    from reconciler.repo.history import Origin


#: Told where a history that was cut off says less than it seems to.
SHALLOW: Final = (
    "this clone is shallow, so who changed older specs is not known; `git fetch --unshallow` brings the whole history"
)


class Planner:
    """Plans what differs. With nothing different it builds nothing. `notice` is told what keeps authors from being
    known; `pruner` keeps the deletion budget."""

    def __init__(
        self,
        record: Record,
        origin: Origin,
        catalogue: Callable[[], Catalogue],
        notice: Callable[[str], None],
        *,
        policing: Policing,
        pruner: Pruner,
    ) -> None:
        self._policing = policing
        self._pruner = pruner
        self._record = record
        self._origin = origin
        self._catalogue = catalogue
        self._notice = notice

    def plan(self, now: Now, unsettled: str = "") -> Plan:
        """The plan for what differs now, with what waits and what is wrong. Runs are not in it. `unsettled` says why nothing
        may be deleted yet: the tree may be in the making."""
        pairs = self._record.differences.pairs(now.wall_ms)
        problems = tuple(self._record.desired.problems())
        if not pairs:
            return Plan(waiting=self._held(), errors=problems, hold=unsettled)
        from reconciler.core.plan import Difference, plan  # only where something differs

        hold = reason_to_hold(problems, self._is_known) or unsettled or None
        difference = Difference(
            pairs=pairs,
            hold_deletions=hold,
            resets=cursor_resets(self._catalogue()),
            references=self._references(pairs),
            left=self._record.deletions.left()
            if any(one.declared and one.declared.renamed_from for one in pairs)
            else {},
            purse=self._pruner.purse(now) if any(pair.declared is None for pair in pairs) else None,
        )
        made = without_the_unsound(plan(difference, now), unsound(problems, self._is_live), self._document)
        made = self._policing.hold(made, now, self.authors)
        rebuild = None
        if any(action.kind == "Stream" for action in made.actions):
            from reconciler.controller.rebuilds import planned_rebuild  # only where rules of profiles may have changed

            rebuild = planned_rebuild(self._record, made.actions)
        errors = tuple(sorted({*problems, *made.errors}))
        waiting = (*self._renamed(made.waiting), *self._held())
        return replace(made, waiting=waiting, errors=errors, rebuild=rebuild, hold=hold or "")

    @property
    def policy(self) -> str:
        """The digest of the policy that the plan is held to."""
        return self._policing.digest

    def _is_known(self, kind: str, name: str) -> bool:
        """Whether anything is known of that name that an invalid document may leave as it is; what was deleted is not."""
        found = self._record.resources.resource(kind, name)
        return found is not None and (kind != "Job" or found.life != "orphaned")

    def _is_live(self, kind: str, name: str) -> bool:
        known = self._record.resources.resource(kind, name)
        return known is not None and known.life == "live"

    def _document(self, action: Action) -> Document | None:
        return self._record.desired.document(action.kind, action.name)

    def due(self, made: Plan, now: Now, is_in_doubt: Callable[[str], bool]) -> tuple[PlannedRun, ...]:
        """The runs that a pass would start: none of a job that `is_in_doubt`."""
        if not made.actions and not self._record.differences.owing(now.wall_ms):
            return ()
        from reconciler.controller.due import (
            due,  # a plan in which nothing differs and nothing is due loads no state machine
        )

        return due(self._record, made, now, is_in_doubt)

    def authors(self, made: Plan) -> Authors:
        """Who caused each action: the author of the commit that last changed its file, else the OS user; where the desired
        state is a commit, that one, as for what a rewritten history never held."""
        from reconciler.record.resources import By  # only where something changed

        revision, user = self._origin.revision(), self._origin.user()
        otherwise = By(author=user, commit="" if user else revision.rpartition(":")[2], revision=revision)
        try:
            commits = self._origin.authors({action.path for action in made.actions})
        except GitUnusable as error:
            self._notice(str(error))
            return Authors(by_path={}, otherwise=otherwise)
        if any(commit.boundary for commit in commits.values()):
            self._notice(SHALLOW)
        return Authors(by_path={path: by_of(commit, revision) for path, commit in commits.items()}, otherwise=otherwise)

    def _held(self) -> tuple[Waiting, ...]:
        held = [Waiting(document.kind, document.name, reason) for document, reason in self._record.desired.held()]
        undeleted = [one for one in self._record.deletions.undeleted() if not self._is_declared(one.name)]
        return (*held, *(Waiting("Job", one.name, undeleted_words(one.path)) for one in undeleted))

    def _renamed(self, waiting: Iterable[Waiting]) -> Iterator[Waiting]:
        """What waits because its old name is held says why that is."""
        held = {(document.kind, document.name): reason for document, reason in self._record.desired.held()}
        for one in waiting:
            document = self._record.desired.document(one.kind, one.name) if held else None
            why = "" if document is None else held.get((one.kind, document.renamed_from), "")
            yield (
                replace(one, reason=f"renamed from {document.renamed_from}, which is {why}")
                if document and why
                else one
            )

    def _is_declared(self, name: str) -> bool:
        return self._record.desired.document("Job", name) is not None

    def _references(self, pairs: Sequence[Pair]) -> dict[tuple[Kind, str], list[str]]:
        gone = [pair.key for pair in pairs if pair.declared is None and pair.key[0] != "Job"]
        return {(kind, name): self._record.resources.referrers(kind, name) for kind, name in gone}


def cursor_resets(catalogue: Catalogue) -> dict[tuple[str, str], frozenset[str]]:
    """The config fields, by provider and job type, whose change drops the cursor: the job type's schema says so."""
    return {
        (provider.name, job_type.name): frozenset(
            name for name, schema in job_type.schema.get("properties", {}).items() if schema.get("x-resetsCursor")
        )
        for provider in catalogue.values()
        for job_type in provider.job_types
    }
