"""What it takes to look: the tree of a root and what there is to read it by. A preview is a look and a plan, and stops
there: it loads nothing that acts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from reconciler import __version__
from reconciler.clock import Clock, Now
from reconciler.controller.bulk import collection_paused
from reconciler.controller.observe import Observer
from reconciler.controller.planning import Planner
from reconciler.controller.policing import Policing
from reconciler.controller.settings import Settings
from reconciler.core.planned import Plan, to_json
from reconciler.errors import Problem, UsageError
from reconciler.providers import fingerprint
from reconciler.record.store import Record
from reconciler.repo.git import Repository
from reconciler.repo.tree import Tree

if TYPE_CHECKING:
    from reconciler.core.provider import Catalogue


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a pass would do. `more` are further fields of its JSON: what it was made from."""

    root: str
    plan: Plan
    problems: tuple[Problem, ...]
    revision: str
    more: Mapping[str, Any] = field(default_factory=dict)

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
    tree = open_tree(settings, record, writable=False)
    try:
        clock = Clock(record.alive_ms)
        now = clock.now()
        repository = Repository.open(settings.root)
        policing = Policing(record, tree, installed)
        Observer(record, tree, installed, policing, overlay=True).observe_until_settled(clock)
        planner = Planner(
            record, repository, settings.state / "cache", installed, notice=lambda _: None, policing=policing
        )
        plan = whole_plan(record, settings, planner, now, backfills=backfills, data=data)
        revision = "" if repository is None else repository.revision()
        more: dict[str, Any] = {}
        if basis:
            from reconciler.controller.basis import basis_of  # only where the plan is to be kept

            more["basis"] = basis_of(record, settings, plan, policing.digest).to_json(str(settings.root))
        return Preview(root=str(settings.root), plan=plan, problems=plan.errors, revision=revision, more=more)
    finally:
        tree.close()
        record.close()


def whole_plan(
    record: Record, settings: Settings, planner: Planner, now: Now, *, backfills: bool = True, data: bool = False
) -> Plan:
    """The plan of what is desired now, with the runs that are due; and, where it is asked for, what backfills and exports
    of audiences would move."""
    plan = planner.plan(now)
    plan = replace(plan, runs=planner.due(plan, now))
    if backfills and plan.runs:
        from reconciler.controller.backfills import planned_backfills  # only where something runs

        plan = replace(plan, backfills=planned_backfills(record, settings, installed, plan, now))
    if data:
        from reconciler.controller.exports import planned_exports  # only where it is asked for

        plan = replace(plan, exports=planned_exports(record, settings, installed, plan, now))
    return plan


def check_root(settings: Settings) -> None:
    """Raises UsageError where the root is no folder."""
    if not settings.root.is_dir():
        raise UsageError(f"{settings.root} is not a folder; name the folder of your specs with --root")


def open_tree(settings: Settings, record: Record, *, writable: bool) -> Tree:
    cache = settings.state / "cache"
    return Tree(
        settings.root,
        cache if writable or cache.is_dir() else None,
        identity=record.id,
        version=f"{__version__} {fingerprint()}",  # what was parsed under another one is parsed again
        catalogue=installed,
        writable=writable,
    )


@cache
def installed() -> Catalogue:
    """The catalogue, asked for once a process. Its providers are imported late: a pass that finds nothing new needs
    none."""
    from reconciler.providers import catalogue

    return catalogue()
