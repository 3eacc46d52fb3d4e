"""Dates from one way of writing into another. A date is what its digits say: no time zone moves it."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Final

from reconciler.core.transforms.text import plain, trim

#: The way of writing that needs no pattern: a date or a time of ISO 8601.
ISO: Final = "iso8601"

#: A longer text is no date.
MAX_DATE: Final = 100

#: Dates of birth that are taken; earlier and later ones are mistakes.
FIRST_YEAR: Final = 1900
LAST_YEAR: Final = 2099

_DIGITS: Final = re.compile(r"\d+")
#: A date that no two fields of a pattern can mistake for each other.
_TRIAL: Final = datetime(2001, 2, 13, tzinfo=UTC)


def is_pattern(pattern: str) -> bool:
    """Whether a pattern says year, month and day, so that a date survives being written and read by it."""
    try:
        return read(_TRIAL.strftime(pattern), pattern) == _TRIAL.date()
    except ValueError:
        return False


def reformatted(value: str, pattern: str, out: str) -> str:
    """The date that `value` writes as `pattern` (strptime's, or `iso8601`), as `out`; nothing where it is none."""
    found = read(value, pattern)
    if found is None:
        return ""
    return found.isoformat() if out == ISO else found.strftime(out)


def read(value: str, pattern: str) -> date | None:
    text = trim(plain(value))
    if len(text) > MAX_DATE:
        return None
    try:
        moment = datetime.fromisoformat(text) if pattern == ISO else datetime.strptime(text, pattern)
    except (ValueError, OverflowError):
        return None
    return moment.date()


def birth_date(value: str) -> str:
    """`YYYYMMDD` of a date of birth, whose year has four digits; nothing where it is no date.

    Groups of digits are read as Meta's own library reads them: the year is the group that can be no day or month, the
    month comes before the day unless only the other order is a date. `date(…)` before this one says it for sure."""
    text = plain(value)[:MAX_DATE]
    groups = _DIGITS.findall(text)
    if len(groups) == 1 and len(groups[0]) == 8:
        return _born(int(groups[0][:4]), int(groups[0][4:6]), int(groups[0][6:]))
    if len(groups) < 3:
        return ""
    first, second, third = (int(group) for group in groups[:3])
    if first > 31:
        return _born(first, *_month_and_day(second, third))
    if second > 31:
        return _born(second, *_month_and_day(third, first))
    return _born(third, *_month_and_day(first, second))


def _month_and_day(one: int, other: int) -> tuple[int, int]:
    return (other, one) if one > 12 else (one, other)


def _born(year: int, month: int, day: int) -> str:
    if not FIRST_YEAR <= year <= LAST_YEAR:
        return ""
    try:
        return date(year, month, day).strftime("%Y%m%d")
    except ValueError:
        return ""
