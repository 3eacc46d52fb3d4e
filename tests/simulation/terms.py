"""Somebody changes the terms of jobs: when they must be quiet, when they expire, how long a run may take, how often they are
tried, what they wait for."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from reconciler.clock import iso
from tests.simulation.parts import Deed, Part

if TYPE_CHECKING:
    from tests.simulation.people import Wanted
    from tests.simulation.world import World

QUIET: Final = (
    ', quiet: {from: "22:00", to: "04:00", timezone: Europe/Paris}',
    ', quiet: {from: "02:30", to: "02:45", timezone: America/New_York}',
    ', quiet: {from: "06:00", to: "05:00", timezone: Australia/Lord_Howe}',
)
RETRIES: Final = (
    "{initial: 30s, max: 10m}",
    "{initial: 1s, max: 1m, failAfter: 10m}",
    "{initial: 10m, factor: 1, jitter: 1}",
)
HOUR_MS: Final = 3_600_000


class Terms(Part):
    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._dice = random.Random(f"terms {seed}")
        self._first: dict[str, Wanted] = {}  # by ident: the job on its own terms

    def deeds(self) -> list[tuple[int, Deed]]:
        return [(self._dice.randint(2, 12), self.change)]

    def change(self) -> str:
        people, dice = self._world.people, self._dice
        if people.is_making or not people.wanted:
            return "nothing"
        job = people.wanted[dice.choice(sorted(people.wanted))]
        if job.is_gated or job.flaw:
            return "nothing"
        first = self._first.setdefault(job.ident, job)
        more = "".join(
            dice.choice(choices) for choices in (("", "", *QUIET), ("", self._expiry()), ("", ", timeout: 20s"))
        )
        imports = [one.name for one in people.wanted.values() if one.imports and one.name != job.reads]
        after = (
            tuple(sorted(dice.sample(sorted(imports), dice.randint(0, len(imports))))) if first.follows else first.after
        )
        people.wanted[job.name] = replace(job, more=more, retry=dice.choice(RETRIES), after=after)
        people.make_true()
        return f"{job.name}{more}, after {', '.join(after) or 'nothing'}"

    def _expiry(self) -> str:
        away_ms = self._dice.choice((-HOUR_MS, HOUR_MS, self._world.span_ms // 20, self._world.span_ms))
        return f", expiresAt: {iso(self._world.timeline.wall_ms + away_ms)}"

    def settle_down(self) -> None:
        """All jobs are on their own terms again."""
        wanted = self._world.people.wanted
        for name, job in wanted.items():
            first = self._first.get(job.ident)
            if first is not None:
                wanted[name] = replace(job, more=first.more, retry=first.retry, after=first.after)
