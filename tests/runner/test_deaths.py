"""Who dies with whom: no run outlives its controller, whatever it does and whoever else dies; and a controller outlives
whatever dies under it."""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import os
import resource
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.core.messages import Began, Ended, Exited, FromRun, Output
from reconciler.errors import ReconcileError
from reconciler.runner import processes
from reconciler.runner.local import STUCK_S
from reconciler.runner.processes import end_leftover, start_ticks
from tests.runner.conftest import PATIENCE_S, QUICK_S, SITE, Bench, last, only

GONE_WITHIN_MS = 60_000

#: A controller that starts the blocking runs it is asked for, answers nothing, and tells what it hears.
CONTROLLER = """
import json, sys
from pathlib import Path
from reconciler.core.messages import Began, Order, Output
from reconciler.runner.local import LocalRunner

folder, *ways = sys.argv[1:]
runner = LocalRunner(Path(folder))
for run, how in enumerate(ways, 1):
    runner.start(Order(
        job="j", run=run, attempt=1, generation=1, root=folder, path="a.yaml", data_dir=folder, provider="subject",
        job_type="block" if how != "unanswered" else "count", config={"how": how, "units": 1},
    ))
while True:
    for message in runner.messages(60):
        if isinstance(message, Began):
            print(json.dumps(["began", message.pid]), flush=True)
        if isinstance(message, Output):
            print(json.dumps(["output", message.text]), flush=True)
"""


def _parent(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1])


@contextlib.contextmanager
def _watched(pids: list[int]) -> Iterator[list[int]]:
    """Handles of processes: each is readable once its process has ended."""
    handles = [os.pidfd_open(pid) for pid in pids]
    try:
        yield handles
    finally:
        for handle in handles:
            os.close(handle)


def _all_end(handles: list[int]) -> bool:
    for handle in handles:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        if not poll.poll(GONE_WITHIN_MS):
            return False
    return True


@contextlib.contextmanager
def _controller(folder: Path, ways: list[str]) -> Iterator[tuple[subprocess.Popen[str], list[int], int]]:
    """A controller with its runs under way: the pids of the runs and their children, and of the fork server."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path[:] = {[str(SITE), *sys.path]!r}\n{CONTROLLER}",
            str(folder),
            *ways,
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        pids, talked = [], 0
        while len(pids) < len(ways) or talked < len(ways):
            what, value = json.loads(process.stdout.readline())
            if what == "began":
                pids.append(value)
            elif value.startswith("child="):
                pids.append(int(value.removeprefix("child=")))
            else:
                talked += 1
        server = _parent(pids[0])
        children = sum(way in ("child", "session") for way in ways)
        while len(pids) < len(ways) + children:
            pids.append(int(json.loads(process.stdout.readline())[1].removeprefix("child=")))
        yield process, pids, server
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_a_killed_controller_leaves_neither_a_run_nor_a_fork_server(tmp_path: Path) -> None:
    ways = ["sleep", "spin", "hold", "signals", "child", "session", "unanswered"]
    with _controller(tmp_path, ways) as (controller, pids, server):
        assert len(pids) == len(ways) + 2
        with _watched([*pids, server]) as handles:
            controller.kill()
            assert _all_end(handles)


def test_a_run_ends_even_if_its_fork_server_is_killed_together_with_the_controller(tmp_path: Path) -> None:
    with (
        _controller(tmp_path, ["hold", "spin", "sleep"]) as (controller, pids, server),
        _watched([*pids, server]) as handles,
    ):
        os.kill(server, signal.SIGSTOP)
        controller.kill()
        os.kill(server, signal.SIGKILL)
        assert _all_end(handles)


def test_a_run_ends_with_its_controller_even_while_the_fork_server_hangs(tmp_path: Path) -> None:
    with _controller(tmp_path, ["spin", "sleep", "signals"]) as (controller, pids, server):
        os.kill(server, signal.SIGSTOP)
        with _watched(pids) as handles:
            controller.kill()
            assert _all_end(handles)
        os.kill(server, signal.SIGKILL)


def test_the_fork_server_has_one_thread_and_is_quiet(own_bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    own_bench.runner.start(own_bench.order("block", config={"how": "sleep"}))
    began = only(Began, own_bench.until_line("blocking"))[0]
    assert os.listdir(f"/proc/{_parent(began.pid)}/task") == [str(_parent(began.pid))]
    assert capfd.readouterr() == ("", "")


def test_a_killed_fork_server_costs_its_runs_and_is_started_afresh(own_bench: Bench) -> None:
    bench = own_bench
    for run, how in enumerate(["sleep", "hold"], 1):
        bench.runner.start(bench.order("block", run, config={"how": how}))
    heard: list[FromRun] = []
    while len(only(Output, heard)) < 2:
        heard += bench.runner.messages(1)
    pids = [one.pid for one in only(Began, heard)]
    server = _parent(pids[0])
    with _watched(pids) as handles:
        os.kill(server, signal.SIGKILL)
        died = bench.finish()
        assert len(select.select(handles, [], [], 0)[0]) == 2
    assert only(Ended, died) == []
    assert {(one.run, one.signal, one.killed) for one in only(Exited, died)} == {(1, 9, False), (2, 9, False)}
    assert last(bench.run("idle", attempt=2))[0].how == "succeeded"


def test_a_fork_server_that_hangs_is_replaced_and_what_it_was_to_start_is_tried_again(own_bench: Bench) -> None:
    bench, server = own_bench, _hanging(own_bench)
    bench.runner.start(bench.order("idle", 2))
    with _watched([server]) as handles:
        heard = bench.finish()
        assert _all_end(handles)
    ended = only(Ended, heard)[0]
    assert (ended.run, ended.how) == (2, "retriable")
    why = "It did nothing for 1 s, and was ended."
    assert ended.message == f"The process that runs are forked from does not start. {why}"
    assert {(one.run, one.signal) for one in only(Exited, heard)} == {(1, 9), (2, None)}
    bench.runner.stuck_s = STUCK_S
    assert last(bench.run("idle", run=2, attempt=2))[0].how == "succeeded"


def test_a_run_that_is_to_end_ends_although_its_fork_server_hangs(own_bench: Bench) -> None:
    server = _hanging(own_bench)
    own_bench.runner._grace_s = QUICK_S
    own_bench.runner.stop(1)
    with _watched([server]) as handles:
        heard = own_bench.finish()
        assert _all_end(handles)
    assert [(one.run, one.signal) for one in only(Exited, heard)] == [(1, 9)]


def test_a_fork_server_owes_no_report_on_a_run_that_was_over_before_anything_of_it_was_read(own_bench: Bench) -> None:
    bench = own_bench
    bench.run("idle")
    server = bench.runner._server
    assert server is not None
    bench.runner.start(bench.order("idle", 2))
    began = len('{"is": "began", "run": 2, "attempt": 1, "pid": 1234567, "start_ticks": 1234567890123}')
    waiting, until_s = array.array("i", [0]), time.monotonic() + PATIENCE_S
    while waiting[0] <= began:  # until its end is told, too
        assert time.monotonic() < until_s
        fcntl.ioctl(server.control, termios.FIONREAD, waiting)
    assert last(bench.finish())[0].how == "succeeded"
    assert server.owes == {}


def _hanging(bench: Bench) -> int:
    """A fork server that is stopped under its first run, of a runner that waits a second for it."""
    bench.runner.start(bench.order("block", 1, config={"how": "sleep"}))
    server = _parent(only(Began, bench.until_line(""))[0].pid)
    bench.runner.stuck_s = 1.0
    os.kill(server, signal.SIGSTOP)
    return server


def test_a_unit_that_was_said_before_the_fork_server_died_still_comes(own_bench: Bench) -> None:
    bench = own_bench
    bench.runner.start(bench.order("announce"))
    began = bench.until(lambda one: isinstance(one, Began))
    with _watched([only(Began, began)[0].pid]) as handles:
        os.kill(_parent(only(Began, began)[0].pid), signal.SIGKILL)
        assert _all_end(handles)
    rest = bench.finish()
    assert isinstance(rest[-1], Exited)


def test_without_an_interpreter_each_run_ends_in_an_error_that_says_so(
    own_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    ended, exited = last(own_bench.run("idle"))
    assert ended.how == "retriable"
    assert ended.message == "No process could be started for the run: No such file or directory."
    assert (exited.pid, exited.exit_code, exited.signal) == (0, None, None)


def test_a_fork_server_that_ends_before_its_first_run_is_an_error_of_the_run(
    own_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    ended, exited = last(own_bench.run("idle"))
    assert ended.message == "The process that runs are forked from does not start. It ended with 1."
    assert exited.pid == 0
    monkeypatch.undo()
    sys.path.insert(0, str(SITE))
    assert last(own_bench.run("idle", attempt=2))[0].how == "succeeded"
    sys.path.remove(str(SITE))


def test_a_provider_that_cannot_be_loaded_is_named_by_the_run_that_needs_the_fork_server(
    own_bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "broken_provider-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-provider\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[reconciler.providers]\nbroken = broken_provider\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    ended, _ = last(own_bench.run("idle"))
    assert ended.how == "retriable"
    assert ended.message == (
        "The process that runs are forked from does not start. "
        "provider 'broken' of broken_provider cannot be loaded: No module named 'broken_provider'"
    )


def test_a_run_that_cannot_be_started_wakes_the_controller(own_bench: Bench) -> None:
    own_bench.run("idle")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        own_bench.runner.start(own_bench.order("idle", 2))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    poll = select.poll()
    poll.register(own_bench.runner.fileno(), select.POLLIN)
    assert poll.poll(0)
    ended, _ = last(own_bench.runner.messages(0))
    assert ended.message == "No process could be started for the run: Too many open files."
    assert poll.poll(0) == []


def test_what_a_run_started_dies_with_it(bench: Bench) -> None:
    for run, how in enumerate(["child", "session"], 1):
        bench.runner.start(bench.order("block", run, config={"how": how}))
        lines = only(Output, bench.until_line("child="))
        child = int(lines[-1].text.removeprefix("child="))
        with _watched([child]) as handles:
            bench.runner.kill(run)
            bench.finish()
            assert _all_end(handles)


def test_a_leftover_is_ended_only_if_it_is_the_same_process() -> None:
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as process:
        started = start_ticks(process.pid)
        assert started is not None
        assert not end_leftover(process.pid, started + 1)
        assert process.poll() is None
        assert end_leftover(process.pid, started)
        assert process.wait() == -signal.SIGKILL
    assert not end_leftover(process.pid, started)


def test_a_leftover_is_ended_with_its_children() -> None:
    script = "sleep 1000 & echo $!; wait"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        started = start_ticks(process.pid)
        assert started is not None
        with _watched([child]) as handles:
            assert end_leftover(process.pid, started)
            assert _all_end(handles)


@pytest.mark.parametrize("pid", [0, -1, 2**31 - 1, 2**40])
def test_a_pid_that_is_none_is_no_leftover(pid: int) -> None:
    assert not end_leftover(pid, 1)


def test_a_leftover_that_does_not_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as process:
        monkeypatch.setattr(processes, "GONE_WITHIN_S", 0.05)
        monkeypatch.setattr(processes, "_kill_behind", lambda handle, pid: None)
        with pytest.raises(ReconcileError, match=f"The process {process.pid} of an earlier run does not end."):
            end_leftover(process.pid, start_ticks(process.pid) or 0)
        process.kill()


def test_start_ticks_of_a_process_with_a_hostile_name(tmp_path: Path) -> None:
    program = tmp_path / "a) S 1 2 (b"
    program.write_text("#!/bin/sh\nexec 3<&0; read x <&3\n")
    program.chmod(0o755)
    plain = start_ticks(os.getpid())
    with subprocess.Popen([str(program)], stdin=subprocess.PIPE) as process:
        ticks = start_ticks(process.pid)
        assert ticks is not None
        assert plain is not None
        assert ticks >= plain
        process.kill()
