"""Faults of the system under a real daemon: it says so, loses nothing, does nothing twice, and goes on when they are over.

`RECONCILE_EVERY_FAULT=1` tries every error; `RECONCILE_STOPPED_S=180` holds the daemon for minutes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import random
import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from reconciler.clock import Clock
from reconciler.controller.drifting import find_drift
from reconciler.controller.settings import Settings
from tests.end_to_end.daemon import Daemon, reconcile
from tests.end_to_end.faults import OPEN, READ, RENAME, SYNC, WATCH, WRITE, Faults, may_mount, small_disk
from tests.end_to_end.test_killed import SPECS, Feed
from tests.end_to_end.world import Arrivals, column, delivered, positions_are_dense, rows_of
from tests.servers import Play, Server, serving

STOPPED_S = float(os.environ.get("RECONCILE_STOPPED_S", "2"))
BEGUN_AGAIN = "the daemon tries again by itself."
#: How long something may take that takes a second or two on a machine that is not busy.
PATIENCE_S = 120
PASSED = "That has passed; the daemon goes on from what the record says."


class Site:
    """The jobs of test_killed: two imports and an export, all of them continuous."""

    def __init__(self, folder: Path, receiver: Server, *, state: Path | None = None) -> None:
        self.root = folder / "jobs"
        self.root.mkdir()
        self.state = state or self.root / ".reconciler"
        self.arguments = ("--state", str(self.state))
        self.receiver = receiver
        self.feed = Feed(self.root / "in", random.Random(1))
        (self.root / "jobs.yaml").write_text(SPECS.replace("URL", receiver.url))

    def all_arrives(self, daemon: Daemon) -> None:
        """What came in is on the stream and at the receiver, once; the daemon ends well."""
        arrivals = Arrivals(self.receiver)
        until(lambda: arrivals.count() >= self.feed.count and not rows_of(self.state, "SELECT 1 FROM intent"), daemon)
        assert daemon.terminate() == 0, "\n".join(daemon.lines[-20:])
        assert rows_of(self.state, "PRAGMA integrity_check") == [("ok",)]
        assert positions_are_dense(self.state, "orders")
        assert sorted(int(one) for one in column(self.state, "orders", "id")) == list(range(self.feed.count))
        assert set(delivered(self.receiver.processed, "id").values()) == {1}


@contextmanager
def site(folder: Path, *, state: Path | None = None) -> Iterator[Site]:
    with serving() as receiver:
        yield Site(folder, receiver, state=state)


def until(holds: Callable[[], bool], daemon: Daemon) -> None:
    """Lets the daemon go on, and reads what it says, until something holds."""
    until_s = time.monotonic() + PATIENCE_S
    while not holds():
        with suppress(AssertionError):
            daemon.wait_until(lambda _: True, patience_s=0.1)
        assert daemon.process.poll() is None, "\n".join(daemon.lines[-30:])
        assert time.monotonic() < until_s, "\n".join(daemon.lines[-30:])


@contextmanager
def disk_that_fills(folder: Path, faults: Faults) -> Iterator[tuple[Path, Callable[[], None], Callable[[], None]]]:
    """A small disk, and how to fill and to empty it: a real one where this user may mount one, else one that the shim
    calls full."""
    disk = folder / "disk"
    if may_mount():
        with small_disk(disk, "24m"):
            yield disk, lambda: _fill(disk / "ballast"), (disk / "ballast").unlink
    else:
        disk.mkdir()
        yield disk, lambda: faults.begin(errno.ENOSPC, WRITE, str(disk)), faults.end


@contextmanager
def disk_that_becomes_read_only(
    folder: Path, faults: Faults
) -> Iterator[tuple[Path, Callable[[], None], Callable[[], None]]]:
    """A disk, and how to make it read-only and writable again: as above."""
    disk = folder / "disk"
    if may_mount():
        with small_disk(disk, "24m"):
            yield disk, lambda: _remount(disk, "ro"), lambda: _remount(disk, "rw")
    else:
        disk.mkdir()
        yield disk, lambda: faults.begin(errno.EROFS, WRITE | RENAME, str(disk)), faults.end


def _remount(disk: Path, how: str) -> None:
    """Refused by the system for as long as a file is open for writing."""
    for _ in range(600):
        if (
            subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], capture_output=True, check=False).returncode
            == 0
        ):
            return
        threading.Event().wait(0.01)
    raise AssertionError(f"{disk} could not be remounted {how}")


def _fill(ballast: Path) -> None:
    with ballast.open("ab", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        file.writelines(b"x" * 4096 for _ in range(100_000))


def test_a_full_disk_is_said_and_nothing_is_lost_when_there_is_room_again(tmp_path: Path) -> None:
    with (
        Faults(tmp_path) as faults,
        disk_that_fills(tmp_path, faults) as (disk, fill, empty),
        site(tmp_path, state=disk / "state") as here,
    ):
        here.feed.come_in()
        with Daemon(here.root, *here.arguments, env=faults.env) as daemon:
            daemon.wait_for("Synced")
            fill()
            here.feed.come_in()
            here.feed.come_in()
            said: list[str] = []

            def is_said() -> bool:
                fill()  # what the daemon has made room for meanwhile
                said[:] = [line for line in daemon.lines if "disk is full" in line or "No space left" in line]
                return bool(said)

            until(is_said, daemon)
            assert "nothing is lost; the daemon tries again by itself" in said[0] or "Error" in said[0]
            empty()
            here.all_arrives(daemon)


#: Error, calls, what their paths hold, each n-th of them. The first three in every run of the suite.
ERRORS = {
    "writes of the record fail": (errno.EIO, WRITE | SYNC, ".reconciler/record.db", 5),
    "the state is read-only now and then": (errno.EROFS, WRITE | SYNC | RENAME, ".reconciler", 7),
    "calls are interrupted": (errno.EINTR, READ | WRITE, "", 2),
    "reads of the record fail": (errno.EIO, READ, ".reconciler/record.db", 40),
    "writes of the messages fail": (errno.EIO, WRITE | SYNC | RENAME, ".reconciler/data", 3),
    "files cannot be opened": (errno.EDQUOT, OPEN, ".reconciler", 9),
}


@pytest.mark.parametrize("name", list(ERRORS)[: None if os.environ.get("RECONCILE_EVERY_FAULT") else 1])
def test_errors_of_reading_and_writing_lose_nothing_and_repeat_nothing(tmp_path: Path, name: str) -> None:
    error, calls, path, every = ERRORS[name]
    with Faults(tmp_path) as faults, site(tmp_path) as here:
        here.feed.come_in()
        with Daemon(here.root, env=faults.env) as daemon:
            daemon.wait_for("Synced")
            faults.begin(error, calls, path, every=every)
            here.feed.come_in()
            until(lambda: faults.failed >= 1, daemon)
            here.feed.come_in()
            faults.end()
            here.all_arrives(daemon)


def test_an_unreadable_record_is_waited_for_and_the_daemon_says_when_that_has_passed(tmp_path: Path) -> None:
    with Faults(tmp_path) as faults, site(tmp_path) as here:
        here.feed.come_in()
        with Daemon(here.root, env=faults.env) as daemon:
            daemon.wait_for("Synced")
            faults.begin(errno.EIO, WRITE | SYNC | READ, "record.db")
            said = daemon.wait_for(BEGUN_AGAIN)
            assert "record.db" in said
            assert "Runs at work were cut off, and nothing is lost" in said
            faults.end()
            daemon.wait_for(PASSED)
            here.feed.come_in()
            here.all_arrives(daemon)


def test_sigterm_ends_a_daemon_that_waits_for_its_disk(tmp_path: Path) -> None:
    with Faults(tmp_path) as faults, site(tmp_path) as here, Daemon(here.root, env=faults.env) as daemon:
        daemon.wait_for("Watching")
        faults.begin(errno.EIO, WRITE | SYNC, "record.db")
        here.feed.come_in()
        daemon.wait_for(BEGUN_AGAIN)
        assert daemon.terminate() == 0


def test_a_daemon_whose_disk_is_full_from_the_beginning_ends_and_says_why(tmp_path: Path) -> None:
    with Faults(tmp_path) as faults, site(tmp_path) as here:
        faults.begin(errno.ENOSPC, WRITE, "record.db")
        ended = reconcile("--watch", "--root", str(here.root), env=faults.env)
        assert ended.returncode == 1
        assert "the record cannot be written" in ended.stderr
        assert "mend the disk or its permissions, then run `reconcile` again" in ended.stderr


def test_statuses_that_cannot_be_written_are_said_and_the_jobs_go_on(tmp_path: Path) -> None:
    with Faults(tmp_path) as faults, site(tmp_path) as here:
        here.feed.come_in()
        with Daemon(here.root, env=faults.env) as daemon:
            daemon.wait_for("Watching")
            faults.begin(errno.EROFS, WRITE | RENAME, ".status.yaml")
            here.feed.come_in()  # what came in before may be done with, statuses and all
            assert "could not be written: Read-only file system." in daemon.wait_for(".status.yaml")
            here.feed.come_in()
            daemon.wait_for("Synced")
            faults.end()
            here.all_arrives(daemon)
        assert find_drift(Settings(root=here.root, state=here.state)).drifts == ()


def test_a_root_that_becomes_read_only_keeps_its_jobs_running(tmp_path: Path) -> None:
    """With the state elsewhere; the statuses are written when it can be written to again."""
    with (
        Faults(tmp_path) as faults,
        disk_that_becomes_read_only(tmp_path, faults) as (disk, begin, end),
        serving(lambda _: Play(hold=True)) as receiver,
    ):
        here = Site(disk, receiver, state=tmp_path / "state")
        here.feed.come_in()
        with Daemon(here.root, *here.arguments, env=faults.env) as daemon:
            daemon.wait_for("Synced")
            here.feed.come_in()
            begin()
            receiver.release()  # the export, which has waited for this, changes its status after that
            daemon.wait_for("could not be written: Read-only file system.")
            daemon.wait_for("Synced")
            end()
            here.feed.come_in()
            here.all_arrives(daemon)
        assert find_drift(Settings(root=here.root, state=here.state)).drifts == ()


def test_without_inotify_changes_are_found_by_looking_and_that_is_said(tmp_path: Path) -> None:
    with Faults(tmp_path) as faults, site(tmp_path) as here:
        faults.begin(errno.ENOSPC, WATCH)
        with Daemon(here.root, env=faults.env) as daemon:
            said = daemon.wait_for("cannot be watched")
            assert said.endswith("; changes are found by looking every few seconds until that is mended")
            (here.root / "more.yaml").write_text(SPECS.split("---\n")[0].replace("orders", "others"))
            until(lambda: bool(rows_of(here.state, "SELECT 1 FROM resource WHERE name = 'others'")), daemon)
            faults.end()
            daemon.wait_for("Changes are told of by the system again.")
            assert daemon.terminate() == 0


def test_a_daemon_whose_output_nobody_reads_goes_on(tmp_path: Path) -> None:
    with site(tmp_path) as here, Daemon(here.root) as daemon:
        fd = daemon.process.stdout.fileno()  # type: ignore[union-attr]
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, 4096)  # refused once more than that waits in it
        daemon.wait_for("Watching")
        arrivals = Arrivals(here.receiver)
        for _ in range(15):  # of 500 messages a batch of 100 has a line: more than the pipe takes
            here.feed.come_in()
        waited = threading.Event()
        while arrivals.count() < here.feed.count:
            assert daemon.process.poll() is None
            waited.wait(0.05)
        here.all_arrives(daemon)


def test_a_daemon_that_runs_out_of_descriptors_says_so_and_goes_on_when_it_has_some(tmp_path: Path) -> None:
    with site(tmp_path) as here, Daemon(here.root) as daemon:
        daemon.wait_for("Watching")
        pid = daemon.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        few = before[0]

        def is_said() -> bool:
            """Those that were open for a moment when they were counted are taken away, too."""
            nonlocal few
            few = min(few, len(os.listdir(f"/proc/{pid}/fd")))
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (few, before[1]))
            here.feed.come_in()
            return any("Too many open files" in line for line in daemon.lines)

        until(is_said, daemon)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        here.feed.come_in()
        here.all_arrives(daemon)


MEMORY = """
apiVersion: reconciler/v1
kind: Job
metadata: {name: import-large}
spec:
  provider: http
  jobType: import-json
  schedule: {every: 1h}
  retry: {initial: 100ms, max: 200ms}
  config: {url: "URL", stream: orders, allowPrivateAddresses: true}
"""


def _pid_of_run(state: Path, job: str) -> int | None:
    found = rows_of(
        state,
        "SELECT pid FROM run WHERE live = 1 AND pid IS NOT NULL AND job = (SELECT id FROM resource WHERE name = ?)",
        job,
    )
    return int(found[0][0]) if found else None


def test_a_run_that_is_out_of_memory_fails_alone_with_a_reason(tmp_path: Path) -> None:
    with site(tmp_path) as here, socket.create_server(("127.0.0.1", 0)) as silent:
        here.feed.come_in()
        # It waits for an answer that never comes, so that its memory can be taken away meanwhile.
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        (here.root / "large.yaml").write_text(MEMORY.replace("URL", url))
        with Daemon(here.root) as daemon:
            daemon.wait_for("import-large", "Started")
            until(lambda: _pid_of_run(here.state, "import-large") is not None, daemon)
            pid = _pid_of_run(here.state, "import-large")
            assert pid is not None
            until(lambda: Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "500", daemon)
            os.kill(pid, signal.SIGKILL)  # as the kernel does
            said = daemon.wait_for("import-large", "Error")
            assert "where nobody did that, the machine ran out of memory" in said
            silent.close()
            (here.root / "large.yaml").unlink()
            here.feed.come_in()
            here.all_arrives(daemon)


HOURLY = """
apiVersion: reconciler/v1
kind: Job
metadata: {name: NAME}
spec:
  provider: files
  jobType: import-csv
  schedule: SCHEDULE
  config: {path: "in/*.csv", stream: ticks}
"""


def test_a_clock_set_a_day_forward_and_back_runs_nothing_twice_and_loses_nothing(tmp_path: Path) -> None:
    root = tmp_path / "jobs"
    (root / "in").mkdir(parents=True)
    (root / "ticks.yaml").write_text(SPECS.split("---\n")[0].replace("orders", "ticks"))
    (root / "daily.yaml").write_text(HOURLY.replace("NAME", "daily").replace("SCHEDULE", '{cron: "0 0 * * *"}'))
    (root / "hourly.yaml").write_text(HOURLY.replace("NAME", "hourly").replace("SCHEDULE", "{every: 1h}"))
    state = root / ".reconciler"

    def runs(name: str) -> int:
        sql = "SELECT count(*) FROM run WHERE outcome = 'succeeded' AND job = (SELECT id FROM resource WHERE name = ?)"
        return int(rows_of(state, sql, name)[0][0])

    noon = (43_200 - int(Clock().now().wall_ms // 1000)) % 86_400  # no midnight is near, whenever this is tried
    with Faults(tmp_path) as faults:
        faults.shift_clock(noon)
        with Daemon(root, env=faults.env) as daemon:
            _goes_forward_and_back(daemon, faults, runs, noon)


def _goes_forward_and_back(daemon: Daemon, faults: Faults, runs: Callable[[str], int], noon: int) -> None:
    daemon.wait_for("Watching")
    waited = threading.Event()
    _until_runs(runs, {"hourly": 1, "daily": 0}, daemon)
    faults.shift_clock(noon + 86_400)
    daemon.process.send_signal(signal.SIGHUP)
    _until_runs(runs, {"hourly": 2, "daily": 1}, daemon)
    faults.shift_clock(noon)
    daemon.process.send_signal(signal.SIGHUP)
    waited.wait(1.5)
    assert (runs("hourly"), runs("daily")) == (2, 1)
    faults.shift_clock(noon + 86_400 * 2)  # the next midnight, which had not come before
    daemon.process.send_signal(signal.SIGHUP)
    _until_runs(runs, {"hourly": 3, "daily": 2}, daemon)
    assert daemon.terminate() == 0


def _until_runs(runs: Callable[[str], int], wanted: dict[str, int], daemon: Daemon) -> None:
    waited = threading.Event()
    for _ in range(600):
        found = {name: runs(name) for name in wanted}
        if all(found[name] >= wanted[name] for name in wanted):
            break
        waited.wait(0.1)
    assert found == wanted, daemon.lines[-20:]


def test_a_daemon_that_was_stopped_for_a_while_goes_on_and_runs_nothing_twice(tmp_path: Path) -> None:
    with site(tmp_path) as here:
        here.feed.come_in()
        with Daemon(here.root) as daemon:
            daemon.wait_for("Synced")
            os.kill(daemon.process.pid, signal.SIGSTOP)
            here.feed.come_in()
            threading.Event().wait(STOPPED_S)
            os.kill(daemon.process.pid, signal.SIGCONT)
            here.feed.come_in()
            here.all_arrives(daemon)
        errors = rows_of(here.state, "SELECT message FROM event WHERE event = 'Error'")
        assert errors == []
