"""Times on the command line: UTC everywhere, as in statuses and logs, so that they can be compared by eye."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

from reconciler.clock import iso
from reconciler.core.duration import BadDuration, parse_duration
from reconciler.errors import UsageError


def iso_or_none(wall_ms: int | None) -> str | None:
    return None if wall_ms is None else iso(wall_ms)


def day_time(text: str | None) -> str:
    """`2026-11-21 10:00Z` of an ISO time, `-` of none."""
    return "-" if text is None else f"{text[:10]} {text[11:16]}Z"


def brief_time(text: str | None, now: str) -> str:
    """The same in 12 characters: `11-21 10:00Z` in the year of `now`, the day alone (`2025-11-21`) in any other."""
    whole = day_time(text)
    return whole[5:] if whole[:4] == now[:4] else whole[:10]


def time_of_day(wall_ms: int) -> str:
    """`10:00:00`."""
    return iso(wall_ms)[11:19]


def clock_length(length_ms: int) -> str:
    """`0:42` or `1:02:03`: how long something has been going on."""
    minutes, seconds = divmod(max(0, length_ms) // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def since(text: str, now_ms: int) -> int:
    """The wall time of `--since`: a duration before now (`1h30m`) or an ISO time; UTC where it names no offset. Raises
    UsageError."""
    with suppress(BadDuration):
        return now_ms - parse_duration(text)
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return int(moment.timestamp() * 1000)
    except (ValueError, OverflowError):
        raise UsageError(
            f"--since: expected a duration (1h30m) or a time (2026-11-21T10:00:00Z), found '{text}'"
        ) from None
