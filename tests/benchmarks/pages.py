"""JSON over HTTP, page by page, onto a stream; against a bare httpx loop that parses the same pages.

    python -m tests.benchmarks.pages [ROW …] [--rounds N] [--quick]

The server has all pages ready, speaks HTTP/1.1 over one connection, and is a process of its own. Both sides are whole
processes.
"""

from __future__ import annotations

import json
import multiprocessing
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from reconciler.record.store import Record
from tests.benchmarks.command import alone
from tests.benchmarks.rows import Bench, Figure, Round, Row, under
from tests.benchmarks.tree import RECONCILE, cost

PAGE: Final = 1_000

SPECS: Final = """\
apiVersion: reconciler/v1
kind: Stream
metadata: {name: orders}
spec: {}
---
apiVersion: reconciler/v1
kind: Job
metadata: {name: fetch-orders}
spec:
  provider: http
  jobType: import-json
  config:
    url: URL/orders
    stream: orders
    records: orders
    timestampField: ordered_at
    allowPrivateAddresses: true
    pagination: {type: page, param: page, start: 0}
"""

LOOP: Final = """
import sys, httpx
number = rows = 0
with httpx.Client() as client:
    while records := client.get(f"{sys.argv[1]}/orders", params={"page": number}).raise_for_status().json()["orders"]:
        rows += len(records)
        number += 1
print(rows)
"""


def page(number: int) -> bytes:
    """A page of orders, as an answer."""
    orders = [
        {
            "id": one,
            "email": f"person{one % 100_000}@example.com",
            "amount": f"{one % 10_000 / 100:.2f}",
            "quantity": one % 7,
            "paid": one % 3 == 0,
            "ordered_at": f"2026-05-{one % 28 + 1:02d}T07:08:09Z",
            "note": None,
        }
        for one in range(number * PAGE, (number + 1) * PAGE)
    ]
    return answer({"orders": orders})


def answer(body: Any) -> bytes:
    text = json.dumps(body).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
    return head.encode() + text


def _serve(listening: socket.socket, pages: int) -> None:
    ready, empty = [page(number) for number in range(pages)], answer({"orders": []})
    while True:
        connection, _ = listening.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection, connection.makefile("rb") as requests:
            while line := requests.readline():
                number = int(line.split(b"page=")[1].split()[0].split(b"&")[0]) if b"page=" in line else pages
                while requests.readline() not in (b"\r\n", b""):
                    pass
                connection.sendall(ready[number] if number < pages else empty)


@contextmanager
def served(pages: int) -> Iterator[str]:
    """The address of a server of so many pages."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        process = multiprocessing.get_context("fork").Process(target=_serve, args=(listening, pages), daemon=True)
        process.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            process.kill()
            process.join()


def fetches(bench: Bench) -> Iterator[Round]:
    pages = bench.size(1_000, 20)
    with served(pages) as url:
        for _ in range(bench.rounds):
            with bench.scratch() as folder:
                theirs = cost(sys.executable, "-c", LOOP, url, cwd=folder).wall_s
                root = folder / "jobs.d"
                root.mkdir()
                (root / "specs.yaml").write_text(SPECS.replace("URL", url))
                ours = cost(*RECONCILE, cwd=folder).wall_s
                with Record.reading(root / ".reconciler") as record:
                    landed = record.streams.counts("orders")[0]
                assert landed == pages * PAGE, f"{landed:,} messages have landed"
            yield {"": (ours, theirs)}


ROWS: Final = (
    Row(
        name="import-json",
        asks="JSON import",
        figures={
            "": Figure(
                what="JSON import over HTTP, 1 million rows in pages of 1,000, to a committed stream",
                yardstick="a bare httpx loop that parses the same pages",
                aim=under(1.3),
            )
        },
        measure=fetches,
        differs="ours also checks each record, reads its timestamp, writes Parquet, and commits every 100,000 rows (fsync)",
    ),
)

if __name__ == "__main__":
    sys.exit(alone(__doc__, ROWS))
