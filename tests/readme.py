"""The `--help` texts in the README, generated in place so that they cannot drift.

    python -m tests.readme --write

A text stands between `<!-- help:plan -->` and `<!-- /help -->`; `<!-- help: -->` is that of `reconcile` itself.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

import click

from reconciler.cli.main import reconcile

README: Final = Path(__file__).parents[1] / "README.md"
_BLOCK: Final = re.compile(r"<!-- help:(?P<command>[a-z ]*) -->\n.*?<!-- /help -->", re.DOTALL)
#: What click leaves of 80 columns.
WIDTH: Final = 78


def help_of(command: str) -> str:
    """What `reconcile COMMAND --help` prints on 80 columns."""
    context = _context(reconcile, "reconcile", None)
    for word in command.split():
        group = context.command
        assert isinstance(group, click.Group)
        inner = group.get_command(context, word)
        assert inner is not None, f"the README speaks of a command that is not there: {command}"
        context = _context(inner, word, context)
    return context.get_help()


def _context(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    return click.Context(
        command, info_name=name, parent=parent, terminal_width=WIDTH, help_option_names=["-h", "--help"]
    )


def generated(text: str) -> str:
    """The README with every help text as it is now."""

    def block(match: re.Match[str]) -> str:
        command = match["command"]
        return f"<!-- help:{command} -->\n```text\n{help_of(command).rstrip()}\n```\n<!-- /help -->"

    return _BLOCK.sub(block, text)


def commands(text: str) -> list[str]:
    """The commands whose help the README has."""
    return [match["command"] for match in _BLOCK.finditer(text)]


if __name__ == "__main__":
    new = generated(README.read_text(encoding="utf-8"))
    if "--write" in sys.argv[1:]:
        README.write_text(new, encoding="utf-8")
    else:
        print(new)
