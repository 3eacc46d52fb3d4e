"""Which name a mistyped word means."""

from __future__ import annotations

import pytest

from reconciler.core.suggest import MAX_WORD, Names, closest, distance

FIELDS = ["schedule", "suspend", "rerun", "restart", "retry", "jobType", "provider", "timeout"]


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("shedule", "schedule"),
        ("scheduel", "schedule"),
        ("job_type", "jobType"),
        ("JOBTYPE", "jobType"),
        ("retyr", "retry"),
        ("timeOut", "timeout"),
        ("colour", None),
        ("x", None),
        ("", None),
        ("schedule" * 20, None),
    ],
)
def test_the_closest_name_is_suggested_where_it_is_close(word: str, name: str | None) -> None:
    assert closest(word, FIELDS) == name


def test_swapped_neighbours_are_one_edit() -> None:
    assert distance("retyr", "retry", 3) == 1


def test_a_distance_beyond_the_limit_is_not_worked_out() -> None:
    assert distance("a" * 50, "b" * 50, 2) == 3
    assert distance("short", "much longer", 2) == 3


def test_the_first_of_equally_close_names_in_sorted_order_is_suggested() -> None:
    assert closest("cat", ["hat", "bat"]) == "bat"


def test_among_very_many_names_a_neighbour_by_beginning_or_end_is_found() -> None:
    names = Names(f"import-{index:06}-orders" for index in range(100_000))
    assert names.did_you_mean("import-004242-order") == "; did you mean 'import-004242-orders'?"
    assert names.did_you_mean("mport-004242-orders") == "; did you mean 'import-004242-orders'?"
    assert names.did_you_mean("nothing-like-it") == ""
    assert names.did_you_mean("i" * (MAX_WORD + 1)) == ""


def test_a_name_of_one_letter_is_not_another_letter() -> None:
    assert closest("t", ["a", "b"]) is None
    assert closest("t", ["a", "T"]) == "T"
