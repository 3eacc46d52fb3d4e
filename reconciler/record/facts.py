"""What the record knows of a job, as the values that a status is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from reconciler.core.prune import approval_of
from reconciler.core.rules import rules_of
from reconciler.core.status import Counts, JobFacts, RunFacts
from reconciler.errors import Problem
from reconciler.record.jobs import JobRow, Totals
from reconciler.record.prunes import HeldSet
from reconciler.record.runs import RunRow, Runs

#: Runs that a status tells of.
HISTORY: Final = 5


def job_facts(
    runs: Runs, job: JobRow, problems: Sequence[Problem], held: HeldSet | None, undeleted: str = ""
) -> JobFacts:
    """`problems` are those of the job's spec, `held` the deletions that the budget holds back, `undeleted` why the job waits
    for its spec."""
    blocked_ms = None if held is None else held.jobs.get(job.name)
    return JobFacts(
        name=job.name,
        title=job.title,
        provider=job.spec.get("provider", ""),
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
        job_type=job.spec.get("jobType", ""),
        type=job.type,
        authorization=job.spec.get("authorization", ""),
        waiting=job.waiting,
        totals=_counts(job.totals),
        blocked=""
        if held is None or blocked_ms is None
        else f"{held.reason}; `{approval_of(held.digest)}` approves these",
        blocked_ms=blocked_ms,
        undeleted=undeleted,
        runs=[_run_facts(run) for run in runs.history(job.id, HISTORY)],
    )


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
