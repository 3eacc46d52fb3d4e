"""`reconcile` itself: one pass, and `--watch`. The controller does everything; here is what is seen of it.

On a terminal each run has a live row (rich); elsewhere each event is a line. A face never stops a pass: when nobody
reads any more, it goes on in silence.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.cli.events import pass_line
from reconciler.cli.options import Call
from reconciler.cli.problems import warn_problems
from reconciler.cli.pruning import blocked_lines
from reconciler.cli.terminal import escape

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from reconciler.controller import Listener, Report
    from reconciler.core.prune import Pruning
    from reconciler.errors import Problem
    from reconciler.record.events import Event


def one_pass(call: Call) -> int:
    """One pass; the exit code."""
    from reconciler.controller import open_controller

    settings = call.settings()
    with face(call) as listener, open_controller(settings, listener, expects_runs=True) as controller:
        report = controller.run_pass()
    print_report(call, report)
    return report.exit_code


def keep_going(call: Call, listen: str = "") -> int:
    """The daemon, until a signal ends it; the exit code. `listen` is where it takes messages in, if not where the operator's
    file says."""
    from reconciler.controller import open_controller
    from reconciler.controller.enduring import endure

    settings = call.settings()
    settings = replace(settings, listen=listen or settings.listen)
    with call.terminal.never_waiting(), face(call) as listener:
        return endure(lambda: open_controller(settings, listener), settings.state, listener)


def face(call: Call) -> AbstractContextManager[Listener]:
    """What shows a person what goes on."""
    if call.terminal.interactive:
        from reconciler.cli.live import Live

        return Live(call)
    return Lines(call)


class Lines:
    """Every event in a line, notices on standard error."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._terminal = call.terminal

    def ready(self) -> None:
        self._terminal.warn(f"Watching {escape(self._call.watched)}; Ctrl-C or SIGTERM ends it at the next units.")

    def problems(self, problems: Sequence[Problem]) -> None:
        warn_problems(self._call, problems)
        if not problems:
            self._terminal.warn("All specs are valid again.")

    def blocked(self, prune: Pruning) -> None:
        for line in blocked_lines(self._call, prune):
            self._terminal.warn(line)

    def event(self, event: Event) -> None:
        self.events((event,))

    def events(self, events: Sequence[Event]) -> None:
        self._terminal.print_all(pass_line(self._terminal, event, self._call.again) for event in events)

    def progress(self, job: str, run: int, rows: int, started_ms: int, now_ms: int) -> None:
        """The events say it."""

    def finished(self, job: str, run: int) -> None:
        """The events say it."""

    def notice(self, text: str) -> None:
        self._terminal.warn(escape(text))

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def print_report(call: Call, report: Report) -> None:
    """The sum in one line, then everything that is wrong."""
    call.terminal.print(call.terminal.paint(summary_line(call, report), "bold"))
    for job, message in report.failures:
        call.terminal.warn(f"{escape(job)}: {call.terminal.paint('error', 'red')}: {escape(message)}")
    warn_problems(call, report.problems)
    if report.plan.blocked is not None:
        for line in blocked_lines(call, report.plan.blocked):
            call.terminal.warn(line)


def summary_line(call: Call, report: Report) -> str:
    """`3 jobs: 2 completed, 1 sleeping; 337,000 rows in 2 runs`."""
    from reconciler.record.store import Record

    with Record.reading(call.state) as record:
        counts = record.jobs.statuses()
    jobs = sum(counts.values())
    parts = ", ".join(f"{counts[status]} {status.lower()}" for status in sorted(counts))
    did = f"{report.rows:,} {'row' if report.rows == 1 else 'rows'} in {report.ran:,} {'run' if report.ran == 1 else 'runs'}"
    return f"{jobs:,} {'job' if jobs == 1 else 'jobs'}{': ' if parts else ''}{parts}; {did if report.ran else 'nothing to run'}"
