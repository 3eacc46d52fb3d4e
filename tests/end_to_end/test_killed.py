"""A real daemon, killed with SIGKILL while it imports and exports: every second time at a random moment, else while a request of
its export is on its way, so that a batch is certainly open.

`RECONCILE_KILLS=500 pytest -s tests/end_to_end/test_killed.py` is the long form; its seed is drawn, printed, and taken from
`RECONCILE_SEED` where given.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable
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
from tests.seeds import seed
from tests.servers import Play, Request, serving

KILLS = int(os.environ.get("RECONCILE_KILLS", "5"))
SEED = seed("RECONCILE_KILLS")
#: Far fewer requests than a daemon sends of what has come in for it: 3,000 messages or more, in batches of 100.
SOON = 20

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


class Moody:
    """A receiver that is not always well, and during one of its requests may do something else."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._count = 0
        self._at = 0
        self._do: Callable[[], None] = lambda: None

    def within_a_request(self, later: int, do: Callable[[], None]) -> None:
        """Does that within the request that comes after so many."""
        self._do, self._at = do, self._count + later + 1

    def __call__(self, _: Request) -> Play:
        self._count += 1
        if self._count == self._at:
            self._do()
        mood = self._rng.random()
        if mood < 0.03:
            return Play(lose=True)
        return Play(status=503) if mood < 0.05 else Play()


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
    moody = Moody(random.Random(SEED + 1))
    with serving(moody) as receiver:
        (root / "jobs.yaml").write_text(SPECS.replace("URL", receiver.url))
        for number in range(KILLS):
            for _ in range(3):
                feed.come_in()
            is_within_a_request = number % 2 == 0
            with Daemon(root) as daemon:
                if is_within_a_request:
                    moody.within_a_request(rng.randrange(SOON), daemon.process.kill)
                    assert daemon.ended() == -signal.SIGKILL
                else:
                    for _ in range(rng.randint(1, 6)):
                        daemon.wait_for("Synced")
                    threading.Event().wait(rng.random() * 0.05)
                    daemon.kill()
            was_open = bool(rows_of(state, "SELECT 1 FROM run WHERE live = 1"))
            assert was_open or not is_within_a_request, f"seed {SEED}: kill {number + 1} found nothing open"
            open_at_kill += was_open
            assert is_sound(state)
        with Daemon(root) as daemon:
            arrivals = Arrivals(receiver)
            while arrivals.count() < feed.count:
                daemon.wait_for("Synced")
            while rows_of(state, "SELECT 1 FROM intent"):  # its answer may have been lost: it is sent again
                daemon.wait_for("Synced")
            assert daemon.terminate() == 0

    print(f"{open_at_kill} of {KILLS} kills landed while a unit or a batch was open")
    assert open_at_kill >= KILLS / 2  # every second one was
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
