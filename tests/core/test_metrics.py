"""Series of what was moved: their grain, their gaps, and how they become bars."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.clock import milliseconds
from reconciler.core.metrics import (
    DAY_MS,
    HOUR_MS,
    LENGTH_MS,
    MINUTE_MS,
    Grain,
    Point,
    columns,
    earliest,
    filled,
    grain_for,
    sparkline,
    squeezed,
    start_of,
    totals,
)

NOW_MS = milliseconds("2026-11-20T09:30:15.000Z")


@pytest.mark.parametrize(
    ("length_ms", "grain"),
    [
        (MINUTE_MS, Grain.MINUTE),
        (3 * HOUR_MS, Grain.MINUTE),
        (3 * HOUR_MS + 1, Grain.HOUR),
        (4 * DAY_MS, Grain.HOUR),
        (4 * DAY_MS + 1, Grain.DAY),
        (3_650 * DAY_MS, Grain.DAY),
    ],
)
def test_a_length_of_time_is_shown_in_the_finest_grain_that_can_be_read(length_ms: int, grain: Grain) -> None:
    assert grain_for(length_ms) is grain


def test_minutes_hours_and_days_begin_on_the_clock_of_utc() -> None:
    assert start_of(NOW_MS, Grain.MINUTE) == milliseconds("2026-11-20T09:30:00.000Z")
    assert start_of(NOW_MS, Grain.HOUR) == milliseconds("2026-11-20T09:00:00.000Z")
    assert start_of(NOW_MS, Grain.DAY) == milliseconds("2026-11-20T00:00:00.000Z")


def test_minutes_are_kept_for_2_days_hours_for_60_and_days_for_ever() -> None:
    assert earliest(NOW_MS, Grain.MINUTE) == milliseconds("2026-11-18T09:30:00.000Z")
    assert earliest(NOW_MS, Grain.HOUR) == milliseconds("2026-09-21T09:00:00.000Z")
    assert earliest(NOW_MS, Grain.DAY) is None


def test_a_series_has_a_point_for_every_moment_from_the_first_to_the_last() -> None:
    known = Point(start_ms=milliseconds("2026-11-20T08:00:00.000Z"), rows=5)
    series = filled([known], Grain.HOUR, NOW_MS - 2 * HOUR_MS, NOW_MS)
    assert [point.start_ms for point in series] == [start_of(NOW_MS, Grain.HOUR) - n * HOUR_MS for n in (2, 1, 0)]
    assert [point.rows for point in series] == [0, 5, 0]
    assert totals(series) == {"rows": 5, "added": 0, "removed": 0, "omitted": 0}


@given(
    moments=st.lists(st.integers(0, 200 * MINUTE_MS), max_size=20),
    grain=st.sampled_from(Grain),
    length=st.integers(0, 200 * MINUTE_MS),
)
@settings(max_examples=50)
def test_filling_keeps_every_sum_that_lies_within(moments: list[int], grain: Grain, length: int) -> None:
    points = {start_of(moment, grain): Point(start_ms=start_of(moment, grain), rows=1) for moment in moments}
    series = filled(points.values(), grain, 0, length)
    assert sum(point.rows for point in series) == sum(start <= length for start in points)
    assert all(later.start_ms - one.start_ms == LENGTH_MS[grain] for one, later in pairwise(series))


@given(st.lists(st.integers(0, 10**12), max_size=200), st.integers(1, 120))
@settings(max_examples=100)
def test_squeezing_fits_the_width_and_loses_nothing(values: list[int], most: int) -> None:
    found, size = squeezed(values, most)
    assert len(found) <= most
    assert sum(found) == sum(values)
    if size > 1 and found:
        assert found[-1] == sum(values[-size:])  # the newest is whole


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=60), st.integers(1, 8))
@settings(max_examples=100)
def test_bars_are_as_wide_and_high_as_asked_and_show_whatever_is_not_zero(values: list[int], height: int) -> None:
    drawn = columns(values, height)
    assert [len(line) for line in drawn] == [len(values)] * height
    for value, cell in zip(values, drawn[-1], strict=True):
        assert (cell != " ") == (value > 0)
    if max(values):
        assert drawn[0][values.index(max(values))] == "█"


def test_bars_look_like_this() -> None:
    assert columns([0, 1, 8, 16], 2) == ["   █", " ▁██"]
    assert sparkline([1, 2, 3, 4, 5, 6, 7, 8], 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([1, 1, 2, 2], 2) == "▄█"
    assert columns([], 1) == [""]
