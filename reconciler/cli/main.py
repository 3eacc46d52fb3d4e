"""The command line: `reconcile` and its commands, each in a module named after it and loaded when it is called.

This module imports click and nothing heavy, so that `reconcile --help` answers at once; the one-line helps of the
commands stand in the table for the same reason, and a test holds them equal to the commands' own.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from reconciler.cli import door
from reconciler.cli.lookup import suggestion
from reconciler.cli.options import call_of, common_options, pass_options
from reconciler.errors import UsageError


class Entry(NamedTuple):
    """Where a command is, as `module:attribute` below `reconciler.cli`, and what it does in one line."""

    place: str
    help: str


COMMANDS: Final = {
    "plan": Entry("plan:plan", "Say what a pass would do, and change nothing."),
    "apply": Entry("apply:apply", "Do exactly what a saved plan says."),
    "validate": Entry("validate:validate", "Check specs offline; no record is needed."),
    "list": Entry("list:list_jobs", "List the jobs and their statuses."),
    "show": Entry("show:show", "Show one job: status, facts, metrics, configuration, events."),
    "logs": Entry("logs:logs", "Print the events of a job."),
    "why": Entry("why:why", "Say why a job is not running, and what happens next."),
    "history": Entry("history:history", "Show what was done, by whom, because of which commit."),
    "audit": Entry("audit:audit", "Check the log of every action and every act of a person."),
    "drift": Entry("drift:drift", "Say what was changed behind the controller's back."),
    "record": Entry("record:record", "Check, back up and restore the record of what was made true."),
    "audience": Entry("audience:audience", "Show an audience: its size, some members, its growth."),
    "metrics": Entry("metrics:metrics", "Show what a job has moved over time."),
    "rejects": Entry("rejects:rejects", "List what a job has left out, with the reasons."),
    "streams": Entry("streams:streams", "List the streams: what they hold, and what still comes."),
    "stream": Entry("streams:stream", "Destroy the messages of a stream that is not declared any more."),
    "rebuild": Entry("rebuild:rebuild", "Build all profiles anew from the raw messages."),
    "approve": Entry("approve:approve", "Approve what a guard, a limit or the deletion budget holds back."),
    "undelete": Entry("undelete:undelete", "Bring a deleted job back, with its cursor and its history."),
    "forget": Entry("forget:forget", "Forget a person, here and at every destination."),
    "profile": Entry("profile:profile", "Show what is known of one person, and who said so."),
    "pause": Entry("edit:pause", "Pause jobs, by editing their specs."),
    "resume": Entry("edit:resume", "Resume paused or failed jobs, by editing their specs."),
    "rerun": Entry("edit:rerun", "Ask for one more run of jobs, by editing their specs."),
    "providers": Entry("providers:providers", "Show the catalogue: providers, job types, methods, fields."),
    "auth": Entry("auth:auth", "Try authorizations against the real systems."),
    "schema": Entry("schema:schema", "Print the JSON Schema of one kind of spec, or of all."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.place.partition(":")
        found: click.Command = getattr(importlib.import_module(f"reconciler.cli.{module}"), attribute)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(f"there is no command '{args[0]}'{suggestion(args[0], COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


def _print_version(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from reconciler import __version__

        click.echo(f"reconcile {__version__}")
        context.exit()


_VERSION = click.Option(
    ["--version"], is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Print the version."
)
_MODES = [
    click.Option(
        ["--watch"], is_flag=True, help="Keep going: follow files, timers and signals until SIGTERM or Ctrl-C."
    ),
    click.Option(["--listen"], metavar="HOST:PORT", help="With --watch: take messages in over HTTP."),
    click.Option(["--dry-run"], is_flag=True, help="The same as `reconcile plan`, with its options."),
]
_PLAN = [
    click.Option(
        ["-o", "--output", "output"], type=click.Choice(["text", "json", "markdown"]), help="With --dry-run: format."
    ),
    click.Option(["--base"], metavar="REF", help="With --dry-run: what a merge into REF would do."),
    click.Option(["--head"], metavar="REF", help="With --base: merge this commit, not the work tree."),
    click.Option(["--data"], is_flag=True, help="With --dry-run: also what every export of an audience would send."),
    click.Option(["--detailed-exitcode"], is_flag=True, help="With --dry-run: 0 no changes, 2 changes, 1 error."),
    click.Option(
        ["--out"],
        metavar="FILE",
        type=click.Path(path_type=Path, dir_okay=False),
        help="With --dry-run: save the plan to FILE.",
    ),
]


def _reconcile(*, watch: bool, listen: str | None, dry_run: bool, **planning: Any) -> int | None:
    """Make the declared jobs true.

    Without a command: one pass. It loads the specs, plans, applies the plan, runs what is due, waits for those runs,
    and writes each job's status and log beside its spec.

    \b
    Exit codes: 0 done or nothing to do; 1 a spec is invalid or a job ended in
    error; 2 wrong usage; 3 a bug in reconcile; 4 drift (`reconcile drift`);
    5 blocked by a guard; 130 interrupted.
    """
    context = click.get_current_context()
    if context.invoked_subcommand is not None:
        _refuse_modes(context)
        return None
    if watch and dry_run:
        raise UsageError("--watch and --dry-run exclude each other")
    call = call_of(context.ensure_object(dict))
    if dry_run:
        from reconciler.cli.plan import show_plan

        return show_plan(call, **planning)
    if listen and not watch:
        raise UsageError("--listen goes with --watch")
    for option in _PLAN:
        if planning[str(option.name)]:
            raise UsageError(f"{option.opts[0]} goes with --dry-run, or after a command")
    from reconciler.cli.run import keep_going, one_pass

    return keep_going(call, listen or "") if watch else one_pass(call)


def _refuse_modes(context: click.Context) -> None:
    """`--watch` and its like mean `reconcile` itself; before a command they are a mistake."""
    for option in (*_MODES, *_PLAN):
        if context.params.get(str(option.name)):
            raise UsageError(f"{option.opts[0]} goes before no command; put it after '{context.invoked_subcommand}'")


reconcile = LazyGroup(
    "reconcile",
    callback=_reconcile,
    help=_reconcile.__doc__,
    params=[*_MODES, *pass_options(), *common_options(), *_PLAN, _VERSION],
    invoke_without_command=True,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    subcommand_metavar="[COMMAND] ...",
)


def entry(arguments: list[str] | None = None) -> int:
    """The command `reconcile`: its exit code. `arguments` are those of the process where none are given."""
    noted: dict[str, Any] = {}

    def command() -> int:
        code = reconcile.main(arguments, prog_name="reconcile", standalone_mode=False, obj=noted)
        return code if isinstance(code, int) else 0

    return door.run(command, lambda: call_of(noted))
