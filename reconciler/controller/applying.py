"""Whether a saved plan may be applied: everything is planned anew under the writer's lock, and what comes out must hold all
that the saved plan says. What is then enacted is the planner's own, never what the file says."""

from __future__ import annotations

from dataclasses import replace

from reconciler.clock import Now, iso
from reconciler.controller.basis import basis_of
from reconciler.controller.hands import Hands
from reconciler.controller.looking import whole_plan
from reconciler.controller.observe import Observer
from reconciler.controller.planning import Planner
from reconciler.core.basis import NAMED, moved, touched_keys
from reconciler.core.canonical_json import canonical_json
from reconciler.core.planned import Plan, to_json
from reconciler.core.saved_plan import SavedPlan
from reconciler.core.value import dataclass
from reconciler.errors import Blocked
from reconciler.record.store import Record


@dataclass(frozen=True, slots=True)
class Agreed:
    """`made` is what the planner makes now of what is desired and recorded, `does` what of it the saved plan has done."""

    made: Plan
    does: Plan


def agreed(hands: Hands, observer: Observer, planner: Planner, saved: SavedPlan, now: Now) -> Agreed:
    """What a saved plan has done, after a look. Raises Blocked, naming what has moved since it was made."""
    record = hands.record
    applied = record.plans.applied(saved.digest)
    if applied is not None:
        when = f"on {iso(applied.at_ms)} by {applied.by}"
        raise Blocked(f"{saved.shown} was applied already, {when}; {_anew(saved)}")
    made = whole_plan(record, hands.settings, observer, planner, now, data="exports" in saved.body)
    basis = basis_of(record, hands.settings, made, planner.policy, touched_keys(saved.body["basis"]))
    revision = hands.origin.revision()
    fresh = to_json(made, saved.root, revision, basis=basis.to_json(saved.root))
    found = moved(saved.body, fresh, _happened(record, saved.event))
    if found:
        raise Blocked(f"{saved.shown} is stale, and nothing was done: {'; '.join(found)}. {_anew(saved).capitalize()}")
    blocked = made.blocked
    said = set(map(canonical_json, saved.body["actions"]))
    actions = zip(made.actions, map(canonical_json, fresh["actions"]), strict=True)
    does = replace(
        made,
        actions=tuple(action for action, text in actions if text in said),
        runs=tuple(run for run in made.runs if run.name in saved.runs),
        prune=made.prune if blocked is None else None,  # it said that these wait, and they do
        hold=made.hold if blocked is None else blocked.reason,
    )
    return Agreed(made, does)


def _anew(saved: SavedPlan) -> str:
    return f"make a new one with `reconcile plan --out {saved.shown}`"


def _happened(record: Record, since: int) -> list[str]:
    """What was recorded since an event, in words: one more than is named."""
    return [f"{name} {event}" for name, event in record.events.since(since, limit=NAMED + 1)]
