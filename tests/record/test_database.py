"""Opening the record: one writer, versions, damage, permissions."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from dataclasses import fields
from pathlib import Path

import pytest

from reconciler.core.state import JobState
from reconciler.errors import Locked, RecordUnusable
from reconciler.record import database
from reconciler.record.store import Record


def test_a_new_record_is_private_and_ignored_by_git(tmp_path: Path) -> None:
    state = tmp_path / ".reconciler"
    with Record.writing(state):
        assert stat.S_IMODE(state.stat().st_mode) == 0o700
        assert stat.S_IMODE((state / "record.db").stat().st_mode) == 0o600
        assert (state / ".gitignore").read_text() == "*\n"


def test_a_second_writer_is_refused_by_name(tmp_path: Path) -> None:
    with Record.writing(tmp_path / "s"), pytest.raises(Locked, match=rf"pid {os.getpid()}\)") as refused:
        Record.writing(tmp_path / "s")
    assert refused.value.exit_code == 5


def test_the_lock_goes_with_its_process(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from reconciler.record.store import Record\n"
        "Record.writing(Path(sys.argv[1])); os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path / "s")], check=False)
    assert ended.returncode == -9
    with Record.writing(tmp_path / "s") as record:
        assert record.check() == []


def test_a_reader_sees_what_was_committed_while_the_writer_writes(tmp_path: Path) -> None:
    with Record.writing(tmp_path) as writer:
        writer.set_setting("colour", "red")
        with writer.transaction():
            writer.set_setting("colour", "blue")
            with Record.reading(tmp_path) as reader:
                assert reader.setting("colour") == "red"


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    Record.writing(tmp_path).close()
    with Record.reading(tmp_path) as reader, pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.set_setting("colour", "red")


def test_where_nothing_was_recorded_a_reader_finds_an_empty_record_and_leaves_none(tmp_path: Path) -> None:
    with Record.reading(tmp_path / "nothing") as reader:
        assert reader.jobs.jobs() == []
    assert not (tmp_path / "nothing").exists()


def test_a_newer_record_is_refused(tmp_path: Path) -> None:
    Record.writing(tmp_path).close()
    connection = sqlite3.connect(tmp_path / "record.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    for opening in (Record.writing, Record.reading):
        with pytest.raises(RecordUnusable, match="newer reconcile"):
            opening(tmp_path)


def test_a_damaged_record_is_refused_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "record.db").write_bytes(b"not a database, whatever it says" * 200)
    for opening in (Record.writing, Record.reading):
        with pytest.raises(RecordUnusable, match="move the state directory away"):
            opening(tmp_path)


def test_every_field_of_a_job_state_has_its_column(tmp_path: Path) -> None:
    with Record.writing(tmp_path) as record, record.transaction() as sql:
        columns = {row["name"] for row in sql.execute("PRAGMA table_info(job)")}
    assert {field.name for field in fields(JobState)} <= columns


def test_every_guarantee_of_the_writer_is_switched_on(tmp_path: Path) -> None:
    with Record.writing(tmp_path) as record, record.transaction() as sql:
        assert sql.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert sql.execute("PRAGMA synchronous").fetchone()[0] == 2
        assert sql.execute("PRAGMA foreign_keys").fetchone()[0] == 1


def test_a_transaction_that_need_not_be_durable_waits_for_no_disk_and_the_next_one_does(tmp_path: Path) -> None:
    with Record.writing(tmp_path) as record:
        with record.transaction(durable=False) as sql:
            assert sql.execute("PRAGMA synchronous").fetchone()[0] == 1
            record.set_setting("colour", "red")
        with record.transaction() as sql:
            assert sql.execute("PRAGMA synchronous").fetchone()[0] == 2
        assert record.setting("colour") == "red"
        with record.transaction() as sql, record.transaction(durable=False):
            assert sql.execute("PRAGMA synchronous").fetchone()[0] == 2


def test_a_record_that_cannot_be_written_says_so_and_keeps_nothing_of_the_transaction(tmp_path: Path) -> None:
    with Record.writing(tmp_path) as record:
        with record.transaction() as sql:
            pages = sql.execute("PRAGMA page_count").fetchone()[0]

        def write_too_much() -> None:
            with record.transaction() as sql:
                record.set_setting("colour", "red")
                sql.execute(f"PRAGMA max_page_count = {pages}")
                record.set_setting("long", "x" * 1_000_000)

        with pytest.raises(RecordUnusable, match="cannot be written: database or disk is full"):
            write_too_much()
        assert record.setting("colour") is None


def test_messages_whose_record_is_gone_are_never_taken_for_garbage(tmp_path: Path) -> None:
    with Record.writing(tmp_path):
        pass
    segment = tmp_path / "data" / "streams" / "orders" / "a.parquet"
    segment.parent.mkdir(parents=True)
    segment.write_bytes(b"messages")
    with Record.writing(tmp_path):
        pass
    for file in tmp_path.glob("record.db*"):
        file.unlink()
    with pytest.raises(
        RecordUnusable, match=r"record\.db is missing or empty, but .*data holds messages that only it names"
    ):
        Record.writing(tmp_path)
    assert segment.exists()
    assert not (tmp_path / "record.db").exists()


def test_a_record_from_before_pending_outcomes_takes_them_and_keeps_what_it_has(tmp_path: Path) -> None:
    scripts = sorted(Path(database.__file__).with_name("migrations").glob("*.sql"))
    with closing(sqlite3.connect(tmp_path / "record.db")) as connection:
        for script in scripts:
            if script.name.startswith("0016"):
                connection.execute(
                    "INSERT INTO commit_status (forge, commit_, branch, state, description, at_ms) "
                    "VALUES ('github', 'c1', 'main', 'failure', 'one', 1)"
                )
            connection.executescript(script.read_text("utf-8"))
        connection.execute("UPDATE commit_status SET state = 'pending'")
        assert connection.execute("SELECT commit_, state, description FROM commit_status").fetchall() == [
            ("c1", "pending", "one")
        ]


def test_a_record_is_brought_up_to_date_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, state = tmp_path / "migrations", tmp_path / "state"
    folder.mkdir()
    (folder / "1.sql").write_text("CREATE TABLE setting (key TEXT, value ANY);")
    (folder / "2.sql").write_text("CREATE TABLE setting (key TEXT);")
    monkeypatch.setattr(database, "MIGRATIONS", folder)
    with pytest.raises(RecordUnusable, match="table setting already exists"):
        Record.writing(state)
    with closing(sqlite3.connect(state / "record.db")) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
