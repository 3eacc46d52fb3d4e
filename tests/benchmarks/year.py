"""The record after a year of hourly jobs, beside the same on its first day.

    python -m tests.benchmarks.year [ROW …] [--rounds N] [--quick]

The real controller passes over a real root, hour by hour, with a clock that is told the time, and a runner whose runs
commit one unit and succeed at once. So the first day is made, and of the year the last hundred hours: the record keeps a
hundred runs of a job. What it keeps of the time before (sums by hour and day, the last thousand events of a job) is written
by the record's own functions. That nothing else grows with runs is checked on the first day.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any, Final

from reconciler.clock import Clock, Now
from reconciler.controller.hands import Hands
from reconciler.controller.loop import Controller
from reconciler.controller.settings import Settings, Silent
from reconciler.controller.trees import installed, open_tree
from reconciler.controller.wakeups import Wakeups
from reconciler.core.messages import Began, Ended, Exited, FromRun, Order, Produced
from reconciler.core.metrics import DAY_MS, HOUR_MS
from reconciler.core.provider import Unit
from reconciler.record.events import KEPT_EVENTS, Event
from reconciler.record.runs import KEPT_RUNS
from reconciler.record.store import Record
from reconciler.repo.write import Writer
from tests.benchmarks.command import alone
from tests.benchmarks.rows import Bench, Figure, Round, Row, under
from tests.benchmarks.tree import RECONCILE, cost, name_of, spec_path, write_tree

DAYS: Final = 365
#: By then what is kept is full: the last events (1,000 hours) and the sums by hour (60 days).
FULL_DAYS: Final = 62
ROWS_A_RUN: Final = 10
#: Commands are repeated within a round.
TIMES: Final = 3
#: What may grow with the number of runs; all else is as large as the specs are many.
GROWING: Final = {"event", "metric", "run", "unit"}


class Told(Clock):
    """A clock that shows what it is told."""

    def __init__(self, wall_ms: int) -> None:
        super().__init__()
        self.wall_ms, self.began_ms = wall_ms, wall_ms

    def now(self) -> Now:
        return Now(wall_ms=self.wall_ms, alive_ms=self.wall_ms - self.began_ms)


class AtOnce:
    """A runner whose runs commit one unit and succeed, in no time."""

    def __init__(self) -> None:
        self._waiting: dict[int, Order] = {}
        self._readable, self._writable = os.pipe()
        os.write(self._writable, b"x")  # there is always something to be read

    def start(self, order: Order) -> None:
        self._waiting[order.run] = order

    def messages(self, timeout_s: float) -> Sequence[FromRun]:
        orders, self._waiting = list(self._waiting.values()), {}
        return [message for one in orders for message in _whole_run(one)]

    def active(self) -> tuple[int, ...]:
        return tuple(self._waiting)

    def fileno(self) -> int:
        return self._readable

    def prepare(self) -> None:
        """There is nothing to make ready."""

    def make_ahead(self) -> None:
        """Nor here."""

    def answer(self, run: int, accepted: bool, value: Any = None, refusal: str = "") -> None:
        assert accepted, refusal

    def stop(self, run: int) -> None: ...

    def kill(self, run: int) -> None: ...

    def close(self) -> None:
        os.close(self._readable)
        os.close(self._writable)


def _whole_run(order: Order) -> Iterator[FromRun]:
    run, attempt = order.run, order.attempt
    yield Began(run, attempt, pid=os.getpid(), start_ticks=1)
    yield Produced(run, attempt, Unit(cursor=run, rows=ROWS_A_RUN, message="orders-2026.csv.gz: 10 rows"))
    yield Ended(run=run, attempt=attempt, how="succeeded")
    yield Exited(run=run, attempt=attempt, pid=os.getpid(), exit_code=0, signal=None, peak_kib=30_000, cpu_s=0.1)


class Life:
    """A root of hourly jobs, whose time is told."""

    def __init__(self, folder: Path, count: int, began_ms: int) -> None:
        self.root = write_tree(folder, count, suspend=False)
        self.state = self.root / ".reconciler"
        self.count, self.clock = count, Told(began_ms)

    def hours(self, count: int) -> None:
        """So many passes, an hour apart."""
        settings = Settings(root=self.root, state=self.state, slots=self.count)
        for _ in range(count):
            record = Record.writing(self.state)
            tree, origin = open_tree(settings, record, writable=True)
            hands = Hands(
                settings=settings, record=record, tree=tree, origin=origin, writer=Writer(self.root), runner=AtOnce(),
                end_leftover=lambda _pid, _start: True, clock=self.clock, chance=lambda: 0.5, listener=Silent(),
                catalogue=installed, wakeups=Wakeups,
            )  # fmt: skip
            with Controller(hands) as controller:
                ran = controller.run_pass().ran
            assert ran == self.count, f"{ran} of {self.count} jobs ran in an hour"
            self.clock.wall_ms += HOUR_MS

    def fill(self, until_ms: int) -> None:
        """What the record keeps of the hours up to then, without its last runs."""
        hours = range(self.clock.wall_ms, until_ms, HOUR_MS)
        with closing(Record.writing(self.state)) as record:
            jobs = [(job.id, job.name, job.path) for job in record.jobs.jobs()]
            for at_ms in hours:
                recent = until_ms - at_ms <= 60 * DAY_MS
                with record.transaction():
                    if recent or at_ms % DAY_MS < HOUR_MS:  # of what is older only the day's sum is kept
                        rows = ROWS_A_RUN if recent else 24 * ROWS_A_RUN
                        for job, _, _ in jobs:
                            record.metrics.add(job, (rows, 0, 0, 0), at_ms)
                    if until_ms - at_ms <= KEPT_EVENTS * HOUR_MS:
                        for _, name, path in jobs:
                            record.events.add(_synced(name, path, at_ms), logged=True)
                    if at_ms % DAY_MS < HOUR_MS:
                        record.metrics.trim(at_ms)
        self.clock.wall_ms = hours.stop

    def counts(self) -> dict[str, int]:
        with closing(sqlite3.connect(self.state / "record.db")) as connection:
            names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            return {name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names}

    def size(self) -> int:
        with closing(sqlite3.connect(self.state / "record.db")) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return (self.state / "record.db").stat().st_size

    def cost(self, *arguments: str) -> float:
        return cost(*RECONCILE, *arguments, cwd=self.root.parent).wall_s


def _synced(name: str, path: str, at_ms: int) -> Event:
    return Event(
        kind="Job", name=name, path=path, time_ms=at_ms, event="Synced", run=at_ms // HOUR_MS, unit=1, rows=ROWS_A_RUN,
        added=0, removed=0, omitted=0, message="orders-2026.csv.gz: 10 rows",
    )  # fmt: skip


def first_day(folder: Path, count: int, hours: int, now_ms: int) -> Life:
    life = Life(folder, count, now_ms - hours * HOUR_MS)
    life.hours(hours // 2)
    before = life.counts()
    life.hours(hours - hours // 2)
    grown = {name for name, rows in life.counts().items() if rows > before.get(name, 0)}
    assert grown <= GROWING, f"{sorted(grown - GROWING)} grow with runs, too"
    return life


def many_days(folder: Path, count: int, hours: int, days: int, now_ms: int) -> Life:
    """Its last so many hours are passes."""
    life = Life(folder, count, now_ms - days * DAY_MS)
    life.hours(1)
    life.fill(now_ms - hours * HOUR_MS)
    life.hours(hours)
    return life


def years(bench: Bench) -> Iterator[Round]:
    count, days = bench.size(1_000, 20), bench.size(DAYS, 70)
    now_ms = Clock().now().wall_ms
    last_hours = bench.size(KEPT_RUNS, 4)
    with bench.scratch() as one, bench.scratch() as third, bench.scratch() as other:
        day = first_day(one, count, bench.size(24, 4), now_ms)
        full = many_days(third, count, last_hours, FULL_DAYS, now_ms)
        year = many_days(other, count, last_hours, days, now_ms)
        found = (f"{rows:,} {name}s" for name, rows in sorted(year.counts().items()) if name in GROWING)
        bench.note(f"after the year {', '.join(found)}")
        commands = {
            "list": ["list"],
            "plan": ["plan"],
            "why": ["why", name_of(7)],
            "show": ["show", name_of(7)],
        }
        assert spec_path(year.root, 7).exists()
        for life in (day, year):
            life.cost("plan")
        for _ in range(bench.rounds):
            size = year.size()
            taken: dict[str, tuple[float, float]] = {"size": (size, day.size()), "growth": (size, full.size())}
            for key, arguments in commands.items():
                pairs = [(year.cost(*arguments), day.cost(*arguments)) for _ in range(TIMES)]
                taken[key] = (median(one for one, _ in pairs), median(other for _, other in pairs))
            yield taken


def _flat(what: str) -> Figure:
    return Figure(
        what=f"`{what}` after a year of 1,000 hourly jobs", yardstick="on day one", aim=under(1.1, "flat: under 1.1")
    )


ROWS: Final = (
    Row(
        name="year",
        asks="the record after a simulated year",
        figures={
            "size": Figure(
                what="size of the record after a year of 1,000 hourly jobs",
                yardstick="on day one",
                aim=under(1.1, "flat: under 1.1"),
                unit="bytes",
            ),
            "growth": Figure(
                what="size of the record after a year of 1,000 hourly jobs",
                yardstick=f"after {FULL_DAYS} days, when what is kept is full",
                aim=under(1.1, "flat: under 1.1"),
                unit="bytes",
            ),
            "list": _flat("list"),
            "plan": _flat("plan"),
            "why": _flat("why NAME"),
            "show": _flat("show NAME"),
        },
        measure=years,
        differs=(
            "the record keeps 100 runs and 1,000 events of a job, sums by hour for 60 days and by day for ever: day one is before "
            f"what is kept is full, day {FULL_DAYS} after it. The last 100 hours of the year are passes of the real controller under a clock that "
            "is told the time; what is kept of the time before is written by the record's own functions"
        ),
    ),
)

if __name__ == "__main__":
    sys.exit(alone(__doc__, ROWS))
