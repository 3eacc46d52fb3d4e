"""The README says what `--help` says, of every command."""

from __future__ import annotations

import os
import subprocess
import sys

import click

from reconciler.cli.main import COMMANDS, reconcile
from tests.readme import README, commands, generated, help_of


def test_the_help_texts_in_the_readme_are_those_of_the_commands() -> None:
    text = README.read_text(encoding="utf-8")
    assert generated(text) == text, "run: python -m tests.readme --write"


def test_the_readme_has_the_help_of_every_command() -> None:
    context = click.Context(reconcile)
    groups = {name for name in COMMANDS if isinstance(reconcile.get_command(context, name), click.Group)}
    assert set(commands(README.read_text(encoding="utf-8"))) == {"", "auth check"} | (set(COMMANDS) - groups)


def test_a_help_text_is_what_the_command_prints() -> None:
    for command in ("", "plan", "auth check"):
        done = subprocess.run(
            [sys.executable, "-m", "reconciler", *command.split(), "--help"],
            cwd=README.parent, capture_output=True, text=True, timeout=60, check=True, env={**os.environ, "COLUMNS": "80"},
        )  # fmt: skip
        assert done.stdout.rstrip() == help_of(command).rstrip()
