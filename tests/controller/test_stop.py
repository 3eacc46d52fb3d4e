"""A signal to stop is heeded before the next run starts."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from reconciler.controller import Settings, Silent, open_controller
from reconciler.controller.conduct import _last_words
from reconciler.core.messages import Exited
from reconciler.core.rules import JobRules
from reconciler.record.events import Event
from tests.controller.specs import STREAM, job_text


class Impatient(Silent):
    """Sends SIGTERM as soon as it hears of anything."""

    def event(self, event: Event) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def test_after_sigterm_a_pass_starts_no_run(tmp_path: Path) -> None:
    root = tmp_path / "jobs"
    root.mkdir()
    (root / "jobs.yaml").write_text(STREAM + "---\n" + job_text("orders", "schedule: {once: true}"))
    settings = Settings(root=root, state=tmp_path / "state")
    with open_controller(settings, Impatient()) as controller:
        report = controller.run_pass()
    assert (report.ran, report.exit_code) == (0, 130)
    with open_controller(settings) as controller:
        report = controller.run_pass()
    assert (report.ran, report.exit_code) == (1, 0)


@pytest.mark.parametrize(
    ("pid", "signal_", "said"),
    [
        (0, None, "stopped before it had a process"),
        (7, 9, "killed: it did not stop at a unit in time"),
    ],
)
def test_of_a_run_that_was_ended_for_a_stop_it_is_said_how(pid: int, signal_: int | None, said: str) -> None:
    exited = Exited(run=1, attempt=1, pid=pid, exit_code=None, signal=signal_, peak_kib=0, cpu_s=0.0, killed=True)
    assert _last_words(exited, JobRules()) == said
