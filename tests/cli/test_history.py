"""`reconcile history` and `reconcile audit`: every action and every act of a person, and whether the log is sound."""

from __future__ import annotations

import getpass
import json
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import STREAM, World, job_text


def entries(world: World, *arguments: str) -> list[dict[str, Any]]:
    result = world.run("history", *arguments, "-o", "json")
    assert (result.code, result.err) == (0, "")
    return [json.loads(line) for line in result.out.splitlines()]


@pytest.fixture
def repository(world: World) -> World:
    """The world as a git repository of Ada's; `commit` is in its hands."""
    _git(world.folder, "init", "-q", "-b", "main")
    return world


def _git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=Ada Lovelace", "-c", "user.email=ada@example.org")
    done = subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(world: World) -> str:
    _git(world.folder, "add", "-A")
    _git(world.folder, "commit", "-q", "-m", "a change")
    return _git(world.folder, "rev-parse", "HEAD")


def test_every_action_stands_with_its_commit_author_plan_and_outcome(repository: World) -> None:
    repository.write("orders.yaml", STREAM + job_text("import-orders"))
    first = commit(repository)
    planned = json.loads(repository.run("plan", "-o", "json").out)["actionsDigest"]
    repository.run()
    repository.write("orders.yaml", STREAM + job_text("import-orders", extra="  suspend: true\n"))
    second = commit(repository)
    repository.run()
    created, paused = entries(repository, "import-orders")
    assert (created["action"], created["actor"], created["outcome"]) == ("create", "controller", "done")
    assert (created["commit"], created["author"], created["revision"]) == (first, "Ada Lovelace", f"main@sha1:{first}")
    assert created["plan"] == planned
    assert (created["kind"], created["path"], created["life"], created["generation"]) == (
        "Job",
        "orders.yaml",
        "live",
        1,
    )
    assert (paused["action"], paused["commit"], paused["generation"]) == ("pause", second, 2)
    assert (created["seq"], paused["seq"], paused["prev"] == created["hash"]) == (2, 3, True)


def test_history_reads_at_80_columns_and_the_newest_is_last(repository: World) -> None:
    repository.write("orders.yaml", STREAM + job_text("import-orders"))
    found = commit(repository)
    repository.run()
    result = repository.run("history")
    lines = result.out.splitlines()
    assert lines[0].endswith("Z  create   stream/orders")
    assert lines[3].endswith("Z  create   import-orders")
    assert lines[4].startswith(f"    declared in orders.yaml; by Ada Lovelace; commit {found[:12]};")
    assert lines[5].endswith("generation 1; entry 2")
    assert max(map(len, lines)) <= 80


def test_in_a_shallow_clone_nobody_is_said_to_have_made_what_is_older(
    repository: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.write("orders.yaml", STREAM + job_text("import-orders"))
    commit(repository)
    shallow = tmp_path / "shallow"
    source = f"file://{repository.folder}"
    subprocess.run(["git", "clone", "-q", "--depth", "1", source, str(shallow)], check=True, capture_output=True)
    monkeypatch.chdir(shallow)
    done = repository.run()
    assert done.code == 0
    young = "git was at work while the tree was read; looking again\n"  # the clone is that, if this is quick enough
    assert done.err.removeprefix(young) == (
        "this clone is shallow, so who changed older specs is not known; `git fetch --unshallow` brings the whole history\n"
    )
    assert {(one["author"], one["commit"]) for one in entries(repository)} == {(None, None)}


def test_a_deleted_job_and_one_that_was_renamed_keep_their_history(world: World) -> None:
    world.write("orders.yaml", STREAM + job_text("one") + job_text("two"))
    world.run()
    renamed = job_text("second").replace("{name: second}", "{name: second, renamedFrom: two}")
    world.write("orders.yaml", STREAM + renamed)
    world.run()
    assert [one["action"] for one in entries(world, "one")] == ["create", "delete"]
    assert entries(world, "one")[-1]["life"] == "orphaned", "for seven days it can be undeleted"
    moves = entries(world, "second")
    assert [(one["action"], one["name"], one["renamedFrom"]) for one in moves][:2] == [
        ("create", "two", None),
        ("move", "second", "two"),
    ]


def test_since_leaves_out_what_was_done_before(world: World) -> None:
    world.write("orders.yaml", STREAM)
    world.run()
    assert entries(world, "--since", "1h") != []
    assert entries(world, "--since", "2099-01-01") == []
    assert world.run("history", "orders", "--since", "2099-01-01").out == ""


def test_a_name_that_nothing_was_done_to_is_a_usage_error_with_the_closest_one(world: World) -> None:
    world.write("orders.yaml", STREAM)
    world.run()
    result = world.run("history", "order")
    assert (result.code, result.err) == (2, "Error: nothing was ever done to 'order'; did you mean 'orders'?\n")


def test_acts_of_persons_are_in_it_refused_ones_too_and_nobody_who_is_forgotten(world: World) -> None:
    people = STREAM.replace("spec: {}", "spec:\n  identity: [{key: email, from: email}]")
    world.write("orders.yaml", people + job_text("import-orders"))
    world.run()
    assert world.run("rejects", "import-orders", "--retry").code == 5
    world.run("approve", "import-orders", "0a1b")
    world.run("rebuild")
    assert world.run("forget", "email=ada@example.org", "--yes").code == 0
    acts = [one for one in entries(world) if one["actor"] == getpass.getuser()]
    assert [(one["action"], one["name"], one["reason"] or "", one["outcome"]) for one in acts][:3] == [
        ("retry", "import-orders", "what refused", "refused"),
        ("approve", "import-orders", "digest 0a1b", "refused"),
        ("rebuild", None, "", "done"),
    ]
    assert acts[3]["action"] == "forget"
    assert acts[3]["reason"].startswith("request 1, hash ")
    assert len(acts[3]["reason"]) == len("request 1, hash ") + 64
    assert "ada@example.org" not in world.run("history", "-o", "json").out
    assert b"ada@example.org" not in (world.state / "audit.log").read_bytes()
    assert "  refused\n" in world.run("history").out


def test_a_sound_log_says_what_was_checked(world: World) -> None:
    world.write("orders.yaml", STREAM + job_text("import-orders"))
    world.run()
    head = world.run("audit", "head").out.strip()
    result = world.run("audit", "verify")
    assert (result.code, result.out) == (0, f"The audit log is sound: 2 entries, chained to {head[:12]}.\n")
    world.run("pause", "import-orders")
    world.run()
    later = world.run("audit", "verify", "--head", head)
    assert later.out.endswith("; it holds the entry whose hash was noted elsewhere.\n")
    assert later.out.startswith("The audit log is sound: 3 entries, chained to ")
    assert json.loads(world.run("audit", "head", "-o", "json").out)["entries"] == 3


def test_a_broken_log_is_exit_code_1_and_names_the_first_entry(world: World) -> None:
    world.write("orders.yaml", STREAM + job_text("import-orders"))
    world.run()
    connection = sqlite3.connect(world.state / "record.db")
    connection.execute("DROP TRIGGER audit_is_not_changed")
    connection.execute("UPDATE audit SET author = 'Eve' WHERE seq = 2")
    connection.commit()
    connection.close()
    result = world.run("audit", "verify")
    assert (result.code, result.out) == (1, "")
    assert result.err == "Error: the audit log is broken: entry 2 has been changed since it was written\n"
    body = json.loads(world.run("audit", "verify", "-o", "json").out)
    assert (body["ok"], body["brokenAt"], body["entries"]) == (False, 2, 1)


def test_a_noted_hash_must_be_one(world: World) -> None:
    result = world.run("audit", "verify", "--head", "abc")
    assert (result.code, result.err) == (2, "Error: --head: expected 64 hexadecimal digits, found 'abc'\n")


def test_before_the_first_pass_there_is_an_empty_log(world: World) -> None:
    assert world.run("history").out == ""
    assert world.run("audit", "verify").out == "The audit log is sound: it has no entry yet.\n"
    head = world.run("audit", "head")
    assert (head.code, head.err) == (2, "Error: the audit log of jobs.d has no entry yet; run `reconcile` first\n")


def test_a_log_whose_record_is_gone_is_broken(world: World) -> None:
    world.write("orders.yaml", STREAM)
    world.run()
    for path in world.state.glob("record.db*"):
        path.unlink()
    result = world.run("audit", "verify")
    assert result.code == 1
    assert "there is an entry that the record does not have: its last entries were cut off" in result.err


def test_what_a_saved_plan_did_stands_with_the_person_who_applied_it_and_the_plans_digest(world: World) -> None:
    world.write("orders.yaml", STREAM)
    world.run("plan", "--out", "plan.json")
    digest = json.loads((world.folder / "plan.json").read_text())["digest"]
    assert world.run("apply", "plan.json").code == 0
    applied, created = entries(world)
    assert (applied["action"], applied["actor"], applied["plan"]) == ("apply", getpass.getuser(), digest)
    assert (created["action"], created["actor"], created["plan"]) == ("create", "controller", digest)
