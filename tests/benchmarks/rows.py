"""What a row of the table is: what is measured beside which yardstick, with which aim, and the function that measures it.

A row yields one round after the other; a round is a pair for each of the row's figures, ours and the yardstick's, measured
in turn or at once, so that a busy machine slows both. The ratio of each pair is what counts, and of five rounds at least the
median and the spread.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal, TypeVar

#: Ours and the yardstick's; of a figure with a bound of its own the yardstick is 1.
Pair = tuple[float, float]
Round = Mapping[str, Pair]

Made = TypeVar("Made")


class Unavailable(Exception):
    """A yardstick cannot be had here; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Aim:
    """What a figure is to be under or over; `means` where that is not a bare ratio."""

    side: Literal["under", "over"]
    bound: float
    means: str = ""

    def holds(self, value: float) -> bool:
        return value < self.bound if self.side == "under" else value > self.bound

    def __str__(self) -> str:
        return self.means or f"{self.side} {self.bound:g}"


def under(bound: float, means: str = "") -> Aim:
    return Aim("under", bound, means)


def over(bound: float, means: str = "") -> Aim:
    return Aim("over", bound, means)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line: what is measured, against what. `faster` turns the ratio round: so many times as fast as the yardstick.
    Without an aim it stands as information."""

    what: str
    yardstick: str
    aim: Aim | None = None
    unit: str = "s"
    faster: bool = False

    def ratio(self, pair: Pair) -> float:
        ours, theirs = pair
        return theirs / ours if self.faster else ours / theirs

    def middle(self, pairs: Sequence[Pair]) -> float:
        return median(self.ratio(one) for one in pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`asks` is the line of the table of aims that it answers; `differs` says where the two sides' work is not the same."""

    name: str
    asks: str
    figures: Mapping[str, Figure]
    measure: Callable[[Bench], Iterator[Round]]
    differs: str = ""


class Bench:
    """What rows share in one run of the command: a folder, how many rounds, and the trees and files that were made once."""

    def __init__(self, folder: Path, rounds: int, *, quick: bool = False) -> None:
        self.folder, self.rounds, self.quick = folder, rounds, quick
        self.notes: list[str] = []
        self._made: dict[str, Any] = {}

    def size(self, whole: int, quick: int) -> int:
        """How much of something: with --quick so little that only the row itself is tried."""
        return quick if self.quick else whole

    def shared(self, key: str, make: Callable[[Path], Made]) -> Made:
        """What `make` makes in a folder of its own, once for all rows."""
        if key not in self._made:
            place = self.folder / key
            shutil.rmtree(place, ignore_errors=True)  # of a try that failed
            place.mkdir()
            self._made[key] = make(place)
        return self._made[key]  # type: ignore[no-any-return]

    def note(self, text: str) -> None:
        """Beside the figures of the row that is measured."""
        self.notes.append(text)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder that goes with the row."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            yield Path(name)
