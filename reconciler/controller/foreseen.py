"""What a run will find once a plan is enacted, for whoever says beforehand what that run would do: the cursor that a
restart drops, that was kept for a job declared again, or that comes with a new name."""

from __future__ import annotations

import json
from typing import Any

from reconciler.core.planned import Action, Plan
from reconciler.core.value import dataclass
from reconciler.record.jobs import JobRow
from reconciler.record.store import Record


@dataclass(frozen=True, slots=True)
class Foreseen:
    """The record, as a plan that is not enacted yet will leave it."""

    record: Record
    made: Plan

    def cursor(self, name: str) -> Any:
        """That which the next run of a job will find; None where it begins anew."""
        if any(action.resets_cursor for action in self.actions(name)):
            return None
        job = self.job(name)
        if job is not None:
            return job.cursor
        kept = self.record.jobs.orphan(name)
        return None if kept is None or kept[0] is None else json.loads(kept[0])

    def job(self, name: str) -> JobRow | None:
        """The job of that name, under the name that the record still knows it by."""
        renamed = next((action.renamed_from for action in self.actions(name) if action.renamed_from), "")
        return self.record.jobs.job(renamed or name)

    def actions(self, name: str) -> list[Action]:
        """What is to be done to the job of that name."""
        return [action for action in self.made.actions if action.kind == "Job" and action.name == name]
