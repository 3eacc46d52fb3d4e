"""Trees of many jobs to measure with: 25-line specs in 30 folders, one stream; in a git repository, with statuses and logs
ignored, as a team would have it. Modules are compiled beforehand, as they are where the program is installed.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from tests.benchmarks.rows import Bench

FOLDERS: Final = 30
SPEC: Final = """\
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
  schedule: {schedule}
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
STREAM: Final = "apiVersion: reconciler/v1\nkind: Stream\nmetadata: {name: orders}\nspec: {}\n"
RECONCILE: Final = (sys.executable, "-m", "reconciler")
#: Schedules: one whose first run is at once, and one that is far away.
HOURLY: Final = "{every: 1h}"
YEARLY: Final = '{cron: "0 3 1 1 *"}'
WHO: Final = ("-c", "user.name=bench", "-c", "user.email=bench@example.com", "-c", "gc.auto=0")
#: The branch that is followed where the desired state is a commit; the work tree is of another one.
BRANCH: Final = "followed"


class Cost(NamedTuple):
    """Of one command: seconds of wall time, and of all cores."""

    wall_s: float
    cpu_s: float


def name_of(number: int) -> str:
    return f"import-orders-{number:06d}"


def spec_path(root: Path, number: int) -> Path:
    return root / f"team-{number % FOLDERS:02d}" / f"orders-{number:06d}.yaml"


def spec_text(number: int, *, suspend: bool, schedule: str = HOURLY) -> str:
    return SPEC.format(number=number, suspend=str(suspend).lower(), schedule=schedule)


def write_tree(folder: Path, count: int, *, suspend: bool = True, schedule: str = HOURLY) -> Path:
    """`count` jobs below `folder/jobs.d`, committed; the root."""
    root = folder / "jobs.d"
    for number in range(FOLDERS):
        (root / f"team-{number:02d}").mkdir(parents=True)
    (root / "stream.yaml").write_text(STREAM)
    for number in range(count):
        spec_path(root, number).write_text(spec_text(number, suspend=suspend, schedule=schedule))
    (folder / ".gitignore").write_text("*.status.yaml\n*.log\n")
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "jobs"], ["gc", "-q"]):
        subprocess.run(["git", *WHO, *arguments], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return root


def copy(root: Path) -> Path:
    """The tree and its repository once more, at the root of the copy: where many files have just been deleted, ext4 looks for
    a while for inodes that were not (`recently_deleted` in its ialloc.c), and files made there would be charged for it."""
    folder = Path(tempfile.mkdtemp(prefix="copy-", dir=root.parent.parent))
    shutil.copytree(root.parent, folder, dirs_exist_ok=True)
    return folder / root.name


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


def without_ours() -> dict[str, str]:
    """An environment in which others do not find our modules."""
    return {name: value for name, value in environment().items() if not name.startswith("PYTHON")}


def cost(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> Cost:
    """Runs a command to its end. Raises RuntimeError, with the last that it said, where it fails."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with tempfile.TemporaryFile() as said:
        done = subprocess.run(command, cwd=cwd, env=env or environment(), stdout=said, stderr=said, check=False)
        wall_s, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            said.seek(max(0, said.tell() - 400))
            text = said.read().decode("utf-8", "replace")
            shown = " ".join(os.path.basename(one) for one in map(str, command[:4]))
            raise RuntimeError(f"`{shown} …` ended with {done.returncode}: {text}")
    return Cost(wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


@dataclass(slots=True)
class Jobs:
    """A tree of scheduled jobs that both ways of following it share: the work tree, and a commit of its own branch."""

    folder: Path
    root: Path
    count: int
    commit: str = ""  # at the tip of the branch that is followed
    edits: int = 300

    @property
    def commit_state(self) -> Path:
        return self.folder / ".git" / "reconciler"  # beside the work tree, which git need not look through

    @property
    def flags(self) -> tuple[str, ...]:
        """What follows the branch."""
        return ("--source", f"git:{BRANCH}", "--state", str(self.commit_state), "--data-root", str(self.folder))

    def reconcile(self, *arguments: str) -> Cost:
        return cost(*RECONCILE, *arguments, cwd=self.folder)

    def git_status(self) -> Cost:
        return cost("git", "status", cwd=self.folder)

    def settle(self) -> Cost:
        """A pass: the record is as the work tree is."""
        return self.reconcile()

    def settle_commit(self) -> Cost:
        """The same of the branch."""
        return self.reconcile(*self.flags)

    def edit(self, number: int) -> None:
        """Another timeout in the work tree."""
        path = spec_path(self.root, number)
        path.write_text(self._changed(path.read_text()))

    def restore(self) -> None:
        """The work tree as it was committed, and its record."""
        subprocess.run(["git", "checkout", "-q", "--", "."], cwd=self.folder, check=True)
        self.settle()

    def _changed(self, text: str) -> str:
        self.edits += 1
        return re.sub(r"timeout: \S+", f"timeout: {self.edits}m", text)

    def change(self, numbers: Iterable[int]) -> tuple[str, str]:
        """Another timeout of these jobs on the branch that is followed; the commit before and the new one. Its objects are
        loose, as those that `git commit` makes."""
        before = self.commit
        files = []
        for number in numbers:
            text = self._changed(spec_text(number, suspend=False, schedule=YEARLY))
            path = spec_path(self.root, number).relative_to(self.folder)
            files.append(f"M 100644 inline {path}\ndata {len(text)}\n{text}\n")
        head = f"commit refs/heads/{BRANCH}\ncommitter bench <bench@example.com> {1_790_000_000 + self.edits} +0000\n"
        stream = f"{head}data 5\ntimes\nfrom {before}\n{''.join(files)}\n"
        command = ["git", "-c", "fastimport.unpackLimit=1000000", "fast-import", "--quiet", "--force"]
        subprocess.run(command, cwd=self.folder, input=stream, text=True, check=True, stdout=subprocess.DEVNULL)
        self.commit = self._git("rev-parse", BRANCH)
        return before, self.commit

    def point(self, commit: str) -> None:
        """Moves the branch to a commit."""
        self._git("update-ref", f"refs/heads/{BRANCH}", commit)
        self.commit = commit

    def _git(self, *arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=self.folder, check=True, capture_output=True, text=True)
        return done.stdout.strip()


def jobs(bench: Bench, count: int) -> Jobs:
    """So many scheduled jobs, all of them known to the record; made once for all rows."""

    def make(folder: Path) -> Jobs:
        made = Jobs(folder, write_tree(folder, count, suspend=False, schedule=YEARLY), count)
        made.point(made._git("rev-parse", "HEAD"))
        made.settle()
        made.settle()  # what the first one wrote is looked at once
        return made

    return bench.shared(f"jobs-{count}", make)


def suspended(bench: Bench) -> Path:
    """The root of 10,000 suspended jobs, which nobody has looked at; whoever looks forgets it afterwards."""
    root = bench.shared("suspended", lambda folder: write_tree(folder, bench.size(10_000, 300)))
    forget(root)
    return root
