"""What a request to forget a person would remove, and what came of earlier ones, for whoever asks. Only reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from reconciler.clock import Now, iso
from reconciler.controller.forgetting import searched_rules
from reconciler.controller.people import asked, check_key
from reconciler.controller.rebuilds import observed_rules
from reconciler.controller.settings import Settings
from reconciler.controller.trees import installed
from reconciler.core.forgotten import Sought
from reconciler.core.mirror import Progress
from reconciler.core.profile import ProfileRules, ProfileSet
from reconciler.core.prune import undeleted_words
from reconciler.core.state import Reason, Status, back_command
from reconciler.core.streams import users_of
from reconciler.core.value import dataclass
from reconciler.errors import Fatal, UsageError
from reconciler.record.forgotten import ForgetRequest, Receipt
from reconciler.record.store import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreseen:
    """What would go. `messages` are counts by stream, `destinations` the jobs that are to remove the person there, `noted`
    those whose ledgers name them alone, `sent` those that have read a stream of theirs, and `unsearched` the streams whose
    messages say nothing of people."""

    known: bool
    identifiers: tuple[tuple[str, str], ...]
    messages: Mapping[str, int]
    destinations: tuple[str, ...]
    sent: tuple[str, ...]
    unsearched: tuple[str, ...]
    noted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A request and its receipts; for each that is outstanding, why."""

    request: ForgetRequest
    receipts: tuple[Receipt, ...]
    waits: Mapping[str, str]


def foresee(settings: Settings, key: str, value: str, now: Now) -> Foreseen:
    """As far as profiles are built. Raises UsageError for a key that no stream declares."""
    from reconciler.data.forget import find, identify
    from reconciler.data.profiles.tables import identifier_id

    def question(record: Record, profiles: ProfileSet, rules: ProfileRules) -> Foreseen:
        if key == "id" and key not in observed_rules(record).keys:
            raise UsageError(
                "whom to forget is said by an identifier, KEY=VALUE; `reconcile profile id=...` shows them"
            )
        check_key(key, observed_rules(record))
        data, memory_mb = settings.state / "data", settings.memory_mb
        known, identifiers = identify(data, profiles, rules, key, value, memory_mb=memory_mb)
        searched = searched_rules(record)
        segments = {one.name: record.streams.segments(one.name) for one in searched.streams}
        sought = [Sought(0, *pair, now.wall_ms) for pair in identifiers]
        found = {name: len(one.positions) for name, one in find(data, searched, segments, sought, memory_mb=memory_mb)}
        ids = [identifier_id(*pair) for pair in identifiers]
        jobs = [(job.name, job.spec) for job in record.jobs.jobs() if job.type == "export"]
        destinations, noted = _named(record, data, ids)
        return Foreseen(
            known=known,
            identifiers=tuple(identifiers),
            messages=found,
            destinations=destinations,
            noted=noted,
            sent=tuple(sorted({job for one in found for job in users_of(installed(), jobs, one, ["reads"])})),
            unsearched=tuple(sorted(record.streams.ends().keys() - segments.keys())),
        )

    return asked(settings, question)


def _named(record: Record, data: Path, ids: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The jobs whose ledgers name any of these members: those that are to remove one, and those that are not, because they
    only recorded, left out or have removed them."""
    from reconciler.data.forget import states
    from reconciler.data.ledger import State

    found: dict[bool, list[str]] = {True: [], False: []}
    for name, cursor in record.forgotten.ledgers().items():
        with suppress(Fatal):  # the cursor of another job type, which has a ledger of its own
            progress, job = Progress.load(cursor), record.jobs.job(name)
            plan = "" if progress.plan is None else progress.plan.file
            said = states(data, [one.file for one in progress.ledger.files], plan, ids)
            tells_noted = job is not None and job.spec.get("config", {}).get("events") == "exit"
            if said:
                found[bool(said & {State.SENT, State.MAYBE, *([State.NOTED] if tells_noted else [])})].append(name)
    return tuple(found[True]), tuple(found[False])


def outcomes(record: Record) -> list[Outcome]:
    """Every request, oldest first."""
    return [outcome(record, one) for one in record.forgotten.requests()]


def outcome(record: Record, request: ForgetRequest) -> Outcome:
    receipts = tuple(record.forgotten.receipts(request.id))
    open_ = [one.name for one in receipts if one.what == "destination" and one.at_ms is None]
    return Outcome(request=request, receipts=receipts, waits={name: _why(record, name) for name in open_})


#: Why a destination cannot remove anybody now, by its job's status.
_WAITS: Mapping[Status, str] = {
    Status.PAUSED: "the job is paused; `reconcile resume {name}`",
    Status.FAILED: "the job has failed; `reconcile why {name}` says why, `reconcile rerun {name}` tries again",
    Status.COMPLETED: "the job is completed; `reconcile rerun {name}` runs it once more",
}


def _why(record: Record, name: str) -> str:
    job, deletion = record.jobs.job(name), record.deletions.deletion(name)
    if deletion is not None and deletion.undeleted_ms is not None:
        return f"the job is {undeleted_words(deletion.path)}"
    if deletion is not None and not deletion.keeps:
        return f"the job was deleted, and its ledger goes at {iso(deletion.until_ms)}; before that, `reconcile undelete {name}`"
    if job is not None and job.life == "purged":
        return f"the job was purged; `{back_command(name, job.state.status)}` brings it back"
    if job is None or job.life != "live":
        return "the job is not there any more"
    if job.state.reason is Reason.AWAITING_APPROVAL:
        return f"its guard waits for a person; `reconcile approve {name}`"
    said = _WAITS.get(job.state.status, _doubts(record, name) or "its next run removes the person")
    return said.format(name=name)


def _doubts(record: Record, name: str) -> str:
    """Where somebody's last action may have arrived and is not repeated, the person may be one of these."""
    cursor = record.forgotten.ledgers([name]).get(name)
    with suppress(Fatal):
        if cursor is not None and Progress.load(cursor).ledger.facts.maybe:
            return (
                "its next run removes the person, unless that may have happened before: then a person has to look, and "
                "`reconcile rejects {name} --release` lets it be tried again"
            )
    return ""
