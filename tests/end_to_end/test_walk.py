"""The README's walk, as a newcomer would type it: every block between the markers, in order, in a copy of the repository."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
BLOCK = re.compile(r"<!-- walk(?:: exit (\d+))? -->\n```bash\n(.*?)```", re.DOTALL)
HIDDEN = shutil.ignore_patterns(".git", ".venv", "*.status.yaml", "*.log", ".reconciler", "out")


@pytest.mark.timeout(180)
def test_the_readme_s_walk_works_as_written(tmp_path: Path) -> None:
    blocks = BLOCK.findall((REPOSITORY / "README.md").read_text())
    assert len(blocks) >= 8
    copy = tmp_path / "reconcile"
    shutil.copytree(REPOSITORY, copy, ignore=HIDDEN)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    script = "set -e\n" + "".join(
        f"echo '$$ {number}'\nset +e\n( set -e\n{text} )\ncode=$?\nset -e\n"
        f'[ $code -eq {expected or 0} ] || {{ echo "block {number} exited with $code"; exit 99; }}\n'
        for number, (expected, text) in enumerate(blocks, start=1)
    )
    walk = subprocess.Popen(
        ["bash", "-c", script],
        cwd=copy,
        env={**os.environ, "PATH": path, "NO_COLOR": "1", "PYTHONPATH": str(copy)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said = walk.communicate(timeout=170)[0]
    finally:
        with contextlib.suppress(ProcessLookupError):  # what the walk left running goes with it
            os.killpg(walk.pid, signal.SIGKILL)
    assert walk.returncode == 0, said
    assert "Traceback" not in said
    assert "unknown field; did you mean 'schedule'?" in said
    assert "status: Sleeping" in said
    assert "add Linus, spent 1030.00: 5 members" in said
    assert "(AwaitingApproval)" in said
