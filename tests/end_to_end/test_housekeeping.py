"""Small segments are put together, and what nobody names is swept, without a message lost, doubled or moved."""

from __future__ import annotations

from pathlib import Path

from reconciler.controller.housekeeping import FRAGMENTS
from reconciler.runner.local import LocalRunner
from tests.end_to_end.inprocess import World
from tests.end_to_end.world import column, is_sound, positions_are_dense, rows_of, segments

SPECS = """
apiVersion: reconciler/v1
kind: Stream
metadata: {name: orders}
spec: {}
---
apiVersion: reconciler/v1
kind: Job
metadata: {name: import-orders}
spec:
  provider: files
  jobType: import-csv
  schedule: {continuous: true}
  config: {path: "in/*.csv", stream: orders}
---
apiVersion: reconciler/v1
kind: Job
metadata: {name: orders-ndjson}
spec:
  provider: files
  jobType: export-ndjson
  schedule: {afterDependencies: true}
  dependsOn: [import-orders]
  config: {stream: orders, path: out/orders.ndjson}
"""


def one_pass(world: World) -> None:
    report = world.live()
    assert report is not None
    assert not report.problems
    assert not report.failures


def world_of(root: Path, runner: LocalRunner) -> World:
    (root / "in").mkdir(parents=True)
    (root / "jobs.yaml").write_text(SPECS)
    return World(root, runner)


def test_many_small_segments_become_one_and_every_message_keeps_its_place(tmp_path: Path, runner: LocalRunner) -> None:
    root = tmp_path / "jobs"
    world = world_of(root, runner)
    state = world.state
    for number in range(FRAGMENTS + 2):
        (root / "in" / f"{number:02d}.csv").write_text(f"id,amount\n{number * 2},1\n{number * 2 + 1},2\n")
        one_pass(world)
    count = (FRAGMENTS + 2) * 2
    assert len(segments(state, "orders")) < FRAGMENTS
    assert positions_are_dense(state, "orders")
    assert [int(value) for value in column(state, "orders", "id")] == list(range(count))
    exported = (root / "out" / "orders.ndjson").read_text().splitlines()
    assert exported == [f'{{"id":"{i}","amount":"{i % 2 + 1}"}}' for i in range(count)]
    named = {Path(file).name for file in segments(state, "orders")}
    one_pass(world)
    assert {file.name for file in (state / "data" / "streams" / "orders").iterdir()} == named
    assert is_sound(state)


def test_a_file_that_no_row_names_is_swept_at_the_next_start(tmp_path: Path, runner: LocalRunner) -> None:
    root = tmp_path / "jobs"
    world = world_of(root, runner)
    (root / "in" / "a.csv").write_text("id\n1\n")
    one_pass(world)
    folder = world.state / "data" / "streams" / "orders"
    left = folder / "import-orders-7-1-1-1.parquet"
    left.write_bytes(b"half a segm")
    one_pass(world)
    assert not left.exists()
    assert column(world.state, "orders", "id") == ["1"]
    assert rows_of(world.state, "SELECT count(*) FROM segment") == [(1,)]
