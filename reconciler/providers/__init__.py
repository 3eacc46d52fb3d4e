"""The providers: those that ship with the product, listed by hand, and those that someone else ships, found by the
entry point group `reconciler.providers` (its value is the module, or the `Provider` itself)."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from reconciler.core.provider import Catalogue, Provider
from reconciler.errors import UsageError

ENTRY_POINTS = "reconciler.providers"


def catalogue() -> Catalogue:
    """Every provider by its name, sorted. Raises UsageError where one that is shipped by others cannot be loaded, or
    takes a name that is taken."""
    from reconciler.providers import files, http

    found = {one.PROVIDER.name: one.PROVIDER for one in (files, http)}
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: (entry.name, entry.value)):
        provider = _load(entry)
        if provider.name in found:
            raise UsageError(f"provider {provider.name!r} of {entry.value} is there already; uninstall one of the two")
        found[provider.name] = provider
    return dict(sorted(found.items()))


def fingerprint() -> str:
    """Which providers are installed, in which version: what was parsed under another one is parsed again. Imports no
    provider."""
    shipped = entry_points(group=ENTRY_POINTS)
    return ",".join(sorted(f"{one.name}={one.value}@{one.dist.version if one.dist else ''}" for one in shipped))


def _load(entry: Any) -> Provider:
    try:
        loaded = entry.load()
    except Exception as error:
        raise UsageError(f"provider {entry.name!r} of {entry.value} cannot be loaded: {error}") from error
    provider = getattr(loaded, "PROVIDER", loaded)
    if not isinstance(provider, Provider):
        raise UsageError(f"provider {entry.name!r} of {entry.value} is not a Provider")
    return provider
