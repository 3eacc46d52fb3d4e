"""What a changed spec means to a job's life: the events that its state is to be advanced through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from reconciler.core.change import asks, changed_fields, resets_cursor
from reconciler.core.happening import (
    AuthorizationChanged,
    Event,
    Relaxed,
    RerunAsked,
    RestartAsked,
    Resumed,
    RulesChanged,
    ScheduleChanged,
    Suspended,
    WorkChanged,
)

#: Fields of a Job, and what a change of any of them means to its life; in this order. `rerun`, `restart` and `suspend`
#: follow, and `expiresAt` speaks by its time alone.
_MEANINGS: Final[tuple[tuple[tuple[str, ...], Event], ...]] = (
    (("schedule",), ScheduleChanged()),
    (("authorization",), AuthorizationChanged()),
    (("retry", "timeout"), Relaxed()),
    (("quiet", "dependsOn", "deletionPolicy"), RulesChanged()),
    (("lane", "backfill"), RulesChanged(judges_anew=True)),
)
_WORK: Final = ("provider", "jobType", "config")


def spec_events(
    before: Mapping[str, Any], after: Mapping[str, Any], resets: frozenset[str] = frozenset()
) -> tuple[Event, ...]:
    """What a changed Job spec means to its life, in the order in which it is to be advanced through under the new
    rules. `resets` are the config fields whose change drops the cursor."""
    changed = set(changed_fields(before, after))
    found: list[Event] = []
    if changed & set(_WORK):
        found.append(WorkChanged(resets_cursor(before, after, resets)))
    found.extend(event for names, event in _MEANINGS if changed & set(names))
    if asks(before, after, "rerun"):
        found.append(RerunAsked())
    if asks(before, after, "restart"):
        found.append(RestartAsked())
    if "suspend" in changed:
        found.append(Suspended() if after.get("suspend") else Resumed())
    return tuple(found)
