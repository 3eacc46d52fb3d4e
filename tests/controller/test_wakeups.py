"""What wakes the loop: signals and other threads leave a flag, and end the wait."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from reconciler.controller.wakeups import Wakeups
from tests.end_to_end.daemon import Daemon


def test_sighup_asks_for_a_look_and_ends_nothing() -> None:
    with Wakeups() as wakeups:
        os.kill(os.getpid(), signal.SIGHUP)
        wakeups.wait((), None)
        assert wakeups.look_wanted
        assert wakeups.stopping is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_sigterm_and_sigint_ask_for_an_end(number: signal.Signals) -> None:
    with Wakeups() as wakeups:
        os.kill(os.getpid(), number)
        wakeups.wait((), None)
        assert wakeups.stopping is number


def test_another_thread_wakes_the_loop() -> None:
    with Wakeups() as wakeups:
        threading.Timer(0.01, wakeups.wake).start()
        wakeups.wait((), None)
        assert wakeups.look_wanted


def test_the_process_gets_its_handlers_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Wakeups():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_daemon_goes_on_after_sighup(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.wait_for("Watching")
        daemon.process.send_signal(signal.SIGHUP)
        (tmp_path / "stream.yaml").write_text(
            "apiVersion: reconciler/v1\nkind: Stream\nmetadata: {name: s}\nspec: {}\n"
        )
        daemon.wait_for("stream/s", "Created")
        assert daemon.terminate() == 0


def test_who_is_told_to_stop_within_another_tells_it_and_who_begins_within_a_stopped_one_stops() -> None:
    with Wakeups() as around:
        with Wakeups() as within:
            os.kill(os.getpid(), signal.SIGTERM)
            within.wait((), 5)
        assert around.stopping == signal.SIGTERM
        with Wakeups() as next_one:
            assert next_one.stopping == signal.SIGTERM
