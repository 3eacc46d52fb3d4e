"""`reconcile plan`: what a pass would do, and why; nothing is changed, and a daemon may be at work meanwhile."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from reconciler.cli.options import Call, command
from reconciler.cli.problems import warn_problems
from reconciler.cli.pruning import blocked_lines
from reconciler.cli.terminal import Terminal, cells, cut, escape
from reconciler.core.backfill import amount
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.cli.merge import Merge
    from reconciler.controller import Preview
    from reconciler.core.change import Change
    from reconciler.core.planned import Action, Plan, PlannedBackfill, PlannedExport, Rebuild

CHANGES: Final = 2
ERRORS: Final = 1
STREAM: Final = Path("-")
NOTHING: Final = "No changes. The record is what the specs declare."
NOTHING_MERGED: Final = "No changes. The merge would do nothing."
#: Runs and waiting things that are listed without `-v`.
LISTED: Final = 20

_SYMBOLS: Final = {"create": ("+", "green"), "delete": ("-", "red"), "purge": ("-", "red")}
_OTHERS: Final = ("~", "yellow")
#: Verbs that the summary names even where there are none of them.
_ALWAYS: Final = ("create", "update", "delete")


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
            if merge is not None:
                _print_compared(call, merge)
            print_plan(call, found, nothing=NOTHING_MERGED if merge is not None else NOTHING)


def _print_compared(call: Call, merge: Merge) -> None:
    from reconciler.cli.merge import compared_lines

    for sentence in compared_lines(merge):
        for line in textwrap.wrap(escape(sentence), call.terminal.width, break_on_hyphens=False):
            call.terminal.print(line)
    call.terminal.print()


def print_plan(call: Call, found: Preview, nothing: str = NOTHING) -> None:
    """The plan for a person: what changes, what runs, what waits, and the sum; or that there is `nothing` to do."""
    terminal, made = call.terminal, found.plan
    for action in made.actions:
        _print_action(terminal, action)
    if made.actions:
        terminal.print()
    if made.rebuild is not None:
        _print_rebuild(terminal, made.rebuild)
    if made.exports is not None:
        _print_list(call, "Exports of audiences", [(one.name, export_words(one)) for one in made.exports])
    _print_list(call, "Runs that are due", [(run.name, run.reason) for run in made.runs])
    _print_backfills(terminal, made.backfills)
    blocked = set() if made.blocked is None else {(one.kind, one.name) for one in made.blocked.doomed}
    waiting = [one for one in made.waiting if (one.kind, one.name) not in blocked]
    _print_list(call, "Waiting", [(f"{one.kind} {one.name}", one.reason) for one in waiting])
    if made.blocked is not None:
        for line in blocked_lines(call, made.blocked):
            terminal.print(line)
        terminal.print()
    terminal.print(terminal.paint(summary_line(made, problems=len(found.problems), nothing=nothing), "bold"))


def summary_line(made: Plan, *, problems: int, nothing: str = NOTHING) -> str:
    """`Plan: 2 to create, 1 to update, 0 to delete.`, or that nothing changes; what waits is never passed over."""
    waits = "" if made.blocked is None else f" {_deletions(len(made.blocked.doomed))} blocked."
    if made.is_empty and waits:
        return f"No other changes;{waits}"
    if made.is_empty and problems:
        return "No changes, but some specs are invalid."
    if made.is_empty:
        waiting = len(made.waiting)
        return f"No changes, but {waiting:,} {'waits' if waiting == 1 else 'wait'}." if waiting else nothing
    counts = [f"{count} to {verb}" for verb, count in made.summary.items() if count or verb in _ALWAYS]
    return f"Plan: {', '.join(counts)}.{waits}"


def _deletions(number: int) -> str:
    return f"{number:,} deletion is" if number == 1 else f"{number:,} deletions are"


def _print_action(terminal: Terminal, action: Action) -> None:
    symbol, colour = _SYMBOLS.get(action.verb, _OTHERS)
    subject = f"{action.verb} {action.kind} {escape(action.name)}"
    terminal.print(f"  {terminal.paint(symbol, colour)} {terminal.paint(subject, 'bold')}  {escape(action.reason)}")
    for change in action.changes:
        _print_change(terminal, change)
    if action.resets_cursor:
        consequence = action.message.removeprefix("the cursor is dropped: ")
        _print_message(terminal, f"! resets the cursor{': ' if consequence else ''}{consequence}", "red", "bold")
    elif action.message:
        _print_message(terminal, action.message)


def export_words(export: PlannedExport) -> str:
    """What an export would send, in one line."""
    if export.unknown:
        return f"unknown: {export.unknown}"
    requests = "1 request" if export.requests == 1 else f"{export.requests:,} requests"
    words = [
        f"add {export.adds:,}, change {export.updates:,}, remove {export.removes:,} of {export.audience}, in {requests}"
    ]
    words += [f"omit {count:,}: {reason}" for reason, count in export.omits]
    words += [f"held: {objection}" for objection in export.held]
    if export.omitted_before:
        words.append(f"{export.omitted_before:,} were omitted before (`reconcile rejects {export.name}`)")
    if export.unsent:
        words.append(f"{export.unsent:,} rows of an older plan are open")
    if export.behind:
        words.append(f"{export.behind:,} newer messages are built first, and may change this")
    return "; ".join(words)


def _print_rebuild(terminal: Terminal, rebuild: Rebuild) -> None:
    """What the profiles cost that follow from a changed stream."""
    size = (
        f"{rebuild.messages:,} messages ({rebuild.size / 1e6:,.1f} MB) of {', '.join(rebuild.streams) or 'no stream'}"
    )
    because = " and ".join(rebuild.because)
    text = f"Profiles are built anew from {size}, because of what {because} says about people; the old ones serve meanwhile."
    for line in textwrap.wrap(escape(text), terminal.width, break_on_hyphens=False):
        terminal.print(line)
    terminal.print()


def _print_backfills(terminal: Terminal, backfills: Sequence[PlannedBackfill]) -> None:
    """How much each would add, and what follows from that."""
    if not backfills:
        return
    terminal.print("Backfills:")
    for one in backfills:
        for line in textwrap.wrap(escape(backfill_words(one)), terminal.width - 4, break_on_hyphens=False):
            terminal.print(f"    {line}")
    terminal.print()


def backfill_words(one: PlannedBackfill) -> str:
    """What a person must know before it begins."""
    found = one.estimate
    if found is None:
        adds = f"{one.name}: how much it adds to stream {one.stream} is not known: {one.unknown}."
    elif not found.parts:
        adds = f"{one.name} finds nothing new for stream {one.stream}."
    else:
        adds = f"{one.name} adds {amount(found)} to stream {one.stream}, which grows by about {one.adds / 1e6:,.1f} MB."
    parts = [adds, _rebuild_growth(one), "" if one.timed or _is_nothing(one) else _UNTIMED]
    if one.waits:
        parts.append(f"It waits for approval, because that is more than backfill.maxMessages ({one.limit:,}).")
    return " ".join(part for part in parts if part)


#: What follows where the messages' own time is not known.
_UNTIMED: Final = (
    "Its messages have no time of their own (neither timestampField nor the stream's timestamp is given), so they count "
    "as newer than all that is there."
)


def _is_nothing(one: PlannedBackfill) -> bool:
    return one.estimate is not None and not one.estimate.parts


def _rebuild_growth(one: PlannedBackfill) -> str:
    """By how much a rebuild of the profiles grows."""
    if one.rebuild is None or _is_nothing(one):
        return ""
    now, after = one.rebuild
    if one.estimate is None:
        return f"A rebuild of the profiles, which reads {now:,} messages now, grows by as many."
    about = "" if one.estimate.exact else "about "
    share = f" ({(after - now) / now:,.0%} more)" if now else ""
    return f"A rebuild of the profiles then reads {about}{after:,} messages instead of {now:,}{share}."


def _print_message(terminal: Terminal, text: str, *styles: str) -> None:
    for line in textwrap.wrap(escape(text), terminal.width - 6, break_on_hyphens=False):
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
