"""Runs that do nothing, per second, against bare fork-and-reap of the same preloaded process.

    python -m tests.benchmarks.runs [ROUNDS]

Both are measured in turn, so that a busy machine slows both. A run costs a fork, a socket, an order, a thread that
watches the controller, a captured output, two messages and an end; the yardstick is `fork`, `_exit`, `wait4`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from reconciler.core.messages import Exited, Order
from reconciler.runner.local import LocalRunner

SITE = Path(__file__).parent.parent / "runner" / "site"
AT_ONCE = 8
RUNS = 200

YARDSTICK = """
import gc, os, sys, time
from reconciler.runner.server import _preload
kept = _preload()
gc.collect(); gc.disable(); gc.freeze()
for line in sys.stdin:
    begin = time.perf_counter()
    for _ in range(int(line)):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.wait4(pid, 0)
    print(int(line) / (time.perf_counter() - begin), flush=True)
os._exit(0)
"""


def order(run: int, folder: Path) -> Order:
    return Order(
        job="idle", run=run, attempt=1, generation=1, root=str(folder), path="idle.yaml",
        provider="subject", job_type="idle", config={}, data_dir=str(folder / "data"),
    )  # fmt: skip


def runs_per_second(runner: LocalRunner, folder: Path, first: int) -> float:
    begin = time.perf_counter()
    started = done = 0
    while done < RUNS:
        while started < RUNS and len(runner.active()) < AT_ONCE:
            runner.start(order(first + started, folder))
            started += 1
        done += sum(isinstance(message, Exited) for message in runner.messages(10))
    return RUNS / (time.perf_counter() - begin)


def main(rounds: int) -> None:
    sys.path.insert(0, str(SITE))
    with (
        tempfile.TemporaryDirectory() as name,
        LocalRunner(Path(name)) as runner,
        subprocess.Popen(
            [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}\n{YARDSTICK}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        ) as bare,
    ):  # fmt: skip
        assert bare.stdin is not None
        assert bare.stdout is not None
        ratios = []
        for number in range(rounds + 1):
            bare.stdin.write(f"{RUNS}\n")
            yardstick = float(bare.stdout.readline())
            ours = runs_per_second(runner, Path(name), 1 + number * RUNS)
            if number:  # the first round warms up
                ratios.append(ours / yardstick)
                print(f"runs {ours:6.0f}/s   bare fork {yardstick:6.0f}/s   ratio {ratios[-1]:.2f}")
        print(f"median ratio {median(ratios):.2f} (aim: over 0.50)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
