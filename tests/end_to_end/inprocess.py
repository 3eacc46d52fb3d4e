"""A controller in the test's own process, over real hands; the fork server outlives it, so that many lives cost little.

A `Fuse` makes the hands mortal: the Nth deed ends the controller, as if its process were gone.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from reconciler.clock import Clock, Now
from reconciler.controller.hands import Hands
from reconciler.controller.loop import Controller
from reconciler.controller.observe import identity_of
from reconciler.controller.settings import Report, Settings, Silent
from reconciler.controller.wakeups import Wakeups
from reconciler.providers import catalogue
from reconciler.record.store import Record
from reconciler.repo.history import WorkTreeOrigin
from reconciler.repo.tree import Tree
from reconciler.repo.write import Writer
from reconciler.runner.local import LocalRunner
from reconciler.runner.processes import end_leftover

#: Calls that change nothing anywhere: to die before a question is to die after the last deed.
QUESTIONS = frozenset(
    [
        "active",
        "alive_ms",
        "awake",
        "by_id",
        "by_ids",
        "chores",
        "count",
        "counts",
        "current",
        "declared_elsewhere",
        "deletion",
        "deletions",
        "dependents",
        "dirty",
        "document",
        "documents",
        "documents_of",
        "expired",
        "fileno",
        "files",
        "files_of",
        "folders_kept",
        "fragmented",
        "held",
        "history",
        "jobs",
        "journals",
        "job",
        "latest",
        "left",
        "live",
        "next_changes",
        "next_wake_ms",
        "open_intents",
        "orphan",
        "owing",
        "own_files",
        "pairs",
        "paths",
        "problems",
        "problems_of",
        "queue",
        "referrers",
        "resource",
        "resources",
        "run",
        "secrets_seen",
        "segment_rows",
        "segments",
        "setting",
        "unlogged",
        "unapproved",
        "undeleted",
        "users_of",
        "named_files",
        "savepoint",
        "statuses",
        "hashes",
        "ledgers",
        "members_to_remove",
        "outstanding",
        "receipts",
        "reject_files",
        "request",
        "requests",
        "under_way",
    ]
)


Made = TypeVar("Made")


#: Die within transactions too, at each thing that the record is told.
EVERY_DEED: Final = bool(os.environ.get("RECONCILE_EVERY_DEED"))


class Died(BaseException):
    """The process is gone."""


@dataclass
class Fuse:
    """Burns down with each deed; at zero the controller dies.

    What the record is told within a transaction leaves nothing behind before its commit, wherever in it the controller
    dies: dying right before the commit stands for all of that, unless EVERY_DEED.
    """

    left: int
    deeds: list[str] = field(default_factory=list)
    depth: int = 0  # of transactions that are open

    def burn(self, name: str) -> None:
        self.deeds.append(name)
        if self.depth and name.startswith("record.") and not EVERY_DEED:
            return
        self.left -= 1
        if self.left == 0:
            raise Died(name)


class Mortal:
    """A hand whose every deed burns the fuse, before it is done."""

    def __init__(self, hand: Any, fuse: Fuse, name: str) -> None:
        self._hand, self._fuse, self._name = hand, fuse, name

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._hand, name)
        where = f"{self._name}.{name}"
        if callable(value):
            return value if name in QUESTIONS else self._deed(value, where)
        return Mortal(value, self._fuse, where) if type(value).__module__.startswith("reconciler.record.") else value

    def _deed(self, function: Callable[..., Any], where: str) -> Callable[..., Any]:
        def deed(*arguments: Any, **named: Any) -> Any:
            if not where.endswith(".transaction"):
                self._fuse.burn(where)
            made = function(*arguments, **named)
            return Ending(made, self._fuse, where) if isinstance(made, AbstractContextManager) else made

        return deed


class Ending:
    """A transaction that the controller may die at the end of: before it is committed, or right after."""

    def __init__(self, context: Any, fuse: Fuse, name: str) -> None:
        self._context, self._fuse, self._name = context, fuse, name

    def __enter__(self) -> Any:
        made = self._context.__enter__()
        self._fuse.depth += 1
        return made

    def __exit__(self, kind: Any, error: Any, trace: Any) -> Any:
        self._fuse.depth -= 1
        if kind is None:
            try:
                self._fuse.burn(f"{self._name}: before the commit")
            except Died as died:
                self._context.__exit__(Died, died, None)
                raise
        handled = self._context.__exit__(kind, error, trace)
        if kind is None:
            self._fuse.burn(f"{self._name}: after the commit")
        return handled


class Ahead(Clock):
    """A clock that is ahead of the machine's."""

    def __init__(self, alive_base_ms: int, ahead_ms: int) -> None:
        super().__init__(alive_base_ms)
        self._ahead_ms = ahead_ms

    def now(self) -> Now:
        now = super().now()
        return Now(wall_ms=now.wall_ms + self._ahead_ms, alive_ms=now.alive_ms)


@dataclass
class World:
    """A root and its state, and the runner that serves each controller of its."""

    root: Path
    runner: LocalRunner
    ahead_ms: int = 0  # how far the world's wall clock is ahead of the machine's
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        return self.root / ".reconciler"

    def live(self, fuse: Fuse | None = None) -> Report | None:
        """One controller's pass; None where it died."""
        return self.act(Controller.run_pass, fuse)

    def act(self, deed: Callable[[Controller], Made], fuse: Fuse | None = None) -> Made | None:
        """What one controller does; None where it died."""
        record = Record.writing(self.state)
        hands = self._hands(record)
        if fuse is not None:
            mortal: dict[str, Any] = {
                name: Mortal(getattr(hands, name), fuse, name) for name in ("record", "tree", "writer", "runner")
            }
            hands = replace(hands, **mortal)
        try:
            return deed(Controller(hands))
        except Died:
            return None
        finally:
            for run in self.runner.active():
                self.runner.kill(run)
            while self.runner.active():
                self.runner.messages(1.0)
            record.close()

    def _hands(self, record: Record) -> Hands:
        return Hands(
            settings=Settings(root=self.root, state=self.state, **self.settings),
            record=record,
            tree=Tree(self.root, self.state / "cache", identity=identity_of(record), version="1", catalogue=catalogue),
            origin=WorkTreeOrigin(self.root, self.state / "cache"),
            writer=Writer(self.root),
            runner=self.runner,
            end_leftover=end_leftover,
            clock=Ahead(record.alive_ms, self.ahead_ms),
            chance=lambda: 0.5,
            listener=Silent(),
            catalogue=catalogue,
            wakeups=Wakeups,
        )
