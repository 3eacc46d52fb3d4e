"""A declared rename takes its cursor along, whatever its new name has been before."""

from __future__ import annotations

from tests.controller.conftest import Shop
from tests.controller.specs import job_text


def test_a_rename_to_the_name_of_an_orphan_is_no_new_job(shop: Shop) -> None:
    (shop.root / "1.csv").write_text("id\n1\n")
    orphan, spec = shop.root / "orphan.yaml", shop.root / "orders.yaml"
    orphan.write_text(job_text("new", 'schedule: {cron: "0 3 1 1 *"}\n  deletionPolicy: orphan'))
    spec.write_text(job_text("old", "schedule: {once: true}"))
    shop.go()
    orphan.unlink()
    shop.go()
    before = shop.row("old")
    spec.write_text(job_text("new, renamedFrom: old", "schedule: {once: true}"))
    assert shop.go() == {"move": 1}
    assert shop.report.ran == 0
    after = shop.row("new")
    assert (after.id, after.cursor, after.totals.rows) == (before.id, before.cursor, 1)
    assert shop.go() == {}
