"""`reconcile record check|backup|restore`: whether the record is sound, a copy of it, and a copy in its place."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from reconciler.cli.lookup import reading
from reconciler.cli.options import Call, command, from_here, output_option
from reconciler.cli.terminal import escape
from reconciler.clock import Clock, iso
from reconciler.errors import ReconcileError

if TYPE_CHECKING:
    from reconciler.controller.restoring import Restored
    from reconciler.controller.soundness import Checked

UNSOUND: Final = 1
#: So many names are listed.
NAMED: Final = 5
_WHAT_FOLLOWS: Final = (
    "Imports go on from the older cursors. Exports too: batches that were begun when the backup was taken keep their keys, "
    "whatever was sent later is sent again under other keys, and a destination may take it twice."
)

record = click.Group(
    "record",
    help="Check, back up and restore the record of what was made true.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)


def _force(text: str) -> click.Option:
    return click.Option(["--force"], is_flag=True, help=text)


# --- check ----------------------------------------------------------------------------------------------------------


@command("check", output_option("text", "json"))
def check(call: Call, output: str) -> int:
    """Check that the record is sound, and that all it names is there.

    Looks at every page of record.db, at what one table says of another, at every data file that the record names (that
    it is there, with the size that was noted), and at the audit log and its second copy. Reads only; works beside a
    daemon. The exit code is 1 where anything is wrong.
    """
    from reconciler.controller.soundness import check as look

    call.need_root()
    checked = look(call.state)
    if output == "json":
        call.terminal.json(
            {
                "ok": not checked.problems,
                "record": from_here(checked.path) if checked.exists else None,
                "version": checked.version,
                "files": checked.files,
                "auditEntries": checked.entries,
                "problems": [{"what": one.what, "message": one.found, "mends": one.mends} for one in checked.problems],
            }
        )
    else:
        for one in checked.problems:
            what = call.terminal.paint(one.what, "red")
            call.terminal.print(f"{what}: {escape(one.found)}; {escape(one.mends)}")
        call.terminal.print(escape(_summary(checked)))
    return UNSOUND if checked.problems else 0


def _summary(checked: Checked) -> str:
    where = from_here(checked.path)
    if not checked.exists:
        return f"There is no {where} yet: nothing was recorded."
    if checked.version is None:
        return f"{where} is not sound, and could not be looked into."
    what = (
        f"version {checked.version}, {_count(checked.files, 'data file')} by name and size, "
        f"{_count(checked.entries, 'audit entry', 'audit entries')}"
    )
    if not checked.problems:
        return f"{where} is sound: {what}."
    return f"{where} is not sound: {_count(len(checked.problems), 'problem')}; looked at {what}."


# --- backup ---------------------------------------------------------------------------------------------------------


@command(
    "backup",
    click.Argument(["file"], required=False, type=click.Path(path_type=Path)),
    _force("Replace FILE where it is there."),
)
def backup(call: Call, file: Path | None, *, force: bool) -> None:
    """Write a copy of the record to FILE, while everything goes on.

    Without FILE, or where it is a folder, the copy is called record-TIME.db. It is of one moment, whole and on the disk
    or not there at all, and readable by you alone: it holds the key by which secrets and forgotten people are known. It
    holds the record, and no messages: keep a copy of data/ that is made after it.
    """
    from reconciler.record import database

    now = Clock().now()
    with reading(call) as source:
        if not (call.state / database.RECORD).exists():
            raise ReconcileError(f"there is no {from_here(call.state / database.RECORD)} yet: nothing to back up")
        name = f"record-{iso(now.wall_ms).replace('-', '').replace(':', '').replace('.', '-')}.db"
        folder = file if file is not None and file.is_dir() else Path()
        target = file if file is not None and not file.is_dir() else folder / name
        copy = source.back_up(target, now.wall_ms, force=force)
    call.terminal.print(
        escape(f"The record is in {target}, {target.stat().st_size:,} bytes, as it was at {iso(now.wall_ms)}.")
    )
    if copy.files:
        call.terminal.print(
            escape(
                f"It names {_count(len(copy.files), 'file')} in {from_here(call.state / 'data')}, which it does not hold: "
                "copy that folder now, after the record."
            )
        )
    call.terminal.print(
        escape(
            f"`reconcile record restore{call.again} {shlex.quote(str(target))}` puts it back, once no reconcile is at work."
        )
    )


# --- restore --------------------------------------------------------------------------------------------------------


@command(
    "restore",
    click.Argument(["file"], type=click.Path(path_type=Path, exists=True, dir_okay=False)),
    _force("Also a backup of another record, or one whose data files are gone."),
)
def restore(call: Call, file: Path, *, force: bool) -> None:
    """Put a backup in the record's place.

    Refused while a reconcile is at work, for a backup that is damaged or of a newer version, and, but for --force, for
    one of another record or one that names data files that are gone. The record before it is kept beside it. Data
    files that the backup does not name are moved to lost+found in the state directory, never swept; a later restore of
    a record that names them moves them back.
    """
    from reconciler.controller.requests import user_name
    from reconciler.controller.restoring import restore as put_back

    call.need_root()
    done = put_back(call.state, file, user_name(os.geteuid()), Clock().now(), force=force)
    for line in _told(call, file, done):
        call.terminal.print(escape(line))


def _told(call: Call, file: Path, done: Restored) -> list[str]:
    taken = "" if done.copy.taken_ms is None else f", as it was at {iso(done.copy.taken_ms)}"
    lines = [f"{from_here(call.state / 'record.db')} is {file} again{taken}."]
    if done.kept is not None:
        undo = f"`reconcile record restore{call.again} {shlex.quote(from_here(done.kept))}` undoes this"
        lines.append(f"The record before it is kept as {from_here(done.kept)}; {undo}.")
    lines += _forgot(done)
    if done.settled.back:
        lines.append(f"{_count(len(done.settled.back), 'data file')} came back from an earlier lost+found.")
    if done.settled.moved:
        count = _count(len(done.settled.moved), "data file")
        lines.append(
            f"{count} that it does not name {'is' if len(done.settled.moved) == 1 else 'are'} kept in "
            f"{from_here(done.settled.folder)}; nothing sweeps that folder."
        )
    if done.missing:
        lines.append(f"{_count(len(done.missing), 'data file')} that it names are not there: runs that read them fail.")
    if done.since is None or done.since.units:
        lines.append(_WHAT_FOLLOWS)
    return [*lines, "`reconcile plan` says what the next pass would do."]


def _forgot(done: Restored) -> list[str]:
    """What the record does not know any more."""
    if done.since is None:
        why = "could not be read" if done.kept is not None else "is not there"
        return [
            f"The record before it {why}, so nobody can say what was done since; ask people who were forgotten since again."
        ]
    lines = []
    if done.since.units:
        total, names = sum(count for _, count in done.since.units), [name for name, _ in done.since.units]
        more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
        lines.append(f"It does not know {_count(total, 'later unit')}, of {', '.join(names[:NAMED])}{more}.")
    if done.since.forgotten:
        count = _count(len(done.since.forgotten), "later request")
        lines.append(f"It does not know {count} to forget a person: make them again with `reconcile forget`.")
    return lines or ["Nothing was done since."]


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


record.add_command(check)
record.add_command(backup)
record.add_command(restore)
