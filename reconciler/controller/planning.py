"""The planner's input from the record, and what a plan needs beside it: authors, cursor resets, runs that are due."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.clock import Now
from reconciler.controller.observe import reason_to_hold
from reconciler.core.document import Kind
from reconciler.core.planned import Plan, PlannedRun, Waiting
from reconciler.record.store import Record
from reconciler.repo.git import GitUnusable

if TYPE_CHECKING:
    from reconciler.controller.policing import Policing
    from reconciler.core.plan import Pair
    from reconciler.core.provider import Catalogue
    from reconciler.record.resources import By
    from reconciler.repo.history import Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Authors:
    """Who caused what: by file, and for what no commit holds."""

    by_path: Mapping[str, By]
    otherwise: By

    def of(self, path: str) -> By:
        return self.by_path.get(path, self.otherwise)


class Planner:
    """Plans what differs. With nothing different it builds nothing. `notice` is told what keeps authors from being
    known."""

    def __init__(
        self,
        record: Record,
        origin: Origin,
        catalogue: Callable[[], Catalogue],
        notice: Callable[[str], None],
        policing: Policing,
    ) -> None:
        self._policing = policing
        self._record = record
        self._origin = origin
        self._catalogue = catalogue
        self._notice = notice

    def plan(self, now: Now) -> Plan:
        """The plan for what differs now, with what waits and what is wrong. Runs are not in it."""
        pairs = self._record.differences.pairs(now.wall_ms)
        problems = tuple(self._record.desired.problems())
        if not pairs:
            return Plan(waiting=self._held(), errors=problems)
        from reconciler.core.plan import Difference, plan  # only where something differs

        difference = Difference(
            pairs=pairs,
            hold_deletions=reason_to_hold(problems, self._is_known),
            resets=cursor_resets(self._catalogue()),
            references=self._references(pairs),
        )
        made = self._policing.hold(plan(difference, now), now, self.authors)
        from reconciler.controller.rebuilds import planned_rebuild  # only where something changed

        rebuild = planned_rebuild(self._record, made.actions)
        errors = tuple(sorted({*problems, *made.errors}))
        return Plan(actions=made.actions, waiting=(*made.waiting, *self._held()), errors=errors, rebuild=rebuild)

    @property
    def policy(self) -> str:
        """The digest of the policy that the plan is held to."""
        return self._policing.digest

    def _is_known(self, kind: str, name: str) -> bool:
        return self._record.resources.resource(kind, name) is not None

    def due(self, made: Plan, now: Now) -> tuple[PlannedRun, ...]:
        """The runs that a pass would start."""
        if not made.actions and not self._record.differences.owing(now.wall_ms):
            return ()
        from reconciler.controller.due import (
            due,  # a plan in which nothing differs and nothing is due loads no state machine
        )

        return due(self._record, made, now)

    def authors(self, made: Plan) -> Authors:
        """Who caused each action: the author of the commit that last changed its file, else the OS user."""
        from reconciler.record.resources import By  # only where something changed
        from reconciler.repo.history import os_user

        revision = self._origin.revision()
        otherwise = By(author=os_user(), revision=revision)
        try:
            commits = self._origin.authors({action.path for action in made.actions})
        except GitUnusable as error:
            self._notice(str(error))
            return Authors(by_path={}, otherwise=otherwise)
        found = {
            path: By(author=commit.author, commit=commit.hash, revision=revision) for path, commit in commits.items()
        }
        return Authors(by_path=found, otherwise=otherwise)

    def _held(self) -> tuple[Waiting, ...]:
        return tuple(Waiting(document.kind, document.name, reason) for document, reason in self._record.desired.held())

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
