"""How an event of a job's log is shown: as a line for a person, and as JSON."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from reconciler.cli.terminal import Terminal, escape
from reconciler.cli.times import time_of_day
from reconciler.clock import iso
from reconciler.core.words import with_options

if TYPE_CHECKING:
    from reconciler.record.events import Event

#: The counts of an event, in the order in which they are shown; zeros are left out of lines for persons.
COUNTS: Final = ("rows", "added", "removed", "omitted")
#: The longest name of an event that is common: what follows lines up.
_EVENT_WIDTH: Final = 11


def details(event: Event, again: str) -> str:
    """`run=42 unit=7 rows=1000  message (commit, author)`, escaped. `again` are the options of the commands in it."""
    places = [f"{name}={value}" for name in ("run", "unit") if (value := getattr(event, name)) is not None]
    counts = [f"{name}={value}" for name in COUNTS if (value := getattr(event, name))]
    parts = [
        " ".join([*places, *counts]),
        escape(with_options(event.message, again)),
        _cause(event.commit, event.author),
    ]
    return "  ".join(part for part in parts if part)


@lru_cache(maxsize=256)  # what happens at once has the same cause
def _cause(commit: str, author: str) -> str:
    cause = ", ".join(one for one in (commit[:12], author) if one)
    return f"({escape(cause)})" if cause else ""


def event_line(terminal: Terminal, event: Event, again: str) -> str:
    """One event of a known job: `2026-11-21T10:00:00.000Z  Synced  run=42 unit=7 rows=1000`."""
    name = terminal.status(event.event.ljust(_EVENT_WIDTH), event.event)
    return f"{iso(event.time_ms)}  {name}  {details(event, again)}".rstrip()


def pass_line(terminal: Terminal, event: Event, again: str) -> str:
    """One event of any job, while it happens: `10:00:00 import-orders  Synced  run=42 unit=7 rows=1000`."""
    subject = event.name if event.kind == "Job" else f"{event.kind.lower()}/{event.name}"
    name = terminal.status(event.event)
    return f"{time_of_day(event.time_ms)} {escape(subject)}  {name}  {details(event, again)}".rstrip()


def event_json(event: Event) -> dict[str, Any]:
    """One event; absent fields are null."""
    return {
        "time": iso(event.time_ms),
        "event": event.event,
        "name": event.name,
        "run": event.run,
        "unit": event.unit,
        **{name: getattr(event, name) for name in COUNTS},
        "message": event.message,
        "commit": event.commit or None,
        "author": event.author or None,
    }
