"""A purged job sleeps: it costs nothing, whatever is edited, until something brings it back."""

from __future__ import annotations

from reconciler.core.rules import PURGE_AFTER_MS
from reconciler.record.store import Record
from tests.controller.conftest import Shop
from tests.controller.specs import job_text


def test_an_edit_that_does_not_bring_a_purged_job_back_leaves_nothing_to_wake_for(shop: Shop) -> None:
    spec = shop.root / "old.yaml"
    spec.write_text(job_text("old", "suspend: true"))
    shop.world.live()
    with Record.writing(shop.world.state) as record:
        job = record.jobs.job("old")
        assert job is not None
        record.jobs.wake_at(job.id, 0)
        record.set_setting("wall_ms", 0)
        with record.transaction() as sql:
            sql.execute("UPDATE job SET since_ms = since_ms - ?", (PURGE_AFTER_MS,))
    shop.world.live()
    spec.write_text(job_text("old", "suspend: true\n  timeout: 3h"))
    shop.world.live()
    with Record.writing(shop.world.state) as record:
        job = record.jobs.job("old")
        assert job is not None
        assert (job.life, job.spec["timeout"]) == ("purged", 10_800_000)
        assert record.jobs.next_wake_ms() is None
