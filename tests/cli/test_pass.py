"""`reconcile` itself: a real pass and a real daemon, as they look in a pipe, on a terminal, and when nobody looks."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

import reconciler
from reconciler.cli.live import Live, Row, rate
from reconciler.cli.options import Call
from reconciler.cli.terminal import Terminal
from reconciler.errors import Problem
from reconciler.record.events import Event
from reconciler.record.store import Record
from tests.cli.conftest import CREATED_MS, STREAM, World, job_text

COMMAND = [sys.executable, "-m", "reconciler"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(reconciler.__file__).parents[1]), "TERM": "xterm-256color"}


@pytest.fixture
def shop(world: World) -> World:
    """Two jobs that run once, one of which finds no file."""
    world.write("data/a.csv", "id,amount\n1,2\n2,3\n")
    world.write("orders.yaml", STREAM + job_text("import-orders", schedule="{once: true}"))
    return world


def on_a_terminal(folder: Path, *arguments: str, columns: int = 80, **environment: str) -> tuple[int, str]:
    """The exit code and everything that `reconcile` writes to a terminal of that width."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    without_size = {name: value for name, value in ENVIRONMENT.items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        [*COMMAND, *arguments], cwd=folder, env={**without_size, **environment},
        stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
    )  # fmt: skip
    os.close(follower)
    written = bytearray()
    while select.select([leader], [], [], 60)[0]:
        try:
            written += os.read(leader, 65_536)
        except OSError:
            break
    os.close(leader)
    return process.wait(timeout=60), written.decode()


# --- in a pipe ------------------------------------------------------------------------------------------------------


def test_a_pass_prints_each_event_in_a_line_and_the_sum_at_the_end(shop: World) -> None:
    result = shop.run()
    lines = [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in result.out.splitlines()]
    assert [re.sub(r"  \(.*\)$", "", line) for line in lines] == [
        "stream/orders  Created  declared in orders.yaml",
        "import-orders  Created  declared in orders.yaml",
        "import-orders  Started  run=1",
        "import-orders  Synced  run=1 unit=1 rows=2",
        "import-orders  Completed  run=1  all scheduled work is done",
        "1 job: 1 completed; 2 rows in 1 run",
    ]
    assert (result.code, result.err) == (0, "")
    assert shop.run().out == "1 job: 1 completed; nothing to run\n"


def test_a_job_that_ends_in_error_is_exit_code_1_with_its_message(shop: World) -> None:
    shop.write("bad.yaml", job_text("broken", schedule="{once: true}").replace("data/*.csv", "data/nope.csv"))
    result = shop.run()
    assert result.code == 1
    assert result.out.splitlines()[-1] == "2 jobs: 1 completed, 1 sleeping; 2 rows in 2 runs"
    assert re.search(r"^broken: error: .*nope\.csv", result.err, re.MULTILINE)


def test_an_invalid_spec_is_exit_code_1_and_holds_up_nothing_else(shop: World) -> None:
    shop.write("bad.yaml", job_text("bad", schedule="{evry: 1h}"))
    result = shop.run()
    assert result.code == 1
    assert "1 completed; 2 rows in 1 run" in result.out
    assert result.err.startswith("jobs.d/bad.yaml:8:")


def test_a_second_writer_is_refused_with_the_pid_of_the_first(shop: World) -> None:
    with Record.writing(shop.state):
        result = shop.run()
    assert result.code == 5
    assert f"(pid {os.getpid()})" in result.err


def test_a_pass_goes_on_when_nobody_reads_any_more(shop: World) -> None:
    process = subprocess.Popen(
        COMMAND, cwd=shop.folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    with process:
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert shop.run("list", "--status", "completed", "-o", "name").out == "import-orders\n"


# --- the daemon -----------------------------------------------------------------------------------------------------


@contextmanager
def daemon(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """`reconcile --watch`, killed at the end if it still goes on."""
    with subprocess.Popen(
        [*COMMAND, "--watch"],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_to(stream: IO[str] | None, word: str) -> list[str]:
    """The lines up to the first with that word in it."""
    assert stream is not None
    lines = []
    for line in stream:
        lines.append(line)
        if word in line:
            return lines
    raise AssertionError(f"no {word!r} in {lines}")


def test_the_daemon_says_what_it_does_and_ends_cleanly_at_sigterm(shop: World) -> None:
    with daemon(shop.folder) as process:
        assert read_to(process.stderr, "Watching") == [
            "Watching jobs.d; Ctrl-C or SIGTERM ends it at the next units.\n"
        ]
        read_to(process.stdout, "Completed")
        assert f"(pid {process.pid})" in shop.run().err
        assert shop.run("list", "-o", "name").out == "import-orders\n"
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=60) == ("", "SIGTERM: runs stop at their next unit\n")
    assert process.returncode == 0


def test_the_daemon_says_what_is_wrong_with_the_specs_whenever_that_changes(shop: World) -> None:
    with daemon(shop.folder) as process:
        read_to(process.stderr, "Watching")
        shop.write("bad.yaml", job_text("bad", schedule="{evry: 1h}"))
        assert read_to(process.stderr, "bad.yaml")[0].startswith("jobs.d/bad.yaml:8:")
        shop.write("bad.yaml", "")
        assert read_to(process.stderr, "valid")[-1] == "All specs are valid again.\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_on_a_terminal_the_daemon_says_so_above_the_rows(shop: World) -> None:
    paper = io.StringIO()
    with Live(Call(root=shop.root, state=shop.state, terminal=Terminal(paper, None))) as live:
        live.ready()
        live.problems([Problem("bad.yaml", 8, 3, "spec.schedule", "no good")])
        live.problems([])
    said = paper.getvalue()
    assert f"Watching {shop.root}; Ctrl-C or SIGTERM ends it at the next units.\n" in said
    assert "bad.yaml:8:3: error: spec.schedule: no good\n" in said
    assert "All specs are valid again.\n" in said


# --- on a terminal --------------------------------------------------------------------------------------------------


def test_on_a_terminal_statuses_have_colours_unless_nobody_wants_them(shop: World) -> None:
    code, written = on_a_terminal(shop.folder)
    assert code == 0
    assert "\x1b[32mSynced\x1b[0m" in written
    assert "1 job: 1 completed; 2 rows in 1 run" in written
    assert "\x1b[32mCompleted\x1b[0m" in on_a_terminal(shop.folder, "list")[1]
    for plain in (
        on_a_terminal(shop.folder, "list", NO_COLOR="1"),
        on_a_terminal(shop.folder, "list", "--no-color"),
        on_a_terminal(shop.folder, "list", TERM="dumb"),
    ):
        assert "\x1b" not in plain[1]


def test_on_a_narrow_terminal_a_table_is_cut_to_fit(shop: World) -> None:
    shop.run()
    shop.write("more.yaml", job_text("a-job-with-a-name-that-is-long"))
    shop.run()
    _, written = on_a_terminal(shop.folder, "list", columns=60, NO_COLOR="1")
    assert max(map(len, written.splitlines())) <= 60
    assert "…" in written


def drawn(live: Live, width: int) -> str:
    """The rows as they stand, without a terminal."""
    from rich.console import Console

    paper = io.StringIO()
    Console(file=paper, width=width).print(live.table())
    return paper.getvalue()


def unseen() -> Live:
    """Rows on a terminal that is none."""
    return Live(Call(root=Path("jobs.d"), state=Path("jobs.d/.reconciler"), terminal=Terminal(io.StringIO(), None)))


def test_a_run_at_work_has_a_row_until_it_ends() -> None:
    live = unseen()
    started = Event(kind="Job", name="import-orders", path="", time_ms=CREATED_MS, event="Started", run=7)
    live.event(started)
    assert drawn(live, 80).startswith("import-orders  0 rows  -  ")
    live.progress("import-orders", 7, 2_000, CREATED_MS, CREATED_MS + 1_000)
    assert "import-orders  2,000 rows  " in drawn(live, 80)
    live.finished("import-orders", 7)
    assert drawn(live, 80).strip() == ""


def test_only_so_many_rows_are_shown_and_the_rest_is_counted() -> None:
    live = unseen()
    for run in range(15):
        live.progress(f"job-{run}", run, 1, CREATED_MS, CREATED_MS)
    lines = drawn(live, 80).splitlines()
    assert (len(lines), lines[-1].strip()) == (13, "and 3 more")


def test_a_rate_is_rows_a_second_since_the_start() -> None:
    assert rate(Row("a", 5_000, CREATED_MS, CREATED_MS), CREATED_MS + 2_000) == "2,500/s"
    assert rate(Row("a", 0, CREATED_MS, CREATED_MS), CREATED_MS + 2_000) == "-"


def test_on_a_terminal_the_units_of_a_run_are_one_line_when_it_ends() -> None:
    paper = io.StringIO()
    call = Call(root=Path("jobs.d"), state=Path("jobs.d/.reconciler"), terminal=Terminal(paper, None))
    with Live(call) as live:
        for unit in range(1, 1_001):
            live.event(
                Event(kind="Job", name="a", path="", time_ms=CREATED_MS, event="Synced", run=7, unit=unit, rows=500)
            )
        rejected = Event(kind="Job", name="b", path="", time_ms=CREATED_MS, event="Synced", run=8, unit=1, omitted=2)
        live.event(rejected)
        live.finished("a", 7)
    synced = [line for line in paper.getvalue().splitlines() if "Synced" in line]
    assert len(synced) == 2
    assert "b  Synced  run=8 unit=1 omitted=2" in synced[0]
    assert "a  Synced  run=7 unit=1000 rows=500000  1,000 units" in synced[1]


def test_on_a_terminal_the_units_of_a_run_are_said_before_its_end() -> None:
    paper = io.StringIO()
    call = Call(root=Path("jobs.d"), state=Path("jobs.d/.reconciler"), terminal=Terminal(paper, None))
    with Live(call) as live:
        for said in ("Started", "Synced", "Synced", "Completed"):
            live.event(Event(kind="Job", name="a", path="", time_ms=CREATED_MS, event=said, run=7, unit=2, rows=5))
        live.finished("a", 7)
    assert re.findall("Started|Synced|Completed", paper.getvalue()) == ["Started", "Synced", "Completed"]


def test_on_a_terminal_no_thread_draws_before_there_is_something_to_show() -> None:
    """Until then a pass may be forked."""
    terminal = Terminal(io.StringIO(), None)
    before = set(threading.enumerate())
    with Live(Call(root=Path("jobs.d"), state=Path("jobs.d/.reconciler"), terminal=terminal)) as live:
        assert not set(threading.enumerate()) - before
        live.notice("something")
        assert len(set(threading.enumerate()) - before) == 1


def test_a_standard_file_that_is_closed_is_no_other_file() -> None:
    """With standard error closed, runs wrote theirs into the lock of the record, and held it."""
    program = (
        "import os, sys\nos.close(0)\nos.close(2)\nfrom reconciler.__main__ import main\nsys.argv[1:] = ['--version']\n"
        "main()\nprint([os.readlink(f'/proc/self/fd/{number}') for number in (0, 2)])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == str([os.devnull] * 2)


@pytest.mark.parametrize("arguments", [("--listen", "nonsense", "--watch"), ("--source", "git:nope")])
def test_a_usage_error_leaves_nothing_behind(world: World, arguments: tuple[str, ...]) -> None:
    subprocess.run(["git", "init", "-q", str(world.folder)], check=True)
    world.write("orders.yaml", STREAM)
    before = sorted(world.folder.rglob("*"))
    ended = world.run(*arguments)
    assert (ended.code, ended.err.startswith("Error: ")) == (2, True)
    assert sorted(world.folder.rglob("*")) == before


def test_a_usage_error_takes_nothing_of_a_record_that_was_there(shop: World) -> None:
    assert shop.run().code == 0
    assert shop.run("--listen", "nonsense", "--watch").code == 2
    assert shop.run("list", "-o", "name").out == "import-orders\n"
