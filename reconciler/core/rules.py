"""The rules of a job: what its spec tells the schedule and the state machine, as plain frozen values.

`rules_of` reads a normalised spec (`Document.spec`), which leaves out what equals its default; the defaults of
design section 2 stand here for whoever needs only the rules and must not pay for importing a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from reconciler.core.value import Value, dataclass
from reconciler.core.words import HOUR_MS, MINUTE_MS, SECOND_MS
from reconciler.core.words import PURGE_AFTER_MS as PURGE_AFTER_MS


class Once(Value):
    """One run; the default."""


class Every(Value):
    """A run whenever `every_ms` have passed since the last start."""

    every_ms: int


class Cron(Value):
    """A run at each matching minute of the wall clock of `timezone` (an IANA name)."""

    expression: str
    timezone: str = "UTC"


class Continuous(Value):
    """A run after the other."""


class AfterDependencies(Value):
    """A run whenever a dependency has succeeded since the last start."""


Schedule = Once | Every | Cron | Continuous | AfterDependencies


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How a failed run is tried again. `jitter` is a share of the delay, `fail_after_ms` alive time."""

    initial_ms: int = 30 * SECOND_MS
    factor: float = 2.0
    max_ms: int = 30 * MINUTE_MS
    jitter: float = 0.2
    fail_after_ms: int = 10 * HOUR_MS


class Quiet(Value):
    """A daily window in which no run starts. Minutes count from midnight of `timezone`'s wall clock; a window whose
    end is not after its beginning goes on into the next day; one that begins where it ends is empty."""

    from_minute: int
    to_minute: int
    timezone: str = "UTC"


_ONCE: Final = Once()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRules:
    """Everything that the schedule, the gate and the state machine need to know of a spec."""

    schedule: Schedule = _ONCE
    suspend: bool = False
    timeout_ms: int | None = None
    retry: Retry = Retry()
    depends_on: tuple[str, ...] = ()
    quiet: Quiet | None = None
    expires_at_ms: int | None = None
    deletion_policy: str = "delete"
    lane: str = "live"


#: A field of `retry` in a spec, and what it is called here.
_RETRY: Final = (
    ("initial", "initial_ms"),
    ("factor", "factor"),
    ("max", "max_ms"),
    ("jitter", "jitter"),
    ("failAfter", "fail_after_ms"),
)


def rules_of(spec: Mapping[str, Any]) -> JobRules:
    """The rules in a normalised Job spec. Raises KeyError or ValueError only for a spec that was never checked."""
    return JobRules(
        schedule=schedule_of(spec.get("schedule") or {}),
        suspend=bool(spec.get("suspend", False)),
        timeout_ms=spec.get("timeout"),
        retry=_retry_of(spec.get("retry") or {}),
        depends_on=tuple(sorted(spec.get("dependsOn") or ())),
        quiet=_quiet_of(spec.get("quiet")),
        expires_at_ms=spec.get("expiresAt"),
        deletion_policy=spec.get("deletionPolicy", "delete"),
        lane=spec.get("lane", "live"),
    )


def schedule_of(schedule: Mapping[str, Any]) -> Schedule:
    """The schedule of a normalised `spec.schedule`; an empty one is `once`."""
    if "every" in schedule:
        return Every(schedule["every"])
    if "cron" in schedule:
        return Cron(schedule["cron"], schedule.get("timezone", "UTC"))
    if schedule.get("continuous"):
        return Continuous()
    if schedule.get("afterDependencies"):
        return AfterDependencies()
    return Once()


def _retry_of(retry: Mapping[str, Any]) -> Retry:
    return Retry(**{ours: retry[theirs] for theirs, ours in _RETRY if theirs in retry})


def _quiet_of(quiet: Mapping[str, Any] | None) -> Quiet | None:
    if not quiet:
        return None
    return Quiet(_minute(quiet["from"]), _minute(quiet["to"]), quiet.get("timezone", "UTC"))


def _minute(text: str) -> int:
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)
