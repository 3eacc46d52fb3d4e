"""The rules of the stream of people change amid whatever is at work: another attribute, another way to know who somebody is.
All profiles are built anew then, from the raw messages."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from tests.simulation.parts import Deed, Part

if TYPE_CHECKING:
    from tests.simulation.world import World

SPEC: Final = """apiVersion: reconciler/v1
kind: Stream
metadata: {{name: {name}, title: "{title}"}}
spec:
  columns: {{score: integer, at: timestamp}}
  timestamp: {{field: at}}
  identity:
    - {{key: email, from: email, normalize: [trim, lower]{email}}}
{user}  attributes:
    score: {{from: score}}
    visits: {{merge: count}}
{more}"""
USER: Final = "    - {key: user, from: user}\n"
MORE: Final = (
    "    best: {from: score, merge: max}\n",
    "    ids: {from: id, merge: set}\n",
    '    total: {expr: "score * 2", merge: sum}\n',
    "    first_at: {from: at, merge: min}\n",
    "    worst: {from: score, merge: min}\n",
)


class Changing(Part):
    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._dice = random.Random(f"changing {seed}")
        self._choose()

    def _choose(self) -> None:
        dice = self._dice
        self._email = dice.choice(["", "", ", maxPerKey: 1", ", maxPerKey: 2"])
        self._user = USER if dice.random() < 0.8 else ""
        self._more = "".join(sorted(dice.sample([one for one in MORE if "expr" not in one], dice.randint(0, 3))))
        self._title = f"Title {dice.randrange(1000)}"

    def spec(self, name: str) -> str:
        return SPEC.format(name=name, title=self._title, email=self._email, user=self._user, more=self._more)

    def deeds(self) -> list[tuple[int, Deed]]:
        return [(self._dice.randint(1, 6), self.change)]

    def change(self) -> str:
        """Somebody has another idea of people."""
        if self._world.people.is_making:
            return "nothing: the tree is in the making"
        if self._dice.random() < 0.2:
            self._title = f"Title {self._dice.randrange(1000)}"  # which is no rule
        else:
            self._choose()
        self._world.people.make_true()
        return f"{self._email or 'no limit'}, {'with' if self._user else 'without'} users, {len(self._more.splitlines())} more"
