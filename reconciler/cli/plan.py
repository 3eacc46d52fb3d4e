"""`reconcile plan`: what a pass would do, and why; nothing is changed, and a daemon may be at work meanwhile."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from reconciler.cli.options import Call, command
from reconciler.cli.plan_words import NOTHING, NOTHING_MERGED, backfill_words, export_words, summary_line
from reconciler.cli.problems import warn_problems
from reconciler.cli.pruning import blocked_lines
from reconciler.cli.terminal import Terminal, cells, cut, escape
from reconciler.core.words import listed, with_options
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.cli.merge import Merge
    from reconciler.controller import Preview
    from reconciler.core.change import Change
    from reconciler.core.planned import Action, PlannedBackfill, Rebuild

CHANGES: Final = 2
ERRORS: Final = 1
STREAM: Final = Path("-")
#: Runs and waiting things that are listed without `-v`.
LISTED: Final = 20

_SYMBOLS: Final = {"create": ("+", "green"), "delete": ("-", "red"), "purge": ("-", "red")}
_OTHERS: Final = ("~", "yellow")


@command(
    "plan",
    click.Option(
        ["-o", "--output", "output"],
        type=click.Choice(["text", "json", "markdown"]),
        help="Format; markdown is for a comment of a pull request.  [default: text]",
    ),
    click.Option(
        ["--base"], metavar="REF", help="What a merge into REF would do: offline, from commits, without a record."
    ),
    click.Option(["--head"], metavar="REF", help="With --base: merge this commit, not the work tree."),
    click.Option(["--data"], is_flag=True, help="Also say what every export of an audience would send."),
    click.Option(["--detailed-exitcode"], is_flag=True, help="0 no changes, 2 changes, 1 error."),
    click.Option(
        ["--out"],
        metavar="FILE",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Save the plan to FILE (- prints it), for `reconcile apply`.",
    ),
)
def plan(call: Call, **options: Any) -> int:
    """Say what a pass would do, and change nothing.

    Works while a daemon runs. Runs that are due do not count as changes. With --base: what a merge would do. The exit
    code is 1 where a spec is invalid.
    """
    return show_plan(call, **options)


def show_plan(
    call: Call,
    *,
    output: str | None = None,
    base: str | None = None,
    head: str | None = None,
    data: bool = False,
    detailed_exitcode: bool = False,
    out: Path | None = None,
) -> int:
    """Prints a plan; the exit code."""
    merge = None if base is None else _merge(call, base, head or "", data)
    if head is not None and base is None:
        raise UsageError("--head goes with --base")
    found = merge.preview if merge is not None else _preview(call, data, kept=output == "json" or out is not None)
    if out is not None:
        from reconciler.cli.plan_file import write_plan

        write_plan(call.terminal, out, found.document)
    if out != STREAM:
        _print(call, output or "text", found, merge)
    warn_problems(call, found.problems)
    if found.problems:
        return ERRORS
    return CHANGES if detailed_exitcode and not found.plan.is_empty else 0


def _preview(call: Call, data: bool, *, kept: bool) -> Preview:
    from reconciler.controller import preview

    return preview(call.settings(), backfills=True, data=data, basis=kept)


def _merge(call: Call, base: str, head: str, data: bool) -> Merge:
    from reconciler.cli.merge import preview_merge

    if data:
        raise UsageError("--data asks the record, which --base does without; give one of them")
    return preview_merge(call.on_disk(), base, head)


def _print(call: Call, output: str, found: Preview, merge: Merge | None) -> None:
    match output:
        case "json":
            call.terminal.json(found.document)
        case "markdown":
            from reconciler.cli.markdown import markdown

            call.terminal.print(markdown(call, found, merge).rstrip("\n"))
        case _:
            if merge is None:
                print_plan(call, found)
            else:
                _print_compared(call, merge)
                print_plan(call, found, NOTHING_MERGED, " after the merge")


def _print_compared(call: Call, merge: Merge) -> None:
    from reconciler.cli.merge import compared_lines

    for sentence in compared_lines(merge):
        for line in _wrapped(sentence, call.terminal.width):
            call.terminal.print(line)
    call.terminal.print()


def print_plan(call: Call, found: Preview, nothing: str = NOTHING, when: str = "") -> None:
    """The plan for a person: what changes, what runs, what waits, and the sum; or that there is `nothing` to do. `when` it
    would be made true, where not by the next pass."""
    terminal, made = call.terminal, found.plan
    for action in made.actions:
        _print_action(call, action)
    if made.actions:
        terminal.print()
    if made.rebuild is not None:
        _print_rebuild(terminal, made.rebuild)
    if made.exports is not None:
        _print_list(
            call,
            "Exports of audiences",
            [(one.name, with_options(export_words(one), call.again)) for one in made.exports],
        )
    _print_list(call, "Runs that are due", [(run.name, run.reason) for run in made.runs])
    _print_backfills(call, made.backfills)
    blocked = set() if made.blocked is None else {(one.kind, one.name) for one in made.blocked.doomed}
    waiting = [one for one in made.waiting if (one.kind, one.name) not in blocked]
    _print_list(call, "Waiting", [(f"{one.kind} {one.name}", with_options(one.reason, call.again)) for one in waiting])
    if made.blocked is not None:
        for line in blocked_lines(call, made.blocked, when):
            terminal.print(line)
        terminal.print()
    terminal.print(terminal.paint(summary_line(made, found.problems, nothing), "bold"))


def _print_action(call: Call, action: Action) -> None:
    terminal, message = call.terminal, with_options(action.message, call.again)
    symbol, colour = _SYMBOLS.get(action.verb, _OTHERS)
    subject = f"{action.verb} {action.kind} {escape(action.name)}"
    terminal.print(f"  {terminal.paint(symbol, colour)} {terminal.paint(subject, 'bold')}  {escape(action.reason)}")
    for change in action.changes:
        _print_change(terminal, change)
    if action.resets_cursor:
        consequence = message.removeprefix("the cursor is dropped: ")
        _print_message(terminal, f"! resets the cursor{': ' if consequence else ''}{consequence}", "red", "bold")
    elif message:
        _print_message(terminal, message)


def _print_rebuild(terminal: Terminal, rebuild: Rebuild) -> None:
    """What the profiles cost that follow from a changed stream."""
    size = (
        f"{rebuild.messages:,} messages ({rebuild.size / 1e6:,.1f} MB) of {', '.join(rebuild.streams) or 'no stream'}"
    )
    because = f"{listed(rebuild.because)} {'says' if len(rebuild.because) == 1 else 'say'}"
    text = f"Profiles are built anew from {size}, because of what {because} about people; the old ones serve meanwhile."
    for line in _wrapped(text, terminal.width):
        terminal.print(line)
    terminal.print()


def _print_backfills(call: Call, backfills: Sequence[PlannedBackfill]) -> None:
    """How much each would add, and what follows from that."""
    if not backfills:
        return
    terminal = call.terminal
    terminal.print("Backfills:")
    for one in backfills:
        said = with_options(backfill_words(one), call.again)
        for line in _wrapped(said, terminal.width - 4):
            terminal.print(f"    {line}")
    terminal.print()


def _print_message(terminal: Terminal, text: str, *styles: str) -> None:
    for line in _wrapped(text, terminal.width - 6):
        terminal.print(f"      {terminal.paint(line, *styles)}")


def _print_change(terminal: Terminal, change: Change) -> None:
    """`field: before → after` in one line, or in three where that is too long."""
    before, after = _value(change.before), _value(change.after)
    line = f"      {escape(change.field)}: {before} → {after}"
    if cells(line) <= terminal.width:
        terminal.print(line)
        return
    terminal.print(f"      {escape(change.field)}:")
    terminal.print(cut(f"        {before}", terminal.width))
    terminal.print(cut(f"        → {after}", terminal.width))


def _wrapped(text: str, width: int) -> list[str]:
    import textwrap  # most plans have nothing to wrap

    return textwrap.wrap(escape(text), width, break_on_hyphens=False)


def _value(value: Any) -> str:
    return "(none)" if value is None else escape(json.dumps(value, ensure_ascii=False))


def _print_list(call: Call, title: str, lines: Sequence[tuple[str, str]]) -> None:
    if not lines:
        return
    terminal = call.terminal
    shown = lines if call.verbose else lines[:LISTED]
    terminal.print(f"{title}:")
    width = max(cells(escape(name)) for name, _ in shown)
    for name, reason in shown:
        text = escape(name)
        terminal.print(f"    {text}{' ' * (width - cells(text))}  {escape(reason)}")
    if len(shown) < len(lines):
        terminal.print(f"    … and {len(lines) - len(shown)} more (-v shows all)")
    terminal.print()
