"""`reconcile undelete`: a job that no file declared any more, and that was deleted, is there again as it was; it goes on as
soon as its spec is back."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from reconciler.cli.lookup import reading, suggestion
from reconciler.cli.options import Call, command
from reconciler.cli.specs import desired_content, is_there
from reconciler.cli.terminal import escape
from reconciler.clock import Clock, iso
from reconciler.errors import UsageError
from reconciler.record.holder import controller_at_work
from reconciler.repo.git import GitUnusable

if TYPE_CHECKING:
    from reconciler.record.deletions import Deletion


@command("undelete", click.Argument(["name"], required=False))
def undelete(call: Call, name: str | None) -> None:
    """Bring a deleted job back, with its cursor and its history.

    For 7 days after its deletion. It does nothing until a file declares it again; says which one to restore. Without
    NAME: lists the jobs that can be brought back.
    """
    with reading(call) as record:
        found = record.deletions.deletions()
    if name is None:
        _list(call, found)
        return
    if all(one.name != name for one in found):
        with reading(call) as record:
            there = record.jobs.job(name) is not None
        near = suggestion(name, [one.name for one in found])
        raise UsageError(f"the job '{name}' is not deleted" if there else f"there is no deleted job '{name}'{near}")
    from reconciler.controller.deeds import perform

    call.terminal.print(escape(perform(call.state, "undelete", job=name).message))
    for line in _restoring(call, next(one for one in found if one.name == name)):
        call.terminal.print(line)


def _list(call: Call, found: list[Deletion]) -> None:
    now_ms = Clock().now().wall_ms
    there = [one for one in found if one.undeleted_ms is not None or now_ms < one.until_ms]
    if not there:
        call.terminal.print("No deleted job can be brought back.")
        return
    rows = [
        [
            one.name,
            iso(one.at_ms),
            "waits for its file" if one.undeleted_ms is not None else iso(one.until_ms),
            call.relative(one.path),
        ]
        for one in there
    ]
    call.terminal.table(["Name", "Deleted", "Until", "Path"], rows)


def _declares(call: Call, one: Deletion) -> bool:
    """Whether its file declares it now."""
    from reconciler.providers import catalogue
    from reconciler.repo.parse import parse_file

    try:
        content = desired_content(call, one.path)
    except (OSError, GitUnusable):
        return False
    documents = () if content is None else parse_file(one.path, content, catalogue()).documents
    return any((document.kind, document.name) == ("Job", one.name) for document in documents)


def _restoring(call: Call, one: Deletion) -> list[str]:
    """How the spec comes back: with the file that a commit took out, or into the file that is there."""
    path = call.relative(one.path)
    shown = escape(path)
    if _declares(call, one):
        pid = controller_at_work(call.state)
        by = f"`reconcile{call.again}`" if pid is None else f"look of the controller at work (pid {pid})"
        return [f"{shown} declares it again: the next {by} makes that true."]
    if is_there(call, one.path):
        lines = [f"It waits until {shown} declares it again."]
        if one.commit:
            lines += ["What was there:", f"    git show {one.commit[:12]} -- {escape(shlex.quote(path))}"]
        return lines
    lines = [f"It waits until {shown} is restored."]
    if one.commit:
        lines += ["From git:", f"    git checkout {one.commit[:12]}^ -- {escape(shlex.quote(path))}"]
    return lines
