"""Runs that do nothing, a second; and how soon a run starts that waited for another.

    python -m tests.benchmarks.runs [ROW …] [--rounds N] [--quick]

`runs`: a whole pass of jobs that find nothing new, beside what the runner alone does; the yardstick is fork, `_exit` and
`wait4` of the same preloaded process. Tasks of huey and Celery stand beside it as information: they isolate nothing.

`dependents`: a chain of jobs, each of which runs once the one before it has succeeded, under a daemon. Each run notes when
its work begins and when it has ended, so what is measured begins before the dependency's end is even told, and ends when
the dependent's own code runs.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Final

from reconciler.core.messages import Exited, Order
from reconciler.runner.local import LocalRunner
from tests.benchmarks.command import alone
from tests.benchmarks.daemon import at, daemon, wait_until
from tests.benchmarks.rivals import rival, version
from tests.benchmarks.rows import Bench, Figure, Round, Row, over, under
from tests.benchmarks.tree import RECONCILE, cost, environment, write_tree

SITE: Final = Path(__file__).parent.parent / "runner" / "site"
AT_ONCE: Final = 8
FORKS: Final = 200
#: How often it is looked whether a chain is over.
LOOK_S: Final = 0.1

FORK: Final = """
import gc, os, sys, time
from reconciler.runner.loading import Loading
loading = Loading()
loading.begin()
loading.load_all()
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

HUEY: Final = """
import sys, time
from huey import SqliteHuey
huey = SqliteHuey(filename="huey.db", results=True)
@huey.task()
def nothing():
    return 1
consumer = huey.create_consumer(workers=2, worker_type="thread", initial_delay=0.001, max_delay=0.005, periodic=False)
consumer.start()
nothing().get(blocking=True, timeout=60)
begin = time.perf_counter()
for one in [nothing() for _ in range(int(sys.argv[1]))]:
    one.get(blocking=True, timeout=60, backoff=1, max_delay=0.001)
print(int(sys.argv[1]) / (time.perf_counter() - begin))
consumer.stop(graceful=False)
"""

CELERY: Final = """
import sys, time
from celery import Celery
from celery.contrib.testing.worker import start_worker
app = Celery("bench", broker="memory://", backend="cache+memory://")
app.conf.worker_hijack_root_logger = False
@app.task
def nothing():
    return 1
with start_worker(app, pool="solo", perform_ping_check=False, loglevel="ERROR"):
    nothing.delay().get(timeout=60)
    begin = time.perf_counter()
    for one in [nothing.delay() for _ in range(int(sys.argv[1]))]:
        one.get(timeout=60, interval=0.001)
    print(int(sys.argv[1]) / (time.perf_counter() - begin), flush=True)
    import os
    os._exit(0)
"""


# --- runs a second ----------------------------------------------------------------------------------------------------


@contextmanager
def bare_forks() -> Iterator[subprocess.Popen[str]]:
    """The same preloaded process, which only forks and reaps."""
    program = f"import sys; sys.path[:] = {sys.path!r}\n{FORK}"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        env=environment(),
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def forks_per_s(bare: subprocess.Popen[str]) -> float:
    assert bare.stdin is not None
    assert bare.stdout is not None
    bare.stdin.write(f"{FORKS}\n")
    return float(bare.stdout.readline())


def order(run: int, folder: Path) -> Order:
    return Order(
        job="idle", run=run, attempt=1, generation=1, root=str(folder), path="idle.yaml",
        provider="subject", job_type="idle", config={}, data_dir=str(folder / "data"),
    )  # fmt: skip


def runner_per_s(runner: LocalRunner, folder: Path, first: int) -> float:
    """Without record, log and status."""
    begin = time.perf_counter()
    started = done = 0
    while done < FORKS:
        while started < FORKS and len(runner.active()) < AT_ONCE:
            runner.start(order(first + started, folder))
            started += 1
        done += sum(isinstance(message, Exited) for message in runner.messages(10))
    return FORKS / (time.perf_counter() - begin)


def task_per_s(name: str, program: str, folder: Path, tasks: int) -> float:
    command: list[str | Path] = [rival(name) / "python", "-c", program, str(tasks)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr[-400:]}")
    return float(done.stdout.split()[-1])


def runs(bench: Bench) -> Iterator[Round]:
    count = bench.size(1_000, 50)
    bench.note(f"{count:,} runs a pass; {version('huey')}, {version('celery')}")
    sys.path.insert(0, str(SITE))
    with bench.scratch() as folder, LocalRunner(folder) as runner, bare_forks() as bare:
        write_tree(folder, count, suspend=False, schedule="{every: 1s}")
        cost(*RECONCILE, cwd=folder)  # creates them, and runs each once
        for number in range(bench.rounds + 1):
            time.sleep(1.1)  # all of them are due again
            before = forks_per_s(bare)
            ours = count / cost(*RECONCILE, cwd=folder).wall_s
            theirs = (before + forks_per_s(bare)) / 2
            alone_per_s = runner_per_s(runner, folder, 1 + number * FORKS)
            huey, celery = task_per_s("huey", HUEY, folder, count), task_per_s("celery", CELERY, folder, count)
            if number:  # the first round warms up
                sides = {"": ours, "runner": alone_per_s, "huey": huey, "celery": celery}
                yield {key: (side, theirs) for key, side in sides.items()}
    sys.path.remove(str(SITE))


# --- dependents -------------------------------------------------------------------------------------------------------

STAMP: Final = """
import os, time
from reconciler.core.provider import JobType, Provider, Unit
def stamp(context):
    begin = time.monotonic_ns()
    yield Unit(cursor=begin)
    time.sleep(context.config["busy_s"])
    line = f"{context.config['number']} {begin} {time.monotonic_ns()}\\n"
    with open(context.config["file"], "a") as file:
        file.write(line)
PROVIDER = Provider(
    name="stamp", title="Notes when it runs", methods=(),
    job_types=(JobType(name="stamp", type="import", title="stamp", schema={"type": "object"}, config=dict, run=stamp,
                       authorization="none"),),
)
"""

#: How long a run is busy in the second chain.
BUSY_S: Final = 0.05

CHAIN: Final = """\
apiVersion: reconciler/v1
kind: Job
metadata: {{name: link-{number:03d}}}
spec:
  provider: stamp
  jobType: stamp
  schedule: {schedule}
  dependsOn: {after}
  config: {{number: {number}, file: "{file}", busy_s: {busy_s}}}
---
"""


def write_chain(folder: Path, links: int, busy_s: float) -> Path:
    """A root of so many jobs, each after the one before it and busy for so long, and their provider; where they note their
    times."""
    site, root, noted = folder / "site", folder / "jobs.d", folder / "noted"
    info = site / "reconciler_stamp-1.0.dist-info"
    info.mkdir(parents=True)
    root.mkdir()
    noted.touch()
    (site / "reconciler_stamp.py").write_text(STAMP)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: reconciler-stamp\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[reconciler.providers]\nstamp = reconciler_stamp\n")
    text = "".join(
        CHAIN.format(
            number=number,
            schedule="{afterDependencies: true}" if number else "{once: true}",
            after=f"[link-{number - 1:03d}]" if number else "[]",
            file=noted,
            busy_s=busy_s,
        )
        for number in range(links)
    )
    (root / "chain.yaml").write_text(text.removesuffix("---\n"))
    return noted


def _is_whole(noted: Path, links: int) -> bool:
    """Whether every link has noted its times. Asked seldom: the daemon's watch of this folder hears of each reading, on the
    cores that the links need."""
    time.sleep(LOOK_S)
    return noted.read_text().count("\n") == links


def waits_s(noted: Path) -> list[float]:
    """From the end of each link's work to the beginning of the next one's."""
    times = sorted(tuple(map(int, line.split())) for line in noted.read_text().splitlines())
    return sorted((begin - end) / 1e9 for (_, _, end), (_, begin, _) in pairwise(times))


def transactions_s(folder: Path, count: int) -> list[float]:
    """Of one row each, committed as the record commits."""
    taken = []
    with closing(sqlite3.connect(folder / "yardstick.db", isolation_level=None)) as connection:
        connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
        connection.execute("CREATE TABLE run (id INTEGER PRIMARY KEY, started INTEGER) STRICT")
        for number in range(count):
            begin = time.perf_counter()
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO run VALUES (?, ?)", (number, time.monotonic_ns()))
            connection.execute("COMMIT")
            taken.append(time.perf_counter() - begin)
    return taken


def dependents(bench: Bench) -> Iterator[Round]:
    links = bench.size(301, 11)  # of 100 dependents the slowest of all would stand for the 99th
    bench.note(
        f"{links - 1} dependents a round, one after the other, and as many behind runs that take {BUSY_S * 1000:.0f} ms"
    )
    for _ in range(bench.rounds):
        yield {**_chained(bench, links, 0, ""), **_chained(bench, links, BUSY_S, "busy-")}


def _chained(bench: Bench, links: int, busy_s: float, key: str) -> Round:
    with bench.scratch() as folder:
        noted = write_chain(folder, links, busy_s)
        committed = transactions_s(folder, links)
        with daemon(folder, path=folder / "site"):
            wait_until(lambda: _is_whole(noted, links))
        theirs, found = sorted(committed + transactions_s(folder / "site", links)), waits_s(noted)
    slow = at(found, 99)
    return {
        f"{key}p50": (at(found, 50), median(theirs)),
        f"{key}p99": (slow, at(theirs, 99)),
        f"{key}p99-median": (slow, median(theirs)),
    }


def _rate(what: str, *, aimed: bool = False) -> Figure:
    aim = over(0.5) if aimed else None
    return Figure(what=what, yardstick="fork and reap of the same preloaded process", aim=aim, unit="/s")


ROWS: Final = (
    Row(
        name="runs",
        asks="runs that do nothing",
        figures={
            "": _rate("runs that do nothing, a second, in a whole pass", aimed=True),
            "runner": _rate("the runner alone"),
            "huey": _rate("huey tasks: SQLite, two threads"),
            "celery": _rate("Celery tasks: memory broker, one thread"),
        },
        measure=runs,
        differs=(
            "a run also has a socket, an order, a captured output and a watch over its controller; in a pass its start and end "
            "are committed, its log and status written (fsync), and the pass starts Python. Tasks of huey and Celery share a process"
        ),
    ),
    Row(
        name="dependents",
        asks="dependents' start",
        figures={
            f"{key}{rank}": Figure(
                what=f"dependents' start after the end of {dependency}, {rank.partition('-')[0]}",
                yardstick=f"one committed SQLite transaction ({theirs})",
                aim=aim,
            )
            for key, dependency in (
                ("", "a dependency that did nothing"),
                ("busy-", f"a dependency that ran for {BUSY_S * 1000:.0f} ms"),
            )
            for rank, theirs, aim in (
                ("p50", "median", None),
                ("p99", "p99", under(20)),
                ("p99-median", "median", None),
            )
        },
        measure=dependents,
        differs=(
            "ours begins when the dependency's code has ended and ends when the dependent's code runs: two messages, "
            "the commits of an end and of a start, and a fork. Where nothing is done each link waits for the processes of the one "
            "before it to be made and to end, so that is a rate as much as a wait; behind a run that takes a while it is the wait"
        ),
    ),
)

if __name__ == "__main__":
    sys.exit(alone(__doc__, ROWS))
