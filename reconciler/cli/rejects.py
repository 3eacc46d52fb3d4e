"""`reconcile rejects`: what a job has left out, with the reason. The rows are shown as they came, because that is what it
takes to mend them; a row may hold personal data, and nothing of it is masked.

Of an export of an audience it is who is left out just now: its ledger knows, and what was kept of a member says as what it
was to be sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from reconciler.cli.lookup import find_job, reading
from reconciler.cli.options import Call, command, output_option
from reconciler.cli.terminal import cut, escape, json_line
from reconciler.errors import ReconcileError

if TYPE_CHECKING:
    from reconciler.controller.omitted import Omitted, OmittedMember
    from reconciler.record.jobs import JobRow

#: Rejects that are shown unless more are asked for.
LIMIT: Final = 100
#: Characters of one row that are shown as text; `-o json` and `-v` show all of it.
SHOWN: Final = 1_000

#: The run, the unit and the file, relative to the data folder.
Place = tuple[int, int, str]


@command(
    "rejects",
    click.Argument(["name"]),
    click.Option(
        ["--limit"], metavar="N", type=click.IntRange(1), default=LIMIT, show_default=True, help="How many to show."
    ),
    click.Option(["--retry"], is_flag=True, help="Ask an export of an audience to try those again that were refused."),
    click.Option(["--release"], is_flag=True, help="The same, and those too whose last action may have arrived."),
    output_option("text", "json"),
)
def rejects(call: Call, name: str, limit: int, retry: bool, release: bool, output: str) -> None:
    """List what a job has left out, with the reasons.

    The newest run first. Of an export of an audience these are the members that are omitted now; of any other job, what its
    last 100 runs have left out. Rows are shown as they came: nothing in them is masked. JSON is one object a line.
    """
    if retry or release:
        from reconciler.controller.deeds import perform

        what = "all" if release else "refused"
        call.terminal.print(escape(perform(call.state, "retry", job=name, what=what).message))
        return
    with reading(call) as record:
        job = find_job(call, record, name)
        places = record.runs.rejects(job.id)
    found = _all(call, places)
    now = _omitted(call, job, limit + 1)
    if now is not None:
        found = of_members(now, found)
    shown = 0
    for reject in islice(found, limit):
        shown += 1
        _print(call, reject, output, of_members=now is not None)
    if not shown and output == "text":
        what = "leaves nobody out" if now is not None else "has left nothing out in the runs that are kept"
        call.terminal.print(f"{escape(name)} {what}.")
    if next(found, None) is not None:
        call.terminal.warn(f"There are more than these {limit:,}: --limit shows more.")


def _omitted(call: Call, job: JobRow, limit: int) -> Omitted | None:
    from reconciler.controller.omitted import omitted_members

    return omitted_members(call.settings(), job, limit)


def of_members(now: Omitted, rejects: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What the plan at hand has left out so far, then whom the ledger holds as omitted, each with what was kept of it
    last."""
    waiting = {one.member: one for one in now.members}
    kept: dict[str, dict[str, Any]] = {}
    for reject in rejects:
        member = _member(reject)
        if now.since and reject["run"] >= now.since:
            waiting.pop(member, None)
            yield reject
        elif member in waiting:
            kept.setdefault(member, reject)
        if (not now.since or reject["run"] < now.since) and len(kept) == len(waiting):
            break
    for one in waiting.values():
        yield {**kept.get(one.member, _unkept(now, one)), "reason": one.reason}


def _member(reject: dict[str, Any]) -> str:
    """Whom a reject is about; empty where it is about a row."""
    try:
        return str(json.loads(reject["text"])["member"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return ""


def _unkept(now: Omitted, one: OmittedMember) -> dict[str, Any]:
    """What is known of a member of whom nothing was kept."""
    fields = f',"fields":{one.fields}' if one.fields else ""
    return {
        "run": one.run,
        "unit": 0,
        "source": now.audience,
        "line": 0,
        "text": f'{{"member":"{one.member}"{fields}}}',
    }


def _all(call: Call, places: Sequence[Place]) -> Iterator[dict[str, Any]]:
    """Every reject, file by file; within one in the order in which they stood at the source."""
    for run, unit, file in places:
        path = call.state / "data" / file
        try:
            yield from ({"run": run, "unit": unit, **reject} for reject in _read(path))
        except FileNotFoundError:
            call.terminal.warn(f"{escape(str(path))} is not there any more.")
        except OSError as error:
            raise ReconcileError(f"{path} cannot be read: {error.strerror or error}") from error


def _read(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a rejects file. One that is damaged is shown as it is."""
    with path.open(encoding="utf-8", errors="backslashreplace") as lines:
        for line in lines:
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                value = None
            damaged = {"source": "", "line": 0, "reason": "this line of the rejects file is damaged", "text": line}
            yield value if isinstance(value, dict) else damaged


def _print(call: Call, reject: dict[str, Any], output: str, *, of_members: bool) -> None:
    if output == "json":
        call.terminal.print(json_line(reject))
        return
    terminal = call.terminal
    source, line = escape(str(reject.get("source", ""))), reject.get("line")
    where = f"{source}:{line}" if line and not of_members else source
    unit = f", unit {reject['unit']}" if reject["unit"] else ""
    parts = [f"run {reject['run']}{unit}", where, escape(str(reject.get("reason", "")))]
    terminal.print(": ".join(part for part in parts if part))
    text = escape(str(reject.get("text", "")).rstrip("\r\n"))
    if text:
        terminal.print(f"    {text if call.verbose else cut(text, SHOWN)}")
