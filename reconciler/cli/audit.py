"""`reconcile audit`: whether the audit log is what was written, and where it ends."""

from __future__ import annotations

import re
from typing import Final

import click

from reconciler.cli.lookup import reading
from reconciler.cli.options import Call, command, output_option
from reconciler.cli.terminal import escape
from reconciler.errors import ReconcileError, UsageError

BROKEN: Final = 1
_HASH: Final = re.compile("[0-9a-f]{64}")

audit = click.Group(
    "audit",
    help="Check the log of every action and every act of a person.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)


@command(
    "verify",
    click.Option(["--head"], metavar="HASH", help="A hash that `audit head` printed before, and was kept elsewhere."),
    output_option("text", "json"),
)
def verify(call: Call, head: str | None, output: str) -> int:
    """Check that no byte of the audit log has changed.

    Follows the chain of hashes from the record's first entry to its last, and compares every line of its second copy,
    audit.log in the state directory. The exit code is 1 where anything is wrong; the first entry is named.
    """
    if head is not None and not _HASH.fullmatch(head):
        raise UsageError(f"--head: expected 64 hexadecimal digits, found '{head}'")
    with reading(call) as record:
        end, broken = record.audit.check(head or "")
    if output == "json":
        body = {"ok": broken is None, "entries": end.count, "head": end.hash, "brokenAt": None, "message": None}
        if broken is not None:
            body |= {"brokenAt": broken.seq or None, "message": broken.message}
        call.terminal.json(body)
        return BROKEN if broken else 0
    if broken is not None:
        raise ReconcileError(f"the audit log is broken: {broken.message}")
    if not end.count:
        call.terminal.print("The audit log is sound: it has no entry yet.")
        return 0
    words = f"{end.count:,} {'entry' if end.count == 1 else 'entries'}"
    noted = "; it holds the entry whose hash was noted elsewhere" if head else ""
    call.terminal.print(f"The audit log is sound: {words}, chained to {end.hash[:12]}{noted}.")
    return 0


@command("head", output_option("text", "json"))
def head(call: Call, output: str) -> None:
    """Print the hash of the last entry.

    Kept where nobody can reach both, it shows later, with `audit verify --head`, that nothing before it was changed or
    cut off.
    """
    with reading(call) as record:
        end = record.audit.head()
    if not end.count:
        raise UsageError(f"the audit log of {call.root} has no entry yet; run `reconcile` first")
    if output == "json":
        call.terminal.json({"entries": end.count, "head": end.hash})
    else:
        call.terminal.print(escape(end.hash))


audit.add_command(verify)
audit.add_command(head)
