"""Work that is divided comes back whole and in order, whatever becomes of a process."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from reconciler.repo.divide import divided


def by(jobs: int, count: int = 50) -> list[tuple[int, bool]]:
    """Each number, and whether another process has looked at it."""
    me = os.getpid()
    return divided(range(count), lambda one: (one, os.getpid() != me), jobs=jobs, pack=list, unpack=tuple)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("jobs", [2, 3, 7])
def test_results_are_in_order_and_each_process_had_its_share(jobs: int) -> None:
    found = by(jobs)
    assert [one for one, _ in found] == list(range(50))
    assert [elsewhere for _, elsewhere in found] == [one % jobs != 0 for one in range(50)]


def test_one_process_or_one_item_or_another_thread_is_no_reason_to_fork() -> None:
    assert not any(elsewhere for _, elsewhere in (*by(1), *by(4, 1), *by(4, 0)))
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    try:
        assert not any(elsewhere for _, elsewhere in by(4))
    finally:
        done.set()
        other.join()


@pytest.mark.parametrize("how", ["exit", "error", "signal", "no plain value"])
def test_the_share_of_a_process_that_dies_is_done_here(how: str) -> None:
    me = os.getpid()

    def work(one: int) -> object:
        if os.getpid() == me or one != 5:
            return one * one
        if how == "error":
            raise RuntimeError
        if how == "signal":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "exit":
            os._exit(3)
        return object()

    assert divided(range(10), work, jobs=2, pack=lambda one: one, unpack=lambda one: one) == [n * n for n in range(10)]


def test_neighbours_stay_together_where_that_is_asked_for() -> None:
    me = os.getpid()
    found = divided(range(10), lambda one: (one, os.getpid() != me), jobs=3, pack=list, unpack=tuple, together=True)  # type: ignore[arg-type]
    assert found == [(one, one > 2) for one in range(10)]


def test_no_process_outlives_a_share_that_fails_here(tmp_path: Path) -> None:
    me = os.getpid()
    noted = tmp_path / "pid"

    def work(one: int) -> int:
        if os.getpid() != me:
            noted.write_text(f"{os.getpid()}.")
            signal.pause()
        while not (noted.exists() and noted.read_text().endswith(".")):
            os.sched_yield()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        divided(range(4), work, jobs=2, pack=lambda one: one, unpack=lambda one: one)
    with pytest.raises(ProcessLookupError):
        os.kill(int(noted.read_text().rstrip(".")), 0)
