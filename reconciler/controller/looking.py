"""A preview is a look and a plan, and stops there: it loads nothing that acts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any

from reconciler.clock import Clock, Now
from reconciler.controller.observe import Observer
from reconciler.controller.planning import Planner
from reconciler.controller.policing import Policing
from reconciler.controller.pruning import Pruner, place_of
from reconciler.controller.settings import Settings
from reconciler.controller.trees import check_root, installed, open_tree
from reconciler.core.planned import Plan, to_json
from reconciler.core.value import dataclass
from reconciler.errors import Problem
from reconciler.record.holder import controller_at_work
from reconciler.record.store import Record
from reconciler.repo.bulk import collection_paused


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a pass would do. `more` are further fields of its JSON: what it was made from. `in_doubt` are the jobs that are due,
    and start nothing until it is certain what has become of their specs."""

    root: str
    plan: Plan
    problems: tuple[Problem, ...]
    revision: str
    more: Mapping[str, Any] = field(default_factory=dict)
    in_doubt: frozenset[str] = frozenset()

    @property
    def document(self) -> dict[str, Any]:
        """The plan as JSON (design, section 6)."""
        return to_json(self.plan, self.root, self.revision, **self.more)


def preview(settings: Settings, *, backfills: bool = False, data: bool = False, basis: bool = False) -> Preview:
    """What a pass would do now; with `backfills`, also how much those that are due would add; with `data`, what every
    export of an audience would send; with `basis`, what all of it was made from. Changes nothing, and works while a
    daemon runs. Raises UsageError, RecordUnusable."""
    check_root(settings)
    with collection_paused():
        return _preview(settings, backfills, data, basis)


def _preview(settings: Settings, backfills: bool, data: bool, basis: bool) -> Preview:
    record = Record.reading(settings.state)
    tree, origin = open_tree(settings, record, writable=False)
    try:
        clock = Clock(record.alive_ms)
        now = clock.now()
        policing = Policing(record, tree, installed)
        observer = Observer(record, tree, installed, policing, needs_data_root=settings.needs_data_root, overlay=True)
        observer.observe_until_settled(clock)
        began_ms = now.wall_ms if controller_at_work(settings.state) is None else None
        pruner = Pruner(record, settings.budget, origin.revision, place_of(settings), began_ms)
        planner = Planner(record, origin, installed, lambda _: None, policing=policing, pruner=pruner)
        plan = whole_plan(record, settings, observer, planner, now, backfills=backfills, data=data)
        revision = origin.revision()
        more: dict[str, Any] = {}
        if basis:
            from reconciler.controller.basis import basis_of  # only where the plan is to be kept

            more["basis"] = basis_of(record, settings, plan, policing.digest).to_json(str(settings.root))
        owing = record.differences.owing(now.wall_ms) if observer.last.again_ms is not None else {}
        return Preview(
            root=str(settings.root), plan=plan, problems=plan.errors, revision=revision, more=more,
            in_doubt=frozenset(filter(observer.is_in_doubt, owing)),
        )  # fmt: skip
    finally:
        tree.close()
        record.close()


def whole_plan(
    record: Record,
    settings: Settings,
    observer: Observer,
    planner: Planner,
    now: Now,
    *,
    backfills: bool = True,
    data: bool = False,
) -> Plan:
    """The plan of what is desired since the last look, with the runs that are due; and, where it is asked for, what backfills
    and exports of audiences would move."""
    plan = planner.plan(now, observer.last.unsettled)
    plan = replace(plan, runs=planner.due(plan, now, observer.is_in_doubt))
    if backfills and (plan.runs or record.uploads.waiting() or record.approvals.waiting()):
        from reconciler.controller.backfills import planned_backfills  # only where something runs or waits

        plan = replace(plan, backfills=planned_backfills(record, settings, installed, plan, now))
    if data:
        from reconciler.controller.exports import planned_exports  # only where it is asked for

        plan = replace(plan, exports=planned_exports(record, settings, installed, plan, now))
    return plan
