"""Following a real remote: a thread fetches and wakes, the last good commit is what is asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from reconciler.repo.clone import Clone
from reconciler.repo.following import FIRST_S, LONGEST_S, CloneSource, delay_s
from tests.repo.remotes import Upstream
from tests.repo.test_clone import Following
from tests.repo.worktree import spec

PATIENCE_S = 60.0


@pytest.mark.parametrize(
    ("interval_s", "failures", "expected_s"),
    [
        (60, 0, 60),
        (60, 1, FIRST_S),
        (60, 2, 2 * FIRST_S),
        (60, 4, 8 * FIRST_S),
        (60, 50, LONGEST_S),
        (1, 1, 1),
        (3600, 50, 3600),
    ],
)
def test_failures_are_followed_by_ever_longer_waits(interval_s: int, failures: int, expected_s: float) -> None:
    assert delay_s(interval_s, failures, 0.5) == pytest.approx(expected_s)


def test_waits_after_failures_vary_by_a_fifth() -> None:
    assert delay_s(60, 1, 0.0) == pytest.approx(0.8 * FIRST_S)
    assert delay_s(60, 1, 0.999999) == pytest.approx(1.2 * FIRST_S)
    assert delay_s(60, 0, 0.0) == delay_s(60, 0, 0.9) == 60


@dataclass
class Watched:
    """A source with what it told, woken or not."""

    following: Following
    upstream: Upstream
    notices: list[str] = field(default_factory=list)
    woken: threading.Event = field(default_factory=threading.Event)
    opened: list[CloneSource] = field(default_factory=list)

    def source(self, interval_s: float = 3600) -> CloneSource:
        made = CloneSource(self.following.again(), "upstream main", interval_s, self.notices.append, lambda: 0.5)
        self.opened.append(made)
        return made

    def until(self, holds: Callable[[], bool]) -> None:
        """Waits to be woken until it holds."""
        while not holds():
            assert self.woken.wait(PATIENCE_S), "nothing woke"
            self.woken.clear()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    upstream = Upstream(tmp_path)
    upstream.publish({"a.yaml": spec("a")})
    made = Watched(Following(tmp_path, upstream.url), upstream)
    yield made
    for source in made.opened:
        source.close()


def test_who_does_not_watch_fetches_once(watched: Watched) -> None:
    source = watched.source()
    first = source.head()
    assert (first.commit, first.name, first.why) == (watched.upstream.git("rev-parse", "HEAD"), "main", "")
    assert first.repository is not None
    watched.upstream.publish({"b.yaml": spec("b")})
    assert source.head().commit == first.commit
    assert watched.source().head().commit != first.commit


def test_who_watches_never_waits_and_is_woken_by_what_is_new(watched: Watched) -> None:
    source = watched.source(interval_s=0.05)
    watching = source.watch(watched.woken.set)
    watched.until(lambda: source.head().commit != "")
    tip = watched.upstream.publish({"b.yaml": spec("b")})
    watched.until(lambda: source.head().commit == tip)
    watching.close()


def test_before_the_first_clone_is_there_it_is_said(watched: Watched) -> None:
    held = (watched.following.folder / "lock").open("w")
    import fcntl

    fcntl.flock(held, fcntl.LOCK_EX)
    source = watched.source()
    source.watch(watched.woken.set)
    assert source.head().why == f"{watched.upstream.url} is being cloned"
    held.close()
    watched.until(lambda: source.head().commit != "")


def test_a_push_that_was_heard_of_is_fetched_at_once(watched: Watched) -> None:
    source = watched.source()
    source.watch(watched.woken.set)
    watched.until(lambda: source.head().commit != "")
    tip = watched.upstream.publish({"b.yaml": spec("b")})
    source.ask()
    watched.until(lambda: source.head().commit == tip)


def test_a_remote_that_goes_and_comes_back_is_said_and_the_last_good_commit_stays(watched: Watched) -> None:
    source = watched.source(interval_s=0.05)
    source.watch(watched.woken.set)
    watched.until(lambda: source.head().commit != "")
    commit = source.head().commit
    away = watched.upstream.bare.rename(watched.upstream.bare.with_name("away"))
    watched.until(lambda: source.head().why != "")
    assert source.head().commit == commit
    assert source.head().why.startswith(f"{watched.upstream.url} cannot be fetched: ")
    away.rename(watched.upstream.bare)
    watched.until(lambda: source.head().why == "")
    assert source.head().commit == commit


def test_a_history_that_was_rewritten_is_said_once(watched: Watched) -> None:
    source = watched.source()
    source.watch(watched.woken.set)
    watched.until(lambda: source.head().commit != "")
    before = source.head().commit
    watched.upstream.write({"b.yaml": spec("b")})
    watched.upstream.git("add", "-A")
    watched.upstream.git("commit", "-q", "--amend", "-m", "other")
    after = watched.upstream.git("rev-parse", "HEAD")
    watched.upstream.push("--force")
    source.ask()
    watched.until(lambda: source.head().commit == after)
    source.head()
    assert watched.notices == [
        f"history was rewritten: main went from {before[:12]} to {after[:12]}, which does not contain it; {after[:12]} is "
        "desired now"
    ]
    assert watched.source().head().commit == after
    assert len(watched.notices) == 1


def test_a_clone_that_is_gone_is_made_anew_at_once(watched: Watched) -> None:
    import shutil

    source = watched.source()
    source.watch(watched.woken.set)
    watched.until(lambda: source.head().commit != "")
    commit = source.head().commit
    shutil.rmtree((watched.following.folder / "current").resolve())
    assert source.head().commit == ""
    watched.until(lambda: source.head().commit == commit)
    said = f"the clone of {watched.upstream.url} was damaged or gone; a new one has taken its place"
    assert watched.notices == [said]
    source.head()
    watched.source().head()
    assert len(watched.notices) == 1


def test_a_bug_of_the_thread_ends_the_loop(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise LookupError("a bug")

    monkeypatch.setattr(Clone, "fetch", broken)
    source = watched.source()
    source.watch(watched.woken.set)
    assert watched.woken.wait(PATIENCE_S)
    with pytest.raises(LookupError, match="a bug"):
        source.head()
