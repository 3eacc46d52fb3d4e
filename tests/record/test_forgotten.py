"""Requests to forget: who is meant is in clear only while it is needed, and then in no page of the record's file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.core.document import Document
from reconciler.core.forgotten import Shown
from reconciler.core.provider import Staged
from reconciler.core.state import JobState
from reconciler.record.events import Event
from reconciler.record.forgotten import BLANK, Receipt, Work
from reconciler.record.resources import By
from reconciler.record.store import Record

ANN = "ann@secret.example"


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    with Record.writing(tmp_path / "state") as opened:
        yield opened


def bytes_of(record_dir: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(record_dir.glob("record.db*")))


def test_a_request_goes_from_who_is_meant_to_nothing_but_hashes(record: Record, tmp_path: Path) -> None:
    forgotten = record.forgotten
    with record.transaction():
        request = forgotten.ask("email", ANN, "me", 100)
    assert [one.id for one in forgotten.under_way()] == [request]
    assert forgotten.requests()[0].work == Work(identifiers=(("email", ANN),))
    pairs = (("email", ANN), ("phone", "1" * 5000))  # longer than a page
    with record.transaction():
        forgotten.found(request, True, Work(identifiers=pairs, ids=("a1",)), ["h1", "h2"], 100)
        forgotten.add_files([request], ["streams/s/1.parquet"])
        forgotten.advance([request], "wipe")
    assert forgotten.hashes() == {"h1": 100, "h2": 100}
    assert ANN.encode() in bytes_of(tmp_path / "state")
    with record.transaction():
        forgotten.blank(request)
    assert forgotten.scrub()
    assert ANN.encode() not in bytes_of(tmp_path / "state")
    with record.transaction():
        forgotten.finish(request, 200)
    (done,) = forgotten.requests()
    assert (done.step, done.known, done.done_ms, done.work) == ("done", True, 200, None)
    assert forgotten.under_way() == []
    assert ANN not in repr(forgotten.requests())


def test_a_reader_in_the_way_puts_off_that_the_file_is_written_anew(record: Record, tmp_path: Path) -> None:
    with record.transaction():
        record.forgotten.ask("email", ANN, "me", 100)
    with closing(sqlite3.connect(tmp_path / "state" / "record.db")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM forget_request").fetchall()
        assert not record.forgotten.scrub()
    assert record.forgotten.scrub()


def test_somebody_who_is_forgotten_again_is_so_from_the_later_moment_on(record: Record) -> None:
    with record.transaction():
        for at_ms in (100, 300, 200):
            request = record.forgotten.ask("email", ANN, "me", at_ms)
            record.forgotten.found(request, False, Work(identifiers=()), ["h"], at_ms)
    assert record.forgotten.hashes() == {"h": 300}
    assert record.forgotten.count() == 1


def test_receipts_count_what_comes_and_say_what_is_outstanding(record: Record) -> None:
    with record.transaction():
        request = record.forgotten.ask("email", ANN, "me", 100)
        for count in (2, 3):
            record.forgotten.note(Receipt(request=request, what="messages", name="s", count=count))
        record.forgotten.note(Receipt(request=request, what="destination", name="crm", members=("b2", "a1")))
        record.forgotten.settle(request, 500)
    receipts = {one.what: one for one in record.forgotten.receipts(request)}
    assert (receipts["messages"].count, receipts["messages"].at_ms) == (5, 500)
    assert [one.name for one in record.forgotten.outstanding()] == ["crm"]
    assert record.forgotten.members_to_remove("crm") == ("a1", "b2")
    assert record.forgotten.members_to_remove("other") == ()
    with record.transaction():
        record.forgotten.removed(request, "crm", "removed by run 7", 600)
    assert record.forgotten.outstanding() == []
    assert record.forgotten.members_to_remove("crm") == ()


def test_what_is_outstanding_follows_a_job_that_is_renamed(record: Record) -> None:
    with record.transaction():
        first, second = (record.forgotten.ask("email", ANN, "me", 1) for _ in range(2))
        for request, name, members in ((first, "old", ("a",)), (first, "new", ("x",)), (second, "other", ("b",))):
            record.forgotten.note(Receipt(request=request, what="destination", name=name, members=members))
        record.forgotten.note(Receipt(request=second, what="messages", name="old", count=3))
        record.forgotten.rename("old", "new")
    assert record.forgotten.members_to_remove("new") == ("a",)
    assert record.forgotten.members_to_remove("old") == ()
    assert [(one.request, one.name) for one in record.forgotten.outstanding()] == [(first, "new"), (second, "other")]
    assert [one.name for one in record.forgotten.receipts(second)] == ["other", "old"]


def test_free_texts_that_show_an_identifier_are_blanked_and_the_status_is_written_anew(record: Record) -> None:
    spec = {"provider": "http", "jobType": "export-webhook"}
    document = Document(kind="Job", name="crm", path="a.yaml", spec=spec)
    with record.transaction():
        job = record.resources.create(document, By(author="me"), 1, type="export")
        record.jobs.insert_state(job, JobState(last_error=f"refused {ANN.upper()}"), wake_at_ms=None)
        run = record.runs.begin(job, 1, 1)
        record.runs.append_output(run, f"answered: {ANN}\n")
        record.approvals.ask(job, "d", "would remove 1", 1)
        for message in (f"message 3 was refused: {ANN}", "all is well"):
            record.events.add(Event(kind="Job", name="crm", path="a.yaml", time_ms=1, event="Synced", message=message))
    with record.transaction() as sql:
        sql.execute("UPDATE resource SET dirty = 0")  # its status was written
        assert record.forgotten.blank_texts(Shown([ANN]).within) == 3
    assert [one.name for one in record.resources.dirty("Job")] == ["crm"]
    assert [one.message for one in record.events.tail("Job", "crm", limit=5)] == [BLANK, "all is well"]
    found = record.jobs.job("crm")
    assert found is not None
    assert found.state.last_error == BLANK
    held = record.approvals.held(job)
    assert held is not None
    assert held.message == "would remove 1"


def test_a_segment_that_loses_messages_keeps_its_place_and_counts_what_is_left(record: Record) -> None:
    def staged(file: str, rows: int = 10) -> Staged:
        return Staged(stream="s", file=file, rows=rows, size=100, schema="x")

    with record.transaction():
        record.streams.append([staged("a"), staged("b")], 1)
        assert record.streams.hollow("a", staged("c"), 4, 2)
        assert record.streams.hollow("c", staged("d"), 1, 3)
        assert not record.streams.hollow("a", staged("e"), 1, 3)
    assert [(one.file, one.first, one.rows) for one in record.streams.segments("s")] == [("d", 0, 10), ("b", 10, 10)]
    assert record.streams.counts("s")[0] == 15
    assert record.streams.ends() == {"s": 20}
    record.streams.replace(["d", "b"], staged("whole", 20), 0, 4)
    assert record.streams.counts("s")[0] == 15
    assert record.streams.rows()[0].messages == 15
    assert sorted(record.streams.drop_retired(4)) == ["a", "b", "c", "d"]
    with record.transaction():
        assert record.streams.empty("s", 5) == 15
