"""`reconcile logs`: the events of a job, in time, in either shape, and as they come."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import reconciler
from reconciler.clock import Clock
from tests.cli.conftest import CREATED_MS, World


@pytest.fixture
def logged(world: World) -> World:
    world.job("import-orders")
    world.event("import-orders", "Created", author="Ada", commit="0a1b2c3d4e5f6a7b8c9d")
    world.event("import-orders", "Started", run=42, time_ms=CREATED_MS + 1_000)
    world.event(
        "import-orders", "Synced", run=42, unit=7, rows=1000, added=0, removed=0, omitted=1, message="bad\x1b[2J row",
        time_ms=CREATED_MS + 2_000,
    )  # fmt: skip
    return world


def test_text_is_one_aligned_line_an_event_without_zeros(logged: World) -> None:
    result = logged.run("logs", "import-orders")
    assert result.out == (
        "2026-11-20T09:30:00.000Z  Created      (0a1b2c3d4e5f, Ada)\n"
        "2026-11-20T09:30:01.000Z  Started      run=42\n"
        "2026-11-20T09:30:02.000Z  Synced       run=42 unit=7 rows=1000 omitted=1  bad\\x1b[2J row\n"
    )
    assert (result.code, result.err) == (0, "")


def test_json_is_one_object_a_line(logged: World) -> None:
    events = [json.loads(line) for line in logged.run("logs", "import-orders", "-o", "json").out.splitlines()]
    assert [event["event"] for event in events] == ["Created", "Started", "Synced"]
    assert events[2] == {
        "time": "2026-11-20T09:30:02.000Z",
        "event": "Synced",
        "name": "import-orders",
        "run": 42,
        "unit": 7,
        "rows": 1000,
        "added": 0,
        "removed": 0,
        "omitted": 1,
        "message": "bad\x1b[2J row",
        "commit": None,
        "author": None,
    }


def test_since_takes_a_time_or_a_duration(logged: World) -> None:
    logged.event("import-orders", "Completed", time_ms=Clock().now().wall_ms)
    by_time = logged.run("logs", "import-orders", "--since", "2026-11-20T09:30:02Z").out
    assert [line.split()[1] for line in by_time.splitlines()] == ["Synced", "Completed"]
    by_duration = logged.run("logs", "import-orders", "--since", "1m").out
    assert [line.split()[1] for line in by_duration.splitlines()] == ["Completed"]


def test_a_since_that_is_neither_is_a_usage_error(logged: World) -> None:
    result = logged.run("logs", "import-orders", "--since", "yesterday")
    assert result.code == 2
    assert result.err == (
        "Error: --since: expected a duration (1h30m) or a time (2026-11-21T10:00:00Z), found 'yesterday'\n"
    )


def test_an_unknown_name_is_a_usage_error_that_names_the_closest(logged: World) -> None:
    result = logged.run("logs", "import-order")
    assert (result.code, result.err) == (2, "Error: there is no job 'import-order'; did you mean 'import-orders'?\n")


def test_an_empty_record_says_to_run_first(world: World) -> None:
    result = world.run("logs", "x")
    assert result.err == "Error: there is no job 'x': nothing of jobs.d is recorded yet; run `reconcile` first\n"


def test_follow_shows_what_comes_and_ends_with_130_at_ctrl_c(logged: World) -> None:
    follower = subprocess.Popen(
        [sys.executable, "-m", "reconciler", "logs", "import-orders", "-f", "-o", "json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=logged.folder,
        env={**os.environ, "PYTHONPATH": str(Path(reconciler.__file__).parents[1])},
    )  # fmt: skip
    assert follower.stdout is not None
    with follower:
        lines = [follower.stdout.readline() for _ in range(3)]
        assert json.loads(lines[2])["event"] == "Synced"
        assert not select.select([follower.stdout], [], [], 0.3)[0]
        logged.event("import-orders", "Completed")
        assert json.loads(follower.stdout.readline())["event"] == "Completed"
        follower.send_signal(signal.SIGINT)
        _, err = follower.communicate(timeout=60)
    assert (follower.returncode, err.strip()) == (130, b"")
