"""One job of the http provider on the conformance suite's bench: real data hands, a record in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reconciler.errors import RunError
from reconciler.providers.http import PROVIDER
from reconciler.testing import Attempt, Place, ProviderConformance, attempt

STREAM = "orders"


class Job(ProviderConformance):
    """A job whose config may change between runs."""

    provider = PROVIDER

    def __init__(self, job_type: str, config: Mapping[str, Any], method: str, credentials: Mapping[str, str]) -> None:
        self.job_type = job_type  # type: ignore[misc]
        self.method = method  # type: ignore[misc]
        self.settings = {"stream": STREAM, "allowPrivateAddresses": True, **config}
        self._credentials = credentials
        self.source: Sequence[Mapping[str, Any]] = ()

    def config(self, place: Place) -> Mapping[str, Any]:
        return self.settings

    def credentials(self) -> Mapping[str, str]:
        return self._credentials

    def messages(self) -> Sequence[Mapping[str, Any]]:
        return self.source


class Bench:
    def __init__(self, job: Job, place: Place) -> None:
        self.job, self.place = job, place
        self.ledger = place.ledger

    def run(self, **how: Any) -> Attempt:
        return attempt(self.job, self.place, **{"new_run": True, **how})

    def again(self, **how: Any) -> Attempt:
        """The next attempt of the same run."""
        return self.run(new_run=False, **how)

    def fails(self, kind: type[RunError], **how: Any) -> RunError:
        made = self.run(**how)
        assert isinstance(made.error, kind), made
        return made.error

    def put(self, messages: Sequence[Mapping[str, Any]]) -> None:
        self.place.put(STREAM, messages)

    def landed(self, stream: str = STREAM) -> list[Any]:
        return [json.loads(text) for text in self.place.texts(stream)]

    def rejects(self) -> list[dict[str, Any]]:
        files = [file for unit in self.ledger.units for file in unit.rejects]
        lines = [line for file in files for line in (self.place.data_dir / file).read_text().splitlines()]
        return [json.loads(line) for line in lines]


@contextmanager
def bench(
    folder: Path, job_type: str, *, method: str = "", credentials: Mapping[str, str] | None = None,
    messages: Sequence[Mapping[str, Any]] = (), **config: Any,
) -> Iterator[Bench]:  # fmt: skip
    job = Job(job_type, config, method, credentials or {})
    job.source = messages
    with job.place(folder) as place:
        yield Bench(job, place)
