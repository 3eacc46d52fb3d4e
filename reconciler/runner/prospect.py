"""What a job type is told that is asked, before a run, how much the run would add: no socket, no secret, nothing to be
written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.clock import Now
from reconciler.core.provider import Data, Json
from reconciler.runner.paths import Paths


@dataclass(slots=True)
class JobProspect:
    """`reconciler.core.provider.Prospect`."""

    job: str
    config: Any
    cursor: Json
    data: Data
    paths: Paths

    def expand(self, pattern: str) -> list[tuple[str, Path]]:
        return self.paths.expand(pattern)


def prospect_of(job: str, config: Any, cursor: Json, paths: Paths, data_dir: Path, now: Now) -> JobProspect:
    """That of one job. `config` is the job type's model."""
    from reconciler.data.hands import open_data  # a third of a second: only where a backfill is due

    data = open_data(data_dir, job=job, run=0, attempt=1, unit=lambda: 1, received_ms=lambda: now.wall_ms)
    return JobProspect(job, config, cursor, data, paths)
