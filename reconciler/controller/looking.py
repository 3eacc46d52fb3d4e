"""What it takes to look: the tree of a root and what there is to read it by. A preview is a look and a plan, and stops
there: it loads nothing that acts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from reconciler import __version__
from reconciler.clock import Clock, Now
from reconciler.controller.observe import MARK, Observer, identity_of
from reconciler.controller.planning import Planner
from reconciler.controller.policing import Policing
from reconciler.controller.pruning import Pruner, place_of
from reconciler.controller.settings import Settings
from reconciler.core.planned import Plan, to_json
from reconciler.errors import Problem, UsageError
from reconciler.providers import fingerprint
from reconciler.record.holder import controller_at_work
from reconciler.record.store import Record
from reconciler.repo.bulk import collection_paused
from reconciler.repo.history import WorkTreeOrigin
from reconciler.repo.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from reconciler.controller.hands import Specs
    from reconciler.core.provider import Catalogue
    from reconciler.repo.history import Origin
    from reconciler.repo.source import Source


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
    tree, origin = open_tree(settings, record, writable=False)
    try:
        clock = Clock(record.alive_ms)
        now = clock.now()
        policing = Policing(record, tree, installed)
        observer = Observer(record, tree, installed, policing, needs_data_root=settings.needs_data_root, overlay=True)
        observation = observer.observe_until_settled(clock)
        began_ms = now.wall_ms if controller_at_work(settings.state) is None else None
        pruner = Pruner(record, settings.budget, origin.revision, place_of(settings), began_ms)
        planner = Planner(record, origin, installed, lambda _: None, policing=policing, pruner=pruner)
        plan = whole_plan(
            record, settings, planner, now, unsettled=observation.unsettled, backfills=backfills, data=data
        )
        revision = origin.revision()
        more: dict[str, Any] = {}
        if basis:
            from reconciler.controller.basis import basis_of  # only where the plan is to be kept

            more["basis"] = basis_of(record, settings, plan, policing.digest).to_json(str(settings.root))
        return Preview(root=str(settings.root), plan=plan, problems=plan.errors, revision=revision, more=more)
    finally:
        tree.close()
        record.close()


def whole_plan(
    record: Record,
    settings: Settings,
    planner: Planner,
    now: Now,
    *,
    unsettled: str = "",
    backfills: bool = True,
    data: bool = False,
) -> Plan:
    """The plan of what is desired now, with the runs that are due; and, where it is asked for, what backfills and exports
    of audiences would move. `unsettled` says why nothing may be deleted yet."""
    plan = planner.plan(now, unsettled)
    plan = replace(plan, runs=planner.due(plan, now))
    if backfills and (plan.runs or record.uploads.waiting()):
        from reconciler.controller.backfills import planned_backfills  # only where something runs or waits

        plan = replace(plan, backfills=planned_backfills(record, settings, installed, plan, now))
    if data:
        from reconciler.controller.exports import planned_exports  # only where it is asked for

        plan = replace(plan, exports=planned_exports(record, settings, installed, plan, now))
    return plan


def check_root(settings: Settings) -> None:
    """Raises UsageError where the root is no folder; that of a commit need not be on disk."""
    if not settings.source and not settings.root.is_dir():
        raise UsageError(f"{settings.root} is not a folder; name the folder of your specs with --root")


def open_tree(
    settings: Settings,
    record: Record,
    *,
    writable: bool,
    notice: Callable[[str], None] = lambda _: None,
    catalogue: Callable[[], Catalogue] | None = None,
) -> tuple[Specs, Origin]:
    """What the specs are read from, and where that comes from; the `catalogue` is asked for where some are new. Raises
    UsageError where there is no such commit, and none was ever settled."""
    catalogue = catalogue or installed
    cache = settings.state / "cache"
    kept = cache if writable or cache.is_dir() else None
    version = f"{__version__} {fingerprint()}"  # what was parsed under another one is parsed again
    mark = str(record.setting(MARK, ""))
    if settings.source:
        source = open_source(settings, notice, fetches=writable or controller_at_work(settings.state) is None)
        return _open_commit(settings, source, record, mark, kept, version, catalogue, writable=writable)
    tree = Tree(
        settings.root, kept, identity=identity_of(record), version=version, catalogue=catalogue, writable=writable,
        told=not mark,
    )  # fmt: skip
    return tree, WorkTreeOrigin(settings.root, cache)


def _open_commit(
    settings: Settings, source: Source, record: Record, mark: str, cache: Path | None, version: str,
    catalogue: Callable[[], Catalogue], *, writable: bool,
) -> tuple[Specs, Origin]:  # fmt: skip
    from reconciler.repo.commit import CommitTree, settled_source  # a folder's specs need none of it

    if settled_source(mark) != source.name and not (head := source.head()).commit:
        source.close()
        raise UsageError(head.why)
    tree = CommitTree(
        source, cache, mark=mark, identity=record.id, version=version, catalogue=catalogue, writable=writable,
        reading="no data root" if settings.needs_data_root else "",
    )  # fmt: skip
    return tree, tree


def open_source(settings: Settings, notice: Callable[[str], None] = lambda _: None, *, fetches: bool = True) -> Source:
    """Where the commits come from. A clone `fetches` unless a daemon does. Raises UsageError where `source` names none, or
    nobody can be verified."""
    from reconciler.repo.source import LocalSource

    if settings.followed is not None or settings.verify_keys:
        from reconciler.controller.remotes import clone_source, verified  # where neither is, nobody pays for them

        if settings.followed is not None:
            return clone_source(settings, settings.followed, notice, fetches=fetches)
        return verified(LocalSource(settings.root, settings.source), settings)
    return LocalSource(settings.root, settings.source)


@cache
def installed() -> Catalogue:
    """The catalogue, asked for once a process. Its providers are imported late: a pass that finds nothing new needs
    none."""
    from reconciler.providers import catalogue

    return catalogue()
