"""Die at every step: the Nth call that the controller makes to any of its hands ends it, for N = 1, 2, 3 … until a pass
comes through; then it starts afresh, and the world must be as if nothing had happened: once, whole, nothing twice.

Within a transaction the only deed that counts is its commit, since nothing of it is left before; `RECONCILE_EVERY_DEED=1` makes
each thing that the record is told count.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.runner.local import LocalRunner
from tests.end_to_end.inprocess import Fuse, World
from tests.end_to_end.world import batches, column, delivered, is_sound, positions_are_dense, rows_of
from tests.servers import Server, serving

SPECS = """
apiVersion: reconciler/v1
kind: Stream
metadata: {name: orders}
spec: {}
---
apiVersion: reconciler/v1
kind: Job
metadata: {name: import-orders}
spec: {provider: files, jobType: import-csv, config: {path: "in/*.csv", stream: orders}}
---
apiVersion: reconciler/v1
kind: Job
metadata: {name: orders-to-receiver}
spec:
  provider: http
  jobType: export-webhook
  dependsOn: [import-orders]
  config: {stream: orders, url: "URL/hook", batchSize: 30, allowPrivateAddresses: true}
---
apiVersion: reconciler/v1
kind: Job
metadata: {name: orders-csv}
spec:
  provider: files
  jobType: export-csv
  dependsOn: [import-orders]
  config: {stream: orders, path: out/orders.csv}
"""
ROWS = 100


def world_of(root: Path, url: str, runner: LocalRunner) -> World:
    (root / "in").mkdir(parents=True)
    for part in range(2):
        rows = "".join(f"{i},{i}.50\n" for i in range(part * ROWS // 2, (part + 1) * ROWS // 2))
        (root / "in" / f"{part}.csv").write_text("id,amount\n" + rows)
    (root / "jobs.yaml").write_text(SPECS.replace("URL", url))
    return World(root, runner)


def converged(world: World, receiver: Server) -> None:
    assert is_sound(world.state)
    assert positions_are_dense(world.state, "orders")
    assert sorted(int(value) for value in column(world.state, "orders", "id")) == list(range(ROWS))
    arrived = delivered(receiver.processed, "id")
    assert len(arrived) == ROWS
    assert set(arrived.values()) == {1}
    assert len(batches(receiver.requests)) == 4
    lines = (world.root / "out" / "orders.csv").read_text().splitlines()
    assert len(lines) == ROWS + 1
    assert rows_of(world.state, "SELECT count(*) FROM intent") == [(0,)]
    statuses = rows_of(world.state, "SELECT status, count(*) FROM job GROUP BY status")
    assert statuses == [("Completed", 3)]
    for name in ("import-orders", "orders-to-receiver", "orders-csv"):
        assert "status: Completed" in (world.root / f"{name}.status.yaml").read_text()
        events = [
            line.split("event=")[1].split(" ")[0] for line in (world.root / f"{name}.log").read_text().splitlines()
        ]
        assert events[0] == "Created"
        assert events.count("Started") == 1
        assert events[-1] == "Completed"


@pytest.mark.timeout(600)
def test_a_controller_that_dies_at_any_deed_leaves_a_world_that_the_next_one_completes(
    quick_path: Path, runner: LocalRunner
) -> None:
    number = 0
    came_through = None
    while came_through is None:
        number += 1
        with serving() as receiver:
            world = world_of(quick_path / str(number), receiver.url, runner)
            fuse = Fuse(number)
            came_through = world.live(fuse)
            for _ in range(2):  # what was cut off goes on in the first, what waited for it follows
                assert world.live() is not None
            try:
                converged(world, receiver)
            except AssertionError as error:
                raise AssertionError(f"died at deed {number}, {fuse.deeds[-1]}: {error}") from error
    print(f"died at each of {number - 1} deeds")
    assert number > 50
