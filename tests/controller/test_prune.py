"""The deletion budget in passes and looks, and deletions that are undone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reconciler.clock import Clock, Now
from reconciler.controller.deeds import approve_prune, undelete
from reconciler.controller.lives import Lives
from reconciler.controller.looking import preview
from reconciler.controller.loop import Controller
from reconciler.controller.pruning import Pruner
from reconciler.controller.requests import Answer, Deed, Desk, Request
from reconciler.controller.settings import Settings
from reconciler.core.planned import Plan
from reconciler.core.prune import KEPT_MS, SETTLING_MS, Budget
from reconciler.core.state import Outcome, Reason, Status
from reconciler.errors import UsageError
from reconciler.providers import catalogue
from reconciler.record.store import Record
from tests.controller.conftest import Shop
from tests.repo.worktree import WorkTree

FAR: dict[str, Any] = {"schedule": '{cron: "0 3 1 1 *"}'}


def many(shop: Shop, count: int) -> list[Path]:
    """Jobs whose time is far away."""
    return [shop.job(f"job-{number:02d}", **FAR) for number in range(count)]


def names(shop: Shop) -> list[str]:
    found: list[str] = shop.read(lambda record: [job.name for job in record.jobs.jobs()])
    return found


def ask(shop: Shop, deed: Deed, **arguments: str) -> Answer:
    with Record.writing(shop.world.state) as record, record.transaction():
        desk = Desk(record=record, lives=Lives(record, lambda: 0.5), catalogue=catalogue)
        now = Clock().now()
        return deed(
            desk, Request(do="", arguments=arguments, by="Ada"), Now(now.wall_ms + shop.world.ahead_ms, now.alive_ms)
        )


def blocked(shop: Shop) -> str:
    """The digest of what the last pass held back."""
    assert shop.report.plan.blocked is not None
    return shop.report.plan.blocked.digest


# --- the budget -----------------------------------------------------------------------------------------------------


def test_within_the_budget_jobs_are_deleted_and_each_pass_has_a_budget_of_its_own(shop: Shop) -> None:
    paths = many(shop, 21)
    shop.go()
    for path in paths[:2]:
        path.unlink()
    assert (shop.go(), shop.report.exit_code) == ({"delete": 2}, 0)
    paths[2].unlink()
    assert (shop.go(), shop.report.exit_code) == ({"delete": 1}, 0)
    assert len(names(shop)) == 18


def test_over_the_budget_all_else_is_applied_nothing_is_deleted_and_the_statuses_say_so(shop: Shop) -> None:
    paths = many(shop, 10)
    shop.go()
    for path in paths[:2]:
        path.unlink()
    shop.job("new", **FAR)
    shop.job("job-05", metadata=", title: Fifth", **FAR)
    assert (shop.go(), shop.report.exit_code) == ({"create": 1, "update": 1}, 5)
    assert len(names(shop)) == 11
    reason = "no file declares 2 of 10 jobs, and a pass may delete 1 (prune: maxDeletes 5, maxPercent 10)"
    assert [(one.name, one.reason) for one in shop.report.plan.waiting] == [
        (name, f"its deletion is blocked: {reason}; `reconcile approve --prune {blocked(shop)}` approves exactly these")
        for name in ("job-00", "job-01")
    ]
    status = (shop.root / "job-00.status.yaml").read_text()
    assert "- type: PruneBlocked\n" in status
    assert f"{reason}; `reconcile approve --prune {blocked(shop)}` approves these" in status
    assert "PruneBlocked" not in (shop.root / "job-05.status.yaml").read_text()
    assert (shop.go(), shop.report.exit_code) == ({}, 5)
    assert (shop.root / "job-00.status.yaml").read_text() == status


def test_an_approved_set_is_deleted_once_and_the_approval_is_used_up(shop: Shop) -> None:
    paths = many(shop, 10)
    shop.go()
    texts = [path.read_text() for path in paths[:3]]
    for path in paths[:3]:
        path.unlink()
    shop.go()
    assert ask(shop, approve_prune, digest=blocked(shop)).message == f"The deletions {blocked(shop)} are approved."
    again = ask(shop, approve_prune, digest=blocked(shop)).message
    assert again == f"The deletions {blocked(shop)} were approved by Ada before."
    assert (shop.go(), shop.report.exit_code) == ({"delete": 3}, 0)
    for path, text in zip(paths, texts, strict=False):
        path.write_text(text)
    assert shop.go() == {"create": 3}
    for path in paths[:3]:
        path.unlink()
    assert (shop.go(), shop.report.exit_code) == ({}, 5)


def test_an_approval_does_not_hold_once_the_set_has_changed(shop: Shop) -> None:
    paths = many(shop, 10)
    shop.go()
    text = paths[0].read_text()
    for path in paths[:3]:
        path.unlink()
    shop.go()
    first = blocked(shop)
    ask(shop, approve_prune, digest=first)
    paths[3].unlink()
    assert (shop.go(), shop.report.exit_code) == ({}, 5)
    assert blocked(shop) != first
    paths[3].write_text(text.replace("job-00", "job-03"))
    assert (shop.go(), shop.report.exit_code, blocked(shop)) == ({}, 5, first)


def test_what_comes_back_is_not_blocked_any_more_and_what_fits_then_goes(shop: Shop) -> None:
    paths = many(shop, 10)
    shop.go()
    text = paths[0].read_text()
    for path in paths[:2]:
        path.unlink()
    shop.go()
    paths[0].write_text(text)
    assert (shop.go(), shop.report.exit_code) == ({"delete": 1}, 0)
    assert "PruneBlocked" not in (shop.root / "job-00.status.yaml").read_text()
    assert shop.read(lambda record: record.prunes.held()) is None


def test_the_operator_raises_the_budget(shop: Shop) -> None:
    paths = many(shop, 10)
    shop.go()
    for path in paths[:9]:
        path.unlink()
    assert shop.go() == {}
    shop.world.settings = {"budget": Budget(max_deletes=100, max_percent=100)}
    assert (shop.go(), shop.report.exit_code) == ({"delete": 9}, 0)


def test_an_approval_stands_while_a_broken_file_holds_every_deletion_back(shop: Shop) -> None:
    paths = many(shop, 10)
    shop.go()
    for path in paths[:3]:
        path.unlink()
    shop.go()
    ask(shop, approve_prune, digest=blocked(shop))
    (shop.root / "torn.yaml").write_text("kind: [")
    assert (shop.go(), shop.report.exit_code) == ({}, 1)
    (shop.root / "torn.yaml").unlink()
    assert (shop.go(), shop.report.exit_code) == ({"delete": 3}, 0)


def test_what_a_job_needs_stays_as_long_as_the_job(shop: Shop) -> None:
    path = shop.job()
    shop.go()
    path.unlink()
    (shop.root / "stream.yaml").unlink()
    assert (shop.go(), shop.report.exit_code) == ({}, 5)
    assert shop.report.plan.blocked is not None
    assert [one.name for one in shop.report.plan.blocked.doomed] == ["import-orders", "orders"]
    ask(shop, approve_prune, digest=blocked(shop))
    assert (shop.go(), shop.report.exit_code) == ({"delete": 2}, 0)


def test_a_protected_job_stays_though_the_commit_that_takes_its_file_out_unprotects_it(
    tmp_path: Path, shop: Shop
) -> None:
    tree = WorkTree(tmp_path / "git")
    shop.root, shop.world.root = tree.root, tree.root
    (tree.root / "in").mkdir()
    (tree.root / "stream.yaml").write_text((tmp_path / "jobs" / "stream.yaml").read_text())
    shop.stay()
    protected = shop.job("kept", deletionPolicy="protect", **FAR)
    orphan = shop.job("orphan", deletionPolicy="orphan", **FAR)
    tree.commit()
    shop.go()
    protected.write_text(protected.read_text().replace("protect", "delete"))
    orphan.write_text(orphan.read_text().replace("orphan\n", "delete\n"))
    tree.git("commit", "-q", "-a", "-m", "unprotect")
    protected.unlink()
    orphan.unlink()
    tree.git("commit", "-q", "-a", "-m", "and remove")
    assert shop.go() == {"delete": 1}
    assert [one.reason for one in shop.report.plan.waiting] == [
        "no file declares it, but its deletionPolicy is protect; to delete it, restore its file with deletionPolicy: delete, let that be applied, and remove it then"
    ]
    assert shop.row("kept").life == "live"
    assert shop.read(lambda record: record.deletions.deletion("orphan")).keeps


# --- the daemon -----------------------------------------------------------------------------------------------------


class Looks:
    """A daemon's looks, one after the other, without its loop; time passes as it is told."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop

    def look(self, later_ms: int = 0) -> dict[str, int]:
        self.shop.world.ahead_ms += later_ms

        def turn(controller: Controller) -> Any:
            lives = Lives(controller._record, lambda: 0.5)
            controller._observer.observe_until_settled(controller._hands.clock)
            return controller._reconcile(lives)[1]

        self.plan = self.shop.world.act(turn)
        return {verb: count for verb, count in self.plan.summary.items() if count}


def test_a_tree_that_is_torn_down_in_slices_has_one_budget_and_a_pause_does_not_give_it_another(shop: Shop) -> None:
    paths = many(shop, 20)
    daemon = Looks(shop)
    daemon.look()
    paths[0].unlink()
    assert daemon.look(1_000) == {"delete": 1}
    paths[1].unlink()
    assert daemon.look(SETTLING_MS // 2) == {"delete": 1}
    paths[2].unlink()
    assert daemon.look(SETTLING_MS // 2) == {}
    assert daemon.plan.blocked.reason == (
        "no file declares 1 of 18 jobs, and a pass may delete 2, of which 2 went just now "
        "(prune: maxDeletes 5, maxPercent 10)"
    )
    assert daemon.look(10 * SETTLING_MS) == {}, "it waits for a person"
    ask(shop, approve_prune, digest=daemon.plan.blocked.digest)
    assert daemon.look() == {"delete": 1}
    paths[3].unlink()
    assert daemon.look(1_000) == {"delete": 1}, "what was approved is not counted"


def test_deletions_a_while_apart_and_commits_have_a_budget_each(tmp_path: Path, shop: Shop) -> None:
    tree = WorkTree(tmp_path / "git")
    shop.root, shop.world.root = tree.root, tree.root
    (tree.root / "stream.yaml").write_text((tmp_path / "jobs" / "stream.yaml").read_text())
    paths = many(shop, 15)
    tree.commit()
    daemon = Looks(shop)
    daemon.look()
    for path in paths[:10]:
        path.unlink()
        tree.commit(f"without {path.name}")
        assert daemon.look() == {"delete": 1}
    untracked = [shop.job(f"untracked-{number}", **FAR) for number in range(3)]
    daemon.look()
    untracked[0].unlink()
    assert daemon.look(SETTLING_MS) == {"delete": 1}
    untracked[1].unlink()
    assert daemon.look(SETTLING_MS) == {"delete": 1}
    untracked[2].unlink()
    assert daemon.look() == {}


def test_a_blocked_set_is_told_once_whatever_cannot_be_read_meanwhile(shop: Shop) -> None:
    many(shop, 10)
    shop.go()
    for path in sorted(shop.root.glob("job-0[0-2].yaml")):
        path.unlink()
    shop.go()
    held = shop.report.plan
    with Record.reading(shop.world.state) as record:
        pruner = Pruner(record, Budget(), lambda: "", "")
        assert pruner.news(held) is held.blocked
        assert pruner.news(Plan(hold="torn.yaml cannot be read or parsed")) is None
        assert pruner.news(held) is None
        assert pruner.news(Plan()) is None
        assert pruner.news(held) is held.blocked, "it was over, and is there again"


# --- undone ---------------------------------------------------------------------------------------------------------


def test_a_deleted_job_is_undeleted_with_cursor_totals_runs_events_and_metrics_and_waits_for_its_file(
    shop: Shop,
) -> None:
    shop.stay()
    path = shop.job(schedule="{every: 1h}")
    shop.go()
    before, text = shop.row(), path.read_text()
    path.unlink()
    shop.go()
    assert shop.read(lambda record: record.jobs.job("import-orders")) is None
    assert (
        ask(shop, undelete, job="import-orders").message == "'import-orders' is back with its cursor and its history."
    )
    assert ask(shop, undelete, job="import-orders").message == "'import-orders' was undeleted by Ada before."
    shop.world.ahead_ms = 2 * KEPT_MS
    assert (shop.go(), shop.report.exit_code, shop.report.ran) == ({}, 0, 0)
    assert [(one.name, one.reason) for one in shop.report.plan.waiting] == [
        ("import-orders", "undeleted; restore import-orders.yaml")
    ]
    status = (shop.root / "import-orders.status.yaml").read_text()
    assert "message: undeleted; restore import-orders.yaml\n" in status
    assert "reason: Undeleted\n" in status
    path.write_text(text)
    (shop.root / "in" / "2.csv").write_text("id,amount\n3,30\n")
    assert shop.go() == {"create": 1}
    after = shop.row()
    assert (after.id, after.life, after.totals.rows, shop.report.rows) == (before.id, "live", 3, 1)
    assert shop.events() == ["Created", "Started", "Synced", "Deleted", "Undeleted", "Created", "Synced"]
    assert len(shop.read(lambda record: record.runs.history(after.id))) == 2
    assert shop.read(lambda record: record.streams.counts("orders"))[0] == 3


def test_a_job_that_is_declared_again_begins_anew_and_the_plan_says_what_would_keep_it(shop: Shop) -> None:
    shop.stay()
    path = shop.job()
    shop.go()
    text = path.read_text()
    path.unlink()
    shop.go()
    path.write_text(text)
    assert shop.go() == {"create": 1}
    (action,) = shop.report.plan.actions
    assert action.reason == "declared again; it begins anew"
    assert action.message.startswith(
        "`reconcile undelete import-orders` before that brings its cursor and history back, until "
    )
    assert shop.events() == ["Deleted", "Created", "Started", "Synced", "Completed"]
    with pytest.raises(UsageError, match="the job 'import-orders' is not deleted"):
        ask(shop, undelete, job="import-orders")
    with pytest.raises(UsageError, match="there is no deleted job 'nobody'"):
        ask(shop, undelete, job="nobody")


def test_an_undeleted_job_is_not_made_anew_under_another_name(shop: Shop) -> None:
    shop.stay()
    path = shop.job()
    shop.go()
    text = path.read_text()
    path.unlink()
    shop.go()
    renamed = shop.job("later", metadata=", renamedFrom: import-orders")
    found = preview(Settings(root=shop.root, state=shop.world.state)).plan
    assert [action.reason for action in found.actions] == [
        "declared in later.yaml; it begins anew, for import-orders, its old name, was deleted before"
    ]
    ask(shop, undelete, job="import-orders")
    assert shop.go() == {}
    assert (
        "later",
        "renamed from import-orders, which was undeleted; restore that spec first, and rename it then",
    ) in [(one.name, one.reason) for one in shop.report.plan.waiting]
    held = renamed.read_text()
    renamed.unlink()
    path.write_text(text)
    assert shop.go() == {"create": 1}
    path.unlink()
    renamed.write_text(held)
    assert shop.go() == {"move": 1}
    assert (shop.row("later").totals.rows, shop.report.rows) == (2, 0)


def test_after_seven_days_a_deletion_is_for_good(shop: Shop) -> None:
    shop.stay()
    (shop.root / "in" / "1.csv").write_text("id,amount\n1,10\n2\n3,30\n")
    path = shop.job(config='{path: "in/*.csv", stream: orders, maxRejects: 1}')
    shop.go()
    rejects = list((shop.world.state / "data" / "rejects").rglob("*.ndjson"))
    path.unlink()
    shop.go()
    shop.world.ahead_ms = KEPT_MS - 60_000
    shop.go()
    assert [one.exists() for one in rejects] == [True]
    shop.world.ahead_ms = KEPT_MS + 60_000
    with pytest.raises(UsageError, match=r"the job 'import-orders' was deleted at .*, and is gone for good"):
        ask(shop, undelete, job="import-orders")
    shop.go()
    assert [one.exists() for one in rejects] == [False]
    assert shop.read(lambda record: record.resources.resource("Job", "import-orders")) is None
    with pytest.raises(UsageError, match="there is no deleted job 'import-orders'"):
        ask(shop, undelete, job="import-orders")
    assert shop.events() == ["Deleted"]
    (*_, last) = shop.read(lambda record: list(record.audit.of("import-orders")))
    assert (last.action, last.life) == ("expire", "")


def test_an_orphan_keeps_its_history_for_seven_days_and_its_cursor_for_good(shop: Shop) -> None:
    shop.stay()
    path = shop.job(deletionPolicy="orphan")
    shop.go()
    text, before = path.read_text(), shop.row()
    path.unlink()
    shop.go()
    ask(shop, undelete, job="import-orders")
    path.write_text(text)
    assert (shop.go(), shop.report.ran) == ({"create": 1}, 0)
    assert len(shop.read(lambda record: record.runs.history(before.id))) == 1
    path.unlink()
    shop.go()
    shop.world.ahead_ms = KEPT_MS + 60_000
    shop.go()
    assert shop.read(lambda record: record.runs.history(before.id)) == []
    path.write_text(text)
    assert shop.go() == {"create": 1}
    assert shop.row().totals.rows == 2
    assert shop.read(lambda record: record.streams.counts("orders"))[0] == 2


def test_a_run_that_its_job_s_deletion_cut_off_is_owed_when_the_job_is_undeleted(shop: Shop) -> None:
    shop.stay()
    path = shop.job(schedule="{every: 1h}")
    shop.go()
    text = path.read_text()
    path.unlink()

    def deleted_while_running(controller: Controller) -> None:
        """The job is made to run for the record, then its file's absence is planned and enacted."""
        from reconciler.core import happening

        record, now = controller._record, controller._hands.clock.now()
        lives = Lives(record, lambda: 0.5)
        with record.transaction():
            job = record.jobs.job("import-orders")
            assert job is not None
            run = record.runs.begin(job.id, job.generation, now.wall_ms)
            job = lives.advance(job, happening.Ticked(), now)
            lives.advance(job, happening.Started(run), now)
        controller._observer.observe_until_settled(controller._hands.clock)
        controller._reconcile(lives)
        assert lives.take_stops() == [run]
        assert record.runs.live() == []

    shop.world.act(deleted_while_running)
    ask(shop, undelete, job="import-orders")
    row = shop.row()
    assert (row.life, row.state.status, row.state.reason) == ("undeleted", Status.SLEEPING, Reason.WAITING_FOR_SLOT)
    (run, *_) = shop.read(lambda record: record.runs.history(row.id))
    assert (run.outcome, run.message) == (Outcome.STOPPED, "the job was deleted")
    path.write_text(text)
    shop.go()
    assert (shop.report.ran, shop.row().state.status) == (1, Status.SLEEPING)


def test_nobody_waits_for_a_job_that_is_deleted_or_undeleted(shop: Shop) -> None:
    shop.stay()
    path = shop.job()
    shop.go()
    path.unlink()
    shop.go()
    shop.job("after", jobType="export-csv", dependsOn="[import-orders]", config="{stream: orders, path: out.csv}")
    shop.go()
    assert shop.report.exit_code == 1, "its dependency is not declared"
    ask(shop, undelete, job="import-orders")
    shop.go()
    assert shop.report.ran == 0


def test_a_purged_job_is_undeleted_too(shop: Shop) -> None:
    shop.stay()
    path = shop.job()
    shop.go()
    shop.world.ahead_ms = 91 * 24 * 3_600_000
    shop.go()
    assert shop.row().life == "purged"
    text = path.read_text()
    path.unlink()
    shop.go()
    ask(shop, undelete, job="import-orders")
    path.write_text(text)
    shop.go()
    assert (shop.row().totals.rows, shop.report.ran) == (2, 0)
