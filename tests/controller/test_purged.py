"""A purged job sleeps: it costs nothing, whatever is edited, until something brings it back."""

from __future__ import annotations

import pytest

from reconciler.clock import Clock
from reconciler.controller.deeds import DEEDS
from reconciler.controller.lives import Lives
from reconciler.controller.requests import Desk, Request
from reconciler.core.rules import PURGE_AFTER_MS
from reconciler.errors import Blocked
from reconciler.providers import catalogue
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


@pytest.mark.parametrize(("suspend", "verb"), [("true", "resume"), ("false", "rerun")])
def test_what_waited_of_a_purged_job_cannot_be_approved_or_tried_again_and_wakes_nobody(
    shop: Shop, suspend: str, verb: str
) -> None:
    shop.job("old", suspend=suspend)
    shop.world.live()
    with Record.writing(shop.world.state) as record:
        job = record.jobs.job("old")
        assert job is not None
        with record.transaction() as sql:
            sql.execute("UPDATE job SET since_ms = since_ms - ?", (PURGE_AFTER_MS,))
            record.approvals.ask(job.id, "d1", "much", 1)
    assert shop.go() == {"purge": 1}
    with Record.writing(shop.world.state) as record:
        desk = Desk(record=record, lives=Lives(record, lambda: 0.5), catalogue=catalogue)
        asked: dict[str, dict[str, str]] = {"approve": {"digest": "d1"}, "retry": {"what": "all"}}
        for name, arguments in asked.items():
            request = Request(do=name, arguments={"job": "old", **arguments}, by="ann")
            with pytest.raises(Blocked, match=f"^'old' was purged; `reconcile {verb} old` brings it back first$"):
                DEEDS[name](desk, request, Clock(0).now())
        assert record.jobs.next_wake_ms() is None
