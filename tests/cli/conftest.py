"""A folder of specs with a record beside it, and the real command line run in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from reconciler.cli.main import entry
from reconciler.clock import Now, milliseconds
from reconciler.core.document import Document
from reconciler.core.rules import rules_of
from reconciler.core.state import JobState
from reconciler.errors import Problem
from reconciler.record.events import Event
from reconciler.record.resources import By
from reconciler.record.store import Record

#: When everything in these records was made.
CREATED_MS = milliseconds("2026-11-20T09:30:00.000Z")

SPEC: dict[str, Any] = {
    "provider": "files",
    "jobType": "import-csv",
    "schedule": {"every": 3_600_000},
    "config": {"path": "orders/*.csv", "stream": "orders"},
}


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str


class World:
    """The current directory, `jobs.d` in it, and the record of `jobs.d`."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.root = folder / "jobs.d"
        self.state = self.root / ".reconciler"
        self.root.mkdir()
        self._capsys = capsys

    def run(self, *arguments: str) -> Result:
        """`reconcile` with these arguments, in this process, through its real door."""
        self._capsys.readouterr()
        code = entry(list(arguments))
        out, err = self._capsys.readouterr()
        return Result(code, out, err)

    def write(self, path: str, text: str) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        return target

    def job(
        self,
        name: str,
        *,
        spec: Mapping[str, Any] = SPEC,
        state: JobState | None = None,
        title: str = "",
        labels: Mapping[str, str] | None = None,
        path: str = "orders.yaml",
    ) -> int:
        """A live job of the record; its id."""
        document = Document(kind="Job", name=name, path=path, title=title, labels=labels or {}, spec=spec)
        with Record.writing(self.state) as record, record.transaction():
            by = By(author="Ada", revision="main@sha1:0a1b2c3d")
            job_id = record.resources.create(document, by, CREATED_MS, type=spec["jobType"].partition("-")[0])
            record.jobs.insert_state(job_id, state or JobState(since_ms=CREATED_MS), wake_at_ms=None)
            record.jobs.set_dependencies(job_id, rules_of(spec).depends_on)
        return job_id

    def event(self, name: str, event: str, **fields: Any) -> None:
        time_ms = fields.pop("time_ms", CREATED_MS)
        with Record.writing(self.state) as record:
            record.events.add(Event(kind="Job", name=name, path="orders.yaml", time_ms=time_ms, event=event, **fields))

    def problem(self, problem: Problem) -> None:
        with Record.writing(self.state) as record:
            record.desired.replace_problems([problem], "across")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> World:
    monkeypatch.chdir(tmp_path)
    for name in ("RECONCILE_ROOT", "NO_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    return World(tmp_path, capsys)


NOW = Now(wall_ms=CREATED_MS, alive_ms=0)

STREAM = """\
apiVersion: reconciler/v1
kind: Stream
metadata: {name: orders}
spec: {}
"""


def job_text(name: str, *, schedule: str = '{cron: "0 3 1 1 *"}', config: str = "", extra: str = "") -> str:
    """A job that imports `data/*.csv`. Its schedule is far away where nothing else is said, so that a pass runs nothing."""
    return (
        "---\napiVersion: reconciler/v1\nkind: Job\n"
        f"metadata: {{name: {name}}}\n"
        "spec:\n  provider: files\n  jobType: import-csv\n"
        f"  schedule: {schedule}\n{extra}"
        f'  config: {{path: "data/*.csv", stream: orders{config}}}\n'
    )
