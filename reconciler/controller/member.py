"""One person and one export of an audience: what `reconcile why NAME --member KEY=VALUE` must know."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from typing import TYPE_CHECKING, Any

from reconciler.clock import Now
from reconciler.controller.compared import Export
from reconciler.controller.exports import audience_field
from reconciler.controller.people import asked, check_key, known_spec, observed_behind
from reconciler.controller.rebuilds import observed_rules
from reconciler.controller.settings import Settings
from reconciler.controller.trees import installed
from reconciler.core.profile import ProfileRules, ProfileSet
from reconciler.core.state import Status
from reconciler.core.why_member import Held, MemberFacts
from reconciler.errors import UsageError
from reconciler.record.store import Record

if TYPE_CHECKING:
    from reconciler.core.mirror import Plan
    from reconciler.core.provider import Intent
    from reconciler.data.members import Selection
    from reconciler.record.jobs import JobRow


def member_facts(settings: Settings, job: JobRow, key: str, value: str, now: Now) -> MemberFacts:
    """Raises UsageError for a job that exports no audience, and for a key that no stream declares."""

    def ask(record: Record, profiles: ProfileSet, rules: ProfileRules) -> MemberFacts:
        return _facts(settings, record, profiles, rules, job, key, value, now)

    return asked(settings, ask)


def _facts(
    settings: Settings, record: Record, profiles: ProfileSet, rules: ProfileRules, job: JobRow, key: str, value: str,
    now: Now,
) -> MemberFacts:  # fmt: skip
    from reconciler.core.mirror import Progress
    from reconciler.data.engine import workspace
    from reconciler.data.members import selection
    from reconciler.data.profiles.read import ProfileReader

    field = audience_field(installed(), job.spec["provider"], job.spec["jobType"])
    if field is None:
        raise UsageError(f"the job '{job.name}' exports no audience, so it has no members")
    job_type, config = field[0], job.spec.get("config", {})
    where = str(known_spec(record, "Audience", config[field[1]])["where"])
    check_key(key, observed_rules(record), rules)
    data = settings.state / "data"
    known = MemberFacts(
        job=job.name, who=f"{key}={value}", profile=None, audience=config[field[1]], where=where,
        waits=_waits(job), behind=observed_behind(record, profiles),
    )  # fmt: skip
    reader = ProfileReader(data, profiles, rules)
    with workspace(data, memory_mb=settings.memory_mb) as connection:
        found = reader.named(connection, key, value)
        if found is None:
            return replace(known, is_void=reader.is_void(connection, key, value))
    everyone = selection(data, where, rules, profiles)
    export = Export(
        job=job.name, config=job_type.config(config), progress=Progress.load(job.cursor), data=data,
        memory_mb=settings.memory_mb, open_intents=record.runs.open_intents(job.id),
        forgotten=record.forgotten.members_to_remove(job.name),
    )  # fmt: skip
    judged = judge(export, everyone, found.id, now)
    values = {name: found.attributes[name] for name in everyone.attributes}
    return replace(known, profile=found.id, values=values, **judged)


def _waits(job: JobRow) -> str:
    """Why the job does not run just now; empty where only its schedule decides."""
    if job.state.status in (Status.PAUSED, Status.FAILED, Status.COMPLETED):
        return f"the job is {job.state.status}"
    return job.state.awaiting or ""


def _of_one(chosen: Selection, member: str) -> Selection:
    """The selection, as if there were no other profile."""
    everyone = chosen.view
    return replace(chosen, view=lambda names, keys: f"SELECT * FROM ({everyone(names, keys)}) WHERE id = '{member}'")


def judge(export: Export, everyone: Selection, member: str, now: Now) -> dict[str, Any]:
    """What the ledger holds of this member, and what a run would do now, as fields of `MemberFacts`: the run's own
    comparison, with a ledger and an audience of this one alone; of all, where identifiers from before are named that
    others may have, or others were sent with this one's."""
    from reconciler.core.members import ACTIONS, Ledger, LedgerFile
    from reconciler.data.engine import workspace
    from reconciler.data.ledger import copy, receipt
    from reconciler.data.member import is_member, is_shared, planned, receipt_sql, row_of

    data, progress, plan = export.data, export.progress, export.progress.plan
    chosen, is_spared, is_later = _of_one(everyone, member), False, False
    with export.scratch() as scratch:
        file = f"{scratch}/ledger.parquet"
        with workspace(data, memory_mb=export.memory_mb) as db:
            rows = copy(db, data, file, receipt_sql(data, progress.ledger, plan, member))
            ledger = Ledger((LedgerFile(file=file, rows=rows),), progress.ledger.facts) if rows else Ledger()
            held = receipt(db, data, ledger.files, member)
            within = is_member(db, chosen, now.wall_ms)
            row = None if plan is None else row_of(db, data, plan, member)
            is_theirs = plan is None and is_shared(db, data, progress.ledger, member)
        found = export.difference(chosen, ledger, now, scratch)
        action, omission, is_moved = planned(data, found.plan, member)
        if (is_moved or is_theirs) and plan is None:
            found, alone = export.difference(everyone, progress.ledger, now, scratch), action
            plans = [planned(data, one.plan, member) for one in (found, *found.later)]
            action, omission, _ = next((one for one in plans if one[0] in ACTIONS), plans[0])
            is_later = action in ACTIONS and plans[0][0] not in ACTIONS
            is_spared = alone == "remove" and action != "remove"
    is_out = plan is not None and any(_covers(one, plan, row) for one in export.open_intents)
    return {
        "is_member": within,
        "next": action,
        "is_spared": is_spared,
        "is_later": is_later,
        "omission": omission,
        **_modes(export),
        **_receipt(held),
        **({"sending": plan.run} if plan is not None and is_out else {}),
    }


def _modes(export: Export) -> dict[str, bool]:
    calls = export.config.wish(is_first=False, retry="").calls
    return {"only_adds": calls.only_adds, "only_exits": calls.removes_noted}


def _covers(intent: Intent, plan: Plan, row: int | None) -> bool:
    """Whether a batch of the plan that is out holds this row."""
    return row is not None and (intent.detail or {}).get("plan") == plan.file and intent.first <= row <= intent.last


def _receipt(held: dict[str, Any] | None) -> dict[str, Any]:
    if held is None:
        return {}
    moment = held["moment"]
    at = {
        "run": held["run"],
        "moment_ms": None if moment is None else int(moment.replace(tzinfo=UTC).timestamp() * 1000),
    }
    if held["state"] == "gone":
        return {"was_removed": True, **at}
    return {"held": Held(held["state"]), "reason": held["reason"], "payload": held["payload"] or "", **at}
