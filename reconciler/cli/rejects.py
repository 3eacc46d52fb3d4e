"""`reconcile rejects`: what a job has left out, with the reason. The rows are shown as they came, because that is what it
takes to mend them; a row may hold personal data, and nothing of it is masked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

import click

from reconciler.cli.lookup import find_job, reading
from reconciler.cli.options import Call, command, output_option
from reconciler.cli.terminal import cut, escape, json_line
from reconciler.errors import ReconcileError

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

    The newest run first. What is kept are the rejects of the job's last 100 runs. Rows are shown as they came: nothing in
    them is masked. JSON is one object a line.
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
    shown = 0
    for reject in islice(found, limit):
        shown += 1
        _print(call, reject, output)
    if not shown and output == "text":
        call.terminal.print(f"{escape(name)} has left nothing out in the runs that are kept.")
    if next(found, None) is not None:
        call.terminal.warn(f"There are more than these {limit:,}: --limit shows more.")


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


def _print(call: Call, reject: dict[str, Any], output: str) -> None:
    if output == "json":
        call.terminal.print(json_line(reject))
        return
    terminal = call.terminal
    source, line = escape(str(reject.get("source", ""))), reject.get("line")
    where = f"{source}:{line}" if line else source
    parts = [f"run {reject['run']}, unit {reject['unit']}", where, escape(str(reject.get("reason", "")))]
    terminal.print(": ".join(part for part in parts if part))
    text = escape(str(reject.get("text", "")).rstrip("\r\n"))
    if text:
        terminal.print(f"    {text if call.verbose else cut(text, SHOWN)}")
