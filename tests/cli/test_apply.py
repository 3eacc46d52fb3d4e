"""`reconcile plan --out` and `reconcile apply`: exactly what was saved, once, or a refusal that names what has moved."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.cli.plan_file import write_plan
from reconciler.cli.terminal import Terminal
from reconciler.core.canonical_json import canonical_json
from reconciler.core.planned import plan_digest
from reconciler.core.state import JobState, Status
from reconciler.errors import UsageError
from reconciler.record.store import Record
from tests.cli.conftest import CREATED_MS, STREAM, Result, World, job_text

ONCE = "{once: true}"


@pytest.fixture
def applied(world: World) -> World:
    """A stream and two jobs that a pass has made true."""
    (world.root / "data").mkdir()
    (world.root / "data" / "1.csv").write_text("id,amount\n1,10\n")
    world.write("orders.yaml", STREAM + job_text("import-orders") + job_text("nightly"))
    assert world.run().code == 0
    return world


def save(world: World, *options: str, name: str = "plan.json") -> dict[str, object]:
    young = "git was at work while the tree was read; looking again\n"  # a commit is that, if this is quick enough
    assert world.run("plan", "--out", name, *options).err.removeprefix(young) == ""
    found: dict[str, object] = json.loads((world.folder / name).read_text())
    return found


def refused(result: Result, *words: str) -> None:
    assert (result.code, result.out) == (5, "")
    start = "Error: plan.json is stale, and nothing was done: "
    end = ". Make a new one with `reconcile plan --out plan.json`\n"
    assert result.err == start + "; ".join(words) + end


# --- saving -------------------------------------------------------------------------------------------------------------


def test_a_saved_plan_is_canonical_json_and_its_digest_covers_all_of_it(applied: World) -> None:
    applied.write("more.yaml", job_text("third", schedule=ONCE))
    body = save(applied)
    assert (applied.folder / "plan.json").read_text() == canonical_json(body) + "\n"
    assert body["digest"] == plan_digest(body)
    assert all(action["reason"] for action in body["actions"])  # type: ignore[attr-defined]
    assert (applied.folder / "plan.json").stat().st_mode & 0o777 == 0o644


def test_two_plans_of_the_same_state_are_equal_byte_for_byte(applied: World) -> None:
    applied.write("more.yaml", job_text("third", schedule=ONCE))
    first = save(applied), (applied.folder / "plan.json").read_bytes()
    second = save(applied), (applied.folder / "plan.json").read_bytes()
    assert first == second
    assert json.loads(applied.run("plan", "-o", "json").out) == first[0]


def test_out_to_a_dash_prints_the_plan_and_nothing_else(applied: World) -> None:
    applied.write("more.yaml", job_text("third", schedule=ONCE))
    save(applied)
    saved = (applied.folder / "plan.json").read_text()
    assert applied.run("plan", "--out", "-").out == saved
    assert applied.run("plan", "--out", "-", "-o", "json").out == saved
    assert applied.run("--dry-run", "--out", "-").out == saved


def test_a_plan_that_could_not_be_applied_is_not_saved(applied: World) -> None:
    document = {"actions": ["x" * ((64 << 20) - 16)]}
    with pytest.raises(UsageError) as found:
        write_plan(Terminal(out=None, err=None), applied.folder / "plan.json", document)
    assert str(found.value) == (
        "--out: the plan is too large to be saved (64 MiB, and a plan that is applied may have 64); use -o json to look at it"
    )
    assert not (applied.folder / "plan.json").exists()


def test_out_replaces_no_pipe_and_leaves_no_scrap(applied: World) -> None:
    os.mkfifo("pipe")
    result = applied.run("plan", "--out", "pipe")
    why = "it is no regular file (`--out -` writes to standard output)"
    assert (result.code, result.err) == (2, f"Error: --out: pipe cannot be written: {why}\n")
    assert sorted(os.listdir(".")) == ["jobs.d", "pipe"]


# --- applying -----------------------------------------------------------------------------------------------------------


def test_apply_does_what_the_plan_said_and_the_next_plan_is_empty(applied: World) -> None:
    applied.write("orders.yaml", STREAM + job_text("import-orders", extra="  timeout: 1h\n"))
    applied.write("more.yaml", job_text("third", schedule=ONCE))
    body = save(applied)
    assert [(one["verb"], one["name"]) for one in body["actions"]] == [  # type: ignore[attr-defined]
        ("update", "import-orders"),
        ("create", "third"),
        ("delete", "nightly"),
    ]
    result = applied.run("apply", "plan.json")
    assert (result.code, result.err) == (0, "")
    lines = [line.split(maxsplit=1)[1].split("  ")[:2] for line in result.out.splitlines()[:-1]]
    assert sorted(map(tuple, lines)) == [
        ("import-orders", "Updated"),
        ("nightly", "Deleted"),
        ("third", "Completed"),
        ("third", "Created"),
        ("third", "Started"),
        ("third", "Synced"),
    ]
    assert result.out.splitlines()[-1] == "2 jobs: 1 completed, 1 sleeping; 1 row in 1 run"
    assert applied.run("plan").out == "No changes. The record is what the specs declare.\n"
    assert (applied.root / "third.status.yaml").exists()


def test_a_plan_is_applied_once(applied: World) -> None:
    applied.write("more.yaml", job_text("third"))
    save(applied)
    assert applied.run("apply", "plan.json").code == 0
    again = applied.run("apply", "plan.json")
    assert again.code == 5
    assert again.err.startswith("Error: plan.json was applied already, on 20")
    assert again.err.endswith("; make a new one with `reconcile plan --out plan.json`\n")


def test_a_plan_of_runs_alone_is_applied_once_too(world: World) -> None:
    world.write("orders.yaml", STREAM + job_text("import-orders"))
    assert world.run().code == 0
    with Record.writing(world.state) as record, record.transaction():
        job = record.jobs.job("import-orders")
        assert job is not None
        record.jobs.save_state(job.id, JobState(tick_at_ms=CREATED_MS), wake_at_ms=CREATED_MS)
    body = save(world)
    assert (body["actions"], body["runs"]) == ([], [{"name": "import-orders", "reason": "schedule"}])
    assert world.run("apply", "plan.json").out.endswith("1 job: 1 sleeping; 0 rows in 1 run\n")
    assert "was applied already" in world.run("apply", "plan.json").err


def test_an_empty_plan_is_applied_and_does_nothing(applied: World) -> None:
    save(applied)
    result = applied.run("apply", "plan.json")
    assert (result.code, result.out) == (0, "2 jobs: 2 sleeping; nothing to run\n")


def test_a_run_that_has_become_due_since_is_not_started(applied: World) -> None:
    applied.write("more.yaml", job_text("third", schedule=ONCE))
    save(applied)
    with Record.writing(applied.state) as record, record.transaction():
        job = record.jobs.job("nightly")
        assert job is not None
        record.jobs.save_state(job.id, JobState(tick_at_ms=CREATED_MS), wake_at_ms=CREATED_MS)
    assert [line.split()[0] for line in applied.run("plan").out.splitlines() if "schedule" in line] == ["nightly"]
    result = applied.run("apply", "plan.json")
    assert (result.code, result.err) == (0, "")
    assert "nightly" not in result.out
    assert applied.run().out.endswith("3 jobs: 1 completed, 2 sleeping; 1 row in 1 run\n")


def test_a_job_that_an_applied_run_unblocks_waits_for_the_next_pass_if_the_plan_does_not_list_it(world: World) -> None:
    (world.root / "data").mkdir()
    world.write("orders.yaml", STREAM + job_text("first", schedule=ONCE))
    body = save(world)
    assert body["runs"] == [{"name": "first", "reason": "first run"}]
    dependent = job_text("second", schedule="{afterDependencies: true}", extra="  dependsOn: [first]\n")
    world.write("orders.yaml", STREAM + job_text("first", schedule=ONCE) + dependent)
    both = save(world)
    assert [run["name"] for run in both["runs"]] == ["first", "second"]  # type: ignore[attr-defined]
    assert world.run("apply", "plan.json").out.endswith("2 jobs: 1 completed, 1 sleeping; 0 rows in 2 runs\n")


def test_apply_takes_a_plan_from_standard_input(applied: World, monkeypatch: pytest.MonkeyPatch) -> None:
    applied.write("more.yaml", job_text("third"))
    save(applied)
    content = (applied.folder / "plan.json").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert applied.run("apply", "-").code == 0
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert applied.run("apply", "-").err.startswith("Error: standard input was applied already")


def test_the_root_may_be_named_in_another_way_than_when_the_plan_was_made(applied: World) -> None:
    applied.write("more.yaml", job_text("third"))
    save(applied)
    assert applied.run("apply", "plan.json", "--root", str(applied.root)).code == 0


def test_an_invalid_spec_beside_the_plan_is_reported_as_by_a_pass(applied: World) -> None:
    applied.write("more.yaml", job_text("third"))
    applied.write("bad.yaml", job_text("bad", schedule="{evry: 1h}"))
    assert applied.run("plan", "--out", "plan.json").code == 1
    result = applied.run("apply", "plan.json")
    assert result.code == 1
    assert "third  Created" in result.out
    assert result.err.startswith("jobs.d/bad.yaml:8:")


# --- what moves ---------------------------------------------------------------------------------------------------------


def edit(world: World) -> None:
    world.write("more.yaml", job_text("third", extra="  timeout: 1h\n"))


def take_back(world: World) -> None:
    (world.root / "more.yaml").unlink()


def edit_another(world: World) -> None:
    world.write("orders.yaml", STREAM + job_text("import-orders", extra="  timeout: 1h\n") + job_text("nightly"))


def delete_another(world: World) -> None:
    world.write("orders.yaml", STREAM + job_text("import-orders"))


def declare_another(world: World) -> None:
    world.write("fourth.yaml", job_text("fourth"))


def break_another(world: World) -> None:
    world.write("orders.yaml", STREAM + job_text("import-orders") + job_text("nightly", schedule="{evry: 1h}"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (edit, "jobs.d/more.yaml: Job third has changed"),
        (take_back, "jobs.d/more.yaml: Job third is declared no more"),
        (edit_another, "jobs.d/orders.yaml: Job import-orders has changed"),
        (delete_another, "jobs.d/orders.yaml: Job nightly is declared no more"),
        (declare_another, "jobs.d/fourth.yaml: Job fourth is declared now"),
        (break_another, "other specs have changed"),
    ],
)
def test_a_spec_that_has_changed_since_is_named_and_nothing_is_done(
    applied: World, change: Callable[[World], None], words: str
) -> None:
    applied.write("more.yaml", job_text("third"))
    save(applied)
    change(applied)
    before = applied.run("list", "-o", "json").out
    refused(applied.run("apply", "plan.json"), words)
    assert applied.run("list", "-o", "json").out == before


def test_a_comment_is_no_change(applied: World) -> None:
    path = applied.write("more.yaml", job_text("third"))
    save(applied)
    path.write_text("# a comment\n" + path.read_text())
    assert applied.run("apply", "plan.json").code == 0


def test_a_policy_that_has_changed_since_is_named(applied: World) -> None:
    applied.write("more.yaml", job_text("third"))
    save(applied)
    policy = "apiVersion: reconciler/v1\nkind: Policy\nrules: []\n"
    (applied.folder / "policy.yaml").write_text(policy)
    refused(applied.run("apply", "plan.json"), "the policy has changed")


def test_a_job_that_has_moved_on_since_is_named(applied: World) -> None:
    applied.write("orders.yaml", STREAM + job_text("import-orders", extra="  timeout: 1h\n") + job_text("nightly"))
    save(applied)
    with Record.writing(applied.state) as record, record.transaction():
        job = record.jobs.job("import-orders")
        assert job is not None
        record.jobs.save_state(job.id, JobState(status=Status.FAILED, reason=None), wake_at_ms=None)
    refused(applied.run("apply", "plan.json"), "Job import-orders is Failed, and was Sleeping")


def test_what_was_recorded_since_is_named(applied: World) -> None:
    save(applied)
    applied.write("more.yaml", job_text("third"))
    assert applied.run().code == 0
    refused(applied.run("apply", "plan.json"), "other specs have changed", "since then the record says: third Created")


def test_a_plan_of_another_record_is_refused(applied: World) -> None:
    save(applied)
    os.rename(applied.state, applied.folder / "elsewhere")
    result = applied.run("apply", "plan.json")
    assert (result.code, applied.state.exists()) == (5, False)
    assert result.err == (
        "Error: plan.json was made beside a record, and there is none in jobs.d/.reconciler; nothing was done\n"
    )
    assert applied.run().code == 0
    assert "it was made for another record (" in applied.run("apply", "plan.json").err


def test_a_plan_that_was_made_before_anything_was_recorded_does_not_fit_a_record(world: World) -> None:
    world.write("orders.yaml", STREAM)
    save(world)
    assert world.run().code == 0
    refused(world.run("apply", "plan.json"), "nothing was recorded when it was made, and something is now")


def test_a_commit_since_is_named_by_both_revisions(world: World) -> None:
    git(world.folder, "init", "-qb", "main")
    world.write("orders.yaml", STREAM)
    commit(world.folder, "one")
    body = save(world)
    (world.folder / "README").write_text("not a spec")
    commit(world.folder, "two")
    after = json.loads(world.run("plan", "-o", "json").out)["revision"]
    refused(world.run("apply", "plan.json"), f"the revision moved from {body['revision']} to {after}")


def test_a_file_that_cannot_be_read_holds_a_planned_deletion_back(applied: World) -> None:
    delete_another(applied)
    save(applied)
    os.symlink("/nowhere", applied.root / "broken.yaml")
    refused(applied.run("apply", "plan.json"), "Job nightly: nothing is deleted while broken.yaml cannot be read")


def test_an_edited_plan_is_refused(applied: World) -> None:
    applied.write("more.yaml", job_text("third"))
    save(applied)
    path = applied.folder / "plan.json"
    path.write_text(path.read_text().replace('"third"', '"fourth"'))
    result = applied.run("apply", "plan.json")
    assert result.code == 5
    assert result.err.startswith("Error: plan.json has been edited since it was made: it says that its digest is ")


def test_an_action_that_somebody_has_made_up_is_not_done(applied: World) -> None:
    body = save(applied)
    body["actions"] = [
        {
            "verb": "delete",
            "kind": "Job",
            "name": "nightly",
            "path": "x",
            "reason": "y",
            "changes": [],
            "resetsCursor": False,
        }
    ]
    (applied.folder / "plan.json").write_text(json.dumps({**body, "digest": plan_digest(body)}))
    refused(applied.run("apply", "plan.json"), "delete Job nightly would not be done so now")
    assert "nightly" in applied.run("list", "-o", "name").out


# --- files that are none ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "cannot be read: No such file or directory"),
        (lambda path: path.symlink_to("other.json"), "is a symbolic link; name the file itself"),
        (lambda path: path.mkdir(), "is no regular file (`-` reads standard input)"),
        (lambda path: os.mkfifo(path), "is no regular file (`-` reads standard input)"),
        (lambda path: (path.touch(), os.truncate(path, (64 << 20) + 1)), "is larger than a plan may be (64 MiB)"),
    ],
)
def test_what_is_no_file_of_a_plan_is_a_usage_error(world: World, make: Callable[[Path], object], words: str) -> None:
    make(world.folder / "plan.json")
    result = world.run("apply", "plan.json")
    assert (result.code, result.err) == (2, f"Error: plan.json {words}\n")
    assert not world.state.exists()


def test_a_second_writer_is_refused_and_told_why_no_plan_is_needed_there(applied: World) -> None:
    applied.write("more.yaml", job_text("third"))
    save(applied)
    with Record.writing(applied.state):
        result = applied.run("apply", "plan.json")
    assert (result.code, result.out) == (5, "")
    assert result.err == (
        f"Error: another reconcile (pid {os.getpid()}) is at work on jobs.d/.reconciler; stop it first, or use --state "
        "(a controller at work makes the specs true by itself, so a saved plan is applied where none is)\n"
    )


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def commit(folder: Path, message: str) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", message)
