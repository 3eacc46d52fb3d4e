"""What an export of an audience decides without looking: its calls, its guard, its search, its cursor, its sum."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.members import Calls, Difference, Facts, Ledger, LedgerFile
from reconciler.core.mirror import (
    Guard,
    Plan,
    Progress,
    Search,
    Tally,
    account,
    calls,
    objections,
    requests,
    unfinished,
    would_do,
)
from reconciler.core.provider import Intent
from reconciler.errors import Fatal


def tries(count: int, bad: set[int]) -> tuple[int, set[int]]:
    """How many tries a refused batch takes, the first one included, and which rows are found."""
    search, taken, found = Search(count), 1, set()
    while part := search.part():
        taken += 1
        if any(part[0] <= one < part[1] for one in bad):
            if part[1] - part[0] == 1:
                found.add(part[0])
            search.refused()
        else:
            search.accepted()
    return taken, found


@pytest.mark.parametrize("bad", range(1, 21))
def test_few_bad_rows_of_ten_thousand_are_found_in_about_the_logarithm_of_tries_each(bad: int) -> None:
    count, chance = 10_000, random.Random(bad)
    worlds = [set(range(bad)), set(range(count - bad, count)), {one * count // bad for one in range(bad)}]
    worlds += [set(chance.sample(range(count), bad)) for _ in range(60)]
    worlds += [set(chance.sample(range(first, first + 100), bad)) for first in range(0, count - 100, 500)]
    for world in worlds:
        taken, found = tries(count, world)
        assert found == world
        assert taken <= bad * math.log2(count) + 12


@given(st.integers(1, 200).flatmap(lambda count: st.tuples(st.just(count), st.sets(st.integers(0, count - 1)))))
def test_every_bad_row_is_found_and_no_other(world: tuple[int, set[int]]) -> None:
    count, bad = world
    taken, found = tries(count, bad)
    assert found == bad
    assert taken <= 2 * count + 8


def test_modes_and_events_say_which_calls_are_made() -> None:
    assert calls("mirror", "both") == Calls(add=True, update=True, remove=True)
    assert calls("mirror", "enter") == Calls(add=True, update=True, remove=False)
    assert calls("mirror", "exit") == Calls(add=False, update=False, remove=True, removes_noted=True)
    assert calls("add-only", "both") == Calls(add=True, update=False, remove=False, keeps_leavers=True)
    assert calls("update-only", "both") == Calls(add=False, update=True, remove=False)


def difference(adds: int = 0, removes: int = 0, *, is_empty: bool = False) -> Difference:
    return Difference(plan="p", calls={"add": adds, "update": 0, "remove": removes}, is_empty=is_empty)


@pytest.mark.parametrize(
    ("held", "adds", "removes", "said"),
    [
        (1000, 0, 200, []),
        (1000, 0, 201, ["it would remove 201 members, 20.1 % of the 1000 that were sent (guard.maxRemovePercent: 20)"]),
        (1000, 2000, 0, []),
        (1000, 2001, 0, ["it would add 2001 members, 200.1 % of the 1000 that were sent (guard.maxAddPercent: 200)"]),
        (0, 1_000_000, 0, []),
        (3, 0, 2, []),
        (3, 0, 3, ["it would remove 3 members, 100 % of the 3 that were sent (guard.maxRemovePercent: 20)"]),
        (1, 20, 0, []),
        (1, 21, 0, ["it would add 21 members, 2100 % of the 1 that were sent (guard.maxAddPercent: 200)"]),
    ],
)
def test_the_guard_objects_to_a_large_share(held: int, adds: int, removes: int, said: list[str]) -> None:
    assert objections(Guard(), difference(adds, removes), Facts(sent=held)) == said


def test_a_percentage_that_a_spec_names_is_that_of_a_small_audience_too() -> None:
    named = Guard(removes_of_at_least=0, adds_to_at_least=0)
    assert objections(named, difference(0, 1), Facts(sent=5)) == []
    assert objections(named, difference(0, 2), Facts(sent=5)) == [
        "it would remove 2 members, 40 % of the 5 that were sent (guard.maxRemovePercent: 20)"
    ]
    assert objections(named, difference(0, 1), Facts(sent=4)) == [
        "it would remove 1 member, 25 % of the 4 that were sent (guard.maxRemovePercent: 20)"
    ]
    assert objections(named, difference(2, 0), Facts(sent=1)) == []
    assert objections(named, difference(3, 0), Facts(sent=1)) == [
        "it would add 3 members, 300 % of the 1 that were sent (guard.maxAddPercent: 200)"
    ]
    assert objections(named, difference(3, 0), Facts()) == [], "nobody was sent yet"


def test_the_guard_objects_to_an_audience_that_is_empty_however_small_it_was() -> None:
    gone = difference(removes=1, is_empty=True)
    said = ["the audience is empty now (guard.emptyAudience: block)"]
    assert objections(Guard(), gone, Facts(sent=1)) == said
    assert objections(Guard(empty_audience="allow"), gone, Facts(sent=1)) == []


def test_a_guard_of_nothing_lets_nothing_through() -> None:
    strict = Guard(max_remove_percent=0, max_add_percent=0)
    assert len(objections(strict, difference(1, 1), Facts(sent=100))) == 2


def test_a_difference_says_what_it_comes_to() -> None:
    found = Difference(plan="p", calls={"add": 1001, "update": 0, "remove": 1})
    assert would_do(found) == "add 1001, change 0 and remove 1"
    assert requests(found, 500) == 4
    assert requests(found, None) == 1
    assert requests(Difference(plan="p", calls={"add": 0, "update": 0, "remove": 0}), None) == 0


def test_a_cursor_comes_back_as_it_went() -> None:
    plan = Plan(
        file="plan",
        run=3,
        calls={"add": 1, "update": 2, "remove": 3},
        done=2,
        exceptions=("e",),
        tally=Tally(add=1, refused=1),
    )
    progress = Progress(
        ledger=Ledger((LedgerFile(file="f", rows=2),), Facts(sent=2)), plan=plan, retry="refused", begun=True
    )
    assert Progress.load(progress.cursor()) == progress
    assert Progress.load(None) == Progress()
    assert progress.files == ("f", "plan", "e")


@pytest.mark.parametrize(
    "cursor", [{"next": 1}, [], {"ledger": {"files": [], "facts": {"x": 1}}, "plan": None, "retry": "", "begun": True}]
)
def test_a_cursor_of_another_job_type_is_not_guessed_at(cursor: object) -> None:
    with pytest.raises(Fatal, match=r"^the cursor is not one of export-audience; change `restart` to begin anew$"):
        Progress.load(cursor)


def test_the_sum_puts_everyone_concerned_into_one_class() -> None:
    plan = Plan(
        file="plan", run=1, calls={"add": 3, "update": 2, "remove": 2}, silent=4, gone=1, newcomers=4, done=7,
        tally=Tally(add=2, update=2, remove=2, refused=1),
    )  # fmt: skip
    before = Facts(sent=10, out=1)
    after = Facts(sent=10, out=2)  # 2 added, 2 removed; one refused, one left out by the mapping, one left out went
    found = account(plan, before, after)
    assert (found.concerned, found.added, found.changed, found.removed, found.omitted) == (15, 2, 2, 2, 2)
    assert found.added + found.changed + found.removed + found.omitted + found.unchanged == found.concerned
    assert str(found) == "of 15 concerned: 2 added, 2 changed, 2 removed, 2 omitted, 7 unchanged"


def test_a_row_without_an_outcome_breaks_the_sum() -> None:
    plan = Plan(file="plan", run=1, calls={"add": 3, "update": 0, "remove": 0}, newcomers=3, done=3, tally=Tally(add=2))
    with pytest.raises(AssertionError, match="every row of the plan has one outcome"):
        account(plan, Facts(), Facts(sent=2))


def intent(key: str, first: int, last: int, plan: str = "plan", parent: str = "") -> Intent:
    return Intent(key=key, first=first, last=last, digest="", detail={"plan": plan, "parent": parent})


def test_a_batch_that_was_split_is_not_sent_again_and_its_parts_are() -> None:
    found = unfinished(
        [
            intent("ahead", 8, 11),
            intent("whole", 0, 7),
            intent("half", 0, 3, parent="whole"),
            intent("one", 0, 0, parent="whole"),
            intent("next", 1, 1, parent="whole"),
            intent("other", 0, 3, plan="older"),
        ],
        "plan",
    )
    assert [one.key for one in found.again] == ["one", "next", "ahead"]
    assert found.split == ["whole", "half"]
    assert found.given_up == ["other"]


def test_of_two_batches_over_the_same_rows_the_rest_is_sent_again() -> None:
    found = unfinished([intent("whole", 0, 7), intent("rest", 0, 7, parent="whole")], "plan")
    assert ([one.key for one in found.again], found.split) == (["rest"], ["whole"])
