"""What stood open because a spec was broken or gone is over once the spec is back, even as it was before."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.controller import Report, Settings, open_controller
from tests.controller.specs import STREAM, job_text
from tests.repo.worktree import WorkTree


@pytest.mark.parametrize("in_git", [True, False])
def test_a_spec_that_comes_back_as_it_was_leaves_nothing_open(tmp_path: Path, in_git: bool) -> None:
    tree = WorkTree(tmp_path)
    files = {"stream.yaml": STREAM, "broken.yaml": job_text("broken"), "gone.yaml": job_text("gone")}
    tree.write(files)
    if in_git:
        tree.commit()
    else:
        (tree.top / ".git").rename(tmp_path / "no-git")

    def one_pass() -> Report:
        with open_controller(Settings(root=tree.root, state=tmp_path / "state")) as controller:
            return controller.run_pass()

    assert one_pass().exit_code == 0
    tree.write({"broken.yaml": "x: [\n"})
    if in_git:
        (tree.root / "gone.yaml").unlink()
    report = one_pass()
    assert report.exit_code == 1
    assert {one.name for one in report.plan.waiting} == ({"broken", "gone"} if in_git else {"broken"})
    tree.write(files)
    report = one_pass()
    assert report.exit_code == 0
    assert (report.plan.actions, report.plan.waiting, report.problems) == ((), (), ())
