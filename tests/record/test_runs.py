"""A unit becomes true whole or not at all; positions are given once; what is late is refused."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.core.document import Document
from reconciler.core.provider import Intent, Staged, Unit
from reconciler.core.state import JobState, Outcome, Reason, Status
from reconciler.record.events import Event
from reconciler.record.resources import By
from reconciler.record.runs import KEPT_OUTPUT, KEPT_RUNS, RunRow
from reconciler.record.store import Record

ANN = By(author="Ann", commit="c0ffee", revision="main@sha1:c0ffee")


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    with Record.writing(tmp_path) as opened:
        yield opened


def job(record: Record, name: str = "import-orders", **spec: object) -> int:
    document = Document(kind="Job", name=name, path="orders.yaml", spec={"provider": "files", **spec})
    job_id = record.resources.create(document, ANN, 1_000)
    record.jobs.insert_state(job_id, JobState(), wake_at_ms=1_000)
    return job_id


def run(record: Record, job_id: int) -> RunRow:
    run_id = record.runs.begin(job_id, 1, 2_000)
    found = record.runs.run(run_id)
    assert found is not None
    return found


def staged(file: str, rows: int, stream: str = "orders") -> Staged:
    return Staged(stream=stream, file=file, rows=rows, size=100, schema="s")


def test_each_message_gets_the_next_position_of_its_stream(record: Record) -> None:
    one = run(record, job(record))
    with record.transaction():
        record.runs.commit_unit(one, 1, Unit(cursor={"n": 1}, rows=5, segments=(staged("a", 3), staged("b", 2))), 3_000)
    with record.transaction():
        record.runs.commit_unit(one, 2, Unit(cursor={"n": 2}, rows=4, segments=(staged("c", 4),)), 4_000)
    assert [(s.file, s.first, s.rows) for s in record.streams.segments("orders")] == [
        ("a", 0, 3),
        ("b", 3, 2),
        ("c", 5, 4),
    ]
    found = record.jobs.by_id(one.job)
    assert found is not None
    assert (found.cursor, found.totals.rows) == ({"n": 2}, 9)


def test_a_unit_that_cannot_be_committed_whole_leaves_nothing(record: Record) -> None:
    one = run(record, job(record))
    with pytest.raises(sqlite3.IntegrityError), record.transaction():
        record.runs.commit_unit(one, 1, Unit(cursor={"n": 1}, rows=5, segments=(staged("a", 3), staged("a", 2))), 3_000)
    found = record.jobs.by_id(one.job)
    assert found is not None
    assert found.cursor is None
    assert record.streams.segments("orders") == ()
    assert record.streams.counts("orders") == (0, 0)


def test_the_same_unit_is_never_committed_twice(record: Record) -> None:
    one = run(record, job(record))
    record.runs.commit_unit(one, 1, Unit(cursor=1, rows=1), 3_000)
    with pytest.raises(sqlite3.IntegrityError):
        record.runs.commit_unit(one, 1, Unit(cursor=1, rows=1), 3_000)


def test_runs_of_a_job_never_overlap(record: Record) -> None:
    job_id = job(record)
    run(record, job_id)
    with pytest.raises(sqlite3.IntegrityError):
        record.runs.begin(job_id, 1, 2_000)


def test_units_of_another_attempt_are_refused(record: Record) -> None:
    one = run(record, job(record))
    assert record.runs.accepts(one.id, 1, 1)
    record.runs.finish(one.id, Outcome.ERRORED, "boom", 3_000)
    assert not record.runs.accepts(one.id, 1, 1)
    assert record.runs.attempt(one.id, 1) == 2
    assert not record.runs.accepts(one.id, 1, 1)
    assert record.runs.accepts(one.id, 2, 1)


def test_an_intent_stays_open_until_the_unit_that_holds_its_outcome(record: Record) -> None:
    one = run(record, job(record))
    first, second = (Intent(key=k, first=i, last=i, digest="d", detail={"k": k}) for i, k in enumerate("ab"))
    record.runs.commit_intents(one, [first, second])
    assert record.runs.open_intents(one.job) == (first, second)
    with record.transaction():
        record.runs.commit_unit(one, 1, Unit(cursor=1, rows=1, closes=("a",)), 3_000)
    assert record.runs.open_intents(one.job) == (second,)


def test_a_unit_ends_some_intents_and_opens_others_or_does_neither(record: Record) -> None:
    one = run(record, job(record))
    first, second = (Intent(key=k, first=i, last=i, digest="d") for i, k in enumerate("ab"))
    record.runs.commit_intents(one, [first])
    with record.transaction():
        record.runs.commit_unit(one, 1, Unit(cursor=1, rows=1, closes=("a",), intends=(second,)), 3_000)
    assert record.runs.open_intents(one.job) == (second,)
    with pytest.raises(sqlite3.IntegrityError), record.transaction():
        record.runs.commit_unit(one, 2, Unit(cursor=2, rows=1, intends=(first, second)), 4_000)
    assert record.runs.open_intents(one.job) == (second,)
    found = record.jobs.by_id(one.job)
    assert found is not None
    assert found.cursor == 1


def test_a_dropped_cursor_takes_open_intents_with_it(record: Record) -> None:
    one = run(record, job(record))
    record.runs.commit_intents(one, [Intent(key="a", first=0, last=1, digest="d")])
    record.runs.commit_unit(one, 1, Unit(cursor={"n": 1}), 3_000)
    record.jobs.drop_cursor(one.job)
    found = record.jobs.by_id(one.job)
    assert found is not None
    assert found.cursor is None
    assert record.runs.open_intents(one.job) == ()


def test_run_ids_never_repeat_even_after_their_job_is_gone(record: Record) -> None:
    job_id = job(record)
    first = run(record, job_id).id
    record.resources.delete(job_id)
    assert record.runs.run(first) is None
    assert run(record, job(record)).id > first


def test_old_runs_go_and_their_rejects_files_are_named(record: Record) -> None:
    job_id = job(record)
    for number in range(KEPT_RUNS + 3):
        one = run(record, job_id)
        record.runs.commit_unit(one, 1, Unit(cursor=1, omitted=1, rejects=(f"rejects/{number}",)), 3_000)
        record.runs.finish(one.id, Outcome.SUCCEEDED, "", 4_000)
    assert record.runs.trim(job_id) == ["rejects/0", "rejects/1", "rejects/2"]
    assert len(record.runs.history(job_id, 1_000)) == KEPT_RUNS


def test_only_the_last_of_the_output_is_kept(record: Record) -> None:
    one = run(record, job(record))
    record.runs.append_output(one.id, "x" * KEPT_OUTPUT)
    record.runs.append_output(one.id, "the end")
    found = record.runs.run(one.id)
    assert found is not None
    assert len(found.output) == KEPT_OUTPUT
    assert found.output.endswith("xthe end")


def test_a_compaction_keeps_positions_and_retires_what_it_replaced(record: Record) -> None:
    one = run(record, job(record))
    with record.transaction():
        record.runs.commit_unit(one, 1, Unit(cursor=1, rows=6, segments=tuple(staged(f, 2) for f in "abc")), 3_000)
    record.streams.replace(["a", "b"], staged("ab", 4), 0, 9_000)
    assert [(s.file, s.first, s.rows) for s in record.streams.segments("orders")] == [("ab", 0, 4), ("c", 4, 2)]
    assert record.streams.named_files() == {"a", "b", "ab", "c"}
    assert record.streams.drop_retired(8_999) == []
    assert sorted(record.streams.drop_retired(9_000)) == ["a", "b"]
    assert record.streams.named_files() == {"ab", "c"}


def test_a_secret_that_changed_is_noticed_by_its_keyed_digest(record: Record) -> None:
    assert not record.runs.note_secret("main-aws", "key", "one", 1)
    assert not record.runs.note_secret("main-aws", "key", "one", 2)
    assert record.runs.note_secret("main-aws", "key", "two", 3)


def test_what_the_machine_would_not_allow_the_record_refuses(record: Record) -> None:
    job_id = job(record)
    for state in (
        JobState(status=Status.SLEEPING, reason=None),
        JobState(status=Status.COMPLETED, reason=Reason.SCHEDULED),
        JobState(status=Status.RUNNING, reason=None, run=None),
        JobState(status=Status.PAUSED, reason=None),
    ):
        with pytest.raises(sqlite3.IntegrityError):
            record.jobs.save_state(job_id, state, wake_at_ms=None)


def test_an_event_is_unlogged_until_its_line_is_written(record: Record) -> None:
    record.events.add(Event(kind="Job", name="a", path="a.yaml", time_ms=1, event="Created", author="Ann"))
    (event,) = record.events.unlogged()
    assert event.id is not None
    record.events.mark_logged(event.id)
    assert record.events.unlogged() == []
    assert [e.event for e in record.events.tail("Job", "a")] == ["Created"]


def test_the_generation_rises_only_with_the_digest(record: Record) -> None:
    job_id = job(record)
    retitled = Document(kind="Job", name="import-orders", path="x.yaml", title="New", spec={"provider": "files"})
    record.resources.update(job_id, retitled, ANN, 5_000)
    found = record.jobs.by_id(job_id)
    assert found is not None
    assert (found.generation, found.title, found.path) == (1, "New", "x.yaml")
    changed = Document(kind="Job", name="import-orders", path="x.yaml", spec={"provider": "http"})
    record.resources.update(job_id, changed, ANN, 6_000)
    found = record.jobs.by_id(job_id)
    assert found is not None
    assert (found.generation, found.spec) == (2, {"provider": "http"})
