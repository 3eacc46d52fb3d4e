"""What the daemon waits for, and what ends it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from reconciler.controller import Controller, Settings, Silent, open_controller
from reconciler.controller.enduring import endure, passing
from reconciler.errors import Locked, RecordUnusable, RecordUnwritable, UsageError


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a/b"), "a/b: No space left on device"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
        (RecordUnwritable("the record is full", "make room"), "the record is full"),
        (Locked("another reconcile (pid 7) is at work"), "another reconcile (pid 7) is at work"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), ""),
        (RecordUnusable("it is damaged"), ""),
        (UsageError("called wrongly"), ""),
        (ValueError("our bug"), ""),
    ],
    ids=["full", "descriptors", "record", "locked", "absent", "damaged", "usage", "bug"],
)
def test_a_fault_that_passes_is_told_from_one_that_does_not(error: Exception, why: str, tmp_path: Path) -> None:
    assert passing(error, tmp_path) == why


def test_what_keeps_the_first_controller_from_beginning_ends_the_daemon(tmp_path: Path) -> None:
    def begin() -> Controller:
        raise Locked("another reconcile (pid 7) is at work")

    with pytest.raises(Locked):
        endure(begin, tmp_path, Silent())


def test_a_refusal_tells_what_is_in_the_way_and_what_helps() -> None:
    refused = RecordUnwritable(
        "x: the record cannot be written: disk full; nothing of this step was recorded", "make room"
    )
    assert str(refused).endswith("nothing of this step was recorded, and nothing is lost: make room")


def test_a_controller_gives_the_lock_up_whatever_else_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "jobs"
    root.mkdir()
    settings = Settings(root=root, state=tmp_path / "state")

    class Broken(Exception):
        pass

    def close(_: object) -> None:
        raise Broken

    with monkeypatch.context() as patched:
        patched.setattr("reconciler.repo.tree.Tree.close", close)
        with pytest.raises(Broken), open_controller(settings):
            pass
    with open_controller(settings) as controller:
        assert controller.run_pass().exit_code == 0
