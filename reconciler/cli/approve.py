"""`reconcile approve`: a person lets a job do what its guard holds back; exactly the difference whose digest it names."""

from __future__ import annotations

import sys

import click

from reconciler.cli.lookup import find_job, reading
from reconciler.cli.options import Call, command
from reconciler.cli.terminal import escape
from reconciler.clock import iso
from reconciler.errors import Blocked, UsageError
from reconciler.record.approvals import Approval


@command(
    "approve",
    click.Argument(["name"]),
    click.Argument(["digest"], required=False),
    click.Option(["--yes"], is_flag=True, help="Approve whatever is held, without asking."),
)
def approve(call: Call, name: str, digest: str | None, yes: bool) -> None:
    """Approve what the guard of a job holds back.

    With DIGEST: exactly that difference; a difference that has changed since is not approved (exit code 5). Without:
    shows what is held, and asks where there is somebody to ask.
    """
    if digest and yes:
        raise UsageError("--yes approves whatever is held, DIGEST exactly one difference; give one of them")
    with reading(call) as record:
        held = record.approvals.held(find_job(call, record, name).id)
    if digest is None:
        if held is None:
            call.terminal.print(f"Nothing of {escape(name)} waits for an approval.")
            return
        _show(call, name, held)
        if held.is_approved:
            return
        if not yes:
            _ask(call, name, held)
        digest = held.digest
    from reconciler.controller.deeds import perform

    call.terminal.print(escape(perform(call.state, "approve", job=name, digest=digest).message))


def _show(call: Call, name: str, held: Approval) -> None:
    terminal = call.terminal
    terminal.print(f"{terminal.paint(escape(name), 'bold')}: {escape(held.message)}")
    terminal.print(f"Held back since {iso(held.asked_ms)}, digest {held.digest}.")
    if held.approved_ms is not None:
        terminal.print(f"Approved by {escape(held.approved_by)} at {iso(held.approved_ms)}.")


def _ask(call: Call, name: str, held: Approval) -> None:
    """Raises Blocked where nobody says yes."""
    nothing = f"nothing was approved; `reconcile approve {name} {held.digest}` approves exactly this"
    if not _can_ask(call) or not click.confirm("Approve exactly this?", default=False):
        raise Blocked(nothing)


def _can_ask(call: Call) -> bool:
    return call.terminal.interactive and sys.stdin is not None and sys.stdin.isatty()
