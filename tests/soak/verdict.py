"""What was measured of a daemon over time, and whether it drifts: the medians of the first quarter against the last.

The bounds are stated in the table. What a daemon is meant to keep may grow (messages that came in, sums by minute, the
runs and events that have not reached their limit yet): of the record, the bytes of each row are judged, and the rows of
every table that is not meant to grow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

#: Tables of the record that hold history. How much of it is kept is limited by rule: runs and events by job, sums by age,
#: segments by compaction.
HISTORY: Final = frozenset({"run", "unit", "event", "metric", "segment", "audit"})
MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Sample:
    """One look. `yardstick_s` is what a fixed piece of work took at that moment: how busy the machine was with others."""

    at_s: float
    runs: int
    rss: int
    forks_rss: int
    descriptors: int
    record: int
    wal: int
    rows: Mapping[str, int]
    decision_s: float
    yardstick_s: float

    @property
    def history_rows(self) -> int:
        return sum(count for table, count in self.rows.items() if table in HISTORY)

    @property
    def other_rows(self) -> int:
        return sum(count for table, count in self.rows.items() if table not in HISTORY)


@dataclass(frozen=True, slots=True)
class Judgement:
    """One measure: the medians of both quarters, and the most that the last may be."""

    name: str
    first: float
    last: float
    most: float
    unit: str

    @property
    def holds(self) -> bool:
        return self.last <= self.most


@dataclass(frozen=True, slots=True)
class Measure:
    """`factor` and `slack` bound the last quarter by the first."""

    name: str
    unit: str
    read: Callable[[Sample], float]
    factor: float
    slack: float


MEASURES: Final = (
    Measure("memory of the daemon", "MiB", lambda one: one.rss / MIB, 1.10, 4),
    Measure("memory of what runs are forked from", "MiB", lambda one: one.forks_rss / MIB, 1.05, 4),
    Measure("open descriptors", "", lambda one: one.descriptors, 1.0, 6),
    Measure("record, bytes a row", "", lambda one: one.record / max(1, sum(one.rows.values())), 1.10, 16),
    Measure("record, rows besides history", "", lambda one: one.other_rows, 1.0, 8),
    Measure("write-ahead log", "MiB", lambda one: one.wal / MIB, 1.5, 4),
    Measure("edit to decision", "ms", lambda one: one.decision_s * 1000, 1.5, 50),
)


def quarters(samples: Sequence[Sample]) -> tuple[Sequence[Sample], Sequence[Sample]]:
    """Those of the first and of the last quarter of the time. At least one each."""
    begin, end = samples[0].at_s, samples[-1].at_s
    quarter = (end - begin) / 4
    first = [one for one in samples if one.at_s <= begin + quarter]
    last = [one for one in samples if one.at_s >= end - quarter]
    return first, last


def judge(samples: Sequence[Sample]) -> Iterator[Judgement]:
    """Every measure. The time of a decision is judged as a multiple of the yardstick where the machine grew busier."""
    first, last = quarters(samples)
    busier = max(1.0, median(one.yardstick_s for one in last) / median(one.yardstick_s for one in first))
    for measure in MEASURES:
        begin, end = (median(map(measure.read, part)) for part in (first, last))
        factor = measure.factor * (busier if measure.unit == "ms" else 1.0)
        yield Judgement(measure.name, begin, end, begin * factor + measure.slack, measure.unit)


def table(samples: Sequence[Sample]) -> Iterator[str]:
    """What was measured, in lines: at most 24 of the samples, then each measure with its bound."""
    yield f"{'minute':>6} {'runs':>8} {'daemon':>8} {'forks':>8} {'fds':>5} {'record':>9} {'wal':>8} {'rows':>9} {'edit':>8} {'yard':>7}"
    step = max(1, len(samples) // 24)
    for one in samples[::step]:
        yield (
            f"{one.at_s / 60:6.1f} {one.runs:8,} {one.rss / MIB:4.0f} MiB {one.forks_rss / MIB:4.0f} MiB {one.descriptors:5} "
            f"{one.record / MIB:5.1f} MiB {one.wal / MIB:4.1f} MiB {one.history_rows:9,} {one.decision_s * 1000:5.0f} ms "
            f"{one.yardstick_s * 1000:4.0f} ms"
        )
    yield ""
    for found in judge(samples):
        verdict = "holds" if found.holds else "DRIFTS"
        unit = f" {found.unit}" if found.unit else ""
        yield f"{found.name:36} {found.first:9.1f} -> {found.last:9.1f}{unit:4}  at most {found.most:9.1f}  {verdict}"
