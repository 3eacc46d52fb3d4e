"""What a plan was made from, read from the record beside it: the basis that a saved plan carries, and by which it is found
out later whether all of that still stands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from reconciler import __version__
from reconciler.controller.settings import Settings
from reconciler.core.basis import Basis, Declared, Key, Observed
from reconciler.core.canonical_json import canonical_digest
from reconciler.core.planned import Plan
from reconciler.providers import fingerprint
from reconciler.record.jobs import JobRow
from reconciler.record.store import Record


def basis_of(record: Record, settings: Settings, made: Plan, policy: str, also: Iterable[Key] = ()) -> Basis:
    """That of a plan under the policy of that digest, with what else is to be told of: `also` by kind and name."""
    keys = sorted({*_touched(made), *also})
    events = record.events.last_id()
    return Basis(
        program=__version__,
        providers=fingerprint(),
        record=record.id if events or record.resources.any() else "",
        events=events,
        specs=record.desired.digest(),
        settings=shaping(settings),
        policy=policy,
        declared=tuple(one for key in keys if (one := _declared(record, *key)) is not None),
        observed=tuple(known for key in keys if (known := _observed(record, *key)) is not None),
    )


def shaping(settings: Settings) -> dict[str, object]:
    """The settings by which a plan can come out otherwise."""
    source = {"source": settings.source, "dataRoot": str(settings.data_root or "")} if settings.source else {}
    budget = {"maxDeletes": settings.budget.max_deletes, "maxPercent": settings.budget.max_percent}
    return {"allowPaths": sorted(str(path) for path in settings.allow_paths), "prune": budget, **source}


def _touched(made: Plan) -> set[Key]:
    keys: set[Key] = {(one.kind, one.name) for one in made.actions}
    keys |= {(one.kind, one.name) for one in made.waiting}
    keys |= {(one.kind, one.renamed_from) for one in made.actions if one.renamed_from}
    return keys | {("Job", run.name) for run in made.runs}


def _declared(record: Record, kind: str, name: str) -> Declared | None:
    document = record.desired.document(kind, name)
    if document is None:
        return None
    return Declared(
        kind=kind,
        name=name,
        path=document.path,
        digest=document.digest,
        metadata_digest=document.metadata_digest,
    )


def _observed(record: Record, kind: str, name: str) -> Observed | None:
    known = record.resources.resource(kind, name)
    if known is None:
        return None
    found = Observed(
        kind=kind, name=name, path=known.path, life=known.life, generation=known.generation, digest=known.digest
    )
    job = record.jobs.by_id(known.id) if kind == "Job" else None
    return found if job is None else _with_life(record, found, job)


def _with_life(record: Record, found: Observed, job: JobRow) -> Observed:
    history = record.runs.history(job.id, 1)
    life = [asdict(job.state), job.cursor, asdict(job.totals)]
    return Observed(
        kind=found.kind,
        name=found.name,
        path=found.path,
        life=found.life,
        generation=found.generation,
        digest=found.digest,
        status=str(job.state.status),
        last_run=history[0].id if history else None,
        state=canonical_digest(life),
    )
