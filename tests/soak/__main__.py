"""A real daemon under steady load: does anything drift?

    python -m tests.soak [--minutes 60] [--jobs-a-minute 1000] [--every 20] [--jobs N]

Jobs import files that grow now and then, and one exports what they land to a server of this process. Every few seconds it
is measured: the daemon's memory and that of what its runs are forked from, descriptors, the record, and how long an edit
takes to be decided. Prints a table; exit code 1 where a measure drifts beyond its bound, or far fewer runs ran.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.end_to_end.daemon import Daemon
from tests.servers import serving
from tests.soak.verdict import Sample, judge, table

#: The share of the runs that was asked for which must have run.
ENOUGH = 0.8
#: Of so many jobs, one gets something new at each look.
FED = 10
PATIENCE_S = 120

STREAM = "apiVersion: reconciler/v1\nkind: Stream\nmetadata: {name: ticks}\nspec: {columns: {amount: integer}}\n"
IMPORT = """\
apiVersion: reconciler/v1
kind: Job
metadata: {{name: import-{number:04d}, title: Ticks of shop {number}}}
spec:
  provider: files
  jobType: import-csv
  schedule: {{every: {every_ms}ms}}
  timeout: 10m
  config: {{path: "in/{number:04d}-*.csv", stream: ticks}}
"""
EXPORT = """\
apiVersion: reconciler/v1
kind: Job
metadata: {{name: export-ticks}}
spec:
  provider: http
  jobType: export-webhook
  schedule: {{every: 10s}}
  config: {{stream: ticks, url: "{url}/hook", batchSize: 500, allowPrivateAddresses: true}}
"""


class Site:
    """The root, what comes in, and what is read of the daemon from outside."""

    def __init__(self, folder: Path, url: str, jobs: int, every_ms: int) -> None:
        self.root = folder / "jobs.d"
        self.jobs = jobs
        self._fed = self._edits = 0
        (self.root / "in").mkdir(parents=True)
        (self.root / "ticks.yaml").write_text(STREAM)
        (self.root / "export.yaml").write_text(EXPORT.format(url=url))
        for number in range(jobs):
            self._grow(number, 1)
            self._spec(number).write_text(IMPORT.format(number=number, every_ms=every_ms))

    def feed(self) -> None:
        """One file of a few grows by some rows."""
        for _ in range(max(1, self.jobs // FED)):
            self._grow(self._fed % self.jobs, 5)
            self._fed += 1

    def decision_s(self) -> float:
        """From an edit to the line in the log that tells of it."""
        number = self._edits % self.jobs
        self._edits += 1
        path = self._spec(number)
        log = path.with_suffix(".log")
        size = log.stat().st_size
        changed = _other_timeout(path.read_text(), self._edits)
        beside = path.with_name(f".{path.name}")
        beside.write_text(changed)
        begin = time.perf_counter()
        beside.replace(path)
        while b"event=Updated" not in log.read_bytes()[size:]:
            if time.perf_counter() - begin > PATIENCE_S:
                raise AssertionError("an edit was not decided")
            time.sleep(0.002)
        return time.perf_counter() - begin

    def runs(self) -> int:
        """How many runs have begun."""
        with self._record() as record:
            return int(record.execute("SELECT coalesce(max(id), 0) FROM run").fetchone()[0])

    def rows(self) -> dict[str, int]:
        """How many rows each table has."""
        with self._record() as record:
            names = [row[0] for row in record.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            return {name: record.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in sorted(names)}

    def size(self, name: str) -> int:
        path = self.root / ".reconciler" / name
        return path.stat().st_size if path.exists() else 0

    def _spec(self, number: int) -> Path:
        return self.root / f"import-{number:04d}.yaml"

    def _grow(self, number: int, rows: int) -> None:
        with (self.root / "in" / f"{number:04d}-ticks.csv").open("a") as file:
            if file.tell() == 0:
                file.write("id,amount\n")
            file.write("".join(f"{number}-{self._fed}-{row},{row}\n" for row in range(rows)))

    @contextmanager
    def _record(self) -> Iterator[sqlite3.Connection]:
        uri = f"file:{self.root / '.reconciler' / 'record.db'}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=30)) as record:
            yield record


def _other_timeout(text: str, edits: int) -> str:
    lines = [f"  timeout: {20 + edits % 30}m" if line.startswith("  timeout:") else line for line in text.splitlines()]
    return "\n".join(lines) + "\n"


def rss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def forks_of(pid: int) -> list[int]:
    """The process that runs are forked from; empty before the first run."""
    children = [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [one for one in children if Path(f"/proc/{one}/comm").read_text().strip() == "reconcile-forks"]


def yardstick_s(folder: Path) -> float:
    """A fixed piece of work of the kind that a decision is: some processor, some disk."""
    begin = time.perf_counter()
    json.loads(json.dumps([{"number": one, "text": "x" * 10} for one in range(5_000)]))
    path = folder / "yardstick"
    for _ in range(5):
        with path.open("w") as file:
            file.write("x" * 4096)
            file.flush()
            os.fsync(file.fileno())
    return time.perf_counter() - begin


def look(site: Site, pid: int, folder: Path, began_s: float) -> Sample:
    yard_s = yardstick_s(folder)
    decided_s = site.decision_s()
    forks = forks_of(pid)
    return Sample(
        at_s=time.monotonic() - began_s,
        runs=site.runs(),
        rss=rss(pid),
        forks_rss=sum(map(rss, forks)),
        descriptors=descriptors(pid) + sum(map(descriptors, forks)),
        record=site.size("record.db"),
        wal=site.size("record.db-wal"),
        rows=site.rows(),
        decision_s=decided_s,
        yardstick_s=yard_s,
    )


def soak(folder: Path, *, minutes: float, jobs_a_minute: int, jobs: int, every_s: float) -> list[Sample]:
    """The samples of a daemon that ran for so long. Raises AssertionError where it says nothing any more or ends badly."""
    samples: list[Sample] = []
    with serving() as receiver:
        site = Site(folder, receiver.url, jobs, max(1, jobs * 60_000 // jobs_a_minute))
        with Daemon(site.root) as daemon:
            daemon.wait_for("Watching")
            reader = threading.Thread(target=_read, args=(daemon,), daemon=True)
            reader.start()
            while not forks_of(daemon.process.pid) or site.runs() < jobs:
                assert daemon.process.poll() is None, "the daemon has ended"
                time.sleep(0.05)
            began_s = time.monotonic()
            while time.monotonic() - began_s < minutes * 60:
                samples.append(look(site, daemon.process.pid, folder, began_s))
                site.feed()
                print(f"{samples[-1].at_s / 60:5.1f} min  {samples[-1].runs:,} runs", file=sys.stderr, flush=True)
                time.sleep(min(every_s, max(0.0, minutes * 60 - (time.monotonic() - began_s))))
            samples.append(look(site, daemon.process.pid, folder, began_s))
            daemon.process.terminate()
            reader.join(PATIENCE_S)
            assert daemon.process.wait(PATIENCE_S) == 0, "the daemon did not end well"
            assert daemon.process.stdout is not None
            daemon.process.stdout.close()
            receiver.requests.clear()
    return samples


def _read(daemon: Daemon) -> None:
    """Its lines are read as they come, and not kept."""
    assert daemon.process.stdout is not None
    while os.read(daemon.process.stdout.fileno(), 1 << 16):
        pass


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--jobs-a-minute", type=int, default=1_000)
    parser.add_argument("--every", type=float, default=20, help="seconds between two looks")
    parser.add_argument("--jobs", type=int, help="a tenth of the jobs a minute, unless given")
    given = parser.parse_args(arguments)
    jobs = given.jobs or max(1, given.jobs_a_minute // 10)
    with tempfile.TemporaryDirectory() as name:
        samples = soak(
            Path(name), minutes=given.minutes, jobs_a_minute=given.jobs_a_minute, jobs=jobs, every_s=given.every
        )
    took_min = (samples[-1].at_s - samples[0].at_s) / 60
    ran = samples[-1].runs - samples[0].runs
    print(f"{jobs} jobs, {took_min:.1f} minutes, {ran:,} runs: {ran / took_min:,.0f} a minute")
    for line in table(samples):
        print(line)
    is_enough = ran / took_min >= ENOUGH * given.jobs_a_minute
    if not is_enough:
        print(f"fewer than {ENOUGH:.0%} of {given.jobs_a_minute} runs a minute")
    return 0 if is_enough and all(one.holds for one in judge(samples)) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
