"""A real daemon, killed with SIGKILL at random moments while it imports and exports.

`RECONCILE_KILLS=500 pytest -s tests/end_to_end/test_killed.py` is the long form; the seed is printed, and taken from
`RECONCILE_SEED` where given.
"""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import pytest

from tests.end_to_end.daemon import Daemon
from tests.end_to_end.world import (
    Arrivals,
    batches,
    column,
    delivered,
    is_sound,
    positions_are_dense,
    rows_of,
)
from tests.servers import Play, Request, serving

KILLS = int(os.environ.get("RECONCILE_KILLS", "5"))
SEED = int(os.environ.get("RECONCILE_SEED", str(random.SystemRandom().randrange(1_000_000))))

SPECS = """
apiVersion: reconciler/v1
kind: Stream
metadata: {name: orders}
spec: {}
---
apiVersion: reconciler/v1
kind: Job
metadata: {name: import-orders}
spec:
  provider: files
  jobType: import-csv
  schedule: {continuous: true}
  retry: {initial: 10ms, max: 100ms}
  config: {path: "in/orders-*.csv", stream: orders}
---
apiVersion: reconciler/v1
kind: Job
metadata: {name: import-lines}
spec:
  provider: files
  jobType: import-ndjson
  schedule: {continuous: true}
  retry: {initial: 10ms, max: 100ms}
  config: {path: "in/lines-*.ndjson", stream: orders}
---
apiVersion: reconciler/v1
kind: Job
metadata: {name: orders-to-receiver}
spec:
  provider: http
  jobType: export-webhook
  schedule: {continuous: true}
  retry: {initial: 10ms, max: 100ms}
  config: {stream: orders, url: "URL/hook", batchSize: 100, allowPrivateAddresses: true}
"""


class Feed:
    """Orders that come in, each with an id of its own: new files, and one file that grows."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        folder.mkdir()
        self.folder = folder
        self.rng = rng
        self.count = 0
        self.files = 0

    def come_in(self) -> None:
        self.files += 1
        self._write(
            f"orders-{self.files:04d}.csv", "id,amount\n", lambda i: f"{i},{i * 3}\n", self.rng.randint(500, 3_000)
        )
        self._write(
            f"lines-{self.files:04d}.ndjson",
            "",
            lambda i: f'{{"id":"{i}","amount":{i}}}\n',
            self.rng.randint(500, 3_000),
        )
        grown = self.folder / "orders-growing.csv"
        with grown.open("a") as file:
            if file.tell() == 0:
                file.write("id,amount\n")
            file.write("".join(f"{i},0\n" for i in self._ids(self.rng.randint(50, 500))))

    def _write(self, name: str, header: str, line: object, rows: int) -> None:
        beside = self.folder / f".{name}"
        beside.write_text(header + "".join(line(i) for i in self._ids(rows)))  # type: ignore[operator]
        beside.rename(self.folder / name)

    def _ids(self, rows: int) -> range:
        start, self.count = self.count, self.count + rows
        return range(start, self.count)


def moody(rng: random.Random) -> object:
    lock = threading.Lock()

    def answer(_: Request) -> Play:
        with lock:
            mood = rng.random()
        if mood < 0.03:
            return Play(lose=True)
        return Play(status=503) if mood < 0.05 else Play()

    return answer


@pytest.mark.kill
@pytest.mark.timeout(1_800 + 30 * KILLS)
def test_nothing_is_lost_or_doubled_when_the_daemon_is_killed_at_random(tmp_path: Path) -> None:
    print(f"seed {SEED}, {KILLS} kills")
    rng = random.Random(SEED)
    root = tmp_path / "jobs"
    root.mkdir()
    state = root / ".reconciler"
    feed = Feed(root / "in", rng)
    open_at_kill = 0
    with serving(moody(random.Random(SEED + 1))) as receiver:  # type: ignore[arg-type]
        (root / "jobs.yaml").write_text(SPECS.replace("URL", receiver.url))
        for _ in range(KILLS):
            for _ in range(3):
                feed.come_in()
            with Daemon(root) as daemon:
                for _ in range(rng.randint(1, 6)):
                    daemon.wait_for("Synced")
                threading.Event().wait(rng.random() * 0.05)
                daemon.kill()
            open_at_kill += bool(rows_of(state, "SELECT 1 FROM run WHERE live = 1"))
            assert is_sound(state)
        with Daemon(root) as daemon:
            arrivals = Arrivals(receiver)
            while arrivals.count() < feed.count:
                daemon.wait_for("Synced")
            while rows_of(state, "SELECT 1 FROM intent"):  # its answer may have been lost: it is sent again
                daemon.wait_for("Synced")
            assert daemon.terminate() == 0

    print(f"{open_at_kill} of {KILLS} kills landed while a unit or a batch was open")
    assert open_at_kill >= KILLS / 2
    assert is_sound(state)
    assert positions_are_dense(state, "orders")
    ids = [int(value) for value in column(state, "orders", "id")]
    assert len(ids) == feed.count
    assert sorted(ids) == list(range(feed.count))
    arrived = delivered(receiver.processed, "id")
    assert {int(value) for value in arrived} == set(range(feed.count))
    assert set(arrived.values()) == {1}
    assert batches(receiver.requests).keys() == batches(receiver.processed).keys()
    assert rows_of(state, "SELECT count(*) FROM intent") == [(0,)]
