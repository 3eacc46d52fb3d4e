"""One fork server for all controllers that live in a test's own process."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.runner.local import LocalRunner


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRunner]:
    with LocalRunner(tmp_path_factory.mktemp("runner")) as shared:
        yield shared


@pytest.fixture
def quick_path() -> Iterator[Path]:
    """A folder in memory where there is one: what is tested there is killed in process, and needs no disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)
