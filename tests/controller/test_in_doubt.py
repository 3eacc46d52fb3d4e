"""What is begun of a job while it is not known whether its file is gone, or what it says now: nothing new."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Container
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.clock import pause
from reconciler.controller import Settings, loop, preview
from reconciler.controller.lives import Lives
from reconciler.controller.loop import Controller
from reconciler.controller.settings import Silent
from reconciler.core.backfill import LIVE
from reconciler.record.events import Event
from reconciler.record.jobs import JobRow, Jobs
from reconciler.record.store import Record
from reconciler.repo.tree import STANDING_MS
from tests.controller.conftest import Shop
from tests.repo.worktree import WorkTree
from tests.repo.worktree import spec as stream_text

HOUR_MS = 3_600_000


class Until(Silent):
    """Ends the daemon with an event."""

    def __init__(self, name: str) -> None:
        self.name = name

    def event(self, event: Event) -> None:
        if event.event == self.name:
            os.kill(os.getpid(), signal.SIGTERM)


def remove(spec: Path) -> None:
    spec.unlink()


def rename_and_suspend(spec: Path) -> None:
    text = spec.read_text().replace("name: orders", "name: others, renamedFrom: orders", 1)
    spec.with_name("others.yaml").write_text(text.replace("suspend: false", "suspend: true"))
    spec.unlink()


@pytest.mark.parametrize(("edit", "until"), [(remove, "Deleted"), (rename_and_suspend, "Paused")])
def test_a_daemon_starts_no_run_of_a_job_that_was_taken_out_before_it_began(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, edit: Callable[[Path], None], until: str
) -> None:
    shop.stay()
    spec = shop.job("orders", schedule="{every: 1h}", suspend="false")
    shop.go()
    before = shop.read(lambda record: record.runs.last_id())
    shop.world.ahead_ms += 2 * HOUR_MS
    edit(spec)
    monkeypatch.setattr(loop, "GRACE_MS", 300)
    with Record.writing(shop.world.state) as record:
        assert Controller(replace(shop.world._hands(record), listener=Until(until))).watch() == 0
    assert shop.read(lambda record: record.runs.last_id()) == before


@pytest.fixture
def committed(tmp_path: Path, shop: Shop) -> tuple[WorkTree, Path]:
    """The same shop in a git work tree, with a job that is due, and its spec."""
    tree = WorkTree(tmp_path / "git")
    shop.root, shop.world.root = tree.root, tree.root
    (tree.root / "in").mkdir()
    (tree.root / "in" / "1.csv").write_text("id,amount\n1,10\n")
    (tree.root / "stream.yaml").write_text((tmp_path / "jobs" / "stream.yaml").read_text())
    shop.stay()
    spec = shop.job("orders", schedule="{every: 100ms}", suspend="false")
    tree.commit()
    shop.go()
    return tree, spec


def assert_watch_starts_nothing(shop: Shop, until: str) -> None:
    """A daemon that ends with this event."""
    before = shop.read(lambda record: record.runs.last_id())
    with Record.writing(shop.world.state) as record:
        assert Controller(replace(shop.world._hands(record), listener=Until(until))).watch() == 0
    assert shop.read(lambda record: record.runs.last_id()) == before


def test_a_daemon_starts_no_run_of_a_job_that_a_commit_took_out_before_its_deletion(
    shop: Shop, committed: tuple[WorkTree, Path]
) -> None:
    tree, spec = committed
    spec.unlink()
    tree.commit("without it")
    assert_watch_starts_nothing(shop, until="Deleted")


def test_a_daemon_starts_no_run_of_a_job_whose_file_has_changed_until_it_is_read(
    shop: Shop, committed: tuple[WorkTree, Path]
) -> None:
    tree, spec = committed
    spec.write_text(spec.read_text().replace("suspend: false", "suspend: true"))
    tree.commit("suspended")
    (tree.top / ".git/index.lock").touch()
    assert_watch_starts_nothing(shop, until="Paused")


def test_a_pass_and_its_plan_start_no_run_of_a_job_that_a_commit_took_out_while_git_s_lock_stands(
    shop: Shop, committed: tuple[WorkTree, Path]
) -> None:
    tree, spec = committed
    shop.job("follows", dependsOn="[orders]", schedule="{afterDependencies: true}")
    spec.unlink()
    tree.commit("without it")
    (tree.top / ".git/index.lock").touch()
    pause(0.1)
    before = shop.read(lambda record: record.runs.last_id())
    found = preview(Settings(root=shop.root, state=shop.world.state))
    assert (found.plan.runs, [one.name for one in found.plan.waiting]) == ((), ["orders"])
    assert found.in_doubt == {"orders"}
    assert shop.go() == {"create": 1}
    assert shop.read(lambda record: record.runs.last_id()) == before
    (tree.top / ".git/index.lock").unlink()
    assert shop.go() == {"delete": 1}


@pytest.mark.parametrize("is_broken", [True, False])
def test_a_due_run_starts_while_git_s_lock_stands_of_what_stays_as_it_was_whatever_a_next_look_sees(
    shop: Shop, committed: tuple[WorkTree, Path], is_broken: bool
) -> None:
    """Of a job whose file cannot be parsed, and of one that is protected: a lock or a merge may stand for days."""
    tree, spec = committed
    if is_broken:
        spec.write_text("<<<<<<< HEAD\n" + spec.read_text())
    else:
        shop.job("orders", schedule="{every: 100ms}", suspend="false", deletionPolicy="protect")
        tree.commit("protected")
        assert shop.go() == {"update": 1}
        spec.unlink()
        tree.commit("without it")
    (tree.top / ".git/index.lock").touch()
    pause(0.5)
    before = shop.read(lambda record: record.runs.last_id())
    found = preview(Settings(root=shop.root, state=shop.world.state))
    assert ([one.name for one in found.plan.runs], found.in_doubt) == (["orders"], frozenset())
    assert shop.go() == {}
    assert shop.read(lambda record: record.runs.last_id()) == before + 1


def test_many_due_jobs_in_doubt_are_passed_over_in_few_pieces(
    shop: Shop, committed: tuple[WorkTree, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each piece passes over all that were seen before: slot by slot, 100,000 of them took minutes."""
    tree, spec = committed
    many = 120
    text = spec.read_text()
    spec.write_text("---\n".join(text.replace("name: orders", f"name: orders-{number}") for number in range(many)))
    tree.commit("many")
    assert shop.go() == {"create": many, "delete": 1}
    spec.unlink()
    tree.commit("without them")
    (tree.top / ".git/index.lock").touch()
    pause(0.1)
    asked: list[int] = []
    queue = Jobs.queue

    def counting(self: Jobs, limit: int, lane: str = LIVE, besides: Container[int] = ()) -> list[JobRow]:
        found = queue(self, limit, lane, besides)
        asked.append(len(found))
        return found

    monkeypatch.setattr(Jobs, "queue", counting)
    before = shop.read(lambda record: record.runs.last_id())
    shop.go()
    assert shop.read(lambda record: record.runs.last_id()) == before
    assert sum(asked) % many == 0
    assert len([one for one in asked if one]) < 12 * sum(asked) // many


def test_what_waits_for_git_in_a_submodule_is_looked_for_as_seldom_as_what_waits_for_git_itself(
    shop: Shop, committed: tuple[WorkTree, Path], tmp_path: Path
) -> None:
    tree, _ = committed
    inner = WorkTree(tmp_path / "inner", ".")
    inner.write({"t.yaml": stream_text("t")})
    inner.commit()
    tree.git("submodule", "-q", "add", str(inner.top), f"{tree.root.name}/team")
    tree.commit()
    shop.go()
    (tree.root / "team/t.yaml").unlink()
    (tree.top / ".git/modules" / tree.root.name / "team/index.lock").touch()

    def look(controller: Controller) -> int | None:
        return controller._observer.observe_until_settled(controller._hands.clock).again_ms

    assert shop.world.act(look) == STANDING_MS


def test_nothing_that_the_policy_forbids_is_applied_while_its_file_is_away_for_a_moment(shop: Shop) -> None:
    policy = shop.root.parent / "policy.yaml"
    policy.write_text("rules:\n  - {name: no-delete, on: plan, cel: verb != 'delete'}\n")
    shop.stay()
    spec = shop.job("orders")
    shop.go()
    spec.unlink()
    text = policy.read_text()

    def looks(controller: Controller) -> list[bool]:
        lives = Lives(controller._record, lambda: 0.5)
        controller._observer.observe_until_settled(controller._hands.clock)
        policy.unlink()
        first, made = controller._reconcile(lives)
        assert (first.again_ms is not None, made.actions) == (True, ())
        assert [one.message for one in made.errors] == [
            "gone from disk; there is none once a second look sees the same"
        ]
        policy.write_text(text)
        return [bool(controller._reconcile(lives)[1].actions)]

    assert shop.world.act(looks) == [False]
    assert shop.go() == {}
    policy.unlink()
    assert shop.go() == {"delete": 1}, "a second look has seen the same"
