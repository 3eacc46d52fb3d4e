"""The journal's group commit, and the word that it leaves for the controller."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import select
import stat
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from reconciler.clock import Clock
from reconciler.data.journal import Entry, LiveJournal, frames, listing, mend, next_number, remove
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


def refuse(*_: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_what_is_accepted_after_a_next_journal_could_not_be_begun_is_not_lost_with_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[int] = []
    failed = threading.Event()
    folded: list[bytes] = []

    def fail_once(fd: int) -> None:
        found = listing(tmp_path).live
        if not closed and stat.S_ISDIR(os.fstat(fd).st_mode) and found[-1].number > 1:
            closed.extend(one.number for one in found if not one.open)
            failed.set()
            refuse()

    def fold() -> None:
        """What a controller does that has looked while the next journal was being begun."""
        folded.extend(payload for one in listing(tmp_path).live for _, payload in frames(one.path))
        remove(tmp_path, closed)

    async def story(commits: Commits) -> None:
        await commits.commit(b"0", None)
        monkeypatch.setattr(os, "fsync", fail_once)
        commits.close_by(1)
        assert await asyncio.to_thread(failed.wait, 30)
        await asyncio.to_thread(fold)
        await commits.commit(b"1", None)
        assert commits.failure == ""

    tell(tmp_path, story)
    assert closed == [1]
    assert folded + [payload for one in listing(tmp_path).live for _, payload in frames(one.path)] == [b"0", b"1"]


def fail_at_first(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """A disk that once neither syncs nor cuts; set when it has cut."""
    cut, cuts, real, sync = threading.Event(), list[int](), os.ftruncate, os.fdatasync

    def ftruncate(fd: int, size: int) -> None:
        cuts.append(size)
        if len(cuts) == 1:
            refuse()
        real(fd, size)
        cut.set()

    monkeypatch.setattr(os, "ftruncate", ftruncate)
    monkeypatch.setattr(os, "fdatasync", lambda fd: sync(fd) if cuts else refuse())
    return cut


def test_what_the_disk_refused_and_kept_is_cut_off_as_soon_as_it_can_be_though_nothing_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_MS", 1)
    cut = fail_at_first(monkeypatch)

    async def story(commits: Commits) -> None:
        with pytest.raises(Refused, match="The journal cannot be written: Input/output error"):
            await commits.commit(b"refused", None)
        assert await asyncio.to_thread(cut.wait, 30)

    tell(tmp_path, story)
    assert [payload for one in listing(tmp_path).live for _, payload in frames(one.path)] == []


def test_what_the_disk_refused_and_kept_is_cut_off_before_the_process_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at_first(monkeypatch)

    async def story(commits: Commits) -> None:
        with pytest.raises(Refused):
            await commits.commit(b"refused", None)

    tell(tmp_path, story)
    assert [payload for one in listing(tmp_path).live for _, payload in frames(one.path)] == []


def test_the_key_of_what_a_disk_kept_until_the_process_died_is_known_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, digest, clock = bytes(16), bytes(range(16)), Clock()
    journal = LiveJournal(tmp_path, next_number(tmp_path))
    with monkeypatch.context() as disk:
        disk.setattr(os, "fdatasync", refuse)
        disk.setattr(os, "ftruncate", refuse)
        with pytest.raises(OSError, match="Input/output error"):
            journal.append([Entry("orders", clock.now().wall_ms, 1, key.hex(), digest.hex()).payload(b"{}\n")])
    journal.close()
    [left] = listing(tmp_path).live
    assert mend(left.path) == left.size > 0
    keys = Keys(tmp_path, Limits())
    keys.load(listing(tmp_path), clock.now().wall_ms)
    assert keys.answer(key, digest, clock.now().wall_ms) == {"accepted": 1}
    keys.close()
