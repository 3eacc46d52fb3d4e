"""Ticks and quiet windows, on clocks that are set forward and back. Europe/Paris in 2026: forward on 29 March (02:00 is
03:00), back on 25 October (03:00 is 02:00)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.clock import iso
from reconciler.core.rules import AfterDependencies, Continuous, Cron, Every, JobRules, Once, Quiet
from reconciler.core.schedule import (
    _croniter_problem,
    _is_plain_cron,
    cron_problem,
    next_tick,
    quiet_from,
    quiet_until,
)
from reconciler.core.words import HOUR_MS, MINUTE_MS, listed, roughly, spelled

PARIS = "Europe/Paris"


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def ticks(expression: str, after: str, count: int, timezone: str = PARIS) -> list[str]:
    """The next ticks as local times with their offsets."""
    found, at = [], ms(after)
    for _ in range(count):
        tick = next_tick(JobRules(schedule=Cron(expression, timezone)), None, at)
        assert tick is not None
        assert tick > at
        at = tick
        found.append(datetime.fromtimestamp(at / 1000, ZoneInfo(timezone)).strftime("%d %H:%M%z"))
    return found


# --- every ----------------------------------------------------------------------------------------------------------


def test_every_is_due_at_once_then_an_interval_after_the_last_start() -> None:
    rules = JobRules(schedule=Every(HOUR_MS))
    assert next_tick(rules, None, 5_000) == 5_000
    assert next_tick(rules, 1_000, 5_000) == 1_000 + HOUR_MS
    assert next_tick(rules, 1_000, 1_000 + 7 * HOUR_MS) == 1_000 + 7 * HOUR_MS


def test_every_is_never_further_off_than_one_interval_even_if_the_clock_was_set_back() -> None:
    assert next_tick(JobRules(schedule=Every(HOUR_MS)), 10**12, 5_000) == 5_000 + HOUR_MS


@pytest.mark.parametrize("schedule", [Once(), Continuous(), AfterDependencies()])
def test_the_other_schedules_do_not_go_by_time(schedule: Once | Continuous | AfterDependencies) -> None:
    assert next_tick(JobRules(schedule=schedule), None, 0) is None


# --- cron -----------------------------------------------------------------------------------------------------------


def test_cron_goes_by_the_wall_clock_of_its_time_zone() -> None:
    assert ticks("0 3 * * *", "2026-01-10T12:00:00+00:00", 2) == ["11 03:00+0100", "12 03:00+0100"]
    assert ticks("0 3 * * *", "2026-07-10T12:00:00+00:00", 1) == ["11 03:00+0200"]
    assert ticks("30 9 * * mon-fri", "2026-07-10T12:00:00+00:00", 1, "Asia/Kolkata") == ["13 09:30+0530"]


def test_a_tick_comes_strictly_after_the_time_asked_about() -> None:
    assert ticks("0 3 * * *", "2026-01-10T03:00:00+01:00", 1) == ["11 03:00+0100"]
    assert ticks("0 3 * * *", "2026-01-10T02:59:59.999+01:00", 1) == ["10 03:00+0100"]


def test_a_time_that_the_clock_skips_comes_as_much_later_as_it_jumps() -> None:
    assert ticks("30 2 * * *", "2026-03-28T12:00:00+01:00", 2) == ["29 03:30+0200", "30 02:30+0200"]
    assert ticks("30 2 * * *", "2026-03-29T03:15:00+02:00", 1) == ["29 03:30+0200"]
    assert ticks("30 2 * * *", "2026-03-29T03:30:00+02:00", 1) == ["30 02:30+0200"]


def test_a_time_that_the_clock_shows_twice_comes_once() -> None:
    assert ticks("30 2 * * *", "2026-10-24T12:00:00+02:00", 2) == ["25 02:30+0200", "26 02:30+0100"]


def test_an_hourly_expression_stays_hourly_through_both_changes() -> None:
    assert ticks("0 * * * *", "2026-03-29T00:30:00+01:00", 3) == ["29 01:00+0100", "29 03:00+0200", "29 04:00+0200"]
    assert ticks("0 * * * *", "2026-10-25T01:30:00+02:00", 3) == ["25 02:00+0200", "25 02:00+0100", "25 03:00+0100"]
    assert ticks("@hourly", "2026-10-25T01:30:00+02:00", 2) == ["25 02:00+0200", "25 02:00+0100"]
    assert ticks("*/30 */1 * * *", "2026-10-25T02:10:00+02:00", 4) == [
        "25 02:30+0200",
        "25 02:00+0100",
        "25 02:30+0100",
        "25 03:00+0100",
    ]


def test_a_zone_whose_clock_moves_by_half_an_hour_is_kept_too() -> None:
    assert ticks("0 * * * *", "2026-10-04T00:30:00+10:30", 3, "Australia/Lord_Howe") == [
        "04 01:00+1030",
        "04 03:00+1100",
        "04 04:00+1100",
    ]
    assert ticks("15 2 * * *", "2026-10-03T12:00:00+10:30", 1, "Australia/Lord_Howe") == ["04 02:45+1100"]


def test_a_cron_expression_that_never_comes_has_no_tick() -> None:
    assert next_tick(JobRules(schedule=Cron("0 0 30 2 *")), None, 0) is None


@given(
    st.one_of(
        st.integers(ms("2026-01-01T00:00:00+00:00"), ms("2027-12-31T00:00:00+00:00")),
        st.sampled_from(["2026-03-29T01:00+00:00", "2026-10-25T01:00+00:00", "2026-03-08T07:00+00:00"]).flatmap(
            lambda change: st.integers(ms(change) - 3 * HOUR_MS, ms(change) + 3 * HOUR_MS)
        ),
    ),
    st.sampled_from(["0 3 * * *", "30 2 * * *", "*/20 * * * *", "15 */6 * * *", "0 0 1 * *", "5 2 * * sun"]),
    st.sampled_from(["UTC", PARIS, "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo"]),
)
def test_ticks_move_forward_and_asking_later_skips_none(after: int, expression: str, timezone: str) -> None:
    rules = JobRules(schedule=Cron(expression, timezone))
    first = next_tick(rules, None, after)
    assert first is not None
    assert first > after
    assert next_tick(rules, None, first - 1) == first
    assert next_tick(rules, None, (after + first) // 2) == first


@given(st.integers(0, 730), st.sampled_from([PARIS, "America/New_York", "Asia/Tokyo"]), st.integers(0, 23))
def test_a_daily_expression_ticks_once_a_local_day(day: int, timezone: str, hour: int) -> None:
    zone = ZoneInfo(timezone)
    midnight = datetime(2026, 1, 1, tzinfo=zone) + timedelta(days=day)
    at, days = round(midnight.timestamp() * 1000) - 1, []
    for _ in range(3):
        tick = next_tick(JobRules(schedule=Cron(f"30 {hour} * * *", timezone)), None, at)
        assert tick is not None
        at = tick
        days.append(datetime.fromtimestamp(at / 1000, zone).date())
    assert days == [(midnight + timedelta(days=more)).date() for more in range(3)]


@pytest.mark.parametrize("good", ["0 3 * * *", "*/5 8-18 * * 1-5", "@daily", "0 0 1,15 jan,jul MON#1", "0 0 L * *"])
def test_five_fields_and_nicknames_are_cron(good: str) -> None:
    assert cron_problem(good) == ""


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("", "expected five fields: minute, hour, day of month, month, day of week"),
        ("* * * *", "expected five fields: minute, hour, day of month, month, day of week"),
        ("* * * * * *", "expected five fields: minute, hour, day of month, month, day of week"),
        ("0" * 300 + " * * * *", "expected five fields: minute, hour, day of month, month, day of week"),
        ("@reboot", "expected one of @hourly, @daily"),
        ("R 3 * * *", "expected digits, names of days and months, and * , - / # in the fields"),
        ("H 3 * * *", "expected digits, names of days and months, and * , - / # in the fields"),
        ("0\n3 * * * *", "expected"),
        ("61 * * * *", "no time matches it: "),
        ("0 0 30 2 *", "no time matches it: failed to find next date"),
        ("0 0 * * fun", "no time matches it: "),
    ],
)
def test_what_is_not_cron_is_said_in_a_sentence(bad: str, says: str) -> None:
    assert cron_problem(bad).startswith(says)


def _near(low: int, high: int) -> st.SearchStrategy[str]:
    """Fields that are plain cron, or nearly so."""
    number = st.integers(max(0, low - 1), high + 1).map(str)
    part = st.one_of(number, st.tuples(number, number).map("-".join), st.just("*"))
    lists = st.lists(part, min_size=1, max_size=3).map(",".join)
    return st.one_of(st.just("*"), number, lists, st.tuples(st.just("*"), number).map("/".join))


@given(st.tuples(_near(0, 59), _near(0, 23), _near(1, 31), _near(1, 12), _near(0, 6)))
def test_of_what_is_plainly_cron_croniter_says_so_too(fields: tuple[str, ...]) -> None:
    if _is_plain_cron(list(fields)):
        assert _croniter_problem(" ".join(fields)) == ""


@pytest.mark.parametrize(
    ("expression", "plain"),
    [
        ("0 3 1 1 *", True),
        ("*/5 0,12 1-15 * 1-5", True),
        ("0 0 31 * *", False),  # not in every month; croniter is asked
        ("0 0 30 2 *", False),
        ("0 0 * * 7", False),
        ("05 0 * * *", False),
        ("0 0 L * *", False),
        ("0-59/5 * * * *", False),
    ],
)
def test_croniter_is_asked_where_an_expression_is_not_plain(expression: str, plain: bool) -> None:
    assert _is_plain_cron(expression.split()) is plain


@given(st.text(alphabet="0123456789*,-/#?LWRHmonjan @\n\t", max_size=30))
def test_what_cron_problem_accepts_never_fails_later(text: str) -> None:
    if cron_problem(text) == "":
        next_tick(JobRules(schedule=Cron(text, PARIS)), None, ms("2026-03-28T12:00:00+01:00"))


# --- quiet hours ----------------------------------------------------------------------------------------------------

NIGHT = JobRules(quiet=Quiet(22 * 60, 6 * 60, PARIS))


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("2026-01-10T21:59:59.999+01:00", None),
        ("2026-01-10T22:00:00+01:00", "2026-01-11T06:00:00+01:00"),
        ("2026-01-11T00:30:00+01:00", "2026-01-11T06:00:00+01:00"),
        ("2026-01-11T05:59:59.999+01:00", "2026-01-11T06:00:00+01:00"),
        ("2026-01-11T06:00:00+01:00", None),
        ("2026-03-28T23:00:00+01:00", "2026-03-29T06:00:00+02:00"),
        ("2026-10-24T23:00:00+02:00", "2026-10-25T06:00:00+01:00"),
    ],
)
def test_a_window_across_midnight_holds_by_its_own_clock(now: str, until: str | None) -> None:
    assert quiet_until(NIGHT, ms(now)) == (None if until is None else ms(until))


def test_a_window_within_a_day_holds_on_that_day() -> None:
    rules = JobRules(quiet=Quiet(12 * 60, 13 * 60, "America/New_York"))
    assert quiet_until(rules, ms("2026-07-01T12:30:00-04:00")) == ms("2026-07-01T13:00:00-04:00")
    assert quiet_until(rules, ms("2026-07-01T13:30:00-04:00")) is None


def test_no_window_and_an_empty_one_are_never_quiet() -> None:
    for rules in (JobRules(), JobRules(quiet=Quiet(60, 60, PARIS))):
        assert quiet_until(rules, ms("2026-07-01T01:00:00+02:00")) is None
        assert quiet_from(rules, ms("2026-07-01T01:00:00+02:00")) is None


def test_a_window_ends_the_last_time_the_clock_shows_its_end_and_a_skipped_end_comes_later() -> None:
    ends = JobRules(quiet=Quiet(22 * 60, 2 * 60 + 30, PARIS))
    assert iso(quiet_until(ends, ms("2026-10-25T01:00:00+02:00")) or 0) == "2026-10-25T01:30:00.000Z"
    assert quiet_until(ends, ms("2026-03-29T01:00:00+01:00")) == ms("2026-03-29T03:30:00+02:00")


def test_a_window_begins_the_first_time_the_clock_shows_its_begin_and_a_skipped_begin_comes_later() -> None:
    begins = JobRules(quiet=Quiet(2 * 60 + 30, 5 * 60, PARIS))
    assert quiet_from(begins, ms("2026-03-29T00:00:00+01:00")) == ms("2026-03-29T03:30:00+02:00")
    assert quiet_until(begins, ms("2026-03-29T01:45:00+01:00")) is None, "not the hour before"
    assert quiet_until(begins, ms("2026-03-29T03:30:00+02:00")) == ms("2026-03-29T05:00:00+02:00")
    assert quiet_from(begins, ms("2026-10-25T00:00:00+02:00")) == ms("2026-10-25T02:30:00+02:00")
    assert quiet_until(begins, ms("2026-10-25T02:45:00+01:00")) == ms("2026-10-25T05:00:00+01:00")


def test_a_window_that_the_clock_skips_whole_is_as_long_as_ever() -> None:
    skipped = JobRules(quiet=Quiet(2 * 60 + 10, 2 * 60 + 50, PARIS))
    assert quiet_from(skipped, ms("2026-03-29T00:00:00+01:00")) == ms("2026-03-29T03:10:00+02:00")
    assert quiet_until(skipped, ms("2026-03-29T03:10:00+02:00")) == ms("2026-03-29T03:50:00+02:00")


def test_the_next_window_begins_after_now() -> None:
    assert quiet_from(NIGHT, ms("2026-01-10T12:00:00+01:00")) == ms("2026-01-10T22:00:00+01:00")
    assert quiet_from(NIGHT, ms("2026-01-10T22:00:00+01:00")) == ms("2026-01-11T22:00:00+01:00")


@given(
    st.integers(ms("2026-01-01T00:00:00+00:00"), ms("2027-12-31T00:00:00+00:00")),
    st.integers(0, 1439),
    st.integers(0, 1439),
    st.sampled_from(["UTC", PARIS, "America/New_York", "Australia/Lord_Howe"]),
)
def test_it_is_quiet_whenever_the_clock_shows_a_time_inside(now: int, begins: int, ends: int, zone: str) -> None:
    rules = JobRules(quiet=Quiet(begins, ends, zone))
    local = datetime.fromtimestamp(now / 1000, UTC).astimezone(ZoneInfo(zone))
    minute = local.hour * 60 + local.minute
    inside = begins <= minute < ends if begins < ends else (begins != ends and (minute >= begins or minute < ends))
    until = quiet_until(rules, now)
    if inside:
        assert until is not None
    if until is not None:
        assert now < until <= now + 26 * HOUR_MS
        assert quiet_until(rules, until) is None


# --- words ----------------------------------------------------------------------------------------------------------


def test_lengths_and_lists_read_well() -> None:
    assert [roughly(one) for one in (0, 999, 30_000, 119_000, 42 * MINUTE_MS, 3 * HOUR_MS, 90 * 24 * HOUR_MS)] == [
        "a moment",
        "a moment",
        "30 s",
        "119 s",
        "42 min",
        "3 h",
        "90 days",
    ]
    assert [spelled(one) for one in (0, 1, 90 * MINUTE_MS, 25 * HOUR_MS)] == ["0s", "1ms", "1h30m", "1d1h"]
    assert [listed(one) for one in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]
