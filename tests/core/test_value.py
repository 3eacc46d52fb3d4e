"""A Value is what a frozen dataclass is, and `dataclass` makes what the standard one makes."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, field, fields, replace
from typing import Any

import pytest

from reconciler.core.value import Value, dataclass


class Move(Value):
    name: str
    steps: int = 1


class Jump(Value):
    name: str
    steps: int = 1


class Stay(Value):
    """No fields."""


def test_fields_come_by_place_by_name_or_by_default() -> None:
    assert Move("a", 2) == Move(name="a", steps=2)
    assert Move("a") == Move("a", 1)
    assert (Move("a").name, Move("a").steps) == ("a", 1)
    assert repr(Move("a")) == "Move(name='a', steps=1)"


def test_values_of_other_classes_or_with_other_fields_differ() -> None:
    assert Move("a") != Jump("a")
    assert Move("a") != Move("b")
    assert Stay() == Stay()
    assert len({Move("a"), Move("a"), Jump("a"), Stay(), Stay()}) == 3


def test_patterns_match_by_place_and_by_name() -> None:
    match Move("a", 3):
        case Jump():
            pytest.fail("a Move is no Jump")
        case Move(name, steps=steps):
            assert (name, steps) == ("a", 3)


@pytest.mark.parametrize(
    ("values", "named", "message"),
    [
        ((), {}, "Move needs 'name'"),
        (("a", 1, 2), {}, "Move takes 2 values, 3 were given"),
        (("a",), {"name": "b"}, "Move has no field 'name', or it was given before"),
        (("a",), {"colour": "red"}, "Move has no field 'colour', or it was given before"),
    ],
)
def test_what_does_not_fit_is_refused(values: tuple[object, ...], named: dict[str, object], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Move(*values, **named)  # type: ignore[arg-type]


def test_nothing_of_it_is_changed() -> None:
    value = Move("a")
    with pytest.raises(FrozenInstanceError, match="name"):
        value.name = "b"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError, match="steps"):
        del value.steps


# --- dataclass --------------------------------------------------------------------------------------------------------


def both(**options: Any) -> list[type]:
    """The same class by the standard decorator, and by ours."""

    def declare(decorate: Callable[..., Any]) -> type:
        @decorate(**options)
        class Trip:
            name: str
            steps: int = 1
            tags: dict[str, int] = field(default_factory=dict, hash=False, compare=False)
            hidden: str = field(default="", repr=False)

        made: type = Trip
        return made

    return [declare(dataclasses.dataclass), declare(dataclass)]


OPTIONS: list[dict[str, Any]] = [
    {"frozen": True}, {"frozen": True, "slots": True}, {"frozen": True, "slots": True, "kw_only": True}, {"slots": True},
    {"frozen": True, "order": True}, {"frozen": True, "eq": False}, {},
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS)
def test_a_class_behaves_as_one_of_the_standard_library(options: dict[str, Any]) -> None:
    said = []
    for made in both(**options):
        one, same, other = made(name="a", tags={"x": 1}), made(name="a"), made(name="b")
        hashes = made.__hash__ is not None
        said.append(
            [
                one == same, one == other, one != other, one == ("a", 1, ""), repr(one), replace(one, steps=2).steps,
                [each.name for each in fields(one)], getattr(made, "__slots__", None), made.__match_args__, hashes,
                hashes and hash(one) == hash(same),
            ]
        )  # fmt: skip
    assert said[0] == said[1]


def test_a_frozen_class_takes_no_change_and_keeps_what_it_defines_itself() -> None:
    @dataclass(frozen=True, slots=True)
    class Named:
        name: str
        steps: int

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Named) and self.name == other.name

        def __hash__(self) -> int:
            return hash(self.name)

    with pytest.raises(FrozenInstanceError, match="name"):
        Named("a", 1).name = "b"  # type: ignore[misc]
    assert Named("a", 1) == Named("a", 2)
    assert hash(Named("a", 1)) == hash(Named("a", 2))
    assert repr(Named("a", 1)).endswith("Named(name='a', steps=1)")


def test_one_field_and_none_are_compared_too() -> None:
    @dataclass(frozen=True)
    class One:
        name: str

    @dataclass(frozen=True)
    class Nothing:
        pass

    assert One("a") == One("a") != One("b")
    assert Nothing() == Nothing()
    assert len({One("a"), One("a"), Nothing(), Nothing()}) == 2


@dataclass(frozen=True, slots=True)
class Trip:
    name: str
    steps: int = 1
    tags: list[str] = field(default_factory=list, kw_only=True)
    rank: int = field(default=7, init=False)


@dataclass(frozen=True)
class Checked:
    name: str

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("no name")


def test_what_makes_a_value_is_written_when_the_first_is_made_and_takes_what_the_standard_one_takes() -> None:
    assert [Trip("a").steps, Trip("a", 2).steps, Trip(name="a", tags=["x"]).tags, Trip("a").rank] == [1, 2, ["x"], 7]
    assert Trip("a").tags is not Trip("b").tags
    assert list(inspect.signature(Trip).parameters) == ["name", "steps", "tags"]
    with pytest.raises(TypeError, match=r"Trip.__init__\(\) missing 1 required positional argument: 'name'"):
        Trip()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="takes from 2 to 3 positional arguments but 4 were given"):
        Trip("a", 1, ["x"])  # type: ignore[misc]
    with pytest.raises(ValueError, match="no name"):
        Checked("")


def test_the_signature_of_a_class_of_which_nothing_was_made_is_known_and_its_heirs_are_made_too() -> None:
    @dataclass(frozen=True)
    class Base:
        name: str

    @dataclass(frozen=True)
    class Heir(Base):
        steps: int = 1

    class Undecorated(Base):
        pass

    assert list(inspect.signature(Base).parameters) == ["name"]
    assert Heir("a").steps == 1
    assert Undecorated("a").name == "a"


def test_a_copy_and_what_comes_out_of_a_pickle_are_equal_and_frozen() -> None:
    value = Trip("a", 2, tags=["x"])
    for one in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert one == value
        with pytest.raises(FrozenInstanceError, match="cannot assign to field 'name'"):
            one.name = "b"
        with pytest.raises(FrozenInstanceError, match="cannot delete field 'name'"):
            del one.name
