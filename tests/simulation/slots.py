"""When a cron schedule's times are, worked out by looking at every minute of the wall clock: slowly, and unlike the product."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

MINUTE_MS = 60_000
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


class Slots:
    """The times of the few kinds of expressions that worlds use: `M H * * *`, `M H * * day` and `M H D * *`."""

    #: A clock that is set by more than this was wrong, and what was done by it counts for nothing.
    WRONG_MS = 3 * 3_600_000

    def latest(self, expression: str, timezone: str, wall_ms: int) -> int:
        """The last time of the schedule that is not after this one."""
        return _latest(expression, timezone, wall_ms // MINUTE_MS)


@lru_cache(maxsize=10_000)
def _latest(expression: str, timezone: str, minute: int) -> int:
    zone = ZoneInfo(timezone)
    at = datetime.fromtimestamp(minute * 60, UTC)
    day = at.astimezone(zone).date() + timedelta(days=1)
    while True:
        found = _real(expression, zone, datetime(day.year, day.month, day.day))
        if found is not None and found <= at:
            return round(found.timestamp() * 1000)
        day -= timedelta(days=1)


def _real(expression: str, zone: ZoneInfo, day: datetime) -> datetime | None:
    """The moment of that day at which the schedule comes, if it does: what the clock skips comes as much later, what it
    shows twice comes the first time (PEP 495, fold=0, is both)."""
    minute, hour, of_month, _, of_week = expression.split()
    if of_month != "*" and int(of_month) != day.day:
        return None
    if of_week != "*" and DAYS.index(of_week.lower()) != (day.weekday() + 1) % 7:
        return None
    local = day.replace(hour=int(hour), minute=int(minute), tzinfo=zone)
    return local.astimezone(UTC)
