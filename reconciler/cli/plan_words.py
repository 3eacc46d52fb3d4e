"""What a plan says in sentences, whether they are printed or stand in a comment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from reconciler.core.backfill import amount
from reconciler.core.policy import FILE_NAME as POLICY

if TYPE_CHECKING:
    from reconciler.core.planned import Plan, PlannedBackfill, PlannedExport
    from reconciler.errors import Problem

NOTHING: Final = "No changes. The record is what the specs declare."
NOTHING_MERGED: Final = "No changes. The merge would do nothing."

#: What a job is to do that is held for something that is not so any more.
_LOOK: Final = "`reconcile rerun {0}` lets it look again"

#: Verbs that the summary names even where there are none of them.
_ALWAYS: Final = ("create", "update", "delete")


def summary_line(made: Plan, problems: Sequence[Problem], nothing: str = NOTHING) -> str:
    """`Plan: 2 to create, 1 to update, 0 to delete.`, or that nothing changes; what waits is never passed over."""
    waits = "" if made.blocked is None else f" {_deletions(len(made.blocked.doomed))} blocked."
    if made.is_empty and waits:
        return f"No other changes;{waits}"
    if made.is_empty and problems:
        return f"No changes, but {_amiss(made, problems)}."
    if made.is_empty:
        waiting = len(made.waiting)
        return f"No changes, but {waiting:,} {'waits' if waiting == 1 else 'wait'}." if waiting else nothing
    counts = [f"{count} to {verb}" for verb, count in made.summary.items() if count or verb in _ALWAYS]
    return f"Plan: {', '.join(counts)}.{waits}"


def _amiss(made: Plan, problems: Sequence[Problem]) -> str:
    """What keeps anything from being done, the weightiest first."""
    if any(one.path == "." for one in problems):
        return "the newest specs cannot be read"
    if any(one.path == f"../{POLICY}" for one in problems):
        return "the policy is invalid"
    if {*problems} <= {*made.refused}:
        count = len({(one.kind, one.name) for one in problems})
        return f"the policy refuses {'1 action' if count == 1 else f'{count:,} actions'}"
    return "some specs are invalid"


def _deletions(number: int) -> str:
    return f"{number:,} deletion is" if number == 1 else f"{number:,} deletions are"


def export_words(export: PlannedExport) -> str:
    """What an export would send, in one line."""
    if export.unknown:
        return f"unknown: {export.unknown}"
    requests = "1 request" if export.requests == 1 else f"{export.requests:,} requests"
    words = [
        f"add {export.adds:,}, change {export.updates:,}, remove {export.removes:,} of {export.audience}, in {requests}"
    ]
    words += [f"omit {count:,}: {reason}" for reason, count in export.omits]
    words += [f"held: {objection}" for objection in export.held]
    if export.omitted_before:
        were = "was" if export.omitted_before == 1 else "were"
        words.append(f"{export.omitted_before:,} {were} omitted before (`reconcile rejects {export.name}`)")
    if export.unsent:
        rows = "1 row of an older plan is" if export.unsent == 1 else f"{export.unsent:,} rows of an older plan are"
        words.append(f"{rows} open")
    if export.behind:
        newer = "1 newer message is" if export.behind == 1 else f"{export.behind:,} newer messages are"
        words.append(f"{newer} built first, and may change this")
    return "; ".join(words)


def backfill_words(one: PlannedBackfill) -> str:
    """What a person must know before it begins."""
    found = one.estimate
    if found is None:
        adds = f"{one.name}: how much it adds to stream {one.stream} is not known: {one.unknown}."
    elif not found.parts:
        adds = f"{one.name} finds nothing new for stream {one.stream}."
    else:
        adds = f"{one.name} adds {amount(found)} to stream {one.stream}, which grows by about {one.adds / 1e6:,.1f} MB."
    parts = [adds, _rebuild_growth(one), "" if one.timed or _is_nothing(one) else _untimed(one)]
    if one.waits:
        parts.append(
            f"It waits for approval, because that is more than backfill.maxMessages ({one.limit:,}); {_approval(one)}."
        )
    elif one.is_held:
        parts.append(
            f"It is held, because a run found more than backfill.maxMessages ({one.limit:,}) before; {_LOOK.format(one.name)}."
        )
    if one.is_paused:
        parts.append(f"It is paused, and adds nothing before `reconcile resume {one.name}`.")
    return " ".join(part for part in parts if part)


def _untimed(one: PlannedBackfill) -> str:
    """What follows where the messages' own time is not known."""
    given = "timestamp_field" if one.is_upload else "timestampField"
    return (
        f"Its messages have no time of their own (neither {given} nor the stream's timestamp is given), so they count "
        "as newer than all that is there."
    )


def _approval(one: PlannedBackfill) -> str:
    """How it goes on: what is waiting already is named by its digest, a run says what it found once it has begun."""
    if one.approve:
        does = "puts it on the stream" if one.is_upload else "approves it" if one.is_paused else "lets it go on"
        return f"`{one.approve}` {does}"
    if one.is_held:
        return f"it is held for what a run found before, and {_LOOK.format(one.name)}"
    return f"once a run has found that, `reconcile approve {one.name}` lets it go on"


def _is_nothing(one: PlannedBackfill) -> bool:
    return one.estimate is not None and not one.estimate.parts


def _rebuild_growth(one: PlannedBackfill) -> str:
    """By how much a rebuild of the profiles grows."""
    if one.rebuild is None or _is_nothing(one):
        return ""
    now, after = one.rebuild
    if one.estimate is None:
        return f"A rebuild of the profiles, which reads {now:,} messages now, grows by as many."
    about = "" if one.estimate.exact else "about "
    share = f" ({(after - now) / now:,.0%} more)" if now else ""
    return f"A rebuild of the profiles then reads {about}{after:,} messages instead of {now:,}{share}."
