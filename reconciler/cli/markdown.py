"""A plan as Markdown, for a comment of a pull request: the most dangerous first, within what GitHub takes, nothing cut in
silence, and nothing that a spec says obeyed.

Whatever was written by others stands in a code span or a fenced block: in those neither Markdown nor HTML is read, nobody is
mentioned and nothing becomes a link. What does not fit is left out in this order: details, then what is least dangerous; a
last line says how much, and which command shows it. A hidden first line lets a bot find the comment that it wrote before.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from posixpath import join, normpath
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from reconciler.cli.merge import Merge, compared_lines
from reconciler.cli.options import Call
from reconciler.cli.plan_words import NOTHING, NOTHING_MERGED, backfill_words, export_words, summary_line
from reconciler.cli.terminal import escape
from reconciler.core.planned import Risk
from reconciler.core.value import dataclass
from reconciler.core.words import with_options

if TYPE_CHECKING:
    from reconciler.controller import Preview
    from reconciler.core.planned import Action, Plan, Rebuild
    from reconciler.core.prune import Pruning

#: GitHub refuses a comment of more than 65,536 characters. Counted are UTF-16 code units, the most that anybody counts.
LIMIT: Final = 65_000
#: Kept free for the last lines, which say what is not shown.
RESERVED: Final = 1_500
#: A reason or a path that is longer is shortened, with a sign that says so.
LONGEST: Final = 400

#: Words that Markdown, GitHub and GitLab leave alone: no digit, no sign that begins a mention, a reference or a link.
_PLAIN: Final = re.compile(r"(?!.*www)[A-Za-z]+(?:(?: |, |; |: |\. |\.)[A-Za-z]+)*")
_HEADINGS: Final[dict[Risk | None, str]] = {
    Risk.DELETES: "Deletes",
    Risk.LANDS_TWICE: "Lands, or is sent, a second time",
    Risk.CHANGES_WHAT_IS_SENT: "Changes what is sent, or to whom",
    None: "Everything else",
}
_COUNTED: Final = {
    Risk.DELETES: "would delete",
    Risk.LANDS_TWICE: "would land or send something a second time",
    Risk.CHANGES_WHAT_IS_SENT: "would change what is sent, or to whom",
}
#: What is told first where the risk is the same.
_VERBS: Final = ("delete", "purge", "rerun", "create", "update", "move", "resume", "pause")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One line of the comment, with what belongs to it and may be left out. `noun` says what is not shown without it."""

    section: str
    noun: str
    line: str
    details: str = ""


def markdown(call: Call, found: Preview, merge: Merge | None, limit: int = LIMIT) -> str:
    """The whole comment, at most `limit` characters."""
    head = "\n".join(_head(call, found, merge)) + "\n"
    items = [
        *_blocked(found.plan.blocked, found.root),
        *_problems(found),
        *_actions(found.plan, found.root, call.again),
        *_others(found.plan),
    ]
    lines, details = _fit(items, limit - _size(head) - RESERVED)
    body = "".join(_section(name, part, details) for name, part in groupby(lines, key=lambda item: item.section))
    return head + body + _left_out(call, merge, items, lines, details)


# --- what stands there ----------------------------------------------------------------------------------------------


def _head(call: Call, found: Preview, merge: Merge | None) -> Iterator[str]:
    made = found.plan
    yield f"<!-- reconcile plan: root={quote(str(call.root), safe='/._').replace('--', '%2D%2D')} -->"
    nothing = NOTHING if merge is None else NOTHING_MERGED
    yield f"### {summary_line(made, found.problems, nothing)}"
    for sentence in [] if merge is None else compared_lines(merge, code):
        yield f"\n{sentence}"
    if made.blocked is not None:
        approve = code(f"{made.blocked.command}{call.again}")
        when = "" if merge is None else " after the merge"
        yield (
            f"\n**PruneBlocked:** {code(made.blocked.reason)}. Nothing is deleted until a person approves exactly these"
            f"{when}, with {approve}."
        )
    risks = [risk for action in made.actions if (risk := action.risk) is not None]
    counts = [f"{risks.count(risk)} {words}" for risk, words in _COUNTED.items() if risk in risks]
    if counts:
        yield f"\n**Look at these first:** {', '.join(counts)}."


def _blocked(prune: Pruning | None, root: str) -> Iterator[Item]:
    """The deletions that the budget holds back."""
    for one in () if prune is None else prune.doomed:
        line = f"- {one.kind} {code(one.name)} in {code(f'{root}/{one.path}')}\n"
        yield Item(section="Over the deletion budget", noun="blocked deletion", line=line)


def _problems(found: Preview) -> Iterator[Item]:
    refused = set(found.plan.refused)
    for problem in sorted(found.problems, key=lambda one: one in refused):
        where = f"{normpath(join(found.root, problem.path))}:{problem.line}:{problem.column}"
        text = f"{problem.field}: {problem.message}" if problem.field else problem.message
        section = "Refused by the policy" if problem in refused else "Invalid specs"
        yield Item(section=section, noun="problem", line=f"- {code(where)}: {code(text)}\n")


def _actions(made: Plan, root: str, again: str) -> Iterator[Item]:
    for one in _most_dangerous_first(made.actions):
        action = replace(one, message=with_options(one.message, again))
        line, details = _action_line(action, root), _changes(action)
        yield Item(section=_HEADINGS[action.risk], noun="action", line=line, details=details)


def _most_dangerous_first(actions: Iterable[Action]) -> list[Action]:
    """By risk, then by verb, kind and name."""
    risks = [*Risk, None]
    return sorted(actions, key=lambda one: (risks.index(one.risk), _VERBS.index(one.verb), one.kind, one.name))


def _action_line(action: Action, root: str) -> str:
    line = f"- **{action.verb}** {action.kind} {code(action.name)} in {code(f'{root}/{action.path}')}: {words(action.reason)}\n"
    return line + (f"  - {words(action.message)}\n" if action.message else "")


def _changes(action: Action) -> str:
    """What an edit changes, folded up."""
    if not action.changes:
        return ""
    lines: list[str] = []
    for change in action.changes:
        lines.append(f"  {escape(change.field)}")
        lines += [f"- {_value(change.before)}"] if change.before is not None else []
        lines += [f"+ {_value(change.after)}"] if change.after is not None else []
    count = "1 field" if len(action.changes) == 1 else f"{len(action.changes)} fields"
    block = "\n".join(f"  {line}" for line in fenced(lines, "diff"))
    return f"\n  <details><summary>{count}</summary>\n\n{block}\n\n  </details>\n\n"


def _others(made: Plan) -> Iterator[Item]:
    """What a pass would do besides, and what waits."""
    if made.rebuild is not None:
        yield Item(section="Profiles are built anew", noun="line", line=f"- {code(_rebuild_words(made.rebuild))}\n")
    for backfill in made.backfills:
        yield Item(section="Backfills", noun="backfill", line=f"- {code(backfill_words(backfill))}\n")
    for export in made.exports or ():
        line = f"- {code(export.name)}: {code(export_words(export))}\n"
        yield Item(section="Exports of audiences", noun="export", line=line)
    blocked = set() if made.blocked is None else {(one.kind, one.name) for one in made.blocked.doomed}
    for one in made.waiting:
        if (one.kind, one.name) in blocked:
            continue
        line = f"- {one.kind} {code(one.name)}: {words(one.reason)}\n"
        yield Item(section="Waiting", noun="waiting thing", line=line)
    for run in made.runs:
        line = f"- {code(run.name)}: {words(run.reason)}\n"
        yield Item(section="Runs that are due", noun="run", line=line)


def _rebuild_words(rebuild: Rebuild) -> str:
    streams = ", ".join(rebuild.streams) or "no stream"
    return f"{rebuild.messages:,} messages of {streams}, because of {', '.join(rebuild.because)}"


def _value(value: Any) -> str:
    return escape(json.dumps(value, ensure_ascii=False))


# --- how it is fitted -----------------------------------------------------------------------------------------------


def _fit(items: Sequence[Item], room: int) -> tuple[list[Item], set[int]]:
    """The items whose lines are shown, and, by their `id`, those that are shown with details. Lines come before any
    details, and both in order."""
    shown: list[Item] = []
    sections: set[str] = set()
    for item in items:
        size = _size(item.line) + (0 if item.section in sections else _size(_title(item.section)))
        if size <= room:
            shown.append(item)
            sections.add(item.section)
            room -= size
    detailed: set[int] = set()
    for item in shown:
        if item.details and _size(item.details) <= room:
            detailed.add(id(item))
            room -= _size(item.details)
    return shown, detailed


def _section(name: str, items: Iterable[Item], details: set[int]) -> str:
    return _title(name) + "".join(item.line + (item.details if id(item) in details else "") for item in items)


def _title(section: str) -> str:
    return f"\n#### {section}\n\n"


def _left_out(call: Call, merge: Merge | None, items: Sequence[Item], shown: Sequence[Item], details: set[int]) -> str:
    """What is not shown, and what shows it; empty where nothing is missing."""
    kept = {id(item) for item in shown}
    parts = []
    for noun in dict.fromkeys(item.noun for item in items):
        count = sum(item.noun == noun and id(item) not in kept for item in items)
        if count:
            parts.append(f"{count:,} {noun}{'' if count == 1 else 's'}")
    folded = sum(bool(item.details) and id(item) not in details for item in shown)
    if folded:
        parts.append(f"the details of {folded:,} {'action' if folded == 1 else 'actions'}")
    if not parts:
        return ""
    why = f"**Not shown here**, because a comment has no room for more: {', '.join(parts)}."
    return f"\n---\n\n{why} {code(_again(call, merge))} shows all.\n"


def _again(call: Call, merge: Merge | None) -> str:
    command = ["reconcile", "plan", "-v"]
    if merge is not None:
        command += ["--base", merge.compared.base]
        command += ["--head", merge.compared.head] if merge.compared.head else []
    return shlex.join(command) + call.again


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


# --- what others wrote ----------------------------------------------------------------------------------------------


def code(text: str) -> str:
    """A code span that holds exactly this text, on one line: its fence is longer than any run of backticks in it."""
    shown = escape(text)
    shown = f"{shown[: LONGEST - 1]}…" if len(shown) > LONGEST else shown
    fence = "`" * (_longest_run(shown) + 1)
    pad = " " if not shown.strip(" ") or "`" in (shown[0], shown[-1]) or " " == shown[0] == shown[-1] else ""
    return f"{fence}{pad}{shown or 'empty'}{pad}{fence}"


def words(text: str) -> str:
    """Text as it is where it is nothing but plain words, else as code."""
    return text if len(text) <= LONGEST and _PLAIN.fullmatch(text) else code(text)


def fenced(lines: Sequence[str], language: str) -> list[str]:
    """A fenced block of these lines, each escaped already."""
    fence = "`" * max(3, 1 + max((_longest_run(line) for line in lines), default=0))
    return [f"{fence}{language}", *lines, fence]


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)
