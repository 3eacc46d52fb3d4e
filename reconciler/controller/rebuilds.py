"""What a plan says of profiles: a changed rule of a stream means that all of them are built anew from the raw messages,
and the plan says how many those are."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.core.planned import Action, Rebuild
from reconciler.core.profile import ProfileRules, profile_rules, rules_digest
from reconciler.record.store import Record


def observed_rules(record: Record) -> ProfileRules:
    """The rules of the streams as they were last made true: by those the next build is made."""
    return profile_rules((one.name, one.spec) for one in record.resources.resources("Stream") if one.life == "live")


def planned_rebuild(record: Record, actions: Sequence[Action]) -> Rebuild | None:
    """The rebuild that follows from these actions; None where the rules stay, or where there is nothing to build."""
    touched = sorted({action.name for action in actions if action.kind == "Stream"})
    if not touched:
        return None
    before = record.profiles.current()
    desired = {one.name: one.spec for one in record.desired.documents_of_kind("Stream")}
    rules = profile_rules(desired.items())
    names = [one.name for one in rules.streams]
    counts = [record.streams.counts(name) for name in names]
    messages, size = sum(count for count, _ in counts), sum(size for _, size in counts)
    if rules_digest(rules) == before.rules or not (messages or before.build):
        return None
    return Rebuild(streams=tuple(names), messages=messages, size=size, because=tuple(touched))
