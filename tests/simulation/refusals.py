"""The destination changes its mind about people whom it refused, and somebody asks for those to be tried again; somebody has
another wish for a while: that nobody be removed, or nobody be changed."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from reconciler.controller.requests import Request
from tests.simulation.asking import ask
from tests.simulation.parts import Deed, Part

if TYPE_CHECKING:
    from tests.simulation.world import World

DAY_MS: Final = 86_400_000
WISHES: Final = ("", "", "mode: add-only, ", "events: enter, ")


class Refusals(Part):
    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._dice = random.Random(f"refusals {seed}")
        self.wish = ""

    def deeds(self) -> list[tuple[int, Deed]]:
        dice = self._dice
        return [
            (dice.choice([0, 1, 3]), self.relent), (dice.choice([0, 2, 6]), self.retry), (dice.choice([0, 0, 3]), self.change_wish),
        ]  # fmt: skip

    def relent(self) -> str:
        """Some who were refused are not any more."""
        refused = self._world.mirrors.refused
        gone = [one for one in sorted(refused) if self._dice.random() < 0.5]
        refused.difference_update(gone)
        return ", ".join(gone) or "nobody"

    def retry(self, what: str = "refused") -> str:
        """Somebody asks for all of them."""
        names = [name for name, job in sorted(self._world.all_jobs.items()) if job.mirrors]
        for name in names:
            ask(self._world, Request(do="retry", arguments={"job": name, "what": what}, by="ann"))
        return ", ".join(names)

    def change_wish(self) -> str:
        """Somebody wants something else of the mirror."""
        if self._world.people.is_making:
            return "nothing: the tree is in the making"
        self.wish = self._dice.choice(WISHES)
        self._world.people.make_true()
        return self.wish or "everything"

    def settle_down(self) -> None:
        self.wish = ""
        for day in range(1, 60):
            self._world.timeline.after(day * DAY_MS, self._try_again)

    def _try_again(self) -> None:
        """As long as somebody is missing."""
        world = self._world
        if world.record is None:
            return
        for name, job in sorted(world.all_jobs.items()):
            if job.mirrors and world.is_served(name) and world.mirrors.differs(job.ident):
                ask(world, Request(do="retry", arguments={"job": name, "what": "refused"}, by="ann"))
