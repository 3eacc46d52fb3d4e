"""Jobs that find nothing to do, run in one pass, per second; against bare fork-and-reap of the same preloaded process.

    python -m tests.benchmarks.passes [JOBS]

Beside what `runs.py` measures, each costs its transactions (start, end), a log and its statuses, fsynced and renamed.
The yardstick is measured before and after the pass, and the two are averaged.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.runs import YARDSTICK
from tests.benchmarks.tree import RECONCILE, cost, environment, write_tree

FORKS = 200


def bare_per_second() -> float:
    program = f"import sys; sys.path[:] = {sys.path!r}\n{YARDSTICK}"
    done = subprocess.run(
        [sys.executable, "-c", program], input=f"{FORKS}\n{FORKS}\n", capture_output=True, text=True, check=True,
        env=environment(),
    )  # fmt: skip
    return float(done.stdout.split()[-1])  # the first round warms up


def main(jobs: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tree(folder, jobs, suspend=False)
        before = bare_per_second()
        ours = jobs / cost(*RECONCILE, cwd=folder).wall_s
        bare = (before + bare_per_second()) / 2
    print(f"a pass of {jobs:,} runs: {ours:.0f}/s   bare fork {bare:.0f}/s   ratio {ours / bare:.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000)
