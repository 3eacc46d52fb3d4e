"""How often what goes wrong: chances that change from time to time, all of them drawn from the world's seed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Final

#: What can go wrong, and how bad that gets at its worst.
WORST: Final[Mapping[str, float]] = {
    "unreachable": 0.9,  # no connection
    "error": 0.9,  # 500
    "limit": 0.8,  # 429 or 503, with or without Retry-After
    "denied": 0.7,  # 401
    "lost request": 0.5,  # never arrives, and no answer comes
    "lost answer": 0.6,  # arrives, and no answer comes
    "slow": 0.5,  # takes minutes
    "killed": 0.4,  # the run's process dies by itself
    "unborn": 0.4,  # no process can be made
    "stuck": 0.3,  # the process does nothing for hours
    "stage": 0.5,  # the disk is full while a run stages data
    "status": 0.9,  # the disk is full while statuses and logs are written
    "commit": 0.2,  # SQLite cannot commit
    "locked": 0.1,  # SQLite is held by somebody else
    "late word": 0.9,  # the watch of the tree says nothing
}


class Weather:
    """Fair, with spells in which some things go wrong often."""

    def __init__(self, dice: random.Random, worst: Mapping[str, float] = WORST) -> None:
        self._dice = dice
        self._worst = worst
        self._chances: dict[str, float] = {}
        self.is_calm = False

    def change(self) -> str:
        """Another spell; what it is like."""
        if self._dice.random() < 0.35:
            self._chances = {}
            return "fair"
        kinds = self._dice.sample(sorted(self._worst), self._dice.randint(1, 4))
        self._chances = {kind: self._worst[kind] * self._dice.random() for kind in sorted(kinds)}
        return ", ".join(f"{kind} {chance:.0%}" for kind, chance in self._chances.items())

    def calm(self) -> None:
        """Nothing goes wrong any more."""
        self.is_calm = True
        self._chances = {}

    def strikes(self, kind: str) -> bool:
        chance = self._chances.get(kind)
        return chance is not None and self._dice.random() < chance
