"""Exports get another name, and are the same: they send nothing again, and what is at work goes on."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.record.store import Record
from tests.simulation.parts import Deed, Part

if TYPE_CHECKING:
    from tests.simulation.people import Wanted
    from tests.simulation.world import World


class Renames(Part):
    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._dice = random.Random(f"renames {seed}")
        self._count = 0

    def deeds(self) -> list[tuple[int, Deed]]:
        return [(self._dice.randint(1, 8), self.rename)]

    def rename(self) -> str:
        """Somebody finds a better name for one that is known by the old one: a name between two looks nobody has seen."""
        world, people = self._world, self._world.people
        if people.is_making:
            return "nothing: the tree is in the making"
        known = [job for job in people.wanted.values() if self._can_be(job)]
        if not known:
            return "nothing"
        job = self._dice.choice(sorted(known, key=lambda one: one.name))
        self._count += 1
        name = f"{job.ident}-{self._dice.choice('az')}{self._count}"
        world.idents |= {job.name: job.ident, name: job.ident}
        world.renamed.add(job.name)
        del people.wanted[job.name]
        people.wanted[name] = replace(job, name=name, first_name=job.ident, was=job.name)
        first = world.all_jobs.pop(job.name)
        world.all_jobs[name] = replace(first, name=name, first_name=job.ident, was=job.name)
        people.make_true()
        return f"{job.name} is {name}"

    def _can_be(self, job: Wanted) -> bool:
        if job.imports or job.work or job.looks_up or job.flaw or not (self._world.state / "record.db").exists():
            return False
        with Record.reading(self._world.state) as record:
            row = record.jobs.job(job.name)
        return row is not None and row.life == "live"
