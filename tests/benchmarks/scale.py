"""What many jobs cost a command, each against a yardstick that is measured in turn with it.

    python -m tests.benchmarks.scale [JOBS [ROUNDS]]

    cold validate    against `check-jsonschema` on a part of the same files, where that is installed
    first pass       against `validate` of the same tree
    plan, pass       with nothing changed, against `git status`
    one edit         planned against `--help`, passed against the next pass

A busy machine slows both sides; the median of the rounds is printed, of wall time and, beside it, of processor time.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

from tests.benchmarks.tree import RECONCILE, Cost, cost, forget, spec_path, write_tree

SCHEMA = Path(__file__).parents[2] / "schemas" / "job.json"
#: So many files are given to check-jsonschema, which takes milliseconds for each.
SAMPLE = 500

Measure = Callable[[], Cost]


def compare(title: str, ours: Measure, yardstick: Measure, rounds: int, aim: str) -> None:
    """Runs both in turn and prints what they cost and how they compare."""
    pairs = [(ours(), yardstick()) for _ in range(rounds)]
    wall_s, other_s = (median(pair[side].wall_s for pair in pairs) for side in (0, 1))
    wall = median(one.wall_s / other.wall_s for one, other in pairs)
    cpu = median(one.cpu_s / other.cpu_s for one, other in pairs)
    print(
        f"{title:34} {wall_s:7.3f} s   yardstick {other_s:7.3f} s   ratio {wall:5.2f} (cpu {cpu:5.2f})   {aim}",
        flush=True,
    )


def main(jobs: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = write_tree(folder, jobs)

        def reconcile(*arguments: str) -> Cost:
            return cost(*RECONCILE, *arguments, cwd=folder)

        def first_pass() -> Cost:
            forget(root)
            return reconcile()

        def git_status() -> Cost:
            return cost("git", "status", cwd=folder)

        def edited(*arguments: str) -> Cost:
            nonlocal edits
            edits += 1
            path = spec_path(root, 7)
            before = path.read_text().partition("  timeout: ")
            path.write_text(f"{before[0]}{before[1]}{edits}m\n{before[2].partition(chr(10))[2]}")
            return reconcile(*arguments)

        edits = 100
        reconcile("validate")  # compiles what is not yet
        print(f"{jobs:,} suspended jobs; help {median(reconcile('--help').wall_s for _ in range(5)):.3f} s")
        _against_check_jsonschema(root, jobs, reconcile)
        compare("first pass / validate", first_pass, lambda: reconcile("validate"), rounds, "aim: under 3")
        reconcile()
        compare("plan, unchanged / git status", lambda: reconcile("plan"), git_status, 3 * rounds, "aim: under 5")
        compare("pass, unchanged / git status", reconcile, git_status, 3 * rounds, "")
        compare("plan, one edit / --help", lambda: edited("plan"), lambda: reconcile("--help"), rounds, "")
        compare("pass, one edit / next pass", edited, reconcile, rounds, "")
        compare("list / pass, unchanged", lambda: reconcile("list"), reconcile, rounds, "")


def _against_check_jsonschema(root: Path, jobs: int, reconcile: Callable[..., Cost]) -> None:
    """Both start-ups are taken off; ours checks what a schema cannot say, too."""
    command = shutil.which("check-jsonschema")
    if command is None:
        print("cold validate: check-jsonschema is not installed, so there is no yardstick")
        return
    files = [str(spec_path(root, number)) for number in range(min(SAMPLE, jobs))]
    few = cost(command, "--schemafile", str(SCHEMA), files[0], cwd=root)
    many = cost(command, "--schemafile", str(SCHEMA), *files, cwd=root)
    theirs_s = (many.wall_s - few.wall_s) / (len(files) - 1) * jobs
    ours_s = median(reconcile("validate").wall_s for _ in range(3))
    print(
        f"cold validate {ours_s:.2f} s, check-jsonschema {theirs_s:.1f} s: {theirs_s / ours_s:.1f} times as fast (aim: over 15)"
    )


if __name__ == "__main__":
    main(*(int(one) for one in (*sys.argv[1:], *("10000", "3")[len(sys.argv) - 1 :])))
