"""Whom an export of an audience leaves out just now: its ledger says who, and why."""

from __future__ import annotations

from reconciler.controller.exports import audience_field
from reconciler.controller.settings import Settings
from reconciler.controller.trees import installed
from reconciler.core.value import dataclass
from reconciler.record.jobs import JobRow


@dataclass(frozen=True, slots=True, kw_only=True)
class OmittedMember:
    """A member, why it is omitted since which run, and as what it was sent last (JSON object, empty where it never was)."""

    member: str
    reason: str
    run: int
    fields: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Omitted:
    """The members that the ledger of an export of `audience` holds as omitted, the latest first. What was left out in run
    `since` or later is not in the ledger yet; 0 where no plan is at hand."""

    audience: str
    members: tuple[OmittedMember, ...]
    since: int


def omitted_members(settings: Settings, job: JobRow, limit: int) -> Omitted | None:
    """At most `limit` members; None for a job that exports no audience."""
    field = audience_field(installed(), job.spec["provider"], job.spec["jobType"])
    if field is None:
        return None
    from reconciler.core.mirror import Progress
    from reconciler.data.engine import workspace
    from reconciler.data.ledger import omitted

    progress = Progress.load(job.cursor)
    data = settings.state / "data"
    found: tuple[OmittedMember, ...] = ()
    if progress.ledger.facts.omitted:
        with workspace(data, memory_mb=settings.memory_mb) as connection:
            rows = omitted(connection, data, progress.ledger.files, limit)
        found = tuple(
            OmittedMember(member=member, reason=reason, run=run, fields=fields or "")
            for member, reason, run, fields in rows
        )
    return Omitted(
        audience=str(job.spec.get("config", {}).get(field[1], "")),
        members=found,
        since=0 if progress.plan is None else progress.plan.run,
    )
