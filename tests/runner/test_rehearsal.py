"""What the fork server goes through before it forks is a run that nobody notices."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from reconciler.runner.rehearsal import rehearse


def test_a_rehearsal_leaves_neither_thread_nor_file_nor_word_behind(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rehearse(str(tmp_path))
    before = set(os.listdir("/proc/self/fd")), threading.active_count()
    rehearse(str(tmp_path))
    assert (set(os.listdir("/proc/self/fd")), threading.active_count()) == before
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
