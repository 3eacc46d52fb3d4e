"""`reconcile drift`: what was changed behind the controller's back, one line each. It changes nothing itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from reconciler.cli.options import Call, command, output_option
from reconciler.cli.terminal import escape

if TYPE_CHECKING:
    from reconciler.core.drift import Drift

DRIFTED: Final = 4


@command(
    "drift",
    click.Option(["--quick"], is_flag=True, help="Compare data files by their size alone; do not read them."),
    output_option("text", "json"),
)
def drift(call: Call, quick: bool, output: str) -> int:
    """Say what was changed behind the controller's back.

    Compares statuses, logs, data files, the audit log and the record with what the controller has written. Nothing is
    changed, and nothing created: the record is opened read-only. Works beside a daemon. The exit code is 4 where
    anything has drifted.
    """
    from reconciler.controller.drifting import find_drift

    found = find_drift(call.settings(), reads_data=not quick)
    if output == "json":
        call.terminal.json(
            {"drifted": bool(found.drifts), "checked": found.checked, "drifts": [_json(one) for one in found.drifts]}
        )
    else:
        for one in found.drifts:
            call.terminal.print(_line(call, one))
        call.terminal.print(_summary(len(found.drifts), found.checked))
    return DRIFTED if found.drifts else 0


def _json(one: Drift) -> dict[str, Any]:
    return {
        "what": one.what,
        "subject": one.subject,
        "expected": one.expected,
        "found": one.found,
        "mends": one.mends,
    }


def _line(call: Call, one: Drift) -> str:
    what = call.terminal.paint(one.what, "yellow")
    return (
        f"{what} {escape(one.subject)}: expected {escape(one.expected)}, found {escape(one.found)}; {escape(one.mends)}"
    )


def _summary(drifted: int, checked: int) -> str:
    files = f"{checked:,} {'file was' if checked == 1 else 'files were'} compared with the record"
    if not drifted:
        return f"Nothing has drifted; {files}." if checked else "Nothing is recorded yet, so nothing can have drifted."
    return f"{drifted:,} {'thing has' if drifted == 1 else 'things have'} drifted; {files}."
