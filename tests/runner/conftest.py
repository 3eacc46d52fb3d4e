"""What every test of the runner stands on: a real runner with a provider found by its entry point."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from reconciler.core.messages import Ended, Exited, FromRun, Intended, Order, Output, Produced
from reconciler.runner.local import LocalRunner

Message = TypeVar("Message")
SITE = Path(__file__).parent / "site"
PATIENCE_S = 60.0

#: Far more than a run needs to get to its next unit, on a machine however busy. A test of what happens once it has passed sets
#: `QUICK_S` in its place.
GRACE_S = 60.0
QUICK_S = 0.25


class Bench:
    """A runner and the folders that its runs work in."""

    def __init__(self, folder: Path, runner: LocalRunner) -> None:
        self.root = folder / "jobs.d"
        self.data = self.root / ".reconciler" / "data"
        self.data.mkdir(parents=True)
        self.runner = runner

    def order(self, job_type: str, run: int = 1, *, attempt: int = 1, config: Any = None, **fields: Any) -> Order:
        return Order(
            **{
                "job": f"job-{run}",
                "run": run,
                "attempt": attempt,
                "generation": 1,
                "root": str(self.root),
                "path": "specs/jobs.yaml",
                "provider": "subject",
                "job_type": job_type,
                "config": config or {},
                "data_dir": str(self.data),
                "secret_key": "00" * 32,
                **fields,
            }
        )

    def run(self, job_type: str, accept: bool = True, **fields: Any) -> list[FromRun]:
        """Everything that one run says, each question answered in the same way."""
        self.runner.start(self.order(job_type, **fields))
        return self.finish(accept=accept)

    def finish(self, *, accept: bool = True) -> list[FromRun]:
        """Everything until no run is active."""
        heard: list[FromRun] = []
        until_s = time.monotonic() + PATIENCE_S
        while self.runner.active():
            assert time.monotonic() < until_s, heard
            for message in self.runner.messages(1.0):
                heard.append(message)
                if isinstance(message, Produced | Intended):
                    self.runner.answer(message.run, accept)
        return heard

    def until(self, wanted: Callable[[FromRun], bool]) -> list[FromRun]:
        """Everything up to the first message that is wanted, with no question answered."""
        heard: list[FromRun] = []
        until_s = time.monotonic() + PATIENCE_S
        while not any(wanted(one) for one in heard):
            assert time.monotonic() < until_s, heard
            heard += self.runner.messages(1.0)
        return heard

    def until_line(self, text: str) -> list[FromRun]:
        return self.until(lambda one: isinstance(one, Output) and one.text.startswith(text))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRunner]:
    sys.path.insert(0, str(SITE))
    with LocalRunner(tmp_path_factory.mktemp("state"), grace_s=GRACE_S) as runner:
        yield runner
    sys.path.remove(str(SITE))


@pytest.fixture
def bench(tmp_path: Path, shared: LocalRunner) -> Iterator[Bench]:
    """With the fork server of the module: starting one takes half a second."""
    bench = Bench(tmp_path, shared)
    yield bench
    for run in shared.active():
        shared.kill(run)
    bench.finish()


@pytest.fixture
def own_bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """With a fork server of its own, for tests that end it."""
    monkeypatch.syspath_prepend(str(SITE))
    with LocalRunner(tmp_path / "state", grace_s=GRACE_S) as runner:
        yield Bench(tmp_path, runner)


def last(heard: list[FromRun]) -> tuple[Ended, Exited]:
    """How a run ended: its last two messages."""
    ended, exited = heard[-2:]
    assert isinstance(ended, Ended), heard
    assert isinstance(exited, Exited), heard
    return ended, exited


def only(kind: type[Message], heard: list[FromRun]) -> list[Message]:
    """The messages of one kind."""
    return [one for one in heard if isinstance(one, kind)]
