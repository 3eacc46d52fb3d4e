"""Processes that are made ahead: a run that is given to one waits for no fork, and is a run like any other."""

from __future__ import annotations

import os
import resource
import select
import signal
import time
from pathlib import Path

import pytest

from reconciler.core.messages import Began, Ended, Exited, Output, Produced
from reconciler.runner.local import STANDBYS, LocalRunner
from tests.runner.conftest import PATIENCE_S, Bench, last, only


def _prepared(bench: Bench) -> list[int]:
    """As many as there may be wait, and the runner has heard of them: their pids, in the order in which they are given runs."""
    bench.run("idle")
    until_s = time.monotonic() + PATIENCE_S
    while len(pids := [one.pid for one in bench.runner._standbys if one.pid]) < STANDBYS:
        assert time.monotonic() < until_s
        bench.runner.make_ahead()
        assert bench.runner.messages(0.01) == []
    return pids


def test_a_run_is_given_to_a_process_that_waits_and_is_like_any_other(own_bench: Bench) -> None:
    waiting = _prepared(own_bench)
    heard = own_bench.run("count", run=2, config={"units": 9}, cursor=7, attempt=3)
    began = heard[0]
    assert isinstance(began, Began)
    assert began.pid == waiting[0]
    assert [one.unit.cursor for one in only(Produced, heard)] == [8, 9]
    assert only(Output, heard)[0].text == "unit=1 cursor=7 omitted=0"
    ended, exited = last(heard)
    assert (ended.how, ended.attempt) == ("succeeded", 3)
    assert (exited.run, exited.attempt, exited.pid, exited.exit_code) == (2, 3, began.pid, 0)


def test_the_process_of_a_run_that_was_made_ahead_is_on_its_own(own_bench: Bench) -> None:
    waiting = _prepared(own_bench)
    heard = own_bench.run("probe", run=2)
    facts = only(Produced, heard)[0].unit.cursor
    assert only(Began, heard)[0].pid in waiting
    assert facts["session"]
    assert (facts["core"], facts["dumpable"], facts["threads"]) == (0, 0, 2)
    assert (facts["sigint"], facts["sigchld"]) == (str(signal.SIG_IGN), str(signal.SIG_DFL))
    assert facts["fds"].pop("0") == "/dev/null"
    assert sorted(facts["fds"].values()) == ["pipe", "pipe", "pipe", "socket"]


def test_the_timeout_of_a_run_begins_with_its_order(own_bench: Bench) -> None:
    _prepared(own_bench)
    heard = own_bench.run("block", run=2, config={"how": "spin"}, timeout_s=0.3)
    exited = only(Exited, heard)[0]
    assert (exited.run, exited.signal, exited.timed_out) == (2, signal.SIGKILL, True)


def test_a_process_that_was_ended_while_it_waited_is_given_no_run(own_bench: Bench) -> None:
    waiting = _prepared(own_bench)
    _end(waiting)
    until_s = time.monotonic() + PATIENCE_S
    while own_bench.runner._standbys:  # until the runner knows, too
        assert time.monotonic() < until_s
        own_bench.runner.messages(0.2)
    heard = own_bench.run("count", run=2, config={"units": 1})
    assert only(Began, heard)[0].pid not in waiting
    assert last(heard)[0].how == "succeeded"


def _end(pids: list[int]) -> None:
    """They are gone, and the fork server knows."""
    until_s = time.monotonic() + PATIENCE_S
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < until_s


def test_a_run_that_was_given_to_a_dead_process_gets_another_one(own_bench: Bench) -> None:
    waiting = _prepared(own_bench)
    _end(waiting)
    heard = own_bench.run("count", run=2, config={"units": 1})  # the runner has not heard of it yet
    assert only(Began, heard)[0].pid in waiting
    assert only(Began, heard)[-1].pid not in waiting
    assert [one.unit.cursor for one in only(Produced, heard)] == [1]
    ended, exited = last(heard)
    assert (ended.how, exited.pid, exited.exit_code) == ("succeeded", only(Began, heard)[-1].pid, 0)


def test_a_run_that_was_given_to_a_dead_process_and_is_stopped_has_stopped(own_bench: Bench) -> None:
    _end(_prepared(own_bench))
    own_bench.runner.start(own_bench.order("count", 2, config={"units": 1}))
    own_bench.runner.stop(2)
    heard = own_bench.finish()
    assert only(Produced, heard) == []
    assert only(Ended, heard) == []
    assert only(Exited, heard)[0].killed


def test_a_run_gets_the_process_that_is_being_made_ahead(own_bench: Bench) -> None:
    own_bench.run("idle")
    own_bench.runner.make_ahead()
    heard = own_bench.run("count", run=2, config={"units": 1})
    assert own_bench.runner._standbys == []
    assert len(only(Began, heard)) == 1
    assert last(heard)[0].how == "succeeded"


def test_of_two_runs_the_first_gets_the_process_that_is_being_made_ahead(own_bench: Bench) -> None:
    own_bench.run("idle")
    own_bench.runner.make_ahead()
    own_bench.runner.start(own_bench.order("count", 2, config={"units": 1}))
    heard = own_bench.run("count", run=3, config={"units": 1})
    assert own_bench.runner._standbys == []
    assert sorted(one.run for one in only(Ended, heard) if one.how == "succeeded") == [2, 3]
    assert len({one.pid for one in only(Began, heard)}) == 2


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_run_that_is_stopped_before_its_process_is_made_gets_none(own_bench: Bench, how: str) -> None:
    own_bench.run("idle")
    own_bench.runner.make_ahead()
    own_bench.runner.start(own_bench.order("count", 2, config={"units": 1}))
    getattr(own_bench.runner, how)(2)
    server = own_bench.runner._server
    assert server is not None
    assert server.owes == {}
    heard = own_bench.finish()
    assert [(one.run, one.killed) for one in only(Exited, heard)] == [(2, True)]
    assert len(heard) == 1
    assert last(own_bench.run("count", run=3, config={"units": 1}))[0].how == "succeeded"


def test_a_run_whose_process_cannot_be_made_after_all_asks_for_another_one(own_bench: Bench) -> None:
    own_bench.run("idle")
    server = own_bench.runner._server
    assert server is not None
    before = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (3, before[1]))
    own_bench.runner.make_ahead()
    heard = own_bench.run("count", run=2, config={"units": 1})
    assert only(Ended, heard)[0].message == "No process could be started for the run: Too many open files."
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, before)
    assert last(own_bench.run("count", run=3, config={"units": 1}))[0].how == "succeeded"


def test_a_run_that_hopes_for_a_process_ends_with_a_fork_server_that_dies(own_bench: Bench) -> None:
    own_bench.run("idle")
    server = own_bench.runner._server
    assert server is not None
    server.process.send_signal(signal.SIGSTOP)
    own_bench.runner.make_ahead()
    own_bench.runner.start(own_bench.order("count", 2, config={"units": 1}))
    server.process.kill()
    ended, exited = last(own_bench.finish())
    assert (ended.how, exited.pid) == ("retriable", 0)
    assert last(own_bench.run("count", run=3, config={"units": 1}))[0].how == "succeeded"


def test_no_process_waits_any_more_once_the_runner_is_closed(own_bench: Bench) -> None:
    handles = [os.pidfd_open(pid) for pid in _prepared(own_bench)]
    own_bench.runner.close()
    for handle in handles:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        assert poll.poll(60_000)
        os.close(handle)


def test_nothing_is_made_ahead_before_the_first_run(tmp_path: Path) -> None:
    with LocalRunner(tmp_path) as runner:
        runner.make_ahead()
        assert runner.messages(0) == []
        assert runner.active() == ()
