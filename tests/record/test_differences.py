"""Comparing only what has changed finds what comparing everything finds."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.document import Document
from reconciler.core.state import JobState
from reconciler.errors import Problem
from reconciler.record import differences
from reconciler.record.resources import By
from reconciler.record.store import Record

BY = By(author="Ann")
KINDS = ("Job", "Stream")


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    with Record.writing(tmp_path) as found:
        yield found


def document(chance: random.Random, kind: Any, number: int) -> Document:
    renamed = f"n{chance.randrange(12)}" if chance.random() < 0.1 else ""
    name, path = f"n{number}", f"{chance.choice('ab')}/{kind}{number}.yaml"
    spec = {"provider": "files", "jobType": "import-csv", "config": {"path": str(chance.randrange(3))}}
    return Document(kind=kind, name=name, path=path, renamed_from=renamed if renamed != name else "", spec=spec)


def change(record: Record, chance: random.Random) -> None:
    """One of the ways in which either side changes."""
    kind, number = chance.choice(KINDS), chance.randrange(12)
    known = record.resources.resource(kind, f"n{number}")
    match chance.randrange(6):
        case 0 | 1:
            one = document(chance, kind, number)
            record.desired.replace_file(one.path, [one], [])
        case 2:
            record.desired.replace_file(f"{chance.choice('ab')}/{kind}{number}.yaml", [], [])
        case 3:
            job = record.resources.create(document(chance, kind, number), BY, 1, type="import")
            if kind == "Job" and record.jobs.job(f"n{number}") is None:
                record.jobs.insert_state(job, JobState(since_ms=1), wake_at_ms=None)
        case 4 if known is not None:
            record.resources.set_life(known.id, chance.choice(("live", "purged")))
        case 5 if known is not None and kind == "Stream":
            record.resources.delete(known.id)


@contextmanager
def undone(record: Record) -> Iterator[None]:
    """A transaction that comes to nothing."""
    with suppress(KeyError), record.transaction():
        yield
        raise KeyError


def everything(state: Path) -> Any:
    """What another connection finds, which compares all."""
    with Record.reading(state) as other:
        return comparing_all(other)


def comparing_all(record: Record) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(differences, "_NOTED", differences._ALL)
        return record.differences.pairs(0)


@pytest.mark.parametrize("seed", range(5))
def test_after_any_changes_the_writer_finds_what_a_reader_finds_who_compares_all(
    record: Record, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    for _ in range(120):
        with record.transaction():
            for _ in range(chance.randrange(1, 4)):
                change(record, chance)
            if chance.random() < 0.3:
                record.differences.forget_equal()
        if chance.random() < 0.6:
            assert record.differences.pairs(0) == everything(tmp_path)


@pytest.mark.parametrize("lives_in", ["a/new.yaml", "z/new.yaml"])
def test_what_is_enacted_is_the_document_that_was_planned_with_not_one_that_is_only_held(
    record: Record, tmp_path: Path, lives_in: str
) -> None:
    spec = {"provider": "files", "jobType": "import-csv", "config": {"path": "1"}, "lane": "backfill"}
    old = Document(kind="Job", name="orders", path="m/old.yaml", spec={**spec, "suspend": True})
    new = Document(kind="Job", name="orders", path=lives_in, spec=spec)
    record.resources.create(old, BY, 1, type="import")
    record.desired.replace_file(old.path, [], [], held=[(old, "its file is being written")])
    record.desired.replace_file(new.path, [new], [])
    with Record.reading(tmp_path) as preview:
        preview.desired.overlay()
        for one in (record, preview):
            (pair,) = one.differences.pairs(0)
            assert (pair.declared, pair.invalid) == (new, False)
            assert one.desired.document("Job", "orders") == new
            assert [found.path for found in one.desired.jobs(["orders"])] == [lives_in]
            assert one.desired.backfills(["orders"]) == [new]


@pytest.mark.parametrize("seed", range(5))
def test_a_preview_finds_what_the_writer_would_find_and_leaves_what_it_does_not_change_where_it_is(
    record: Record, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    for _ in range(30):
        with record.transaction():
            for _ in range(chance.randrange(1, 4)):
                change(record, chance)
            record.differences.forget_equal()
        with Record.reading(tmp_path) as preview:
            preview.desired.overlay()
            mine = declared(chance)
            for path, documents in mine:
                preview.desired.replace_file(path, documents, [])
            broken = [Problem("x", 1, 1, "", "broken", "Job", f"n{chance.randrange(12)}") for _ in range(2)]
            preview.desired.replace_problems(broken, "across")
            preview.desired.mark_invalid()
            found, whole = preview.differences.pairs(0), preview.differences.pairs(0, whole=True)
            assert found == comparing_all(preview)
            copied = {row[0] for row in preview._connection.execute("SELECT path FROM own_document")}
        with undone(record):
            for path, documents in mine:
                record.desired.replace_file(path, documents, [])
            record.desired.replace_problems(broken, "across")
            record.desired.mark_invalid()
            assert (found, whole) == (record.differences.pairs(0), record.differences.pairs(0, whole=True))
            judged = {row[0] for row in record._connection.execute("SELECT path FROM document WHERE invalid = 1")}
        assert copied <= {path for path, documents in mine if documents} | judged


def declared(chance: random.Random) -> list[tuple[str, list[Document]]]:
    """What a few files declare now."""
    found = []
    for _ in range(chance.randrange(4)):
        one = document(chance, chance.choice(KINDS), chance.randrange(12))
        found.append((one.path, [one] if chance.random() < 0.7 else []))
    return found


def test_a_preview_reads_no_more_than_has_changed(record: Record, tmp_path: Path) -> None:
    record.desired.replace_file("a/Job1.yaml", [document(random.Random(1), "Job", 1)], [])
    asked: list[str] = []
    with Record.reading(tmp_path) as preview:
        preview.desired.overlay()
        preview._connection.set_trace_callback(asked.append)
        preview.differences.pairs(0)
        preview._connection.set_trace_callback(None)
        for statement in asked:
            steps = [row[3] for row in preview._connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
            wrong = [
                one for one in steps if one.startswith(("MATERIALIZE", "SCAN main.document")) and "_renamed" not in one
            ]
            assert wrong == [], statement


def test_a_transaction_that_is_undone_is_not_noted_nor_is_what_it_had_settled_lost(
    record: Record, tmp_path: Path
) -> None:
    chance = random.Random(7)
    with record.transaction():
        one = document(chance, "Stream", 1)
        record.desired.replace_file(one.path, [one], [])
    with undone(record):
        assert [pair.key for pair in record.differences.pairs(0)] == [("Stream", "n1")]
        record.resources.create(one, BY, 1, type="")
        record.differences.forget_equal()
        assert record.differences.pairs(0) == ()
    assert record.differences.pairs(0) == everything(tmp_path)
    with undone(record):
        record.desired.replace_file(one.path, [], [])
        record.differences.forget_equal()
        assert record.differences.pairs(0) == ()
    assert [pair.key for pair in record.differences.pairs(0)] == [("Stream", "n1")]


def test_what_is_as_it_was_is_not_compared_again(record: Record) -> None:
    chance = random.Random(3)
    with record.transaction():
        for number in range(12):
            one = document(chance, "Stream", number)
            record.desired.replace_file(one.path, [one], [])
            record.resources.create(one, BY, 1, type="")
        record.differences.forget_equal()
    asked: list[str] = []
    record._connection.set_trace_callback(asked.append)
    with record.transaction():
        one = document(chance, "Stream", 3)
        record.desired.replace_file(one.path, [one], [])
        record.differences.forget_equal()
    record.differences.pairs(0)
    record._connection.set_trace_callback(None)
    assert any("FROM touched t CROSS JOIN document" in text for text in asked)
    left = {row[0] for row in record._connection.execute("SELECT name FROM touched")}
    assert left == {pair.key[1] for pair in record.differences.pairs(0)}
