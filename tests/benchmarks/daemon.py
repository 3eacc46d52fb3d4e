"""What a daemon over many jobs costs: memory, processor while idle, and the time from an edit to its decision.

    python -m tests.benchmarks.daemon [JOBS [EDITS]]

The yardstick of memory is a daemon over one job, started in the same run; that of an edit is `reconcile plan`, which
decides the same from the start. An edit is decided when its line is in the job's log.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tests.benchmarks.tree import RECONCILE, cost, environment, spec_path, write_tree

IDLE_S = 20
PATIENCE_S = 60


@contextlib.contextmanager
def daemon(folder: Path) -> Iterator[int]:
    """The pid of a daemon that watches."""
    with subprocess.Popen(
        [*RECONCILE, "--watch"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert "Watching" in process.stderr.readline()
        yield process.pid
        process.send_signal(signal.SIGTERM)


def memory_mib(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", text)[0]) / 1024


def cpu_s(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def decided_s(root: Path, minutes: int) -> float:
    """From an edit to the line in the log that tells of it."""
    path = spec_path(root, 7)
    log = path.with_name("import-orders-000007.log")
    size = log.stat().st_size
    text = re.sub(r"timeout: \S+", f"timeout: {minutes}m", path.read_text())
    begin = time.perf_counter()
    path.write_text(text)
    while log.stat().st_size == size:
        assert time.perf_counter() - begin < PATIENCE_S, "the edit was not decided"
        time.sleep(0.002)
    return time.perf_counter() - begin


def settled_mib(pid: int) -> float:
    """The memory once the first looks are over."""
    time.sleep(5)
    return memory_mib(pid)


def main(jobs: int, edits: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        small, large = Path(name, "small"), Path(name, "large")
        roots = [write_tree(folder, count) for folder, count in ((small, 8), (large, jobs))]
        for folder in (small, large):
            cost(*RECONCILE, cwd=folder)
        with daemon(small) as pid:
            least_mib = settled_mib(pid)
        with daemon(large) as pid:
            mib, begin_s = settled_mib(pid), cpu_s(pid)
            time.sleep(IDLE_S)
            idle = (cpu_s(pid) - begin_s) / IDLE_S
            pairs = []
            for number in range(edits):
                time.sleep(1)
                pairs.append((decided_s(roots[1], 100 + number), cost(*RECONCILE, "plan", cwd=large).wall_s))
            edited_mib = memory_mib(pid)
    print(f"{jobs:,} suspended jobs; idle {idle:.2%} of a core")
    print(
        f"memory {mib:.0f} MiB, after {edits} edits {edited_mib:.0f}; with 8 jobs {least_mib:.0f}; ratio {mib / least_mib:.2f}"
    )
    ratio = median(ours / plan for ours, plan in pairs)
    print(f"edit to decision {median(ours for ours, _ in pairs):.3f} s, ratio to a plan {ratio:.2f}")


if __name__ == "__main__":
    main(*(int(one) for one in (*sys.argv[1:], *("10000", "5")[len(sys.argv) - 1 :])))
