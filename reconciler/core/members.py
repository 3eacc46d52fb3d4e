"""What an export of an audience asks of the data hands: who joined, changed and left since it last sent anything.

The job keeps a *ledger*: one row for each member that it has dealt with, saying what the destination holds of it as far
as was acknowledged. A run compares the audience with it, and the difference is staged as one file, the *plan*, whose rows
stand in the order in which they are sent: members to add, members to update, members to remove, and last what is only
written into the ledger. Whatever was sent is said in row numbers of that file, so a batch can be sent again byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from reconciler.core.value import dataclass

Action = Literal["add", "update", "remove"]

#: In the order in which they are sent: nobody is removed before all additions have their outcome.
ACTIONS: Final[tuple[Action, ...]] = ("add", "update", "remove")

#: Which omitted members are tried again though nothing has changed: none, those that were refused, or also those whose
#: last action may have arrived (a person has looked, and says that it did not).
Retry = Literal["", "refused", "all"]

#: So many times at most a run compares again for what waited for the outcome of calls before.
MAX_HALVES: Final = 3

#: The reason of a member whose last action must not be repeated, and may have arrived.
DOUBTED: Final = "the {action} may have arrived, and is not repeated; a person has to look and release it"

#: How the destination is kept from removing somebody by the identifiers of somebody else: a removal goes without those
#: that another member has, `later`, where that one may have them by a call that could fail, or `at once`, where all calls
#: of a plan are taken together or none; `never`, where members are not found by identifiers.
Spares = Literal["later", "at once", "never"]

#: A field takes the profile's own id by this name, which no attribute and no key can have.
PROFILE_ID: Final = "profile-id"

#: What is wrong with fields of which none identifies.
NOBODY_KNOWN: Final = "no field identifies a member: take one from an identity key, or mark one with `identifier: true`"


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedField:
    """A field of what is sent. `source` names an attribute or an identity key, with `attribute:` or `key:` before it
    where both exist; of a key, the profile's first value. `identifier` says whether the destination knows a member by
    it; None: where it comes from an identity key or is the profile's id."""

    name: str
    source: str
    transforms: tuple[str, ...] = ()
    required: bool = False
    identifier: bool | None = None


@dataclass(frozen=True, slots=True)
class Calls:
    """Which calls an export makes. `keeps_leavers`: who leaves stays at the destination, and is not added again on coming
    back. `removes_noted`: members are reported as leaving though they were never sent."""

    add: bool
    update: bool
    remove: bool
    keeps_leavers: bool = False
    removes_noted: bool = False

    @property
    def only_adds(self) -> bool:
        return self.add and not self.update


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What an export wants to be compared. `notes_all`: members that nobody has sent yet are only recorded as present;
    `sends_noted`: those who were recorded so are sent, too.
    `spares` says what of removals by identifiers that another member has now."""

    fields: tuple[MappedField, ...]
    calls: Calls
    notes_all: bool = False
    sends_noted: bool = False
    spares: Spares = "later"
    retry: Retry = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerFile:
    """A file of the ledger, relative to the data folder. The first is the base; a later one wins over those before."""

    file: str
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """How many members the ledger holds: `sent` and acknowledged, `noted` as present without having been sent, `maybe`
    (an action that must not be repeated may have arrived), and `out` (not at the destination, for a reason). `amiss` are
    those of `sent` and `noted` whose last action was refused."""

    sent: int = 0
    noted: int = 0
    maybe: int = 0
    out: int = 0
    amiss: int = 0

    @property
    def held(self) -> int:
        """Members that the destination holds, as far as is known."""
        return self.sent + self.noted + self.maybe

    @property
    def rows(self) -> int:
        return self.held + self.out

    @property
    def omitted(self) -> int:
        return self.out + self.maybe + self.amiss


@dataclass(frozen=True, slots=True)
class Ledger:
    """The files of a ledger, and what they hold."""

    files: tuple[LedgerFile, ...] = ()
    facts: Facts = Facts()


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What a comparison found. `plan` is the staged file, empty where nothing differs. `calls` are the rows to send, by
    action; `silent` those that are only written down, of which `gone` leave the ledger without a call; `newcomers` the
    members that the ledger did not know. `omissions` are the members left out by the mapping that were not left out
    before, by reason. `is_empty`: nobody is a member now. `is_half`: there is something that can be made out only when the
    plan's calls have their outcome, by another comparison, if only to be noted; `later` is what such comparisons find where all
    calls are accepted."""

    plan: str = ""
    calls: Mapping[Action, int] = field(default_factory=lambda: dict.fromkeys(ACTIONS, 0))
    silent: int = 0
    gone: int = 0
    newcomers: int = 0
    omissions: Mapping[str, int] = field(default_factory=dict)
    is_empty: bool = False
    is_half: bool = False
    later: tuple[Difference, ...] = ()

    def count(self, action: Action) -> int:
        """How many such calls are to be made, with those that wait."""
        return sum(one.calls[action] for one in (self, *self.later))

    @property
    def rest(self) -> Difference:
        """What waits, as a difference of its own; an empty one where nothing does."""
        return replace(self.later[0], later=self.later[1:]) if self.later else Difference()

    def is_within(self, other: Difference) -> bool:
        """Whether it makes no more calls of any kind than another one."""
        return all(self.count(one) <= other.count(one) for one in ACTIONS)

    @property
    def rows(self) -> int:
        """How many rows of the plan are sent."""
        return sum(self.calls.values())


@dataclass(frozen=True, slots=True)
class Rows:
    """Neighbouring rows of a plan: whose, the JSON object of the mapped fields, and the identifiers by which the
    destination knew the member before (JSON object; None where they are the same)."""

    ids: Sequence[str]
    members: Sequence[str]
    previous: Sequence[str | None]


@dataclass(frozen=True, slots=True)
class Exceptional:
    """A row of a plan that was not simply accepted: refused, or (`maybe`) sent without an answer and not repeatable."""

    row: int
    kind: Literal["refused", "maybe"]
    reason: str


class Members(Protocol):
    """The data hands of an audience export. Memory does not grow with the audience: what is compared spills to disk, and
    rows pass through in blocks."""

    audience: str

    def compare(self, wish: Wish, ledger: Ledger, *, now_ms: int) -> Difference:
        """Compares the audience with the ledger and stages the plan, fsynced, and those of what waits for its outcome.
        Raises Fatal for a field that does not exist or a transform that is none."""
        ...

    def digest(self, difference: Difference) -> str:
        """Names exactly what a difference would send: 32 hexadecimal digits over members, actions and fields, in order, and
        over the removals that wait for the outcome of those."""
        ...

    def exists(self, plan: str) -> bool: ...

    def rows(self, plan: str, first: int, stop: int) -> Rows: ...

    def omissions(self, plan: str) -> Iterable[tuple[int, str, str]]:
        """(row, id, reason) of those whom the mapping leaves out now and did not leave out before."""
        ...

    def stage_exceptions(self, rows: Sequence[Exceptional], before: Sequence[str]) -> tuple[str, ...]:
        """Keeps the rows of one unit; returns all files that say so, those of units before included."""
        ...

    def fold(
        self, ledger: Ledger, plan: str, done: int, exceptions: Sequence[str], *, now_ms: int, is_whole: bool = False
    ) -> Ledger:
        """The ledger after the first `done` rows of a plan (`is_whole`: that is all of them) have had their outcome, with
        all that is only written down."""
        ...

    def write(
        self, path: Path, kind: Literal["csv", "ndjson", "parquet"], *, ledger: Ledger, plan: str, changes: bool,
        fields: Sequence[str], options: Mapping[str, Any],
    ) -> int:  # fmt: skip
        """Writes the whole membership as the plan leaves it, or (`changes`) the plan's own rows with their action, under
        a temporary name beside `path`, fsynced and renamed; the rows written."""
        ...
