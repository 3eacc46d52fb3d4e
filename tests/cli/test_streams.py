"""`reconcile streams` says what each stream holds and whether anything still comes; `stream drop` destroys messages."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from reconciler.cli.streams import size_text
from reconciler.clock import Clock, iso
from reconciler.controller import times
from reconciler.core.metrics import DAY_MS, HOUR_MS
from reconciler.core.provider import Staged, Unit
from reconciler.record.store import Record
from tests.cli.conftest import STREAM, World, job_text
from tests.cli.test_pass import on_a_terminal

NOW_MS = Clock().now().wall_ms


def land(world: World, job_id: int, *arrivals: tuple[int, Staged]) -> None:
    with Record.writing(world.state) as record, record.transaction():
        run = record.runs.run(record.runs.begin(job_id, 1, NOW_MS))
        assert run is not None
        for number, (ago_ms, staged) in enumerate(arrivals, start=1):
            record.runs.commit_unit(
                run, number, Unit(cursor=number, rows=staged.rows, segments=(staged,)), NOW_MS - ago_ms
            )
        record.runs.finish(run.id, "succeeded", "", NOW_MS)  # type: ignore[arg-type]


def staged(file: str, rows: int, *, stream: str = "orders", size: int = 1_000, **times: int) -> Staged:
    return Staged(stream=stream, file=file, rows=rows, size=size, schema="s", **times)


def listed(world: World) -> dict[str, dict[str, Any]]:
    ended = world.run("streams", "-o", "json")
    assert ended.code == 0
    return {row["name"]: row for row in json.loads(ended.out)}


def test_a_stream_says_what_it_holds_since_when_and_who_writes_it(world: World) -> None:
    world.write("stream.yaml", STREAM)
    job_id = world.job("import-orders")
    timed = staged("b", 2, min_timestamp_ms=1_000, max_timestamp_ms=2_000)
    land(world, job_id, (3 * HOUR_MS, staged("a", 3)), (HOUR_MS, timed))
    assert listed(world)["orders"] == {
        "name": "orders", "state": "active", "declared": False, "messages": 5, "bytes": 2_000, "segments": 2,
        "lastArrivedAt": iso(NOW_MS - HOUR_MS), "usualGapSeconds": 2 * 3_600,
        "firstTimestamp": iso(1_000), "lastTimestamp": iso(2_000), "untimed": 3, "writers": ["import-orders"],
            "waiting": [],
    }  # fmt: skip


def test_a_stream_falls_silent_by_its_own_measure(world: World) -> None:
    arrivals = {
        "hourly": [(10 * DAY_MS + HOUR_MS, ""), (10 * DAY_MS, "")],
        "daily": [(4 * DAY_MS, ""), (2 * DAY_MS, "")],
        "monthly": [(90 * DAY_MS, ""), (60 * DAY_MS, "")],
        "silent": [(5 * DAY_MS, "")],
    }
    job_id = world.job("import-orders")
    for name, moments in arrivals.items():
        land(world, job_id, *((ago, staged(f"{name}-{ago}", 1, stream=name)) for ago, _ in moments))
    states = {name: row["state"] for name, row in listed(world).items()}
    assert states == {"hourly": "dead", "daily": "active", "monthly": "active", "silent": "stale"}


def test_a_declared_stream_without_messages_is_empty(world: World) -> None:
    world.write("stream.yaml", STREAM)
    world.run()
    row = listed(world)["orders"]
    assert (row["state"], row["declared"], row["messages"], row["lastArrivedAt"]) == ("empty", True, 0, None)


def test_the_table_fits_a_glance(world: World) -> None:
    world.write("stream.yaml", STREAM)
    land(world, world.job("import-orders"), (HOUR_MS, staged("a", 1_234, size=5_000_000)))
    ended = world.run("streams")
    assert (ended.code, ended.err) == (0, "")
    header, line = ended.out.splitlines()
    assert header.split("  ")[0] == "Name"
    arrived = f"{iso(NOW_MS - HOUR_MS)[:10]} {iso(NOW_MS - HOUR_MS)[11:16]}Z"
    for cell in ("orders", "active (archived)", "1,234", "4.8 MiB", arrived, "import-orders"):
        assert cell in line


def test_the_times_of_streams_are_whole_in_a_terminal_of_80_columns(world: World) -> None:
    world.write("stream.yaml", STREAM)
    timed = staged("a", 1_234_567, size=900_000_000, min_timestamp_ms=0, max_timestamp_ms=0)
    land(world, world.job("import-orders"), (0, timed))
    code, written = on_a_terminal(world.folder, "streams")
    assert code == 0
    assert re.search(rf"{iso(NOW_MS)[5:10]} {iso(NOW_MS)[11:16]}Z  1970-01-01 ", written)


def test_where_there_are_none_it_says_so(world: World) -> None:
    ended = world.run("streams")
    assert (ended.code, ended.out, ended.err) == (0, "", "No streams are recorded for jobs.d yet.\n")
    assert world.run("streams", "-o", "json").out == "[]\n"


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1_023, "1,023 B"), (1_024, "1.0 KiB"), (1_572_864, "1.5 MiB"), (5 * 1024**4, "5.0 TiB"), (1024**5, "1,024.0 TiB")],
)  # fmt: skip
def test_a_size_is_said_in_the_unit_that_fits(size: int, text: str) -> None:
    assert size_text(size) == text


# --- stream drop ----------------------------------------------------------------------------------------------------


@pytest.fixture
def shop(world: World) -> World:
    """Real messages on the stream `orders`, landed by a job."""
    world.write("stream.yaml", STREAM)
    world.write("others.yaml", STREAM.replace("orders", "others") + job_text("stays").replace("orders", "others"))
    world.write("job.yaml", job_text("import-orders", schedule="{once: true}"))
    world.write("data/1.csv", "id\n1\n2\n")
    assert world.run().code == 0
    return world


def archive(world: World) -> None:
    for name in ("stream.yaml", "job.yaml"):
        (world.root / name).unlink()
    assert world.run().code == 0


def test_a_declared_stream_is_not_dropped(shop: World) -> None:
    ended = shop.run("stream", "drop", "orders", "--yes")
    assert (ended.code, ended.err) == (
        5,
        "Error: the stream 'orders' is declared in jobs.d/stream.yaml; remove its spec first\n",
    )
    assert listed(shop)["orders"]["messages"] == 2


def test_a_stream_whose_spec_is_gone_waits_for_the_pass_that_makes_that_true(shop: World) -> None:
    (shop.root / "stream.yaml").unlink()
    (shop.root / "job.yaml").unlink()
    ended = shop.run("stream", "drop", "orders", "--yes")
    assert ended.code == 5
    assert (
        "declared in stream.yaml when the files were last looked at; remove its spec and run `reconcile` first"
        in ended.err
    )


def test_a_stream_that_a_job_still_uses_is_not_dropped(world: World) -> None:
    land(world, world.job("import-orders"), (HOUR_MS, staged("a", 3)))
    ended = world.run("stream", "drop", "orders", "--yes")
    assert (ended.code, ended.err) == (
        5,
        "Error: the stream 'orders' is used by import-orders; remove those jobs first\n",
    )


def test_without_yes_it_says_how_many_messages_there_are_and_destroys_none(shop: World) -> None:
    archive(shop)
    size = listed(shop)["orders"]["bytes"]
    ended = shop.run("stream", "drop", "orders")
    assert ended.code == 5
    assert ended.err == (
        f"Error: the stream 'orders' holds 2 messages ({size_text(size)}); "
        "`reconcile stream drop orders --yes` destroys them for ever\n"
    )
    assert listed(shop)["orders"]["messages"] == 2


def test_with_yes_the_messages_and_their_files_are_gone_and_so_is_the_stream(shop: World) -> None:
    archive(shop)
    files = list((shop.state / "data" / "streams" / "orders").glob("*.parquet"))
    assert files
    ended = shop.run("stream", "drop", "orders", "--yes")
    assert (ended.code, ended.out) == (0, "The stream 'orders' is dropped: 2 messages are gone.\n")
    assert list(listed(shop)) == ["others"]
    assert shop.run().code == 0
    assert not any(file.exists() for file in files)
    with Record.reading(shop.state) as record:
        event = record.events.tail("Stream", "orders")[-1]
        assert (event.event, event.message) == ("Deleted", "dropped with 2 messages")
        assert event.author


def test_a_dropped_stream_can_be_declared_again_and_gives_no_position_twice(shop: World) -> None:
    archive(shop)
    shop.run("stream", "drop", "orders", "--yes")
    shop.write("stream.yaml", STREAM)
    shop.write("job.yaml", job_text("import-orders", schedule="{once: true}"))
    assert shop.run().code == 0
    with Record.reading(shop.state) as record:
        assert [(one.first, one.rows) for one in record.streams.segments("orders")] == [(2, 2)]


def test_a_stream_that_is_not_there_is_named_with_what_is_near(shop: World) -> None:
    ended = shop.run("stream", "drop", "order", "--yes")
    assert (ended.code, ended.err) == (2, "Error: there is no stream 'order' with messages; did you mean 'orders'?\n")


def test_times_that_the_stream_itself_declares_count_and_each_segment_is_read_once(world: World) -> None:
    stream = STREAM.replace("spec: {}", "spec: {timestamp: {field: at}}")
    world.write("orders.yaml", stream + job_text("import-orders", schedule="{every: 1h}"))
    world.write("data/a.csv", "id,at\n1,2020-01-02\n2,\n3,2021-03-04T05:06:07Z\n4,soon\n")
    assert world.run().code == 0

    def times() -> tuple[str, str, int]:
        row = listed(world)["orders"]
        return row["firstTimestamp"], row["lastTimestamp"], row["untimed"]

    assert times() == ("2020-01-02T00:00:00.000Z", "2021-03-04T05:06:07.000Z", 2)
    segment = next((world.state / "data").rglob("*.parquet"))
    segment.rename(segment.with_suffix(".away"))
    assert times() == ("2020-01-02T00:00:00.000Z", "2021-03-04T05:06:07.000Z", 2)
    assert "2021-03-04" in world.run("streams").out
    told = world.run("streams").out.splitlines()[-1]
    assert told == "orders: 2 of 4 messages have no time of their own, and count as of when received."
    (world.state / "cache" / "times.json").write_text("[]")
    assert listed(world)["orders"]["untimed"] == 4  # as far as the record knows
    segment.with_suffix(".away").rename(segment)
    assert times()[2] == 2
    world.write("orders.yaml", stream.replace("field: at", "field: id, format: epoch_s"))
    world.run("approve", "--prune", "--yes")
    world.run()
    assert times()[1:] == ("1970-01-01T00:00:04.000Z", 0)
    assert len(world.run("streams").out.splitlines()) == 2


def test_a_segment_that_is_compacted_while_it_is_read_is_read_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = STREAM.replace("spec: {}", "spec: {timestamp: {field: at}}")
    world.write("orders.yaml", stream + job_text("import-orders", schedule="{every: 1h}"))
    world.write("data/a.csv", "id,at\n1,2020-01-02\n2,\n")
    assert world.run().code == 0
    segment = next((world.state / "data").rglob("*.parquet"))
    read, calls = times.own_times, iter([segment.with_suffix(".away"), None])

    def read_while_it_goes(*arguments: Any, **named: Any) -> Any:
        away = next(calls)
        if away is None:
            return read(*arguments, **named)
        segment.rename(away)
        try:
            return dict(read(*arguments, **named))
        finally:
            away.rename(segment)

    monkeypatch.setattr(times, "own_times", read_while_it_goes)
    assert listed(world)["orders"]["untimed"] == 1
