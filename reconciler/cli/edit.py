"""`reconcile pause`, `resume` and `rerun`: they edit the spec in place, comments and layout kept, and change nothing
else. Git stays the truth: the next pass makes the edit true, and a commit makes it last.

All names are looked up before anything is written; a spec that is invalid is not edited.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from reconciler.cli.lookup import suggestion
from reconciler.cli.options import Call, command
from reconciler.cli.specs import Specs, read_specs
from reconciler.cli.terminal import escape
from reconciler.clock import Clock, iso
from reconciler.errors import SpecInvalid, UsageError
from reconciler.record.holder import controller_at_work
from reconciler.record.store import Record

if TYPE_CHECKING:
    from reconciler.core.document import Document
    from reconciler.record.jobs import JobRow

Value = str | bool


@dataclass(frozen=True, slots=True)
class Edit:
    """A field of a job's spec that gets a new value, and what that means."""

    field: str
    value: Value
    meaning: str


@command("pause", click.Argument(["names"], metavar="NAME...", nargs=-1, required=True))
def pause(call: Call, names: tuple[str, ...]) -> None:
    """Pause jobs, by editing their specs.

    Sets spec.suspend to true. A run in progress stops at its next unit.
    """
    _edit_all(call, names, lambda document, _: _pause(document))


@command("resume", click.Argument(["names"], metavar="NAME...", nargs=-1, required=True))
def resume(call: Call, names: tuple[str, ...]) -> None:
    """Resume paused or failed jobs, by editing their specs.

    Sets spec.suspend to false; a job that is Failed gets a new spec.rerun as well, so that it runs again.
    """
    _edit_all(call, names, _resume)


@command("rerun", click.Argument(["names"], metavar="NAME...", nargs=-1, required=True))
def rerun(call: Call, names: tuple[str, ...]) -> None:
    """Ask for one more run of jobs, by editing their specs.

    Sets spec.rerun to the present time. The run goes on from the job's cursor.
    """
    _edit_all(call, names, lambda document, _: [_rerun(document)])


def _pause(document: Document) -> list[Edit]:
    return [] if document.spec.get("suspend") else [Edit("spec.suspend", True, "it is paused")]


def _resume(document: Document, job: JobRow | None) -> list[Edit]:
    edits = [Edit("spec.suspend", False, "it goes on")] if document.spec.get("suspend") else []
    failed = job is not None and "Failed" in (job.state.status, job.state.held_status)
    return [*edits, _rerun(document)] if failed else edits


def _rerun(document: Document) -> Edit:
    """The time to the millisecond: a value that the spec does not have yet."""
    paused = ", once it is resumed," if document.spec.get("suspend") else ""
    return Edit("spec.rerun", iso(Clock().now().wall_ms), f"it runs once more{paused}")


def _edit_all(call: Call, names: Sequence[str], edits: Callable[[Document, JobRow | None], list[Edit]]) -> None:
    """Looks every name up, then edits. Raises UsageError for an unknown name, SpecInvalid for an invalid spec."""
    call.need_root()
    specs = read_specs(call.root)
    with Record.reading(call.state) as record:
        chosen = [(_document(call, specs, record, name), record.jobs.job(name)) for name in dict.fromkeys(names)]
    for document, job in chosen:
        found = edits(document, job)
        if found:
            _edit(call, specs, document, found)
        else:
            call.terminal.print(_nothing(document))


def _nothing(document: Document) -> str:
    state = "is paused already" if document.spec.get("suspend") else "is neither paused nor failed"
    return f"{escape(document.name)} {state}: nothing to edit"


def _document(call: Call, specs: Specs, record: Record, name: str) -> Document:
    known = record.jobs.job(name)
    path = None if known is None else known.path
    problems = specs.problems_of("Job", name) or tuple(
        one for one in specs.problems if one.path == path and not one.name
    )
    if problems:
        raise SpecInvalid(problems)
    found = specs.job(name)
    if found is None:
        broken = sorted({call.relative(one.path) for one in specs.problems if not one.name})
        hint = f"; it may be in {broken[0]}, which is invalid" if broken else ""
        names = [one.name for one in specs.documents if one.kind == "Job"]
        raise UsageError(f"no spec below {call.root} declares a job '{name}'{suggestion(name, names)}{hint}")
    return found


def _edit(call: Call, specs: Specs, document: Document, edits: Iterable[Edit]) -> None:
    from reconciler.repo.edit import set_field, write_edit
    from reconciler.repo.walk import content_digest

    before = specs.contents[document.path]
    after = before
    for edit in edits:
        after = set_field(after, document.ordinal, edit.field, edit.value)
    write_edit(call.root / document.path, content_digest(before), after)
    specs.contents[document.path] = after
    place = call.relative(document.path)
    for line, text in _new_lines(before, after):
        call.terminal.print(escape(f"{place}:{line}: {text}"))
    call.terminal.print(f"{escape(document.name)}: {' and '.join(edit.meaning for edit in edits)} {_next(call)}")


def _new_lines(before: bytes, after: bytes) -> Iterator[tuple[int, str]]:
    """The lines of `after` that `before` does not have, with their numbers."""
    old, new = before.decode().splitlines(), after.decode().splitlines()
    for tag, _, _, start, stop in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag in ("insert", "replace"):
            yield from ((number + 1, new[number].strip()) for number in range(start, stop))


def _next(call: Call) -> str:
    """What makes the edit true, and what makes it last."""
    from reconciler.repo.git import Repository

    pid = controller_at_work(call.state)
    applies = "at the next `reconcile`" if pid is None else f"as soon as the controller at work (pid {pid}) has seen it"
    return applies if Repository.open(call.root) is None else f"{applies}; commit the change to keep it"
