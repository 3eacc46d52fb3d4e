"""What exports of audiences would send, without sending it: the same comparison of audience and ledger that a run makes,
over the profiles as they were last built and the specs as they are now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from reconciler.clock import Now
from reconciler.controller.compared import Export
from reconciler.controller.foreseen import Foreseen
from reconciler.controller.settings import Settings
from reconciler.core.document import Document
from reconciler.core.planned import Plan, PlannedExport
from reconciler.core.profile import profile_rules, rules_digest
from reconciler.errors import RunError
from reconciler.record.store import Record

if TYPE_CHECKING:
    from reconciler.core.members import Difference
    from reconciler.core.provider import Catalogue, JobType


def planned_exports(
    record: Record, settings: Settings, catalogue: Callable[[], Catalogue], made: Plan, now: Now
) -> tuple[PlannedExport, ...]:
    """One for each declared export of an audience, by name, as it will be once the plan `made` is enacted."""
    found = sorted(_audience_jobs(record, catalogue()), key=lambda one: one[0].name)
    foreseen = Foreseen(record, made)
    return tuple(_planned(foreseen, settings, *one, now) for one in found)


def _audience_jobs(record: Record, catalogue: Catalogue) -> Iterator[tuple[Document, JobType, str]]:
    """The declared jobs that export an audience, each with the audience's name."""
    fields: dict[tuple[str, str], tuple[JobType, str] | None] = {}
    for document in record.desired.documents():
        if document.kind != "Job":
            continue
        key = (document.spec["provider"], document.spec["jobType"])
        if key not in fields:
            fields[key] = audience_field(catalogue, *key)
        known = fields[key]
        if known is not None:
            yield document, known[0], str(document.spec.get("config", {}).get(known[1], ""))


def audience_field(catalogue: Catalogue, provider: str, job_type: str) -> tuple[JobType, str] | None:
    """A job type that exports an audience, and the config field that names it; None for any other."""
    found = catalogue[provider].job_type(job_type) if provider in catalogue else None
    return None if found is None or not found.audience_field else (found, found.audience_field)


def _planned(
    foreseen: Foreseen, settings: Settings, document: Document, job_type: JobType, audience: str, now: Now
) -> PlannedExport:
    record = foreseen.record
    declared = record.desired.document("Audience", audience)
    if declared is None:
        return PlannedExport(
            name=document.name, audience=audience, unknown=f"the audience '{audience}' is not declared"
        )
    if document.spec.get("suspend") is True:
        return PlannedExport(name=document.name, audience=audience, unknown="the job is suspended and sends nothing")
    try:
        config = job_type.config(document.spec.get("config", {}))
        where, cursor = str(declared.spec["where"]), foreseen.cursor(document.name)
        job = foreseen.job(document.name)
        approved = () if job is None else record.approvals.approved(job.id)
        return _compared(record, settings, document.name, config, audience, where, cursor, approved, now)
    except RunError as error:
        return PlannedExport(name=document.name, audience=audience, unknown=str(error))


def _compared(
    record: Record, settings: Settings, name: str, config: Any, audience: str, where: str, cursor: Any,
    approved: Sequence[str], now: Now,
) -> PlannedExport:  # fmt: skip
    from reconciler.core.mirror import Progress
    from reconciler.data.members import selection

    data = settings.state / "data"
    progress, forgotten = Progress.load(cursor), record.forgotten.members_to_remove(name)
    if not data.is_dir():
        return PlannedExport(name=name, audience=audience, unknown="nothing was imported yet")
    export = Export(
        job=name, config=config, progress=progress, data=data, memory_mb=settings.memory_mb, forgotten=forgotten,
        approved=approved,
    )  # fmt: skip
    chosen = selection(data, where, record.profiles.rules(), record.profiles.current())
    with export.scratch() as scratch:
        found = export.difference(chosen, progress.ledger, now, scratch)
        held = export.objections(found, chosen, scratch)
    return _described(export, audience, found, held, _behind(record))


def _described(export: Export, audience: str, found: Difference, held: Sequence[str], behind: int) -> PlannedExport:
    from reconciler.core.mirror import requests

    progress = export.progress
    return PlannedExport(
        name=export.job,
        audience=audience,
        adds=found.count("add"),
        updates=found.count("update"),
        removes=found.count("remove"),
        omits=tuple(sorted(found.omissions.items())),
        omitted_before=progress.ledger.facts.omitted,
        requests=requests(found, getattr(export.config, "batch_size", None)),
        held=tuple(held),
        unsent=0 if progress.plan is None else progress.plan.rows - progress.plan.done,
        behind=behind,
    )


def _behind(record: Record) -> int:
    """Messages that a run would build first, which may change what it sends."""
    documents = [one for one in record.desired.documents() if one.kind == "Stream"]
    rules = profile_rules((one.name, one.spec) for one in documents)
    current, ends = record.profiles.current(), record.streams.ends()
    built = current.built if current.rules == rules_digest(rules) else {}
    return sum(max(0, ends.get(one.name, 0) - built.get(one.name, 0)) for one in rules.streams)
