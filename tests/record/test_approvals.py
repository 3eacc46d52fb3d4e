"""What a guard holds back, and whether a person has approved exactly that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.core.document import Document
from reconciler.core.state import JobState
from reconciler.record.resources import By
from reconciler.record.store import Record


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    with Record.writing(tmp_path / "state") as record:
        yield record


def make_job(record: Record, name: str = "members") -> int:
    document = Document(kind="Job", name=name, path="a.yaml", spec={"provider": "http", "jobType": "export-audience"})
    job_id = record.resources.create(document, By(author=""), 1, type="export")
    record.jobs.insert_state(job_id, JobState(), wake_at_ms=None)
    return job_id


def test_nothing_is_held_until_a_guard_holds_something(record: Record) -> None:
    job = make_job(record)
    assert record.approvals.held(job) is None
    assert record.approvals.approved(job) == ()
    assert record.approvals.approve(job, "d1", "ada", 5) is False


def test_what_is_held_says_what_it_would_have_done_and_since_when(record: Record) -> None:
    job = make_job(record)
    record.approvals.ask(job, "d1", "removes 960 of 1,000 members", 10)
    held = record.approvals.held(job)
    assert held is not None
    assert (held.digest, held.message, held.asked_ms) == ("d1", "removes 960 of 1,000 members", 10)
    assert not held.is_approved
    assert record.approvals.approved(job) == ()


def test_only_the_difference_that_is_held_can_be_approved(record: Record) -> None:
    job = make_job(record)
    record.approvals.ask(job, "d1", "m", 10)
    assert record.approvals.approve(job, "d0", "ada", 20) is False
    assert record.approvals.approved(job) == ()
    assert record.approvals.approve(job, "d1", "ada", 20) is True
    held = record.approvals.held(job)
    assert held is not None
    assert held.is_approved
    assert (held.approved_ms, held.approved_by) == (20, "ada")
    assert record.approvals.approved(job) == ("d1",)


def test_the_first_approval_stands(record: Record) -> None:
    job = make_job(record)
    record.approvals.ask(job, "d1", "m", 10)
    record.approvals.approve(job, "d1", "ada", 20)
    assert record.approvals.approve(job, "d1", "bob", 30) is True
    held = record.approvals.held(job)
    assert held is not None
    assert (held.approved_ms, held.approved_by) == (20, "ada")


def test_asking_again_for_the_same_difference_keeps_its_approval(record: Record) -> None:
    job = make_job(record)
    record.approvals.ask(job, "d1", "m", 10)
    record.approvals.approve(job, "d1", "ada", 20)
    record.approvals.ask(job, "d1", "said anew", 30)
    held = record.approvals.held(job)
    assert held is not None
    assert (held.message, held.asked_ms, held.approved_ms) == ("said anew", 10, 20)


def test_another_difference_needs_an_approval_of_its_own(record: Record) -> None:
    job = make_job(record)
    record.approvals.ask(job, "d1", "m", 10)
    record.approvals.approve(job, "d1", "ada", 20)
    record.approvals.ask(job, "d2", "n", 30)
    held = record.approvals.held(job)
    assert held is not None
    assert (held.digest, held.message, held.asked_ms, held.approved_ms, held.approved_by) == ("d2", "n", 30, None, "")
    assert record.approvals.approved(job) == ()


def test_what_one_job_is_allowed_says_nothing_of_another(record: Record) -> None:
    one, other = make_job(record, "one"), make_job(record, "other")
    record.approvals.ask(one, "d1", "m", 10)
    record.approvals.ask(other, "d1", "m", 10)
    record.approvals.approve(one, "d1", "ada", 20)
    assert record.approvals.approved(other) == ()


def test_what_was_done_or_deleted_holds_nothing_any_more(record: Record) -> None:
    one, other = make_job(record, "one"), make_job(record, "other")
    for job in (one, other):
        record.approvals.ask(job, "d1", "m", 10)
    record.approvals.clear(one)
    record.resources.delete(other)
    assert record.approvals.held(one) is None
    assert record.approvals.held(other) is None
