"""`reconcile metrics`: what a job has moved over time, drawn in the terminal, as JSON, or as a chart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from reconciler.cli.lookup import find_job, reading
from reconciler.cli.options import Call, command, output_option
from reconciler.cli.terminal import Terminal, escape
from reconciler.cli.times import since as since_ms
from reconciler.clock import Clock, iso
from reconciler.core.chart import moment, svg
from reconciler.core.metrics import (
    LENGTH_MS,
    MEASURES,
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
from reconciler.core.value import dataclass
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.record.jobs import JobRow
    from reconciler.record.store import Record

#: Lines of one panel of bars.
HEIGHT: Final = 5
#: Cells of one bar at most, and the least number of bars that a terminal is given.
WIDEST_BAR: Final = 4
FEWEST_BARS: Final = 8
#: Days of the line in `show`.
RECENT_DAYS: Final = 30
_COLOURS: Final = {"rows": "cyan", "added": "green", "removed": "red", "omitted": "yellow"}
_KEPT: Final = {Grain.MINUTE: "minutes are kept for 2 days", Grain.HOUR: "hours are kept for 60 days"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The sums of one job, one point for each minute, hour or day from `first_ms` to now."""

    name: str
    grain: Grain
    first_ms: int
    last_ms: int
    points: Sequence[Point]


@command(
    "metrics",
    click.Argument(["name"]),
    click.Option(
        ["--since"],
        metavar="WHEN",
        default="30d",
        show_default=True,
        help="Since a duration ago (1h30m) or a time (ISO).",
    ),
    click.Option(
        ["--grain"],
        type=click.Choice([grain.value for grain in Grain]),
        help="How long a bar is.  [default: as fits --since]",
    ),
    output_option("text", "json", "svg"),
)
def metrics(call: Call, name: str, since: str, grain: str | None, output: str) -> None:
    """Show what a job has moved over time.

    Rows, added, removed and omitted, by minute up to 3 hours, by hour up to 4 days, else by day; days are those of UTC.
    Minutes are kept for 2 days, hours for 60 days, days for ever. `-o svg` prints a chart.
    """
    now_ms = Clock().now().wall_ms
    begin_ms = since_ms(since, now_ms)
    if begin_ms > now_ms:
        raise UsageError(f"--since: '{since}' lies ahead")
    wanted = grain_for(now_ms - begin_ms) if grain is None else Grain(grain)
    with reading(call) as record:
        series = series_of(record, find_job(call, record, name), wanted, begin_ms, now_ms)
    if grain is not None and begin_ms < (earliest(now_ms, wanted) or begin_ms):
        call.terminal.warn(f"{_KEPT[wanted]}: shown from {moment(series.first_ms, wanted)} on.")
    match output:
        case "json":
            call.terminal.json(series_json(series))
        case "svg":
            call.terminal.print(svg(series.name, series.grain, series.points))
        case _:
            _draw(call.terminal, series)


def series_of(record: Record, job: JobRow, grain: Grain, since_ms: int, now_ms: int) -> Series:
    """From `since_ms` on, or from when there is anything to know: the job's first day, the oldest minute that is kept."""
    points = record.metrics.points(job.id, grain, max(since_ms, earliest(now_ms, grain) or 0))
    born_ms = min(job.created_ms, points[0].start_ms if points else now_ms)
    first_ms = min(now_ms, max(since_ms, earliest(now_ms, grain) or 0, born_ms))
    return Series(
        name=job.name,
        grain=grain,
        first_ms=start_of(first_ms, grain),
        last_ms=now_ms,
        points=filled(points, grain, first_ms, now_ms),
    )


def series_json(series: Series) -> dict[str, object]:
    """Fields are added, never changed."""
    return {
        "name": series.name,
        "grain": str(series.grain),
        "since": iso(series.first_ms),
        "until": iso(series.last_ms),
        "totals": totals(series.points),
        "points": [
            {"time": iso(point.start_ms), **{measure: point.of(measure) for measure in MEASURES}}
            for point in series.points
        ],
    }


def recent_line(record: Record, job: JobRow, now_ms: int, width: int) -> str:
    """The rows of the last days as bars in one line; empty where there were none."""
    since = now_ms - (RECENT_DAYS - 1) * LENGTH_MS[Grain.DAY]
    points = filled(record.metrics.points(job.id, Grain.DAY, since), Grain.DAY, since, now_ms)
    values = [point.rows or point.added + point.removed for point in points]
    return sparkline(values, width) if any(values) else ""


def _draw(terminal: Terminal, series: Series) -> None:
    sums = totals(series.points)
    since = moment(series.first_ms, series.grain)
    terminal.print(f"{terminal.paint(escape(series.name), 'bold')}  by {series.grain} since {since}")
    if not any(sums.values()):
        terminal.print(f"Nothing was moved since {since}.")
    room = max(FEWEST_BARS, terminal.width - max(len(f"{total:,}") for total in sums.values()) - 1)
    panels = {measure: _squeezed(series, measure, room) for measure in MEASURES if sums[measure]}
    margin = max((len(f"{max(bars):,}") for bars, _ in panels.values()), default=0)
    for measure, (bars, size) in panels.items():
        span = f"{size} {series.grain}s" if size > 1 else f"one {series.grain}"
        terminal.print()
        terminal.print(f"{measure}: {sums[measure]:,} in all, at most {max(bars):,} in {span}")
        _draw_bars(terminal, series, bars, margin, _COLOURS[measure])


def _squeezed(series: Series, measure: str, room: int) -> tuple[list[int], int]:
    """The bars of a measure; where there are more of them than columns, neighbours are put together, how many is said."""
    return squeezed([point.of(measure) for point in series.points], room)


def _draw_bars(terminal: Terminal, series: Series, bars: Sequence[int], margin: int, colour: str) -> None:
    wide = max(1, min(WIDEST_BAR, (terminal.width - margin - 1) // max(1, len(bars))))
    for row, line in enumerate(columns(bars, HEIGHT)):
        label = f"{max(bars):,}" if row == 0 else "0" if row == HEIGHT - 1 else ""
        drawn = "".join(_bar(cell, wide) for cell in line).rstrip()
        terminal.print(f"{label:>{margin}} {terminal.paint(drawn, colour) if drawn else ''}".rstrip())
    terminal.print(f"{'':>{margin}} {_times(series, wide * len(bars))}")


def _bar(cell: str, wide: int) -> str:
    """A bar with a gap beside it where there is room for one."""
    return cell if wide == 1 else cell * (wide - 1) + " "


def _times(series: Series, width: int) -> str:
    first, last = moment(series.first_ms, series.grain), moment(series.points[-1].start_ms, series.grain)
    gap = width - len(first) - len(last)
    return f"{first}{' ' * gap}{last}" if gap > 0 else first
