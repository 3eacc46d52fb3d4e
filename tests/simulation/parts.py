"""What some worlds have and others have not, each in a module of its own, and drawn from random numbers of its own.

Worlds before `FIRST` have none of these parts: bugs were found in some of them, and they are to stay what they were.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tests.simulation.people import Wanted

#: The first of the worlds that may have more in them.
FIRST: Final = 400
#: And of those that may have what was thought of after that: work trees of git, changed terms of jobs.
LATER: Final = 700

#: The import of what happened long ago, and its stream; and the job that joins a reference.
HISTORY: Final = "history-0"
JOIN: Final = "join-0"

Deed = Callable[[], str]


def is_wide(seed: int) -> bool:
    return seed >= FIRST


def has(seed: int, what: str, percent: int) -> bool:
    """Whether the world has this, as so many in a hundred do."""
    return is_wide(seed) and random.Random(f"{what}? {seed}").randrange(100) < percent


class Part:
    """One of them. Whatever it does not say, it has nothing to say of."""

    #: The streams that it declares itself.
    streams: tuple[str, ...] = ()

    def jobs(self) -> list[Wanted]:
        """More jobs."""
        return []

    def files(self) -> Mapping[str, str]:
        """More specs, by path."""
        return {}

    def deeds(self) -> Sequence[tuple[int, Deed]]:
        """What happens how often in a world's time."""
        return ()

    def starts(self, job: str) -> None:
        """A run of this job is about to begin."""

    def settle_down(self) -> None:
        """Nothing goes wrong any more."""

    def look(self) -> None:
        """What must hold all along. Raises Broken."""

    def unfinished(self) -> list[str]:
        """What has not come true yet, once it is calm."""
        return []

    def check(self) -> None:
        """What must hold at the end. Raises Broken."""
