"""A stream that is dropped stays dropped, whatever was at work on it just then."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from reconciler.clock import Now
from reconciler.controller.deeds import DEEDS
from reconciler.controller.housekeeping import FRAGMENTS, Housekeeper
from reconciler.controller.lives import Lives
from reconciler.controller.requests import Desk, Request, do
from reconciler.core.document import Document
from reconciler.core.messages import Produced
from reconciler.core.provider import Unit
from reconciler.core.state import JobState
from reconciler.data.store import Origin, with_meta, write_segment
from reconciler.providers import catalogue
from reconciler.record.resources import By
from reconciler.record.store import Record
from reconciler.runner.local import LocalRunner
from tests.end_to_end.inprocess import World

NOW = Now(wall_ms=1_800_000_000_000, alive_ms=0)


def land(record: Record, data: Path, count: int) -> None:
    """So many segments of one message each, by a job that is gone since."""
    document = Document(kind="Job", name="import-orders", path="a.yaml", spec={"provider": "files"})
    job = record.resources.create(document, By(author=""), NOW.wall_ms, type="import")
    record.jobs.insert_state(job, JobState(), wake_at_ms=None)
    run = record.runs.run(record.runs.begin(job, 1, NOW.wall_ms))
    assert run is not None
    for number in range(1, count + 1):
        table = with_meta(pa.table({"id": [str(number)]}), None, Origin(NOW.wall_ms, "import-orders", run.id, number))
        staged = write_segment(data, "orders", f"streams/orders/import-orders-{run.id}-1-{number}-1.parquet", [table])
        record.runs.commit_unit(run, number, Unit(cursor=number, rows=1, segments=(staged,)), NOW.wall_ms)
    record.resources.delete(job)


def test_a_compaction_that_ends_after_its_stream_was_dropped_brings_nothing_back(
    tmp_path: Path, runner: LocalRunner
) -> None:
    world = World(tmp_path, runner)
    data = world.state / "data"
    with Record.writing(world.state) as record:
        land(record, data, FRAGMENTS)
        hands = world._hands(record)
        housekeeper = Housekeeper(hands)
        housekeeper.compact()
        made: list[Produced] = []
        while not made:
            made = [one for one in hands.runner.messages(5) if isinstance(one, Produced)]
        desk = Desk(record=record, lives=Lives(record, lambda: 0.5), catalogue=catalogue)
        dropped = do(DEEDS, desk, Request(do="stream-drop", arguments={"name": "orders"}, by="ada"), NOW)
        assert dropped.message == f"The stream 'orders' is dropped: {FRAGMENTS} messages are gone."
        (reply,) = housekeeper.take(made[0], NOW)
        assert not reply.accepted
        hands.runner.answer(reply.run, reply.accepted)
        while hands.runner.active():
            for message in hands.runner.messages(5):
                housekeeper.take(message, NOW)
        assert record.streams.segments("orders") == ()
        housekeeper.tidy(NOW.wall_ms)
        housekeeper.sweep(NOW)
        assert list((data / "streams").rglob("*.parquet")) == []
