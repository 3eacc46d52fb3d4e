"""What was deleted comes back: somebody undeletes a job, and then declares it again, which goes on where it was. And somebody approves
deletions that the budget holds back."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from reconciler.controller.requests import Request
from reconciler.record.store import Record
from tests.simulation.asking import ask
from tests.simulation.parts import Deed, Part

if TYPE_CHECKING:
    from tests.simulation.world import World

DAY_MS: Final = 86_400_000


class Returns(Part):
    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._dice = random.Random(f"returns {seed}")
        self._approved = self._taken = 0

    def deeds(self) -> list[tuple[int, Deed]]:
        dice = self._dice
        return [
            (dice.randint(1, 5), self.remove), (dice.randint(0, 6), self.come_back), (dice.choice([0, 3]), self.approve_prune),
        ]  # fmt: skip

    def remove(self) -> str:
        """Somebody takes a job out, and soon wants it back."""
        people = self._world.people
        if people.is_making or not people.wanted:
            return "nothing"
        job = people.wanted.pop(self._dice.choice(sorted(people.wanted)))
        people.make_true()
        for _ in range(2):
            self._later(self._undelete)
            self._later(self.come_back)
        return job.name

    def _later(self, deed: Deed) -> None:
        """Within the days in which that can be done, mostly."""
        world = self._world
        delay_ms = self._dice.randrange(20_000, max(30_000, min(8 * DAY_MS, world.span_ms // 10)))
        world.timeline.after(delay_ms, world.noted(deed))

    def _undelete(self) -> str:
        gone: list[str] = []
        if (self._world.state / "record.db").exists():
            with Record.reading(self._world.state) as record:
                gone = [one.name for one in record.deletions.deletions() if one.undeleted_ms is None and not one.keeps]
        for name in gone:
            ask(self._world, Request(do="undelete", arguments={"job": name}, by="ann"))
        return ", ".join(gone) or "nothing is deleted"

    def come_back(self) -> str:
        """What was undeleted is declared again."""
        world, people = self._world, self._world.people
        if people.is_making or not (world.state / "record.db").exists():
            return "nothing"
        with Record.reading(world.state) as record:
            names = [one.name for one in record.deletions.undeleted() if one.name not in people.wanted]
        names = [one for one in names if one in world.all_jobs]
        for name in names:
            people.wanted[name] = replace(world.all_jobs[name], was="")
        if names:
            people.make_true()
        return ", ".join(names) or "nothing"

    def approve_prune(self) -> str:
        """Somebody approves the deletions that are held back."""
        if not (self._world.state / "record.db").exists():
            return "nothing is held"
        with Record.reading(self._world.state) as record:
            held = record.prunes.held()
        if held is None or held.is_approved:
            return "nothing is held"
        self._approved += 1
        ask(self._world, Request(do="approve-prune", arguments={"digest": held.digest}, by="ann"))
        return ", ".join(sorted(held.jobs))

    def takes_approval(self) -> bool:
        is_new, self._taken = self._approved > self._taken, self._approved
        return is_new
