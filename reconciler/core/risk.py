"""Which actions of a plan a person should look at first: what is lost, what lands or is sent twice, and what changes who
hears of what."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from reconciler.core.planned import Action


class Risk(StrEnum):
    """What an action may do that cannot be taken back; the worst first."""

    DELETES = "deletes"
    LANDS_TWICE = "lands-twice"
    CHANGES_WHAT_IS_SENT = "changes-what-is-sent"


#: Fields of an export by which other things reach other people, or elsewhere. How much goes at once is none of that.
_SENT: Final = ("spec.provider", "spec.jobType", "spec.authorization", "spec.config")
_HARMLESS: Final = frozenset({"spec.config.batchSize"})
#: What is asked for first where the risk is the same.
_VERBS: Final = ("delete", "purge", "rerun", "create", "update", "move", "resume", "pause")


def risk_of(action: Action) -> Risk | None:
    """The worst of what an action may do; None where all of it can be taken back."""
    if action.verb in ("delete", "purge"):
        return Risk.DELETES
    if action.resets_cursor:
        return Risk.LANDS_TWICE
    fields = {change.field for change in action.changes} - _HARMLESS
    if action.is_export and any(_is_below(field, one) for field in fields for one in _SENT):
        return Risk.CHANGES_WHAT_IS_SENT
    if action.kind == "Audience" and "spec.where" in fields:
        return Risk.CHANGES_WHAT_IS_SENT
    return None


def most_dangerous_first(actions: Iterable[Action]) -> list[Action]:
    """By risk, then by verb, kind and name."""
    risks = list(Risk)

    def rank(action: Action) -> tuple[int, int, str, str]:
        risk = risk_of(action)
        return (
            len(risks) if risk is None else risks.index(risk),
            _VERBS.index(action.verb),
            action.kind,
            action.name,
        )

    return sorted(actions, key=rank)


def _is_below(field: str, of: str) -> bool:
    return field == of or field.startswith(f"{of}.")
