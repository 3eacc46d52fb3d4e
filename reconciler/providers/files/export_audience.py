"""`export-audience`: the members of an audience as a file: all of them whenever somebody came, changed or left (`only: all`),
or a file with each run's own changes and an `action` column (`only: new`).

A file is the destination of the mirror base: one batch, of the whole plan, whose intent names the file. A run that dies
between the renaming of the file and the commit of its unit writes the same file again. A file of all members that somebody
has removed is written again by the next run, changed or not; one that was never written (`backfill: false`) waits for the
first change.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from reconciler.core.mirror import Plan, Progress, Tally
from reconciler.core.provider import Context, Intent, Unit
from reconciler.errors import Fatal
from reconciler.providers.files.audience_config import ExportAudience
from reconciler.providers.mirror.run import export

#: The config fields that say how a file is written.
_OPTIONS: Final = ("delimiter", "quote", "header", "compression")


def run(context: Context) -> Iterator[Unit]:
    cursor = context.cursor
    for unit in export(context, lambda progress: _File(context, progress)):
        cursor = unit.cursor
        yield unit
    yield from _again(context, Progress.load(cursor))


def _again(context: Context, progress: Progress) -> Iterator[Unit]:
    """The file of all members where it was written once and is gone."""
    config: ExportAudience = context.config
    if config.only == "new" or "{run}" in config.path or progress.plan is not None:
        return
    if not (progress.wrote or progress.ledger.facts.sent):
        return
    if not os.path.exists(context.path(config.path)):
        rows = _write(context, config.path, progress, "")
        message = f"wrote {config.path} again, which was gone"
        yield Unit(cursor=progress.cursor(), rows=rows, message=message, keeps=progress.files)


def _write(context: Context, path: str, progress: Progress, plan: str) -> int:
    """Writes the file whole; the rows in it."""
    config: ExportAudience = context.config
    return context.members.write(
        context.path(path), config.format, ledger=progress.ledger, plan=plan, changes=config.only == "new",
        fields=list(config.fields), options={one: getattr(config, one) for one in _OPTIONS},
    )  # fmt: skip


class _File:
    """Carries a plan into a file."""

    def __init__(self, context: Context, progress: Progress) -> None:
        self._context = context
        self.progress = progress

    def resolve(self) -> Iterator[Unit]:
        """Writes the file that an earlier attempt was writing; what an older plan was to write is given up otherwise."""
        mine = [one for one in self._context.open_intents if one.detail.get("plan") == self._plan.file]
        if mine:
            yield self._written(str(mine[-1].detail["path"]), [one.key for one in mine])

    def send(self) -> Iterator[Unit]:
        if self._plan.done == self._plan.rows:
            return
        config: ExportAudience = self._context.config
        path = config.path.replace("{run}", str(self._plan.run))
        if config.only == "new" and self._context.path(path).exists():
            raise Fatal(f"{path} is there already, and `only: new` replaces no file")
        intent = self._intent(path)
        self._context.intend([intent])
        yield self._written(path, [intent.key])

    def conclude(self) -> Iterator[Unit]:
        """Closes what was left open by another plan."""
        keys = [one.key for one in self._context.open_intents]
        if keys:
            yield Unit(cursor=self.progress.cursor(), closes=tuple(keys), moved=False, message="a file was given up")

    @property
    def _plan(self) -> Plan:
        assert self.progress.plan is not None
        return self.progress.plan

    def _intent(self, path: str) -> Intent:
        return Intent(
            key=f"{self._context.job}/{self._context.run}/{self._context.attempt}/{path}",
            first=0,
            last=self._plan.rows - 1,
            digest=hashlib.sha256(path.encode()).hexdigest(),
            detail={"plan": self._plan.file, "path": path},
        )

    def _written(self, path: str, keys: list[str]) -> Unit:
        """Writes the file whole; the unit says that every row of the plan is there."""
        plan = self._plan
        rows = _write(self._context, path, self.progress, plan.file)
        tally = Tally(add=plan.calls["add"], update=plan.calls["update"], remove=plan.calls["remove"])
        self.progress = replace(self.progress, plan=replace(plan, done=plan.rows, tally=tally), wrote=True)
        return Unit(
            cursor=self.progress.cursor(), rows=rows, added=tally.add, removed=tally.remove, closes=tuple(keys),
            message=f"wrote {path}",
        )  # fmt: skip
