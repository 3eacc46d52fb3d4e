"""The one door through which every error leaves the command line, as text and an exit code (design, section 6).

    ReconcileError        its text; its own exit code
    click's usage errors  its text and the usage line; 2
    Ctrl-C                130
    what a damaged or locked record makes of any command: its text, with the repair; 1
    anything else         our bug: one line, a report file with the traceback, 3

A report holds the traceback, versions and the command's own words; the values of the environment, where secrets live,
are blanked out wherever they occur.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click

from reconciler.cli.options import Call
from reconciler.cli.problems import warn_problems
from reconciler.cli.terminal import Terminal, escape
from reconciler.clock import Clock, iso
from reconciler.errors import ReconcileError, SpecInvalid

UNWRITABLE: Final = 1
USAGE: Final = 2
BUG: Final = 3
INTERRUPTED: Final = 130
#: Values of the environment that are shorter are no secrets, and would blank out half of a traceback.
SHORTEST_SECRET: Final = 6
#: What an environment tells everyone, and a traceback needs.
_HARMLESS: Final = frozenset(
    ("HOME", "PATH", "PWD", "OLDPWD", "SHELL", "USER", "LOGNAME", "LANG", "TERM", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH")
)


def run(command: Callable[[], int], call: Callable[[], Call]) -> int:
    """Runs a command; its exit code, whatever happens. `call` is asked only when the command is over."""
    try:
        code = command()
    except BaseException as error:
        code = _explain(error, call())
    terminal = call().terminal
    terminal.flush()
    if terminal.failure is not None:
        terminal.warn(f"Error: standard output cannot be written: {terminal.failure.strerror}")
        code = code or UNWRITABLE
    return code


def _explain(error: BaseException, call: Call) -> int:
    """Says what happened; the exit code."""
    terminal = call.terminal
    match error:
        case SpecInvalid():
            warn_problems(call, error.problems)
            return error.exit_code
        case ReconcileError():
            terminal.warn(f"Error: {escape(str(error))}")
            return error.exit_code
        case click.exceptions.Exit():
            return error.exit_code
        case click.ClickException():
            return _usage(terminal, error)
        case SystemExit(__context__=BrokenPipeError()):
            return 0  # nobody reads click's help any more
        case KeyboardInterrupt() | click.exceptions.Abort():
            return INTERRUPTED
        case Exception() | SystemExit():
            return _bug(terminal, error, call)
        case _:
            raise error


def _usage(terminal: Terminal, error: click.ClickException) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):  # of `reconcile auth` alone: its message is the help
        terminal.warn(error.ctx.get_help())
        return USAGE
    if isinstance(error, click.UsageError) and error.ctx is not None:
        terminal.warn(error.ctx.get_usage())
        terminal.warn(f"Try '{error.ctx.command_path} --help' for help.")
    terminal.warn(f"Error: {escape(error.format_message())}")
    return USAGE


def _bug(terminal: Terminal, error: BaseException, call: Call) -> int:
    from reconciler.record.database import explanation

    refused = explanation(error, call.state)
    if refused is not None:
        terminal.warn(f"Error: {escape(str(refused))}")
        return refused.exit_code
    import traceback  # only where there is something to report

    text = redacted("".join(traceback.format_exception(error)))
    line = redacted(f"{type(error).__name__}: {error}".splitlines()[0])
    path = _write_report(text, call.state)
    where = f"the report is in {path}" if path else "no report could be written"
    terminal.warn(f"Internal error: {escape(line)}; this is a bug in reconcile, {where}")
    if call.verbose:
        for one in text.splitlines():
            terminal.warn(escape(one))
    return BUG


def redacted(text: str) -> str:
    """The text without any value of the environment that could be a secret."""
    values = {
        value
        for name, value in os.environ.items()
        if name not in _HARMLESS and len(value) >= SHORTEST_SECRET and not value.isspace()
    }
    if not values:
        return text
    longest_first = sorted(values, key=lambda value: (-len(value), value))
    return re.sub("|".join(map(re.escape, longest_first)), "***", text)


def _write_report(text: str, state: Path) -> Path | None:
    """In the state directory where there is one, else in the temporary one; None where neither can be written."""
    now = iso(Clock().now().wall_ms)
    name = f"reconcile-{now.replace(':', '').replace('.', '-')}-"
    body = f"{_heading(now)}\n\n{text}"
    import tempfile  # only where there is something to report

    for folder in (state / "reports" if os.path.isdir(state) else None, Path(tempfile.gettempdir())):
        if folder is None:
            continue
        try:
            folder.mkdir(exist_ok=True, mode=0o700)
            handle, path = tempfile.mkstemp(prefix=name, suffix=".txt", dir=folder)
            with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(body)
        except OSError:
            continue
        return Path(path)
    return None


def _heading(now: str) -> str:
    import platform

    from reconciler import __version__

    words = redacted(" ".join(sys.argv[1:]))
    return (
        f"reconcile {__version__}, Python {platform.python_version()}, {platform.platform()}\n{now}\n"
        f"reconcile {words}".rstrip()
    )
