"""What a pass looks like on a terminal: a row for each run that is at work, the events above them.

rich draws; it is imported here and nowhere else, and only once there is something to show: what runs take is begun before that,
and as a fork, which a thread that draws would forbid. Whatever goes wrong with the drawing ends the drawing, never the pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from reconciler.cli.events import COUNTS, pass_line
from reconciler.cli.options import Call
from reconciler.cli.problems import problem_line, seen_from_here
from reconciler.cli.pruning import blocked_lines
from reconciler.cli.terminal import escape
from reconciler.cli.times import clock_length
from reconciler.clock import Clock

if TYPE_CHECKING:
    from rich.live import Live as Screen
    from rich.table import Table

    from reconciler.core.prune import Pruning
    from reconciler.errors import Problem
    from reconciler.record.events import Event

#: Rows of runs that are shown at a time.
ROWS: Final = 12
#: Events after which a run is not at work.
ENDS: Final = ("Error", "Sleeping", "Failed", "Completed", "Interrupted")
#: Drawings a second.
REFRESH: Final = 4


@dataclass(slots=True)
class Row:
    """A run at work."""

    job: str
    rows: int
    started_ms: int
    now_ms: int


class Live:
    """A listener and the context in which it draws."""

    def __init__(self, call: Call) -> None:
        terminal = call.terminal
        self._call = call
        self._terminal = terminal
        self._runs: dict[int, Row] = {}
        self._synced: dict[int, Event] = {}  # the units of a run so far, as one; `-v` shows each
        self._clock = Clock()
        self._screen: Screen | None = None
        self._is_drawing = False

    def ready(self) -> None:
        self.notice(f"Watching {self._call.watched}; Ctrl-C or SIGTERM ends it at the next units.")

    def problems(self, problems: Sequence[Problem]) -> None:
        for problem in problems:
            self._say(problem_line(seen_from_here(self._call, problem)))
        if not problems:
            self.notice("All specs are valid again.")

    def blocked(self, prune: Pruning) -> None:
        for line in blocked_lines(self._call, prune):
            self._say(line)

    def event(self, event: Event) -> None:
        if event.event == "Started" and event.run is not None:
            self._runs.setdefault(event.run, Row(event.name, 0, event.time_ms, event.time_ms))
        elif event.event in ENDS and event.run is not None:
            self.finished(event.name, event.run)
        if event.event == "Synced" and event.run is not None and not event.omitted and not self._call.verbose:
            self._synced[event.run] = summed(self._synced.get(event.run), event)
        else:
            self._say(pass_line(self._terminal, event, self._call.again))

    def events(self, events: Sequence[Event]) -> None:
        for event in events:
            self.event(event)

    def progress(self, job: str, run: int, rows: int, started_ms: int, now_ms: int) -> None:
        self._runs[run] = Row(job, rows, started_ms, now_ms)
        self._try(lambda _screen: None)  # which draws the rows from now on

    def finished(self, job: str, run: int) -> None:  # noqa: ARG002 (the listener's signature)
        self._runs.pop(run, None)
        if run in self._synced:
            self._say(pass_line(self._terminal, self._synced.pop(run), self._call.again))

    def notice(self, text: str) -> None:
        self._say(self._terminal.paint(escape(text), "dim"))

    def __enter__(self) -> Live:
        self._is_drawing = True
        return self

    def __exit__(self, *_: object) -> None:
        self._runs.clear()
        if self._screen is not None:
            self._try(lambda screen: screen.stop())
        self._is_drawing = False

    def _say(self, line: str) -> None:
        from rich.text import Text

        self._try(lambda screen: screen.console.print(Text.from_ansi(line), soft_wrap=True))

    def _try(self, draw: Callable[[Screen], object]) -> None:
        if not self._is_drawing:
            return
        try:
            draw(self._screen or self._begin())
        except (OSError, ValueError) as error:
            self._is_drawing = False
            if self._terminal.out is not None:
                self._terminal.give_up(self._terminal.out, error)
            self._terminal.out = None

    def _begin(self) -> Screen:
        from rich.console import Console
        from rich.live import Live as Screen

        terminal = self._terminal
        console = Console(file=terminal.out, no_color=not terminal.colour, highlight=False, width=terminal.width)
        self._screen = Screen(
            get_renderable=self.table, console=console, refresh_per_second=REFRESH, transient=True,
            redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip
        self._screen.start()
        return self._screen

    def table(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        now_ms = self._clock.now().wall_ms
        table = Table.grid(padding=(0, 2), expand=False)
        table.add_column(overflow="ellipsis", no_wrap=True, max_width=32)
        for _ in range(3):
            table.add_column(justify="right", no_wrap=True)
        runs = sorted(self._runs.items())
        for _, row in runs[:ROWS]:
            table.add_row(
                Text(row.job, style="cyan"),
                f"{row.rows:,} rows",
                rate(row, now_ms),
                clock_length(now_ms - row.started_ms),
            )
        if len(runs) > ROWS:
            table.add_row(Text(f"and {len(runs) - ROWS} more", style="dim"), "", "", "")
        return table


def summed(before: Event | None, event: Event) -> Event:
    """The units of a run as one event: the counts of all, the number of the last."""
    if before is None:
        return event
    counts: dict[str, Any] = {name: (getattr(before, name) or 0) + (getattr(event, name) or 0) for name in COUNTS}
    return replace(event, **counts, message=f"{event.unit:,} units")


def rate(row: Row, now_ms: int) -> str:
    """Rows a second since the run began."""
    seconds = max(now_ms - row.started_ms, 1) / 1000
    return f"{row.rows / seconds:,.0f}/s" if row.rows else "-"
