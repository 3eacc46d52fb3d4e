"""The journal's group commit, and the word that it leaves for the controller."""

from __future__ import annotations

import asyncio
import os
import resource
import select
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from reconciler.clock import Clock
from reconciler.data.journal import frames, listing
from reconciler.web import commits as module
from reconciler.web.answers import Refused
from reconciler.web.commits import Commits
from reconciler.web.keys import Keys
from reconciler.web.limits import Limits


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[int]:
    os.mkfifo(tmp_path / "wake")
    handle = os.open(tmp_path / "wake", os.O_RDWR | os.O_NONBLOCK)
    yield handle
    os.close(handle)


def tell(folder: Path, story: Callable[[Commits], Awaitable[None]]) -> None:
    async def told() -> None:
        commits = Commits(folder, 0, Keys(folder, Limits()), Clock(), 600.0)
        commits.start()
        await story(commits)
        await commits.close()

    asyncio.run(told())


async def one_after_the_other(commits: Commits) -> None:
    for number in range(3):
        await commits.commit(b"%d" % number, None)


def test_the_controller_is_told_of_the_first_group_at_once_and_of_the_others_together(
    tmp_path: Path, pipe: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAKES_MS", 3_600_000)
    tell(tmp_path, one_after_the_other)
    assert os.read(pipe, 100) == b"ww"
    assert [payload for one in listing(tmp_path).live for _, payload in frames(one.path)] == [b"0", b"1", b"2"]


def test_word_of_later_groups_comes_though_nothing_else_does(tmp_path: Path, pipe: int) -> None:
    heard = bytearray()

    async def story(commits: Commits) -> None:
        for number in range(2):
            await commits.commit(b"%d" % number, None)
            await asyncio.to_thread(wait_for_word)

    def wait_for_word() -> None:
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        assert poll.poll(30_000)
        heard.extend(os.read(pipe, 1))

    tell(tmp_path, story)
    assert heard == b"ww"


def test_a_group_that_is_on_the_disk_is_accepted_though_its_journal_cannot_be_closed(tmp_path: Path) -> None:
    async def story(commits: Commits) -> None:
        await commits.commit(b"0", None)
        (tmp_path / "number.tmp").mkdir()  # no further journal can be given a number
        commits.close_by(1)
        await commits.commit(b"1", None)
        assert commits.failure == "Is a directory"
        (tmp_path / "number.tmp").rmdir()
        await commits.commit(b"2", None)
        assert commits.failure == ""

    tell(tmp_path, story)
    assert [payload for one in listing(tmp_path).live for _, payload in frames(one.path)] == [b"0", b"1", b"2"]


def test_a_journal_in_which_the_disk_refused_something_is_not_gone_on_with(tmp_path: Path) -> None:
    async def story(commits: Commits) -> None:
        await commits.commit(b"before", None)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        try:
            with pytest.raises(Refused, match="The journal cannot be written: File too large"):
                await commits.commit(b"x" * 200, None)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        await commits.commit(b"after", None)

    tell(tmp_path, story)
    found = [(one.number, payload) for one in listing(tmp_path).live for _, payload in frames(one.path)]
    assert found == [(1, b"before"), (2, b"after")]
