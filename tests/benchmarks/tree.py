"""A tree of many jobs to measure with: 25-line specs in 30 folders, one stream; in a git repository, with its statuses
and logs ignored, as a team would have it."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

FOLDERS = 30
SPEC = """\
apiVersion: reconciler/v1
kind: Job
metadata:
  name: import-orders-{number:06d}
  title: Import orders of shop {number}
  description: Nightly order files of shop {number}
  labels:
    team: growth
    shop: "{number}"
spec:
  provider: files
  jobType: import-csv
  schedule: {{every: 1h}}
  suspend: {suspend}
  timeout: 2h
  retry:
    initial: 30s
    factor: 2
    max: 30m
    failAfter: 10h
  config:
    path: "data/{number}/orders-*.csv.gz"
    stream: orders
    timestampField: ordered_at
    maxRejects: 100
    delimiter: ","
"""
STREAM = "apiVersion: reconciler/v1\nkind: Stream\nmetadata: {name: orders}\nspec: {}\n"
RECONCILE = (sys.executable, "-m", "reconciler")


class Cost(NamedTuple):
    """Of one command: seconds of wall time, and of all cores."""

    wall_s: float
    cpu_s: float


def spec_path(root: Path, number: int) -> Path:
    return root / f"team-{number % FOLDERS:02d}" / f"orders-{number:06d}.yaml"


def write_tree(folder: Path, count: int, *, suspend: bool = True) -> Path:
    """`count` jobs below `folder/jobs.d`, committed; the root."""
    root = folder / "jobs.d"
    for number in range(FOLDERS):
        (root / f"team-{number:02d}").mkdir(parents=True)
    (root / "stream.yaml").write_text(STREAM)
    for number in range(count):
        text = SPEC.format(number=number, suspend=str(suspend).lower())
        spec_path(root, number).write_text(text)
    (folder / ".gitignore").write_text("*.status.yaml\n*.log\n")
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "jobs"]):
        git = ["git", "-c", "user.name=bench", "-c", "user.email=bench@example.com", "-c", "gc.auto=0", *arguments]
        subprocess.run(git, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return root


def forget(root: Path) -> None:
    """The tree as it was before the first pass."""
    shutil.rmtree(root / ".reconciler", ignore_errors=True)
    for pattern in ("*.status.yaml", "*.log"):
        for path in root.rglob(pattern):
            path.unlink()


def environment() -> dict[str, str]:
    """Compiled modules are kept, as they are where the program is installed."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    compiled = os.path.join(tempfile.gettempdir(), f"reconcile-benchmark-{os.getuid()}")
    return {"PYTHONPYCACHEPREFIX": compiled, "PYTHONPATH": str(Path(__file__).parents[2]), **environ}


def cost(*command: str, cwd: Path) -> Cost:
    """Runs a command to its end. Raises CalledProcessError where it fails."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        command, cwd=cwd, env=environment(), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wall_s, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
