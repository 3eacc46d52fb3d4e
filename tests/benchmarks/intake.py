"""Messages over HTTP: how many a second are durable, and what a backfill beside them costs the live ones.

    python -m tests.benchmarks.intake [ROW …] [--rounds N] [--quick]

A real daemon takes them in and puts them on their stream meanwhile. Sixteen senders, each with one connection of its own
(bare sockets in one process, which waits for whichever answers), send batches of 1 and of 100. The yardstick is SQLite alone, in one process without any
network: the same messages of sixteen senders in one transaction, committed with WAL and synchronous=FULL. Then live messages
are sent at a steady rate, without and with a bulk body that comes, is gone through, and is put on its stream beside them:
the time to the answer, and to the stream.
"""

from __future__ import annotations

import asyncio
import json
import select
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from reconciler.record.store import Record
from tests.benchmarks.command import alone
from tests.benchmarks.daemon import at
from tests.benchmarks.rows import Bench, Figure, Round, Row, over, under
from tests.end_to_end.daemon import Daemon

SENDERS = 16
RATE = 100  # live messages a second beside the backfill
ROWS_A_PART: Final = 1_000_000
BATCHES: Final = (1, 100)
TOKEN = "a-token-of-the-benchmark"
SPECS = """\
apiVersion: reconciler/v1
kind: Stream
metadata: {name: live}
spec: {}
---
apiVersion: reconciler/v1
kind: Stream
metadata: {name: history}
spec: {}
---
apiVersion: reconciler/v1
kind: Authorization
metadata: {name: bench}
spec: {provider: collect, method: bearer, credentials: {token: {env: BENCH_TOKEN}}}
"""
_UPLOAD = """
import http.client, os, sys
os.nice(10)
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=3600)
headers = {"Authorization": "Bearer " + sys.argv[2], "Content-Type": "text/csv"}
connection.request("POST", "/collect/bulk/csv/history", open(sys.argv[3], "rb"), headers)
answer = connection.getresponse()
print(answer.status, answer.read().decode())
"""


def message(number: int) -> dict[str, object]:
    return {"id": number, "email": f"person{number}@example.com", "event": "viewed", "price": 12.5, "tags": ["a", "b"]}


def request(body: bytes) -> bytes:
    head = f"POST /collect/json/live HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def bodies(batch: int, count: int) -> list[bytes]:
    return [json.dumps([message(index * batch + one) for one in range(batch)]).encode() for index in range(count)]


# --- durable messages a second ----------------------------------------------------------------------------------------


def ours_per_s(port: int, batch: int, seconds: float) -> float:
    """Senders of one process, each of which waits for its answer before it sends again. What they cost is taken from the
    same cores, so they are bare sockets, without a library."""
    requests, poll, senders = [request(body) for body in bodies(batch, 200)], select.epoll(), {}
    for number in range(SENDERS):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        poll.register(sock, select.EPOLLIN)
        senders[sock.fileno()] = sock
        sock.sendall(requests[number])
    answers, until_s = 0, time.perf_counter() + seconds
    while time.perf_counter() < until_s:
        for handle, _ in poll.poll():
            said = senders[handle].recv(1 << 16)
            assert said.startswith(b"HTTP/1.1 202 "), said
            assert said.endswith(b"}"), said
            answers += 1
            senders[handle].sendall(requests[answers % len(requests)])
    for sock in senders.values():
        sock.close()
    poll.close()
    return answers * batch / seconds


def sqlite_per_s(folder: Path, batch: int, seconds: float) -> float:
    """Group commits of one batch of each sender."""
    texts = [json.dumps(message(number)) for number in range(SENDERS * batch)]
    path = folder / f"yardstick-{batch}.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE message (id INTEGER PRIMARY KEY, stream TEXT, received INTEGER, body TEXT) STRICT")
    until_s, rows = time.perf_counter() + seconds, 0
    while time.perf_counter() < until_s:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            "INSERT INTO message (stream, received, body) VALUES ('live', ?, ?)", [(rows, text) for text in texts]
        )
        connection.execute("COMMIT")
        rows += len(texts)
    connection.close()
    path.unlink()
    return rows / seconds


def durable(bench: Bench) -> Iterator[Round]:
    seconds = bench.size(4, 1)
    with bench.scratch() as folder, listening(folder) as (port, _):
        for _ in range(bench.rounds):
            yield {
                f"{batch}": (ours_per_s(port, batch, seconds), sqlite_per_s(folder, batch, seconds))
                for batch in BATCHES
            }


# --- live messages beside a backfill ----------------------------------------------------------------------------------


class Landed(threading.Thread):
    """When the stream had how many messages, looked at every 20 ms."""

    def __init__(self, state: Path) -> None:
        super().__init__(daemon=True)
        self._state = state
        self._done = threading.Event()
        self.seen: list[tuple[float, int]] = []

    def run(self) -> None:
        with Record.reading(self._state) as record:
            while not self._done.wait(0.02):
                self.seen.append((time.perf_counter(), record.streams.counts("live")[0]))

    def stop(self) -> None:
        self._done.set()
        self.join()


async def _steadily(port: int, goes_on: Callable[[], bool]) -> list[tuple[float, float]]:
    """Live messages at a steady rate over one connection for each: when each was due, and how long its answer took.
    The time counts from when it was due, so that a stall is seen by all who wait for it."""
    waiting: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()
    taken: list[tuple[float, float]] = []

    async def sender() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (one := await waiting.get()) is not None:
            writer.write(one[1])
            assert b" 202 " in await reader.readuntil(b"\r\n")
            await reader.readuntil(b"}")
            taken.append((one[0], time.perf_counter() - one[0]))
        writer.close()

    senders = [asyncio.create_task(sender()) for _ in range(SENDERS)]
    requests, begin, number = [request(body) for body in bodies(1, 200)], time.perf_counter(), 0
    while goes_on():
        due_s = begin + number / RATE
        await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
        waiting.put_nowait((due_s, requests[number % len(requests)]))
        number += 1
    for _ in senders:
        waiting.put_nowait(None)
    await asyncio.gather(*senders)
    return taken


class Taken(NamedTuple):
    """How long live messages took, in seconds, sorted: to their answer, and to their stream."""

    answer: list[float]
    stream: list[float]


def steadily(port: int, state: Path, goes_on: Callable[[], bool]) -> Taken:
    with Record.reading(state) as record:
        before = record.streams.counts("live")[0]
    landed = Landed(state)
    landed.start()
    taken = asyncio.run(_steadily(port, goes_on))
    due = sorted(one for one, _ in taken)
    wait_for(state, "live", before + len(taken))
    landed.stop()
    on_stream, done = [], 0
    for moment, count in landed.seen:
        while done < len(due) and before + done < count:
            on_stream.append(moment - due[done])
            done += 1
    return Taken(sorted(seconds for _, seconds in taken), sorted(on_stream))


def wait_for(state: Path, stream: str, count: int) -> None:
    with Record.reading(state) as record:
        while record.streams.counts(stream)[0] < count:
            time.sleep(0.05)


def write_history(path: Path, rows: int) -> None:
    with path.open("w") as file:
        file.write("id,email,event,price,ordered_at\n")
        for start in range(0, rows, 100_000):
            file.writelines(
                f"{number},person{number % 1_000_000}@example.com,bought,{number % 977}.50,2024-05-06T07:08:09Z\n"
                for number in range(start, min(rows, start + 100_000))
            )


def beside_backfill(bench: Bench) -> Iterator[Round]:
    """Each round: alone, then beside another part of the backfill, until that is on its stream."""
    rows, seconds = bench.size(ROWS_A_PART, 20_000), bench.size(15, 2)
    with bench.scratch() as folder, listening(folder) as (port, state):
        path = folder / "history.csv"
        write_history(path, rows)
        for number in range(bench.rounds):
            end_s = time.perf_counter() + seconds
            quiet = steadily(port, state, lambda end_s=end_s: time.perf_counter() < end_s)  # type: ignore[misc]
            with uploading(port, path), Record.reading(state) as record:

                def goes_on(record: Record = record, until: int = rows * (number + 1)) -> bool:
                    return record.streams.counts("history")[0] < until

                busy = steadily(port, state, goes_on)
            yield {
                f"{what}-p{rank}": (at(getattr(busy, what), rank), at(getattr(quiet, what), rank))
                for what in ("answer", "stream")
                for rank in (50, 99)
            }


@contextmanager
def uploading(port: int, path: Path) -> Iterator[None]:
    """A process that sends a file as one bulk body."""
    command = [sys.executable, "-c", _UPLOAD, str(port), TOKEN, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as upload:
        assert upload.stdout is not None
        yield
        said = upload.stdout.read()
    assert said.startswith("202"), said


@contextmanager
def listening(folder: Path) -> Iterator[tuple[int, Path]]:
    """A daemon that takes messages in: its port, and its state."""
    root = folder / "jobs"
    root.mkdir()
    (root / "specs.yaml").write_text(SPECS)
    port = free_port()
    with Daemon(root, "--listen", f"127.0.0.1:{port}", env={"BENCH_TOKEN": TOKEN}) as daemon:
        daemon.wait_for("stream/live")
        drain = threading.Thread(target=_read_on, args=(daemon,), daemon=True)
        drain.start()
        asyncio.run(_ready(port))
        yield port, root / ".reconciler"
        daemon.process.terminate()  # and with it the process that listens
        daemon.process.wait(60)
        drain.join()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _read_on(daemon: Daemon) -> None:
    """What it says, so that it is never kept waiting."""
    with suppress(AssertionError):
        daemon.wait_until(lambda _: False)


async def _ready(port: int) -> None:
    """Until what is declared is known to the process that listens."""
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request(json.dumps(message(0)).encode()))
        said = await reader.readuntil(b"\r\n")
        writer.close()
        if b" 202 " in said:
            return


ROWS: Final = (
    Row(
        name="collect-durable",
        asks="durable messages",
        figures={
            f"{batch}": Figure(
                what=f"durable messages a second through `/collect`, {batch} a request",
                yardstick="SQLite's group commits of the same messages",
                aim=over(0.5),
                unit="/s",
            )
            for batch in BATCHES
        },
        measure=durable,
        differs=(
            "SQLite commits what is in its own process, sixteen requests a transaction; ours reads HTTP of sixteen connections, each "
            "of which waits for its answer before it sends again, and puts the messages on their stream meanwhile, all on the same cores"
        ),
    ),
    Row(
        name="collect-live",
        asks="live messages",
        figures={
            f"{what}-p{rank}": Figure(
                what=f"live messages beside a backfill, to {place}, p{rank}",
                yardstick="without a backfill",
                aim=under(1.5) if rank == 99 else None,
            )
            for what, place in (("answer", "the answer"), ("stream", "the stream"))
            for rank in (50, 99)
        },
        measure=beside_backfill,
        differs="the backfill of 5 million rows comes in bodies of a million, one beside each round",
    ),
)

if __name__ == "__main__":
    sys.exit(alone(__doc__, ROWS))
