"""What the backfills of a plan would add: asked of their job types, from the files as they are now and the cursor that
the run will find. Nothing is changed, and no secret is resolved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from reconciler.clock import Now
from reconciler.controller.foreseen import Foreseen
from reconciler.controller.settings import Settings
from reconciler.controller.uploads import approval_command
from reconciler.core.backfill import max_messages_of
from reconciler.core.document import Document
from reconciler.core.planned import Plan, PlannedBackfill
from reconciler.core.profile import profile_rules
from reconciler.core.provider import Catalogue, Estimate, JobType
from reconciler.core.value import dataclass
from reconciler.errors import RunError
from reconciler.record.store import Record
from reconciler.record.uploads import UploadRow
from reconciler.runner.paths import Paths
from reconciler.runner.prospect import prospect_of


def planned_backfills(
    record: Record, settings: Settings, catalogue: Callable[[], Catalogue], made: Plan, now: Now
) -> tuple[PlannedBackfill, ...]:
    """Those among the plan's runs, and those that wait for approval, by name; and then the uploads that do."""
    documents = record.desired.backfills({*(run.name for run in made.runs), *record.approvals.waiting()})
    uploads = record.uploads.waiting()
    if not documents and not uploads:
        return ()
    prospects = _Prospects(record, settings, catalogue() if documents else {}, Foreseen(record, made), now)
    return (*(prospects.of(document) for document in documents), *map(prospects.of_upload, uploads))


@dataclass(frozen=True, slots=True)
class _Prospects:
    record: Record
    settings: Settings
    catalogue: Catalogue
    foreseen: Foreseen
    now: Now

    def of(self, document: Document) -> PlannedBackfill:
        config = document.spec.get("config", {})
        stream = str(config.get("stream", ""))
        job_type = _job_type(self.catalogue, document)
        bare = PlannedBackfill(
            name=document.name,
            stream=stream,
            timed="timestampField" in config or "timestamp" in self._stream(stream),
            limit=max_messages_of(document.spec),
            is_paused=bool(document.spec.get("suspend")),
        )
        try:
            found = None if job_type is None else self._estimate(job_type, document)
        except RunError as error:
            return replace(bare, unknown=str(error).rstrip("."), rebuild=self._rebuild(stream, 0))
        if found is None:
            unknown = (
                f"job type {document.spec['jobType']} cannot tell beforehand, so its messages are counted as they come, "
                f"and it waits for approval before they are more than backfill.maxMessages ({bare.limit:,})"
            )
            return replace(bare, unknown=unknown, rebuild=self._rebuild(stream, 0))
        approve = self._approval(document, found)
        return replace(
            bare,
            estimate=found,
            adds=self._adds(stream, found),
            rebuild=self._rebuild(stream, found.messages),
            waits=found.messages > bare.limit and self._is_judged(document, found),
            approve=approve,
            is_held=not approve and not bare.is_paused and self._is_held(document),
        )

    def of_upload(self, one: UploadRow) -> PlannedBackfill:
        found = Estimate(messages=one.messages, size=one.size, parts=1, exact=True, digest=one.digest)
        return PlannedBackfill(
            name=f"upload {one.digest}",
            stream=one.stream,
            timed=one.timed,
            limit=one.limit_,
            estimate=found,
            adds=self._adds(one.stream, found),
            rebuild=self._rebuild(one.stream, one.messages),
            waits=True,
            approve=approval_command(one),
            is_upload=True,
        )

    def _estimate(self, job_type: JobType, document: Document) -> Estimate | None:
        if job_type.estimate is None:
            return None
        settings = self.settings
        folder = settings.folder_of(document.path)
        allowed = [str(path) for path in settings.allow_paths]
        paths = Paths(str(settings.files_root or ""), str(folder or ""), allowed, str(settings.state))
        config = job_type.config(document.spec.get("config", {}))
        cursor = self.foreseen.cursor(document.name)
        return job_type.estimate(prospect_of(document.name, config, cursor, paths, settings.state / "data", self.now))

    def _is_judged(self, document: Document, found: Estimate) -> bool:
        """Whether a person is asked first: not for what was approved, nor for a run that goes on."""
        job = self.foreseen.job(document.name)
        if job is None:
            return True
        run = None if job.state.run is None else self.record.runs.run(job.state.run)
        goes_on = run is not None and run.units > 0 and not self.foreseen.actions(document.name)
        return not goes_on and found.digest not in self.record.approvals.approved(job.id)

    def _is_held(self, document: Document) -> bool:
        """Whether it waits for a person, and no run is due that would look again."""
        job = self.foreseen.job(document.name)
        is_due = any(run.name == document.name for run in self.foreseen.made.runs)
        return job is not None and job.state.awaiting is not None and not is_due

    def _approval(self, document: Document, found: Estimate) -> str:
        """The command that approves just this, where a run has found it already."""
        job = self.foreseen.job(document.name)
        held = None if job is None else self.record.approvals.held(job.id)
        is_held = held is not None and held.digest == found.digest
        return f"reconcile approve {document.name} {found.digest}" if is_held else ""

    def _adds(self, stream: str, found: Estimate) -> int:
        """By how much the stream grows: as its messages so far, else as the files."""
        count, size = self.record.streams.counts(stream)
        return round(found.messages * size / count) if count else found.size

    def _rebuild(self, stream: str, more: int) -> tuple[int, int] | None:
        documents = [one for one in self.record.desired.documents() if one.kind == "Stream"]
        rules = profile_rules((one.name, one.spec) for one in documents)
        names = [one.name for one in rules.streams]
        if stream not in names:
            return None
        messages = sum(self.record.streams.counts(name)[0] for name in names)
        return messages, messages + more

    def _stream(self, name: str) -> dict[str, Any]:
        document = self.record.desired.document("Stream", name)
        return {} if document is None else dict(document.spec)


def _job_type(catalogue: Catalogue, document: Document) -> JobType | None:
    provider = catalogue.get(document.spec["provider"])
    return None if provider is None else provider.job_type(document.spec["jobType"])
