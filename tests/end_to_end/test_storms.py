"""A daemon while its clone is torn about: no effect that no commit, or in a work tree no settled tree, implies.

`RECONCILE_STORMS=1000 RECONCILE_STORM_SPECS=3000 pytest -s tests/end_to_end/test_storms.py` is the long form; its seed is drawn,
printed, and taken from `RECONCILE_SEED` where given.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.daemon import Daemon
from tests.end_to_end.storms import State, Storms
from tests.end_to_end.world import is_sound, rows_of
from tests.seeds import seed

STORMS = int(os.environ.get("RECONCILE_STORMS", "12"))
SPECS = int(os.environ.get("RECONCILE_STORM_SPECS", "120"))
SEED = seed("RECONCILE_STORMS")
PATIENCE_S = 120


def until_true(state: Path, wanted: Callable[[], State], daemon: Daemon) -> None:
    """Waits until the record holds what is wanted."""
    deadline, pause = time.monotonic() + PATIENCE_S, threading.Event()
    while (found := recorded(state).items()) != (last := wanted().items()):
        if time.monotonic() > deadline:
            said = "\n".join(daemon.lines[-30:])
            pytest.fail(f"seed {SEED}: too many are {sorted(found - last)}, missing are {sorted(last - found)}\n{said}")
        pause.wait(0.05)


def rage(storms: Storms) -> None:
    """All the storms, and how far they are, for who watches a long form."""
    for number in range(1, STORMS + 1):
        storms.storm()
        if number % 100 == 0:
            print(f"{number} storms", flush=True)


def recorded(state: Path) -> State:
    rows = rows_of(
        state,
        "SELECT resource.name, job.status = 'Paused' FROM resource JOIN job USING (id) WHERE resource.life = 'live'",
    )
    return {name: bool(paused) for name, paused in rows}


def deeds(state: Path) -> list[tuple[str, str, str]]:
    """All that was done to jobs: verb, name, and the commit that it was read from."""
    rows = rows_of(state, "SELECT action, name, revision FROM audit WHERE kind = 'Job' ORDER BY seq")
    return [(verb, name, revision.rpartition(":")[2]) for verb, name, revision in rows]


@pytest.mark.timeout(7_200)
def test_of_a_commit_no_effect_is_seen_that_the_commit_it_names_does_not_imply(tmp_path: Path) -> None:
    print(f"RECONCILE_SEED={SEED}")
    storms = Storms(tmp_path, SEED, SPECS)
    state = tmp_path / "state"
    source = ("--source", "git:main", "--data-root", str(tmp_path), "--settings", str(storms.settings))
    with Daemon(storms.root, *source, "--state", str(state)) as daemon:
        daemon.wait_for(f"job-{SPECS - 1:04d}", "Created", patience_s=PATIENCE_S)
        rage(storms)
        storms.end()
        daemon.wait_for("the-end", "Created", patience_s=PATIENCE_S)
        until_true(state, lambda: storms.state(storms.tips[-1]), daemon)
        assert daemon.terminate() == 0
    assert is_sound(state)
    at = 0
    for verb, name, commit in deeds(state):
        assert commit in storms.tips[at:], f"seed {SEED}: {verb} {name} of {commit}, which main was not since {at}"
        at = storms.tips.index(commit, at)
        implied = storms.state(commit)
        assert implied, f"seed {SEED}: {verb} {name} of {commit}, which declares nothing"
        match verb:
            case "delete":
                assert name not in implied, f"seed {SEED}: {name} was deleted, and {commit} has it"
            case "pause" | "resume":
                assert implied[name] == (verb == "pause"), f"seed {SEED}: {verb} {name}, against {commit}"
            case _:
                assert name in implied, f"seed {SEED}: {verb} {name}, which {commit} lacks"
    status = storms.root.rglob("*.status.yaml")
    assert list(status) == [], "nothing is written into the work tree"


@pytest.mark.timeout(7_200)
def test_of_a_work_tree_no_effect_is_seen_that_no_commit_and_no_file_implies(tmp_path: Path) -> None:
    print(f"RECONCILE_SEED={SEED}")
    storms = Storms(tmp_path, SEED, SPECS)
    state, status = tmp_path / "state", tmp_path / "status"
    flags = ("--status-dir", str(status), "--settings", str(storms.settings))
    with Daemon(storms.root, *flags, "--state", str(state)) as daemon:
        daemon.wait_for(f"job-{SPECS - 1:04d}", "Created", patience_s=PATIENCE_S)
        rage(storms)
        storms.end()
        daemon.wait_for("the-end", "Created", patience_s=PATIENCE_S)
        until_true(state, storms.on_disk, daemon)
        assert daemon.terminate() == 0
    assert is_sound(state)
    said = storms.written | {one for commit in storms.heads for one in storms.state(commit).items()}
    lacking = [storms.state(commit).keys() for commit in storms.heads]
    for verb, name, _ in deeds(state):
        match verb:
            case "delete":
                assert any(name not in names for names in lacking), f"seed {SEED}: no commit ever lacked {name}"
            case "pause" | "resume":
                assert (name, verb == "pause") in said, f"seed {SEED}: nothing ever said to {verb} {name}"
            case _:
                assert {(name, True), (name, False)} & said, f"seed {SEED}: nothing ever declared {name}"
