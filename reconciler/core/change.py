"""What differs between two specs of the same thing, field by field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from reconciler.clock import iso
from reconciler.core.value import dataclass
from reconciler.core.words import spelled

#: Fields of a Job whose integers are milliseconds; they are shown as a spec spells them.
_DURATIONS: Final = frozenset(
    {"spec.schedule.every", "spec.timeout", "spec.retry.initial", "spec.retry.max", "spec.retry.failAfter"}
)
_TIMES: Final = frozenset({"spec.expiresAt"})


@dataclass(frozen=True, slots=True)
class Change:
    """One field that differs. `field` is its dotted path; None stands for a field that is absent or at its default."""

    field: str
    before: Any
    after: Any


def changes(before: Mapping[str, Any], after: Mapping[str, Any], at: str = "spec") -> tuple[Change, ...]:
    """The fields that differ, by path. Lists are compared whole."""
    return tuple(_changes(before, after, at))


def changed_fields(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    """The top-level fields that differ, sorted."""
    return tuple(sorted(name for name in {*before, *after} if before.get(name) != after.get(name)))


def asks(before: Mapping[str, Any], after: Mapping[str, Any], field: str) -> bool:
    """Whether `rerun` or `restart` asks for a run: it has changed, and not merely been taken away."""
    return bool(after.get(field)) and before.get(field) != after.get(field)


def resets_cursor(before: Mapping[str, Any], after: Mapping[str, Any], fields: frozenset[str]) -> bool:
    """Whether the cursor means nothing under the new spec: another provider or job type, or one of the config fields
    that the job type names."""
    if any(before.get(name) != after.get(name) for name in ("provider", "jobType")):
        return True
    return any(name in fields for name in changed_fields(before.get("config") or {}, after.get("config") or {}))


def _changes(before: Mapping[str, Any], after: Mapping[str, Any], at: str) -> Iterator[Change]:
    for name in sorted({*before, *after}):
        old, new, field = before.get(name), after.get(name), f"{at}.{name}"
        if old == new:
            continue
        if isinstance(old or {}, Mapping) and isinstance(new or {}, Mapping) and (old or new):
            yield from _changes(old or {}, new or {}, field)
        else:
            yield Change(field, _shown(field, old), _shown(field, new))


def _shown(field: str, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    if field in _DURATIONS:
        return spelled(value)
    return iso(value) if field in _TIMES else value
