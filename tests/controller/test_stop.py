"""A signal to stop is heeded before the next run starts."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from reconciler.controller import Settings, Silent, open_controller
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
