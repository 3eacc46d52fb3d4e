"""What it costs to mirror an audience to a webhook, by the whole command. `python -m tests.benchmarks.mirror --help`.

    export   so many additions to a sink on loopback, in batches: `reconcile` from its start to its end (comparison, plan, two
             commits for each batch, ledger), against a bare httpx loop that posts the very same bodies one after the
             other, against the same loop with a row of SQLite committed before and after each request (WAL,
             synchronous=FULL: the least that outlives a crash), and against `drt run` of drt-core 1.2 over the same rows in
             a DuckDB file
    webhook  the same for so many messages of a stream (`export-webhook`), without drt-core
    bisect   10,000 members of whom 1 to 20 are refused by a receiver that refuses a whole batch and names nobody: calls,
             against k * log2 n

All sides of a ratio take turns, several times; what is printed are the medians, and the least and the greatest ratio.

drt-core is installed with pip into an environment of its own (see rivals.py). It is told to post batches of the same
size (`body_mode: batch`), as fast as it can, in its default mode `full`: it reads the rows, renders each batch with a
template and posts it. It keeps no receipt of a batch, so what is compared is the way out alone: a second run of ours sends
nothing, a second run of drt in this mode sends everything again. Importing the rows and building profiles, which drt has no
part of, is not in our time.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import random
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from math import log2
from pathlib import Path
from statistics import median
from typing import Any, Final

import duckdb
import httpx

from tests.benchmarks.rivals import rival, version
from tests.benchmarks.rows import Bench, Figure, Round, Row, over
from tests.benchmarks.tree import environment, without_ours
from tests.providers.audience_bench import bench, people
from tests.servers import Play, Request

SPECS: Final = """
apiVersion: reconciler/v1
kind: Stream
metadata: {name: people}
spec:
  columns: {spent: "decimal(12,2)"}
  identity: [{key: email, from: email}]
  attributes: {plan: {from: plan}, spent: {from: spent}}
---
apiVersion: reconciler/v1
kind: Audience
metadata: {name: everyone}
spec: {where: "spent >= 0"}
---
apiVersion: reconciler/v1
kind: Job
metadata: {name: import-people}
spec: {provider: files, jobType: import-csv, config: {path: people.csv, stream: people}}
---
apiVersion: reconciler/v1
kind: Job
metadata: {name: people-to-sink}
spec:
  provider: http
  jobType: export-audience
  suspend: SUSPEND
  restart: "RESTART"
  config:
    audience: everyone
    url: URL
    batchSize: BATCH
    allowPrivateAddresses: true
    fields: {email: {from: email}, plan: {from: plan}, spent: {from: spent}}
"""

STREAM_SPECS: Final = """
apiVersion: reconciler/v1
kind: Stream
metadata: {name: people}
spec: {}
---
apiVersion: reconciler/v1
kind: Job
metadata: {name: import-people}
spec: {provider: files, jobType: import-csv, config: {path: people.csv, stream: people}}
---
apiVersion: reconciler/v1
kind: Job
metadata: {name: people-to-sink}
spec:
  provider: http
  jobType: export-webhook
  suspend: SUSPEND
  restart: "RESTART"
  config: {stream: people, url: URL, batchSize: BATCH, allowPrivateAddresses: true}
"""

DRT_SYNC: Final = """
name: people
model: ref('people')
destination:
  type: rest_api
  url: URL
  method: POST
  headers: {Content-Type: application/json}
  body_mode: batch
  max_records_per_request: BATCH
  batch_template: '{"action":"add","members":{{ rows | tojson }}}'
  native_idempotency_key: '{{ request_id }}'
sync: {mode: full, batch_size: BATCH, rate_limit: {requests_per_second: 1000000000}, on_error: fail}
"""


# --- the sink -------------------------------------------------------------------------------------------------------


class Sink:
    """Reads requests and answers 200 in a process of its own: no HTTP library, so that the sink is not what is measured.
    While `keep` is set it writes the bodies to a file."""

    def __init__(self, file: Path) -> None:
        fork = multiprocessing.get_context("fork")
        self.file = file
        self.seen = fork.Array("d", 3)  # how many, when the first came, when the last was answered
        self.keep = fork.Value("b", 0)
        listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}/in"
        self._process = fork.Process(target=self._serve, args=(listening,), daemon=True)
        self._process.start()

    def counted(self) -> tuple[int, float]:
        """How many requests came since this was last asked, and the seconds from the first to the last."""
        number, first, last = self.seen[:]
        self.seen[0] = 0
        return int(number), last - first

    def _serve(self, listening: socket.socket) -> None:
        while True:
            connection, _ = listening.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with connection, connection.makefile("rb") as requests:
                self._answer(connection, requests)

    def _answer(self, connection: socket.socket, requests: Any) -> None:
        while line := requests.readline():
            if not self.seen[0]:
                self.seen[1] = time.monotonic()
            length = 0
            while line not in (b"\r\n", b""):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
                line = requests.readline()
            body = requests.read(length)
            if self.keep.value:
                with self.file.open("ab") as kept:
                    kept.write(body + b"\n")
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            self.seen[0] += 1
            self.seen[2] = time.monotonic()

    def close(self) -> None:
        self._process.kill()
        self._process.join()


@contextmanager
def sinking(file: Path) -> Iterator[Sink]:
    sink = Sink(file)
    try:
        yield sink
    finally:
        sink.close()


# --- the sides ------------------------------------------------------------------------------------------------------


def timed(command: Sequence[str], folder: Path, env: Mapping[str, str]) -> float:
    begin = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return time.perf_counter() - begin


class Ours:
    def __init__(self, folder: Path, specs: str, url: str, members: int, batch: int) -> None:
        self.root = folder / "jobs"
        self.root.mkdir()
        self._specs = specs.replace("URL", url).replace("BATCH", str(batch))
        self._round = 0
        with (self.root / "people.csv").open("w") as file:
            file.write("email,plan,spent\n")
            file.writelines(f"p{one}@example.org,gold,{one % 10_000 / 100}\n" for one in range(members))
        self._run(suspend=True)
        if "kind: Audience" in specs:
            self._reconcile("rebuild", "--root", str(self.root))

    def export(self) -> float:
        """Sends everyone anew."""
        self._round += 1
        return self._run(suspend=False)

    def _run(self, *, suspend: bool) -> float:
        specs = self._specs.replace("SUSPEND", str(suspend).lower()).replace("RESTART", str(self._round))
        (self.root / "specs.yaml").write_text(specs)
        return self._reconcile("--root", str(self.root))

    def _reconcile(self, *arguments: str) -> float:
        return timed([sys.executable, "-m", "reconciler", *arguments], Path.cwd(), environment())


def bare(url: str, bodies: Path, record: sqlite3.Connection | None = None) -> float:
    """A loop with nothing in it but the requests, and two commits for each where there is a record."""
    with bodies.open("rb") as lines:
        loaded = [line[:-1] for line in lines]
    begin = time.perf_counter()
    with httpx.Client() as client:
        for number, one in enumerate(loaded):
            if record:
                record.execute("INSERT INTO intent VALUES (?, ?)", (number, hashlib.sha256(one).hexdigest()))
                record.commit()
            headers = {"Content-Type": "application/json", "Idempotency-Key": str(number)}
            client.post(url, content=one, headers=headers).raise_for_status()
            if record:
                record.execute("DELETE FROM intent WHERE key = ?", (number,))
                record.commit()
    return time.perf_counter() - begin


def durable(url: str, bodies: Path) -> float:
    with closing(sqlite3.connect(bodies.with_name("durable.db"))) as record:
        record.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
        record.execute("CREATE TABLE IF NOT EXISTS intent (key INTEGER PRIMARY KEY, digest TEXT)")
        return bare(url, bodies, record)


class Drt:
    """drt-core over the same rows. Raises Unavailable where pip cannot have it."""

    def __init__(self, folder: Path, url: str, batch: int, rows: Path) -> None:
        self._folder = folder / "drt"
        self._home = folder / "home"
        self._bin = rival("drt-core")
        (self._folder / "syncs").mkdir(parents=True)
        (self._home / ".drt").mkdir(parents=True)
        (self._folder / "drt_project.yml").write_text("name: bench\nprofile: local\n")
        (self._folder / "syncs" / "people.yml").write_text(DRT_SYNC.replace("URL", url).replace("BATCH", str(batch)))
        database = self._folder / "people.duckdb"
        (self._home / ".drt" / "profiles.yml").write_text(f"local:\n  type: duckdb\n  database: {database}\n")
        with duckdb.connect(str(database)) as db:
            db.execute(f"CREATE TABLE people AS FROM read_csv('{rows}', all_varchar = true)").fetchall()

    def export(self) -> float:
        env = {**without_ours(), "HOME": str(self._home), "DRT_TELEMETRY_DISABLED": "1"}
        return timed([str(self._bin / "drt"), "run"], self._folder, env)


def spread(name: str, aim: str, ratios: Sequence[float]) -> None:
    print(f"  {name}: {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}){aim}")


def export(folder: Path, specs: str, members: int, batch: int, times: int, *, with_drt: bool) -> None:
    with sinking(folder / "bodies") as sink:
        ours = Ours(folder, specs, sink.url, members, batch)
        drt = Drt(folder, sink.url, batch, ours.root / "people.csv") if with_drt else None
        sink.keep.value = 1
        ours.export()
        sink.keep.value = 0
        sink.counted()
        found: list[tuple[float, float, float, float, float]] = []
        for _ in range(times):
            loop = bare(sink.url, sink.file)
            calls, _ = sink.counted()
            kept = durable(sink.url, sink.file)
            sink.counted()
            whole = ours.export()
            ours_calls, sending = sink.counted()
            assert calls == ours_calls == -(-members // batch), "both send the same requests"
            other = drt.export() if drt else 0.0
            assert not drt or sink.counted()[0] == calls, "drt sends as many"
            found.append((loop, kept, whole, sending, other))
            said = f", drt {other:.2f} s" if drt else ""
            print(f"  bare {loop:.2f} s, durable {kept:.2f} s, ours {whole:.2f} s, of it sending {sending:.2f} s{said}")
    print(f"{members} {'additions' if specs is SPECS else 'messages'} in batches of {batch}, {times} rounds")
    spread("our rate while sending, of the bare loop's", "; aim: over 0.7", [one[0] / one[3] for one in found])
    spread("our rate while sending, of the durable loop's", "", [one[1] / one[3] for one in found])
    spread("our rate of the whole command, of the bare loop's", "", [one[0] / one[2] for one in found])
    if with_drt:
        spread("our rate of the whole command, of drt's whole command", "", [one[4] / one[2] for one in found])


# --- the rows of the table -------------------------------------------------------------------------------------------


def exports(run: Bench, specs: str) -> Iterator[Round]:
    """The whole command, and what of it is sending, against the bare loop with the same bodies."""
    members, batch = run.size(1_000_000, 5_000), 500
    with run.scratch() as folder, sinking(folder / "bodies") as sink:
        ours = Ours(folder, specs, sink.url, members, batch)
        sink.keep.value = 1
        ours.export()
        sink.keep.value = 0
        sink.counted()
        for _ in range(run.rounds):
            loop = bare(sink.url, sink.file)
            calls, _ = sink.counted()
            kept = durable(sink.url, sink.file)
            sink.counted()
            whole = ours.export()
            ours_calls, sending = sink.counted()
            assert calls == ours_calls == -(-members // batch), "both send the same requests"
            yield {"": (whole, loop), "sending": (sending, loop), "durable": (whole, kept)}


def exports_beside_drt(run: Bench, specs: str) -> Iterator[Round]:
    members, batch = run.size(200_000, 2_000), 500
    run.note(version("drt-core"))
    with run.scratch() as folder, sinking(folder / "bodies") as sink:
        ours = Ours(folder, specs, sink.url, members, batch)
        drt = Drt(folder, sink.url, batch, ours.root / "people.csv")
        for _ in range(run.rounds):
            sink.counted()
            other = drt.export()
            calls, _ = sink.counted()
            whole = ours.export()
            assert calls == sink.counted()[0], "both send as many requests"
            yield {"": (whole, other)}


def _export_row(name: str, asks: str, specs: str, what: str) -> Row:
    bare_loop = "a bare httpx loop that posts the same bodies"
    return Row(
        name=name,
        asks=asks,
        figures={
            "": Figure(
                what=f"{what}, batches of 500, whole command",
                yardstick=bare_loop,
                aim=over(0.7, "over 0.7 of its rate"),
                faster=True,
            ),
            "sending": Figure(
                what="of it, from the first request to the last answer", yardstick=bare_loop, faster=True
            ),
            "durable": Figure(
                what="the whole command", yardstick="the loop with two commits to SQLite for each request", faster=True
            ),
        },
        measure=lambda run: exports(run, specs),
        differs=(
            "the loop has its bodies ready and keeps nothing; ours starts Python, reads and renders what it sends, and commits "
            "each batch before it leaves and once it is acknowledged (fsync)"
        ),
    )


def _drt_row(name: str, asks: str, specs: str, what: str, *, aimed: bool) -> Row:
    return Row(
        name=name,
        asks=asks,
        figures={
            "": Figure(
                what=f"{what}, batches of 500",
                yardstick="`drt run` of drt-core 1.2 over the same rows",
                aim=over(10, "over 10 times as fast") if aimed else None,
                faster=True,
            )
        },
        measure=lambda run: exports_beside_drt(run, specs),
        differs=(
            "drt-core reads a DuckDB file, and keeps no receipt of a batch: a second run of its sends everything again. A fifth "
            "of the million, because drt-core takes so long; that our start counts fivefold is to our disadvantage"
        ),
    )


ROWS: Final = (
    _export_row("export-webhook", "webhook export", STREAM_SPECS, "webhook export, 1 million rows"),
    _drt_row("export-webhook-drt", "webhook export", STREAM_SPECS, "webhook export, 200,000 rows", aimed=True),
    _export_row(
        "export-audience", "export of changes", SPECS, "export of 1 million changes of an audience to a webhook"
    ),
    _drt_row(
        "export-audience-drt", "export of changes", SPECS, "export of 200,000 changes of an audience", aimed=False
    ),
)


# --- bad rows -------------------------------------------------------------------------------------------------------


def bisect(folder: Path, members: int, seed: int) -> None:
    print(f"n = {members} members in one batch, k of them refused at random places (seed {seed})")
    for bad in (1, 2, 3, 5, 8, 13, 20):
        refused = {f"p{one}@x.org" for one in random.Random(seed + bad).sample(range(members), bad)}

        def answer(request: Request, refused: set[str] = refused) -> Play:
            return Play(422) if any(one["email"] in refused for one in request.json["members"]) else Play()

        place = folder / str(bad)
        with bench(place, people(0, members), answer, batchSize=members) as job:
            job.completes()
            calls, bound = len(job.server.requests), bad * log2(members)
            assert len(job.receiver.members) == members - bad, "the rest is sent"
            print(f"  k = {bad:2}: {calls:4} calls, k * log2 n = {bound:5.0f}, ratio {calls / bound:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument(
        "what", nargs="*", choices=["export", "webhook", "bisect"], default=["export", "webhook", "bisect"]
    )
    parser.add_argument("--members", type=int, default=200_000)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-drt", action="store_true", help="leave out drt-core, which is installed from PyPI")
    arguments = parser.parse_args()
    for what in arguments.what:
        with tempfile.TemporaryDirectory(prefix="mirror-") as folder:
            if what != "bisect":
                specs = SPECS if what == "export" else STREAM_SPECS
                with_drt = what == "export" and not arguments.no_drt
                export(Path(folder), specs, arguments.members, arguments.batch, arguments.times, with_drt=with_drt)
            else:
                bisect(Path(folder), 10_000, arguments.seed)


if __name__ == "__main__":
    main()
