"""The difference between an audience and its ledger: whoever comes, changes, goes, becomes one or swaps addresses, and
however much of a plan was done, the destination comes to hold the members."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.core.members import Difference, Exceptional, Ledger, MappedField, Rows, Wish
from reconciler.core.mirror import Events, Mode, calls
from reconciler.data.engine import workspace
from reconciler.data.ledger import receipt
from reconciler.data.members import MemberHands, Selection
from reconciler.testing.bench import write_people

WISH = Wish(
    fields=(
        MappedField(name="email", source="email", transforms=("trim", "lower")),
        MappedField(name="plan", source="plan"),
    ),
    calls=calls("mirror", "both"),
)

#: Who has which address, and on which plan: {address: (profile, plan)}; plan None has none, address -1 is blank.
World = dict[int, tuple[int, str | None]]


class Place:
    """A ledger, a destination that knows members by their address, and the profiles."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.ledger = Ledger()
        self.members: dict[str, Any] = {}
        self.is_strict = False  # whether it updates nobody who is unknown
        self._names = 0

    def enroll(self, world: World) -> None:
        people = [
            {"id": f"{who:032x}", "email": [f" P{address}@x.org" if address >= 0 else " "], "plan": plan}
            for address, (who, plan) in world.items()
        ]
        self._file = write_people(self.data_dir, people, ["email"], {"plan": "text"})

    def hands(self) -> MemberHands:
        def name(what: str) -> str:
            self._names += 1
            return f"jobs/j/{self._names}-{what}"

        view = f"SELECT * FROM read_parquet('{self._file}')"
        selection = Selection(lambda _a, _k: view, "true", (), False, {"plan": "text"}, ("email",))
        return MemberHands(
            self.data_dir, job="j", audience="a", run=1, name=name, selection=lambda: selection, memory_mb=200
        )

    def run(self, done: int | None = None, refused: Sequence[int] = (), wish: Wish = WISH) -> Difference:
        """Compares, does the first `done` rows (all, unless said otherwise), and folds."""
        hands = self.hands()
        found = hands.compare(wish, self.ledger, now_ms=0)
        if found.plan:
            done = found.rows if done is None else min(done, found.rows)
            bad = [Exceptional(row, "refused", "no") for row in refused if row < done]
            self.apply(hands, found, done, {one.row for one in bad})
            files = hands.stage_exceptions(bad, ()) if bad else ()
            self.ledger = hands.fold(self.ledger, found.plan, done, files, now_ms=0, is_whole=done == found.rows)
        return found

    def apply(self, hands: MemberHands, found: Difference, done: int, bad: set[int]) -> None:
        rows = hands.rows(found.plan, 0, done)
        actions = [action for action, count in found.calls.items() for _ in range(count)]
        for number, (action, member, previous) in enumerate(zip(actions, rows.members, rows.previous, strict=False)):
            if number not in bad:
                self.take(action, json.loads(member), json.loads(previous or "null"))

    def take(self, action: str, member: dict[str, Any], previous: dict[str, Any] | None) -> None:
        if self.is_strict and action == "update" and (previous or member)["email"] not in self.members:
            return  # who is unknown is left out
        if previous:
            self.members.pop(previous["email"], None)
        if action == "remove":
            self.members.pop(member["email"], None)
        else:
            self.members[member["email"]] = member


def expected(world: World) -> dict[str, Any]:
    return {
        f"p{address}@x.org": {"email": f"p{address}@x.org", "plan": plan}
        for address, (_, plan) in world.items()
        if address >= 0
    }


@settings(max_examples=6, deadline=None)
@given(
    st.dictionaries(st.integers(0, 9), st.tuples(st.sampled_from(["", "p"]), st.sampled_from(["a", None])), max_size=6),
    st.booleans(),
)
def test_what_a_first_comparison_finds_in_one_go_is_what_it_finds_step_by_step(
    world: dict[int, tuple[str, str | None]], is_noted: bool
) -> None:
    found = []
    for transforms in ((), ("trim",)):  # texts that are transformed are kept in between
        fields = (
            MappedField(name="email", source="email", transforms=transforms),
            MappedField(name="plan", source="plan", required=True),
        )
        with tempfile.TemporaryDirectory() as folder:
            place = Place(Path(folder))
            people = [
                {"id": f"{who:032x}", "email": [f"{address}{who}"] if address else [], "plan": plan}
                for who, (address, plan) in world.items()
            ]
            place._file = write_people(place.data_dir, people, ["email"], {"plan": "text"})
            hands = place.hands()
            wish = Wish(fields=fields, calls=calls("mirror", "both"), notes_all=is_noted)
            made = hands.compare(wish, Ledger(), now_ms=0)
            rows = hands.rows(made.plan, 0, made.rows) if made.plan else Rows([], [], [])
            omitted = sorted(hands.omissions(made.plan)) if made.plan else []
            files = [one for one in place.data_dir.rglob("*-plan.parquet*") if one.is_file()]
            sent = sum(made.calls.values())
            whole = sorted(zip(rows.ids, rows.members, rows.previous, strict=True))
            found.append(
                (made.calls, made.silent, made.newcomers, made.omissions, made.is_empty, whole, sorted(rows.ids[:sent]),
                 sorted(who for _, who, _ in omitted), len(files))
            )  # fmt: skip
    assert found[0] == found[1]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    addresses = draw(st.lists(st.integers(-1, 5), unique=True, max_size=6))
    profiles = draw(st.permutations(range(7)))
    return {
        address: (profiles[number], draw(st.sampled_from(["a", "b", None]))) for number, address in enumerate(addresses)
    }


@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(worlds(), st.none() | st.integers(0, 4)), min_size=2, max_size=3))
def test_whatever_part_of_each_difference_is_done_the_destination_comes_to_hold_the_members(
    steps: list[tuple[World, int | None]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder))
        for world, done in steps:
            place.enroll(world)
            place.run(done)
        place.run()
        assert place.members == expected(world)
        assert not place.run().rows, "a second run has nothing to send"
        assert not place.run().plan
        assert place.ledger.facts.sent == len(expected(world))


@st.composite
def own_worlds(draw: st.DrawFn) -> World:
    """Worlds in which nobody takes over an address of another one."""
    who = draw(st.lists(st.integers(0, 4), unique=True))
    return {draw(st.sampled_from([one, one + 5, -1 - one])): (one, draw(st.sampled_from(["a", "b"]))) for one in who}


#: Which calls may be made for a while.
KINDS: Sequence[tuple[Mode, Events]] = (
    ("mirror", "both"), ("mirror", "enter"), ("mirror", "exit"), ("add-only", "both"), ("add-only", "enter"),
    ("update-only", "both"), ("update-only", "enter"),
)  # fmt: skip


@settings(max_examples=6, deadline=None)
@given(
    st.lists(st.tuples(own_worlds(), st.sampled_from(KINDS), st.none() | st.integers(0, 4)), min_size=2, max_size=4),
    own_worlds(),
)
def test_whatever_calls_were_made_for_a_while_the_destination_comes_to_hold_the_members_once_all_are(
    steps: list[tuple[World, tuple[Mode, Events], int | None]], last: World
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder))
        place.is_strict = True
        for world, kind, done in steps:
            made = calls(*kind)
            wish = replace(WISH, calls=made, sends_noted=made.add or made.update)
            place.enroll(world)
            place.run(done, wish=wish)
            place.run(wish=wish)  # with what waited
            place.run(wish=wish)
            assert not place.run(wish=wish).plan, (kind, "a run right after it has nothing to do")
        place.enroll(last)
        for _ in range(3):
            place.run(wish=replace(WISH, sends_noted=True))
        assert place.members == expected(last)
        assert not place.run(wish=replace(WISH, sends_noted=True)).plan


def test_addresses_that_are_swapped_stay_both(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.enroll({1: (1, "a"), 2: (2, "b")})
    place.run()
    place.enroll({1: (2, "b"), 2: (1, "a")})
    found = place.run()
    assert found.calls == {"add": 0, "update": 2, "remove": 0}
    assert place.members == expected({1: (2, "b"), 2: (1, "a")})


def test_who_moves_to_a_new_address_while_another_one_takes_the_old_is_there_where_updates_reach_only_the_known(
    tmp_path: Path,
) -> None:
    place = Place(tmp_path)
    place.is_strict = True
    place.enroll({0: (1, "a")})
    place.run()
    moved: World = {0: (2, "b"), 1: (1, "a")}
    place.enroll(moved)
    assert place.run().calls == {"add": 2, "update": 0, "remove": 0}
    place.run()  # with what waited
    assert place.members == expected(moved)
    assert not place.run().plan


def test_who_takes_over_the_address_of_one_who_was_sent_while_only_exits_are_told_is_removed_on_leaving(
    tmp_path: Path,
) -> None:
    place = Place(tmp_path)
    place.enroll({0: (1, "a"), 1: (3, "a")})
    place.run()
    place.enroll({0: (2, "b"), 1: (3, "a")})
    exits = replace(WISH, calls=calls("mirror", "exit"))
    assert not place.run(wish=exits).rows
    assert not place.run(wish=exits).plan
    place.run(wish=replace(WISH, sends_noted=True))
    assert place.members == expected({0: (2, "b"), 1: (3, "a")})
    place.enroll({1: (3, "a")})
    place.run(wish=replace(WISH, sends_noted=True))
    assert place.members == expected({1: (3, "a")})


class TwoKeys(Place):
    """The same, where members are known by an address and a number; the destination keeps each by itself."""

    wish = Wish(
        fields=(
            MappedField(name="email", source="email"),
            MappedField(name="phone", source="phone"),
            MappedField(name="plan", source="plan"),
        ),
        calls=calls("mirror", "both"),
    )

    def enroll_two(self, people: Sequence[tuple[int, str, str]]) -> None:
        rows = [{"id": f"{who:032x}", "email": [email], "phone": [phone], "plan": "a"} for who, email, phone in people]
        self._file = write_people(self.data_dir, rows, ["email", "phone"], {"plan": "text"})

    def two_hands(self) -> MemberHands:
        view = f"SELECT * FROM read_parquet('{self._file}')"
        selection = Selection(lambda _a, _k: view, "true", (), False, {"plan": "text"}, ("email", "phone"))
        return MemberHands(
            self.data_dir, job="j", audience="a", run=1, name=self._named, selection=lambda: selection, memory_mb=200
        )

    def removed(self) -> list[Any]:
        """Compares and folds; the members of the removals."""
        hands = self.two_hands()
        found = hands.compare(self.wish, self.ledger, now_ms=0)
        if not found.plan:
            return []
        sent = hands.rows(found.plan, 0, found.rows).members[found.rows - found.calls["remove"] :]
        self.ledger = hands.fold(self.ledger, found.plan, found.rows, (), now_ms=0, is_whole=True)
        return [json.loads(one) for one in sent]

    def _named(self, what: str) -> str:
        self._names += 1
        return f"jobs/j/{self._names}-{what}"


def test_a_removal_leaves_out_the_identifiers_that_another_member_has_now(tmp_path: Path) -> None:
    place = TwoKeys(tmp_path)
    place.enroll_two([(1, "a@x.org", "+1"), (2, "b@x.org", "+2")])
    assert place.removed() == []
    place.enroll_two([(2, "b@x.org", "+1")])  # the one who left had the number that the other has now
    removed = [*place.removed(), *place.removed()]
    assert removed == [{"email": "a@x.org", "phone": None, "plan": "a"}]
    assert place.removed() == []
    assert place.ledger.facts.sent == 1


def test_nobody_is_removed_whose_every_identifier_another_member_has_now(tmp_path: Path) -> None:
    place = TwoKeys(tmp_path)
    place.enroll_two([(1, "a@x.org", "+1"), (2, "b@x.org", "+2")])
    assert place.removed() == []
    place.enroll_two([(2, "a@x.org", "+1")])
    assert [*place.removed(), *place.removed()] == []
    assert place.ledger.facts.sent == 1


def test_nothing_is_staged_where_nothing_differs(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.enroll({})
    assert place.run() == Difference()
    assert list((tmp_path / "jobs").rglob("*")) if (tmp_path / "jobs").exists() else True


def test_a_digest_names_exactly_what_would_be_sent(tmp_path: Path) -> None:
    place = Place(tmp_path)
    digests = []
    for world in ({1: (1, "a"), 2: (2, "b")}, {2: (2, "b"), 1: (1, "a")}, {1: (1, "a"), 2: (2, "c")}, {1: (1, "a")}):
        place.enroll(world)
        hands = place.hands()
        digests.append(hands.digest(hands.compare(WISH, Ledger(), now_ms=0)))
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_a_digest_names_the_removals_too_that_wait_for_a_call(tmp_path: Path) -> None:
    place = TwoKeys(tmp_path)
    place.enroll_two([(1, "a@x.org", "+1"), (2, "b@x.org", "+2"), (3, "c@x.org", "+3")])
    place.removed()
    stays, found, digests = (3, "c@x.org", "+3"), [], []
    for people in ([(2, "a@x.org", "+3"), stays], [(2, "a@x.org", "+3")]):  # the same one call
        place.enroll_two(people)
        hands = place.two_hands()
        found.append(hands.compare(place.wish, place.ledger, now_ms=0))
        digests.append(hands.digest(found[-1]))
    assert found[0].calls == found[1].calls == {"add": 0, "update": 1, "remove": 0}
    assert [one.count("remove") for one in found] == [1, 2]
    assert digests[0] != digests[1]


def test_a_receipt_says_what_is_known_of_one_member(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.enroll({1: (1, "a"), 2: (2, "b")})
    place.run(refused=[1])
    with workspace(tmp_path, memory_mb=200) as db:
        sent = receipt(db, tmp_path, place.ledger.files, f"{1:032x}")
        refused = receipt(db, tmp_path, place.ledger.files, f"{2:032x}")
        assert receipt(db, tmp_path, place.ledger.files, f"{3:032x}") is None
    assert sent is not None
    assert (sent["state"], sent["payload"], sent["reason"]) == ("sent", '{"email":"p1@x.org","plan":"a"}', "")
    assert refused is not None
    assert (refused["state"], refused["payload"], refused["reason"]) == ("out", None, "no")


def test_exceptions_are_kept_in_few_files(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.enroll({})
    hands = place.hands()
    files: tuple[str, ...] = ()
    for row in range(40):
        files = hands.stage_exceptions([Exceptional(row, "refused", "no\n\u2028")], files)
        assert len(files) <= 17
    lines = [line for file in files for line in (tmp_path / file).read_text().split("\n") if line]
    assert sorted(json.loads(line)["row"] for line in lines) == list(range(40))
