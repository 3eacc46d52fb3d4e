"""What a daemon over many jobs costs: from an edit to its decision, memory, processor while idle, and its start.

    python -m tests.benchmarks.daemon [ROW …] [--rounds N] [--quick]

Real daemons, in processes of their own. An edit is decided once the record holds it: another connection asks, each
millisecond.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final

from reconciler.record.store import Record
from reconciler.repo.rhythm import FILES_A_MINUTE, MINUTE_MS
from tests.benchmarks.command import alone
from tests.benchmarks.rows import Bench, Figure, Pair, Round, Row, under
from tests.benchmarks.tree import RECONCILE, Jobs, cost, environment, jobs, name_of, spec_path

PATIENCE_S: Final = 120
#: A window of idleness, in which the daemon looks once at what was named.
IDLE_S: Final = 60
#: Until its watches are at rest, too.
REST_S: Final = 65
#: Edits of a round, and the pause after each in which statuses are written.
EDITS: Final = 100
PAUSE_S: Final = 0.05

#: The bare event: watchfiles with the timings that the daemon gives it, in a process of its own. It prints when an event
#: came, by the clock that all processes share.
WATCH: Final = """
import sys, time, watchfiles
for batch in watchfiles.watch(sys.argv[1], debounce=500, step=50, rust_timeout=250, yield_on_timeout=True):
    at = time.monotonic_ns()
    print(at if batch else "quiet", flush=True)
"""

#: Reads and hashes every spec below a folder.
HASHES: Final = """
import hashlib, os, sys
for folder, _, names in os.walk(sys.argv[1]):
    for name in names:
        if name.endswith(".yaml") and not name.endswith(".status.yaml"):
            with open(os.path.join(folder, name), "rb") as file:
                hashlib.sha256(file.read()).hexdigest()
"""


@contextlib.contextmanager
def daemon(folder: Path, *arguments: str, path: Path | None = None) -> Iterator[int]:
    """The pid of a daemon that watches; providers are also looked for at `path`."""
    env = environment()
    env["PYTHONPATH"] += f":{path}" if path else ""
    with subprocess.Popen(
        [*RECONCILE, "--watch", *arguments],
        cwd=folder,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        try:
            said = process.stderr.readline()
            assert "Watching" in said, said
            yield process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.stderr.read()


def wait_until(holds: Callable[[], bool]) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < until_s, f"not decided within {PATIENCE_S} s"
        time.sleep(0.001)


class Decided:
    """When the record came to hold another generation of a job."""

    def __init__(self, state: Path, number: int) -> None:
        self._record, self._name = Record.reading(state), name_of(number)
        self._before = self._generation()

    def _generation(self) -> int:
        job = self._record.jobs.job(self._name)
        assert job is not None
        return job.generation

    def wait(self) -> int:
        """The moment, in nanoseconds of the clock that all processes share."""
        wait_until(lambda: self._generation() > self._before)
        self._before = self._generation()
        return time.monotonic_ns()

    def __enter__(self) -> Decided:
        return self

    def __exit__(self, *_: object) -> None:
        self._record.close()


# --- an edit ----------------------------------------------------------------------------------------------------------


def edits(bench: Bench, count: int) -> Iterator[Round]:
    tree = jobs(bench, count)
    tree.restore()
    with (
        bench.scratch() as beside,
        daemon(tree.folder),
        Decided(tree.root / ".reconciler", 7) as decided,
        _bare_watch(beside) as events,
    ):
        tree.edit(7)
        decided.wait()  # the first look of the daemon is over, and what an edit needs is loaded
        bench.note(f"{bench.size(EDITS, 10)} edits a round")
        for _ in range(bench.rounds):
            time.sleep(1)
            pairs = [_edit(tree, decided, beside, events) for _ in range(bench.size(EDITS, 10))]
            ours, theirs = (sorted(side) for side in zip(*pairs, strict=True))
            yield {f"p{rank}": (at(ours, rank), at(theirs, rank)) for rank in (50, 99)}
    tree.restore()


@contextlib.contextmanager
def _bare_watch(folder: Path) -> Iterator[IO[str]]:
    """What the bare watch of a folder prints, once it stands."""
    with subprocess.Popen([sys.executable, "-c", WATCH, str(folder)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            while process.stdout.readline() != "quiet\n":
                pass
            yield process.stdout
        finally:
            process.kill()


def _edit(tree: Jobs, decided: Decided, beside: Path, events: IO[str]) -> Pair:
    """From an edit to its decision; and from one of a file in a folder where nobody else writes to its bare event."""
    time.sleep(PAUSE_S + random.random() * PAUSE_S)  # an edit may come at any moment of the watch's own ticking
    begin = time.monotonic_ns()
    tree.edit(7)
    bare_begin = time.monotonic_ns()
    (beside / "orders.yaml").write_text(str(begin))
    done = decided.wait()
    while (line := events.readline()) == "quiet\n":
        pass
    return (done - begin) / 1e9, (int(line) - bare_begin) / 1e9


def at(ordered: list[float], rank: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * rank // 100)]


# --- at rest ----------------------------------------------------------------------------------------------------------


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents.setdefault(int(path.read_text().rpartition(") ")[2].split()[1]), []).append(int(path.parent.name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def memory(pid: int) -> int:
    """Bytes of a daemon and its processes; what they share counts once."""
    total = 0
    for one in family(pid):
        text = Path(f"/proc/{one}/smaps_rollup").read_text()
        total += int(re.findall(r"^Pss:\s+(\d+)", text, re.MULTILINE)[0]) * 1024
    return total


def cpu_s(pid: int) -> float:
    """Seconds of processor of a daemon, its threads and its processes, to the nanosecond."""
    tasks = [path for one in family(pid) for path in Path(f"/proc/{one}/task").glob("*/schedstat")]
    return sum(int(path.read_text().split()[0]) for path in tasks) / 1e9


def settle(tree: Jobs, pid: int) -> None:
    """Until the first looks are over, and the processor is at rest."""
    until_s = time.monotonic() + PATIENCE_S
    while True:
        before = cpu_s(pid)
        time.sleep(2)
        if cpu_s(pid) - before < 0.02:
            return
        assert time.monotonic() < until_s, "the daemon never comes to rest"


def memories(bench: Bench, count: int) -> Iterator[Round]:
    tree, few = jobs(bench, count), jobs(bench, 8)
    spec = len(spec_path(tree.root, 7).read_bytes())
    bench.note(f"a spec is {spec} bytes")
    for _ in range(bench.rounds):
        found = []
        for one in (few, tree):
            with daemon(one.folder) as pid:
                settle(one, pid)
                found.append(memory(pid))
        yield {"": ((found[1] - found[0]) / (count - 8) - spec, 1)}
    bench.note(f"the whole daemon {found[1] / (1 << 20):.0f} MiB, with 8 jobs {found[0] / (1 << 20):.0f} MiB")


def idleness(bench: Bench) -> Iterator[Round]:
    count = bench.size(100_000, 1_000)
    between_s = max(MINUTE_MS, count * MINUTE_MS // FILES_A_MINUTE) / 1000
    tree = jobs(bench, count)
    with daemon(tree.folder) as pid:
        settle(tree, pid)
        time.sleep(bench.size(REST_S, 0))
        for _ in range(bench.rounds):
            begin_s, begin = cpu_s(pid), time.perf_counter()
            time.sleep(bench.size(IDLE_S, 5))
            idle = (cpu_s(pid) - begin_s) / (time.perf_counter() - begin)
            begin_s = cpu_s(pid)
            os.kill(pid, signal.SIGHUP)
            settle(tree, pid)
            walk_s = cpu_s(pid) - begin_s
            bench.note(f"a minute without a walk {idle:.3%}, a walk {walk_s:.2f} s, every {between_s / 60:.0f} minutes")
            yield {"": ((idle + walk_s / between_s) * 100, 1)}


# --- its start --------------------------------------------------------------------------------------------------------


def starts(bench: Bench) -> Iterator[Round]:
    tree = jobs(bench, bench.size(100_000, 1_000))
    tree.restore()
    with Decided(tree.root / ".reconciler", 7) as decided:
        for _ in range(bench.rounds):
            tree.edit(7)
            time.sleep(1)
            theirs = cost(sys.executable, "-c", HASHES, str(tree.root), cwd=tree.folder).wall_s
            begin = time.monotonic_ns()
            with daemon(tree.folder):
                yield {"": ((decided.wait() - begin) / 1e9, theirs)}
    tree.restore()


# --- the rows ---------------------------------------------------------------------------------------------------------


def _edits(name: str, count: int, quick: int) -> Row:
    return Row(
        name=name,
        asks="edit to decision",
        figures={
            f"p{rank}": Figure(
                what=f"edit to decision in the daemon, {count:,} specs, p{rank}",
                yardstick=f"the bare watchfiles event, p{rank}",
                aim=under(2),
            )
            for rank in (50, 99)
        },
        measure=lambda bench: edits(bench, bench.size(count, quick)),
        differs=(
            "ours ends when the record holds the decision (fsync), which is asked for each millisecond; "
            "both wait 50 ms for quiet, as the daemon does; the bare watch is of another folder, where none but the edits is seen"
        ),
    )


def _memory(name: str, count: int, quick: int) -> Row:
    return Row(
        name=name,
        asks="daemon memory",
        figures={
            "": Figure(
                what=f"memory of a daemon with {count:,} scheduled jobs, a job, beyond its spec",
                yardstick="",
                aim=under(1024, "under 1 KiB a job"),
                unit="bytes",
            )
        },
        measure=lambda bench: memories(bench, bench.size(count, quick)),
        differs="no yardstick: what a daemon over 8 jobs takes is subtracted; all its processes, shared pages once",
    )


ROWS: Final = (
    _edits("edit-10000", 10_000, 300),
    _edits("edit-100000", 100_000, 1_000),
    _memory("memory-10000", 10_000, 300),
    _memory("memory-100000", 100_000, 1_000),
    Row(
        name="idle",
        asks="daemon memory",
        figures={
            "": Figure(
                what="processor of an idle daemon with 100,000 scheduled jobs",
                yardstick="",
                aim=under(0.1, "under 0.1 % of a core"),
                unit="%",
            )
        },
        measure=idleness,
        differs=(
            "no yardstick; each round is a minute in which nothing happens, after another such minute and without a look at the "
            "whole tree, and such a look, which is asked for (SIGHUP) and counted as often as it comes by itself"
        ),
    ),
    Row(
        name="start",
        asks="start to ready",
        figures={
            "": Figure(
                what="start to ready with 100,000 known specs",
                yardstick="a script that reads and hashes those files",
                aim=under(2),
            )
        },
        measure=starts,
        differs=(
            "ready is when the record holds the decision about an edit that was made while the daemon was off; "
            "the daemon compares what `stat` says, and reads what may have changed"
        ),
    ),
)

if __name__ == "__main__":
    sys.exit(alone(__doc__, ROWS))
