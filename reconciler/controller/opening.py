"""Puts a controller together out of its hands, and previews what it would do without being one."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any

from reconciler import __version__
from reconciler.clock import Clock
from reconciler.controller.hands import Hands
from reconciler.controller.loop import Controller
from reconciler.controller.observe import Observer
from reconciler.controller.planning import Planner
from reconciler.controller.settings import Listener, Settings, Silent
from reconciler.core.plan import Plan, to_json
from reconciler.core.provider import Catalogue
from reconciler.errors import Problem, UsageError
from reconciler.providers import fingerprint
from reconciler.record.store import Record
from reconciler.repo.git import Repository
from reconciler.repo.tree import Tree
from reconciler.repo.write import Writer
from reconciler.runner.local import LocalRunner
from reconciler.runner.processes import end_leftover


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a pass would do. `document` is the plan as JSON (design, section 6)."""

    plan: Plan
    problems: tuple[Problem, ...]
    revision: str
    document: dict[str, Any]


def open_controller(settings: Settings, listener: Listener | None = None) -> Controller:
    """The one writer of the record. Raises UsageError, Locked, RecordUnusable."""
    _check_root(settings)
    record = Record.writing(settings.state)
    try:
        hands = _hands(settings, record, listener or Silent(), writable=True)
    except BaseException:
        record.close()
        raise
    return Controller(hands)


def preview(settings: Settings) -> Preview:
    """What a pass would do now. Writes nothing, and works while a daemon runs. Raises UsageError, RecordUnusable."""
    _check_root(settings)
    record = Record.reading(settings.state)
    hands = _hands(settings, record, Silent(), writable=False)
    try:
        now = hands.clock.now()
        observer = Observer(record, hands.tree, hands.catalogue, overlay=True)
        observer.observe_until_settled(hands.clock)
        planner = Planner(hands)
        plan = planner.plan(now)
        plan = replace(plan, runs=planner.due(plan, now))
        revision = _revision(hands)
        return Preview(
            plan=plan,
            problems=plan.errors,
            revision=revision,
            document=to_json(plan, str(settings.root), revision),
        )
    finally:
        hands.runner.close()
        hands.tree.close()
        record.close()


def _check_root(settings: Settings) -> None:
    if not settings.root.is_dir():
        raise UsageError(f"{settings.root} is not a folder; name the folder of your specs with --root")


def _hands(settings: Settings, record: Record, listener: Listener, *, writable: bool) -> Hands:
    cache = settings.state / "cache"
    tree = Tree(
        settings.root,
        cache if writable or cache.is_dir() else None,
        identity=record.id,
        version=f"{__version__} {fingerprint()}",  # what was parsed under another one is parsed again
        catalogue=_catalogue,
        writable=writable,
    )
    return Hands(
        settings=settings,
        record=record,
        tree=tree,
        repository=Repository.open(settings.root),
        writer=Writer(settings.root, settings.status_dir),
        runner=LocalRunner(settings.state),
        end_leftover=end_leftover,
        clock=Clock(record.alive_ms),
        chance=random.random,
        listener=listener,
        catalogue=_catalogue,
    )


def _catalogue() -> Catalogue:
    from reconciler.providers import (
        catalogue,
    )  # its providers are imported late: a pass that finds nothing new needs no provider

    return catalogue()


def _revision(hands: Hands) -> str:
    return "" if hands.repository is None else hands.repository.revision()
