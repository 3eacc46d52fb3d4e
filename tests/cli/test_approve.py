"""`reconcile approve`: exactly the difference that a person has seen, and never another one."""

from __future__ import annotations

import getpass
import os
import pty
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import reconciler
from reconciler.clock import iso
from reconciler.core.state import JobState, Owed, Reason, Status
from reconciler.record.store import Record
from tests.cli.conftest import CREATED_MS, World

ME = getpass.getuser()
HELD = JobState(
    status=Status.SLEEPING,
    reason=Reason.AWAITING_APPROVAL,
    since_ms=CREATED_MS,
    owed=Owed.SCHEDULE,
    owed_since_ms=CREATED_MS,
    awaiting="would remove 960 of 1,000 members",
)


def hold(world: World, job_id: int, digest: str = "d1", message: str = "would remove 960 of 1,000 members") -> None:
    with Record.writing(world.state) as record:
        record.approvals.ask(job_id, digest, message, CREATED_MS)


@pytest.fixture
def job_id(world: World) -> int:
    job_id = world.job("members", state=HELD)
    hold(world, job_id)
    return job_id


def approved(world: World, job_id: int) -> tuple[str, ...]:
    with Record.reading(world.state) as record:
        return record.approvals.approved(job_id)


def test_the_digest_approves_exactly_that_difference(world: World, job_id: int) -> None:
    ended = world.run("approve", "members", "d1")
    assert (ended.code, ended.out, ended.err) == (0, "The difference d1 of 'members' is approved.\n", "")
    assert approved(world, job_id) == ("d1",)
    with Record.reading(world.state) as record:
        job = record.jobs.by_id(job_id)
        assert job is not None
        assert job.state.awaiting is None
        assert job.state.owed is Owed.SCHEDULE
        assert job.wake_at_ms is not None
        event = record.events.tail("Job", "members")[-1]
        assert (event.event, event.message, event.author) == ("Approved", "difference d1", ME)


def test_a_difference_that_has_changed_since_is_not_approved(world: World, job_id: int) -> None:
    hold(world, job_id, "d2", "would remove 970 of 1,000 members")
    ended = world.run("approve", "members", "d1")
    assert ended.code == 5
    assert ended.err == (
        "Error: the difference has changed since: 'members' now waits for d2: would remove 970 of 1,000 members\n"
    )
    assert approved(world, job_id) == ()


def test_without_a_digest_it_shows_what_is_held_and_approves_nothing_where_nobody_can_be_asked(
    world: World, job_id: int
) -> None:
    ended = world.run("approve", "members")
    assert ended.out.splitlines() == [
        "members: would remove 960 of 1,000 members",
        f"Held back since {iso(CREATED_MS)}, digest d1.",
    ]
    assert ended.code == 5
    assert ended.err == "Error: nothing was approved; `reconcile approve members d1` approves exactly this\n"
    assert approved(world, job_id) == ()


def test_wherever_a_guard_is_heard_its_command_finds_the_same_record(world: World) -> None:
    said = "the guard holds this run; `reconcile approve members d1` lets exactly this happen"
    hold(world, world.job("members", state=replace(HELD, awaiting=said)), message=said)
    world.event("members", "Sleeping", run=1, message=said)
    command = f"`reconcile approve members d1 --root {world.root}`"
    for shown in (["approve", "members"], ["why", "members"], ["show", "members"], ["logs", "members"]):
        ended = world.run(*shown, "--root", str(world.root))
        text = " ".join((ended.out + ended.err).split())
        assert command in text
        assert "approve members d1`" not in text


def test_yes_approves_what_is_shown(world: World, job_id: int) -> None:
    ended = world.run("approve", "members", "--yes")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[-1] == "The difference d1 of 'members' is approved."
    assert approved(world, job_id) == ("d1",)


def test_a_digest_and_yes_exclude_each_other(world: World, job_id: int) -> None:
    ended = world.run("approve", "members", "d1", "--yes")
    assert (ended.code, ended.err) == (
        2,
        "Error: --yes approves whatever is held, DIGEST exactly one difference; give one of them\n",
    )


def test_what_was_approved_before_is_said_and_not_approved_anew(world: World, job_id: int) -> None:
    world.run("approve", "members", "d1")
    again = world.run("approve", "members", "d1")
    assert (again.code, again.out) == (0, f"The difference d1 of 'members' was approved by {ME} before.\n")
    shown = world.run("approve", "members")
    assert shown.code == 0
    assert f"Approved by {ME} at " in shown.out
    with Record.reading(world.state) as record:
        assert [event.event for event in record.events.tail("Job", "members")] == ["Approved"]


def test_a_job_that_is_paused_meanwhile_is_approved_for_later(world: World) -> None:
    job_id = world.job(
        "members",
        state=replace(
            HELD, status=Status.PAUSED, reason=None, held_status=Status.SLEEPING, held_reason=Reason.AWAITING_APPROVAL,
            held_since_ms=CREATED_MS,
        ),
    )  # fmt: skip
    hold(world, job_id)
    assert world.run("approve", "members", "d1").code == 0
    assert approved(world, job_id) == ("d1",)


@pytest.mark.parametrize("status", [Status.RUNNING, Status.FAILED, Status.COMPLETED])
def test_a_job_that_has_moved_on_is_approved_and_its_log_says_so(world: World, status: Status) -> None:
    run = 1 if status is Status.RUNNING else None
    job_id = world.job("members", state=JobState(status=status, reason=None, since_ms=CREATED_MS, run=run))
    hold(world, job_id)
    assert world.run("approve", "members", "d1").code == 0
    with Record.reading(world.state) as record:
        job = record.jobs.by_id(job_id)
        assert job is not None
        assert job.state.status is status
        assert [event.event for event in record.events.tail("Job", "members")] == ["Approved"]


def test_where_nothing_is_held_it_says_so(world: World) -> None:
    world.job("members")
    ended = world.run("approve", "members")
    assert (ended.code, ended.out) == (0, "Nothing of members waits for an approval.\n")
    late = world.run("approve", "members", "d1")
    assert (late.code, late.err) == (5, "Error: nothing of 'members' waits for an approval\n")
    assert world.run("approve", "member").code == 2


def test_what_a_guard_says_is_shown_and_never_obeyed(world: World) -> None:
    hold(world, world.job("members"), message="would\x1b[2J remove")
    assert "members: would\\x1b[2J remove" in world.run("approve", "members").out


# --- on a terminal --------------------------------------------------------------------------------------------------


def answered(folder: Path, words: bytes) -> tuple[int, str]:
    """`reconcile approve members` on a terminal where a person types `words`; the exit code and what was on the screen."""
    mine, its = pty.openpty()
    env = {**os.environ, "PYTHONPATH": str(Path(reconciler.__file__).parents[1]), "TERM": "xterm", "NO_COLOR": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "reconciler", "approve", "members"],
        cwd=folder,
        env=env,
        stdin=its,
        stdout=its,
        stderr=its,
    )
    os.close(its)
    os.write(mine, words)
    screen = b""
    try:
        while piece := os.read(mine, 4096):
            screen += piece
    except OSError:
        pass  # the terminal is gone with its last process
    os.close(mine)
    return process.wait(60), screen.decode()


def test_a_person_who_says_yes_approves(world: World, job_id: int) -> None:
    code, screen = answered(world.folder, b"y\n")
    assert code == 0
    assert "Approve exactly this? [y/N]" in screen
    assert "The difference d1 of 'members' is approved." in screen
    assert approved(world, job_id) == ("d1",)


def test_a_person_who_says_nothing_approves_nothing(world: World, job_id: int) -> None:
    code, screen = answered(world.folder, b"\n")
    assert code == 5
    assert "nothing was approved" in screen
    assert approved(world, job_id) == ()
