"""An export of an audience, as far as it can be decided without looking: which calls its modes make, when its guard
holds it, how a refused batch is searched, what its cursor says, and the sum that always holds.

**The sum.** Everyone *concerned* is a member now or stands in the ledger. Each of them is, when a run has ended, exactly one
of: added, changed, removed (acknowledged by this run), omitted (not as it should be at the destination, for a reason that
is listed), or unchanged (nothing had to be sent). So added + changed + removed + omitted + unchanged = concerned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, field, replace
from enum import StrEnum
from typing import Any, Final, Literal

from reconciler.core.members import ACTIONS, Action, Calls, Difference, Facts, Ledger, LedgerFile, Retry
from reconciler.core.provider import Intent, Json
from reconciler.core.value import dataclass
from reconciler.errors import Fatal

Mode = Literal["mirror", "add-only", "update-only"]
Events = Literal["both", "enter", "exit"]

#: What a mode may do to the destination at all. `update-only` sends everyone as an update: who is unknown there is the
#: destination's to leave out.
_OF_MODE: Final[Mapping[Mode, frozenset[Action]]] = {
    "mirror": frozenset({"add", "update", "remove"}),
    "add-only": frozenset({"add"}),
    "update-only": frozenset({"update"}),
}
#: Which of them are made of members that come (and change), and of members that go.
_OF_EVENTS: Final[Mapping[Events, frozenset[Action]]] = {
    "both": frozenset({"add", "update", "remove"}),
    "enter": frozenset({"add", "update"}),
    "exit": frozenset({"remove"}),
}


def calls(mode: Mode, events: Events) -> Calls:
    """Which calls are made. With `events: exit` members leave that were never sent: to say so is all that is asked."""
    made = _OF_MODE[mode] & _OF_EVENTS[events]
    return Calls(
        add="add" in made,
        update="update" in made,
        remove="remove" in made,
        keeps_leavers=mode == "add-only",
        removes_noted=events == "exit",
    )


class Replay(StrEnum):
    """What sending a batch again does, when nobody knows whether it arrived."""

    IDEMPOTENT = "idempotent"  # nothing
    ORDERED = "ordered"  # nothing, while nothing later was sent: what is open is always sent first
    KEYED = "keyed"  # nothing, under the same key
    UNSAFE = "unsafe"  # it may happen twice: it is not sent again, and its members are omitted until a person looks


# --- the guard ------------------------------------------------------------------------------------------------------

#: Where a spec names no percentage, a ledger of fewer members is judged as one of so many, so that the first leavers of a
#: small audience are no alarm. A percentage that is named is that.
SMALL: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """How much one run may do without a person's approval, in percent of the members that the ledger holds, or of so
    many where it holds fewer."""

    max_remove_percent: float = 20
    removes_of_at_least: int = SMALL
    max_add_percent: float = 200
    adds_to_at_least: int = SMALL
    empty_audience: Literal["block", "allow"] = "block"


def objections(guard: Guard, difference: Difference, facts: Facts) -> list[str]:
    """Why a difference needs a person's approval, as clauses; none where it does not. A ledger that holds nobody yet has
    no percentage to add to."""
    found = []
    adds, removes = difference.count("add"), difference.count("remove")
    if difference.is_empty and removes and guard.empty_audience == "block":
        found.append("the audience is empty now (guard.emptyAudience: block)")
    if removes * 100 > guard.max_remove_percent * max(facts.held, guard.removes_of_at_least):
        found.append(f"it would remove {_share(removes, facts)} (guard.maxRemovePercent: {guard.max_remove_percent:g})")
    if facts.held and adds * 100 > guard.max_add_percent * max(facts.held, guard.adds_to_at_least):
        found.append(f"it would add {_share(adds, facts)} (guard.maxAddPercent: {guard.max_add_percent:g})")
    return found


def _share(count: int, facts: Facts) -> str:
    percent = f"{100 * count / max(facts.held, 1):.1f}".removesuffix(".0")
    return f"{count} member{'' if count == 1 else 's'}, {percent} % of the {facts.held} that were sent"


def would_do(difference: Difference) -> str:
    """What a difference comes to, in words."""
    adds, changes, removes = map(difference.count, ACTIONS)
    return f"add {adds}, change {changes} and remove {removes}"


def requests(difference: Difference, batch_size: int | None) -> int:
    """How many requests a difference takes, as long as none is refused. Without batches it is one for all: a file."""
    halves = (difference, *difference.later)
    if batch_size is None:
        return min(1, sum(sum(one.calls.values()) for one in halves))
    return sum(-(-count // batch_size) for one in halves for count in one.calls.values())


# --- searching a refused batch --------------------------------------------------------------------------------------


class Search:
    """Finds the bad ones among `count` that were refused together, from the left, in about log2 of count tries each.

    Where the left half of a refused part is accepted, the bad one is in the right half without asking. After each find
    the next try is a share of the rest that shrinks with every find and doubles with every success, so that neither one
    bad row nor many cost a try for nothing.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._low = 0  # everything before has its outcome
        self._bad_stop = count  # there is a bad one from `low` to here; `low` where nothing is known
        self._step = count
        self._found = 0
        self._stop = 0

    def part(self) -> tuple[int, int] | None:
        """What to try next: from, up to; None when everything has its outcome."""
        if self._low == self._count:
            return None
        known = self._bad_stop - self._low
        size = max(known // 2, 1) if known > 0 else min(self._step, self._count - self._low)
        self._stop = self._low + size
        return self._low, self._stop

    def accepted(self) -> None:
        if self._bad_stop <= self._low:
            self._step *= 2
        self._low = self._stop

    def refused(self) -> None:
        if self._stop - self._low > 1:
            self._bad_stop = self._stop
            return
        self._found += 1
        self._low = self._bad_stop = self._stop
        self._step = max((self._count - self._low) // (self._found + 1), 1)


# --- the cursor -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What became of the rows of a plan so far, by action as acknowledged, and what was left out."""

    add: int = 0
    update: int = 0
    remove: int = 0
    refused: int = 0
    maybe: int = 0

    def plus(self, action: Action, count: int) -> Tally:
        return replace(self, **{action: getattr(self, action) + count})

    @property
    def acknowledged(self) -> int:
        return self.add + self.update + self.remove

    @property
    def rows(self) -> int:
        return self.acknowledged + self.refused + self.maybe


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A plan that is being sent: its file and the run that made it; how many rows are calls, by action; `done`, the row
    before which all have their outcome; the files that name those rows which were not simply accepted. `is_half`: another
    comparison makes out what waits for its outcome."""

    file: str
    run: int
    calls: Mapping[Action, int]
    silent: int = 0
    gone: int = 0
    newcomers: int = 0
    done: int = 0
    exceptions: tuple[str, ...] = ()
    tally: Tally = field(default_factory=Tally)
    is_half: bool = False

    @classmethod
    def of(cls, difference: Difference, run: int) -> Plan:
        return cls(
            file=difference.plan,
            run=run,
            calls=dict(difference.calls),
            silent=difference.silent,
            gone=difference.gone,
            newcomers=difference.newcomers,
            is_half=difference.is_half,
        )

    @property
    def rows(self) -> int:
        return sum(self.calls.values())

    def action_at(self, row: int) -> tuple[Action, int]:
        """The action of a row, and the row at which the next action begins."""
        stop = 0
        for action in ACTIONS:
            stop += self.calls[action]
            if row < stop:
                return action, stop
        raise AssertionError(f"row {row} is no call of the plan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The cursor of an audience export: its ledger, and the plan that is being sent, if any. `retry` asks the next run to
    try omitted members again. `begun`: a run has looked before, even where it found nobody. `wrote`: the file of all members
    was written once. `approved` names what is left of a difference that a person has approved: the run that makes it, and
    its digest, empty where nothing is."""

    ledger: Ledger = field(default_factory=Ledger)
    plan: Plan | None = None
    retry: Retry = ""
    begun: bool = False
    wrote: bool = False
    approved: tuple[int, str] = (0, "")

    @classmethod
    def load(cls, cursor: Json) -> Progress:
        """Raises Fatal for the cursor of another job type."""
        if cursor is None:
            return cls()
        try:
            ledger = cursor["ledger"]
            return cls(
                ledger=Ledger(tuple(LedgerFile(**one) for one in ledger["files"]), Facts(**ledger["facts"])),
                plan=None if cursor["plan"] is None else _plan(dict(cursor["plan"])),
                retry=cursor["retry"],
                begun=cursor["begun"],
                wrote=cursor.get("wrote", False),
                approved=tuple(cursor.get("approved", (0, ""))),
            )
        except (KeyError, TypeError, ValueError):
            raise Fatal("the cursor is not one of export-audience; change `restart` to begin anew") from None

    def cursor(self) -> Json:
        """`{"ledger": {"files": [{"file", "rows"}], "facts": {…}}, "plan": {…} or null, "retry": "",
        "begun": true}`, and `"wrote": true` and `"approved": [run, digest]` where that is so."""
        ledger = {"files": [asdict(one) for one in self.ledger.files], "facts": asdict(self.ledger.facts)}
        plan = None if self.plan is None else {**asdict(self.plan), "exceptions": list(self.plan.exceptions)}
        made = {"ledger": ledger, "plan": plan, "retry": self.retry, "begun": True}
        approved = {"approved": list(self.approved)} if self.approved[1] else {}
        return {**made, **approved, **({"wrote": True} if self.wrote else {})}

    @property
    def files(self) -> tuple[str, ...]:
        """All files of the job's own that the cursor names."""
        mine = (self.plan.file, *self.plan.exceptions) if self.plan else ()
        return (*(one.file for one in self.ledger.files), *mine)


def _plan(value: dict[str, Any]) -> Plan:
    return Plan(**{**value, "exceptions": tuple(value["exceptions"]), "tally": Tally(**value["tally"])})


# --- the sum --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Everyone concerned, each in one class."""

    concerned: int
    added: int
    changed: int
    removed: int
    omitted: int

    @property
    def unchanged(self) -> int:
        return self.concerned - self.added - self.changed - self.removed - self.omitted

    def __str__(self) -> str:
        return (
            f"of {self.concerned} concerned: {self.added} added, {self.changed} changed, {self.removed} removed, "
            f"{self.omitted} omitted, {self.unchanged} unchanged"
        )


def account(plan: Plan, before: Facts, after: Facts) -> Account:
    """The sum of a plan of which every row has its outcome, from what the ledger held before and holds after. Who was
    removed because nothing is left to send of them is omitted from the next run on."""
    assert plan.tally.rows == plan.rows, "every row of the plan has one outcome"
    concerned = before.rows + plan.newcomers
    left = concerned - after.rows - plan.gone  # those whose row ended with a call
    assert 0 <= left <= plan.tally.remove, "nobody leaves the ledger but by an acknowledged removal, or without a call"
    found = Account(
        concerned=concerned,
        added=plan.tally.add,
        changed=plan.tally.update,
        removed=plan.tally.remove,
        omitted=after.omitted - (plan.tally.remove - left),
    )
    assert found.unchanged >= 0, "nobody is counted twice"
    return found


# --- intents --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What earlier attempts left open: intents to be resolved, by row; the keys of those that were refused and split,
    whose parts are among the others; the keys of those that are given up, because their plan is gone."""

    again: list[Intent]
    split: list[str]
    given_up: list[str]


def unfinished(intents: Iterable[Intent], plan: str) -> Unfinished:
    """A batch was split where another lies within it; of two over the same rows, the one that names the other as its
    parent is the part."""
    intents = list(intents)
    ours = [one for one in intents if isinstance(one.detail, dict) and plan and one.detail.get("plan") == plan]
    parents = {one.detail.get("parent", "") for one in ours}
    split = [one.key for one in ours if one.key in parents or any(_is_within(other, one) for other in ours)]
    return Unfinished(
        again=sorted((one for one in ours if one.key not in split), key=lambda one: one.first),
        split=split,
        given_up=[one.key for one in intents if one not in ours],
    )


def _is_within(part: Intent, whole: Intent) -> bool:
    inside = whole.first <= part.first and part.last <= whole.last
    return inside and (part.first, part.last) != (whole.first, whole.last)
