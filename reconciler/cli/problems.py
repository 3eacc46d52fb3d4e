"""How what is wrong with specs is said: `path:line:col: error: field: message`, the path as seen from here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from reconciler.cli.options import Call
from reconciler.cli.terminal import escape
from reconciler.errors import Problem


def problem_line(problem: Problem) -> str:
    """One problem in one line; its path is relative to the current directory."""
    return escape(str(problem))


def problem_json(problem: Problem) -> dict[str, Any]:
    """One problem as JSON; fields are added, never changed."""
    return {
        "path": problem.path,
        "line": problem.line,
        "column": problem.column,
        "field": problem.field,
        "message": problem.message,
        "kind": problem.kind,
        "name": problem.name,
    }


def seen_from_here(call: Call, problem: Problem) -> Problem:
    """A problem whose path is relative to the root, as seen from the current directory."""
    return replace(problem, path=call.relative(problem.path))


def warn_problems(call: Call, problems: Iterable[Problem]) -> None:
    """Every problem on standard error; their paths are relative to the root."""
    for problem in problems:
        call.terminal.warn(problem_line(seen_from_here(call, problem)))


def mention_problems(call: Call, problems: Iterable[Problem]) -> None:
    """One line on standard error that some specs are invalid, and how to see which."""
    paths = {problem.path for problem in problems}
    if "." in paths:
        call.terminal.warn(f"The newest specs cannot be read: run `reconcile plan{call.again}`")
    count = len(paths - {"."})
    if count:
        files = "1 file has" if count == 1 else f"{count} files have"
        call.terminal.warn(
            f"{files} an invalid spec: run `reconcile {'plan' if call.source else 'validate'}{call.again}`"
        )
