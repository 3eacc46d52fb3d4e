"""A root with one stream, and passes over it in the test's own process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.record.jobs import JobRow
from reconciler.record.store import Record
from reconciler.runner.local import LocalRunner
from tests.end_to_end.inprocess import World

STREAM = "apiVersion: reconciler/v1\nkind: Stream\nmetadata: {name: orders}\nspec: {}\n"


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRunner]:
    with LocalRunner(tmp_path_factory.mktemp("runner")) as shared:
        yield shared


class Shop:
    """A world with specs that are easily written."""

    def __init__(self, root: Path, runner: LocalRunner) -> None:
        self.root = root
        self.world = World(root, runner)
        (root / "in").mkdir(parents=True)
        (root / "in" / "1.csv").write_text("id,amount\n1,10\n2,20\n")
        (root / "stream.yaml").write_text(STREAM)

    def job(self, name: str = "import-orders", *, file: str = "", metadata: str = "", **spec: Any) -> Path:
        """Writes a spec; values are YAML."""
        fields = {
            "provider": "files",
            "jobType": "import-csv",
            "config": '{path: "in/*.csv", stream: orders}',
            **spec,
        }
        path = self.root / (file or f"{name}.yaml")
        path.parent.mkdir(exist_ok=True)
        lines = "".join(f"  {field}: {value}\n" for field, value in fields.items() if value is not None)
        path.write_text(f"apiVersion: reconciler/v1\nkind: Job\nmetadata: {{name: {name}{metadata}}}\nspec:\n{lines}")
        return path

    def stay(self) -> Path:
        """A job that stays, with a stream of its own, so that the deletion of another one is not that of the last."""
        path = self.job("stays", suspend="true", config='{path: "in/*.csv", stream: others}')
        path.write_text(f"{path.read_text()}---\n{STREAM.replace('orders', 'others')}")
        return path

    def go(self) -> dict[str, int]:
        """One pass; what its plan held, verb by verb."""
        report = self.world.live()
        assert report is not None
        self.report = report
        return {verb: count for verb, count in report.plan.summary.items() if count}

    def read(self, question: Callable[[Record], Any]) -> Any:
        with Record.reading(self.world.state) as record:
            return question(record)

    def row(self, name: str = "import-orders") -> JobRow:
        found = self.read(lambda record: record.jobs.job(name))
        assert found is not None
        return found  # type: ignore[no-any-return]

    def events(self, name: str = "import-orders") -> list[str]:
        return [event.event for event in self.read(lambda record: record.events.tail("Job", name, limit=100))]


@pytest.fixture
def shop(tmp_path: Path, runner: LocalRunner) -> Shop:
    return Shop(tmp_path / "jobs", runner)
