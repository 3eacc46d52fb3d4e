"""What a daemon does of a job whose file is gone before it knows whether that is meant: nothing new."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.controller import loop
from reconciler.controller.loop import Controller
from reconciler.controller.settings import Silent
from reconciler.record.events import Event
from reconciler.record.store import Record
from tests.controller.conftest import Shop

HOUR_MS = 3_600_000


class Until(Silent):
    """Ends the daemon with an event."""

    def __init__(self, name: str) -> None:
        self.name = name

    def event(self, event: Event) -> None:
        if event.event == self.name:
            os.kill(os.getpid(), signal.SIGTERM)


def remove(spec: Path) -> None:
    spec.unlink()


def rename_and_suspend(spec: Path) -> None:
    text = spec.read_text().replace("name: orders", "name: others, renamedFrom: orders", 1)
    spec.with_name("others.yaml").write_text(text.replace("suspend: false", "suspend: true"))
    spec.unlink()


@pytest.mark.parametrize(("edit", "until"), [(remove, "Deleted"), (rename_and_suspend, "Paused")])
def test_a_daemon_starts_no_run_of_a_job_that_was_taken_out_before_it_began(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, edit: Callable[[Path], None], until: str
) -> None:
    shop.stay()
    spec = shop.job("orders", schedule="{every: 1h}", suspend="false")
    shop.go()
    before = shop.read(lambda record: record.runs.last_id())
    shop.world.ahead_ms += 2 * HOUR_MS
    edit(spec)
    monkeypatch.setattr(loop, "GRACE_MS", 300)
    with Record.writing(shop.world.state) as record:
        assert Controller(replace(shop.world._hands(record), listener=Until(until))).watch() == 0
    assert shop.read(lambda record: record.runs.last_id()) == before
