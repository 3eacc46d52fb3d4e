"""The hooks for pre-commit, run by pre-commit: it clones, installs the product into an environment, and runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.conftest import STREAM, job_text
from tests.install import OFFLINE, REPOSITORY, commit_all, copy_of_the_package, git

pytestmark = pytest.mark.xdist_group("pre-commit")


@dataclass(frozen=True)
class Project:
    """A repository of specs that uses the hooks; `commit` is what a person types, `home` holds pre-commit's environments."""

    folder: Path
    home: Path

    def pre_commit(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pre_commit", *arguments], cwd=self.folder, capture_output=True, text=True, check=False,
            env={**os.environ, **OFFLINE, "PRE_COMMIT_HOME": str(self.home), "PRE_COMMIT_COLOR": "never", "GIT_TERMINAL_PROMPT": "0"},
        )  # fmt: skip

    def write(self, name: str, text: str) -> None:
        path = self.folder / "specs" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        git(self.folder, "add", "-A")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    base = tmp_path_factory.mktemp("pre-commit")
    hooks, folder = copy_of_the_package(base / "hooks"), base / "project"
    folder.mkdir()
    for one in (hooks, folder):
        git(one, "init", "--quiet")
    config = {
        "repo": hooks.as_uri(),
        "rev": commit_all(hooks, "The hooks"),
        "hooks": [{"id": "reconcile-validate", "args": ["--root", "specs"]}],
    }
    (folder / ".pre-commit-config.yaml").write_text(json.dumps({"repos": [config]}))
    return Project(folder, base / "home")


def test_the_manifest_is_one_by_pre_commit_s_own_rules() -> None:
    subprocess.run(
        [sys.executable, "-m", "pre_commit", "validate-manifest", str(REPOSITORY / ".pre-commit-hooks.yaml")],
        check=True,
    )


def test_a_commit_is_held_up_by_an_invalid_spec_and_by_nothing_else(project: Project) -> None:
    project.write("orders.yaml", STREAM + job_text("import-orders"))
    passed = project.pre_commit("run")
    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert "reconcile validate" in passed.stdout
    assert "Passed" in passed.stdout
    project.write("orders.yaml", STREAM + job_text("import-orders").replace("schedule:", "shedule:"))
    failed = project.pre_commit("run")
    assert failed.returncode == 1
    assert "error: spec.shedule: unknown field; did you mean 'schedule'?" in failed.stdout
    assert "specs/orders.yaml:" in failed.stdout


def test_a_commit_that_only_removes_a_file_is_looked_at_too(project: Project) -> None:
    project.write("stream.yaml", STREAM)
    project.write("orders.yaml", job_text("import-orders"))
    commit_all(project.folder, "Two files")
    git(project.folder, "rm", "--quiet", "specs/stream.yaml")
    failed = project.pre_commit("run")
    assert failed.returncode == 1
    assert "unknown stream 'orders'" in failed.stdout
