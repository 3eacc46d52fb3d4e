"""Jobs of a plan that need what is not there: they wait, because a job that is made true without what its spec refers to could
only fail."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from reconciler.core.planned import Action, Plan, Verb, Waiting

if TYPE_CHECKING:
    from reconciler.core.document import Document
    from reconciler.errors import Problem

Key = tuple[str, str]

#: Which fields of a job's config name a thing of each kind.
_FIELDS: Final = {"Stream": ("stream",), "Audience": ("audience",)}


def in_need(plan: Plan, missing: Collection[Key], document_of: Callable[[Action], Document | None]) -> dict[Key, Key]:
    """The jobs of the plan whose spec refers to one of `missing` (kind and name), each with the first of them."""
    found: dict[Key, Key] = {}
    for action in plan.actions if missing else ():
        if action.kind != "Job" or action.verb is Verb.DELETE:
            continue
        document = document_of(action)
        needs = sorted(key for key in missing if document is not None and _names(document, *key))
        if needs:
            found["Job", action.name] = needs[0]
    return found


def _names(job: Document, kind: str, name: str) -> bool:
    if kind == "Authorization":
        return job.spec.get("authorization") == name
    config = job.spec.get("config", {})
    return any(config.get(field) == name for field in _FIELDS.get(kind, ()))


def all_of_them_wait(plan: Plan, reasons: Mapping[Key, str]) -> Plan:
    """The plan without any action of these things, each of which waits for its reason."""
    if not reasons:
        return plan
    kept = tuple(one for one in plan.actions if (one.kind, one.name) not in reasons)
    held = {(one.kind, one.name): one for one in plan.actions if (one.kind, one.name) in reasons}
    waiting = [Waiting(one.kind, one.name, reasons[key]) for key, one in held.items()]
    return replace(plan, actions=kept, waiting=(*plan.waiting, *waiting))


def unsound(problems: Iterable[Problem], is_live: Callable[[str, str], bool]) -> dict[Key, str]:
    """What is invalid and was never made true, besides jobs, each with the place of its first problem."""
    found = {
        (one.kind, one.name): f"{one.path}:{one.line}:{one.column}"
        for one in sorted(problems, reverse=True)
        if one.name and one.kind != "Job"
    }
    return {key: place for key, place in found.items() if not is_live(*key)}


def without_the_unsound(
    plan: Plan, missing: Mapping[Key, str], document_of: Callable[[Action], Document | None]
) -> Plan:
    """The plan without the jobs that need what is invalid and was never made true: `missing`, with the place of each."""
    needs = in_need(plan, missing, document_of)
    return all_of_them_wait(
        plan,
        {job: f"needs {kind} {name}, which is invalid at {missing[kind, name]}" for job, (kind, name) in needs.items()},
    )
