"""Profiles built from messages, against one DuckDB GROUP BY with the same aggregates over the same files.

    python -m tests.benchmarks.profiles [--messages 1000000] [--profiles N] [--memory-mb 1024] [--threads 1] [--rounds 3]

Everything is measured in the same run, one after the other in turn. The yardstick groups by a column that names each
person in every message, which ours does not read: it finds out which identifiers are one profile and which values are
void, writes the profiles as Parquet and fsyncs them. An increment of 1 % is built onto the profiles twice: with keys as
concentrated as those of people who buy (half of the messages are from a few per cent of them), and spread evenly.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Final, TypeVar

from reconciler.core.messages import MAINTENANCE, SegmentRef
from reconciler.core.profile import BuildWork, ProfileSet, profile_rules
from reconciler.data.engine import workspace
from reconciler.data.profiles.build import build
from reconciler.data.profiles.read import ProfileReader
from reconciler.runner.loading import NEEDED
from tests.benchmarks.rows import Bench, Figure, Round, Row, under

Made = TypeVar("Made")

RULES = profile_rules([
    ("orders", {
        "columns": {"quantity": "integer", "unit_price": "decimal(10,2)", "ordered_at": "timestamp"},
        "timestamp": {"field": "ordered_at"},
        "identity": [
            {"key": "email", "from": "email", "normalize": ["trim", "lower"]},
            {"key": "user_id", "from": "customer_id"},
        ],
        "attributes": {
            "first_name": {"from": "first_name"},
            "spent": {"expr": "quantity * unit_price", "merge": "sum"},
            "orders": {"merge": "count"},
            "last_order_at": {"from": "ordered_at", "merge": "max"},
        },
    }),
])  # fmt: skip

#: Messages of one segment.
SEGMENT = 1_000_000

#: What a message's person is, of so many: evenly spread, or so that the first few per cent have half of the messages.
EVEN = "(random() * {people})::BIGINT"
CONCENTRATED = "(pow(random(), 5) * {people})::BIGINT"

MESSAGES = """
    SELECT CASE WHEN chance < 0.03 THEN ' Person' || who || '@Example.com' WHEN chance < 0.6 THEN 'person' || who || '@example.com'
        END AS email,
        CASE WHEN chance > 0.3 THEN 'c' || who END AS customer_id,
        'Name' || (random() * 1000)::INT AS first_name, (1 + random() * 5)::INT::VARCHAR AS quantity,
        ((random() * 10000)::INT / 100)::DECIMAL(10, 2)::VARCHAR AS unit_price,
        strftime(TIMESTAMP '2024-01-01' + INTERVAL (random() * 60000000) SECOND, '%Y-%m-%dT%H:%M:%SZ') AS ordered_at,
        NULL::TIMESTAMPTZ AS _timestamp, make_timestamptz(1700000000000000 + ({first} + n) // 50000 * 1000000) AS _received,
        'p' || who AS person, 'job' AS _job, 1::BIGINT AS _run, ({first} + n) // 50000 AS _unit
    FROM (SELECT n, random() AS chance, {who} AS who FROM range({count}) t(n))
"""

YARDSTICK = """
    CREATE TABLE yardstick AS
    SELECT person, arg_max(first_name, (happened, _received, file_row_number)) AS first_name,
        sum(TRY_CAST(quantity AS BIGINT) * TRY_CAST(unit_price AS DECIMAL(10, 2))) AS spent, count(*) AS orders,
        max(happened) AS last_order_at
    FROM (SELECT *, file_row_number, TRY_CAST(ordered_at AS TIMESTAMPTZ)::TIMESTAMP AS happened FROM read_parquet([{files}]))
    GROUP BY person
"""


class Data:
    """A stream of so many messages, and an increment behind it."""

    def __init__(self, folder: Path, messages: int, people: int) -> None:
        self.folder, self.people = folder, people
        (folder / "streams" / "orders").mkdir(parents=True)
        (folder / "profiles").mkdir()
        self.segments = [
            self.write(f"{first}", first, min(SEGMENT, messages - first), EVEN) for first in range(0, messages, SEGMENT)
        ]
        self.more = {
            name: self.write(name, messages, messages // 100, who)
            for name, who in (("concentrated", CONCENTRATED), ("even", EVEN))
        }

    def write(self, name: str, first: int, count: int, who: str) -> SegmentRef:
        file = f"streams/orders/{name}.parquet"
        sql = MESSAGES.format(first=first, count=count, who=who.format(people=self.people))
        with workspace(self.folder, memory_mb=2048, threads=2) as connection:
            connection.execute(f"COPY ({sql}) TO '{self.folder / file}' (ROW_GROUP_SIZE 122880)").fetchall()
        return SegmentRef(file=file, first=first, rows=count)


class Building:
    def __init__(self, data: Data, memory_mb: int, threads: int) -> None:
        self.data, self.memory_mb, self.threads, self.number = data, memory_mb, threads, 0

    def build(self, base: ProfileSet, *more: SegmentRef) -> ProfileSet:
        self.number += 1
        segments = (*self.data.segments, *more)
        work = BuildWork(
            rules=RULES, base=base, streams={"orders": segments}, build=self.number,
            stops={"orders": segments[-1].first + segments[-1].rows},
        )  # fmt: skip
        return build(self.data.folder, work, memory_mb=self.memory_mb, threads=self.threads)

    def yardstick(self) -> None:
        files = ", ".join(f"'{self.data.folder / one.file}'" for one in self.data.segments)
        with workspace(self.data.folder, memory_mb=self.memory_mb, threads=self.threads) as connection:
            connection.execute(YARDSTICK.format(files=files)).fetchall()

    def read(self, profiles: ProfileSet) -> None:
        view = ProfileReader(self.data.folder, profiles, RULES).view_sql(RULES.attributes, RULES.keys)
        with workspace(self.data.folder, memory_mb=self.memory_mb, threads=self.threads) as connection:
            connection.execute(f"CREATE TABLE seen AS {view}").fetchall()


def timed(work: Callable[[], Made]) -> tuple[float, float, Made]:
    """The wall and the processor time of some work in seconds, and what it gave."""
    begin, cpu = time.perf_counter(), time.process_time()
    found = work()
    return time.perf_counter() - begin, time.process_time() - cpu, found


# --- the rows of the table -------------------------------------------------------------------------------------------


def _apart(
    ask: Connection, data: Data, memory_mb: int, number: int, base: ProfileSet | None, more: Sequence[SegmentRef]
) -> None:
    """In a process of its own, so that its peak memory is its own: the seconds, the MiB, and what was built; the yardstick
    where there is nothing to build onto. `number` is of no other build of these profiles. What a build needs is loaded
    before, as it is before the fork of a run that builds."""
    for name in NEEDED[MAINTENANCE, "build"]:
        importlib.import_module(name)
    building = Building(data, memory_mb, threads=1)
    building.number = number
    taken_s, _, made = timed(building.yardstick if base is None else lambda: building.build(base, *more))
    ask.send((taken_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, made))


def apart(
    data: Data, memory_mb: int, number: int, base: ProfileSet | None, *more: SegmentRef
) -> tuple[float, float, ProfileSet]:
    spawn = multiprocessing.get_context("spawn")
    answer, ask = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_apart, args=(ask, data, memory_mb, number, base, more))
    process.start()
    ask.close()
    try:
        taken_s, peak, made = answer.recv()
    except EOFError:
        raise RuntimeError("the process of a build ended by itself") from None
    finally:
        process.join()
    return taken_s, peak, made


def rebuilds(bench: Bench) -> Iterator[Round]:
    messages, memory_mb = bench.size(10_000_000, 100_000), 1024
    bench.note(f"{memory_mb:,} MiB and one thread for both sides")
    with bench.scratch() as folder:
        data = Data(folder, messages, messages // 10)
        for _ in range(bench.rounds):
            theirs, their_peak, _ = apart(data, memory_mb, 0, None)
            ours, peak, base = apart(data, memory_mb, 0, ProfileSet())
            parts = {
                how: apart(data, memory_mb, number, base, more)[0]
                for number, (how, more) in enumerate(data.more.items(), start=1)
            }
            yield {
                "": (ours, theirs),
                "peak": (peak, memory_mb),
                **{how: (part, ours) for how, part in parts.items()},
            }
            shutil.rmtree(data.folder / "profiles")
            (data.folder / "profiles").mkdir()
        bench.note(f"peak of the yardstick {their_peak:,.0f} MiB")


ROWS: Final = (
    Row(
        name="rebuild",
        asks="rebuild",
        figures={
            "": Figure(
                what="rebuild of 10 million messages into 1 million profiles",
                yardstick="one DuckDB `GROUP BY` with the same aggregates",
                aim=under(2),
            ),
            "concentrated": Figure(
                what="build of 1 % new messages, keys as concentrated as in real traffic",
                yardstick="the rebuild",
                aim=under(0.05, "under 5 %"),
            ),
            "even": Figure(what="build of 1 % new messages, keys evenly spread", yardstick="the rebuild"),
            "peak": Figure(
                what="peak memory of the process that rebuilds", yardstick="`--memory`", aim=under(1.5), unit="MiB"
            ),
        },
        measure=rebuilds,
        differs=(
            "the `GROUP BY` groups by a column that names each person, which ours does not read: it finds out which identifiers "
            "are one profile and which values are void, writes the profiles as Parquet, and fsyncs them. Both sides begin with "
            "their libraries loaded, as a run that builds does. The setting bounds DuckDB's memory; the process also holds Python and Arrow"
        ),
    ),
)


def main(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as name:
        data = Data(Path(name), options.messages, options.profiles or options.messages // 10)
        building = Building(data, options.memory_mb, options.threads)
        ratios: list[float] = []
        cpu_ratios: list[float] = []
        parts: dict[str, list[float]] = {"concentrated": [], "even": []}
        for _ in range(options.rounds):
            theirs, theirs_cpu, _ = timed(building.yardstick)
            ours, ours_cpu, base = timed(lambda: building.build(ProfileSet()))
            ratios.append(ours / theirs)
            cpu_ratios.append(ours_cpu / theirs_cpu)
            print(
                f"rebuild {ours:.2f} s, GROUP BY {theirs:.2f} s, ratio {ratios[-1]:.2f} (cpu {ours_cpu:.2f} s, {theirs_cpu:.2f} s, "
                f"ratio {cpu_ratios[-1]:.2f}); {base.facts['profiles']:,} profiles"
            )
            for how, more in data.more.items():
                took, took_cpu, made = timed(partial(building.build, base, more))
                reading, _, _ = timed(partial(building.read, made))
                parts[how].append(took / ours)
                print(
                    f"  1 % more, {how}: {took:.2f} s, {took / ours:.1%} of the rebuild (cpu {took_cpu / ours_cpu:.1%}), {made.facts['changed']:,} profiles "
                    f"touched; reading all {reading:.2f} s"
                )
            shutil.rmtree(data.folder / "profiles")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"median rebuild ratio {median(ratios):.2f} (cpu {median(cpu_ratios):.2f}; aim: under 2)")
        print(
            ", ".join(f"1 % {how} {median(one):.1%}" for how, one in parts.items()) + " (aim: under 5 % concentrated)"
        )
        print(f"peak memory {peak} MB with memory_mb={options.memory_mb}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--profiles", type=int, default=0)
    parser.add_argument("--memory-mb", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    main(parser.parse_args())
