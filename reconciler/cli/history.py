"""`reconcile history`: what was done, to one thing or to all, by whom and because of what: the audit log for people."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import click

from reconciler.cli.lookup import reading, suggestion
from reconciler.cli.options import Call, command, output_option
from reconciler.cli.terminal import Terminal, escape, json_line
from reconciler.cli.times import since as since_ms
from reconciler.clock import Clock, iso
from reconciler.core.audit import CONTROLLER, DONE
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.core.audit import Entry
    from reconciler.record.store import Record

#: The longest of the common actions: what follows lines up.
_ACTION: Final = 7
#: Between two words that stay in one line.
_TIE: Final = "\u00a0"
#: How far the second line is indented.
_INDENT: Final = 4


@command(
    "history",
    click.Argument(["name"], required=False),
    click.Option(["--since"], metavar="WHEN", help="Only what was done since a duration ago (1h30m) or a time (ISO)."),
    output_option("text", "json"),
)
def history(call: Call, name: str | None, since: str | None, output: str) -> None:
    """Show what was done, by whom, because of which commit.

    Of the thing of that name, be it deleted or renamed since, or of all; the newest comes last. It is the audit log,
    which is kept for ever. JSON is one object a line.
    """
    begin_ms = 0 if since is None else since_ms(since, Clock().now().wall_ms)
    with reading(call) as record:
        entries = record.audit.entries(since_ms=begin_ms) if name is None else _of(record, name, begin_ms)
        for entry in entries:
            if output == "json":
                call.terminal.print(json_line(entry_json(entry)))
            else:
                _print(call, entry)
            if not call.terminal.is_open:
                return


def _of(record: Record, name: str, begin_ms: int) -> Iterable[Entry]:
    """Raises UsageError where nothing was ever done to anything of that name."""
    found = record.audit.of(name)
    if not found:
        raise UsageError(f"nothing was ever done to '{name}'{suggestion(name, record.audit.names())}")
    return [entry for entry in found if entry.time_ms >= begin_ms]


def entry_json(entry: Entry) -> dict[str, Any]:
    """One entry; what it does not say is null."""
    return {
        "seq": entry.seq,
        "time": iso(entry.time_ms),
        "action": entry.action,
        "actor": entry.actor,
        "kind": entry.kind or None,
        "name": entry.name or None,
        "renamedFrom": entry.was or None,
        "path": entry.path or None,
        "reason": entry.reason or None,
        "commit": entry.commit or None,
        "author": entry.author or None,
        "revision": entry.revision or None,
        "plan": entry.plan or None,
        "generation": entry.generation or None,
        "digest": entry.digest or None,
        "life": entry.life or None,
        "outcome": entry.outcome,
        "prev": entry.prev,
        "hash": entry.hash,
    }


def _print(call: Call, entry: Entry) -> None:
    terminal = call.terminal
    time = f"{iso(entry.time_ms)[:19].replace('T', ' ')}Z"
    outcome = "" if entry.outcome == DONE else f"  {terminal.paint(escape(entry.outcome), 'yellow')}"
    action = terminal.paint(escape(entry.action).ljust(_ACTION), *_styles(entry))
    terminal.print(f"{time}  {action}  {escape(_subject(entry))}{outcome}".rstrip())
    _print_details(terminal, escape("; ".join(_details(entry))))


def _print_details(terminal: Terminal, text: str) -> None:
    indent = " " * _INDENT
    for line in textwrap.wrap(text, terminal.width - _INDENT, break_on_hyphens=False, break_long_words=True):
        terminal.print(f"{indent}{terminal.paint(line.replace(_TIE, ' '), 'dim')}")


def _styles(entry: Entry) -> tuple[str, ...]:
    return ("red",) if entry.action in ("delete", "purge", "stream-drop", "forget") else ()


def _subject(entry: Entry) -> str:
    """`import-orders`, `stream/orders`; nothing for what is done to no one thing."""
    if not entry.name:
        return ""
    return entry.name if entry.kind in ("Job", "") else f"{entry.kind.lower()}/{entry.name}"


def _details(entry: Entry) -> list[str]:
    """Why, by whom, by which commit and plan; and the entry's number, by which `audit verify` calls it."""
    who = entry.author if entry.actor == CONTROLLER else entry.actor
    parts = [
        entry.reason,
        f"was {entry.was}" if entry.was else "",
        f"by {who}" if who else "",
        f"commit{_TIE}{entry.commit[:12]}" if entry.commit else "",
        f"plan{_TIE}{entry.plan[:12]}" if entry.plan else "",
        f"generation{_TIE}{entry.generation}" if entry.generation and entry.action in ("create", "update") else "",
        f"entry{_TIE}{entry.seq}",
    ]
    return [part for part in parts if part]
