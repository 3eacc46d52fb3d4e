"""`reconcile forget`: a person is gone from everything that is kept here, and from every destination that holds them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from reconciler.cli.lookup import key_and_value, reading
from reconciler.cli.options import Call, command, output_option
from reconciler.cli.terminal import escape
from reconciler.clock import Clock, iso, pause
from reconciler.core.words import with_options
from reconciler.errors import Blocked, UsageError
from reconciler.record.holder import controller_at_work

if TYPE_CHECKING:
    from reconciler.controller.forgets import Foreseen, Outcome
    from reconciler.record.forgotten import Receipt

#: How often the controller that carries a request out is asked how far it is, and for how long.
LOOK_S: Final = 0.2
WAIT_S: Final = 600.0


@command(
    "forget",
    click.Argument(["who"], metavar="[KEY=VALUE]", required=False),
    click.Option(["--yes"], is_flag=True, help="Forget the person without asking."),
    click.Option(["--list", "listed"], is_flag=True, help="List the requests, their receipts, what is outstanding."),
    output_option("text", "json"),
)
def forget(call: Call, who: str | None, yes: bool, listed: bool, output: str) -> int:
    """Forget a person, here and at every destination.

    Says what would go, and asks; --yes does not ask. KEY=VALUE is an identifier, such as email=ada@example.org: its
    profile goes with all its identifiers, their messages on every stream, and the bad rows that show them. Every
    destination that holds the person removes them with the next run of its job.
    """
    if listed == (who is not None):
        raise UsageError("expected KEY=VALUE, or --list")
    if listed:
        _list(call, output)
        return 0
    key, value = key_and_value(who or "")
    from reconciler.controller.forgets import foresee

    foreseen = foresee(call.settings(), key, value, Clock().now())
    if output == "text":
        _foretell(call, foreseen)
    if not yes:
        _ask(call, value)
    from reconciler.controller.deeds import perform

    request = int(perform(call.state, "forget", key=key, value=value).facts["request"])
    _carry_out(call, request)
    _report(call, request, output)
    return 0


# --- before ---------------------------------------------------------------------------------------------------------


def _foretell(call: Call, foreseen: Foreseen) -> None:
    for line in foretold(foreseen):
        call.terminal.print(escape(line))


def foretold(foreseen: Foreseen) -> Iterator[str]:
    """What would go, in lines. Of the identifiers it says the keys alone."""
    count = len(foreseen.identifiers)
    if foreseen.known:
        yield f"One profile with {count} {'identifier' if count == 1 else 'identifiers'} would be forgotten:"
    elif foreseen.messages:
        yield (
            "Nobody is known by this identifier: it belongs to nobody (maxPerKey), or its messages are not built yet. "
            "It would be forgotten by itself, with every message that carries it, whoever else that speaks of:"
        )
    else:
        yield "Nobody is known by this identifier; it would be forgotten by itself:"
    for stream, messages in sorted(foreseen.messages.items()):
        yield f"  {messages:,} {'message' if messages == 1 else 'messages'} of the stream '{stream}' would go"
    if not foreseen.messages:
        yield "  no messages would go"
    for job in foreseen.destinations:
        yield f"  the destination of '{job}' would be told to remove them"
    for job in foreseen.noted:
        yield f"  the ledger of '{job}' names them; nothing that it sent of them is at its destination"
    for job in foreseen.sent:
        yield f"  what '{job}' sent before cannot be called back"
    if foreseen.unsearched:
        yield f"  not searched, for want of an identity: {', '.join(foreseen.unsearched)}"


def _ask(call: Call, value: str) -> None:
    """Raises Blocked where nobody confirms."""
    if call.terminal.interactive and sys.stdin is not None and sys.stdin.isatty():
        typed = click.prompt(
            "This cannot be undone. Type the value again to forget them", default="", show_default=False
        )
        if typed == value:
            return
    raise Blocked("nothing was forgotten; --yes forgets them without asking")


# --- meanwhile ------------------------------------------------------------------------------------------------------


def _carry_out(call: Call, request: int) -> None:
    """Has the controller at work do it, or does it here where there is none."""
    clock = Clock()
    while clock.now().alive_ms < WAIT_S * 1000 and not _is_done(call, request):
        if controller_at_work(call.state) is None:
            _here(call)
            return
        pause(LOOK_S)


def _here(call: Call) -> None:
    from reconciler.cli.run import Lines
    from reconciler.controller import open_controller

    with Lines(call) as listener, open_controller(call.settings(), listener) as controller:
        controller.forget()


def _is_done(call: Call, request: int) -> bool:
    with reading(call) as record:
        found = record.forgotten.request(request)
    return found is not None and found.step == "done"


# --- afterwards -----------------------------------------------------------------------------------------------------


def _report(call: Call, request: int, output: str) -> None:
    from reconciler.controller.forgets import outcome

    with reading(call) as record:
        found = record.forgotten.request(request)
        assert found is not None, "a request stays for ever"
        shown = outcome(record, found)
    if output == "json":
        call.terminal.json(_document(shown))
    else:
        _print(call, shown)


def _list(call: Call, output: str) -> None:
    from reconciler.controller.forgets import outcomes

    with reading(call) as record:
        found = outcomes(record)
    if output == "json":
        call.terminal.json([_document(one) for one in found])
    elif not found:
        call.terminal.print("Nobody was to be forgotten yet.")
    for one in found if output == "text" else ():
        _print(call, one)


def _document(outcome: Outcome) -> dict[str, Any]:
    request = outcome.request
    return {
        "request": request.id,
        "askedAt": iso(request.at_ms),
        "askedBy": request.by,
        "step": request.step,
        "known": request.known,
        "doneAt": None if request.done_ms is None else iso(request.done_ms),
        "outstanding": sorted(outcome.waits),
        "receipts": [
            {
                "what": one.what,
                "name": one.name,
                "count": one.count,
                "doneAt": None if one.at_ms is None else iso(one.at_ms),
                "note": outcome.waits.get(one.name, one.note) if one.at_ms is None else one.note,
            }
            for one in outcome.receipts
        ],
    }


def _print(call: Call, outcome: Outcome) -> None:
    terminal, request = call.terminal, outcome.request
    state = "under way" if request.done_ms is None else f"done {iso(request.done_ms)}"
    if request.done_ms is not None and outcome.waits:
        where = "1 destination" if len(outcome.waits) == 1 else f"{len(outcome.waits):,} destinations"
        state = f"done here {iso(request.done_ms)}, outstanding at {where}"
    head = terminal.paint(f"Request {request.id}", "bold")
    terminal.print(f"{head} of {escape(request.by)}, {iso(request.at_ms)}: {state}")
    if request.known is False:
        terminal.print("  nobody was known; what arrives from before the request is dropped")
    for receipt in outcome.receipts:
        terminal.print(escape(with_options(f"  {_said(receipt, outcome)}", call.again)))
    if request.done_ms is None:
        terminal.print("  the rest is done by the next pass, or the daemon")


def _said(receipt: Receipt, outcome: Outcome) -> str:
    """A receipt in words."""
    pending = "" if receipt.at_ms is not None else " (still on the disk)"
    match receipt.what:
        case "messages":
            return f"messages: {receipt.count:,} gone from '{receipt.name}'{pending}"
        case "rejects":
            return f"rejects: {receipt.count:,} {'line' if receipt.count == 1 else 'lines'} gone{pending}"
        case "profiles":
            return f"profiles: built anew without them{pending}"
        case "sent":
            return f"sent: {receipt.note}"
        case "destination" if receipt.at_ms is None:
            return f"outstanding: the destination of '{receipt.name}': {outcome.waits[receipt.name]}"
        case "destination":
            return f"destination of '{receipt.name}': {receipt.note}"
