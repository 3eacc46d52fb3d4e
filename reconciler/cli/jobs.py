"""What the commands say of a job beyond its row in the record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.cli.options import Call
from reconciler.cli.terminal import escape
from reconciler.core.rules import rules_of
from reconciler.core.status import Counts, JobFacts, RunFacts, job_status
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.clock import Now
    from reconciler.record.jobs import JobRow, Totals
    from reconciler.record.runs import RunRow
    from reconciler.record.store import Record


def type_names(call: Call) -> dict[tuple[str, str], str]:
    """`import`, `export` or `enrichment` of every (provider, jobType) of the catalogue. A catalogue that cannot be
    loaded is a warning here: it is no reason not to show what is recorded."""
    from reconciler.providers import catalogue

    try:
        known = catalogue()
    except UsageError as error:
        call.terminal.warn(f"warning: {escape(str(error))}")
        return {}
    return {(one.name, job_type.name): job_type.type for one in known.values() for job_type in one.job_types}


def status_of(call: Call, record: Record, job: JobRow, now: Now) -> dict[str, Any]:
    """The `status` part of the job's status document, as of now (design, section 4)."""
    provider, job_type = job.spec.get("provider", ""), job.spec.get("jobType", "")
    problems = [one for one in record.desired.problems() if (one.kind, one.name) == ("Job", job.name)]
    facts = JobFacts(
        name=job.name,
        title=job.title,
        provider=provider,
        created_ms=job.created_ms,
        created_by=job.created_by,
        updated_ms=job.updated_ms,
        updated_by=job.updated_by,
        generation=job.generation,
        observed_generation=job.observed,
        digest=job.digest,
        revision=job.revision,
        condition=job.condition,
        condition_ms=job.condition_ms,
        problems=problems,
        state=job.state,
        rules=rules_of(job.spec),
        job_type=job_type,
        type=type_names(call).get((provider, job_type), ""),
        authorization=job.spec.get("authorization", ""),
        waiting=job.waiting,
        totals=_counts(job.totals),
        runs=[_run_facts(run) for run in record.runs.history(job.id)],
    )
    status: dict[str, Any] = job_status(facts, now)["status"]
    return status


def _run_facts(run: RunRow) -> RunFacts:
    return RunFacts(
        id=run.id,
        started_ms=run.started_ms,
        finished_ms=run.finished_ms,
        outcome=run.outcome,
        attempt=run.attempt,
        counts=_counts(run.totals),
    )


def _counts(totals: Totals) -> Counts:
    return Counts(rows=totals.rows, added=totals.added, removed=totals.removed, omitted=totals.omitted)
