"""What each job has moved, by time: never more or less than its units."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.clock import milliseconds
from reconciler.core.metrics import DAY_MS, HOUR_MS, MINUTE_MS, Grain, totals
from reconciler.core.provider import Unit
from reconciler.record import database
from reconciler.record.store import Record
from tests.record.test_runs import job, run, staged

START_MS = milliseconds("2026-11-20T09:30:15.000Z")


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    with Record.writing(tmp_path) as opened:
        yield opened


def commit(record: Record, job_id: int, number: int, now_ms: int, **counts: int) -> None:
    found = record.runs.live() or [run(record, job_id)]
    with record.transaction():
        record.runs.commit_unit(found[0], number, Unit(cursor=number, **counts), now_ms)


def test_a_unit_is_in_its_minute_its_hour_and_its_day(record: Record) -> None:
    import_orders = job(record)
    commit(record, import_orders, 1, START_MS, rows=5, omitted=1)
    commit(record, import_orders, 2, START_MS + 1_000, rows=2)
    commit(record, import_orders, 3, START_MS + MINUTE_MS, rows=10, added=3, removed=2)
    assert [point.rows for point in record.metrics.points(import_orders, Grain.MINUTE)] == [7, 10]
    for grain in (Grain.HOUR, Grain.DAY):
        (point,) = record.metrics.points(import_orders, grain)
        assert (point.rows, point.added, point.removed, point.omitted) == (17, 3, 2, 1)
    assert record.metrics.points(import_orders, Grain.DAY)[0].start_ms == milliseconds("2026-11-20T00:00:00.000Z")


def test_a_unit_that_moved_nothing_leaves_no_trace(record: Record) -> None:
    import_orders = job(record)
    commit(record, import_orders, 1, START_MS)
    assert record.metrics.points(import_orders, Grain.MINUTE) == []


def test_a_unit_that_is_not_committed_is_not_counted(record: Record) -> None:
    one = run(record, job(record))

    def commit_twice() -> None:
        with record.transaction():
            for _ in range(2):  # the second of the same number is refused
                record.runs.commit_unit(one, 1, Unit(cursor=1, rows=3), START_MS)

    with pytest.raises(sqlite3.IntegrityError):
        commit_twice()
    assert record.metrics.points(one.job, Grain.DAY) == []


units = st.tuples(st.integers(0, 3 * DAY_MS), *[st.integers(0, 9)] * 4)


@given(st.lists(units, max_size=12))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_every_grain_adds_up_to_the_totals_of_the_job(
    record: Record, moved: list[tuple[int, int, int, int, int]]
) -> None:
    with record.transaction():
        one = run(record, job(record))
        for number, (at_ms, rows, added, removed, omitted) in enumerate(moved, start=1):
            unit = Unit(cursor=number, rows=rows, added=added, removed=removed, omitted=omitted)
            record.runs.commit_unit(one, number, unit, START_MS + at_ms)
        found = record.jobs.by_id(one.job)
        assert found is not None
        for grain in Grain:
            sums = totals(record.metrics.points(one.job, grain))
            assert sums == {name: getattr(found.totals, name) for name in sums}
        record.resources.delete(one.job)


def test_points_are_asked_for_from_the_moment_that_a_time_lies_in(record: Record) -> None:
    import_orders = job(record)
    for number in range(3):
        commit(record, import_orders, number + 1, START_MS + number * HOUR_MS, rows=number + 1)
    since_ms = START_MS + HOUR_MS + MINUTE_MS
    assert [point.rows for point in record.metrics.points(import_orders, Grain.HOUR, since_ms)] == [2, 3]


def test_minutes_and_hours_pass_and_days_stay(record: Record) -> None:
    import_orders = job(record)
    for number, age_ms in enumerate((100 * DAY_MS, 61 * DAY_MS, 59 * DAY_MS, 3 * DAY_MS, DAY_MS)):
        commit(record, import_orders, number + 1, START_MS - age_ms, rows=1)
    record.metrics.trim(START_MS)
    counts = {grain: len(record.metrics.points(import_orders, grain)) for grain in Grain}
    assert counts == {Grain.MINUTE: 1, Grain.HOUR: 3, Grain.DAY: 5}


def test_what_a_job_moved_goes_with_its_runs_and_with_the_job(record: Record) -> None:
    purged, deleted, other = job(record, "purged"), job(record, "deleted"), job(record, "other")
    for one in (purged, deleted, other):
        with record.transaction():
            record.runs.commit_unit(run(record, one), 1, Unit(cursor=1, rows=1), START_MS)
    record.runs.forget(purged)
    record.resources.delete(deleted)
    assert [len(record.metrics.points(one, Grain.DAY)) for one in (purged, deleted, other)] == [0, 0, 1]


#: A job with one run of three units, the last of which moved nothing, in the tables of before.
BEFORE = """
INSERT INTO resource (id, kind, name, path, title, description, labels, digest, work_digest, metadata_digest, spec, type,
    created_ms, created_by, updated_ms, updated_by)
VALUES (1, 'Job', 'import-orders', 'a.yaml', '', '', '{{}}', '', '', '', '{{"config":{{"stream":"orders"}}}}', 'import', 1, '', 1, '');
INSERT INTO run (id, job, generation, attempt, live, started_ms) VALUES (1, 1, 1, 1, 0, 1);
INSERT INTO unit (run, number, attempt, committed_ms, rows, added, removed, omitted)
VALUES (1, 1, 1, {first}, 2, 0, 0, 0), (1, 2, 1, {second}, 3, 0, 0, 0), (1, 3, 1, {empty}, 0, 0, 0, 0);
INSERT INTO stream (name, next) VALUES ('orders', 5);
"""


def test_a_record_from_before_knows_the_days_of_the_units_that_it_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = tmp_path / "migrations"
    earlier.mkdir()
    for script in sorted(database.MIGRATIONS.glob("*.sql"))[:3]:
        (earlier / script.name).write_text(script.read_text())
    monkeypatch.setattr(database, "MIGRATIONS", earlier)
    state = tmp_path / "state"
    with Record.writing(state) as record, record.transaction() as sql:
        sql.executescript(BEFORE.format(first=START_MS, second=START_MS + 1, empty=START_MS + DAY_MS))
    monkeypatch.undo()
    with Record.writing(state) as record:
        assert [point.rows for point in record.metrics.points(1, Grain.DAY)] == [5]
        assert [(row.name, row.arrived_ms) for row in record.streams.rows()] == [("orders", START_MS + 1)]


# --- streams --------------------------------------------------------------------------------------------------------


def test_a_stream_knows_its_newest_arrival_and_the_usual_time_between_two(record: Record) -> None:
    one = run(record, job(record))

    def arrive(number: int, at_ms: int) -> None:
        with record.transaction():
            record.runs.commit_unit(
                one, number, Unit(cursor=number, rows=1, segments=(staged(f"s{number}", 1),)), START_MS + at_ms
            )

    def gap() -> int | None:
        return record.streams.rows()[0].gap_ms

    arrive(1, 0)
    assert gap() is None
    arrive(2, 30_000)  # of the same run
    assert gap() is None
    arrive(3, 30_000 + HOUR_MS)
    assert gap() == HOUR_MS
    arrive(4, 30_000 + 3 * HOUR_MS)
    assert gap() == HOUR_MS + HOUR_MS // 4
    assert record.streams.rows()[0].arrived_ms == START_MS + 30_000 + 3 * HOUR_MS
    arrive(5, 0)  # the clock was set back
    assert record.streams.rows()[0].arrived_ms == START_MS + 30_000 + 3 * HOUR_MS


def test_an_emptied_stream_gives_no_position_twice(record: Record) -> None:
    one = run(record, job(record))
    with record.transaction():
        record.runs.commit_unit(one, 1, Unit(cursor=1, rows=3, segments=(staged("a", 3),)), START_MS)
    assert record.streams.are_live(["a"])
    assert record.streams.empty("orders", START_MS + 1) == 3
    assert not record.streams.are_live(["a"])
    assert record.streams.segments("orders") == ()
    with record.transaction():
        record.runs.commit_unit(one, 2, Unit(cursor=2, rows=2, segments=(staged("b", 2),)), START_MS + 2)
    assert [(one.file, one.first) for one in record.streams.segments("orders")] == [("b", 3)]
    assert record.streams.drop_retired(START_MS + 1) == ["a"]
