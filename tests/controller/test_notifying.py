"""Who looks elsewhere is told, once, of what goes wrong and that it is over; whatever is down meanwhile."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.clock import Clock
from reconciler.controller.looking import preview
from reconciler.controller.notifying import Notifier
from reconciler.controller.settings import Settings
from reconciler.core.canonical_json import canonical_json
from reconciler.core.notices import CommitStatusRule, Notice, NotifyRule, Trouble, What, headline, line
from reconciler.core.planned import Plan, Waiting
from reconciler.core.prune import Budget, Doomed, Pruning
from reconciler.core.saved_plan import read_plan
from reconciler.core.state import Status
from reconciler.providers import catalogue
from reconciler.record.store import Record
from reconciler.repo.commit import CommitTree
from reconciler.repo.source import LocalSource
from reconciler.runner.local import LocalRunner
from tests.controller.conftest import STREAM, Shop
from tests.repo.worktree import WorkTree
from tests.servers import Play, Server


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


def told(server: Server) -> list[tuple[str, str, str]]:
    """Everything that arrived: event, kind and name, message."""
    return [
        (one["event"], f"{one['kind']} {one['name']}".strip(), one["message"])
        for request in server.processed
        for one in request.json["notices"]
    ]


def telling(shop: Shop, server: Server, **more: Any) -> None:
    rule = NotifyRule(name="ops", channel="webhook", settings={"url": f"{server.url}/in"}, **more)
    shop.world.settings["notify"] = (rule,)


def fail(shop: Shop) -> None:
    """A job that fails, and goes on failing for longer than it may."""
    shop.job(config='{path: "in/nowhere.csv", stream: orders}')
    shop.go()
    shop.world.ahead_ms += 3_600_000
    with Record.writing(shop.world.state) as record, record.transaction():
        record.set_setting("alive_ms", 11 * 3_600_000)
    shop.go()


def test_an_invalid_spec_is_told_once_and_so_is_its_recovery(shop: Shop, server: Server) -> None:
    telling(shop, server)
    shop.job()
    shop.go()
    assert told(server) == []
    shop.job(shedule="{every: 1h}", jobTyp="x")
    shop.go()
    assert told(server) == [
        ("InvalidSpec", "Job import-orders", "spec.shedule: unknown field; did you mean 'schedule'? (and 1 more)")
    ]
    shop.go()
    shop.go()
    assert len(told(server)) == 1, "nobody is told twice"
    shop.job()
    shop.go()
    assert [event for event, _, _ in told(server)] == ["InvalidSpec", "Recovered"]


def test_a_job_that_has_failed_is_told_and_that_it_is_well_once_it_has_succeeded(shop: Shop, server: Server) -> None:
    telling(shop, server)
    fail(shop)
    (event, name, message) = told(server)[0]
    assert (event, name) == ("Failed", "Job import-orders")
    assert "nowhere.csv" in message
    shop.job()
    shop.go()
    assert [event for event, _, _ in told(server)] == ["Failed", "Recovered"]


def test_a_failure_of_old_is_not_told_when_rules_are_new(shop: Shop, server: Server) -> None:
    fail(shop)
    telling(shop, server)
    shop.go()
    assert told(server) == []


def test_what_could_not_be_told_is_told_later(shop: Shop) -> None:
    plays = iter([Play(503), Play(drop=True), Play()])
    with Server(lambda _: next(plays, Play())) as server:
        telling(shop, server)
        shop.job(shedule="x")
        shop.go()
        assert told(server) == []
        shop.go()
        assert len(server.requests) == 1, "it has a time of its own"
        shop.world.ahead_ms += 3_600_000
        shop.go()
        shop.world.ahead_ms += 3_600_000
        shop.go()
        assert [event for event, _, _ in told(server)] == ["InvalidSpec"]
        assert len({request.key for request in server.requests}) == 1


def test_blocked_deletions_are_told_with_the_command_that_approves_them(shop: Shop, server: Server) -> None:
    telling(shop, server)
    shop.world.settings["again"] = " --root jobs.d"
    paths = [shop.job(f"job-{number}", suspend="true") for number in range(8)]
    shop.go()
    for path in paths[:4]:
        path.unlink()
    shop.go()
    (event, _, message) = told(server)[0]
    assert event == "PruneBlocked"
    assert re.search(r"; to approve exactly these: reconcile approve --prune [0-9a-f]{16} --root jobs\.d$", message)
    (shop.root / "torn.yaml").write_text("kind: [")
    shop.go()
    (shop.root / "torn.yaml").unlink()
    shop.go()
    events = ["PruneBlocked", "InvalidSpec", "Recovered"]
    assert [event for event, _, _ in told(server)] == events, "while nothing can be judged they are blocked as before"
    for number in range(4):
        shop.job(f"job-{number}", suspend="true")
    shop.go()
    assert [event for event, _, _ in told(server)] == [*events, "Recovered"]


def blocked_plan() -> Plan:
    doomed = (Doomed(kind="Job", name="import-orders", path="orders.yaml", digest=""),)
    return Plan(prune=Pruning(doomed=doomed, budget=Budget(), jobs=1, allowed=0, is_last=True))


def test_that_blocked_deletions_are_over_is_told_though_a_look_before_could_not_judge_them(shop: Shop) -> None:
    telling_rule = NotifyRule(name="ops", channel="webhook", settings={"url": "http://127.0.0.1:9/in"})
    shop.world.settings["notify"] = (telling_rule,)
    now = Clock().now()
    with Record.writing(shop.world.state) as record:
        notifier = Notifier(shop.world._hands(record))
        notifier.see(blocked_plan(), "", now)
        notifier.see(Plan(hold="the tree is in the making"), "", now)
        assert [one.what for one in record.notices.troubles()] == ["PruneBlocked"]
        notifier.see(Plan(), "", now)
        assert record.notices.troubles() == []


def test_a_forge_is_told_once_what_waited_is_applied(shop: Shop) -> None:
    shop.world.settings["commit_statuses"] = (CommitStatusRule(forge="github", settings={}, credentials={}),)
    now, revision = Clock().now(), f"main@sha1:{'1' * 40}"
    with Record.writing(shop.world.state) as record:
        notifier = Notifier(shop.world._hands(record))
        notifier.see(Plan(waiting=(Waiting("Job", "import-orders", "create: nothing is applied"),)), revision, now)
        assert [one.description for one in record.notices.due_commits(now.wall_ms)] == ["applied, but 1 waits"]
        notifier.see(Plan(), revision, now)
        assert [one.description for one in record.notices.due_commits(now.wall_ms)] == ["applied"]


def test_a_forge_is_told_of_the_commit_that_a_saved_plan_made_true(tmp_path: Path, runner: LocalRunner) -> None:
    tree = WorkTree(tmp_path / "repo")
    shop = Shop(tree.root, runner)
    (tmp_path / "token").write_text("t0ken")
    shop.job()
    commit = tree.commit()
    document = preview(Settings(root=shop.root, state=shop.world.state), basis=True).document
    saved = read_plan(canonical_json(document).encode(), "plan.json")
    with Server(lambda _: Play(201)) as server:
        rule = CommitStatusRule(
            forge="github",
            settings={"repository": "acme/jobs", "apiUrl": server.url},
            credentials={"token": {"file": str(tmp_path / "token")}},
        )
        shop.world.settings["commit_statuses"] = (rule,)
        assert shop.world.act(lambda controller: controller.apply(saved, "ada")) is not None
    (request,) = server.requests
    assert (request.path.rpartition("/")[2], request.json["state"]) == (commit, "success")


def test_a_forge_is_told_that_deletions_wait_by_a_saved_plan_as_by_a_pass(tmp_path: Path, runner: LocalRunner) -> None:
    tree = WorkTree(tmp_path / "repo")
    shop = Shop(tree.root, runner)
    paths = [shop.job(f"job-{number}", suspend="true") for number in range(4)]
    tree.commit()
    shop.go()
    for path in paths[:2]:
        path.unlink()
    commit = tree.commit()
    (tmp_path / "token").write_text("t0ken")
    document = preview(Settings(root=shop.root, state=shop.world.state), basis=True).document
    saved = read_plan(canonical_json(document).encode(), "plan.json")
    with Server(lambda _: Play(201)) as server:
        rule = CommitStatusRule(
            forge="github",
            settings={"repository": "acme/jobs", "apiUrl": server.url},
            credentials={"token": {"file": str(tmp_path / "token")}},
        )
        shop.world.settings["commit_statuses"] = (rule,)
        report = shop.world.act(lambda controller: controller.apply(saved, "ada"))
        assert report is not None
        assert report.exit_code == 0, "it did what the plan said"
        shop.go()
    (request,) = server.requests
    assert (request.path.rpartition("/")[2], request.json["state"], request.json["description"]) == (
        commit, "failure", "deletions wait for an approval: no file declares 2 of 4 jobs, and a pass may delete 1 (prune: maxDeletes 5, maxPercent 10)",
    )  # fmt: skip


def test_forges_show_what_came_of_each_commit(tmp_path: Any, runner: LocalRunner) -> None:
    tree = WorkTree(tmp_path / "repo")
    shop = Shop(tree.root, runner)
    with Server(lambda _: Play(201)) as server:
        rule = CommitStatusRule(
            forge="github",
            settings={"repository": "acme/jobs", "apiUrl": server.url},
            credentials={"token": {"file": str(tmp_path / "token")}},
        )
        (tmp_path / "token").write_text("t0ken")
        shop.world.settings["commit_statuses"] = (rule,)
        shop.job()
        good = tree.commit()
        shop.go()
        shop.go()
        shop.job(shedule="x")
        bad = tree.commit()
        shop.go()
    assert [(request.path.rpartition("/")[2], request.json["state"]) for request in server.requests] == [
        (good, "success"),
        (bad, "failure"),
    ]
    assert server.requests[1].json["description"] == (
        "1 file has an invalid spec: import-orders.yaml:8: spec.shedule: unknown field; did you mean 'schedule'?"
    )


def test_that_a_job_is_well_again_is_told_though_its_run_moved_nothing(shop: Shop) -> None:
    rule = NotifyRule(name="ops", channel="webhook", settings={"url": "http://127.0.0.1:9/in"}, batch_ms=60_000)
    fail(shop)
    job = shop.row()
    shop.world.settings["notify"] = (rule,)
    now = Clock().now()
    with Record.writing(shop.world.state) as record:
        notifier = Notifier(shop.world._hands(record))
        notifier.keep(now, pressing=False)
        trouble = Trouble(
            what=What.FAILED, kind="Job", name="import-orders", path="", message="no more", since_ms=now.wall_ms
        )
        with record.transaction():
            record.notices.begin(trouble)
        notifier.keep(now, pressing=False)
        assert record.notices.troubles() == [trouble], "it is failed still"
        with record.transaction():
            record.notices.begin(replace(trouble, name="gone"))
            well = replace(job.state, status=Status.COMPLETED, last_success_ms=now.wall_ms + 1)
            record.jobs.save_state(job.id, well, wake_at_ms=None)
        notifier.keep(now, pressing=False)
        assert record.notices.troubles() == []


def test_that_a_newer_commit_cannot_be_had_is_told_of_that_one_and_not_of_the_last_good_one(
    tmp_path: Path, shop: Shop
) -> None:
    repo = WorkTree(tmp_path / "repo")
    repo.write({"a.yaml": STREAM})
    good = repo.commit()
    shop.world.settings["commit_statuses"] = (CommitStatusRule(forge="github", settings={}, credentials={}),)
    telling_rule = NotifyRule(name="ops", channel="webhook", settings={"url": "http://127.0.0.1:9/in"})
    shop.world.settings["notify"] = (telling_rule,)
    now, source = Clock().now(), LocalSource(repo.root, "git:main")
    with Record.writing(shop.world.state) as record:
        tree = CommitTree(source, None, mark="", identity="x", version="1", catalogue=catalogue)
        notifier = Notifier(replace(shop.world._hands(record), origin=tree))
        tree.settle(tree.look(0))
        notifier.see(Plan(), tree.revision(), now)
        (repo.root / "a.yaml").unlink()
        empty = repo.commit()
        notifier.see(Plan(errors=tree.look(1).problems), tree.revision(), now)
        assert [(one.commit, one.state, one.description) for one in record.notices.due_commits(now.wall_ms)] == sorted(
            [
                (good, "success", "applied"),
                (empty, "failure", f"main@sha1:{empty} holds no spec below jobs.d, which deletes nothing"),
            ]
        )
        (trouble,) = record.notices.troubles()
        notice = Notice(trouble=trouble, at_ms=now.wall_ms)
        stays = f"the last good revision stays, main@sha1:{good}: main@sha1:{empty} holds no spec below jobs.d"
        assert headline([notice]) == "reconcile: newest specs not read"
        assert line(notice) == f"InvalidSpec: the newest specs: {stays}, which deletes nothing"
        assert line(replace(notice, recovered=True)).startswith(
            "Recovered: the newest specs: they are read again (since "
        )
        notifier.see(Plan(), tree.revision(), now)
        assert record.notices.troubles() == []


def test_an_invalid_spec_of_a_commit_is_told_with_whose_it_is(tmp_path: Path, shop: Shop) -> None:
    repo = WorkTree(tmp_path / "repo")
    repo.write({"good.yaml": STREAM})
    repo.commit()
    repo.write({"bad.yaml": "kind: ["})
    bad = repo.commit(author="Bob")
    repo.write({"good.yaml": f"{STREAM}# later"})
    repo.commit()
    shop.world.settings["notify"] = (
        NotifyRule(name="ops", channel="webhook", settings={"url": "http://127.0.0.1:9/in"}),
    )
    with Record.writing(shop.world.state) as record:
        source = LocalSource(repo.root, "git:main")
        tree = CommitTree(source, None, mark="", identity="x", version="1", catalogue=catalogue)
        notifier = Notifier(replace(shop.world._hands(record), origin=tree))
        problems = [problem for seen in tree.look(0).changed for problem in seen.parsed.problems]
        notifier.see(Plan(errors=tuple(problems)), tree.revision(), Clock().now())
        (trouble,) = record.notices.troubles()
        assert (trouble.file, trouble.person, trouble.commit) == ("bad.yaml", "Bob", bad)
