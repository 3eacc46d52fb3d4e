"""The tree of a root: where it is, and what its specs are read by. It stands by itself, and loads little, because every
command begins with it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from reconciler import __version__
from reconciler.controller.observe import MARK, identity_of
from reconciler.errors import UsageError
from reconciler.providers import fingerprint
from reconciler.record.holder import controller_at_work
from reconciler.repo.history import WorkTreeOrigin
from reconciler.repo.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from reconciler.controller.hands import Specs
    from reconciler.controller.settings import Settings
    from reconciler.core.provider import Catalogue
    from reconciler.record.store import Record
    from reconciler.repo.history import Origin
    from reconciler.repo.source import Source


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
) -> tuple[Specs, Origin]:
    """What the specs are read from, and where that comes from. Raises UsageError where there is no such commit, and none was
    ever settled."""
    cache = settings.state / "cache"
    kept = cache if writable or cache.is_dir() else None
    version = f"{__version__} {fingerprint()}"  # what was parsed under another one is parsed again
    mark = str(record.setting(MARK, ""))
    if settings.source:
        source = open_source(settings, notice, fetches=writable or controller_at_work(settings.state) is None)
        return _open_commit(settings, source, record, mark, kept, version, writable=writable)
    tree = Tree(
        settings.root, kept, identity=identity_of(record), version=version, catalogue=installed, writable=writable,
        told=not mark,
    )  # fmt: skip
    return tree, WorkTreeOrigin(settings.root, cache)


def _open_commit(
    settings: Settings, source: Source, record: Record, mark: str, cache: Path | None, version: str, *, writable: bool
) -> tuple[Specs, Origin]:
    from reconciler.repo.commit import CommitTree, settled_source  # a folder's specs need none of it

    if settled_source(mark) != source.name and not (head := source.head()).commit:
        source.close()
        raise UsageError(head.why)
    tree = CommitTree(
        source, cache, mark=mark, identity=record.id, version=version, catalogue=installed, writable=writable,
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
