"""`reconcile apply PLAN`: exactly what a saved plan says, or a refusal that names what has moved."""

from __future__ import annotations

import os
from pathlib import Path

import click

from reconciler.cli.options import Call, command, pass_options
from reconciler.cli.plan_file import STREAM, read_plan_file
from reconciler.errors import Blocked, Locked


@command(
    "apply",
    click.Argument(["plan"], metavar="PLAN", type=click.Path(path_type=Path)),
    *pass_options(),
)
def apply(call: Call, plan: Path) -> int:
    """Do exactly what a saved plan says.

    PLAN is a file that `reconcile plan --out` wrote (- reads it from standard input). Its actions are done, then the
    runs that it lists, and nothing else. Where anything that the plan was made from has moved since (a spec, a job,
    the revision, the record), or where it was applied before, nothing is done: exit code 5, and what has moved.
    """
    from reconciler.cli.run import face, print_report
    from reconciler.controller import open_controller
    from reconciler.controller.requests import user_name
    from reconciler.core.saved_plan import read_plan

    saved = read_plan(read_plan_file(plan), "standard input" if plan == STREAM else str(plan))
    settings = call.settings()
    if saved.needs_record and not (settings.state / "record.db").exists():
        raise Blocked(
            f"{saved.shown} was made beside a record, and there is none in {settings.state}; nothing was done"
        )
    try:
        expects = bool(saved.runs)
        with face(call) as listener, open_controller(settings, listener, expects_runs=expects) as controller:
            report = controller.apply(saved, user_name(os.geteuid()))
    except Locked as error:
        hint = "a controller at work makes the specs true by itself, so a saved plan is applied where none is"
        raise Locked(f"{error} ({hint})") from error
    print_report(call, report)
    return report.exit_code
