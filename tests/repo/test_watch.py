"""The watch only wakes, and only for what others did."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.repo import watch as watch_module
from reconciler.repo.watch import CHECKS_TO_REST, LEISURE, QUIET_MS, RefWatch, Watch
from reconciler.repo.write import Writer
from tests.repo.worktree import WorkTree

#: Nothing that is expected takes nearly this long.
PATIENCE_S = 60.0

#: Longer than the watch needs to see a change, wait for quiet, and wake.
SILENCE_S = 6 * QUIET_MS / 1000


class Sleeper:
    def __init__(self) -> None:
        self._woken = threading.Condition()
        self.count = 0

    def wake(self) -> None:
        with self._woken:
            self.count += 1
            self._woken.notify_all()

    def woken_since(self, count: int, timeout_s: float = PATIENCE_S) -> bool:
        with self._woken:
            return self._woken.wait_for(lambda: self.count > count, timeout_s)


@pytest.fixture(autouse=True)
def _soon_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch is known to stand after its first check; these come four times as often here."""
    monkeypatch.setattr(watch_module, "CHECK_MS", watch_module.CHECK_MS // 4)


@pytest.fixture
def sleeper() -> Sleeper:
    return Sleeper()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "team").mkdir(parents=True)
    (root / ".reconciler").mkdir()
    (root / "team" / "a.yaml").write_text("a: 1\n")
    return root


@pytest.fixture
def watch(root: Path, sleeper: Sleeper) -> Iterator[Watch]:
    watch = Watch(root, sleeper.wake)
    assert sleeper.woken_since(1), "once its two folders are watched each wakes, for what happened before"
    yield watch
    watch.close()


def test_a_spec_that_is_changed_made_moved_or_removed_wakes(watch: Watch, root: Path, sleeper: Sleeper) -> None:
    assert watch.healthy
    steps = [
        lambda: (root / "team" / "a.yaml").write_text("a: 2\n"),
        lambda: (root / "b.yml").write_text("b: 1\n"),
        lambda: (root / "b.yml").rename(root / "team" / "c.yaml"),
        lambda: (root / "team" / "c.yaml").unlink(),
        lambda: (root / "team").rename(root / "squad"),
        lambda: (root / "squad" / "a.yaml").write_text("a: 3\n"),
        lambda: (root / "squad").rename(root.parent / "elsewhere"),
        lambda: (root.parent / "elsewhere").rename(root / "team"),
    ]
    for number, step in enumerate(steps):
        before = sleeper.count
        step()
        assert sleeper.woken_since(before), f"step {number}"


def test_what_we_write_and_what_is_hidden_or_data_never_wakes(watch: Watch, root: Path, sleeper: Sleeper) -> None:
    before = sleeper.count
    writer = Writer(root)
    for _ in range(3):
        assert writer.write_status("team/a.yaml", "a", {"n": _}).changed
        writer.append_log("team/a.yaml", "a", ["line"])
    writer.append_log("team/a.yaml", "a", ["x" * (1 << 20)])
    (root / ".reconciler" / "record.db").write_text("x")
    (root / ".a.yaml.swp").write_text("x")
    (root / "team" / "data.csv").write_text("x")
    assert not sleeper.woken_since(before, SILENCE_S)
    (root / "team" / "a.yaml").write_text("a: 2\n")
    assert sleeper.woken_since(before)


def test_many_changes_at_once_wake_a_few_times(watch: Watch, root: Path, sleeper: Sleeper) -> None:
    before, began_s = sleeper.count, time.monotonic()
    for n in range(300):
        (root / f"{n}.yaml").write_text("a: 1\n")
    assert sleeper.woken_since(before)
    while sleeper.woken_since(seen := sleeper.count, SILENCE_S):
        assert sleeper.count > seen
    pauses = (
        (time.monotonic() - began_s) * 1000 / QUIET_MS
    )  # more where the machine is busy, and the changes come slowly
    assert sleeper.count - before <= pauses + 1


def test_a_commit_wakes_though_no_file_of_the_tree_changes(tmp_path: Path, sleeper: Sleeper) -> None:
    tree = WorkTree(tmp_path / "work")
    tree.write({"a.yaml": "a: 1\n"})
    tree.commit()
    (tree.root / "a.yaml").unlink()
    watch = Watch(tree.root, sleeper.wake)
    try:
        assert sleeper.woken_since(1), "two folders are watched"
        before = sleeper.count
        tree.commit("gone")
        assert sleeper.woken_since(before)
    finally:
        watch.close()


def test_a_root_that_is_replaced_is_watched_anew(watch: Watch, root: Path, sleeper: Sleeper) -> None:
    before = sleeper.count
    root.rename(root.with_name("old"))
    (root / "team").mkdir(parents=True)
    assert sleeper.woken_since(before), "going blind wakes"
    seen = sleeper.count
    while not watch.healthy:
        assert sleeper.woken_since(seen)
        seen = sleeper.count
    while sleeper.woken_since(before := sleeper.count, SILENCE_S):
        pass
    (root / "team" / "new.yaml").write_text("a: 1\n")
    assert sleeper.woken_since(before)


def test_a_root_that_does_not_exist_is_reported_and_wakes_for_a_look(tmp_path: Path, sleeper: Sleeper) -> None:
    watch = Watch(tmp_path / "missing", sleeper.wake)
    try:
        assert sleeper.woken_since(0)
        assert not watch.healthy
        assert watch.trouble == (
            f"{tmp_path}/missing cannot be watched: [Errno 2] No such file or directory: '{tmp_path}/missing'"
        )
    finally:
        watch.close()


def test_a_watch_wakes_up_less_often_after_a_while_in_which_nothing_happened(watch: Watch, root: Path) -> None:
    watch.close()
    eye = watch._eyes[0]
    eye._hear({(2, str(root / "team" / "a.yaml"))})
    for silences in range(CHECKS_TO_REST):
        eye._hear(set())
        assert eye._pace_ms() == (QUIET_MS if silences < CHECKS_TO_REST - 1 else LEISURE * QUIET_MS)
    eye._hear({(2, str(root / ".reconciler" / "record.db"))})
    assert eye._pace_ms() == LEISURE * QUIET_MS
    eye._hear({(2, str(root / "team" / "a.yaml"))})
    assert eye._pace_ms() == QUIET_MS


def test_closing_ends_promptly_and_silently(root: Path, sleeper: Sleeper) -> None:
    watch = Watch(root, sleeper.wake)
    assert sleeper.woken_since(0)
    before = {thread.name for thread in threading.enumerate()}
    assert f"watch {root.name}" in before
    watch.close()
    assert f"watch {root.name}" not in {thread.name for thread in threading.enumerate()}
    seen = sleeper.count
    (root / "b.yaml").write_text("b: 1\n")
    assert not sleeper.woken_since(seen, SILENCE_S)
    assert not watch.healthy


def test_a_ref_that_moves_comes_or_goes_wakes_and_the_work_tree_does_not(tmp_path: Path, sleeper: Sleeper) -> None:
    tree = WorkTree(tmp_path / "work")
    tree.commit()
    tree.git("branch", "side")
    watch = RefWatch(tree.top, sleeper.wake)
    try:
        assert sleeper.woken_since(1), "once its folders are watched each wakes"
        steps = [
            lambda: tree.commit(),
            lambda: tree.git("branch", "feature/x"),
            lambda: tree.git("update-ref", "refs/remotes/origin/main", "HEAD"),
            lambda: tree.git("branch", "-q", "-D", "feature/x"),
            lambda: tree.git("pack-refs", "--all"),
            lambda: tree.git("checkout", "-q", "side"),
        ]
        for number, step in enumerate(steps):
            before = sleeper.count
            step()
            assert sleeper.woken_since(before), f"step {number}"
        while sleeper.woken_since(sleeper.count, SILENCE_S):
            pass
        before = sleeper.count
        tree.write({"a.yaml": "a"})
        tree.git("add", "-A")
        assert not sleeper.woken_since(before, SILENCE_S)
    finally:
        watch.close()


def test_a_clone_that_is_put_in_the_place_of_another_wakes_and_is_watched(tmp_path: Path, sleeper: Sleeper) -> None:
    tree, other = WorkTree(tmp_path / "work"), WorkTree(tmp_path / "other")
    tree.commit()
    other.commit()
    watch = RefWatch(tree.top, sleeper.wake)
    try:
        assert sleeper.woken_since(1)
        before = sleeper.count
        tree.top.rename(tmp_path / "aside")
        other.top.rename(tree.top)
        assert sleeper.woken_since(before)
        while not watch.healthy or sleeper.woken_since(sleeper.count, SILENCE_S):
            pass
        before = sleeper.count
        tree.commit()
        assert sleeper.woken_since(before)
    finally:
        watch.close()
