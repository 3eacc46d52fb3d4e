"""Who uses a stream, and whether anything still comes in.

A stream is judged by when its newest message arrived, because that is what tells that a source has dried up; the times
that messages bring with them may lie years back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Literal

from reconciler.core.value import dataclass

if TYPE_CHECKING:
    from reconciler.core.provider import Catalogue, JobType

DAY_MS: Final = 24 * 3_600_000
#: A stream is active for so many of its usual gaps after its newest message, and at least a day; then stale for so
#: many, and at least a week; then dead.
ACTIVE_GAPS: Final = 3
ACTIVE_MS: Final = DAY_MS
STALE_GAPS: Final = 10
STALE_MS: Final = 7 * DAY_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """The messages' own times in a segment: the extremes, None where no message has one, and how many have none."""

    first_ms: int | None
    last_ms: int | None
    untimed: int


Access = Literal["reads", "writes"]


class Liveness(StrEnum):
    """What is to be expected of a stream."""

    ACTIVE = "active"
    STALE = "stale"
    DEAD = "dead"
    EMPTY = "empty"


def liveness(arrived_ms: int | None, gap_ms: int | None, now_ms: int) -> Liveness:
    """Whether messages still come: `arrived_ms` is when the newest did, `gap_ms` the usual time between two arrivals."""
    if arrived_ms is None:
        return Liveness.EMPTY
    silent_ms, gap_ms = now_ms - arrived_ms, gap_ms or 0
    if silent_ms <= max(ACTIVE_MS, ACTIVE_GAPS * gap_ms):
        return Liveness.ACTIVE
    return Liveness.STALE if silent_ms <= max(STALE_MS, STALE_GAPS * gap_ms) else Liveness.DEAD


def streams_of(job_type: JobType, config: Mapping[str, Any], access: Access) -> tuple[str, ...]:
    """The streams that a job's config names in fields annotated with `x-stream: access`."""
    properties: Mapping[str, Any] = job_type.schema.get("properties", {})
    fields = [name for name, schema in properties.items() if schema.get("x-stream") == access]
    return tuple(str(config[name]) for name in fields if name in config)


def users_of(
    catalogue: Catalogue,
    jobs: Iterable[tuple[str, Mapping[str, Any]]],
    stream: str,
    accesses: Iterable[Access] = ("reads", "writes"),
) -> list[str]:
    """The names of those jobs (name and spec) that read or write a stream, sorted. A job whose type is not installed
    counts where any field of its config names the stream: what is not known is not denied."""
    wanted = tuple(accesses)
    return sorted(name for name, spec in jobs if _uses(catalogue, spec, stream, wanted))


def _uses(catalogue: Catalogue, spec: Mapping[str, Any], stream: str, accesses: tuple[Access, ...]) -> bool:
    provider = catalogue.get(spec.get("provider", ""))
    job_type = None if provider is None else provider.job_type(spec.get("jobType", ""))
    config: Mapping[str, Any] = spec.get("config", {})
    if job_type is None:
        return stream in [value for value in config.values() if isinstance(value, str)]
    return any(stream in streams_of(job_type, config, access) for access in accesses)
