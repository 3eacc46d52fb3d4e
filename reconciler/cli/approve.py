"""`reconcile approve`: a person lets a job do what its guard holds back, an upload go to its stream that is over the stream's
limit, or deletions happen that the budget holds back; exactly what the digest names."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from reconciler.cli.lookup import find_job, reading
from reconciler.cli.options import Call, command
from reconciler.cli.pruning import blocked_lines
from reconciler.cli.terminal import escape
from reconciler.clock import iso
from reconciler.core.words import with_options
from reconciler.errors import Blocked, UsageError
from reconciler.record.approvals import Approval
from reconciler.record.holder import controller_at_work

if TYPE_CHECKING:
    from reconciler.record.uploads import UploadRow

#: `--prune` without a digest.
WHATEVER: Final = "?"


@command(
    "approve",
    click.Argument(["name"], required=False),
    click.Argument(["digest"], required=False),
    click.Option(
        ["--prune"],
        metavar="[DIGEST]",
        is_flag=False,
        flag_value=WHATEVER,
        help="Approve deletions that are over the budget, not a job's difference.",
    ),
    click.Option(["--yes"], is_flag=True, help="Approve whatever is held, without asking."),
)
def approve(call: Call, name: str | None, digest: str | None, prune: str | None, yes: bool) -> None:
    """Approve what a guard, a limit or the deletion budget holds back.

    NAME is that of the job or the stream. With DIGEST: exactly that difference, upload, or set of deletions; one that has
    changed since is not approved (exit code 5).
    Without: shows what is held, and asks where there is somebody to ask.
    """
    if (name is None) == (prune is None):
        raise UsageError("expected the name of a job or a stream, or --prune")
    exact = digest if prune is None else prune.removeprefix(WHATEVER)
    if exact and yes:
        raise UsageError("--yes approves whatever is held, DIGEST exactly one difference; give one of them")
    if name is None:
        _approve_prune(call, exact or "", yes)
    else:
        _approve_job(call, name, digest, yes)


def _approve_prune(call: Call, digest: str, yes: bool) -> None:
    """Looks at what is declared now, so that what is approved is what the next look finds. Raises Blocked where that is
    another set, or nothing."""
    from reconciler.controller import preview
    from reconciler.controller.deeds import perform

    found = preview(call.settings()).plan.prune
    if found is None:
        raise Blocked("no deletion waits for an approval; nothing was approved")
    if digest and digest != found.digest:
        raise Blocked(
            f"the set of deletions has changed since, and nothing was approved: now {found.reason}; "
            f"`{found.command}{call.again}` approves exactly these"
        )
    if not digest:
        for line in blocked_lines(call, found):
            call.terminal.print(line)
        if not yes and not (_can_ask(call) and click.confirm("Approve exactly these?", default=False)):
            raise Blocked(f"nothing was approved; `{found.command}{call.again}` approves exactly these")
    call.terminal.print(escape(perform(call.state, "approve-prune", digest=found.digest).message))
    if controller_at_work(call.state) is None:
        call.terminal.print("The next `reconcile` deletes them.")


def _approve_job(call: Call, name: str, digest: str | None, yes: bool) -> None:
    with reading(call) as record:
        known = [one for one in record.uploads.all().values() if one.stream == name]
        uploads = [one for one in known if not one.is_approved or one.digest == digest]
        is_stream = bool(uploads) or record.resources.resource("Stream", name) is not None
        job = record.jobs.job(name) if is_stream else find_job(call, record, name)
        held = None if job is None else record.approvals.held(job.id)
    asks = held is not None and not held.is_approved
    if uploads and (digest in {one.digest for one in uploads} or not asks):
        _approve_uploads(call, name, [one for one in uploads if digest in (None, one.digest)], digest, yes)
        return
    if job is None and digest is not None:
        raise Blocked(f"no upload {digest} to stream '{name}' waits for an approval; nothing was approved")
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


def _approve_uploads(call: Call, stream: str, uploads: Sequence[UploadRow], digest: str | None, yes: bool) -> None:
    """Raises Blocked where nobody says yes, or where no upload has this digest."""
    from reconciler.controller.deeds import perform
    from reconciler.controller.uploads import waiting_words

    if not uploads:
        raise Blocked(f"no upload {digest} to stream '{stream}' waits for an approval; nothing was approved")
    for one in uploads:
        if digest is None:
            call.terminal.print(escape(f"{waiting_words(one)}; since {iso(one.asked_ms)}, digest {one.digest}"))
    if digest is None and not yes and not (_can_ask(call) and click.confirm("Approve exactly these?", default=False)):
        raise Blocked(
            f"nothing was approved; `reconcile approve {stream} DIGEST{call.again}` approves one of them, --yes all"
        )
    for one in uploads:
        answer = perform(call.state, "approve-upload", stream=stream, digest=one.digest)
        call.terminal.print(escape(answer.message))


def _show(call: Call, name: str, held: Approval) -> None:
    terminal = call.terminal
    terminal.print(f"{terminal.paint(escape(name), 'bold')}: {escape(with_options(held.message, call.again))}")
    terminal.print(f"Held back since {iso(held.asked_ms)}, digest {held.digest}.")
    if held.approved_ms is not None:
        terminal.print(f"Approved by {escape(held.approved_by)} at {iso(held.approved_ms)}.")


def _ask(call: Call, name: str, held: Approval) -> None:
    """Raises Blocked where nobody says yes."""
    nothing = f"nothing was approved; `reconcile approve {name} {held.digest}{call.again}` approves exactly this"
    if not _can_ask(call) or not click.confirm("Approve exactly this?", default=False):
        raise Blocked(nothing)


def _can_ask(call: Call) -> bool:
    return call.terminal.interactive and sys.stdin is not None and sys.stdin.isatty()
