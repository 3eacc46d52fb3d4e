"""A Value is what a frozen dataclass is."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from reconciler.core.value import Value


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
