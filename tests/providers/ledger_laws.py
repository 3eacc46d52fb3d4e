"""What must be so of a random life of an export of an audience (`ledger_walk`): what was said before a run is what it does, and after
each the destination, the sums and the list of those who are omitted agree with a page of plain Python."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reconciler.clock import Now
from reconciler.controller.compared import Export
from reconciler.controller.member import judge
from reconciler.core.members import ACTIONS, Difference, LedgerFile
from reconciler.core.mirror import Progress, objections, requests
from reconciler.data.engine import workspace
from reconciler.data.ledger import DEBT, ledger_sql, omitted
from reconciler.data.members import MemberHands
from reconciler.errors import NeedsApproval
from reconciler.testing import Attempt
from tests.lives import require
from tests.providers.ledger_crowd import STRANGERS, Fields, Ident, ident, identifiers, mapped

if TYPE_CHECKING:
    from tests.providers.ledger_walk import Walk

NOW = Now(wall_ms=0, alive_ms=0)
MEMORY_MB = 256
_SUM = re.compile(r"of (\d+) concerned: (\d+) added, (\d+) changed, (\d+) removed, (\d+) omitted, (\d+) unchanged")


# --- what is said before a run --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """What `plan --data`, the guard and `why --member` (of three) say, where nothing disturbs the run; and what there was."""

    found: Difference
    digest: str
    objects: bool
    requests: int
    next: dict[str, str]
    concerned: int
    seen: int  # calls that the destination has acknowledged
    asked: int  # requests


def foresee(walk: Walk) -> Said:
    place = walk.place
    assert place.selection is not None
    progress = Progress.load(place.ledger.cursor)
    config = walk.job.model(place)
    export = Export(
        job="conformance", config=config, progress=progress, data=place.data_dir, memory_mb=MEMORY_MB,
        forgotten=place.forgotten,
    )  # fmt: skip
    with export.scratch() as scratch:
        found = export.difference(place.selection, progress.ledger, NOW, scratch)
        digest = _hands(walk).digest(found)
    known = in_ledger(walk)
    here = {ident(number) for number in walk.crowd.people}
    asked = sorted(one for one in known | here if DEBT not in one) if walk.there.tells_whose else []
    some = walk.dice.sample(asked, min(len(asked), 3))
    judged = {who: judge(export, place.selection, who, NOW)["next"] for who in some}
    return Said(
        found=found, digest=digest, objects=bool(objections(config.limits(), found, progress.ledger.facts)),
        requests=requests(found, getattr(config, "batch_size", 10**6)),
        next={who: "" if one == "omit" else one for who, one in judged.items()},
        concerned=len(known | here),
        seen=len(walk.there.rows), asked=walk.there.requests,
    )  # fmt: skip


def _hands(walk: Walk) -> MemberHands:
    def selection() -> Any:
        raise AssertionError("a digest needs no profiles")

    return MemberHands(
        walk.place.data_dir, job="conformance", audience="", run=0, name=str, selection=selection, memory_mb=MEMORY_MB
    )


def check_said(walk: Walk, said: Said, made: Attempt) -> None:
    """The run did what was said."""
    rows = walk.there.rows[said.seen :]
    approved = walk.place.approved
    if said.objects and said.digest not in approved:
        held = made.error.digest if isinstance(made.error, NeedsApproval) else ""
        require(held == said.digest, f"the guard objects to {said.digest}, and the run ends with {made.error}")
        require(not rows and walk.there.requests == said.asked, "a run that the guard holds sends something")
        return
    require(made.how == "completed", f"a calm run ends with {made.error}")
    done: Counter[str] = Counter(action for _, action, _, _ in rows)
    foretold = {one: said.found.count(one) for one in ACTIONS}
    units = walk.place.ledger.units[len(walk.place.ledger.units) - made.units :]
    if walk.there.tells_whose:
        require({one: done[one] for one in ACTIONS} == foretold, f"a plan says {foretold}, and the run did {done}")
        asked = walk.there.requests - said.asked
        require(asked == said.requests, f"a plan says {said.requests} requests, and the run made {asked}")
    counted = {"add": sum(one.added for one in units), "remove": sum(one.removed for one in units)}
    require(
        all(foretold[one] == counted[one] for one in counted), f"a plan says {foretold}, and a run counts {counted}"
    )
    left_out = sum(count for one in (said.found, *said.found.later) for count in one.omissions.values())
    counted_out = sum(one.omitted for one in units)
    require(left_out == counted_out, f"a plan says {left_out} omitted, and the run counts {counted_out}")
    for who, action in said.next.items():
        did = next((did for _, did, whose, _ in rows if whose == who), "")
        require(did == action, f"of {who} why says '{action}', and the run did '{did}'")
    _check_sums(said, [one.message for one in units])
    removed: list[list[Ident]] = []
    for _, action, who, fields in rows:
        if action == "remove":
            require(identifiers(fields) not in removed, f"the removal of {who} says again what was said: {fields}")
            removed.append(identifiers(fields))


def _check_sums(said: Said, messages: list[str]) -> None:
    sums = [[int(one) for one in found.groups()] for message in messages if (found := _SUM.search(message))]
    for concerned, *classes in sums:
        require(sum(classes) == concerned and min(classes) >= 0, f"{classes} is not {concerned}")
    if sums:
        first = sums[0][0]
        require(
            said.concerned <= first <= said.concerned + said.found.rows,
            f"{first} are concerned, and there are {said.concerned} members and rows of the ledger",
        )


# --- what is there after a run --------------------------------------------------------------------------------------


def in_ledger(walk: Walk) -> set[str]:
    progress = Progress.load(walk.place.ledger.cursor)
    with workspace(walk.place.data_dir, memory_mb=MEMORY_MB) as db:
        sql = ledger_sql(walk.place.data_dir, progress.ledger.files, ["id"])
        return {id_ for (id_,) in db.execute(sql).fetchall()}


def check_listed(walk: Walk) -> None:
    """`rejects NAME` lists whom the mapping leaves out, whoever was refused or is in doubt, and nobody else."""
    files: tuple[LedgerFile, ...] = Progress.load(walk.place.ledger.cursor).ledger.files
    with workspace(walk.place.data_dir, memory_mb=MEMORY_MB) as db:
        listed = [id_ for id_, *_ in omitted(db, walk.place.data_dir, files, 1000)]
    facts = walk.facts
    require(len(listed) == facts["out"] + facts["maybe"] + facts["amiss"], f"{listed} are listed of {facts}")
    unusable = {ident(number) for number, one in walk.crowd.people.items() if mapped(walk.mapping, number, one) is None}
    require(unusable <= set(listed), f"{unusable - set(listed)} cannot be mapped and are not listed")
    strange = {id_ for id_ in listed if id_.partition(DEBT)[0] not in walk.there.blamed | unusable}
    require(not strange, f"{strange} are listed, and were never refused or in doubt")


def check_there(walk: Walk) -> None:
    """Nobody is at the destination who should not be there, and nobody is missing, as far as the mode goes."""
    facts, people = walk.facts, walk.crowd.people
    usable = {number: fields for number, one in people.items() if (fields := mapped(walk.mapping, number, one))}
    if facts["maybe"] or facts["amiss"] or facts["out"] != len(people) - len(usable):
        return  # somebody was refused, or is in doubt
    calls = walk.job.model(walk.place).wish(is_first=False, retry="").calls
    expected: dict[Ident, list[Fields]] = {}
    for fields in usable.values():
        for who in identifiers(fields):
            expected.setdefault(who, []).append(fields)
    found = {who: fields for who, fields in walk.there.entries.items() if who not in STRANGERS}
    wrong = []
    if calls.add and not facts["noted"] and (calls.update or walk.there.tells_whose):
        wrong += _missing(walk, usable, found) if calls.only_adds else _wrong(expected, found)
    if calls.remove and (calls.update or walk.there.tells_whose):
        here = set() if calls.update else {ident(number) for number in usable}
        stale = [who for who in found if who not in expected and walk.there.writers.get(who) not in here]
        wrong += [f"{who}: {found[who]} is still there" for who in stale]
    require(not wrong, "; ".join(wrong))


def _wrong(expected: dict[Ident, list[Fields]], found: dict[Ident, Fields]) -> list[str]:
    return [
        f"{who}: {found.get(who)} instead of {fields}"
        for who, fields in expected.items()
        if found.get(who) not in fields
    ]


def _missing(walk: Walk, usable: dict[int, Fields], found: dict[Ident, Fields]) -> list[str]:
    sent: dict[str, set[Ident]] = {}
    for _, _, who, fields in walk.there.rows:
        sent.setdefault(who, set()).update(identifiers(fields))
    return [
        f"{number} is missing, who was sent as {sent.get(ident(number))}"
        for number in usable
        if not sent.get(ident(number), set()) & found.keys()
    ]


def check_merged(walk: Walk, said: Said) -> None:
    """Who turned out to be a member under another id, and was never sent, is not told of as leaving."""
    if walk.settings["events"] != "exit" or not walk.there.tells_whose:
        return
    before = {who for _, action, who, _ in walk.there.rows[: said.seen] if action != "remove"}
    gone = {who for _, action, who, _ in walk.there.rows[said.seen :] if action == "remove"}
    told = {
        who for who in gone - before if walk.crowd.aliases.get(int(who.partition(DEBT)[0], 16)) in walk.crowd.people
    }
    require(not told, f"{told} are members under another id, and are told of as leaving")
