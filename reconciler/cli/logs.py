"""`reconcile logs`: the events of a job, and with `-f` those that are still to come."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import click

from reconciler.cli.events import event_json, event_line
from reconciler.cli.lookup import find_job, reading
from reconciler.cli.options import Call, command, output_option
from reconciler.cli.terminal import json_line
from reconciler.cli.times import since as since_ms
from reconciler.clock import Clock, pause

if TYPE_CHECKING:
    from reconciler.record.events import Event
    from reconciler.record.store import Record

#: How often a follower looks at the record.
FOLLOW_S: Final = 0.25
#: Events that are read at a time: all that the record keeps of a job.
PAGE: Final = 1_000


@command(
    "logs",
    click.Argument(["name"]),
    click.Option(["-f", "--follow"], is_flag=True, help="Go on with new events until Ctrl-C."),
    click.Option(["--since"], metavar="WHEN", help="Only events since a duration ago (1h30m) or a time (ISO)."),
    output_option("text", "json"),
)
def logs(call: Call, name: str, follow: bool, since: str | None, output: str) -> None:
    """Print the events of a job.

    The record keeps the last 1,000; the log file beside the spec goes further back. JSON is one object a line.
    """
    begin_ms = 0 if since is None else since_ms(since, Clock().now().wall_ms)
    with reading(call) as record:
        find_job(call, record, name)
        show = _printer(call, output)
        last = _print_new(record, name, begin_ms, 0, show)
        if follow:
            _follow(call, record, name, last, show)


def _printer(call: Call, output: str) -> Callable[[Event], None]:
    if output == "json":
        return lambda event: call.terminal.print(json_line(event_json(event)))
    return lambda event: call.terminal.print(event_line(call.terminal, event, call.again))


def _print_new(record: Record, name: str, begin_ms: int, last: int, show: Callable[[Event], None]) -> int:
    """Shows the events after the one with the id `last`; the id of the newest."""
    for event in record.events.tail("Job", name, limit=PAGE, since_ms=begin_ms, after_id=last):
        show(event)
        last = event.id or last
    return last


def _follow(call: Call, record: Record, name: str, last: int, show: Callable[[Event], None]) -> None:
    """Until Ctrl-C, which ends every command with 130, or until nobody reads any more."""
    while call.terminal.is_open:
        pause(FOLLOW_S)
        last = _print_new(record, name, 0, last, show)
