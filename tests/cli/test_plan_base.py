"""`reconcile plan --base`: the pull request's view, offline, in a fresh clone, and without a record."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from reconciler.cli.merge import Reader
from reconciler.providers import catalogue
from reconciler.repo.git import Repository
from reconciler.repo.policy_file import PolicySeen
from reconciler.repo.revisions import WHOLE
from tests.cli.conftest import STREAM, World, job_text

NOTHING = "No changes. The merge would do nothing.\n"


@pytest.fixture
def repository(world: World) -> World:
    """A repository whose `main` declares a stream and two jobs, with `feature` checked out at the same commit."""
    git(world.folder, "init", "-qb", "main")
    world.write("orders.yaml", STREAM + job_text("import-orders") + job_text("nightly"))
    commit(world.folder, "one")
    git(world.folder, "switch", "-qc", "feature")
    return world


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *identity, "-c", "protocol.file.allow=always", *arguments]
    return subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout.strip()


def commit(folder: Path, message: str) -> str:
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", message)
    return git(folder, "rev-parse", "HEAD")


def body(world: World, *options: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(world.run("plan", "-o", "json", *options).out)
    return found


def acts(found: dict[str, object]) -> list[tuple[str, str]]:
    return [(one["verb"], one["name"]) for one in found["actions"]]  # type: ignore[attr-defined]


# --- what is compared ---------------------------------------------------------------------------------------------------


def test_the_work_tree_is_compared_with_the_commit_from_which_it_parted(repository: World) -> None:
    one = git(repository.folder, "rev-parse", "HEAD")[:12]
    repository.write("orders.yaml", STREAM + job_text("import-orders", extra="  timeout: 1h\n"))
    repository.write("more.yaml", job_text("third"))
    result = repository.run("plan", "--base", "main")
    assert result.out == (
        f"What a merge into main would do: {one}, where both parted, against the\nwork tree, at {one}.\n"
        "\n"
        "  ~ update Job import-orders  spec.timeout changed\n"
        '      spec.timeout: (none) → "1h"\n'
        "  + create Job third  declared in more.yaml\n"
        "  - delete Job nightly  no file declares it\n"
        "\n"
        "Plan: 1 to create, 1 to update, 1 to delete.\n"
    )
    assert (result.code, result.err) == (0, "")


def test_it_writes_nothing_and_needs_no_state(repository: World) -> None:
    repository.write("more.yaml", job_text("third"))
    before = snapshot(repository.folder)
    assert acts(body(repository, "--base", "main")) == [("create", "third")]
    assert repository.run("plan", "--base", "main").code == 0
    assert repository.run("plan", "--base", "main", "-o", "markdown").code == 0
    assert snapshot(repository.folder) == before


def test_what_has_only_come_to_the_base_is_not_shown_as_taken_back(repository: World) -> None:
    repository.write("more.yaml", job_text("third"))
    two = commit(repository.folder, "two")
    git(repository.folder, "switch", "-q", "main")
    for name in ("fourth", "fifth"):
        repository.write(f"{name}.yaml", job_text(name))
        moved = commit(repository.folder, name)
    git(repository.folder, "switch", "-q", "feature")
    one = git(repository.folder, "merge-base", "main", "feature")
    result = repository.run("plan", "--base", "main")
    assert " ".join(result.out.splitlines()[:5]).split("  ")[0] == (
        f"What a merge into main would do: {one[:12]}, where both parted, against the work tree, at {two[:12]}. "
        f"main ({moved[:12]}) is 2 commits further on; what those changed is not shown."
    )
    found = body(repository, "--base", "main")
    assert acts(found) == [("create", "third")]
    assert found["base"] == {
        "ref": "main",
        "commit": moved,
        "mergeBase": one,
        "specs": found["base"]["specs"],  # type: ignore[index]
    }
    assert found["revision"] == f"feature@sha1:{two}"


def test_another_commit_than_the_work_tree_can_be_the_head(repository: World) -> None:
    repository.write("more.yaml", job_text("third"))
    two = commit(repository.folder, "two")
    repository.write("uncommitted.yaml", job_text("fourth"))
    found = body(repository, "--base", "main", "--head", "feature")
    assert acts(found) == [("create", "third")]
    assert found["head"] == {"ref": "feature", "commit": two, "specs": found["head"]["specs"]}  # type: ignore[index]
    assert found["revision"] == f"feature@sha1:{two}"
    assert f"against feature ({two[:12]})" in repository.run("plan", "--base", "main", "--head", "feature").out.replace(
        "\n", " "
    )
    assert acts(body(repository, "--base", "feature", "--head", "main")) == []


def test_the_commit_that_the_source_names_is_the_head_and_the_work_tree_is_not_looked_at(repository: World) -> None:
    repository.write("more.yaml", job_text("third"))
    commit(repository.folder, "two")
    git(repository.folder, "switch", "-q", "main")
    git(repository.folder, "rm", "-qr", "--cached", "jobs.d")
    shutil.rmtree(repository.root)
    data = str(repository.folder)
    found = body(repository, "--base", "main", "--source", "git:feature", "--data-root", data)
    assert acts(found) == [("create", "third")]
    assert found["head"]["ref"] == "feature"  # type: ignore[index]


def test_a_merge_that_changes_no_spec_does_nothing(repository: World) -> None:
    (repository.folder / "README").write_text("not a spec")
    assert repository.run("plan", "--base", "main").out.endswith(f"\n\n{NOTHING}")
    assert repository.run("plan", "--base", "main", "--detailed-exitcode").code == 0
    repository.write("more.yaml", job_text("third"))
    assert repository.run("plan", "--base", "main", "--detailed-exitcode").code == 2


def test_dry_run_takes_the_same_options(repository: World) -> None:
    repository.write("more.yaml", job_text("third"))
    for options in (["--base", "main"], ["--base", "main", "-o", "markdown"], ["--base", "main", "--head", "feature"]):
        assert repository.run("--dry-run", *options).out == repository.run("plan", *options).out


def test_a_rename_a_restart_and_a_protected_job_are_what_they_would_be_in_a_pass(repository: World) -> None:
    protected = job_text("kept", extra="  deletionPolicy: protect\n")
    repository.write("kept.yaml", protected)
    commit(repository.folder, "two")
    git(repository.folder, "branch", "-f", "main")
    (repository.root / "kept.yaml").unlink()
    renamed = job_text("hourly").replace("{name: hourly}", "{name: hourly, renamedFrom: nightly}")
    repository.write("orders.yaml", STREAM + job_text("import-orders", extra='  restart: "1"\n') + renamed)
    found = body(repository, "--base", "main")
    assert acts(found) == [("move", "hourly"), ("rerun", "import-orders")]
    assert found["actions"][1]["risk"] == "lands-twice"  # type: ignore[index]
    reason = "no file declares it, but its deletionPolicy is protect; to delete it, restore its file with deletionPolicy: delete, let that be applied, and remove it then"
    assert found["waiting"] == [{"kind": "Job", "name": "kept", "reason": reason}]


def test_the_specs_may_lie_in_a_folder_of_the_repository_and_have_been_none_at_the_base(repository: World) -> None:
    git(repository.folder, "rm", "-qr", "jobs.d")
    commit(repository.folder, "none")
    git(repository.folder, "branch", "-f", "main")
    repository.write("deep/er/orders.yml", STREAM)
    repository.write(".hidden/orders.yaml", STREAM)
    repository.write("orders.status.yaml", "kind: JobStatus")
    assert acts(body(repository, "--base", "main")) == [("create", "orders")]
    assert acts(body(repository, "--base", "main", "--root", str(repository.root))) == [("create", "orders")]


def test_a_link_within_the_tree_is_the_file_that_it_leads_to(repository: World) -> None:
    (repository.folder / "shared").mkdir()
    (repository.folder / "jobs.d" / "lib").mkdir()
    (repository.root / "lib" / ".third.yaml").write_text(job_text("third"))
    os.symlink("lib/.third.yaml", repository.root / "third.yaml")
    os.symlink("orders.yaml", repository.root / "again.yaml")
    commit(repository.folder, "two")
    git(repository.folder, "branch", "-f", "main")
    assert repository.run("plan", "--base", "main").out.endswith(f"\n\n{NOTHING}")
    (repository.root / "lib" / ".third.yaml").write_text(job_text("third", extra="  timeout: 1h\n"))
    assert acts(body(repository, "--base", "main")) == [("update", "third")]


def test_a_link_to_a_folder_within_the_tree_is_the_files_in_it(repository: World) -> None:
    (repository.root / ".teams").mkdir()
    spec = repository.root / ".teams" / "third.yaml"
    spec.write_text(job_text("third"))
    os.symlink(".teams", repository.root / "team")
    commit(repository.folder, "two")
    git(repository.folder, "branch", "-f", "main")
    assert repository.run("plan", "--base", "main").out.endswith(f"\n\n{NOTHING}")
    spec.unlink()
    commit(repository.folder, "three")
    assert acts(body(repository, "--base", "main")) == [("delete", "third")]
    assert acts(body(repository, "--base", "main", "--head", "HEAD")) == [("delete", "third")]


def test_two_plans_of_the_same_commits_are_equal_and_cannot_be_applied(repository: World) -> None:
    repository.write("more.yaml", job_text("third"))
    assert repository.run("plan", "--base", "main", "--out", "one.json").code == 0
    assert repository.run("plan", "--base", "main", "--out", "two.json").code == 0
    assert Path("one.json").read_bytes() == Path("two.json").read_bytes()
    result = repository.run("apply", "one.json")
    assert (result.code, result.err) == (
        2,
        "Error: one.json shows what a merge would do (plan --base); only a plan of a record is applied\n",
    )


# --- what is invalid ----------------------------------------------------------------------------------------------------


def test_an_invalid_spec_is_an_error_at_its_place_and_its_job_stays_as_it_was(repository: World) -> None:
    repository.write("orders.yaml", STREAM + job_text("import-orders") + job_text("nightly", schedule="{evry: 1h}"))
    result = repository.run("plan", "--base", "main")
    assert result.code == 1
    assert result.out.endswith("\n\nNo changes, but some specs are invalid.\n")
    assert result.err.startswith("jobs.d/orders.yaml:21:14: error: spec.schedule.evry: ")
    assert "did you mean 'every'?" in result.err


def test_a_broken_file_holds_deletions_back(repository: World) -> None:
    repository.write("orders.yaml", STREAM + job_text("import-orders"))
    repository.write("broken.yaml", "a: [")
    found = body(repository, "--base", "main")
    assert (acts(found), len(found["errors"])) == ([], 1)  # type: ignore[arg-type]
    reason = "no file declares it, but nothing is deleted now: broken.yaml cannot be read or parsed"
    assert found["waiting"] == [{"kind": "Job", "name": "nightly", "reason": reason}]


def test_what_is_invalid_at_the_base_counts_as_not_there_and_that_is_said(repository: World) -> None:
    repository.write("bad.yaml", job_text("third", schedule="{evry: 1h}"))
    repository.write("large.yaml", "#" * ((1 << 20) + 1))
    two = commit(repository.folder, "two")
    git(repository.folder, "branch", "-f", "main")
    (repository.root / "large.yaml").unlink()
    repository.write("bad.yaml", job_text("third"))
    result = repository.run("plan", "--base", "main")
    assert f"What is invalid at {two[:12]} counts as not there: bad.yaml, large.yaml." in result.out
    assert "  + create Job third  declared in bad.yaml\n" in result.out
    assert result.code == 0


def test_what_the_policy_does_not_allow_is_an_error_of_the_merge(repository: World) -> None:
    rule = "{name: titled, match: {kind: Job, name: third}, cel: 'metadata.title != \"\"', message: give it a title}"
    (repository.folder / "policy.yaml").write_text(f"apiVersion: reconciler/v1\nkind: Policy\nrules: [{rule}]\n")
    repository.write("more.yaml", job_text("third"))
    commit(repository.folder, "two")
    for options in ([], ["--head", "feature"]):
        result = repository.run("plan", "--base", "main", *options)
        assert result.code == 1
        assert "jobs.d/more.yaml:" in result.err
        assert "give it a title" in result.err
        assert "create Job third" not in result.out


def test_a_rule_over_plans_holds_an_action_of_the_merge_and_knows_its_author(repository: World) -> None:
    rule = "{name: ops-delete, on: plan, match: {kind: Job}, cel: \"verb != 'delete' || author == 'Ada'\"}"
    others = rule.replace("Ada", "Grace").replace("ops-", "others-")
    policy = repository.folder / "policy.yaml"
    policy.write_text(f"apiVersion: reconciler/v1\nkind: Policy\nrules: [{rule}]\n")
    repository.write("orders.yaml", STREAM + job_text("import-orders"))
    commit(repository.folder, "two")
    for options in ([], ["--head", "feature"]):
        assert acts(body(repository, "--base", "main", *options)) == [("delete", "nightly")]
    policy.write_text(f"apiVersion: reconciler/v1\nkind: Policy\nrules: [{others}]\n")
    assert acts(body(repository, "--base", "main", "--head", "feature")) == [("delete", "nightly")], "of the commit"
    result = repository.run("plan", "--base", "main")
    message = "policy others-delete: delete: expected verb != 'delete' || author == 'Grace'"
    assert (result.code, result.err) == (1, f"jobs.d/orders.yaml:1:1: error: {message}\n")
    assert f"Waiting:\n    Job nightly  {message}\n" in result.out


def test_a_merge_with_a_policy_that_is_wrong_does_nothing(repository: World) -> None:
    (repository.folder / "policy.yaml").write_text("apiVersion: reconciler/v1\nkind: Policy\nrule: []\n")
    repository.write("more.yaml", job_text("third"))
    commit(repository.folder, "two")
    for options in ([], ["--head", "feature"]):
        result = repository.run("plan", "--base", "main", *options)
        assert "Job third  create: policy.yaml is invalid, so nothing is applied" in result.out
        assert result.code == 1


def test_a_merge_that_leaves_no_spec_deletes_nothing_as_a_branch_without_files_does(repository: World) -> None:
    (repository.root / "orders.yaml").unlink()
    commit(repository.folder, "two")
    for options in ([], ["--head", "feature"]):
        found = body(repository, "--base", "main", *options)
        assert (found["actions"], found.get("prune")) == ([], None)
        assert {one["reason"] for one in found["waiting"]} == {  # type: ignore[attr-defined]
            "no file declares it, but nothing is deleted now: a commit that holds no spec file deletes nothing; to mean it, "
            "leave one, which may be empty"
        }
    repository.write("none.yaml", "")
    result = repository.run("plan", "--base", "main")
    assert (
        "Restore their files, or approve exactly these deletions after the merge:\n    reconcile approve --prune "
        in result.out
    )


def test_a_window_that_is_closed_now_is_said_and_holds_nothing_back_in_a_merge(repository: World) -> None:
    (repository.folder / "policy.yaml").write_text("windows: [{name: freeze, before: 2999-01-01T00:00:00Z}]\n")
    repository.write("more.yaml", job_text("third"))
    said = "Nothing is applied until 2999-01-01T00:00:00.000Z (window freeze): what is merged before waits for that."
    assert said in " ".join(repository.run("plan", "--base", "main").out.split())
    assert said.replace("freeze", "`freeze`") in repository.run("plan", "--base", "main", "-o", "markdown").out
    found = body(repository, "--base", "main")
    assert acts(found) == [("create", "third")]
    assert found["window"] == {"name": "freeze", "until": "2999-01-01T00:00:00.000Z"}
    (repository.root / "more.yaml").unlink()
    assert "freeze" not in repository.run("plan", "--base", "main").out, "nothing would be applied"


def test_a_relative_path_needs_a_data_root_in_a_merge_into_what_commits_declare(repository: World) -> None:
    repository.write("more.yaml", job_text("third"))
    commit(repository.folder, "two")
    result = repository.run("plan", "--base", "main", "--source", "git:feature")
    assert (result.code, "create Job" in result.out) == (1, False)
    assert "jobs.d/more.yaml:9:18: error: spec.config.path: " in result.err


def test_what_both_sides_hold_is_read_and_parsed_once(repository: World) -> None:
    repository.write("more.yaml", job_text("third"))
    commit(repository.folder, "two")
    opened = Repository.open(repository.root)
    assert opened is not None
    reader = Reader(opened, catalogue())
    before = reader.committed(git(repository.folder, "rev-parse", "main"))
    after = reader.committed(git(repository.folder, "rev-parse", "feature"))
    there = reader.on_disk(repository.root, PolicySeen())
    assert [one.name for one in after.documents] == ["third", "orders", "import-orders", "nightly"]
    for other in (after, there):
        assert all(any(one is known for known in other.documents) for one in before.documents)


# --- what cannot be compared --------------------------------------------------------------------------------------------


def test_outside_a_repository_there_is_nothing_to_compare(world: World) -> None:
    result = world.run("plan", "--base", "main")
    expected = "Error: jobs.d is in no git work tree; --base compares the specs of two commits\n"
    assert (result.code, result.err) == (2, expected)


def test_in_a_bare_repository_two_commits_are_compared(repository: World, monkeypatch: pytest.MonkeyPatch) -> None:
    repository.write("more.yaml", job_text("third"))
    commit(repository.folder, "two")
    bare = repository.folder.parent / "bare.git"
    git(repository.folder, "clone", "-q", "--bare", str(repository.folder), str(bare))
    monkeypatch.chdir(bare)
    assert acts(body(repository, "--base", "main", "--head", "feature")) == [("create", "third")]
    result = repository.run("plan", "--base", "main")
    assert (result.code, result.err) == (
        2,
        "Error: jobs.d is in no git work tree; --base compares the specs of two commits; in a bare repository, --head names "
        "what is merged\n",
    )


def test_a_repository_without_a_commit_says_so(world: World) -> None:
    git(world.folder, "init", "-qb", "main")
    for base in ("main", "HEAD"):
        result = world.run("plan", "--base", base)
        assert result.code == 2
        assert f"--base: there is no commit '{base}' in " in result.err


@pytest.mark.parametrize("ref", ["origin/main", "--output=x", "main^{tree}", "nope", "-x", "main..feature", ""])
def test_a_ref_that_leads_to_no_commit_is_a_usage_error_with_a_next_step(repository: World, ref: str) -> None:
    result = repository.run("plan", f"--base={ref}")
    fetch = "`git fetch origin main`" if ref == "origin/main" else "`git fetch`"
    expected = f"Error: --base: there is no commit '{ref}' in {repository.folder}; {fetch} may bring it\n"
    assert (result.code, result.out, result.err) == (2, "", expected)
    assert f"--head: there is no commit '{ref}x' in " in repository.run("plan", "--base=main", f"--head={ref}x").err
    assert not Path("x").exists()


def test_options_that_do_not_go_together_are_refused(repository: World) -> None:
    assert repository.run("plan", "--head", "main").err == "Error: --head goes with --base\n"
    result = repository.run("plan", "--base", "main", "--data")
    expected = "Error: --data asks the record, which --base does without; give one of them\n"
    assert (result.code, result.err) == (2, expected)
    assert repository.run("--base", "main").err == "Error: --base goes with --dry-run, or after a command\n"


def test_a_shallow_clone_that_does_not_reach_back_says_how_to_get_the_history(
    repository: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.write("more.yaml", job_text("third"))
    commit(repository.folder, "two")
    git(repository.folder, "switch", "-q", "main")
    (repository.folder / "README").write_text("x")
    commit(repository.folder, "three")
    clone = tmp_path / "clone"
    url = f"file://{repository.folder}"
    git(tmp_path, "clone", "-q", "--depth", "1", "--no-single-branch", "-b", "feature", url, str(clone))
    monkeypatch.chdir(clone)
    result = repository.run("plan", "--base", "origin/main")
    assert (result.code, result.out) == (2, "")
    assert result.err == (
        "Error: this clone is shallow and does not hold the commit from which origin/main and HEAD parted; get the whole "
        f"{WHOLE.removeprefix('get the whole ')}\n"
    )
    git(clone, "fetch", "-q", "--unshallow", "origin", "+refs/heads/*:refs/remotes/origin/*")
    assert acts(body(repository, "--base", "origin/main")) == [("create", "third")]


def test_a_clone_of_one_commit_that_knows_no_base_says_how_to_get_it(
    repository: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.write("more.yaml", job_text("third"))
    commit(repository.folder, "two")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--depth", "1", "-b", "feature", f"file://{repository.folder}", str(clone))
    monkeypatch.chdir(clone)
    result = repository.run("plan", "--base", "origin/main")
    assert (result.code, result.out) == (2, "")
    where = f"Error: --base: there is no commit 'origin/main' in {clone}; the clone is shallow: "
    assert result.err == f"{where}{WHOLE}\n"
    assert "`fetch-depth: 0`" in WHOLE
    git(clone, "fetch", "-q", "--unshallow", "origin", "+refs/heads/*:refs/remotes/origin/*")
    assert acts(body(repository, "--base", "origin/main")) == [("create", "third")]


def test_a_partial_clone_that_lacks_files_is_an_error_and_never_a_creation(
    repository: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.write("orders.yaml", STREAM + job_text("import-orders", extra="  timeout: 1h\n"))
    commit(repository.folder, "two")
    git(repository.folder, "config", "uploadpack.allowFilter", "true")
    clone = tmp_path / "clone"
    url = f"file://{repository.folder}"
    git(tmp_path, "clone", "-q", "--filter=blob:none", "-b", "feature", url, str(clone))
    monkeypatch.chdir(clone)
    result = repository.run("plan", "--base", "origin/main")
    one = git(repository.folder, "rev-parse", "main")[:12]
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(
        f"Error: this clone lacks files of commit {one} (a partial clone fetches them only when "
    )


def test_histories_that_have_nothing_in_common_are_not_compared(repository: World) -> None:
    git(repository.folder, "switch", "-q", "--orphan", "other")
    repository.write("orders.yaml", STREAM)
    commit(repository.folder, "other")
    result = repository.run("plan", "--base", "main")
    expected = "Error: main and HEAD have no commit in common, so there is nothing to compare\n"
    assert (result.code, result.err) == (2, expected)


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder, git's own included, with its size and time."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in found}
