"""What users of other tools reported of plans, done again as they did it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.cli.main import entry

JOB = """\
apiVersion: reconciler/v1
kind: Job
metadata: {{name: {name}}}
spec:
  provider: files
  jobType: import-csv
  schedule: {{every: {every}}}
  suspend: true
  config: {{path: "*.csv", stream: {name}}}
---
apiVersion: reconciler/v1
kind: Stream
metadata: {{name: {name}}}
spec: {{}}
"""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`reconcile` in a repository that is the current directory; its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)
    for name in ("RECONCILE_ROOT", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    git("init", "-qb", "main")

    def command(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = entry(list(arguments))
        return code, *capsys.readouterr()

    return command


def git(*arguments: str) -> str:
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", *identity, *arguments], check=True, capture_output=True, encoding="utf-8"
    ).stdout.strip()


def commit(message: str, **every: str) -> str:
    for name, value in every.items():
        path = Path("jobs.d") / name / "job.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(JOB.format(name=name, every=value))
    git("add", "-A")
    git("commit", "-qm", message)
    return git("rev-parse", "HEAD")


def test_atlantis_1122_a_plan_that_a_later_commit_has_overtaken_is_not_applied(run: Run) -> None:
    """The reporter's pull request changes staging and production, and both are planned. A second commit takes the change of
    production back; apply still ran the old plan for production."""
    commit("Both as they are", staging="1h", production="1h")
    assert run()[0] == 0
    git("switch", "-qc", "faster")
    first = commit("Run both more often", staging="30m", production="30m")
    assert run("plan", "--out", "plan.json")[0] == 0
    second = commit("Leave production alone", production="1h")
    code, out, err = run("apply", "plan.json")
    assert (code, out) == (5, "")
    assert err == (
        "Error: plan.json is stale, and nothing was done: "
        f"the revision moved from faster@sha1:{first} to faster@sha1:{second}; "
        "jobs.d/production/job.yaml: Job production has changed. "
        "Make a new one with `reconcile plan --out plan.json`\n"
    )
    assert run("plan", "--out", "plan.json")[1].splitlines()[0] == "  ~ update Job staging  spec.schedule changed"
    code, out, err = run("apply", "plan.json")
    assert (code, err) == (0, "")
    assert [line.split()[1:3] for line in out.splitlines()[:-1]] == [["staging", "Updated"]]


def test_crossplane_1805_a_pull_request_shows_what_it_would_do_before_it_is_merged(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reporter reviews changes of desired state, and nothing shows their impact on what runs until they are merged. Here
    the reviewer's CI has a fresh clone of the branch, and neither the record nor any of its secrets."""
    commit("As it is", staging="1h", production="1h")
    assert run()[0] == 0
    git("switch", "-qc", "faster")
    (Path("jobs.d") / "staging" / "job.yaml").unlink()
    commit("Run production more often, and staging no more", production="30m")
    clone = tmp_path / "clone"
    git("clone", "-q", "-b", "faster", f"file://{tmp_path}", str(clone))
    monkeypatch.chdir(clone)
    before = sorted(clone.rglob("*"))
    code, out, err = run("plan", "--base", "origin/main", "--detailed-exitcode")
    assert (code, err) == (2, "")
    assert out.splitlines()[-6:] == [
        "  ~ update Job production  spec.schedule changed",
        '      spec.schedule.every: "1h" → "30m"',
        "  - delete Job staging  no file declares it",
        "  - delete Stream staging  no file declares it",
        "",
        "Plan: 0 to create, 1 to update, 2 to delete.",
    ]
    code, out, err = run("plan", "--base", "origin/main", "-o", "markdown")
    assert (code, err) == (0, "")
    assert out.index("**delete** Job `staging`") < out.index("**update** Job `production`")
    assert sorted(clone.rglob("*")) == before
