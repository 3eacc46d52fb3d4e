"""`reconcile record`: a record that is damaged, held or restored loses nothing, and every command says what to do."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from reconciler.record import refusals
from reconciler.record.copies import RESTORED
from reconciler.record.store import BACKLOG_BYTES, Record
from tests.cli.conftest import SPEC, STREAM, World, job_text

REPAIR = "restore a backup with `reconcile record restore FILE`, or move the state directory away to begin anew"
COMMANDS = (
    ("list",),
    ("show", "import-orders"),
    ("plan",),
    ("history",),
    ("streams",),
    ("record", "backup", "b.db", "--force"),
)
#: Damaged records that are tried; more with RECONCILE_DAMAGED.
FLIPS = int(os.environ.get("RECONCILE_DAMAGED", "15"))


@pytest.fixture
def shop(world: World) -> World:
    """A job that has landed one file, and runs again in every pass."""
    world.write("data/a.csv", "id\n1\n2\n")
    world.write("orders.yaml", STREAM + job_text("import-orders", schedule="{every: 1ms}"))
    assert world.run().code == 0
    return world


def land(world: World, name: str) -> None:
    """One more unit."""
    world.write(f"data/{name}.csv", "id\n7\n")
    assert world.run().code == 0


def messages(world: World) -> int:
    (found,) = json.loads(world.run("streams", "-o", "json").out)
    return int(found["messages"])


def damage(world: World, content: bytes) -> None:
    for ending in ("-wal", "-shm"):
        (world.state / f"record.db{ending}").unlink(missing_ok=True)
    (world.state / "record.db").write_bytes(content)


# --- check ----------------------------------------------------------------------------------------------------------


def test_a_sound_record_is_said_to_be_sound_with_what_was_looked_at(shop: World) -> None:
    result = shop.run("record", "check")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("jobs.d/.reconciler/record.db is sound: version ")
    assert result.out.endswith(", 1 data file by name and size, 2 audit entries.\n")
    body = json.loads(shop.run("record", "check", "-o", "json").out)
    assert (body["ok"], body["files"], body["auditEntries"], body["problems"]) == (True, 1, 2, [])


def test_where_nothing_was_recorded_there_is_nothing_to_check_and_nothing_is_made(world: World) -> None:
    result = world.run("record", "check")
    assert (result.code, result.out) == (0, "There is no jobs.d/.reconciler/record.db yet: nothing was recorded.\n")
    assert not world.state.exists()


def test_a_data_file_that_is_short_or_gone_is_named_with_what_to_do(shop: World) -> None:
    (file,) = (shop.state / "data").rglob("*.parquet")
    size = file.stat().st_size
    file.write_bytes(b"short")
    result = shop.run("record", "check")
    assert result.code == 1
    assert f"data: {file.relative_to(shop.folder)} has 5 bytes instead of {size:,}; copy it back from" in result.out
    file.unlink()
    result = shop.run("record", "check")
    assert f"{file.relative_to(shop.folder)} is missing; copy it back from where you keep data/" in result.out
    assert "record.db is not sound: 1 problem; looked at version" in result.out


def test_a_changed_byte_of_the_second_audit_log_is_found(shop: World) -> None:
    log = shop.state / "audit.log"
    log.write_bytes(log.read_bytes().replace(b"create", b"delete", 1))
    body = json.loads(shop.run("record", "check", "-o", "json").out)
    assert [one["what"] for one in body["problems"]] == ["audit"]
    assert body["problems"][0]["message"].startswith("the audit log is broken: ")


def test_dependencies_are_no_damage_whatever_the_quick_check_of_some_sqlite_says(world: World) -> None:
    for name in ("import-a", "import-b"):
        world.job(name, spec={**SPEC, "dependsOn": ["import-c"]})
    with Record.writing(world.state) as record:
        assert record.check() == []


# --- damage ---------------------------------------------------------------------------------------------------------


def test_flipped_bits_are_found_or_harmless_and_never_a_traceback_or_a_write(shop: World) -> None:
    shop.run("record", "backup", "good.db")
    good = (shop.folder / "good.db").read_bytes()
    found = 0
    for seed in range(FLIPS):
        chance = random.Random(seed)
        content = bytearray(good)
        for _ in range(chance.choice((1, 8, 64))):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        damage(shop, bytes(content))
        checked = shop.run("record", "check")
        results = [shop.run(*command) for command in COMMANDS]
        assert {result.code for result in (checked, *results)} <= {0, 1}, seed
        assert (shop.state / "record.db").read_bytes() == content, seed
        if any(result.code for result in results):
            assert checked.code == 1, f"{seed}: a command fails on what check calls sound"
            assert all("`reconcile record restore FILE`" in result.err for result in results if result.code), seed
        found += checked.code
    assert found, "none of them hit anything"


@pytest.mark.parametrize("kept", [1, 5_000, 100_000])
def test_a_cut_record_is_refused_and_stays_as_it_is(shop: World, kept: int) -> None:
    shop.run("record", "backup", "good.db")
    content = (shop.folder / "good.db").read_bytes()[:kept]
    damage(shop, content)
    for command in ((), *COMMANDS):
        result = shop.run(*command)
        assert result.code == 1
        assert REPAIR in result.err
        assert result.err.startswith("Error: jobs.d/.reconciler/record.db ")
    checked = shop.run("record", "check")
    assert checked.code == 1
    assert REPAIR in checked.out
    assert (shop.state / "record.db").read_bytes() == content


def test_an_empty_record_beside_what_an_earlier_one_wrote_is_refused(shop: World) -> None:
    damage(shop, b"")
    words = "jobs.d/.reconciler/record.db is missing or empty, but jobs.d/.reconciler/data holds messages that only it names"
    for command in ((), *COMMANDS):
        assert shop.run(*command).err == f"Error: {words}; {REPAIR} (every job then runs from its beginning)\n"
    for file in (shop.state / "data").rglob("*.parquet"):
        file.unlink()
    words = "jobs.d/.reconciler/record.db is empty, but jobs.d/.reconciler/audit.log says that it held something"
    assert shop.run().err == f"Error: {words}; {REPAIR} (every job then runs from its beginning)\n"
    assert (shop.state / "record.db").read_bytes() == b""


def test_a_newer_record_and_a_foreign_database_are_refused_by_every_command(shop: World) -> None:
    shop.run("record", "backup", "good.db")
    with closing(sqlite3.connect(shop.folder / "good.db")) as newer:
        newer.execute("PRAGMA user_version = 99")
    damage(shop, (shop.folder / "good.db").read_bytes())
    for command in ((), *COMMANDS):
        assert f"was written by a newer reconcile (version 99); install that one, or {REPAIR}" in shop.run(*command).err
    with closing(sqlite3.connect(shop.folder / "foreign.db")) as foreign:
        foreign.execute("CREATE TABLE customers (id)")
    damage(shop, (shop.folder / "foreign.db").read_bytes())
    for command in ((), *COMMANDS):
        words = "Error: jobs.d/.reconciler/record.db is no record of reconcile, but another SQLite database; "
        assert shop.run(*command).err.startswith(words + REPAIR)


# --- who else holds it ----------------------------------------------------------------------------------------------


@contextmanager
def held(world: World, *statements: str) -> Iterator[int]:
    """Another process that has done this to the record and stays in its transaction; its pid."""
    code = (
        "import sqlite3, sys\nconnection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "for one in sys.argv[2:]: connection.execute(one).fetchall()\nprint('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(world.state / "record.db"), *statements]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        yield other.pid
        other.communicate()


def test_a_foreign_writer_is_named_and_nothing_is_lost(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.record.database.BUSY_MS", 200)
    shop.write("data/b.csv", "id\n7\n")
    with held(shop, "BEGIN IMMEDIATE") as pid:
        result = shop.run()
        assert result.code == 1
        assert f"jobs.d/.reconciler/record.db has been locked by another process (pid {pid} (python" in result.err
        assert (
            "nothing of this step was recorded, and nothing is lost: end that process, then run `reconcile`"
            in result.err
        )
        assert shop.run("list").code == 0
    assert shop.run().code == 0
    assert messages(shop) == 3
    assert shop.run("record", "check").code == 0


def test_a_foreign_reader_holds_nothing_up_and_is_named_once_the_log_grows(shop: World) -> None:
    with held(shop, "BEGIN", "SELECT * FROM setting") as pid:
        with Record.writing(shop.state) as record, record.transaction():
            for number in range(20):
                record.set_setting(f"filler-{number}", "x" * (BACKLOG_BYTES // 16))
        shop.write("data/b.csv", "id\n7\n")
        result = shop.run()
        assert result.code == 0
        assert f"because pid {pid} (python" in result.out + result.err
        assert "nothing is lost, but the disk fills until that process ends its transaction" in result.out + result.err
    assert messages(shop) == 3
    assert "record.db-wal has grown" not in shop.run().err
    assert shop.run("record", "check").code == 0


# --- backup ---------------------------------------------------------------------------------------------------------


def test_a_backup_is_made_beside_a_writer_whole_private_and_over_no_other_file(shop: World) -> None:
    with Record.writing(shop.state) as writer, writer.transaction():
        writer.set_setting("colour", "blue")
        result = shop.run("record", "backup", "b.db")
    assert (result.code, result.err) == (0, "")
    first, second, third = result.out.splitlines()
    size = (shop.folder / "b.db").stat().st_size
    assert first.startswith(f"The record is in b.db, {size:,} bytes, as it was at 20")
    assert second == (
        "It names 1 file in jobs.d/.reconciler/data, which it does not hold: copy that folder now, after the record."
    )
    assert third == "`reconcile record restore b.db` puts it back, once no reconcile is at work."
    assert stat.S_IMODE((shop.folder / "b.db").stat().st_mode) == 0o600
    with closing(sqlite3.connect(shop.folder / "b.db")) as copy:
        assert copy.execute("SELECT count(*) FROM setting WHERE key = 'colour'").fetchone() == (0,)
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    again = shop.run("record", "backup", "b.db")
    assert (again.code, again.err) == (
        1,
        "Error: b.db is there already; name another file, or replace it with --force\n",
    )
    assert shop.run("record", "backup", "b.db", "--force").code == 0
    assert sorted(one.name for one in shop.folder.iterdir()) == ["b.db", "jobs.d"]


def test_a_backup_without_a_name_is_called_after_its_time(shop: World) -> None:
    (shop.folder / "kept").mkdir()
    assert shop.run("record", "backup", "kept").code == 0
    (found,) = (shop.folder / "kept").iterdir()
    assert found.name.startswith("record-20")
    assert found.suffix == ".db"


def test_a_backup_that_cannot_be_written_or_has_nothing_to_hold_says_so(shop: World) -> None:
    result = shop.run("record", "backup", "nowhere/b.db")
    assert (result.code, result.err) == (1, "Error: nowhere/b.db cannot be written: No such file or directory\n")
    result = shop.run("record", "backup", "b.db", "--state", "other")
    assert (result.code, result.err) == (1, "Error: there is no other/record.db yet: nothing to back up\n")


# --- restore --------------------------------------------------------------------------------------------------------


def test_what_a_restored_record_does_not_name_is_kept_and_lands_once_and_a_restore_can_be_undone(shop: World) -> None:
    shop.run("record", "backup", "b.db")
    land(shop, "b")
    later = {one.name for one in (shop.state / "data").rglob("*.parquet")}
    result = shop.run("record", "restore", "b.db")
    assert (result.code, result.err) == (0, "")
    (kept,) = shop.state.glob("record.db.before-*Z")
    name = kept.relative_to(shop.folder)
    lines = result.out.splitlines()
    assert lines[0].startswith("jobs.d/.reconciler/record.db is b.db again, as it was at 20")
    assert lines[1:4] == [
        f"The record before it is kept as {name}; `reconcile record restore {name}` undoes this.",
        "It does not know 1 later unit, of import-orders.",
        f"1 data file that it does not name is kept in jobs.d/.reconciler/lost+found/{kept.name[17:]}; "
        "nothing sweeps that folder.",
    ]
    assert "whatever was sent later is sent again under other keys, and a destination may take it twice." in lines[4]
    assert lines[5] == "`reconcile plan` says what the next pass would do."
    assert messages(shop) == 2
    assert shop.run("audit", "verify").code == 0
    assert '"restore"' in shop.run("history", "-o", "json").out
    assert shop.run().code == 0
    assert messages(shop) == 3
    assert shop.run("record", "check").code == 0
    undone = shop.run("record", "restore", str(name))
    assert "1 data file came back from an earlier lost+found." in undone.out
    assert messages(shop) == 3
    assert {one.name for one in (shop.state / "data").rglob("*.parquet")} == later
    assert shop.run().code == 0
    assert shop.run("record", "check").code == 0
    assert messages(shop) == 3


def test_a_damaged_record_is_replaced_and_numbers_go_on_far_beyond_its_own(shop: World) -> None:
    shop.run("record", "backup", "b.db")
    damage(shop, (shop.folder / "b.db").read_bytes()[:5000])
    result = shop.run("record", "restore", "b.db")
    assert result.code == 0
    assert "The record before it could not be read, so nobody can say what was done since; " in result.out
    land(shop, "b")
    assert messages(shop) == 3
    with Record.reading(shop.state) as record:
        assert [one.id for one in record.runs.history(record.jobs.jobs()[0].id, 1)] > [1_000_000]


def test_a_restore_that_was_cut_off_is_finished_before_anything_is_swept(shop: World) -> None:
    shop.run("record", "backup", "b.db")
    land(shop, "b")
    (later,) = (one for one in (shop.state / "data").rglob("*.parquet") if "-2-" in one.name)
    content = later.read_bytes()
    assert shop.run("record", "restore", "b.db").code == 0
    (place,) = (shop.state / "lost+found").rglob(later.name)
    place.rename(later)  # as it was when the new record was in its place and nothing else was done
    with Record.writing(shop.state) as record:
        record.set_setting(RESTORED, "20261128T120000Z")
    result = shop.run()
    assert result.code == 0
    assert "1 data files that the restored record does not name are kept in jobs.d/.reconciler/lost+found/2026" in (
        result.out + result.err
    )
    (place,) = (shop.state / "lost+found" / "20261128T120000Z").rglob(later.name)
    assert place.read_bytes() == content


def test_a_restore_that_died_between_two_records_is_not_taken_for_a_beginning(shop: World) -> None:
    for file in (shop.state / "data").rglob("*.parquet"):
        file.unlink()
    (shop.state / "record.db").rename(shop.state / "record.db.before-20261128T120000Z")
    words = "jobs.d/.reconciler/record.db is missing, but an earlier one was put aside (record.db.before-20261128T120000Z); "
    for command in ((), *COMMANDS):
        assert shop.run(*command).err.startswith(f"Error: {words}{REPAIR}")


def test_a_restore_beside_a_reconcile_at_work_is_refused_by_pid(shop: World) -> None:
    shop.run("record", "backup", "b.db")
    with Record.writing(shop.state):
        result = shop.run("record", "restore", "b.db")
    assert result.code == 5
    assert result.err.startswith(f"Error: another reconcile (pid {os.getpid()}) is at work on jobs.d/.reconciler")


def test_what_is_no_sound_backup_of_this_record_is_refused_and_nothing_changes(shop: World) -> None:
    shop.run("record", "backup", "b.db")
    land(shop, "b")
    good = (shop.folder / "b.db").read_bytes()
    (shop.folder / "cut.db").write_bytes(good[:9000])
    (shop.folder / "text.db").write_bytes(b"not a database, whatever it says" * 200)
    Record.writing(shop.folder / "other").close()
    shop.run("record", "backup", "other.db", "--state", "other")
    with closing(sqlite3.connect(shop.folder / "foreign.db")) as foreign:
        foreign.execute("CREATE TABLE customers (id)")
    expected = {
        "cut.db": (1, "cut.db cannot be "),
        "text.db": (1, "text.db cannot be restored: file is not a database"),
        "foreign.db": (1, "foreign.db is no record of reconcile, but another SQLite database"),
        "other.db": (
            5,
            "other.db is a backup of another record than that of jobs.d/.reconciler; name the right --state",
        ),
        "jobs.d/.reconciler/record.db": (2, "record.db is the record itself; name a backup of it"),
    }
    for name, (code, words) in expected.items():
        result = shop.run("record", "restore", name)
        assert (result.code, words in result.err) == (code, True), (name, result.err)
    assert messages(shop) == 3
    assert not list(shop.state.glob("record.db.*"))
    assert shop.run("record", "restore", "other.db", "--force").code == 0


def test_a_backup_whose_data_files_are_gone_is_refused_unless_it_is_forced(shop: World) -> None:
    shop.run("record", "backup", "b.db")
    (file,) = (shop.state / "data").rglob("*.parquet")
    file.unlink()
    result = shop.run("record", "restore", "b.db")
    name = file.relative_to(shop.state / "data")
    assert result.code == 5
    assert (
        f"Error: b.db names 1 data file that is not in jobs.d/.reconciler/data, or not as large as noted ({name}): "
        in (result.err)
    )
    forced = shop.run("record", "restore", "b.db", "--force")
    assert "1 data file that it names are not there: runs that read them fail." in forced.out


def test_a_wait_for_a_lock_is_as_long_as_it_says() -> None:
    assert refusals.BUSY_MS == 10_000
