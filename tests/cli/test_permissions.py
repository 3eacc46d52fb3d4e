"""What may not be read, by a process that no permission is waived for: nothing is deleted, and it is said what is in the way."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import STREAM, Result, World, job_text
from tests.cli.test_pass import ENVIRONMENT

#: prctl(2): what root is given on executing a program is less then, though it stays the owner of its files.
PR_CAPBSET_DROP = 24
DAC_OVERRIDE, DAC_READ_SEARCH = 1, 2
LIBC = ctypes.CDLL(None)


def drop() -> None:
    for capability in (DAC_OVERRIDE, DAC_READ_SEARCH):
        LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


def reconcile(world: World, *arguments: str) -> Result:
    ended = subprocess.run(
        [sys.executable, "-m", "reconciler", *arguments], cwd=world.folder, env=ENVIRONMENT, preexec_fn=drop,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return Result(ended.returncode, ended.stdout, ended.stderr)


@contextmanager
def closed(path: Path) -> Iterator[None]:
    mode = path.stat().st_mode
    path.chmod(0)
    try:
        yield
    finally:
        path.chmod(mode)


@pytest.fixture
def shop(world: World) -> World:
    world.write("orders.yaml", STREAM + job_text("here"))
    world.write("team/there.yaml", job_text("there").removeprefix("---\n"))
    assert reconcile(world).code == 0
    return world


def test_a_closed_folder_deletes_nothing_and_is_named(shop: World) -> None:
    said = "jobs.d/team:1:1: error: the folder cannot be read: Permission denied"
    with closed(shop.root / "team"):
        ended = reconcile(shop)
        assert (ended.code, ended.err.splitlines()) == (1, [said])
        why = " ".join(reconcile(shop, "why", "there").out.split())
    assert f"Note: Its spec is invalid, so it goes on as it was last valid: {said}" in why
    assert shop.run("list", "-o", "name").out == "here\nthere\n"


def test_a_closed_file_deletes_nothing_and_is_named(shop: World) -> None:
    with closed(shop.root / "team" / "there.yaml"):
        ended = reconcile(shop)
    assert (ended.code, ended.err) == (1, "jobs.d/team/there.yaml:1:1: error: cannot be read: Permission denied\n")
    assert shop.run("list", "-o", "name").out == "here\nthere\n"


def test_a_closed_root_is_named_and_nothing_is_done(shop: World) -> None:
    with closed(shop.root):
        for command in ((), ("plan",), ("validate",)):
            ended = reconcile(shop, *command)
            assert (ended.code, ended.err) == (
                2,
                "Error: the root folder 'jobs.d' cannot be read: Permission denied "
                f"(seen from {shop.folder}); nothing is done\n",
            )
    assert shop.run("list", "-o", "name").out == "here\nthere\n"


def test_a_state_directory_that_is_another_s_is_named(shop: World) -> None:
    with closed(shop.state):
        ended = reconcile(shop, "list")
    assert (ended.code, ended.err) == (
        1,
        "Error: jobs.d/.reconciler cannot be used: jobs.d/.reconciler/data: Permission denied; run it as the user whose it "
        "is, or name another folder with --state DIR\n",
    )
