"""`reconcile pause`, `resume` and `rerun`: they edit the spec in place, comments and layout kept, and change nothing
else. Git stays the truth: the next pass makes the edit true, and a commit makes it last. Where the desired state is a
commit, nothing is edited: the change to commit is printed, as a patch that `git apply` takes.

All names are looked up before anything is written; a spec that is invalid is not edited.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import click

from reconciler.cli.lookup import suggestion
from reconciler.cli.options import Call, command
from reconciler.cli.specs import Specs, declared_specs
from reconciler.cli.terminal import escape
from reconciler.clock import Clock, iso
from reconciler.core.value import dataclass
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
    specs = declared_specs(call, contents=True)
    with Record.reading(call.state) as record:
        chosen = [(_document(call, specs, record, name), record.jobs.job(name)) for name in dict.fromkeys(names)]
    found = [(document, edits(document, job)) for document, job in chosen]
    if call.source:
        _print_patches(call, specs, found)
        return
    for document, some in found:
        if some:
            _edit(call, specs, document, some)
        else:
            call.terminal.print(_nothing(document))


def _print_patches(call: Call, specs: Specs, found: Iterable[tuple[Document, Sequence[Edit]]]) -> None:
    """The change to commit on standard output; beside it, what it means."""
    before = dict(specs.contents)
    where = _branch_words(specs.revision.rpartition("@")[0])
    for document, edits in found:
        if edits:
            specs.contents[document.path] = _edited(specs, document, edits)
        meaning = f"{escape(document.name)}: {_meaning(edits)} once this is committed{where}"
        call.terminal.warn(meaning if edits else _nothing(document))
    for path in sorted(before):
        if specs.contents[path] != before[path]:
            _print_patch(call, specs.prefix + path, before[path], specs.contents[path])


def _branch_words(name: str) -> str:
    """Where the change is to be committed: the branch that was read; of a commit that was named by its hash, none."""
    return f" to {escape(name)}" if name != "HEAD" else " and --source names that commit"


def _meaning(edits: Iterable[Edit]) -> str:
    return " and ".join(edit.meaning for edit in edits)


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


def _edited(specs: Specs, document: Document, edits: Iterable[Edit]) -> bytes:
    """The content of the document's file with these edits."""
    from reconciler.repo.edit import set_field

    content = specs.contents[document.path]
    for edit in edits:
        content = set_field(content, document.ordinal, edit.field, edit.value)
    return content


def _print_patch(call: Call, path: str, before: bytes, after: bytes) -> None:
    """A unified diff of one file, by its path in the repository. A terminal is shown it safely; a file gets it as it is."""
    old, new = (content.decode("utf-8").split("\n") for content in (before, after))
    for line in _patch(old, new, f"a/{path}", f"b/{path}"):
        call.terminal.print(escape(line) if call.terminal.interactive else line)


def _patch(old: list[str], new: list[str], old_name: str, new_name: str) -> Iterator[str]:
    """A unified diff of lines that end in a line feed alone, whatever else stands in them; a NUL, which no spec holds, marks
    a last line without one."""
    was, becomes = ([*lines[:-1], f"{lines[-1]}\0"] if lines[-1] else lines[:-1] for lines in (old, new))
    for line in difflib.unified_diff(was, becomes, old_name, new_name, lineterm=""):
        yield line.removesuffix("\0")
        if line.endswith("\0"):
            yield "\\ No newline at end of file"


def _edit(call: Call, specs: Specs, document: Document, edits: Sequence[Edit]) -> None:
    from reconciler.repo.edit import write_edit
    from reconciler.repo.walk import content_digest

    before, after = specs.contents[document.path], _edited(specs, document, edits)
    write_edit(call.root / document.path, content_digest(before), after)
    specs.contents[document.path] = after
    place = call.relative(document.path)
    for line, text in _new_lines(before, after):
        call.terminal.print(escape(f"{place}:{line}: {text}"))
    call.terminal.print(f"{escape(document.name)}: {_meaning(edits)} {_next(call)}")


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
