"""`--source git:REF`: what each command says where the desired state is a commit, and that it leaves the work tree alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import STREAM, World, job_text

RELATIVE = (
    "jobs.d/orders.yaml:13:18: error: spec.config.path: 'data/*.csv' is relative, and specs that are read from a commit have no "
    "folder on disk; name the folder that such paths start from with --data-root DIR (dataRoot in reconciler.yaml), or write "
    "an absolute path\n"
)


def git(world: World, *arguments: str, stdin: str = "") -> str:
    who = {f"GIT_{role}_{key}": "ann" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
    done = subprocess.run(
        ["git", *arguments], cwd=world.folder, env={**os.environ, **who, "GIT_CONFIG_GLOBAL": "/dev/null"}, input=stdin,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def commit(world: World, message: str = "change") -> str:
    git(world, "add", "-A")
    git(world, "commit", "-q", "-m", message)
    return git(world, "rev-parse", "HEAD")


@pytest.fixture
def committed(world: World) -> World:
    """A stream and a job that are committed to main; the work tree is torn and stands on another branch."""
    git(world, "init", "-q", "-b", "main")
    (world.folder / "landing" / "data").mkdir(parents=True)
    (world.folder / ".gitignore").write_text("landing\n")
    world.write("orders.yaml", STREAM + job_text("import-orders"))
    commit(world)
    git(world, "checkout", "-q", "-b", "other")
    world.write("orders.yaml", "torn: [")
    world.write("ghost.yaml", job_text("ghost"))
    return world


MAIN = ("--source", "git:main", "--data-root", "landing")


def test_validate_checks_the_commit_and_not_the_work_tree(committed: World) -> None:
    result = committed.run("validate", *MAIN)
    assert (result.code, result.out, result.err) == (0, "1 file checked; no problems.\n", "")
    assert committed.run("validate").code == 1
    shutil.rmtree(committed.root)
    assert committed.run("validate", *MAIN).code == 0, "the root need not be on disk"
    assert not committed.state.exists()


def test_a_relative_path_without_a_data_root_is_an_error_at_its_place_everywhere(committed: World) -> None:
    result = committed.run("validate", "--source", "git:main")
    assert (result.code, result.out) == (1, f"{RELATIVE}1 file checked; 1 invalid, 1 problem.\n")
    result = committed.run("plan", "--source", "git:main")
    assert (result.code, result.err) == (1, RELATIVE)
    assert "create Stream orders" in result.out
    assert "create Job" not in result.out
    result = committed.run("--source", "git:main")
    assert (result.code, result.err) == (1, RELATIVE)
    assert committed.run("plan", *MAIN).code == 0, "and none once there is one"
    assert committed.run(*MAIN).code == 0
    assert committed.run("plan", "--source", "git:main").err == RELATIVE


def test_an_absolute_path_and_a_relative_secret(committed: World) -> None:
    git(committed, "checkout", "-q", "-f", "main")
    auth = (
        "---\napiVersion: reconciler/v1\nkind: Authorization\nmetadata: {name: api}\n"
        "spec:\n  provider: http\n  method: bearer\n  credentials: {token: {file: secrets/token}}\n"
    )
    text = job_text("import-orders").replace("data/*.csv", f"{committed.folder}/landing/data/*.csv")
    committed.write("orders.yaml", STREAM + text + auth)
    commit(committed)
    result = committed.run("validate", "--source", "git:main", "jobs.d/orders.yaml")
    assert result.out.startswith(
        "jobs.d/orders.yaml:21:31: error: spec.credentials.token.file: 'secrets/token' is relative, and specs"
    )
    assert result.out.count("error:") == 1


def test_validate_shows_what_was_asked_for_of_the_commit(committed: World) -> None:
    git(committed, "checkout", "-q", "-f", "main")
    (committed.root / "ghost.yaml").unlink()
    committed.write("deep/bad.yaml", job_text("bad", schedule="{evry: 1h}"))
    revision = commit(committed)
    assert committed.run("validate", *MAIN, "jobs.d/orders.yaml").out == "1 file checked; no problems.\n"
    assert committed.run("validate", *MAIN, "jobs.d/deep").code == 1
    assert committed.run("validate", *MAIN, "jobs.d").out.endswith("2 files checked; 1 invalid, 1 problem.\n")
    result = committed.run("validate", *MAIN, "jobs.d/none.yaml")
    assert (result.code, result.err) == (
        2,
        f"Error: there is no spec at 'jobs.d/none.yaml' in main@sha1:{revision}, below the root jobs.d\n",
    )


def test_a_plan_names_the_commit_that_was_read_and_touches_nothing(committed: World) -> None:
    revision = git(committed, "rev-parse", "main")
    before = sorted(path for path in committed.folder.rglob("*") if ".git/" not in str(path))
    found = json.loads(committed.run("plan", *MAIN, "-o", "json").out)
    assert found["revision"] == f"main@sha1:{revision}"
    assert [(one["verb"], one["kind"], one["name"]) for one in found["actions"]] == [
        ("create", "Stream", "orders"), ("create", "Job", "import-orders"),
    ]  # fmt: skip
    assert sorted(path for path in committed.folder.rglob("*") if ".git/" not in str(path)) == before


def test_a_pass_writes_statuses_into_the_state_directory_and_paths_start_from_the_data_root(committed: World) -> None:
    git(committed, "checkout", "-q", "-f", "main")
    (committed.root / "ghost.yaml").unlink()
    committed.write("team/more.yaml", job_text("more", schedule="{once: true}"))
    revision = commit(committed)
    git(committed, "checkout", "-q", "other")
    committed.write("orders.yaml", "torn: [")
    (committed.folder / "landing/data/1.csv").write_text("id,amount\n1,10\n2,20\n")
    dirty = git(committed, "status", "--porcelain")
    result = committed.run(*MAIN)
    assert result.code == 0, result.err
    assert "2 rows in 1 run" in result.out
    assert git(committed, "status", "--porcelain") == dirty
    status = (committed.state / "status/team/more.status.yaml").read_text()
    assert f"revision: main@sha1:{revision}\n" in status
    assert "createdBy: ann\n" in status
    assert committed.run("plan", *MAIN).out == "No changes. The record is what the specs declare.\n"


def test_what_the_commit_lacks_is_deleted_at_once_and_a_commit_without_specs_deletes_nothing(committed: World) -> None:
    git(committed, "checkout", "-q", "-f", "main")
    (committed.root / "ghost.yaml").unlink()
    committed.write("second.yaml", job_text("second"))
    commit(committed)
    assert committed.run(*MAIN).code == 0
    (committed.root / "second.yaml").unlink()
    good = commit(committed)
    result = committed.run(*MAIN)
    assert "second  Deleted  no file declares it" in result.out
    git(committed, "rm", "-q", "-r", "jobs.d")
    (committed.folder / "README").write_text("gone\n")
    bad = commit(committed)
    said = (
        f"jobs.d:1:1: error: the last good revision stays, main@sha1:{good}: main@sha1:{bad} holds no spec below jobs.d, which "
        "deletes nothing\n"
    )
    for arguments in (MAIN, ("plan", *MAIN)):
        result = committed.run(*arguments)
        assert (result.code, result.err) == (1, said)
        assert "Deleted" not in result.out
        assert "delete" not in result.out.replace("0 to delete", "")


def test_a_branch_that_is_gone_keeps_the_last_good_revision_with_exit_code_1(committed: World) -> None:
    good = git(committed, "rev-parse", "main")
    assert committed.run(*MAIN).code == 0
    git(committed, "branch", "-q", "-D", "main")
    result = committed.run(*MAIN)
    assert (result.code, result.err) == (
        1,
        f"jobs.d:1:1: error: the last good revision stays, main@sha1:{good}: there is no branch, tag or remote branch 'main' in "
        f"{committed.folder}\n",
    )
    assert result.out == "1 job: 1 sleeping; nothing to run\n"
    git(committed, "branch", "-q", "main", good)
    assert committed.run(*MAIN).code == 0


def test_a_branch_that_is_gone_holds_back_no_run_of_a_job_whose_deletion_waits(committed: World) -> None:
    git(committed, "checkout", "-q", "-f", "main")
    (committed.root / "ghost.yaml").unlink()
    committed.write("due.yaml", job_text("due", schedule="{every: 1ms}"))
    commit(committed)
    assert committed.run(*MAIN).code == 0
    (committed.root / "due.yaml").unlink()
    committed.write("broken.yaml", "torn: [")
    commit(committed, "one out, one broken")
    assert committed.run(*MAIN).code == 1

    def due() -> list[str]:
        return [one["name"] for one in json.loads(committed.run("plan", *MAIN, "-o", "json").out)["runs"]]

    assert due() == ["due"], "nothing is deleted while a file cannot be parsed"
    git(committed, "checkout", "-q", "other")
    git(committed, "branch", "-D", "main")
    assert due() == ["due"]


def test_a_branch_that_is_gone_is_told_once_and_the_policy_of_the_last_good_revision_holds(committed: World) -> None:
    git(committed, "checkout", "-q", "-f", "main")
    (committed.root / "ghost.yaml").unlink()
    (committed.folder / "policy.yaml").write_text("rules:\n  - {name: any, cel: 'true'}\n")
    commit(committed)
    assert committed.run(*MAIN).code == 0
    git(committed, "checkout", "-q", "other")
    git(committed, "branch", "-q", "-D", "main")
    for arguments in (("plan", *MAIN), MAIN, ("plan", *MAIN)):
        result = committed.run(*arguments)
        (line,) = result.err.splitlines()
        assert result.code == 1
        assert line.startswith("jobs.d:1:1: error: the last good revision stays, main@sha1:")
    assert result.out == "No changes, but the newest specs cannot be read.\n"
    assert committed.run("list", *MAIN).err == (
        "The newest specs cannot be read: run `reconcile plan --source git:main --data-root landing`\n"
    )


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("git:mian", "there is no branch, tag or remote branch 'mian' in {folder}; did you mean 'main'?"),
        ("git:--all", "the source 'git:--all' looks like an option; expected a branch, a tag or a whole hash"),
        ("git:", "the source 'git:' names no branch; write git:REF, for example git:main"),
        ("main", "the source 'main' is unknown; expected git:REF, for example git:main"),
    ],
)
def test_a_source_that_leads_nowhere_is_wrong_usage(committed: World, source: str, said: str) -> None:
    committed.run(*MAIN)
    for command in ((), ("plan",), ("validate",), ("--dry-run",)):
        result = committed.run(*command, "--source", source)
        assert (result.code, result.err) == (2, f"Error: {said.format(folder=committed.folder)}\n")


def test_without_a_root_on_disk_the_record_needs_a_place(committed: World) -> None:
    shutil.rmtree(committed.root)
    result = committed.run("plan", *MAIN)
    assert (result.code, result.err) == (
        2,
        f"Error: the root folder 'jobs.d' is not on disk (seen from {committed.folder}); name a folder for the record with "
        "--state DIR\n",
    )
    result = committed.run(*MAIN, "--state", "state")
    assert (result.code, (committed.folder / "state/status/import-orders.status.yaml").exists()) == (0, True)
    assert not committed.root.exists()


def test_pause_prints_the_patch_to_commit_and_edits_nothing(committed: World) -> None:
    committed.run(*MAIN)
    result = committed.run("pause", "import-orders", *MAIN)
    assert (result.code, result.err) == (0, "import-orders: it is paused once this is committed to main\n")
    assert result.out == (
        "--- a/jobs.d/orders.yaml\n"
        "+++ b/jobs.d/orders.yaml\n"
        "@@ -10,4 +10,5 @@\n"
        "   provider: files\n"
        "   jobType: import-csv\n"
        '   schedule: {cron: "0 3 1 1 *"}\n'
        "+  suspend: true\n"
        '   config: {path: "data/*.csv", stream: orders}\n'
    )
    assert (committed.root / "orders.yaml").read_text() == "torn: ["
    git(committed, "checkout", "-q", "-f", "main")
    git(committed, "apply", "-", stdin=result.out)
    (committed.root / "ghost.yaml").unlink()
    commit(committed)
    assert "import-orders  Paused" in committed.run(*MAIN).out
    result = committed.run("pause", "import-orders", *MAIN)
    assert (result.out, result.err) == ("", "import-orders is paused already: nothing to edit\n")
    result = committed.run("resume", "import-orders", *MAIN)
    assert "-  suspend: true\n+  suspend: false\n" in result.out


def test_pause_of_a_commit_that_is_named_by_its_hash_says_what_else_it_takes(committed: World) -> None:
    source = f"git:{git(committed, 'rev-parse', 'main')}"
    result = committed.run("pause", "import-orders", "--source", source, "--data-root", "landing")
    assert (result.code, result.err) == (
        0, "import-orders: it is paused once this is committed and --source names that commit\n",
    )  # fmt: skip


def test_a_patch_holds_the_file_as_it_is_whatever_its_line_ends(committed: World) -> None:
    git(committed, "checkout", "-q", "-f", "main")
    (committed.root / "ghost.yaml").unlink()
    text = (STREAM + job_text("import-orders", extra="  # a\ttab\n")).replace("\n", "\r\n").rstrip("\r\n")
    (committed.root / "orders.yaml").write_bytes(text.encode())
    git(committed, "config", "core.autocrlf", "false")
    commit(committed)
    patch = committed.run("rerun", "import-orders", *MAIN).out
    assert patch.count("\\ No newline at end of file") == 1
    git(committed, "apply", "--check", "-", stdin=patch)


def test_the_operator_s_file_says_it_for_every_command(committed: World) -> None:
    (committed.folder / "reconciler.yaml").write_text("source: git:main\ndataRoot: landing\n")
    assert committed.run("validate").out == "2 files checked; no problems.\n"
    assert committed.run().code == 0
    assert committed.run("plan").out.startswith("No changes")
    result = committed.run("why", "import-orders")
    assert (result.code, "Its schedule's next time has not come." in result.out) == (0, True)
    assert committed.run("rerun", "import-orders").out.startswith("--- a/jobs.d/orders.yaml\n")
    (committed.folder / "reconciler.yaml").write_text("source: git:main\ndataRoot: nowhere\n")
    result = committed.run("plan")
    assert (result.code, result.err) == (
        2,
        f"Error: dataRoot of the settings file names '{committed.folder}/nowhere', which is not a folder\n",
    )


def test_from_files_to_a_commit_and_back_nothing_is_lost_or_made_twice(committed: World) -> None:
    git(committed, "checkout", "-q", "-f", "main")
    (committed.root / "ghost.yaml").unlink()
    assert committed.run().code == 0
    committed.write("extra.yaml", job_text("extra"))
    assert "extra  Created" in committed.run().out
    commit(committed)
    assert committed.run("plan", *MAIN).out.startswith("No changes")
    assert committed.run(*MAIN).code == 0
    git(committed, "rm", "-q", "jobs.d/extra.yaml")
    commit(committed)
    assert "extra  Deleted" in committed.run(*MAIN).out
    committed.write("extra.yaml", job_text("extra"))
    assert "extra  Created" in committed.run().out
    assert committed.run("plan").out.startswith("No changes")


def test_a_policy_is_that_of_the_commit(committed: World) -> None:
    policy = 'rules:\n  - {name: no-csv, match: {jobType: import-csv}, cel: "false", message: no CSV here}\n'
    (committed.folder / "policy.yaml").write_text(policy)
    assert committed.run("validate", *MAIN).code == 0, "on disk it says nothing"
    git(committed, "checkout", "-q", "-f", "main")
    (committed.root / "ghost.yaml").unlink()
    commit(committed)
    os.unlink(committed.folder / "policy.yaml")
    result = committed.run("validate", *MAIN)
    assert (result.code, "policy no-csv: no CSV here" in result.out) == (1, True), result.out
    result = committed.run("plan", *MAIN)
    assert (result.code, "no CSV here" in result.err) == (1, True)


def test_the_next_step_is_about_the_commit_too(committed: World) -> None:
    git(committed, "checkout", "-q", "-f", "main")
    (committed.root / "ghost.yaml").write_text("kind: [")
    commit(committed)
    assert committed.run(*MAIN).code == 1
    said = f"1 file has an invalid spec: run `reconcile plan {' '.join(MAIN)}`\n"
    assert committed.run("list", *MAIN).err == said
    (committed.root / "ghost.yaml").unlink()
    (committed.root / "orders.yaml").write_text(STREAM)
    commit(committed)
    assert committed.run(*MAIN).code == 5
    notes = json.loads(committed.run("why", "import-orders", "-o", "json", *MAIN).out)["notes"]
    assert f" {' '.join(MAIN)}` approves exactly these." in notes[-1]
    git(committed, "checkout", "-q", "--orphan", "empty")
    git(committed, "rm", "-q", "-rf", "jobs.d")
    (committed.folder / "README").write_text("gone\n")
    commit(committed)
    git(committed, "branch", "-qM", "main")
    waiting = json.loads(committed.run("plan", "-o", "json", *MAIN).out)["waiting"]
    assert "nothing is deleted now: the last good revision stays, main@sha1:" in waiting[0]["reason"]


@pytest.mark.parametrize("kind", ["link", "large"])
def test_a_policy_of_the_commit_that_cannot_be_read_is_no_missing_one(committed: World, kind: str) -> None:
    git(committed, "checkout", "-q", "-f", "main")
    (committed.root / "ghost.yaml").unlink()
    policy = committed.folder / "policy.yaml"
    if kind == "link":
        (committed.folder / "rules.yaml").write_text("rules: []\n")
        policy.symlink_to("rules.yaml")
    else:
        policy.write_text("#" * ((1 << 20) + 1))
    says = {"link": "is a link; of a commit, only the files themselves are read", "large": "is larger than 1 MiB"}[kind]
    commit(committed)
    os.unlink(policy)
    for command in (["validate", *MAIN], ["plan", *MAIN], ["plan", "--base", "main~1", "--head", "main"]):
        result = committed.run(*command)
        assert (result.code, f"policy.yaml:1:1: error: {says}" in result.out + result.err) == (1, True), command


def test_the_root_may_be_a_folder_that_only_the_commit_has(committed: World, tmp_path: Path) -> None:
    result = committed.run("validate", "--root", str(tmp_path / "jobs.d/../none"), "--source", "git:main")
    assert result.code == 1
    assert "holds no spec below none" in result.out


def test_why_and_undelete_look_into_the_commit_and_not_at_the_work_tree(committed: World) -> None:
    git(committed, "checkout", "-q", "-f", "main")
    (committed.root / "ghost.yaml").unlink()
    committed.write("second.yaml", job_text("second"))
    commit(committed)
    assert committed.run(*MAIN).code == 0
    (committed.root / "second.yaml").unlink()
    gone = commit(committed)
    assert "second  Deleted" in committed.run(*MAIN).out
    committed.write("second.yaml", "only on disk")
    assert f"git checkout {gone[:12]}^ -- jobs.d/second.yaml" in committed.run("undelete", "second", *MAIN).out
    committed.write("broken.yaml", "kind: Job  # new-one\nmetadata: [")
    (committed.root / "second.yaml").unlink()
    commit(committed)
    (committed.root / "broken.yaml").write_text("nothing")
    assert "broken.yaml" in committed.run("why", "new-one", *MAIN).out


def test_a_damaged_repository_is_no_valid_one(committed: World) -> None:
    blob = git(committed, "rev-parse", "main:jobs.d/orders.yaml")
    (committed.folder / ".git/objects" / blob[:2] / blob[2:]).unlink()
    result = committed.run("validate", *MAIN)
    assert (result.code, "The repository is damaged" in result.out) == (1, True)
