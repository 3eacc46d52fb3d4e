"""The providers: those that ship with the product, listed by hand, and those that someone else ships, found by the
entry point group `reconciler.providers` (its value is the module, or the `Provider` itself)."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.core.provider import Catalogue, Provider

ENTRY_POINTS = "reconciler.providers"
#: What a folder of an installed distribution is called: its name and version, and this.
_DISTRIBUTION = (".dist-info", ".egg-info")


def catalogue() -> Catalogue:
    """Every provider by its name, sorted. Raises UsageError where one that is shipped by others cannot be loaded, or
    takes a name that is taken."""
    from importlib.metadata import entry_points

    from reconciler.providers import files, http

    found = {one.PROVIDER.name: one.PROVIDER for one in (files, http)}
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: (entry.name, entry.value)):
        provider = _load(entry)
        if provider.name in found:
            raise UsageError(f"provider {provider.name!r} of {entry.value} is there already; uninstall one of the two")
        found[provider.name] = provider
    return dict(sorted(found.items()))


def fingerprint() -> str:
    """A text that differs when other distributions, or other versions of them, are installed: what was parsed under
    another one is parsed again. Reads the names of folders alone, because every pass asks."""
    import hashlib

    names = {name for folder in sys.path for name in _listed(folder) if name.endswith(_DISTRIBUTION)}
    return hashlib.sha256("\n".join(sorted(names)).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder or os.curdir)
    except OSError:  # not there, or no folder
        return []


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
