"""A declared rename takes its cursor along, whatever its new name has been before."""

from __future__ import annotations

from pathlib import Path

from reconciler.controller.lives import Lives
from reconciler.controller.loop import Controller
from reconciler.core.forgotten import GONE
from reconciler.record.forgotten import Receipt
from reconciler.record.store import Record
from reconciler.runner.local import LocalRunner
from tests.controller.conftest import Shop
from tests.controller.specs import job_text
from tests.repo.worktree import WorkTree


def look(shop: Shop) -> None:
    """What differs is made true, and nothing else is done."""

    def turn(controller: Controller) -> None:
        controller._observer.observe_until_settled(controller._hands.clock)
        controller._reconcile(Lives(controller._record, lambda: 0.5))

    shop.world.act(turn)


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


def test_who_is_to_be_forgotten_at_a_destination_is_so_under_its_new_name(shop: Shop) -> None:
    (shop.root / "1.csv").write_text("id\n1\n")
    spec = shop.root / "orders.yaml"
    spec.write_text(job_text("old", "suspend: true"))
    shop.go()
    with Record.writing(shop.world.state) as record, record.transaction():
        request = record.forgotten.ask("email", "ann@example.org", "me", 1)
        record.forgotten.note(Receipt(request=request, what="destination", name="old", members=("a",)))
        record.forgotten.blank(request)
        record.forgotten.finish(request, 2)
    spec.write_text(job_text("new, renamedFrom: old", "suspend: true"))
    assert shop.go() == {"move": 1}
    assert shop.read(lambda record: [one.name for one in record.forgotten.receipts(request)]) == ["new"]


def test_what_a_deleted_job_leaves_is_not_that_of_one_which_is_renamed_to_its_name(shop: Shop) -> None:
    (shop.root / "1.csv").write_text("id\n1\n")
    shop.stay()
    deleted, spec = shop.root / "deleted.yaml", shop.root / "orders.yaml"
    deleted.write_text(job_text("new"))
    spec.write_text(job_text("old"))
    shop.go()
    with Record.writing(shop.world.state) as record, record.transaction():
        request = record.forgotten.ask("email", "ann@example.org", "me", 1)
        record.forgotten.note(Receipt(request=request, what="destination", name="new", members=("a",)))
        record.forgotten.blank(request)
        record.forgotten.finish(request, 2)
        old = record.jobs.job("old")
        assert old is not None
        record.jobs.save_cursor(old.id, {"ledger": "another one"})
    deleted.unlink()
    look(shop)
    spec.write_text(job_text("new, renamedFrom: old"))
    look(shop)
    (receipt,) = shop.read(lambda record: record.forgotten.receipts(request))
    assert (receipt.note, receipt.members) == (GONE, ()), "the job with that name now never knew of her"
    assert shop.events("new") == ["Created", "Deleted", "Moved"], "the deletion, and what became of the other one"


def test_a_rename_that_no_commit_holds_yet_waits_for_that_and_is_no_error(tmp_path: Path, runner: LocalRunner) -> None:
    tree = WorkTree(tmp_path / "repo")
    shop = Shop(tree.root, runner)
    spec = shop.root / "orders.yaml"
    spec.write_text(job_text("old"))
    tree.commit()
    shop.go()
    before = shop.row("old")
    spec.write_text(job_text("new, renamedFrom: old"))
    assert shop.go() == {}
    assert shop.report.problems == ()
    held = "gone from disk but not from HEAD; commit its removal, or restore it"
    assert [(one.name, one.reason) for one in shop.report.plan.waiting] == [
        ("new", f"renamed from old, which is {held}"),
        ("old", held),
    ]
    tree.commit()
    assert shop.go() == {"move": 1}
    assert shop.row("new").id == before.id
