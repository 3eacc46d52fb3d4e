"""When a job is due by its schedule, when it is tried again, and when it must be quiet.

Wall clocks are set forward and back. The rules here, the same for every schedule and window:

- A cron time that the clock skips (02:30 on the night it jumps from 02:00 to 03:00) comes as much later as the clock
  jumped: at 03:30. No daily run is lost.
- A cron time that the clock shows twice comes once, the first time. No daily run is doubled.
- A cron expression whose hour is `*` or `*/n` means "so often", not "at that hour": it goes on by real time through
  both, as Vixie cron does: every hour stays every hour.
- A window (quiet hours, a policy's window) runs from the first time the clock shows `from` to the last time it shows `to`.
  Where the clock skips one of them, that comes as much later as the clock jumped, as a cron time does.

`every` knows no clock: it counts real milliseconds since the last start. Where the wall clock has been set back behind
that start, it counts from now, so that a wrong clock never holds a job for longer than one interval.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final, assert_never

from reconciler.core.rules import AfterDependencies, Continuous, Cron, Every, JobRules, Once, Quiet, Retry
from reconciler.core.words import DAY_MS

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

#: The only nicknames of whole expressions that are taken.
CRON_NICKNAMES: Final = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")
#: A cron expression has minute, hour, day of month, month, day of week.
CRON_FIELDS: Final = 5
#: A cron expression may be this long.
CRON_LIMIT: Final = 200
_CRON_LETTERS: Final = frozenset("0123456789*,-/#?LABCDEFGHIJKLMNOPQRSTUVWXYZ ")
_EPOCH: Final = datetime(1970, 1, 1)
#: The least and the greatest number in each field, Sunday as 0 alone.
_RANGES: Final = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
_NUMBER: Final = re.compile("0|[1-9][0-9]?")
EVERY_MONTH_HAS: Final = 28


def cron_problem(expression: str) -> str:
    """What is wrong with a cron expression, as a sentence without its end; empty where nothing is.

    Five fields or a nickname. No seconds, and none of croniter's `R` and `H`, which mean another time on each reading.
    """
    if expression in CRON_NICKNAMES:
        return ""
    if expression.startswith("@"):
        return f"expected one of {', '.join(CRON_NICKNAMES)}, found '{expression[:CRON_LIMIT]}'"
    fields = expression.upper().split(" ")
    if len(expression) > CRON_LIMIT or len([one for one in fields if one]) != CRON_FIELDS:
        return "expected five fields: minute, hour, day of month, month, day of week"
    if not frozenset(expression.upper()) <= _CRON_LETTERS or any(one[:1] in ("R", "H") for one in fields):
        return "expected digits, names of days and months, and * , - / # in the fields"
    return "" if _is_plain_cron(expression.split()) else _croniter_problem(expression)


def _is_plain_cron(fields: list[str]) -> bool:
    """Whether these are five fields of `*`, `*/n` and lists of numbers and ranges, and some day of every month matches: what
    most are, for which nobody need load croniter."""
    days = _plain_values(fields[2], *_RANGES[2])
    rest = (_plain_values(one, low, high) for one, (low, high) in zip(fields, _RANGES, strict=True))
    return bool(days) and min(days) <= EVERY_MONTH_HAS and all(rest)


def _plain_values(field: str, low: int, high: int) -> list[int]:
    """The first of every part of a field; empty where it is not plain, or out of range."""
    if field == "*" or (field.startswith("*/") and _NUMBER.fullmatch(field[2:]) and 1 <= int(field[2:]) <= high):
        return [low]
    firsts = []
    for part in field.split(","):
        first, dash, last = part.partition("-")
        numbers = [first, last] if dash else [first]
        if not all(_NUMBER.fullmatch(one) and low <= int(one) <= high for one in numbers):
            return []
        if dash and int(first) >= int(last):
            return []
        firsts.append(int(first))
    return firsts


def _croniter_problem(expression: str) -> str:
    from croniter import CroniterError, croniter

    try:
        croniter(expression, _EPOCH).get_next(datetime)
    except (CroniterError, ValueError, KeyError, TypeError) as error:
        return f"no time matches it: {error}"
    return ""


def next_tick(rules: JobRules, last_start_ms: int | None, after_ms: int) -> int | None:
    """When the schedule next makes a run owed, wall time; not before `after_ms`, and for cron strictly after it.

    `every`: one interval after the last start, at once where there was none or where that has passed. None for the
    schedules that do not go by time, and for a cron expression that never comes again.
    """
    match rules.schedule:
        case Every(every_ms):
            if last_start_ms is None:
                return after_ms
            return min(max(last_start_ms + every_ms, after_ms), after_ms + every_ms)
        case Cron(expression, timezone):
            return _next_cron(expression, timezone, after_ms)
        case Once() | Continuous() | AfterDependencies():
            return None
        case _:
            assert_never(rules.schedule)


def backoff_ms(retry: Retry, errors: int, chance: float, *, fatal: bool = False) -> int:
    """The delay after so many errors in a row: `initial * factor ** (errors - 1)`, at most `max`, at once `max` where
    the error is fatal. Jitter spreads it evenly over its share to both sides, cut off at `max`."""
    try:
        grown = retry.initial_ms * float(retry.factor) ** max(errors - 1, 0)
    except OverflowError:
        grown = float(retry.max_ms)
    middle = retry.max_ms if fatal else min(grown, retry.max_ms)
    low, high = middle * (1 - retry.jitter), min(middle * (1 + retry.jitter), retry.max_ms)
    return round(low + (high - low) * chance)


# --- cron -----------------------------------------------------------------------------------------------------------


def _next_cron(expression: str, timezone: str, after_ms: int) -> int | None:
    from croniter import CroniterBadDateError

    zone = _zone(timezone)
    try:
        if _goes_by_real_time(expression):
            return _next_by_real_time(expression, zone, after_ms)
        return _next_by_wall_clock(expression, zone, after_ms)
    except (CroniterBadDateError, OverflowError):
        return None


def _goes_by_real_time(expression: str) -> bool:
    """Whether the hour is `*` or `*/n`: then the expression says how often, not at what hour."""
    hour = "*" if expression == "@hourly" else [*expression.split(), ""][1]
    return hour == "*" or hour.startswith("*/")


def _next_by_wall_clock(expression: str, zone: ZoneInfo, after_ms: int) -> int:
    """The first matching wall-clock time whose real time, by the rules above, is after `after_ms`. On the day after
    the clock was set forward the search begins by the old offset: a time that was skipped may still be to come."""
    offset_ms = min(_offset(zone, after_ms), _offset(zone, after_ms - DAY_MS))
    local = _EPOCH + timedelta(milliseconds=after_ms + offset_ms)
    while True:
        local = _next_match(expression, local)
        real_ms = _real(zone, local)
        if real_ms > after_ms:
            return real_ms


def _next_by_real_time(expression: str, zone: ZoneInfo, after_ms: int) -> int:
    """Matches under the offset that holds; where the next one lies beyond a change of clocks, the search begins anew
    at the change under the new offset."""
    held_ms, offset_ms = after_ms, _offset(zone, after_ms)
    while True:
        local = _EPOCH + timedelta(milliseconds=after_ms + offset_ms)
        found_ms = _to_ms(_next_match(expression, local)) - offset_ms
        if _offset(zone, found_ms) == offset_ms:
            return found_ms
        held_ms = _change_between(zone, held_ms, found_ms)
        after_ms, offset_ms = held_ms - 1, _offset(zone, held_ms)


def _change_between(zone: ZoneInfo, low_ms: int, high_ms: int) -> int:
    """The first millisecond at which the offset is no longer that of `low_ms`; it differs at `high_ms`."""
    before = _offset(zone, low_ms)
    while high_ms - low_ms > 1:
        middle = (low_ms + high_ms) // 2
        if _offset(zone, middle) == before:
            low_ms = middle
        else:
            high_ms = middle
    return high_ms


def _next_match(expression: str, after: datetime) -> datetime:
    """The first matching naive time strictly after `after`."""
    from croniter import croniter

    found: datetime = croniter(expression, after).get_next(datetime)
    return found


# --- quiet hours ----------------------------------------------------------------------------------------------------


def quiet_until(rules: JobRules, now_ms: int) -> int | None:
    """When the quiet window that `now_ms` lies in ends (runs may start at that moment again); None outside."""
    if rules.quiet is None:
        return None
    return next((end for _, begin, end in daily_windows(rules.quiet, now_ms) if begin <= now_ms < end), None)


def quiet_from(rules: JobRules, now_ms: int) -> int | None:
    """When the next quiet window begins, after `now_ms`; None without one."""
    if rules.quiet is None:
        return None
    return next((begin for _, begin, _ in daily_windows(rules.quiet, now_ms) if begin > now_ms), None)


def daily_windows(quiet: Quiet, now_ms: int) -> list[tuple[date, int, int]]:
    """The windows that begin from the day before yesterday to the day after tomorrow, in order: the day on which each begins,
    its begin and its end."""
    if quiet.from_minute == quiet.to_minute:
        return []
    zone = _zone(quiet.timezone)
    today = _local(zone, now_ms).date()
    days = [today + timedelta(days=days) for days in (-2, -1, 0, 1, 2)]
    return [(day, *_window(quiet, zone, day)) for day in days]


def _window(quiet: Quiet, zone: ZoneInfo, day: date) -> tuple[int, int]:
    next_day = quiet.to_minute <= quiet.from_minute
    begins = _at(day, quiet.from_minute)
    ends = _at(day + timedelta(days=1) if next_day else day, quiet.to_minute)
    return _real(zone, begins), max(_real(zone, ends), _real(zone, ends.replace(fold=1)))


def _at(day: date, minute: int) -> datetime:
    return datetime(day.year, day.month, day.day) + timedelta(minutes=minute)


# --- wall clocks ----------------------------------------------------------------------------------------------------


@lru_cache(maxsize=512)
def _zone(name: str) -> ZoneInfo:
    from zoneinfo import ZoneInfo

    return ZoneInfo(name)


def _local(zone: ZoneInfo, real_ms: int) -> datetime:
    """What the clock of `zone` shows, naive."""
    return datetime.fromtimestamp(real_ms / 1000, zone).replace(tzinfo=None, fold=0)


def _real(zone: ZoneInfo, local: datetime) -> int:
    """The real time at which the clock shows `local`: the first (the last with fold=1) where it does so twice; where it
    never does, as much later (earlier with fold=1) as the clock jumps (PEP 495)."""
    return round(local.replace(tzinfo=zone).timestamp() * 1000)


def _offset(zone: ZoneInfo, real_ms: int) -> int:
    offset = datetime.fromtimestamp(real_ms / 1000, UTC).astimezone(zone).utcoffset()
    return round(offset.total_seconds() * 1000) if offset else 0


def _to_ms(naive: datetime) -> int:
    return round((naive - _EPOCH) / timedelta(milliseconds=1))
