"""The daemon's side of listening: addresses, what must be installed, and locks of others."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

import pytest

from reconciler.controller import listening
from reconciler.controller.listening import address, check_installed
from reconciler.errors import ReconcileError, UsageError
from reconciler.runner.processes import start_ticks


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("[::1]:80", ("::1", 80)),
        ("intake.example.com:443", ("intake.example.com", 443)),
        ("localhost:0", ("localhost", 0)),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, found: tuple[str, int]) -> None:
    assert address(text) == found


@pytest.mark.parametrize("text", ["", ":80", "host", "host:", "host:x", "host:-1", "host:65536", "host:８０"])
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        address(text)
    assert str(caught.value) == f"--listen takes HOST:PORT, for example 127.0.0.1:8080, not '{text}'"


def test_what_is_not_installed_is_named_with_the_way_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    check_installed()
    monkeypatch.setattr(listening, "NEEDED", ("starlette", "not_there", "nor_this"))
    with pytest.raises(UsageError) as caught:
        check_installed()
    assert str(caught.value) == (
        "--listen needs not_there, nor_this; install them with: pip install 'reconciler[listen]'"
    )


def test_a_lock_that_nobody_holds_is_nobodys(tmp_path: Path) -> None:
    assert listening._left(tmp_path) is None
    (tmp_path / "lock").write_text(json.dumps({"pid": os.getpid(), "start_ticks": start_ticks(os.getpid())}))
    assert listening._left(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{}", '{"pid": "x"}'])
def test_a_lock_that_does_not_say_who_holds_it_is_an_error_with_a_next_step(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "BORN_WITHIN_MS", 100)
    lock = tmp_path / "lock"
    lock.write_text(text)
    with lock.open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ReconcileError) as caught:
            listening._left(tmp_path)
    assert str(caught.value) == f"a process holds {lock}, and it cannot be told which; end it, and start again"


def test_a_process_of_the_same_pid_that_was_born_later_is_another(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.write_text(json.dumps({"pid": os.getpid(), "start_ticks": 1}))
    with lock.open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert listening._left(tmp_path) is None
