"""Reports give way to runs, for a moment; what is put off is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from reconciler.clock import Now
from reconciler.controller.report import PUT_OFF_MS, REPORT_EVERY_MS, RUNNING_STATUS_MS, YOUNG_MS, Reporter
from reconciler.core.state import EventName, JobState, Status
from reconciler.record.events import Event
from reconciler.record.jobs import JobRow
from reconciler.record.store import Record
from tests.controller.conftest import Shop

NAMES = ("one", "two")


class Desk:
    """A reporter over two suspended jobs whose statuses are out of date and whose logs are behind by a line."""

    def __init__(self, shop: Shop, record: Record) -> None:
        self.shop, self.record = shop, record
        self.reporter = Reporter(shop.world._hands(record))
        with record.transaction():
            for name in NAMES:
                job = record.jobs.job(name)
                assert job is not None
                record.jobs.save_state(job.id, replace(job.state, since_ms=1), wake_at_ms=None)
                record.events.add(
                    Event(kind="Job", name=name, path=job.path, time_ms=1, event=EventName.PAUSED, message="again")
                )

    def flush(self, at_ms: int, pressed: Callable[[], bool] | None) -> bool:
        return self.reporter.flush(Now(wall_ms=10**12, alive_ms=at_ms), pressed=pressed)

    def begin(self, since_ms: int) -> JobRow:
        """A run of the first job; the job as it was before."""
        job = self.record.jobs.job(NAMES[0])
        assert job is not None
        with self.record.transaction():
            run = self.record.runs.begin(job.id, job.generation, since_ms)
            state = JobState(status=Status.RUNNING, reason=None, since_ms=since_ms, run=run)
            self.record.jobs.save_state(job.id, state, wake_at_ms=None)
        return job

    def left(self) -> tuple[int, int]:
        """How many events and statuses are not written yet."""
        return len(self.record.events.unlogged()), len(self.record.jobs.dirty())


@pytest.fixture
def desk(shop: Shop) -> Iterator[Desk]:
    for name in NAMES:
        shop.job(name, suspend="true")
    shop.go()
    with Record.writing(shop.world.state) as record:
        yield Desk(shop, record)


def test_while_no_run_is_at_work_all_is_written_at_once(desk: Desk) -> None:
    assert desk.flush(0, None)
    assert desk.left() == (0, 0)
    assert desk.reporter.due_in_ms(Now(wall_ms=0, alive_ms=0)) is None


def test_what_runs_have_to_say_comes_first_and_what_is_put_off_is_written_a_moment_later(desk: Desk) -> None:
    assert not desk.flush(0, lambda: True)
    assert not desk.flush(PUT_OFF_MS - 1, lambda: True)
    assert desk.left() == (2, 2)
    assert desk.flush(PUT_OFF_MS, lambda: True)
    assert desk.left() == (0, 0)


def test_a_report_stops_between_two_files_and_goes_on_where_it_was(desk: Desk) -> None:
    answers = iter([False, False, False, True])  # before all, after the logs, before the first status and the second
    assert not desk.flush(0, lambda: next(answers))
    assert desk.left() == (0, 1)
    assert desk.flush(1, lambda: False)
    assert desk.left() == (0, 0)
    assert [path.read_text().count("again") for path in sorted(desk.shop.root.glob("*.log"))] == [1, 1]


def test_while_runs_are_at_work_reports_have_their_time_and_the_loop_knows_when(desk: Desk) -> None:
    assert desk.flush(0, lambda: False)
    job = desk.record.jobs.job("one")
    assert job is not None
    desk.record.jobs.mark_dirty([job.id])
    assert not desk.flush(REPORT_EVERY_MS - 1, lambda: False)
    assert desk.left() == (0, 1)
    assert desk.reporter.due_in_ms(Now(wall_ms=0, alive_ms=REPORT_EVERY_MS - 1)) == 1
    assert desk.flush(REPORT_EVERY_MS, lambda: False)
    assert desk.left() == (0, 0)


def test_that_a_job_is_running_is_written_once_its_run_is_no_longer_young(desk: Desk) -> None:
    desk.flush(0, None)
    wall_ms = 10**12
    desk.begin(wall_ms - 50)
    assert desk.flush(1_000, lambda: False)
    assert desk.left() == (0, 1)
    assert desk.reporter.due_in_ms(Now(wall_ms=wall_ms, alive_ms=1_000)) == YOUNG_MS - 50
    assert desk.reporter.flush(
        Now(wall_ms=wall_ms + YOUNG_MS - 50, alive_ms=1_000 + YOUNG_MS - 50), pressed=lambda: False
    )
    assert desk.left() == (0, 0)
    assert desk.reporter.due_in_ms(Now(wall_ms=wall_ms, alive_ms=2_000)) is None
    assert "status: Running" in (desk.shop.root / "one.status.yaml").read_text()


def test_a_run_that_ends_young_leaves_the_loop_nothing_to_wait_for(desk: Desk) -> None:
    desk.flush(0, None)
    wall_ms = 10**12
    job = desk.begin(wall_ms)
    assert desk.reporter.flush(Now(wall_ms=wall_ms, alive_ms=1_000))
    assert desk.left() == (0, 1)
    assert desk.reporter.due_in_ms(Now(wall_ms=wall_ms, alive_ms=1_000)) == YOUNG_MS
    with desk.record.transaction():
        desk.record.jobs.save_state(job.id, job.state, wake_at_ms=None)
    assert desk.reporter.flush(Now(wall_ms=wall_ms + 10, alive_ms=1_010))
    assert desk.left() == (0, 0)
    assert desk.reporter.due_in_ms(Now(wall_ms=wall_ms + 10, alive_ms=1_010)) is None


def test_what_a_running_job_has_done_since_its_status_was_written_is_written_a_second_later(desk: Desk) -> None:
    desk.flush(0, None)
    wall_ms = 10**12
    job = desk.begin(wall_ms)
    assert desk.reporter.flush(Now(wall_ms=wall_ms + YOUNG_MS, alive_ms=1_000))
    assert desk.left() == (0, 0)
    with desk.record.transaction():
        desk.record.jobs.mark_dirty([job.id])
    assert desk.reporter.flush(Now(wall_ms=wall_ms + YOUNG_MS + 400, alive_ms=1_400))
    assert desk.left() == (0, 1)
    assert desk.reporter.due_in_ms(Now(wall_ms=wall_ms, alive_ms=1_400)) == RUNNING_STATUS_MS - 400
    assert desk.reporter.flush(Now(wall_ms=wall_ms, alive_ms=1_000 + RUNNING_STATUS_MS))
    assert desk.left() == (0, 0)
    assert desk.reporter.due_in_ms(Now(wall_ms=wall_ms, alive_ms=2_000)) is None
