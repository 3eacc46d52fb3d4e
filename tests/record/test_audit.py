"""The audit log in the record and its mirror: only ever added to, and whatever is changed behind its back is found."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.audit import FOUND, Deed
from reconciler.core.document import Document
from reconciler.record.audit import Audit
from reconciler.record.resources import By
from reconciler.record.store import Record

COLUMNS = [
    "seq",
    "time_ms",
    "action",
    "actor",
    "kind",
    "name",
    "was",
    "path",
    "reason",
    "commit_",
    "author",
    "revision",
    "plan",
    "generation",
    "digest",
    "life",
    "outcome",
    "prev",
    "hash",
]


def deed(number: int, **changes: object) -> Deed:
    said: dict[str, object] = {
        "time_ms": 1_000 + number, "action": "create", "kind": "Job", "name": f"job-{number}", "path": "ä.yaml",
        "reason": "declared in ä.yaml", "author": "Ada", "commit": "c" * 40, "plan": "p" * 32, "was": "x",
        "revision": "main", "generation": 1, "digest": "d" * 32, "life": "live",
    }  # fmt: skip
    return Deed(**(said | changes))  # type: ignore[arg-type]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory whose log has five entries, in two steps."""
    folder = tmp_path / "state"
    with Record.writing(folder) as record:
        record.audit.begin(1)
        for numbers in ((1, 2), (3, 4, 5)):
            with record.transaction():
                record.audit.append([deed(number) for number in numbers])
            assert record.audit.mirror() == ""
    return folder


def wrong(state: Path, noted: str = "") -> str:
    """What is first wrong; nothing where all is well."""
    with Record.reading(state) as record:
        found = record.audit.check(noted)[1]
    return "" if found is None else found.message


def by_hand(state: Path, *statements: str) -> None:
    """Changes the record as somebody would who knows what stands in the way."""
    connection = sqlite3.connect(state / "record.db")
    for name in ("changed", "deleted", "replaced"):
        connection.execute(f"DROP TRIGGER audit_is_not_{name}")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


# --- writing --------------------------------------------------------------------------------------------------------


def test_a_log_and_its_mirror_are_sound(state: Path) -> None:
    assert wrong(state) == ""
    with Record.reading(state) as record:
        assert [entry.name for entry in record.audit.entries()] == ["job-1", "job-2", "job-3", "job-4", "job-5"]
        assert wrong(state, record.audit.head().hash) == ""
        assert wrong(state, record.audit.start.hash) == ""
    assert len((state / "audit.log").read_bytes().splitlines()) == 5
    assert (state / "audit.log").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET author = 'Eve' WHERE seq = 2",
        "DELETE FROM audit WHERE seq = 5",
        "INSERT OR REPLACE INTO audit SELECT * FROM audit WHERE seq = 2",
    ],
)
def test_the_record_itself_refuses_every_change(state: Path, statement: str) -> None:
    connection = sqlite3.connect(state / "record.db")
    with pytest.raises(sqlite3.IntegrityError, match="the audit log is only ever added to"):
        connection.execute(statement)
    connection.close()


def test_an_entry_goes_with_the_transaction_that_it_tells_of(state: Path) -> None:
    with Record.writing(state) as record:
        with suppress(ZeroDivisionError), record.transaction():
            record.audit.append([deed(6)])
            assert 1 / 0
        record.audit.mirror()
        assert record.audit.head().count == 5
    assert wrong(state) == ""


def test_what_a_record_held_before_there_was_a_log_are_its_first_entries(tmp_path: Path) -> None:
    with Record.writing(tmp_path) as record:
        document = Document(kind="Stream", name="orders", path="orders.yaml")
        with record.transaction():
            record.resources.create(document, By(author="Ada"), 1)
        record.audit.begin(7)
        record.audit.begin(8)
        [entry] = record.audit.entries()
        assert (entry.action, entry.kind, entry.name, entry.time_ms) == (FOUND, "Stream", "orders", 7)
        assert entry.digest == document.digest
        assert entry.reason == "it was there when this log began"


def test_a_mirror_that_a_crash_cut_off_is_completed_from_the_record(state: Path) -> None:
    with Record.writing(state) as record, record.transaction():
        record.audit.append([deed(6), deed(7)])
    whole = (state / "audit.log").read_bytes()
    with open(state / "audit.log", "ab") as file:
        file.write(b'{"action":"crea')
    assert wrong(state) == ""
    with Record.writing(state) as record:
        assert record.audit.mirror() == ""
    assert (state / "audit.log").read_bytes().startswith(whole)
    assert len((state / "audit.log").read_bytes().splitlines()) == 7
    assert wrong(state) == ""


def test_a_mirror_that_lost_its_end_is_completed_and_that_is_said(state: Path) -> None:
    lines = (state / "audit.log").read_bytes().splitlines(keepends=True)
    (state / "audit.log").write_bytes(b"".join(lines[:3]))
    assert wrong(state) == f"{state / 'audit.log'} ends at entry 3, but had 5"
    with Record.writing(state) as record:
        assert record.audit.mirror() == (
            f"{state / 'audit.log'} had lost its last 2 entries; they were added again from the record."
        )
    assert (state / "audit.log").read_bytes() == b"".join(lines)


def test_nothing_is_added_to_a_mirror_that_says_something_else(state: Path) -> None:
    lines = (state / "audit.log").read_bytes().splitlines(keepends=True)
    (state / "audit.log").write_bytes(b"".join([*lines[:4], lines[4].replace(b"Ada", b"Eve")]))
    with Record.writing(state) as record:
        assert record.audit.mirror() == (
            f"{state / 'audit.log'} does not end as the record says it did; nothing is added to it. "
            "`reconcile audit verify` names the first difference."
        )
    assert wrong(state) == f"{state / 'audit.log'}:5: entry 5 is not what the record holds"


def test_a_mirror_that_cannot_be_written_is_a_warning(state: Path) -> None:
    (state / "audit.log").unlink()
    (state / "audit.log").symlink_to(state / "elsewhere")
    with Record.writing(state) as record:
        assert (
            record.audit.mirror() == f"{state / 'audit.log'} could not be written: Too many levels of symbolic links."
        )


# --- what is changed by hand ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seq", [1, 3, 5])
@pytest.mark.parametrize("column", COLUMNS[1:])
def test_every_changed_field_in_the_record_is_found(state: Path, seq: int, column: str) -> None:
    by_hand(state, f"UPDATE audit SET {column} = CASE typeof({column}) WHEN 'integer' THEN {column} + 1 "
                   f"ELSE {column} || ' ' END WHERE seq = {seq}")  # fmt: skip
    assert wrong(state) == f"entry {seq} has been changed since it was written"


def test_entries_that_were_cut_off_left_out_renumbered_or_put_in_are_found(state: Path) -> None:
    changes = {
        "DELETE FROM audit WHERE seq > 3": "the log ends at entry 3, but the entries up to 5 are known to have been written",
        "DELETE FROM audit WHERE seq = 5": "the log ends at entry 4, but entry 5 is known to have been written",
        "DELETE FROM audit WHERE seq = 2": "entry 2 is missing",
        "UPDATE audit SET seq = 6 WHERE seq = 2": "entry 2 is missing",
        "DELETE FROM audit": "the log ends at entry 0, but the entries up to 5 are known to have been written",
    }
    for statement, message in changes.items():
        copy = state.parent / "copy"
        shutil.copytree(state, copy)
        by_hand(copy, statement)
        assert wrong(copy) == message
        shutil.rmtree(copy)


def test_a_forged_end_with_its_head_is_found_by_the_mirror(state: Path) -> None:
    by_hand(
        state,
        "DELETE FROM audit WHERE seq > 3",
        "UPDATE setting SET value = (SELECT '3 ' || hash FROM audit WHERE seq = 3) WHERE key = 'audit_head'",
    )
    assert wrong(state) == (
        f"{state / 'audit.log'}:4: there is an entry that the record does not have: its last entries were cut off, or it was "
        "restored from an older copy"
    )
    with Record.writing(state) as record:
        assert record.audit.mirror() == (
            f"{state / 'audit.log'} does not end as the record says it did; nothing is added to it. "
            "`reconcile audit verify` names the first difference."
        )


def test_a_forged_end_of_both_copies_is_found_by_a_head_that_was_noted_elsewhere(state: Path) -> None:
    with Record.reading(state) as record:
        noted = record.audit.head().hash
    by_hand(
        state,
        "DELETE FROM audit WHERE seq > 3",
        "UPDATE setting SET value = (SELECT '3 ' || hash FROM audit WHERE seq = 3) WHERE key LIKE 'audit_%'",
    )
    lines = (state / "audit.log").read_bytes().splitlines(keepends=True)
    (state / "audit.log").write_bytes(b"".join(lines[:3]))
    assert wrong(state) == ""
    assert wrong(state, noted) == (
        f"no entry has the hash {noted}: the log from which it was noted held something else"
    )


def test_a_controller_goes_on_after_a_forged_entry_and_it_is_still_found(state: Path) -> None:
    by_hand(state, "INSERT INTO audit SELECT 6, " + ", ".join(COLUMNS[1:]) + " FROM audit WHERE seq = 5")
    with Record.writing(state) as record, record.transaction():
        record.audit.append([deed(7)])
    assert wrong(state) == "entry 6 has been changed since it was written"


def test_every_flipped_byte_of_the_mirror_is_found(state: Path) -> None:
    content = (state / "audit.log").read_bytes()
    with Record.reading(state) as record:
        for place in range(len(content)):
            changed = bytearray(content)
            changed[place] ^= 1 << place % 8
            (state / "audit.log").write_bytes(changed)
            assert record.audit.check()[1] is not None, f"byte {place}"


def test_every_truncated_mirror_is_found(state: Path) -> None:
    content = (state / "audit.log").read_bytes()
    with Record.reading(state) as record:
        for length in (*range(0, len(content), 20), len(content) - 1):
            (state / "audit.log").write_bytes(content[:length])
            assert record.audit.check()[1] is not None, f"{length} bytes"


def test_every_flipped_byte_of_the_log_in_the_record_is_found(state: Path) -> None:
    """A byte that SQLite does not read as part of an entry says nothing, and changes nothing."""
    path = state / "record.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.execute("PRAGMA journal_mode = DELETE")
    root = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'audit'").fetchone()[0]
    size = connection.execute("PRAGMA page_size").fetchone()[0]
    connection.close()
    content = path.read_bytes()
    page = content[(root - 1) * size : root * size]
    assert page[0] == 13  # a leaf: all of the log
    said = _read(path, lambda audit: list(audit.entries()))
    found = 0
    for place in range((root - 1) * size + int.from_bytes(page[5:7]), root * size):
        with open(path, "r+b") as file:
            file.seek(place)
            file.write(bytes([content[place] ^ 0x01]))
        try:
            is_found = _read(path, lambda audit: audit.check()[1]) is not None
            assert is_found or _read(path, lambda audit: list(audit.entries())) == said, f"byte {place}"
        except sqlite3.DatabaseError:  # the page itself makes no sense any more
            is_found = True
        found += is_found
        with open(path, "r+b") as file:
            file.seek(place)
            file.write(content[place : place + 1])
    assert found > 1_500


def _read(path: Path, ask: Callable[[Audit], Any]) -> Any:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
    connection.row_factory = sqlite3.Row
    try:
        return ask(Audit(connection, path.parent))
    finally:
        connection.close()


def test_whoever_stops_reading_may_close_the_record(state: Path) -> None:
    with Record.writing(state) as record:
        with record.transaction():
            record.audit.append([deed(1), deed(2)])
        entries = record.audit.entries()
        next(entries)
    del entries


def test_a_name_that_something_had_shows_what_it_is_called_since(tmp_path: Path) -> None:
    with Record.writing(tmp_path / "state") as record:
        with record.transaction():
            record.audit.append([deed(1, was=""), deed(2, action="move", name="new", was="job-1"), deed(3, was="")])
        assert [(one.action, one.name) for one in record.audit.of("job-1")] == [("create", "job-1"), ("move", "new")]
