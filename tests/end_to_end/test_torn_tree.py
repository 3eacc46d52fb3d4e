"""A work tree in the making: `git checkout` flips thousands of specs back and forth under a running daemon."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.end_to_end.daemon import Daemon
from tests.end_to_end.world import is_sound, rows_of

SPECS = int(os.environ.get("RECONCILE_FLIPPED", "2100"))
FLIPS = int(os.environ.get("RECONCILE_FLIPS", "6"))

JOB = """apiVersion: reconciler/v1
kind: Job
metadata:
  name: job-{number:04d}
  title: Branch {branch}
spec:
  provider: files
  jobType: import-csv
  schedule: {{cron: "0 0 29 2 *"}}
  suspend: {suspend}
  config: {{path: in/{number}.csv, stream: orders}}
"""
STREAM = "apiVersion: reconciler/v1\nkind: Stream\nmetadata: {name: orders}\nspec: {}\n"


def git(repository: Path, *arguments: str) -> None:
    identity = {f"GIT_{who}_{what}": "ann" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    subprocess.run(
        ["git", "-C", str(repository), *arguments], check=True, capture_output=True, env={**os.environ, **identity}
    )


def write(root: Path, branch: str) -> None:
    """Three thirds: in both branches alike but for the title; only in `one`; paused in `two`."""
    for number in range(SPECS):
        path = root / f"team-{number % 30}" / f"job-{number:04d}.yaml"
        path.parent.mkdir(exist_ok=True)
        if number % 3 == 1 and branch == "two":
            path.unlink(missing_ok=True)
            continue
        suspend = "true" if number % 3 == 2 and branch == "two" else "false"
        path.write_text(JOB.format(number=number, branch=branch, suspend=suspend))


def repository_of_two_branches(folder: Path) -> Path:
    root = folder / "jobs"
    root.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "one")
    (folder / "reconciler.yaml").write_text(f"prune: {{maxDeletes: {SPECS}, maxPercent: 100}}\n")
    (root / "stream.yaml").write_text(STREAM)
    for branch in ("one", "two"):
        if branch == "two":
            git(folder, "checkout", "-q", "-b", "two")
        write(root, branch)
        git(folder, "add", "-A")
        git(folder, "commit", "-q", "-m", branch)
    git(folder, "checkout", "-q", "one")
    return root


@pytest.mark.timeout(600)
def test_a_checkout_that_flips_thousands_of_specs_deletes_and_pauses_only_what_a_branch_asks_for(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "repository"
    root = repository_of_two_branches(folder)
    state = tmp_path / "state"
    with Daemon(root, "--state", str(state), "--status-dir", str(tmp_path / "status")) as daemon:
        daemon.wait_for(f"job-{SPECS - 1:04d}", "Created", patience_s=120)
        for flip in range(FLIPS):
            git(folder, "checkout", "-q", ("two", "one")[flip % 2])
        git(folder, "checkout", "-q", "two")
        daemon.wait_until(lambda _: paused(state) == SPECS // 3 and live(state) == SPECS - SPECS // 3, patience_s=120)
        git(folder, "checkout", "-q", "one")
        daemon.wait_until(lambda _: paused(state) == 0 and live(state) == SPECS, patience_s=120)
        assert daemon.terminate() == 0
    assert is_sound(state)
    deleted = {name for (name,) in rows_of(state, "SELECT DISTINCT name FROM event WHERE event = 'Deleted'")}
    paused_ever = {name for (name,) in rows_of(state, "SELECT DISTINCT name FROM event WHERE event = 'Paused'")}
    assert deleted == {f"job-{number:04d}" for number in range(SPECS) if number % 3 == 1}
    assert paused_ever == {f"job-{number:04d}" for number in range(SPECS) if number % 3 == 2}


def live(state: Path) -> int:
    return int(rows_of(state, "SELECT count(*) FROM resource WHERE kind = 'Job' AND life = 'live'")[0][0])


def paused(state: Path) -> int:
    return int(rows_of(state, "SELECT count(*) FROM job WHERE status = 'Paused'")[0][0])
