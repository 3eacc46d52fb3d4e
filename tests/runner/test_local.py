"""How a run begins, goes on and ends: real processes, one for each way."""

from __future__ import annotations

import gc
import os
import select
import signal
from itertools import pairwise
from pathlib import Path

import pytest

from reconciler.core.messages import Began, Ended, Exited, Intended, Output, Produced, SecretSeen, SegmentRef
from reconciler.core.provider import Intent
from reconciler.runner.local import LocalRunner
from reconciler.runner.processes import children, start_ticks
from tests.runner.conftest import QUICK_S, Bench, last, only


def test_a_run_begins_produces_its_units_one_by_one_and_succeeds(bench: Bench) -> None:
    heard = bench.run("count", config={"units": 3})
    assert isinstance(heard[0], Began)
    assert heard[0].pid > 0
    assert [one.unit.cursor for one in only(Produced, heard)] == [1, 2, 3]
    assert [one.text for one in only(Output, heard)] == [
        "unit=1 cursor=None omitted=0",
        "unit=2 cursor=1 omitted=1",
        "unit=3 cursor=2 omitted=2",
    ]
    ended, exited = last(heard)
    assert (ended.how, ended.message, ended.found_nothing) == ("succeeded", "", False)
    assert (exited.pid, exited.exit_code, exited.signal) == (heard[0].pid, 0, None)
    assert not exited.timed_out
    assert not exited.killed


def test_no_unit_is_made_before_the_one_before_it_has_its_answer(bench: Bench) -> None:
    bench.runner.start(bench.order("count", config={"units": 2}))
    heard = bench.until(lambda one: isinstance(one, Produced))
    assert bench.runner.messages(0.2) == []
    bench.runner.answer(1, True)
    heard += bench.finish()
    assert [one.unit.cursor for one in only(Produced, heard)] == [1, 2]


def test_a_run_goes_on_from_the_cursor_the_unit_and_the_omitted_of_its_order(bench: Bench) -> None:
    heard = bench.run("count", config={"units": 3}, cursor=2, unit=7, omitted=5, attempt=4)
    assert [one.text for one in only(Output, heard)] == ["unit=7 cursor=2 omitted=5"]
    assert [one.attempt for one in (*only(Produced, heard), *last(heard))] == [4, 4, 4]


def test_a_run_without_a_unit_has_found_nothing(bench: Bench) -> None:
    assert last(bench.run("idle"))[0].found_nothing


def test_a_run_whose_units_did_not_move_has_found_nothing(bench: Bench) -> None:
    heard = bench.run("still")
    assert len(only(Produced, heard)) == 1
    assert last(heard)[0].found_nothing


def test_a_refused_unit_ends_the_run_at_once(bench: Bench) -> None:
    heard = bench.run("count", accept=False, config={"units": 3})
    assert len(only(Produced, heard)) == 1
    ended, exited = last(heard)
    assert (ended.how, ended.message) == ("stopped", "superseded")
    assert exited.exit_code == 0


def test_a_refused_intent_ends_the_run_before_anything_is_sent(bench: Bench) -> None:
    heard = bench.run("announce", accept=False)
    assert only(Intended, heard)[0].intents == (
        Intent(key="k1", first=0, last=9, digest="0" * 64, detail={"size": 10}),
    )
    assert only(Output, heard) == []
    assert last(heard)[0].message == "superseded"


def test_an_accepted_intent_lets_the_provider_send(bench: Bench) -> None:
    heard = bench.run("announce")
    assert [one.text for one in only(Output, heard)] == ["sent", "open=0", "finally"]
    assert only(Produced, heard)[0].unit.closes == ("k1",)


def test_open_intents_reach_the_provider_as_they_were(bench: Bench) -> None:
    intent = Intent(key="k9", first=3, last=5, digest="f" * 64, detail={"a": [1]})
    heard = bench.run("resend", open_intents=(intent,))
    assert only(Output, heard)[0].text == "again k9 3-5 {'a': [1]}"
    assert only(Produced, heard)[0].unit.closes == ("k9",)


def test_a_stop_takes_effect_at_the_next_unit(bench: Bench) -> None:
    bench.runner.start(bench.order("count", config={"units": 3}))
    bench.until(lambda one: isinstance(one, Produced))
    bench.runner.stop(1)
    bench.runner.answer(1, True)
    heard = bench.finish()
    assert only(Produced, heard) == []
    ended, exited = last(heard)
    assert ended.how == "stopped"
    assert (exited.exit_code, exited.killed) == (0, False)


def test_a_run_that_is_stopped_before_it_has_begun_makes_no_unit(own_bench: Bench) -> None:
    own_bench.runner.start(own_bench.order("count", config={"units": 3}))
    own_bench.runner.start(own_bench.order("count", 2, config={"units": 3}))
    own_bench.runner.stop(1)
    heard = own_bench.finish()
    assert {one.run for one in only(Produced, heard)} == {2}
    assert {one.run: one.how for one in only(Ended, heard)} == {1: "stopped", 2: "succeeded"}


def test_a_provider_sees_that_it_is_to_stop_and_may_end_its_unit_early(bench: Bench) -> None:
    bench.runner.start(bench.order("polite"))
    bench.until_line("waiting")
    bench.runner.stop(1)
    heard = bench.finish()
    assert [one.unit.cursor for one in only(Produced, heard)] == ["stopped"]
    assert [one.text for one in only(Output, heard)] == ["tidied up"]
    assert last(heard)[0].how == "stopped"


def test_a_stopped_run_that_does_not_get_to_its_next_unit_is_killed_after_the_grace(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.runner, "_grace_s", QUICK_S)
    bench.runner.start(bench.order("block", config={"how": "sleep"}))
    bench.until_line("blocking")
    bench.runner.stop(1)
    heard = bench.finish()
    assert [type(one) for one in heard] == [Exited]
    exited = only(Exited, heard)[0]
    assert (exited.signal, exited.killed, exited.timed_out) == (signal.SIGKILL, True, False)


def test_a_provider_that_takes_no_hint_is_stopped_all_the_same(bench: Bench) -> None:
    bench.runner.start(bench.order("stubborn"))
    bench.until(lambda one: isinstance(one, Produced))
    bench.runner.stop(1)
    bench.runner.answer(1, True)
    heard = bench.finish()
    assert "swallowed" in [one.text for one in only(Output, heard)]
    assert last(heard)[0].how == "stopped"


@pytest.mark.parametrize("how", ["sleep", "spin", "hold", "signals"])
def test_a_run_is_killed_at_once_whatever_it_does(bench: Bench, how: str) -> None:
    bench.runner.start(bench.order("block", config={"how": how}))
    bench.until_line("blocking")
    bench.runner.kill(1)
    exited = only(Exited, bench.finish())[0]
    assert (exited.signal, exited.killed) == (signal.SIGKILL, True)


def test_a_run_over_its_timeout_is_killed(bench: Bench) -> None:
    heard = bench.run("block", config={"how": "spin"}, timeout_s=0.3)
    assert only(Ended, heard) == []
    exited = only(Exited, heard)[0]
    assert (exited.signal, exited.timed_out, exited.killed) == (signal.SIGKILL, True, False)


def test_a_stop_never_puts_off_the_timeout(bench: Bench, tmp_path: Path) -> None:
    with LocalRunner(tmp_path, grace_s=100) as patient:
        bench = Bench(tmp_path / "patient", patient)
        patient.start(bench.order("block", config={"how": "sleep"}, timeout_s=1.0))
        heard = bench.until(lambda one: isinstance(one, Output | Exited))  # it may be over before it has said a word
        patient.stop(1)
        assert only(Exited, heard + bench.finish())[0].timed_out


@pytest.mark.parametrize(
    ("how", "code", "number"),
    [
        ("exit", 3, None),
        ("segv", None, signal.SIGSEGV),
        ("abort", None, signal.SIGABRT),
        ("term", None, signal.SIGTERM),
    ],
)
def test_a_run_that_dies_by_itself_is_only_known_to_have_exited(
    bench: Bench, how: str, code: int | None, number: int | None
) -> None:
    heard = bench.run("crash", config={"how": how})
    assert len(only(Produced, heard)) == 1
    assert only(Ended, heard) == []
    exited = only(Exited, heard)[0]
    assert (exited.exit_code, exited.signal) == (code, number)
    assert not exited.killed


@pytest.mark.parametrize(
    ("error", "how", "message", "wait_s"),
    [
        ("Retriable", "retriable", "no luck", 7.0),
        ("Endless", "retriable", "no luck", 366 * 86_400.0),
        ("Fatal", "fatal", "no luck", None),
        ("RateLimited", "limited", "no luck", 60.0),
        ("KeyError", "retriable", "KeyError: 'no luck'", None),
        ("MemoryError", "retriable", "MemoryError: no luck", None),
        ("SystemExit", "retriable", "SystemExit: no luck", None),
        ("KeyboardInterrupt", "retriable", "KeyboardInterrupt: no luck", None),
    ],
)
def test_an_error_ends_the_run_in_its_own_way(
    bench: Bench, error: str, how: str, message: str, wait_s: float | None
) -> None:
    ended, exited = last(bench.run("fail", config={"error": error, "text": "no luck"}))
    assert (ended.how, ended.message, ended.retry_after_s) == (how, message, wait_s)
    assert exited.exit_code == 1


def test_an_unexpected_error_leaves_its_traceback_in_the_output(bench: Bench) -> None:
    lines = [one.text for one in only(Output, bench.run("fail", config={"error": "KeyError", "text": "x"}))]
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "KeyError: 'x'"


def test_the_message_of_an_error_is_cut_to_what_a_status_can_hold(bench: Bench) -> None:
    ended, _ = last(bench.run("fail", config={"error": "Fatal", "text": "ü" * 10_000}))
    assert ended.message == "ü" * 4095 + "…"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"provider": "nobody"}, "There is no provider named 'nobody'."),
        ({"job_type": "nothing"}, "The provider 'subject' has no job type named 'nothing'."),
        (
            {"job_type": "idle", "config": {"refuse": 1}},
            "The config does not fit the job type 'idle': refuse: unknown field",
        ),
        ({"job_type": "stream", "config": {"stream": "orders"}}, "The job does not read a stream named 'orders'."),
    ],
)
def test_an_order_that_cannot_be_worked_on_is_fatal(bench: Bench, fields: dict[str, object], message: str) -> None:
    bench.runner.start(bench.order(**{"job_type": "idle", **fields}))  # type: ignore[arg-type]
    ended, _ = last(bench.finish())
    assert (ended.how, ended.message) == ("fatal", message)


def test_a_run_reads_the_streams_of_its_order(bench: Bench) -> None:
    segments = (SegmentRef(file="a.parquet", first=0, rows=2), SegmentRef(file="b.parquet", first=2, rows=3))
    heard = bench.run("stream", config={"stream": "orders"}, streams={"orders": segments})
    assert only(Produced, heard)[0].unit.cursor == ["orders", 5]


def test_a_run_finds_the_files_of_its_spec(bench: Bench) -> None:
    folder = bench.root / "specs" / "data"
    folder.mkdir(parents=True)
    (folder / "b.csv").touch()
    (folder / "a.csv").touch()
    heard = bench.run("files", config={"path": "data/*.csv"})
    assert only(Produced, heard)[0].unit.cursor == [
        ["data/a.csv", str(folder / "a.csv")],
        ["data/b.csv", str(folder / "b.csv")],
    ]


def test_no_provider_finds_a_secret_of_any_authorization_in_its_environment(
    monkeypatch: pytest.MonkeyPatch, own_bench: Bench
) -> None:
    bench, named = own_bench, ("SUBJECT_MINE", "SUBJECT_OTHERS")
    for name in (*named, "SUBJECT_HARMLESS"):
        monkeypatch.setenv(name, "correct-horse-battery")
    credentials = {"token": {"env": "SUBJECT_MINE"}}
    heard = bench.run("probe", authorization="main", credentials=credentials, secret_variables=named)
    assert only(SecretSeen, heard), "its own secret was found before"
    assert only(Produced, heard)[0].unit.cursor["variables"] == ["SUBJECT_HARMLESS"]


def test_the_process_of_a_run_is_on_its_own_with_its_libraries_loaded(bench: Bench) -> None:
    facts = only(Produced, bench.run("probe"))[0].unit.cursor
    assert facts["session"]
    assert (facts["core"], facts["dumpable"]) == (0, 0)
    assert facts["threads"] == 2
    assert (facts["sigint"], facts["sigchld"]) == (str(signal.SIG_IGN), str(signal.SIG_DFL))
    assert facts["environment"] == []
    assert facts["heavy"] == ["duckdb", "httpx", "pyarrow", "pydantic"]
    assert facts["fds"].pop("0") == "/dev/null"
    assert sorted(facts["fds"].values()) == ["pipe", "pipe", "pipe", "socket"]


@pytest.mark.parametrize("format", ["csv", "ndjson", "parquet"])
def test_a_run_of_our_own_providers_loads_no_module_after_its_fork(bench: Bench, format: str) -> None:
    (bench.root / "specs").mkdir()
    (bench.root / "specs" / "a.csv").write_text("a,t\n1,2024-01-01T00:00:00Z\n2,2024-01-02T00:00:00Z\n")
    config = {"path": "a.csv", "stream": "orders", "timestampField": "t"}
    heard = bench.run("delegate", config={"provider": "files", "jobType": "import-csv", "config": config})
    assert only(Output, heard)[-1].text == "loaded=[]"
    (staged,) = only(Produced, heard)[0].unit.segments
    streams = {"orders": (SegmentRef(file=staged.file, first=0, rows=staged.rows),)}
    config = {"path": f"out.{format}", "stream": "orders"}
    heard = bench.run(
        "delegate",
        run=2,
        config={"provider": "files", "jobType": f"export-{format}", "config": config},
        streams=streams,
    )
    assert only(Output, heard)[-1].text == "loaded=[]"
    assert (bench.root / "specs" / f"out.{format}").stat().st_size > 0


def test_the_peak_of_memory_and_the_processor_time_are_reported(bench: Bench) -> None:
    small = last(bench.run("grow", config={"mib": 1}))[1]
    large = last(bench.run("grow", run=2, config={"mib": 201}))[1]
    assert 190 * 1024 < large.peak_kib - small.peak_kib < 210 * 1024
    assert 0 < small.cpu_s < large.cpu_s


def test_eight_runs_go_on_at_the_same_time(bench: Bench) -> None:
    for run in range(1, 9):
        bench.runner.start(bench.order("count", run, config={"units": 5}))
    assert bench.runner.active() == tuple(range(1, 9))
    heard = []
    while len(only(Produced, heard)) < 8:
        heard += bench.runner.messages(10)
    assert {one.run for one in only(Produced, heard)} == set(range(1, 9))
    for run in range(1, 9):
        bench.runner.answer(run, True)
    heard += bench.finish()
    assert len(only(Produced, heard)) == 40
    assert {one.how for one in only(Ended, heard)} == {"succeeded"}
    assert len({one.pid for one in only(Exited, heard)}) == 8


def test_one_descriptor_tells_of_everything(bench: Bench) -> None:
    poll = select.poll()
    poll.register(bench.runner.fileno(), select.POLLIN)
    assert poll.poll(0) == []
    bench.runner.start(bench.order("idle"))
    while bench.runner.active():
        assert poll.poll(60_000)
        bench.runner.messages(0)
    assert poll.poll(0) == []


def test_messages_returns_when_its_time_is_over_and_nothing_came(bench: Bench) -> None:
    assert bench.runner.messages(0) == []
    bench.runner.start(bench.order("block", config={"how": "sleep"}))
    bench.until_line("blocking")
    assert bench.runner.messages(0.05) == []


def test_two_hundred_runs_leak_no_descriptor_and_no_process(bench: Bench) -> None:
    bench.run("idle")
    gc.collect()
    before = os.listdir("/proc/self/fd")
    pids = []
    for first in range(2, 202, 8):
        for run in range(first, min(first + 8, 202)):
            bench.runner.start(bench.order("count", run, config={"units": 1}))
        pids += [one.pid for one in only(Exited, bench.finish())]
    assert len(pids) == 200
    assert all(start_ticks(pid) is None for pid in pids)
    assert os.listdir("/proc/self/fd") == before


def test_a_run_may_be_tried_again_under_its_number(bench: Bench) -> None:
    pids = [last(bench.run("idle", attempt=attempt))[1].pid for attempt in (1, 2, 3)]
    assert len(set(pids)) == 3


def test_a_large_order_arrives_whole(bench: Bench) -> None:
    segments = tuple(SegmentRef(file=f"{n}.parquet", first=n * 10, rows=10) for n in range(50_000))
    bench.runner.start(bench.order("stream", config={"stream": "orders"}, streams={"orders": segments}))
    assert only(Produced, bench.finish())[0].unit.cursor == ["orders", 500_000]


def test_a_large_cursor_comes_and_goes_whole(bench: Bench) -> None:
    cursor = {f"file-{n}": "x" * 100 for n in range(50_000)}
    heard = bench.run("unit", config={"cursor": cursor})
    assert only(Produced, heard)[0].unit.cursor == cursor


def test_a_runner_that_never_started_a_run_closes_without_a_process(tmp_path: Path) -> None:
    with LocalRunner(tmp_path) as runner:
        assert runner.active() == ()
        runner.stop(1)
        runner.kill(1)
        runner.answer(1, True)
    runner.close()


def test_closing_ends_every_run(own_bench: Bench) -> None:
    bench = own_bench
    for run in (1, 2):
        bench.runner.start(bench.order("block", run, config={"how": "sleep"}))
    heard = bench.until_line("blocking")
    while len(only(Began, heard)) < 2:
        heard += bench.runner.messages(1)
    bench.runner.close()
    assert all(start_ticks(one.pid) is None for one in only(Began, heard))


def test_secrets_are_reported_by_their_keyed_digest(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("correct-horse-battery")
    credentials = {"token": {"file": str(tmp_path / "token")}}
    seen = only(SecretSeen, bench.run("idle", authorization="main", credentials=credentials))
    again = only(SecretSeen, bench.run("idle", authorization="main", credentials=credentials, secret_key="11" * 32))
    assert [(one.authorization, one.field) for one in seen] == [("main", "token")]
    assert seen[0].digest != again[0].digest
    for one, two in pairwise((*seen, *again)):
        assert len(one.digest) == len(two.digest) == 64


def test_what_a_run_takes_is_got_ready_before_it_starts(own_bench: Bench) -> None:
    before = children()
    own_bench.runner.prepare()
    (server,) = children() - before
    own_bench.runner.prepare()
    own_bench.run("idle")
    assert children() - before == {server}, "the run was forked from the server that was there"


def test_what_was_got_ready_for_no_run_is_gone_with_the_runner(tmp_path: Path) -> None:
    before = children()
    with LocalRunner(tmp_path) as runner:
        runner.prepare()
        assert len(children() - before) == 1
    assert children() == before
