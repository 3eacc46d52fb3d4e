"""An import of what happened long ago, in the lane of backfills: past its limit it waits until somebody approves it."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pyarrow.parquet as pq

from tests.end_to_end.membership import address
from tests.simulation.drawing import draw_job
from tests.simulation.laws import require
from tests.simulation.parts import HISTORY, Deed, Part

if TYPE_CHECKING:
    from tests.simulation.people import Wanted
    from tests.simulation.world import World

DAY_MS: Final = 86_400_000

SPEC: Final = """apiVersion: reconciler/v1
kind: Stream
metadata: {name: history-0}
spec:
  columns: {at: timestamp}
  timestamp: {field: at}
  identity: [{key: email, from: email, normalize: [trim, lower]}]
  attributes: {since: {from: at, merge: min}, past: {merge: count}}
"""


class Backfills(Part):
    streams = (HISTORY,)

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        dice = self._dice = random.Random(f"backfills {seed}")
        self._limit = dice.choice([1, 3, 12, 100])
        self._rows: dict[str, list[int]] = {}  # by segment: the run of each message
        self._spent: dict[int, int] = {}  # by run over the limit: how many approvals there had been

    def jobs(self) -> list[Wanted]:
        world = self._world
        world.all_streams.append(HISTORY)
        (world.inbox / HISTORY).mkdir()
        job = draw_job(world, HISTORY, reads="")
        return [replace(job, more=f"{job.more}, lane: backfill, backfill: {{maxMessages: {self._limit}}}")]

    def files(self) -> dict[str, str]:
        return {"history.yaml": SPEC}

    def deeds(self) -> list[tuple[int, Deed]]:
        return [(self._dice.randint(3, 10), self.unearth)]

    def unearth(self) -> str:
        """Somebody finds old messages."""
        dice, world = self._dice, self._world
        rows = [
            f"{address(dice.randrange(world.mirrors.count))},2025-{dice.randint(1, 12):02d}-{dice.randint(1, 28):02d}T00:00:00Z"
            for _ in range(dice.choice([1, 4, 9, 30]))
        ]
        ids = world.streams.next_ids(len(rows))
        world.mirrors.messages |= {one: {"email": row.partition(",")[0]} for one, row in zip(ids, rows, strict=True)}
        world.streams.arrive(
            HISTORY, ids, "id,email,at\n" + "".join(f"{one},{row}\n" for one, row in zip(ids, rows, strict=True))
        )
        return f"{len(rows)} messages for {HISTORY}"

    def settle_down(self) -> None:
        for day in range(60):
            self._world.timeline.after(day * DAY_MS, self._world.mirrors.approve)

    # --- laws

    def look(self) -> None:
        """No run adds more than the limit, unless somebody has approved something since the last that did."""
        world = self._world
        assert world.record is not None
        runs: dict[int, int] = {}
        for segment in world.record.streams.segments(HISTORY):
            if segment.file not in self._rows:
                table = pq.read_table(world.state / "data" / segment.file, columns=["_run"], use_threads=False)
                self._rows[segment.file] = table.column("_run").to_pylist()
            for run in self._rows[segment.file]:
                if run is not None:
                    runs[run] = runs.get(run, 0) + 1
        approved = world.mirrors.approvals(HISTORY)
        for run, count in sorted(runs.items()):
            if count > self._limit and run not in self._spent:
                before = max(self._spent.values(), default=0)
                require(
                    approved > before,
                    f"{HISTORY}: run {run} added {count}, more than {self._limit}, and nobody approved",
                )
                self._spent[run] = approved
