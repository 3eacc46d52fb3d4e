"""The providers: those that ship with the product, listed by hand, and those that someone else ships, found by the
entry point group `reconciler.providers` (its value is the module, or the `Provider` itself)."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from reconciler.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.core.provider import Catalogue, Provider

ENTRY_POINTS = "reconciler.providers"
#: What a folder of an installed distribution is called: its name and version, and this.
_DISTRIBUTION = (".dist-info", ".egg-info")


def catalogue() -> Catalogue:
    """Every provider by its name, sorted. Raises UsageError where one that is shipped by others cannot be loaded, or
    takes a name that is taken."""
    from reconciler.providers import collect, files, http

    found = {one.PROVIDER.name: one.PROVIDER for one in (collect, files, http)}
    if not fingerprint():
        return dict(sorted(found.items()))
    from importlib.metadata import entry_points

    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: (entry.name, entry.value)):
        provider = _load(entry)
        if provider.name in found:
            raise UsageError(f"provider {provider.name!r} of {entry.value} is there already; uninstall one of the two")
        found[provider.name] = provider
    return dict(sorted(found.items()))


def fingerprint() -> str:
    """Which providers of others are installed, in which version: what was parsed under another one is parsed again.
    Imports no provider, and looks only where a distribution names some, because every pass asks."""
    shipped = {f"{name} {entries}" for folder in sys.path for name, entries in _shipped(folder or os.curdir)}
    return ",".join(sorted(shipped))


def _shipped(folder: str) -> Iterator[tuple[str, str]]:
    """The distributions in a folder of `sys.path` that ship providers: name with version, and their entry points."""
    try:
        names = [name for name in os.listdir(folder) if name.endswith(_DISTRIBUTION)]
    except OSError:  # not there, or no folder
        return
    for name in names:
        try:
            with open(f"{folder}/{name}/entry_points.txt", encoding="utf-8", errors="replace") as file:
                _, found, entries = file.read().partition(f"[{ENTRY_POINTS}]")
        except OSError:
            continue
        if found:
            yield name, " ".join(entries.partition("[")[0].split())


def _load(entry: Any) -> Provider:
    from reconciler.core.provider import Provider

    try:
        loaded = entry.load()
    except Exception as error:
        raise UsageError(f"provider {entry.name!r} of {entry.value} cannot be loaded: {error}") from error
    provider = getattr(loaded, "PROVIDER", loaded)
    if not isinstance(provider, Provider):
        raise UsageError(f"provider {entry.name!r} of {entry.value} is not a Provider")
    return provider
