"""A document as a policy sees it: as a person would write it out, with every default.

Durations are texts that CEL's `duration()` reads (`36h`, `90m`: it knows no days), moments texts that its `timestamp()` reads.
`config` has the defaults of the job type's schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from itertools import pairwise
from typing import Any, Final

from reconciler.clock import iso
from reconciler.core.config_schema import top_defaults
from reconciler.core.document import Document
from reconciler.core.provider import Catalogue
from reconciler.core.rules import Continuous, Cron, Every, rules_of
from reconciler.core.schedule import next_tick
from reconciler.core.words import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS

#: The cadence of a job that no timer starts: longer than any that a rule asks for.
NEVER_MS: Final = 36_500 * DAY_MS
#: So many ticks of a cron expression are looked at for the two that are closest.
_TICKS: Final = 64

#: A Job's spec where nothing is said; durations in milliseconds, as in a normalised spec.
_JOB: Final[Mapping[str, Any]] = {
    "authorization": "",
    "config": {},
    "deletionPolicy": "delete",
    "dependsOn": [],
    "lane": "live",
    "restart": "",
    "rerun": "",
    "schedule": {"once": True},
    "suspend": False,
}
_RETRY: Final[Mapping[str, Any]] = {
    "initial": 30 * SECOND_MS,
    "factor": 2.0,
    "max": 30 * MINUTE_MS,
    "jitter": 0.2,
    "failAfter": 10 * HOUR_MS,
}
_STREAM: Final[Mapping[str, Any]] = {"columns": {}, "identity": [], "attributes": {}}
_UNITS: Final = (("h", HOUR_MS), ("m", MINUTE_MS), ("s", SECOND_MS), ("ms", 1))


def view(document: Document, catalogue: Catalogue) -> dict[str, Any]:
    """`kind`, `name`, `path`, `metadata`, `spec`, `runType`, and `cadence`: the shortest time between two starts that a job's
    schedule asks for (`NEVER_MS` where no timer starts it), as a timedelta."""
    return {
        "kind": document.kind,
        "name": document.name,
        "path": document.path,
        "metadata": {
            "name": document.name,
            "title": document.title,
            "description": document.description,
            "labels": dict(document.labels),
        },
        "spec": _spec(document, catalogue),
        "runType": _type(document, catalogue),
        "cadence": timedelta(milliseconds=cadence_ms(document)),
    }


def cadence_ms(document: Document) -> int:
    """Of a job that runs continuously it is 0."""
    if document.kind != "Job":
        return NEVER_MS
    rules = rules_of(document.spec)
    match rules.schedule:
        case Every(every_ms):
            return every_ms
        case Continuous():
            return 0
        case Cron():
            ticks: list[int] = []
            while len(ticks) < _TICKS and (tick := next_tick(rules, None, ticks[-1] if ticks else 0)) is not None:
                ticks.append(tick)
            gaps = [later - earlier for earlier, later in pairwise(ticks)]
            return min(gaps, default=NEVER_MS)
        case _:
            return NEVER_MS


def _type(document: Document, catalogue: Catalogue) -> str:
    job_type = _job_type(document, catalogue)
    return "" if job_type is None else str(job_type.type)


def _job_type(document: Document, catalogue: Catalogue) -> Any:
    provider = catalogue.get(document.spec.get("provider", "")) if document.kind == "Job" else None
    return None if provider is None else provider.job_type(document.spec.get("jobType", ""))


def _spec(document: Document, catalogue: Catalogue) -> dict[str, Any]:
    spec = dict(document.spec)
    match document.kind:
        case "Job":
            return _job_spec(document, spec, catalogue)
        case "Stream":
            return {**_STREAM, **spec}
        case "Authorization":  # how a secret is referred to is nobody's secret
            return {"credentials": {}, **spec}
        case _:
            return spec


def _job_spec(document: Document, spec: dict[str, Any], catalogue: Catalogue) -> dict[str, Any]:
    job_type = _job_type(document, catalogue)
    defaults = {} if job_type is None else top_defaults(job_type.schema)
    spec = {**_JOB, **spec}
    spec["config"] = {**defaults, **spec["config"]}
    retry = {**_RETRY, **spec.get("retry", {})}
    spec["retry"] = {
        name: value if name in ("factor", "jitter") else duration_text(value) for name, value in retry.items()
    }
    schedule = dict(spec["schedule"])
    if "every" in schedule:
        schedule["every"] = duration_text(schedule["every"])
    spec["schedule"] = schedule
    if "timeout" in spec:
        spec["timeout"] = duration_text(spec["timeout"])
    if "expiresAt" in spec:
        spec["expiresAt"] = iso(spec["expiresAt"])
    return spec


def duration_text(length_ms: int) -> str:
    """`36h`: as CEL's `duration()` reads it."""
    parts, rest = [], length_ms
    for unit, size in _UNITS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
